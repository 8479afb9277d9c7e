"""Worlds with more in them than world.py's: any shade of a colour, up to a dozen things and how many they are, hills, stairs, stacks, buses,
lamps, passers-by, glossy things, rain and wet ground, ten styles, handheld, tilting, following and flying cameras."""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import world
from .looks import ALBEDO, COLOURS, FINISH_NAMES, FINISHES, GROUNDS, SKIES, WEATHERS
from .rays import Solid
from .words import STYLES
from .world import Scene, Thing, a_colour, a_finish, index, place

KINDS = ("objects", "street", "crossing", "court", "crowd", "hills")
MOVES = (*world.MOVES, "tilt up", "tilt down", "handheld", "follow", "drone")
LIT = (1., .86, .5)                                            # a lamp


def drawn(rng: np.random.Generator, frames: int = 17, aspect: float = 1.6, kind: str | None = None, style: str | None = None) -> Scene:
    """A random scene, as `world.drawn` gives them."""
    kind = kind or str(rng.choice(KINDS, p=[.2, .16, .14, .16, .2, .14]))
    sky, ground = str(rng.choice(list(SKIES), p=[.34, .24, .18, .24])), str(rng.choice(list(GROUNDS)))
    weather = str(rng.choice([*WEATHERS, "rain"], p=[.7, .08, .06, .16]))
    scene = Scene(kind, sky, ground, weather, style or str(rng.choice(STYLES, p=[.28] + [.08] * (len(STYLES) - 1))), str(rng.choice(MOVES)))
    scene.wet = rng.random() < (.75 if weather == "rain" else .08)
    eye, focus = _crowd(scene, rng) if kind == "crowd" else _hills(scene, rng) if kind == "hills" else world.furnished(scene, rng, frames)
    _more(scene, rng, frames, eye, focus)
    _painted(scene, rng)
    _flown(scene, rng, frames, aspect, eye, focus)
    return scene


def _crowd(scene: Scene, rng) -> tuple[np.ndarray, np.ndarray]:
    """One to three groups of like things, a dozen at most, none on top of another."""
    spots = [(x, y) for x in np.linspace(-3.6, 3.6, 5) for y in (-2., 0., 2.)]
    spots = [spots[i] + rng.uniform(-.3, .3, 2) for i in rng.permutation(len(spots))]
    finishes = rng.permutation(list(COLOURS))
    for i in range(int(rng.integers(1, 4))):
        count, own, word = int(rng.integers(2, 5)), str(finishes[i]), str(rng.choice([*world.SHAPES, "figure"]))
        size, here = rng.uniform(.5, .75), [spots.pop() for _ in range(count)]
        solids = [s for at in here for s in (world.figure(at, own) if word == "figure" else
                                             [world.shape(word, (*at, 0.), size, own, rng.uniform(0, 6.28))])]
        place(scene, Thing(word, own, many=True, count=count), *solids)
    away = rng.uniform(0, 2 * np.pi)
    return np.array([8.5 * np.cos(away), 8.5 * np.sin(away), rng.uniform(2., 4.5)]), np.array([0, 0, .6])


def _hills(scene: Scene, rng) -> tuple[np.ndarray, np.ndarray]:
    """Low mounds of the ground's own colour, one subject before them, trees on some."""
    word, own = str(rng.choice([*world.SHAPES, "car", "tower"])), a_finish(rng, .2)
    at = rng.uniform(-1, 1, 2)
    if word == "car":
        place(scene, Thing(word, own), *world.car(rng, at, rng.uniform(0, 6.28), own))
    elif word == "tower":
        place(scene, Thing(word, own), Solid("cylinder", (*at, 0.), (.8, .8, rng.uniform(1.6, 3)), index(own)))
    else:
        place(scene, Thing(word, own), world.shape(word, (*at, 0.), rng.uniform(.7, 1.2), own, rng.uniform(0, 6)))
    mounds = []
    for _ in range(int(rng.integers(3, 7))):
        side, wide, tall = rng.uniform(-14, 14), rng.uniform(4, 9), rng.uniform(1., 3.2)
        mounds.append(Solid("ellipsoid", (side, rng.uniform(7, 22), -tall), (wide, wide * rng.uniform(.6, 1.2), tall), index("foliage"), rng.uniform(0, 3)))
    place(scene, Thing("hill", many=True), *mounds)
    if rng.random() < .5:
        place(scene, Thing("tree", many=True), *[s for _ in range(3) for s in world.tree(rng, (rng.uniform(-7, 7), rng.uniform(3, 6)))])
    return np.array([rng.uniform(-2, 2), rng.uniform(-8, -5.5), rng.uniform(1.2, 3.)]), np.array([0, 2., 1.])


def _more(scene: Scene, rng, frames: int, eye: np.ndarray, focus: np.ndarray) -> None:
    """Beside and behind the subject: a stack, stairs, a bus, lamps; before it: somebody who passes by."""
    beside = lambda reach: focus[:2] + rng.uniform(-reach, reach, 2)
    if rng.random() < .14:
        names, at, z, parts = [a_colour(rng) for _ in range(int(rng.integers(2, 4)))], beside(2.5), 0., []
        for name in names:
            size, word = rng.uniform(.4, .6), str(rng.choice(["cube", "cylinder"]))
            parts.append(world.shape(word, (*at, z), size, name, rng.uniform(0, 6)))
            z += 2 * parts[-1].half[2]
        place(scene, Thing("stack", names[0]), *parts)
    if rng.random() < .12 and scene.kind in ("objects", "court", "crowd"):
        own, at, turn, wide = a_finish(rng, .7), beside(3.), rng.uniform(0, 6.28), rng.uniform(.8, 1.6)
        ahead = np.array([-np.sin(turn), np.cos(turn)])
        place(scene, Thing("stairs", own), *[Solid("box", (*(at + ahead * .45 * i), 0.), (wide, .225, .16 * (i + 1)), index(own), turn) for i in range(5)])
    if rng.random() < .12 and scene.kind in ("street", "court", "hills"):
        own, at, turn = a_colour(rng), beside(3.), np.pi / 2 if scene.kind == "street" else rng.uniform(0, 3)
        body = [Solid("box", (*at, .35), (2.6, .95, 1.15), index(own), turn), Solid("box", (*at, 1.35), (2.62, .97, .4), index("glass"), turn)]
        place(scene, Thing("bus", own), *body)
    if rng.random() < (.3 if scene.sky == "night" else .1):
        posts = []
        for _ in range(int(rng.integers(1, 4))):
            at, tall = beside(3.5), rng.uniform(1.2, 1.7)
            posts += [Solid("cylinder", (*at, 0.), (.06, .06, tall), index("black")), Solid("ellipsoid", (*at, 2 * tall), (.24, .24, .24), index("yellow"))]
        place(scene, Thing("lamp", many=len(posts) > 2), *posts)
    if rng.random() < .14:
        own, at, side = a_colour(rng), eye[:2] + (focus - eye)[:2] * rng.uniform(.35, .55), rng.choice([-1, 1])
        across = np.array([(focus - eye)[1], -(focus - eye)[0]]) / np.linalg.norm((focus - eye)[:2]) * side
        path = world.line(frames, (*(-across * 2.2), 0), (*(across * 2.2), 0))
        path[:, 2] = .06 * np.abs(np.sin(np.linspace(0, np.pi * 4, frames)))
        place(scene, Thing("figure", own, "walking"), *world.figure(at, own), path=path)


def _painted(scene: Scene, rng) -> None:
    """Each thing's paints in shades of their own; one in seven in no colour that has a name. Some are glossy, lamps glow, hills are ground."""
    rows, gloss, glow, now = [*ALBEDO], [], [], {}
    for part, thing in enumerate(scene.things):
        glossy = rng.random() < .18
        for finish in sorted({s.finish for s in scene.solids if s.part == part}):
            name = FINISH_NAMES[finish]
            nameless = name == thing.finish and rng.random() < .14
            base = np.array(GROUNDS[scene.ground] if thing.word == "hill" else LIT if (thing.word, name) == ("lamp", "yellow") else FINISHES[name])
            shade = rng.uniform(.04, .95, 3) if nameless else base * np.exp(rng.normal(0, .13)) + rng.normal(0, .03, 3)
            now[part, finish] = len(rows)
            rows.append(np.clip(shade, .02, .97))
            if nameless:
                thing = replace(thing, finish="")
            if (thing.word, name) == ("lamp", "yellow"):
                glow.append(now[part, finish])
            elif glossy:
                gloss.append(now[part, finish])
        scene.things[part] = replace(thing, glossy=glossy)
    scene.solids = [replace(s, finish=now[s.part, s.finish]) for s in scene.solids]
    scene.albedo, scene.gloss, scene.glow = np.array(rows, np.float32), tuple(gloss), tuple(glow)


def _flown(scene: Scene, rng, frames: int, aspect: float, eye: np.ndarray, focus: np.ndarray) -> None:
    """The moves of world.py, and those that it does not know on top of a camera that stands still."""
    if scene.move == "follow" and not scene.movers:
        scene.move = "handheld"                                # there is nothing to go after
    move, u = scene.move, np.linspace(0, 1, frames, dtype=np.float32)
    if move in world.MOVES:
        world.filmed(scene, rng, frames, aspect, eye, focus)
        return
    scene.move = "static"
    if move == "drone":
        eye = np.array([*(focus[:2] + (eye - focus)[:2] * 1.1), rng.uniform(6, 9)])
    elif move == "follow":
        eye = np.array([*(focus[:2] + (eye - focus)[:2] * .8), rng.uniform(.35, .7)])
    world.filmed(scene, rng, frames, aspect, eye, focus)
    scene.move = move
    if move.startswith("tilt"):
        scene.pitch = scene.pitch + (1 if move.endswith("up") else -1) * rng.uniform(.3, .5) * (u - .5)
    elif move == "handheld":
        shake = lambda: sum(rng.uniform(.4, 1) * np.sin(u * rng.uniform(4, 16) * frames / 17 + rng.uniform(0, 6.28)) for _ in range(3)).astype(np.float32)
        scene.yaw, scene.pitch = scene.yaw + .022 * shake(), scene.pitch + .018 * shake()
        scene.eye = scene.eye + .05 * np.stack([shake(), shake(), shake()], 1)
    elif move == "follow":
        scene.eye = scene.eye + (scene.movers[0] - scene.movers[0][:1]) * np.array([.9, .9, 0], np.float32)
    else:
        ahead = (focus - eye)[:2] * rng.uniform(.3, .5)
        scene.eye = scene.eye + np.concatenate([u[:, None] * ahead[None], np.zeros((frames, 1))], 1).astype(np.float32)
    scene.eye, scene.yaw, scene.pitch = (np.asarray(a, np.float32) for a in (scene.eye, scene.yaw, scene.pitch))
