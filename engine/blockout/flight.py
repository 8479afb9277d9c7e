"""How the camera flies, as the transformer is told: for each token the rays through its middle, as engine/camera.py has them.

They are seen from the clip's first camera, and lengths are counted in nearest depths, so that a scene may lie anywhere and be of any
scale. Directions are told by how far they turned from the first frame's.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..protocol import Size
from .autoencoder import TIME

if TYPE_CHECKING:
    from ..camera import Cameras

WIDTH = 6 * TIME + 3 + 6                                       # rays of four frames, the first frame's direction, the last frame's ray
TURNED = 4.                                                    # turns are small numbers beside moments
TYPICAL = 2.5                                                  # metres to the nearest thing where nobody says


def rays(c2w: np.ndarray, lens: np.ndarray, near: float, k: int, h: int, w: int) -> np.ndarray:
    """float32 (k*h*w, WIDTH) for the tokens of one clip of k latent frames.

    c2w (1+4(k-1), 4, 4) camera to world in OpenCV's axes and metres, lens (4,) or one for each frame as fx, fy, cx, cy in widths and
    heights of the picture, near in metres to the nearest thing.
    """
    from .. import camera                                      # what is shot without one need not wait for it
    seen = camera.relative(c2w)
    seen[:, :3, 3] /= near
    found = camera.rays(seen, np.broadcast_to(lens * (w, h, w, h), (len(c2w), 4)), Size(w, h))      # (T, h, w, 6)
    start = found[:1, ..., 3:].copy()
    found[..., 3:] = (found[..., 3:] - start) * TURNED
    four = np.concatenate([np.repeat(found[:1], TIME - 1, 0), found]).reshape(k, TIME, h, w, 6)     # the first frame fills its group
    whole = np.broadcast_to(np.concatenate([start, found[-1:]], -1), (k, h, w, 9))
    return np.concatenate([np.moveaxis(four, 1, 3).reshape(k, h, w, -1), whole], -1).reshape(-1, WIDTH).astype(np.float32)


def of(cameras: Cameras, near: float, k: int, h: int, w: int) -> Tensor:
    """(1, k*h*w, WIDTH) for a clip's cameras; near is in metres, 0 where nobody says."""
    return torch.from_numpy(rays(cameras.c2w, cameras.lens, near or TYPICAL, k, h, w))[None]
