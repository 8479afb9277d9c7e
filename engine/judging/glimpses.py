"""What the judges learn from: five frames of each of many rendered clips of one or two things, kept on disk once rendered."""
from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from ..blockout import data, world
from . import attributes

log = logging.getLogger(__name__)

SEEN = (0, 4, 8, 12, 16)                                       # frames of 17 that the judges look at
SEEDS = 7_000_000                                              # of scenes that training never draws
CHUNK = 256                                                    # glimpses a file
HEIGHT, WIDTH = 40, 64


@dataclass(frozen=True, slots=True)
class Glimpses:
    rgb: np.ndarray             # uint8 (N, 5, 40, 64, 3)
    parts: np.ndarray           # int8 (N, 5, 40, 64): 0 the first thing, 1 the second, below 0 neither
    things: np.ndarray          # int64 (N, 2, 2): colour and shape of both, -1 where there is none or it can't be told
    scene: np.ndarray           # int64 (N, 4): sky, ground, camera, style


def _scene(seed: int) -> world.Scene:
    """One or two things, in the frames that are SEEN."""
    scene = world.drawn(np.random.default_rng(seed), 17, WIDTH / HEIGHT, kind="objects", count=1 + seed % 2)
    for name in ("eye", "yaw", "pitch"):
        setattr(scene, name, getattr(scene, name)[list(SEEN)])
    scene.movers = [m[list(SEEN)] for m in scene.movers]
    return scene


def _things(scene: world.Scene) -> list[tuple[int, int]]:
    return [*(attributes.of_thing(scene, thing) for thing in scene.things), (-1, -1)][:2]


def glimpsed(seeds: range) -> Glimpses:
    """A glimpse of each seed."""
    scenes = [_scene(seed) for seed in seeds]
    return Glimpses(data.render_all(scenes, HEIGHT, WIDTH, list(seeds))[0].numpy(), np.stack([data.parts(scene, HEIGHT, WIDTH) for scene in scenes]),
                    np.array([_things(scene) for scene in scenes]), np.array([attributes.of_scene(scene) for scene in scenes]))


def write(path: Path, first: int, count: int) -> Path:
    """Renders the glimpses of `count` seeds into one file."""
    part = path.with_suffix(".part.npz")
    np.savez(part, **asdict(glimpsed(range(first, first + count))))
    os.replace(part, path)
    return path


def rendered(folder: Path, count: int, jobs: int = 2) -> Glimpses:
    """`count` glimpses, rounded up to whole files; those that lie in `folder` already are read, the others rendered first."""
    folder.mkdir(parents=True, exist_ok=True)
    size = min(CHUNK, count)
    starts = range(0, count, size)
    paths = [folder / f"glimpses-{start}-{size}.npz" for start in starts]
    missing = [(path, SEEDS + start) for path, start in zip(paths, starts) if not path.exists()]
    if missing:
        log.info("rendering %d clips for the judges to learn from", len(missing) * size)
        with data.renderers(jobs) as pool:
            for n, _ in enumerate(pool.map(write, *zip(*missing), [size] * len(missing)), 1):
                log.info("%d of %d", n * size, len(missing) * size)
    found = [np.load(path) for path in paths]
    return Glimpses(*(np.concatenate([f[one.name] for f in found]) for one in fields(Glimpses)))
