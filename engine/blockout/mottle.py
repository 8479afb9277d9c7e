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

from ..protocol import Size
from .flight import TYPICAL

if TYPE_CHECKING:
    from ..camera import Cameras

STRONG = 2.                                                    # times a natural ground: training showed 1 to 3.5, and 3 is mistaken for another ground
FADE = .04                                                     # a metre: what is far is too fine to be drawn


def pattern(x: Tensor, y: Tensor, depth: Tensor) -> Tensor:
    """-1.6 to 1.6 at metres x, y of the world, `depth` metres away: waves of about three metres."""
    fine = torch.sin(x * 1.7 + 1.3 * torch.sin(y * .9)) * torch.sin(y * 2.1 + 1.1 * torch.sin(x * .7))
    return (fine + .6 * torch.sin(x * .41) * torch.sin(y * .53)) * torch.exp(-depth * FADE)


def seen(inverse: np.ndarray, c2w: np.ndarray, lens: np.ndarray, phase: tuple[float, float] = (0., 0.), scale: float = 1.) -> np.ndarray:
    """float32 (T, H, W): the pattern on whatever is seen, 0 on the background.

    inverse (T, H, W) in 1/metres of planar depth, c2w (T, 4, 4) camera to world in OpenCV's axes with the world's +z up, lens (4,) or
    (T, 4) as fx, fy, cx, cy in widths and heights of the picture, phase in metres, scale in training's metres a metre.
    """
    from .. import camera                                      # what is shot without one need not wait for it
    _, h, w = inverse.shape
    there = inverse > 0
    depth = 1 / np.where(there, inverse, np.inf).astype(np.float32).clip(1e-3, None)
    led = camera.towards(c2w, np.broadcast_to(lens * (w, h, w, h), (len(c2w), 4)), Size(w, h))[..., :2] * depth[..., None]
    x, y = np.moveaxis((c2w[:, None, None, :2, 3] + led) * scale + phase, -1, 0)
    return (pattern(*map(torch.from_numpy, (x, y, depth * scale))).numpy() * there).astype(np.float32)


def of(depth: np.ndarray, near: float, far: float, cameras: Cameras) -> Tensor:
    """(1, 1, T, H, W) for a shot's depth guide (T, H, W) as the engine reads it, between near and far metres.

    Scenes of about training's size, a street or a room, have waves of some metres; a table's or a city's are ten times as fine or coarse.
    """
    inverse = np.where(depth > 0, depth * (1 / near - 1 / far) + 1 / far, 0)
    return torch.from_numpy(STRONG * seen(inverse, cameras.c2w, cameras.lens, scale=10. ** round(math.log10(TYPICAL / near))))[None, None]
