"""Rolling the guides of a shot, one scene frame a tick, and the list of passes. A new pass is one file and one line here.

    for done, total in passes.roll(scene, shot): ...        # what it returns is the shot's guides, with their paths
"""
from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path

import bpy

from ...engine.errors import GuideError, ShotError
from ...engine.protocol import Guide, Shot
from . import camera
from .albedo import Albedo
from .beauty import Beauty
from .camera import Camera
from .chosen import selected
from .depth import Depth
from .edges import Edges
from .layout import Layout
from .lens import camera_at, view
from .mask import Mask
from .normal import Normal
from .render import Pass, Reel, printed, scratch_is_safe, writing
from .stage import purge
from .vector import Vector

__all__ = ["PASSES", "check", "purge", "roll", "selected"]

PASSES: dict[str, type[Pass]] = {each.kind: each for each in (Depth, Normal, Albedo, Beauty, Mask, Edges, Layout, Vector, Camera)}
FOLDER = "guides"           # within the shot's own


def check(scene, shot: Shot) -> list[Pass]:
    """The passes that the shot asks for, ready to roll. Raises ShotError or GuideError when it cannot be rolled."""
    if shot.frame_start < 0:
        raise ShotError(f"The shot begins at frame {shot.frame_start}; files are numbered by frame, so it must begin at 0 or later.")
    for guide in shot.guides:
        if guide.kind not in PASSES:
            raise GuideError(f"There is no guide called “{guide.kind}”; there are: {', '.join(PASSES)}.")
    for frame in {shot.frame_start, shot.numbered(shot.frames - 1)}:
        camera_at(scene, shot, frame)
    return [PASSES[guide.kind](scene, shot) for guide in shot.guides]


def roll(scene, shot: Shot) -> Generator[tuple[int, int], None, tuple[Guide, ...]]:
    """Renders one frame of the scene per `next`, yielding (frames done, frames in all); returns the guides with their paths.

    Between two ticks nothing temporary is in the file, so closing the generator at any time leaves no trace but the
    files that were printed. Raises ShotError, GuideError, FolderError or DiskFull.
    """
    purge()
    passes, name = check(scene, shot), scene.name
    folder, reels, views = Path(shot.out) / FOLDER, _reels(passes), []
    _make_folders(folder, reels)
    with tempfile.TemporaryDirectory(prefix="sora-") as scratch:
        scratch_is_safe(Path(scratch))
        for index in range(shot.frames):
            scene = _again(name)            # undo and redo replace every datablock between two ticks
            views.append(view(scene, shot, shot.numbered(index)))
            for each in passes:
                each.look(scene, views[-1])
            for reel, sharing in reels.items():
                printed(scene, shot, shot.numbered(index), reel, sharing, Path(scratch), folder / reel.folder)
            yield index + 1, shot.frames
    camera.write(views, shot, folder)
    return tuple(each.guide(asked, folder) for each, asked in zip(passes, shot.guides, strict=True))


def _reels(passes: list[Pass]) -> dict[Reel, list[Pass]]:
    """Which passes share a render."""
    reels: dict[Reel, list[Pass]] = {}
    for each in passes:
        if each.reel:
            reels.setdefault(each.reel, []).append(each)
    return reels


def _make_folders(folder: Path, reels) -> None:
    """The folders of the reels, without frames of an earlier roll. Raises FolderError or DiskFull."""
    with writing(folder):
        for place in {folder, *(folder / reel.folder for reel in reels)}:
            place.mkdir(parents=True, exist_ok=True)
            for old in (*place.glob("*.exr"), *place.glob("*.partial")):
                old.unlink()


def _again(name: str):
    if name not in bpy.data.scenes:
        raise GuideError(f"The scene “{name}” is not in the file any more.")
    return bpy.data.scenes[name]
