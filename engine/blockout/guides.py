"""The guides blockout takes, and how the layout looks as planes of numbers. The camera is told apart: flight.py, mottle.py.

depth (B, 1, T, H, W) in [0, 1]: (1/z - 1/far) / (1/near - 1/far) of planar depth z, near and far fixed over the clip, 0 = background.
normal (B, 3, T, H, W) in [-1, 1]: camera space, +x right, +y up, +z towards the camera, 0 on the background.
albedo (B, 4, T, H, W) in [0, 1]: colours of things as sRGB shows them in full light, times the last channel; that is 1 where a colour is
told and 0 where it is left to the words.
vector (B, 2, T, H, W): where what is seen was one frame before, less where it is, in pixels, x right, y down; 0 on the background.
"""
from __future__ import annotations

import torch
from torch import Tensor

GUIDES = {"depth": 1, "normal": 3}                             # channels, at picture resolution; what the decoder draws along
PICTURES = GUIDES | {"albedo": 4, "vector": 2}                              # all that are as large as the picture
GIVEN = (*GUIDES, "camera", "albedo", "vector")                       # what a clip may be given, in the order of `given`
SHOWN = (*GIVEN, "mottle")                                     # what the transformer is shown of it; the last comes of depth and camera
PLANES = 2 + 3 + 2
SIDE = 40                                                      # pixels of a square picture of the subject


def depth_planes(depth: Tensor) -> Tensor:
    """(B, 2, T, H, W): depth and its square root, in which far things differ more."""
    depth = depth.clamp(0, 1)
    return torch.cat([depth, (depth + 1e-4).sqrt()], 1)


def planes(guides: dict[str, Tensor], given: Tensor | None = None) -> Tensor:
    """(B, PLANES, T, H, W): depth, its root, normal, and which of both are there; what isn't is 0. given (B, len(GIVEN)) hides some of a batch."""
    some = next(iter(guides.values()))
    b, _, t, h, w = some.shape
    parts, there = [], []
    for i, (name, channels) in enumerate(GUIDES.items()):
        shown = some.new_full((b, 1, 1, 1, 1), float(name in guides)) * (1 if given is None else given[:, i].view(-1, 1, 1, 1, 1))
        x = guides.get(name, some.new_zeros(b, channels, t, h, w))
        parts.append((depth_planes(x) if name == "depth" else x) * shown)
        there.append(shown.expand(b, 1, t, h, w))
    return torch.cat(parts + there, 1)
