"""Rays against the solids a blockout is made of: where they hit. On torch, for bundles of rays against a solid each.

A solid stands on its base centre, turned by `yaw` about +z. Rays come in a solid's own frame, in which it fills [-1, 1]^3: `o` and `d` are
(x, y, z) tuples of tensors that broadcast against each other. A distance is in multiples of `d`, which scaling a frame leaves as it is.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FAR_AWAY = 1e6                                 # metres: a miss
NEAR = 1e-3                                    # metres: what is nearer is not hit


@dataclass(frozen=True, slots=True)
class Solid:
    kind: str                                  # one of KINDS
    base: tuple[float, float, float]           # metres, centre of the footprint
    half: tuple[float, float, float]           # metres: half width, half depth, half height
    finish: int                                # index into looks.FINISHES
    yaw: float = 0.0                           # radians
    group: int = 0                             # 0 stands still; n moves with the n-th mover
    windows: bool = False
    part: int = 0                              # index of the thing in the scene that this is a part of


def turned(points: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Points or directions (..., 3) turned about +z; `-sin` turns them back."""
    x, y, z = points.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y, z], -1)


def _box(o, d) -> Tensor:
    near = far = None
    for oi, di in zip(o, d):
        inverse = di.reciprocal().clamp_(-1e7, 1e7)            # a ray along a face has no crossing: any large number does
        reach, mid = inverse.abs(), inverse * -oi
        first, last = mid - reach, mid + reach
        near, far = (first, last) if near is None else (torch.maximum(near, first), torch.minimum(far, last))
    return torch.where((near < far) & (near > NEAR), near, FAR_AWAY)


def _ellipsoid(o, d) -> Tensor:
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1
    t = ((b * b - a * c).sqrt() + b).neg() / a
    return torch.where(t > NEAR, t, FAR_AWAY)                  # a root of what is negative is NaN, which is above nothing


def _cylinder(o, d) -> Tensor:
    a = (d[0] * d[0] + d[1] * d[1]).clamp_min(1e-7)
    b = o[0] * d[0] + o[1] * d[1]
    c = o[0] * o[0] + o[1] * o[1] - 1
    side = ((b * b - a * c).sqrt() + b).neg() / a
    side = torch.where((side > NEAR) & ((o[2] + side * d[2]).abs() < 1), side, FAR_AWAY)
    top = (1 - o[2]) / d[2]
    x, y = o[0] + top * d[0], o[1] + top * d[1]
    return torch.where((x * x + y * y < 1) & (top > NEAR), torch.minimum(side, top), side)


def _cone(o, d) -> Tensor:
    down, fall = (1 - o[2]) / 2, -d[2] / 2                     # distance below the apex, radius 1 at the base
    a = d[0] * d[0] + d[1] * d[1] - fall * fall
    b = o[0] * d[0] + o[1] * d[1] - down * fall
    root, best = (b * b - a * (o[0] * o[0] + o[1] * o[1] - down * down)).sqrt(), None
    for t in ((root + b).neg() / a, (root - b) / a):
        z = down + t * fall
        t = torch.where((z > 0) & (z < 1) & (t > NEAR), t, FAR_AWAY)
        best = t if best is None else torch.minimum(best, t)
    return best


DISTANCE = {"box": _box, "ellipsoid": _ellipsoid, "cylinder": _cylinder, "cone": _cone}
KINDS = tuple(DISTANCE)


def distance(kind: str, o: tuple[Tensor, Tensor, Tensor], d: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Distances to the nearest hit, `FAR_AWAY` where a ray misses."""
    return DISTANCE[kind](o, d)
