"""Edges of a scene from its depth, its normals and which object is where. Pure functions on arrays."""
from __future__ import annotations

import numpy as np

CREASE = 0.15           # 1 - cosine between neighbouring normals: about 32 degrees
STEP = 0.02             # bend of inverse depth, relative to itself


def outlines(inverse: np.ndarray, normal: np.ndarray, objects: np.ndarray | None = None) -> np.ndarray:
    """1 on an edge, 0 elsewhere, float32 (h, w).

    `inverse` is 1/metres (h, w), 0 for the background; `normal` (h, w, 3); `objects` (h, w) any number per object.
    Inverse depth is linear across a plane in perspective, so its second difference finds steps and no slopes.
    """
    edge = np.zeros(inverse.shape, bool)
    for axis in (0, 1):
        edge |= _bends(inverse, axis) | _differs(np.sign(inverse), axis) | _creases(normal, inverse > 0, axis)
        if objects is not None:
            edge |= _differs(objects, axis)
    return edge.astype(np.float32)


def _bends(inverse: np.ndarray, axis: int) -> np.ndarray:
    along = np.moveaxis(inverse, axis, 0)
    bend = np.zeros_like(along)
    bend[1:-1] = np.abs(along[2:] - 2 * along[1:-1] + along[:-2])
    return np.moveaxis((bend > STEP * np.maximum(along, 1e-12)) & (along > 0), 0, axis)


def _differs(values: np.ndarray, axis: int) -> np.ndarray:
    along = np.moveaxis(values, axis, 0)
    found = np.zeros(along.shape, bool)
    found[:-1] = along[1:] != along[:-1]
    return np.moveaxis(found, 0, axis)


def _creases(normal: np.ndarray, surface: np.ndarray, axis: int) -> np.ndarray:
    along, there = np.moveaxis(normal, axis, 0), np.moveaxis(surface, axis, 0)
    found = np.zeros(there.shape, bool)
    found[:-1] = (1 - (along[1:] * along[:-1]).sum(-1) > CREASE) & there[1:] & there[:-1]
    return np.moveaxis(found, 0, axis)
