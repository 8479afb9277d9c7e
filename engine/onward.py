"""Shots that join finished takes: their first stills are the last pictures of one, their last stills the first of one. Both the same: a loop."""
from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Collection
from pathlib import Path

from . import exr, families, light
from .errors import KeyframeError, ShotError, SoraError
from .frames import replace, told
from .pace import Pace
from .protocol import Keyframe, Shot, Take, read_take

STILLS = "stills"       # folder in a take: pictures of its linear frames, as Blender's side makes them too
BETWEEN = 24            # new frames of a link unless asked otherwise; more, until the family can make as many


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """A finished take, and how many of its pictures are shared; 0: as many as suit the family."""

    folder: Path
    take: Take
    count: int

    @classmethod
    def parse(cls, text: str) -> Joined:
        """`TAKE`, `TAKE@3`, or the take.json in it; a path that merely holds an @ is left alone. Raises ShotError or WireError."""
        path, _, number = text.rpartition("@")
        counted = path and number.lstrip("-").isdecimal() and not Path(text).exists()
        if counted and int(number) < 1:
            raise ShotError(f"“{text}” shares no picture; write TAKE@1 or more.")
        place = Path(path if counted else text).expanduser().resolve()
        folder = place.parent if place.is_file() else place
        try:
            return cls(folder, read_take(folder), int(number) if counted else 0)
        except SoraError as error:
            raise ShotError(f"{folder} is no finished take: {error.sentence}") from error

    def shared(self, shot: Shot) -> int:
        """How many of its pictures the shot shows. Raises ShotError where the take has fewer."""
        there = self.take.files.count
        if self.count > there:
            raise ShotError(f"The take {self.folder.name} has {there} frame{'s' if there > 1 else ''}, fewer than the {self.count} to share.")
        return self.count or min(there, suiting(shot))

    def pictures(self, which: slice) -> list[str]:
        """Files of its pictures that can be stills. Raises SoraError."""
        return [str(_still(self.folder / self.take.files.folder / name, self.folder)) for name in self.take.files.names()[which]]


def suiting(shot: Shot) -> int:
    """How many pictures of a take a shot shares with it: one alone where a model's own frame rate lets neighbours fall on one frame."""
    spec = families.family(shot.family).SPEC
    rate = next((each.fps for each in spec.rates if each.model == shot.model), spec.native_fps)
    return 1 if Pace(shot, rate).own else spec.shared


def begun(made: Shot, family: str) -> Shot:
    """The shot of a take that is gone on from, or led to, as a new one: another seed, nothing of what stood at its own frames, and of another
    `family` none of its settings."""
    if family != made.family:
        kept = ("id", "prompt", "negative", "size", "frames", "fps", "out", "format")
        return Shot(family=family, seed=secrets.randbelow(2 ** 31), **{name: getattr(made, name) for name in kept})
    return dataclasses.replace(made, seed=secrets.randbelow(2 ** 31), guides=(), keyframes=(), source=None, latents="", landings=(), landing={}, name="")


def joined(shot: Shot, after: Joined | None, before: Joined | None, said: Collection[str]) -> Shot:
    """The shot with its stills; its `frames`, of a link, and its `frame_start`, on from the take before it or up to the one after it, unless they
    are `said`. Raises SoraError.
    """
    head, tail = (each.shared(shot) if each else 0 for each in (after, before))
    if after and before and "frames" not in said:
        shot = dataclasses.replace(shot, frames=families.family(shot.family).SPEC.frames.ceil(head + BETWEEN + tail))
    if head + tail >= shot.frames:
        raise ShotError(f"{head + tail} known frames leave none of the shot's {shot.frames} to make; ask for more --frames, or share fewer pictures.")
    if "frame_start" not in said:
        first = after.take.shot.numbered(after.take.files.count - head) if after else max(0, before.take.shot.frame_start - shot.frames + tail)
        shot = dataclasses.replace(shot, frame_start=first)
    shown = dict(enumerate(after.pictures(slice(-head, None)))) if after else {}
    shown |= dict(enumerate(before.pictures(slice(tail)), shot.frames - tail)) if before else {}
    return dataclasses.replace(shot, keyframes=(*shot.keyframes, *(Keyframe(frame=frame, path=path) for frame, path in shown.items())))


# ---------------------------------------------------------------- pictures
def _still(path: Path, folder: Path) -> Path:
    """A picture of a take as a file that can be a still: itself, or a PNG of a linear one in the take's folder. Raises KeyframeError, FolderError."""
    if not path.is_file():
        raise KeyframeError(f"The take {folder.name} lacks {path.name}; shoot it again.")
    if path.suffix.lower() != ".exr":
        return path
    still = folder / STILLS / f"{path.stem}.png"
    if not still.is_file():
        try:
            still.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise told(error, still.parent) from error
        replace(still, lambda partial: partial.write_bytes(_developed(path)))
    return still


def _developed(path: Path) -> bytes:
    """Scene-linear Rec.709 -> a PNG in sRGB of 16 bits; what is brighter than white is white. Raises GuideError."""
    import cv2
    import numpy as np
    shown = light.shown(exr.channels(path, ["B", "G", "R"]))
    return cv2.imencode(".png", np.rint(shown * 65535).astype(np.uint16))[1].tobytes()
