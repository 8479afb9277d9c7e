"""A layout: boxes around the things of a shot, and how they are drawn. `layout.json` holds them in pixels of `size`:

    {"size": [832, 480], "frames": [{"frame": 1, "boxes": [[left, top, right, bottom], ...]}, ...]}
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import conform
from .errors import GuideError
from .guide_files import way_out
from .protocol import Guide, Shot, Size

LINE = 2            # as OpenCV counts, which draws three pixels; as VACE's own annotator (ali-vilab/VACE, vace/annotators/layout.py)


@dataclass(frozen=True, slots=True)
class Boxes:
    """Those of each of the shot's frames, (n, 4) in pixels of `size`; `notes` say what was made to fit."""

    size: Size
    frames: list[np.ndarray]
    notes: tuple[str, ...] = ()


def read(guide: Guide, shot: Shot) -> Boxes:
    """The boxes of the shot's frames, within the part of the picture that has the shot's shape. Raises GuideError."""
    path, remedy = Path(guide.path), way_out(guide, shot)
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        size = Size(*map(int, written["size"]))
        frames = [np.array(frame["boxes"], np.float64).reshape(len(frame["boxes"]), 4) for frame in written["frames"]]
        numbers = [int(frame["frame"]) for frame in written["frames"]]
    except OSError as error:
        raise GuideError(f"{path} cannot be read: {error.strerror or error}.", remedy) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise GuideError(f"{path} is damaged: {error}.", remedy) from error
    odd = next((at for at, boxes in enumerate(frames) if not (np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all())), None)
    if odd is not None or min(size.width, size.height) < 1:
        raise GuideError(f"{path} has a box that is none in frame {numbers[odd] if odd is not None else shot.frame_start}.", remedy)
    run = conform.run(numbers, shot, "layout guide", path, remedy)
    notes = tuple(filter(None, (run.note, conform.note(size, shot, "layout guide"))))
    return Boxes(conform.part(size, shot.size), [_within(frames[row], size, shot.size) for row in run.rows], notes)


def _within(boxes: np.ndarray, of: Size, to: Size) -> np.ndarray:
    """Those that the part with the shape of `to` shows anything of, in its own pixels."""
    inner, moved = conform.part(of, to), boxes - np.tile(conform.corner(of, to), 2)
    return moved[(moved[:, 2:] >= 0).all(1) & (moved[:, :2] <= (inner.width, inner.height)).all(1)]


def drawn(boxes: np.ndarray, of: Size, size: Size) -> np.ndarray:
    """float32 (h, w, 1) of `size`: 1 on the outline of a box, whose pixels are of a picture of the size `of`; else 0."""
    import cv2
    canvas = np.zeros((size.height, size.width), np.float32)
    scaled = boxes * np.tile([size.width / of.width, size.height / of.height], 2)
    last = np.tile([size.width - 1, size.height - 1], 2)
    for left, top, right, bottom in np.floor(scaled).clip(0, last).astype(int).tolist():
        cv2.rectangle(canvas, (left, top), (right, bottom), 1.0, LINE)
    return canvas[..., None]
