"""Worlds in which something goes behind a wall, a pillar or a house and comes out again, or turns back behind it: what is hidden stays what it was."""
from __future__ import annotations

import numpy as np

from . import world
from .looks import GROUNDS, SKIES
from .rays import Solid
from .words import FIRST_STYLES
from .world import Scene, Thing, a_colour, a_finish, index, place

COVERS = ("wall", "pillar", "building", "cube")
HIDDEN = .06, .45                                              # share of the clip that the subject's middle is hidden for
FAR_SIDE = .2                                                  # metres along y at which a cover ends, before what passes behind it


def drawn(rng: np.random.Generator, frames: int = 33, aspect: float = 1.6, style: str | None = None) -> Scene:
    """A random scene, as `world.drawn` gives them; all are of one kind."""
    sky, ground = str(rng.choice(list(SKIES), p=[.4, .2, .12, .28])), str(rng.choice(list(GROUNDS)))
    move = "static" if rng.random() < .6 else str(rng.choice(world.MOVES))
    scene = Scene("hiding", sky, ground, "clear", style or str(rng.choice(FIRST_STYLES, p=[.7] + [.3 / (len(FIRST_STYLES) - 1)] * (len(FIRST_STYLES) - 1))), move)
    away, behind, span = rng.uniform(5., 8.), rng.uniform(1.2, 1.8), rng.uniform(2., 3.6)
    wide = _subject(scene, rng, frames, behind, span)
    gap = min(2.4, rng.uniform(*HIDDEN) * span + wide)         # half of what is hidden at the subject's depth
    _cover(scene, rng, gap * away / (away + behind), rng.uniform(.5, 1.) * (away / (away + behind)))
    if rng.random() < .4:
        word, own, side = str(rng.choice(world.SHAPES)), a_colour(rng), rng.choice([-1, 1])
        at = side * rng.uniform(1.6, 2.8), rng.choice([-1., 3.2]) + rng.uniform(-.3, .3), 0.
        place(scene, Thing(word, own), world.shape(word, at, rng.uniform(.35, .6), own, rng.uniform(0, 6.28)))
    eye = np.array([rng.uniform(-.6, .6), -away, rng.uniform(1., 1.9)])
    world.filmed(scene, rng, frames, aspect, eye, np.array([0, behind, rng.uniform(.6, .9)]))
    return scene


def _subject(scene: Scene, rng, frames: int, behind: float, span: float) -> float:
    """What passes, along x at y = behind, and half its width in metres. One in four comes back on the side from which it went."""
    u, way = np.linspace(-1, 1, frames), rng.choice([-1, 1])
    along = u if rng.random() < .75 else 1 - 2 * np.abs(u)
    path, own, choice = np.stack([way * span * along, np.zeros(frames), np.zeros(frames)], 1), a_colour(rng), rng.random()
    if choice < .62:
        word, size = str(rng.choice(world.SHAPES)), rng.uniform(.42, .75)
        solids, wide, motion = [world.shape(word, (0., behind, 0.), size, own, rng.uniform(0, 6.28))], size, "sliding"
    elif choice < .84:
        word, motion, wide, solids = "figure", "walking", .27, world.figure((0., behind), own)
        path[:, 2] = .06 * np.abs(np.sin(np.linspace(0, np.pi * 6, frames)))
    else:
        word, motion, wide = "car", "driving", 1.6
        solids = world.car(rng, (0., behind + .4), 0. if way > 0 else np.pi, own)
    place(scene, Thing(word, own, motion), *solids, path=path)
    return wide


def _cover(scene: Scene, rng, half: float, tall: float) -> None:
    """What hides it, about the middle; a pillar or a house may have another beside it."""
    word, own = str(rng.choice(COVERS, p=[.5, .2, .2, .1])), a_finish(rng, .8)
    deep, tall = {"wall": (.15, tall), "pillar": (min(half, .7), 1.3 * tall), "building": (.7, 1.6 * tall), "cube": (min(half, .7), tall)}[word]
    kind = "cylinder" if word == "pillar" and rng.random() < .6 else "box"
    many = word in ("pillar", "building") and rng.random() < .4
    places = (0., half * 2 + rng.uniform(1., 2.)) if many else (0.,)
    place(scene, Thing(word, own, many=many, before=True),
          *[Solid(kind, (x, FAR_SIDE - deep, 0.), (half, deep, tall), index(own), windows=word == "building") for x in places])
