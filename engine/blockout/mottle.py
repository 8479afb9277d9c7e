"""A pattern that lies in the world, so that ground is seen to pass under a camera which moves over it.

It mottles the grounds of training clips. The transformer is shown it wherever depth and camera tell which place of the world a pixel
shows, so that it need not invent a texture and keep that in place: a place looks the same from every camera and in every take.
"""
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from . import flight
from .flight import TYPICAL

if TYPE_CHECKING:
    from ..camera import Cameras

STRONG = 2.                                                    # times a natural ground: training showed 1 to 3.5, and 3 is mistaken for another ground
FADE = .04                                                     # a metre: what is far is too fine to be drawn


def pattern(x: Tensor, y: Tensor, depth: Tensor) -> Tensor:
    """-1.6 to 1.6 at metres x, y of the world, `depth` metres away: waves of about three metres."""
    fine = torch.sin(x * 1.7 + 1.3 * torch.sin(y * .9)) * torch.sin(y * 2.1 + 1.1 * torch.sin(x * .7))
    return (fine + .6 * torch.sin(x * .41) * torch.sin(y * .53)) * torch.exp(-depth * FADE)


def seen(inverse: Tensor, c2w: Tensor, lens: Tensor, phase: Tensor | float = 0., scale: float = 1.) -> Tensor:
    """float32 (B, T, H, W): the pattern on whatever is seen, 0 on the background.

    inverse (B, T, H, W) in 1/metres of planar depth, c2w (B, T, 4, 4) camera to world in OpenCV's axes with the world's +z up, lens (B, 4)
    or (B, T, 4) as fx, fy, cx, cy in widths and heights of the picture, phase (B, 2) in metres, scale in training's metres a metre. c2w and
    lens of one dtype, all on one device.
    """
    h, w = inverse.shape[2:]
    there = inverse > 0
    depth = 1 / torch.where(there, inverse.float(), torch.inf).clamp(min=1e-3)
    lens = lens[:, None].expand(-1, c2w.shape[1], -1) if lens.ndim == 2 else lens
    led = flight.towards(c2w[..., :2, :3], lens, h, w) * depth[..., None]
    phase = phase.view(-1, 1, 1, 1, 2) if torch.is_tensor(phase) else phase
    x, y = ((c2w[:, :, None, None, :2, 3] + led) * scale + phase).unbind(-1)
    return (pattern(x, y, depth * scale) * there).float()


def of(depth: np.ndarray, near: float, far: float, cameras: Cameras) -> Tensor:
    """(1, 1, T, H, W) for a shot's depth guide (T, H, W) as the engine reads it, between near and far metres.

    Scenes of about training's size, a street or a room, have waves of some metres; a table's or a city's are ten times as fine or coarse.
    """
    inverse = np.where(depth > 0, depth * (1 / near - 1 / far) + 1 / far, 0)
    known = (torch.from_numpy(np.asarray(x, np.float64))[None] for x in (inverse, cameras.c2w, cameras.lens))
    return STRONG * seen(*known, scale=10. ** round(math.log10(TYPICAL / near)))[None]
