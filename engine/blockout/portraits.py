"""Pictures of a clip's main subject alone, as an artist would show its look: from any side, by day, on any ground."""
from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from . import captions
from .looks import GROUNDS
from .world import Scene

SEED = 7                                                       # beside a clip's own, so that its portrait is not drawn as the clip was


def taken(scene: Scene, seed: int) -> tuple[Scene, bool]:
    """A scene of one frame with the first of a scene's things alone; and whether that is one thing, as a portrait has to show."""
    rng = np.random.default_rng((seed, SEED))
    alone, solids = copy.copy(scene), [replace(s, group=0) for s in scene.solids if s.part == 0]
    wide = lambda s: np.array([*[np.hypot(*s.half[:2])] * 2, 0.])
    low = np.min([np.array(s.base) - wide(s) for s in solids], 0)
    high = np.max([np.array(s.base) + wide(s) + (0, 0, 2 * s.half[2]) for s in solids], 0)
    middle, reach = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    around, above, away = rng.uniform(0, 2 * np.pi), rng.uniform(.1, .5), reach * rng.uniform(2.2, 2.9)
    eye = middle + away * np.array([np.cos(around) * np.cos(above), np.sin(around) * np.cos(above), np.sin(above)])
    alone.solids, alone.movers, alone.things = solids, [], scene.things[:1]
    alone.eye, alone.yaw, alone.pitch = eye[None].astype(np.float32), np.float32([around + np.pi]), np.float32([-above])
    alone.sky, alone.ground = str(rng.choice(["noon", "overcast"])), str(rng.choice(list(GROUNDS)))
    alone.style, alone.weather, alone.wet, alone.road, alone.move = "photo", "clear", False, False, "static"
    alone.fov, alone.sun_turn = 48., rng.uniform(0, 2 * np.pi)
    return alone, not scene.things[0].many


def unnamed(scene: Scene, rng: np.random.Generator) -> str:
    """A caption that names the first thing first, and leaves its look to its portrait."""
    other = copy.copy(scene)
    other.things = [replace(scene.things[0], finish="", glossy=False), *scene.things[1:]]
    return captions.caption(other, rng, in_order=True)
