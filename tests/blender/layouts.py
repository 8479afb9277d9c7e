"""Panels drawn into a real UILayout without a window: what a person would read there, and what Blender complains of.

`popmenu_begin__internal` gives a layout that can be introspected; ending it crashes, so it is left open.
"""
from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager

import bpy

CONTAINERS = ("row", "column", "box", "split", "grid_flow", "column_flow", "menu_pie")


class Proxy:
    """A UILayout in which panel() works, too: popups refuse it. Everything else goes to the real one."""

    def __init__(self, layout):
        object.__setattr__(self, "_layout", layout)

    def __getattr__(self, name):
        found = getattr(self._layout, name)
        if name in CONTAINERS:
            return lambda *args, **kwargs: Proxy(found(*args, **kwargs))
        if name in ("panel", "panel_prop"):
            return lambda *_args, **_kwargs: (Proxy(self._layout.row()), Proxy(self._layout.column()))
        return found

    def __setattr__(self, name, value):
        setattr(self._layout, name, value)


@contextmanager
def registered(takes):
    """Blender's own start-up scene with the extension on, and its takes in the folder `takes`."""
    import sora             # an installed extension is drawn with this file, too, and has another name
    bpy.ops.wm.read_factory_settings()
    addon = bpy.context.preferences.addons.new()
    addon.module = "sora"
    sora.register()
    bpy.context.preferences.addons["sora"].preferences.takes_folder = str(takes)
    yield bpy.context.scene
    sora.unregister()
    bpy.context.preferences.addons.remove(bpy.context.preferences.addons["sora"])


@contextmanager
def editor(space_type: str, tree: str = "CompositorNodeTree"):
    """The context of a sidebar in an editor of that type, made of the first area."""
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    before, area.type = area.type, space_type
    if space_type == "NODE_EDITOR":
        area.ui_type = tree
    region = next((each for each in area.regions if each.type == "UI"), area.regions[0])
    try:
        with bpy.context.temp_override(window=window, area=area, region=region):
            yield bpy.context
    finally:
        area.type = before


class Page:
    """What a panel showed."""

    def __init__(self, items):
        self.items = list(_flat(items))

    @property
    def text(self) -> str:
        return "\n".join(item.get("draw_string", "") for item in self.items)

    @property
    def operators(self) -> list[str]:
        return [item["operator"] for item in self.items if "operator" in item]

    @property
    def properties(self) -> list[str]:
        return [item["rna"].rpartition(".")[2] for item in self.items if item.get("rna")]


def drawn(panel: type, context) -> Page:
    """Draws header and body of a registered panel class."""
    layout = context.window_manager.popmenu_begin__internal("test", icon="NONE").layout
    panel_self = type(panel.__name__, (panel.__mro__[1],), {})       # without bpy.types.Panel, which cannot be made by hand
    standing = object.__new__(panel_self)
    standing.layout = Proxy(layout)
    for part in ("draw_header", "draw_header_preset", "draw"):
        if hasattr(standing, part):
            getattr(standing, part)(context)
    return Page(layout.introspect())


def drawn_by(draw, context) -> Page:
    """Draws with a function that takes a layout."""
    layout = context.window_manager.popmenu_begin__internal("test", icon="NONE").layout
    draw(Proxy(layout))
    return Page(layout.introspect())


def _flat(items):
    for item in items if isinstance(items, (list, tuple)) else [items]:
        if isinstance(item, dict):
            if "items" in item:
                yield from _flat(item["items"])
            else:
                yield item
        elif isinstance(item, (list, tuple)):
            yield from _flat(item)


@contextmanager
def complaints():
    """Everything that is written to fd 2 meanwhile, C code included, as a list that is filled on leaving."""
    lines: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            lines += [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
