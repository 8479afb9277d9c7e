"""How the camera flies, as the transformer is told: for each token the rays through its middle, as Pluecker coordinates.

Rays are seen from the clip's first camera, and lengths are counted in nearest depths, so that a scene may lie anywhere and be of any
scale. The order within a ray is CameraCtrl's (He et al. 2024, https://arxiv.org/abs/2404.02101), with directions told by how far
they turned from the first frame's.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .autoencoder import TIME

if TYPE_CHECKING:
    from ..camera import Cameras

WIDTH = 6 * TIME + 3 + 6                                       # rays of four frames, the first frame's direction, the last frame's ray
TURNED = 4.                                                    # turns are small numbers beside moments
TYPICAL = 2.5                                                  # metres to the nearest thing where nobody says


def rays(c2w: Tensor, lens: Tensor, near: Tensor, k: int, h: int, w: int) -> Tensor:
    """(B, k*h*w, WIDTH) for the tokens of a clip of k latent frames.

    c2w (B, 1+4(k-1), 4, 4) camera to world in OpenCV's axes and metres, lens (B, 1+4(k-1), 4) as fx, fy, cx, cy in widths and
    heights of the picture, near (B,) metres to the nearest thing.
    """
    first = c2w[:, :1, :3, :3].transpose(-1, -2)
    turn, moved = first @ c2w[..., :3, :3], (first @ (c2w[..., :3, 3:] - c2w[:, :1, :3, 3:]))[..., 0] / near.view(-1, 1, 1)
    x, y = ((torch.arange(n, device=c2w.device, dtype=c2w.dtype) + .5) / n for n in (w, h))
    fx, fy, cx, cy = (lens[..., i, None, None] for i in range(4))
    across, down = torch.broadcast_tensors((x - cx) / fx, (y[:, None] - cy) / fy)
    inside = F.normalize(torch.stack([across, down, torch.ones_like(across)], -1), dim=-1)          # (B, T, h, w, 3)
    towards = inside @ turn[:, :, None].transpose(-1, -2)
    start = towards[:, :1]
    ray = torch.cat([torch.linalg.cross(moved[:, :, None, None].expand_as(towards), towards), (towards - start) * TURNED], -1)
    four = torch.cat([ray[:, :1].expand(-1, TIME - 1, -1, -1, -1), ray], 1).unflatten(1, (k, TIME))  # the first frame fills its group
    four = four.permute(0, 1, 3, 4, 2, 5).flatten(4)
    whole = [part.expand(-1, k, -1, -1, -1) for part in (start, ray[:, -1:])]
    return torch.cat([four, *whole], -1).flatten(1, 3)


def of(cameras: Cameras, near: float, k: int, h: int, w: int) -> Tensor:
    """(1, k*h*w, WIDTH) for a clip's cameras; near is in metres, 0 where nobody says."""
    wide = (cameras.size.width, cameras.size.height) * 2
    c2w, lens = (torch.from_numpy(each)[None].float() for each in (cameras.relative().c2w, cameras.K / wide))
    return rays(c2w, lens, torch.tensor([near or TYPICAL]), k, h, w)
