"""Worlds to train on: which solids stand where, what moves, how the camera moves. Drawn from a numpy Generator; renders nothing.

+z is up, metres. A scene says in `things` what a caption may name, main subject first.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .looks import ALBEDO, COLOURS, FINISH_NAMES, GROUNDS, MATERIALS, SKIES, WEATHERS
from .rays import Solid
from .words import FIRST_STYLES

SHAPES = ("sphere", "cube", "cylinder", "cone")
MOVES = ("static", "pan left", "pan right", "dolly in", "dolly out", "orbit left", "orbit right", "crane up", "crane down",
         "truck left", "truck right")
KINDS = ("objects", "street", "crossing", "court")


@dataclass(frozen=True, slots=True)
class Thing:
    word: str
    finish: str = ""
    motion: str = ""
    many: bool = False
    count: int = 1                                              # a small number that a caption may name
    glossy: bool = False
    before: bool = False                                        # the main subject passes behind it


@dataclass(slots=True)
class Scene:
    kind: str
    sky: str
    ground: str
    weather: str
    style: str
    move: str
    solids: list[Solid] = field(default_factory=list)
    movers: list[np.ndarray] = field(default_factory=list)      # (T, 3) metres each, for groups 1, 2, ...
    things: list[Thing] = field(default_factory=list)
    eye: np.ndarray | None = None                               # (T, 3)
    yaw: np.ndarray | None = None                               # (T,) radians
    pitch: np.ndarray | None = None                             # (T,)
    fov: float = 55.0                                           # degrees across the longer side
    sun_turn: float = 0.0
    phase: tuple[float, float] = (0.0, 0.0)
    mottled: float = 1.0                                        # how strongly the ground is, against a natural one
    road: bool = False
    wet: bool = False
    albedo: np.ndarray = field(default_factory=lambda: ALBEDO)  # (F, 3) of finishes, by number
    gloss: tuple[int, ...] = ()                                 # finishes with a highlight
    glow: tuple[int, ...] = ()                                  # finishes that light themselves
    reach: float = 100.0                                        # metres: the ground ends here
    fps: float = 0.                                             # frames a second; 0: nobody says


def ground(scene: Scene) -> np.ndarray:
    """float32 (3,): phase and strength of the pattern on a scene's ground."""
    return np.array([*scene.phase, scene.mottled], np.float32)


def index(finish: str) -> int:
    return FINISH_NAMES.index(finish)


def a_colour(rng) -> str:
    return str(rng.choice(list(COLOURS)))


def a_finish(rng, materials: float = .5) -> str:
    return str(rng.choice(list(MATERIALS))) if rng.random() < materials else a_colour(rng)


def place(scene: Scene, thing: Thing, *solids: Solid, path: np.ndarray | None = None) -> None:
    """Adds a thing made of solids; with a path (T, 3) they all move along it."""
    group, part = 0, len(scene.things)
    if path is not None:
        scene.movers.append(path.astype(np.float32))
        group = len(scene.movers)
    scene.things.append(thing)
    for s in solids:
        scene.solids.append(Solid(s.kind, tuple(map(float, s.base)), tuple(map(float, s.half)), s.finish, float(s.yaw), group, s.windows, part))


def shape(word: str, at, size: float, finish: str, yaw: float) -> Solid:
    kind, half = {"sphere": ("ellipsoid", (1, 1, 1)), "cube": ("box", (.9, .9, .9)), "cylinder": ("cylinder", (.75, .75, 1.)),
                  "cone": ("cone", (1, 1, 1.1))}[word]
    return Solid(kind, at, tuple(size * h for h in half), index(finish), yaw)


def car(rng, at, yaw: float, finish: str) -> list[Solid]:
    c, s = np.cos(yaw), np.sin(yaw)
    put = lambda x, y, z: (at[0] + c * x - s * y, at[1] + s * x + c * y, z)
    length, tall, paint = rng.uniform(1.8, 2.4), rng.uniform(.28, .42), index(finish)
    body = [Solid("box", put(0, 0, .3), (length, .85, tall), paint, yaw)]
    if rng.random() < .75:
        glass = index("glass") if rng.random() < .5 else paint
        body.append(Solid("box", put(-.15, 0, .3 + 2 * tall), (length * .52, .75, .30), glass, yaw))
    else:
        body.append(Solid("box", put(-.3, 0, .3 + 2 * tall), (length * .85, .82, .55), paint, yaw))
    wheels = [Solid("ellipsoid", put(x, y, 0), (.36, .12, .36), index("rubber"), yaw)
              for x in (-.62 * length, .62 * length) for y in (-.85, .85)]
    return body + wheels


def tree(rng, at) -> list[Solid]:
    tall, wide = rng.uniform(1.0, 2.0), rng.uniform(.8, 1.5)
    crown = "cone" if rng.random() < .35 else "ellipsoid"
    lift = tall * .8 if crown == "ellipsoid" else tall * .55
    return [Solid("cylinder", (*at, 0.), (.16, .16, tall / 2), index("wood")),
            Solid(crown, (*at, lift), (wide, wide, wide * rng.uniform(.9, 1.5)), index("foliage"))]


def figure(at, finish: str, tall: float = 1.75) -> list[Solid]:
    return [Solid("cylinder", (*at, 0.), (.16, .16, tall * .22), index("black")),
            Solid("ellipsoid", (*at, tall * .38), (.27, .22, tall * .24), index(finish)),
            Solid("ellipsoid", (*at, tall * .84), (.13, .13, tall * .08), index("skin"))]


def arch(rng, at, yaw: float, finish: str, wide: float, tall: float) -> list[Solid]:
    c, s, leg, f = np.cos(yaw), np.sin(yaw), rng.uniform(.35, .9), index(finish)
    put = lambda x, z: (at[0] + c * x, at[1] + s * x, z)
    beam = rng.uniform(.35, .9)
    return [Solid("box", put(-wide - leg, 0), (leg, leg, tall / 2), f, yaw), Solid("box", put(wide + leg, 0), (leg, leg, tall / 2), f, yaw),
            Solid("box", put(0, tall), (wide + 2 * leg, leg, beam), f, yaw)]


def line(frames: int, start, end) -> np.ndarray:
    u = np.linspace(0, 1, frames)[:, None]
    return np.asarray(start, float) * (1 - u) + np.asarray(end, float) * u


def walk(rng, frames: int, along) -> np.ndarray:
    """A figure's steps: on along a direction, bobbing."""
    path = line(frames, (0, 0, 0), (*(np.asarray(along) * rng.uniform(.8, 2.)), 0))
    path[:, 2] = .06 * np.abs(np.sin(np.linspace(0, np.pi * 4, frames)))
    return path


def _objects(scene: Scene, rng, frames: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    az = rng.uniform(0, 2 * np.pi)
    right = np.array([-np.sin(az), np.cos(az)])                                  # as seen by a camera at azimuth az
    finishes = rng.permutation(list(COLOURS))
    for i in range(count):
        side = 0 if count == 1 else (i / (count - 1) * 2 - 1) * (1.15 if count == 2 else 1.9)
        at = right * side + rng.uniform(-.35, .35, 2) * (1 if count < 3 else 2.2)
        size, motion = rng.uniform(.62, 1.0) * (1 if count < 3 else .8), str(rng.choice(["", "bouncing", "sliding"], p=[.64, .18, .18]))
        u, path = np.linspace(0, 1, frames), None
        if motion == "bouncing":
            path = np.zeros((frames, 3))
            path[:, 2] = 1.1 * np.abs(np.sin(np.pi * (1.5 * u * max(1, frames / 25) + rng.uniform(0, .5))))
        elif motion == "sliding":
            path = np.concatenate([np.outer(u - .5, right * rng.choice([-1.2, 1.2])), np.zeros((frames, 1))], 1)
        finish = str(finishes[i]) if rng.random() < .85 else str(rng.choice(list(MATERIALS)))
        word = str(rng.choice(SHAPES))
        place(scene, Thing(word, finish, motion), shape(word, (*at, 0.), size, finish, rng.uniform(0, 6.28)), path=path)
    r = rng.uniform(4.6, 7.) * (1 if count < 3 else 1.3)
    eye = np.array([r * np.cos(az), r * np.sin(az), rng.uniform(1.0, 2.8)])
    return eye, np.array([0, 0, .75])


def _row(scene: Scene, rng, x: float, sign: int, finish: str, reach: float) -> list[Solid]:
    """House fronts along +y whose street side is at x."""
    solids, y = [], -12.0
    while y < reach:
        long, deep, tall = rng.uniform(2., 4.5), rng.uniform(2, 4), rng.uniform(1.6, 5.5)
        own = index(finish if rng.random() < .7 else a_finish(rng, .8))
        solids.append(Solid("box", (x + sign * (deep + rng.uniform(0, .5)), y + long, 0.), (deep, long, tall), own, 0., 0, rng.random() < .75))
        y += 2 * long + (rng.uniform(.8, 3) if rng.random() < .3 else 0)
    return solids


def _street(scene: Scene, rng, frames: int) -> tuple[np.ndarray, np.ndarray]:
    half, finish = rng.uniform(3.2, 6.), a_finish(rng, .8)
    scene.road = True
    subject = rng.random()
    if subject < .7:
        paint, lane, way = a_colour(rng), rng.uniform(.8, half - 1.6) * rng.choice([-1, 1]), rng.choice([-1, 1])
        y = rng.uniform(2, 12)
        path = line(frames, (0, -way * rng.uniform(1, 5), 0), (0, way * rng.uniform(1, 5), 0)) if rng.random() < .75 else None
        place(scene, Thing("car", paint, "driving" if path is not None else ""), *car(rng, (lane, y), np.pi / 2, paint), path=path)
    if rng.random() < .45:
        own = a_finish(rng, .8)
        place(scene, Thing("arch", own), *arch(rng, (0, rng.uniform(5, 16)), 0., own, half * rng.uniform(.55, .85), rng.uniform(3, 4.5)))
    if rng.random() < .45:
        own, side = a_finish(rng, .7), rng.choice([-1, 1])
        step, r, tall = rng.uniform(2.5, 4.5), rng.uniform(.2, .4), rng.uniform(1.2, 2.2)
        kind = "cylinder" if rng.random() < .6 else "box"
        pillars = [Solid(kind, (side * (half - .7), -3 + step * i, 0.), (r, r, tall), index(own)) for i in range(5)]
        place(scene, Thing("pillar", own, many=True), *pillars)
    if rng.random() < .35:
        side = rng.choice([-1, 1])
        place(scene, Thing("tree", many=True), *[s for i in range(3) for s in tree(rng, (side * (half - .6), rng.uniform(-2, 16)))])
    if rng.random() < .35:
        own = a_colour(rng)
        at = rng.uniform(-1, 1) * (half - 1), rng.uniform(-3, 4)
        place(scene, Thing("figure", own, "walking"), *figure(at, own), path=walk(rng, frames, (0, rng.choice([-1, 1]))))
    place(scene, Thing("building", finish, many=True), *_row(scene, rng, -half, -1, finish, 24), *_row(scene, rng, half, 1, finish, 24))
    eye = np.array([rng.uniform(-.5, .5) * half, rng.uniform(-9, -6), rng.uniform(1.2, 3.5) if rng.random() < .8 else rng.uniform(4, 7)])
    return eye, np.array([rng.uniform(-.3, .3) * half, rng.uniform(4, 8), rng.uniform(1., 2.2)])


def _crossing(scene: Scene, rng, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Something passes from side to side behind a row of pillars, house fronts or a wall behind it."""
    paint, way = a_colour(rng), rng.choice([-1, 1])
    span = rng.uniform(2, 6)
    path = line(frames, (-way * span, 0, 0), (way * span * rng.uniform(.2, 1), 0, 0))
    if rng.random() < .7:
        place(scene, Thing("car", paint, "driving"), *car(rng, (0, rng.uniform(2.4, 3.6)), 0. if way > 0 else np.pi, paint), path=path)
    else:
        path[:, 0] *= .5
        path[:, 2] = .06 * np.abs(np.sin(np.linspace(0, np.pi * 4, frames)))
        place(scene, Thing("figure", paint, "walking"), *figure((0, rng.uniform(1., 3.)), paint), path=path)
    if rng.random() < .8:
        own, step, r, tall = a_finish(rng, .7), rng.uniform(2, 4), rng.uniform(.18, .4), rng.uniform(1.3, 2.2)
        kind, shift = "cylinder" if rng.random() < .6 else "box", rng.uniform(0, 2)
        place(scene, Thing("pillar", own, many=True, before=True), *[Solid(kind, ((i - 2) * step + shift, 0., 0.), (r, r, tall), index(own)) for i in range(5)])
        if rng.random() < .4:
            scene.solids.append(Solid("box", (shift, 0., 2 * tall), (step * 2 + 1, r * 1.3, .25), index(own), part=len(scene.things) - 1))
    own = a_finish(rng, .8)
    if rng.random() < .35:
        place(scene, Thing("wall", own), Solid("box", (0., 7., 0.), (14., .3, rng.uniform(.8, 2.)), index(own)))
    else:
        solids, x = [], -14.
        while x < 14:
            wide = rng.uniform(1.6, 3.4)
            front = index(own if rng.random() < .7 else a_finish(rng, .8))
            solids.append(Solid("box", (x + wide, 9.5, 0.), (wide, 3., rng.uniform(1.6, 5)), front, 0., 0, rng.random() < .75))
            x += 2 * wide + (rng.uniform(.5, 2) if rng.random() < .3 else 0)
        place(scene, Thing("building", own, many=True), *solids)
    if rng.random() < .3:
        place(scene, Thing("tree", many=True), *[s for _ in range(2) for s in tree(rng, (rng.uniform(-6, 6), rng.uniform(4.5, 5.5)))])
    eye = np.array([rng.uniform(-3, 3), rng.uniform(-9, -5), rng.uniform(1.1, 3.)])
    return eye, np.array([rng.uniform(-1, 1), 2.5, rng.uniform(.9, 1.6)])


def _court(scene: Scene, rng, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """An open place: a few shapes and figures before an arch, a wall, towers and trees."""
    for _ in range(int(rng.integers(1, 4))):
        word, own = str(rng.choice(SHAPES)), a_finish(rng, .3)
        place(scene, Thing(word, own), shape(word, (*rng.uniform(-3.2, 3.2, 2), 0.), rng.uniform(.4, 1.2), own, rng.uniform(0, 6)))
    if rng.random() < .6:
        own = a_colour(rng)
        at, way = rng.uniform(-2.5, 2.5, 2), rng.choice([(1, 0), (-1, 0), (0, 1)])
        place(scene, Thing("figure", own, "walking"), *figure(at, own), path=walk(rng, frames, way))
    if rng.random() < .6:
        own = a_finish(rng, .8)
        at, turn, wide, tall = (rng.uniform(-2, 2), rng.uniform(1.5, 5)), rng.uniform(-.4, .4), rng.uniform(.9, 2), rng.uniform(2., 3.6)
        place(scene, Thing("arch", own), *arch(rng, at, turn, own, wide, tall))
    if rng.random() < .5:
        own = a_finish(rng, .8)
        at, half = (rng.uniform(-2, 2), rng.uniform(5, 7), 0.), (rng.uniform(3, 9), .3, rng.uniform(.7, 1.8))
        place(scene, Thing("wall", own), Solid("box", at, half, index(own), rng.uniform(-.2, .2)))
    if rng.random() < .4:
        own, kind = a_finish(rng, .8), str(rng.choice(["box", "cylinder"]))
        at, half = (rng.uniform(-5, 5), rng.uniform(6, 10), 0.), (1.2, 1.2, rng.uniform(2.5, 5))
        place(scene, Thing("tower", own), Solid(kind, at, half, index(own), windows=kind == "box"))
    if rng.random() < .5:
        trees = [tree(rng, (rng.uniform(-6, 6), rng.uniform(2, 8))) for _ in range(int(rng.integers(1, 4)))]
        place(scene, Thing("tree", many=True), *[s for t in trees for s in t])
    eye = np.array([rng.uniform(-3.5, 3.5), rng.uniform(-9, -6), rng.uniform(1.1, 3.5)])
    return eye, np.array([0, 1., rng.uniform(.8, 1.4)])


def _aim(scene: Scene, rng, frames: int, eye: np.ndarray, focus: np.ndarray) -> None:
    """The camera's move over the clip: about or towards the focus, by an amplitude of about a third."""
    u, amplitude, move = np.linspace(0, 1, frames), rng.uniform(.7, 1.25), scene.move
    if rng.random() < .5:
        u = u * u * (3 - 2 * u)
    lean = focus - eye
    dist = float(np.hypot(lean[0], lean[1]))
    ahead = lean[:2] / dist
    right, tilt = np.array([ahead[1], -ahead[0]]), rng.uniform(-.05, .05)
    xy, z, turn = np.repeat(eye[None, :2], frames, 0), np.full(frames, eye[2]), np.zeros(frames)
    sign = 1 if move.split()[-1] in ("left", "in", "up") else -1
    tame = 1. if scene.kind == "objects" else .6
    if move.startswith("pan"):
        turn = sign * .38 * amplitude * (u - .5)
    elif move.startswith("dolly"):
        xy = xy + np.outer((u if sign > 0 else 1 - u) * .38 * amplitude * dist * max(tame, .8), ahead)
    elif move.startswith("truck"):
        xy = xy - np.outer(sign * .4 * amplitude * tame * dist * (u - .5), right)
    elif move.startswith("crane"):
        z = eye[2] * .6 + 2.3 * amplitude * (u if sign > 0 else 1 - u)
    elif move.startswith("orbit"):
        a = -sign * .75 * amplitude * tame * (u - .5)
        back = -lean[:2]
        xy = focus[:2] + np.stack([np.cos(a) * back[0] - np.sin(a) * back[1], np.sin(a) * back[0] + np.cos(a) * back[1]], -1)
    scene.eye = np.concatenate([xy, z[:, None]], 1).astype(np.float32)
    to = focus[:2] - xy
    facing = np.arctan2(ahead[1], ahead[0]) if not move.startswith("orbit") else np.unwrap(np.arctan2(to[:, 1], to[:, 0]))
    scene.yaw = np.broadcast_to(facing + turn, frames).astype(np.float32)
    scene.pitch = (np.arctan2(focus[2] - z, dist) + tilt).astype(np.float32)


def drawn(rng: np.random.Generator, frames: int = 17, aspect: float = 1.6, kind: str | None = None, style: str | None = None,
          count: int | None = None, mottled: float = 1., near: float = 1.) -> Scene:
    """A random scene. `aspect` is width over height of the picture; `count` fixes how many objects stand in an `objects` scene;
    its ground is mottled once to `mottled` times as strongly as a natural one, and the camera stands as far off as usual or down to `near` times that."""
    kind = kind or str(rng.choice(KINDS, p=[.46, .18, .20, .16]))
    shares = ((SKIES, [.3, .25, .2, .25]), (GROUNDS, None), (WEATHERS, [.84, .1, .06]))
    sky, ground, weather = (str(rng.choice(list(names), p=p)) for names, p in shares)
    scene = Scene(kind, sky, ground, weather, style or str(rng.choice(FIRST_STYLES, p=[.5, .12, .12, .10, .08, .08])), str(rng.choice(MOVES)))
    if kind in ("street", "crossing") and rng.random() < .5:
        scene.ground = "asphalt"
    filmed(scene, rng, frames, aspect, *furnished(scene, rng, frames, count), near)
    if mottled > 1:
        scene.mottled = float(np.exp(rng.uniform(0, np.log(mottled))))
    return scene


def furnished(scene: Scene, rng, frames: int, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Puts things into a scene as its kind has them; where a camera may stand and what it looks at, metres."""
    if scene.kind == "objects":
        return _objects(scene, rng, frames, count or int(rng.choice([1, 2, 3, 4], p=[.42, .36, .13, .09])))
    return {"street": _street, "crossing": _crossing, "court": _court}[scene.kind](scene, rng, frames)


def filmed(scene: Scene, rng, frames: int, aspect: float, eye: np.ndarray, focus: np.ndarray, near: float = 1.) -> None:
    """Gives a scene its camera, sun and ground."""
    if near < 1:
        eye = focus + (eye - focus) * rng.uniform(near, 1)
    if aspect < 1.3:
        eye = focus + (eye - focus) * np.array([1, 1, .8]) * (1.3 / aspect) ** .35
    _aim(scene, rng, frames, eye, focus)
    scene.fov, scene.sun_turn = rng.uniform(44, 66), rng.uniform(0, 2 * np.pi)
    scene.phase, scene.reach = tuple(rng.uniform(0, 10, 2)), float(np.exp(rng.uniform(np.log(30), np.log(200))))
