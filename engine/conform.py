"""A guide of another length or shape than the shot's, made to fit: which of its frames are shown, and which part of its pictures.

What Blender renders for a shot fits by itself; this is for files of the asker's own. Whatever is changed is told in a note.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from .errors import GuideError, Remedy
from .protocol import Guide, Shot, Size

ROUNDING = 1            # pixels that a side may lose without a word


@dataclass(frozen=True, slots=True)
class Run:
    """For each of the shot's frames the guide's own, counted from its first one; `note` says what was done to fit, "" for nothing."""

    rows: tuple[int, ...]
    note: str = ""


def named(guide: Guide, shot: Shot) -> str:
    """What sentences call it."""
    return "source clip" if guide is shot.source else f"{guide.kind} guide"


def rendered(path: Path | str, shot: Shot) -> bool:
    """Whether it was made for this very shot, and is broken where it does not fit."""
    return Path(path).is_relative_to(shot.out)


def run(numbers: Sequence[int], shot: Shot, what: str, where: Path | str, remedy: Remedy | None = None) -> Run:
    """Frames of the files `numbers`, lowest first: from the shot's own first number on, where there is one, else from the lowest.

    What is longer is cut, and of what is shorter the last frame holds. Raises GuideError where one is missing between others, and for
    any other length of what was rendered for the shot itself.
    """
    gap = next((number + 1 for number, following in pairwise(numbers) if following != number + 1), None)
    if gap is not None:
        raise GuideError(f"Frame {gap} of the {what} is missing in {where}; the shot has {shot.frames} frames.", remedy)
    count = len(numbers)
    if count == shot.frames:
        return Run(tuple(range(count)))
    if not count or rendered(where, shot):
        raise GuideError(f"The {what} has {_frames(numbers)} in {where}; the shot has {shot.frames}.", remedy)
    first = shot.frame_start - numbers[0] if shot.frame_start in numbers else 0
    rows = tuple(min(row, count - 1) for row in range(first, first + shot.frames))
    shown = "its last one holds" if first + shot.frames > count else f"{numbers[rows[0]]} to {numbers[rows[-1]]} are shown"
    begun = f"it begins with {numbers[first]}, and " if first and first + shot.frames > count else ""
    return Run(rows, f"The {what} has {_frames(numbers)}, the shot {shot.frames}: {begun}{shown}")


def _frames(numbers: Sequence[int]) -> str:
    if len(numbers) < 2:
        return f"{len(numbers) or 'no'} frame{'s' if not numbers else ''}"
    return f"{len(numbers)} frames, {numbers[0]} to {numbers[-1]}"


# ---------------------------------------------------------------- shapes
def part(of: Size, to: Size) -> Size:
    """The largest part of pictures of `of` that has the shape of `to`: it lies in their middle, and the rest is cropped, as of a keyframe."""
    return Size(max(1, min(of.width, round(of.height * to.width / to.height))), max(1, min(of.height, round(of.width * to.height / to.width))))


def corner(of: Size, to: Size) -> tuple[int, int]:
    """Left and top of that part."""
    inner = part(of, to)
    return (of.width - inner.width) // 2, (of.height - inner.height) // 2


def cropped(image: np.ndarray, to: Size) -> np.ndarray:
    """(h, w, C) -> its part with the shape of `to`."""
    of = Size(image.shape[1], image.shape[0])
    (left, top), inner = corner(of, to), part(of, to)
    return image[top:top + inner.height, left:left + inner.width]


def note(of: Size, shot: Shot, what: str) -> str:
    """What is said of pictures of another size than the shot's, "" where they are of its size."""
    if of == shot.size:
        return ""
    return shape_note(of, shot, what) or f"The {what} was conformed from {of} to {shot.size}"


def shape_note(of: Size, shot: Shot, what: str) -> str:
    """The same of pictures of another shape alone."""
    inner = part(of, shot.size)
    if max(of.width - inner.width, of.height - inner.height) <= ROUNDING:
        return ""
    return f"The {what} was conformed from {of} to {shot.size}: of another shape, it was cropped to {inner} around its middle"
