"""A clip that no layout holds together is drawn small first, and from that at its own size, as cascades do (Ho et al. 2022, by way of SDEdit).

What is named but shown nowhere is one thing where it is two or three patches wide, and falls apart where it is six: there are few
large clips among those that were learned from, and a picture of them seldom goes without guides.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ..protocol import Size
from ..sampling import schedules
from .guides import GUIDES
from .model import SMALLEST_AREA

if TYPE_CHECKING:
    from torch import Tensor

    from ..families import Window

TIMES = 2                                                      # smaller in height and in width
LAYOUT = (*GUIDES, "albedo", "mask")                           # what says where things are; vectors alone do not
AGAIN = .5                                                     # how much of the small clip is made anew at its own size, as a Window has it


def first(window: Window, native: Callable[[Size], Size]) -> Window | None:
    """What is drawn first; None where a layout or a clip to begin from says what stands where, or the window is small enough."""
    shown = any(kind in window.guides and window.strengths.get(kind, 1.) > 0 for kind in LAYOUT)
    begun = (window.source is not None or window.source_latent is not None) and window.change < 1
    if shown or begun or window.size.width * window.size.height < 2 * SMALLEST_AREA or not schedules.entry(window.steps, AGAIN):
        return None
    size = native(Size(window.size.width // TIMES, window.size.height // TIMES))
    stills = {at: _still(image, size) for at, image in window.stills.items()}
    guides = {"vector": _moves(window.guides["vector"], size)} if "vector" in window.guides else {}
    return replace(window, size=size, guides=guides, source=None, source_latent=None, stills=stills, cameras=window.cameras and window.cameras.resized(size),
                   tail=None if window.tail is None else pictures(window.tail, size))


def pictures(frames: Tensor, size: Size) -> Tensor:
    """(n, C, h, w) 0..1 at another size."""
    smaller = size.width < frames.shape[3]
    return F.interpolate(frames, (size.height, size.width), mode="bicubic", antialias=smaller, align_corners=False).clamp(0, 1)


def _still(image: np.ndarray, size: Size) -> np.ndarray:
    return pictures(torch.from_numpy(image).permute(2, 0, 1)[None], size)[0].permute(1, 2, 0).numpy()


def _moves(vectors: np.ndarray, size: Size) -> np.ndarray:
    """Vectors (T, h, w, 2) in pixels of another size."""
    _, high, wide, _ = vectors.shape
    resized = F.interpolate(torch.from_numpy(vectors).permute(0, 3, 1, 2), (size.height, size.width), mode="area").permute(0, 2, 3, 1).numpy()
    return np.ascontiguousarray(resized * np.float32([size.width / wide, size.height / high]))


def looked_at(latent: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A small clip's latent (1, C, K, h, w) of the `shape` that previews are made of."""
    return F.interpolate(latent, shape[2:], mode="trilinear", align_corners=False)
