"""Pictures between the shot's arrays (frames, h, w, C; 0..1), an autoencoder's tensors (1, 3, T, h, w; -1..1) and the delivered size."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..protocol import Size, SizeGrid

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def native(size: Size, grid: SizeGrid, most: int) -> Size:
    """The size on `grid` that a model of at most `most` pixels makes for a shot of `size`: the shot's own where it fits.

    Each side is rounded for itself, and guides are scaled the same way, so that pixels stay where the scene has them.
    """
    shrink = min(1.0, math.sqrt(most / (size.width * size.height)))
    made = grid.nearest(Size(max(1, round(size.width * shrink)), max(1, round(size.height * shrink))))
    while made.width * made.height > most * 1.05 and min(made.width, made.height) > grid.multiple:
        longer = made.width >= made.height
        made = Size(made.width - grid.multiple * longer, made.height - grid.multiple * (not longer))
    return made


def video(images: np.ndarray) -> Tensor:
    """float32 (T, h, w, C) 0..1 -> (1, 3, T, h, w) -1..1; one channel becomes grey."""
    import torch
    made = torch.from_numpy(images).float()
    if made.shape[-1] == 1:
        made = made.expand(*made.shape[:-1], 3)
    return made.permute(3, 0, 1, 2)[None] * 2 - 1


def of_frames(frames: Tensor) -> Tensor:
    """(T, 3, h, w) 0..1 -> (1, 3, T, h, w) -1..1."""
    return frames.float().transpose(0, 1)[None] * 2 - 1


def frames(video: Tensor) -> Tensor:
    """(1, 3, T, h, w) -1..1 -> (T, 3, h, w) 0..1."""
    return ((video[0].transpose(0, 1).float() + 1) / 2).clamp(0, 1)


def delivered(frames: Tensor, size: Size) -> np.ndarray:
    """(n, 3, h, w) 0..1 -> float32 (n, height, width, 3) of `size`."""
    import torch
    if size != Size(frames.shape[3], frames.shape[2]):
        smaller = size.width < frames.shape[3] and size.height < frames.shape[2]
        frames = torch.nn.functional.interpolate(frames, (size.height, size.width), mode="bicubic", antialias=smaller, align_corners=False)
    return frames.clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()
