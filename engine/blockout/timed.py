"""Worlds of which it is said how many frames a second are taken: the same walk, fall or camera move in more or fewer frames."""
from __future__ import annotations

import numpy as np

from . import varied, world
from .world import Scene

RATES = (8, 12, 16, 24, 30)                                    # frames a second
SECONDS = 2.                                                   # in which a move is made that other clips show in however many frames they have
FINE = 65                                                      # moments in which it is drawn


def drawn(rng: np.random.Generator, frames: int = 17, aspect: float = 1.6) -> Scene:
    """A random scene, as `world.drawn` gives them: some stretch of SECONDS, or all of it."""
    fps = float(rng.choice([rate for rate in RATES if (frames - 1) / rate <= SECONDS]))
    scene = (varied.drawn if rng.random() < .4 else world.drawn)(rng, FINE, aspect)
    if scene.weather in ("snowfall", "rain"):                  # which fall by the frame, whatever its length
        scene.weather = "clear"
    if scene.move == "handheld":                               # a hand shakes faster than 8 frames a second can tell
        scene.move, scene.eye, scene.yaw, scene.pitch = "static", *(np.repeat(way[:1], FINE, 0) for way in (scene.eye, scene.yaw, scene.pitch))
    share = (frames - 1) / fps / SECONDS
    at = (rng.uniform(0, 1 - share) + share * np.linspace(0, 1, frames)) * (FINE - 1)
    found = lambda values: np.interp(at, np.arange(FINE), values).astype(np.float32)
    along = lambda path: np.stack([found(axis) for axis in path.T], 1)
    scene.fps, scene.movers = fps, [along(path) for path in scene.movers]
    scene.eye, scene.yaw, scene.pitch = along(scene.eye), found(scene.yaw), found(scene.pitch)
    return scene
