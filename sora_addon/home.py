"""Where a shot is at home: the file and the scene it was frozen from, and how its take lands there.

Scenes are found by name each time, because references die with undo and with the file.
"""
from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import bpy

from ..engine import protocol
from ..engine.errors import Remedy, ShotError, SoraError
from . import landings

log = logging.getLogger(__name__)

SHOWN = {"VIEW_3D": "UI", "SEQUENCE_EDITOR": "UI", "NODE_EDITOR": "UI", "PREFERENCES": "WINDOW"}      # editor -> region
_submitted: dict[str, int] = {}     # shot id -> the file load during which it was submitted
_loads = 0


def leaving(shot: protocol.Shot, scene) -> protocol.Shot:
    """The shot with the name of its scene and file in it, so that it finds back, also in another Blender."""
    _submitted[shot.id] = _loads
    return replace(shot, landing={"scene": scene.name, **shot.landing, "file": bpy.data.filepath})


def another_file() -> None:
    """Another file was loaded: scenes of the same name are other scenes now."""
    global _loads
    _loads += 1


def scene_of(shot: protocol.Shot):
    """The scene that the shot was frozen from. Raises ShotError when it is deleted or its file is not open."""
    name, file = shot.landing.get("scene", ""), shot.landing.get("file", "")
    here = _submitted.get(shot.id) == _loads or (file and file == bpy.data.filepath)
    again = Remedy(action="shoot_again", label="Shoot Again", value=shot.id)
    if not here:
        raise ShotError(f"The file of this shot, {Path(file).name or 'never saved'}, is not open.", again)
    scene = bpy.data.scenes.get(name)
    if scene is None:
        raise ShotError(f"The scene “{name}” of this shot is not in the file any more.", again)
    return scene


def land(shot: protocol.Shot, folder: Path) -> tuple[str, ...]:
    """Land a take everywhere it was asked for, as one undo step; sentences of what was done, or why not."""
    if not shot.landings:
        return ()
    try:
        scene_of(shot)
        take = protocol.read_take(folder)
    except SoraError as trouble:
        log.warning("%s is not landed: %s", shot.id, trouble)
        return (f"In the library, but not landed: {trouble}",)
    said = tuple(_landed(name, take, folder, shot) for name in shot.landings)
    if bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message=f"Land {shot.name or shot.id}")
    return said


def _landed(name: str, take: protocol.Take, folder: Path, shot: protocol.Shot) -> str:
    try:
        return landings.land(bpy.context, name, take, folder, dict(shot.landing))
    except (SoraError, RuntimeError, ReferenceError) as trouble:
        log.warning("%s has no %s: %s", shot.id, name, trouble)
        return f"In the library, but not landed as {name}: {trouble}"


def redraw() -> None:
    """Draw the side bars again that can show Sora, and the preferences."""
    for windows in bpy.data.window_managers:
        for window in windows.windows:
            for area in window.screen.areas:
                for region in area.regions:
                    if region.type == SHOWN.get(area.type):
                        region.tag_redraw()
