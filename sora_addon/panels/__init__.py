"""Sora's panels: an explicit list. A new panel is one class here and stands in every space."""
from __future__ import annotations

import bpy


def classes() -> list[type]:
    """Everything to register, parents before what is inside them."""
    from . import progress, shot, spaces, steering, takes
    listed = (*shot.PANELS, *progress.PANELS, *takes.PANELS)
    return [*takes.LISTS, *steering.LISTS, *(standing for panel in listed for standing in spaces.everywhere(panel))]


_registered: list[type] = []


def register():
    _registered[:] = classes()
    for kind in _registered:
        bpy.utils.register_class(kind)


def unregister():
    for kind in reversed(_registered):
        bpy.utils.unregister_class(kind)
    _registered.clear()
