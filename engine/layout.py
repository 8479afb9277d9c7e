"""A layout: boxes around the things of a shot, and how they are drawn. `layout.json` holds them in pixels of `size`:

    {"size": [832, 480], "frames": [{"frame": 1, "boxes": [[left, top, right, bottom], ...]}, ...]}
"""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .errors import GuideError
from .guide_files import way_out
from .protocol import Guide, Shot, Size

LINE = 2            # as OpenCV counts, which draws three pixels; as VACE's own annotator (ali-vilab/VACE, vace/annotators/layout.py)


def read(guide: Guide, shot: Shot) -> tuple[Size, list[np.ndarray]]:
    """The size that the boxes are in, and those of each of the shot's frames, (n, 4). Raises GuideError."""
    path, remedy = Path(guide.path), way_out(guide, shot)
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        size = Size(*map(int, written["size"]))
        frames = [np.array(frame["boxes"], np.float64).reshape(len(frame["boxes"]), 4) for frame in written["frames"]]
    except OSError as error:
        raise GuideError(f"{path} cannot be read: {error.strerror or error}.", remedy) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise GuideError(f"{path} is damaged: {error}.", remedy) from error
    if len(frames) != shot.frames:
        raise GuideError(f"{path} has {len(frames)} frames; the shot has {shot.frames}.", remedy)
    odd = next((at for at, boxes in enumerate(frames) if not (np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all())), None)
    if odd is not None or min(size.width, size.height) < 1:
        raise GuideError(f"{path} has a box that is none in frame {shot.numbered(odd or 0)}.", remedy)
    return size, frames


def drawn(boxes: np.ndarray, of: Size, size: Size) -> np.ndarray:
    """float32 (h, w, 1) of `size`: 1 on the outline of a box, whose pixels are of a picture of the size `of`; else 0."""
    import cv2
    canvas = np.zeros((size.height, size.width), np.float32)
    scaled = boxes * np.tile([size.width / of.width, size.height / of.height], 2)
    last = np.tile([size.width - 1, size.height - 1], 2)
    for left, top, right, bottom in np.floor(scaled).clip(0, last).astype(int).tolist():
        cv2.rectangle(canvas, (left, top), (right, bottom), 1.0, LINE)
    return canvas[..., None]
