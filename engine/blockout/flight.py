"""How the camera flies, as the transformer is told: for each token the rays through its middle, as engine/camera.py has them.

They are seen from the clip's first camera, and lengths are counted in nearest depths, so that a scene may lie anywhere and be of any
scale. Directions are told by how far they turned from the first frame's.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .autoencoder import TIME

if TYPE_CHECKING:
    from ..camera import Cameras

WIDTH = 6 * TIME + 3 + 6                                       # rays of four frames, the first frame's direction, the last frame's ray
TURNED = 4.                                                    # turns are small numbers beside moments
TYPICAL = 2.5                                                  # metres to the nearest thing where nobody says


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Products of small matrices, which autocast leaves in their precision: places of a camera cannot be told in 16 bits."""
    return (a[..., None] * b[..., None, :, :]).sum(-2)


def towards(turns: Tensor, lens: Tensor, h: int, w: int) -> Tensor:
    """`camera.towards` on any device: directions (..., h, w, 3) of cameras whose axes in the world are turns (..., 3, 3), with lenses (..., 4)
    as fx, fy, cx, cy in widths and heights of the picture."""
    fx, fy, cx, cy = lens[..., None, None].unbind(-3)
    middles = lambda n: (torch.arange(n, device=lens.device, dtype=lens.dtype) + .5) / n
    x, y = (middles(w) - cx) / fx, (middles(h)[:, None] - cy) / fy
    right, down, ahead = turns[..., None, None, :, :].unbind(-1)
    return x[..., None] * right + y[..., None] * down + ahead


def rays(c2w: Tensor, lens: Tensor, near: Tensor, k: int, h: int, w: int) -> Tensor:
    """float32 (B, k*h*w, WIDTH) for the tokens of clips of k latent frames: Pluecker rays as `camera.rays` has them.

    c2w (B, 1+4(k-1), 4, 4) camera to world in OpenCV's axes and metres, lens (B, 4) or (B, 1+4(k-1), 4) as fx, fy, cx, cy in widths and
    heights of the picture, near (B,) in metres to the nearest thing. All of one dtype, on one device.
    """
    back = c2w[:, :1, :3, :3].mT                               # into the first camera's axes
    place = _times(back, c2w[..., :3, 3:] - c2w[:, :1, :3, 3:])[..., 0] / near.view(-1, 1, 1)
    lens = lens[:, None].expand(-1, c2w.shape[1], -1) if lens.ndim == 2 else lens
    direction = towards(_times(back, c2w[..., :3, :3]), lens, h, w)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    start = direction[:, :1]
    found = torch.cat([torch.linalg.cross(place[:, :, None, None].expand_as(direction), direction), (direction - start) * TURNED], -1)      # (B, T, h, w, 6)
    four = torch.cat([found[:, :1].expand(-1, TIME - 1, -1, -1, -1), found], 1).unflatten(1, (k, TIME))      # the first frame fills its group
    whole = torch.cat([start, found[:, -1:]], -1).expand(-1, k, -1, -1, -1)
    return torch.cat([four.movedim(2, 4).flatten(4), whole], -1).flatten(1, 3).float()


def of(cameras: Cameras, near: float, k: int, h: int, w: int) -> Tensor:
    """(1, k*h*w, WIDTH) for a clip's cameras; near is in metres, 0 where nobody says."""
    c2w, lens = (torch.from_numpy(np.asarray(x, np.float64))[None] for x in (cameras.c2w, cameras.lens))      # a scene may lie far from its world's middle
    return rays(c2w, lens, torch.tensor([near or TYPICAL], dtype=torch.float64), k, h, w)
