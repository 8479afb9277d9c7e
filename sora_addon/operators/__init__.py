"""Sora's operators: an explicit list. Each is a sentence; the work is elsewhere."""
from __future__ import annotations

import bpy


def classes() -> list[type]:
    """Everything to register."""
    from . import engine, lists, models, presets, remedies, shelf, shooting, watching, writing
    return [*shooting.CLASSES, *watching.CLASSES, *writing.CLASSES, *shelf.CLASSES, *lists.CLASSES, *engine.CLASSES, *models.CLASSES, *remedies.CLASSES, *presets.CLASSES]


def register():
    for kind in classes():
        bpy.utils.register_class(kind)


def unregister():
    for kind in reversed(classes()):
        bpy.utils.unregister_class(kind)
