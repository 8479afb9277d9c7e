"""Rays against the solids a blockout is made of: where they hit and which way the surface faces. Numpy only.

A solid stands on its base centre, turned by `yaw` about +z. Rays are rows of structure-of-arrays: `origin` and `towards` are
(x, y, z) tuples of arrays or numbers; a distance is in multiples of `towards`. Misses are at `FAR_AWAY`.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAR_AWAY = np.float32(1e6)
TINY = np.float32(1e-7)


@dataclass(frozen=True, slots=True)
class Solid:
    kind: str                                  # box | ellipsoid | cylinder | cone
    base: tuple[float, float, float]           # metres, centre of the footprint
    half: tuple[float, float, float]           # metres: half width, half depth, half height
    finish: int                                # index into looks.FINISHES
    yaw: float = 0.0                           # radians
    group: int = 0                             # 0 stands still; n moves with the n-th mover
    windows: bool = False
    part: int = 0                              # index of the thing in the scene that this is a part of

    def corners(self) -> np.ndarray:
        """(8, 3) corners of the turned bounding box, metres."""
        grid = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (0, 2)], np.float32) * np.array(self.half, np.float32)
        return turned(grid, self.yaw) + np.array(self.base, np.float32)


def turned(points: np.ndarray, yaw: float) -> np.ndarray:
    """(N, 3) points turned by `yaw` about +z."""
    c, s = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    return np.stack([c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1], points[:, 2]], -1)


def localised(solid: Solid, origin, towards, moved=(0.0, 0.0, 0.0)):
    """Rays in the solid's own frame, scaled so that it fills [-1, 1]^3. Scaling leaves distances along the ray as they are."""
    c, s = np.float32(np.cos(solid.yaw)), np.float32(np.sin(solid.yaw))
    hx, hy, hz = (np.float32(1 / h) for h in solid.half)
    ox, oy, oz = (np.float32(o) - np.float32(b + m) if np.isscalar(o) else o - np.float32(b + m)
                  for o, b, m in zip(origin, solid.base, moved))
    dx, dy, dz = towards
    return (((ox * c + oy * s) * hx, (oy * c - ox * s) * hy, oz * hz - 1),
            ((dx * c + dy * s) * hx, (dy * c - dx * s) * hy, dz * hz))


def _safe(x):
    return np.where(np.abs(x) < TINY, TINY, x)


def _box(o, d):
    near, far = -FAR_AWAY, FAR_AWAY
    for oi, di in zip(o, d):
        inverse = 1 / _safe(di)
        mid, reach = -oi * inverse, np.abs(inverse)
        near, far = np.maximum(near, mid - reach), np.minimum(far, mid + reach)
    return np.where((near < far) & (near > 1e-3), near, FAR_AWAY)


def _ellipsoid(o, d):
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1
    gap = b * b - a * c
    t = (-b - np.sqrt(np.maximum(gap, 0))) / a
    return np.where((gap > 0) & (t > 1e-3), t, FAR_AWAY)


def _cylinder(o, d):
    a = _safe(d[0] * d[0] + d[1] * d[1])
    b = o[0] * d[0] + o[1] * d[1]
    gap = b * b - a * (o[0] * o[0] + o[1] * o[1] - 1)
    side = (-b - np.sqrt(np.maximum(gap, 0))) / a
    side = np.where((gap > 0) & (side > 1e-3) & (np.abs(o[2] + side * d[2]) < 1), side, FAR_AWAY)
    top = (1 - o[2]) / _safe(d[2])
    inside = (o[0] + top * d[0]) ** 2 + (o[1] + top * d[1]) ** 2 < 1
    return np.minimum(side, np.where(inside & (top > 1e-3), top, FAR_AWAY))


def _cone(o, d):
    down, fall = (1 - o[2]) / 2, -d[2] / 2                           # distance below the apex, radius 1 at the base
    a = _safe(d[0] * d[0] + d[1] * d[1] - fall * fall)
    b = o[0] * d[0] + o[1] * d[1] - down * fall
    gap = b * b - a * (o[0] * o[0] + o[1] * o[1] - down * down)
    root, best = np.sqrt(np.maximum(gap, 0)), FAR_AWAY
    for t in ((-b - root) / a, (-b + root) / a):
        z = down + t * fall
        best = np.where((gap > 0) & (z > 0) & (z < 1) & (t > 1e-3) & (t < best), t, best)
    return best


_DISTANCE = {"box": _box, "ellipsoid": _ellipsoid, "cylinder": _cylinder, "cone": _cone}


def distance(solid: Solid, origin, towards, moved=(0.0, 0.0, 0.0)):
    """Distances to the nearest hit, `FAR_AWAY` where a ray misses, with the ray in the solid's frame for `facing`."""
    o, d = localised(solid, origin, towards, moved)
    return _DISTANCE[solid.kind](o, d), o, d


def facing(solid: Solid, p: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """(N, 3) unit normals in the world at points `p` of the solid's own [-1, 1]^3 frame."""
    x, y, z = p
    if solid.kind == "box":
        axis = np.argmax(np.abs(np.stack(p)), 0)
        n = np.stack([np.sign(q) * (axis == i) for i, q in enumerate(p)], -1)
    elif solid.kind == "ellipsoid":
        n = np.stack([x, y, z], -1)
    elif solid.kind == "cylinder":
        top = z > 0.999
        n = np.stack([np.where(top, 0, x), np.where(top, 0, y), np.where(top, 1, 0)], -1)
    else:
        n = np.stack([x, y, (1 - z) / 4], -1)
    n = n.astype(np.float32) / np.array(solid.half, np.float32)
    n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-6)
    return turned(n, solid.yaw)
