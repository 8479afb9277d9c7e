"""What the judges learn from: five frames of each of many rendered clips of one or two things, kept on disk once rendered."""
from __future__ import annotations

import logging
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
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


def glimpse(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One row of each of Glimpses' arrays."""
    rng = np.random.default_rng(seed)
    scene = world.drawn(rng, 17, WIDTH / HEIGHT, kind="objects", count=1 + seed % 2)
    for name in ("eye", "yaw", "pitch"):
        setattr(scene, name, getattr(scene, name)[list(SEEN)])
    scene.movers = [m[list(SEEN)] for m in scene.movers]
    things = np.full((2, 2), -1)
    for i, thing in enumerate(scene.things):
        things[i] = attributes.of_thing(scene, thing)
    return data.render(scene, HEIGHT, WIDTH, seed)[0], data.parts(scene, HEIGHT, WIDTH), things, np.array(attributes.of_scene(scene))


def write(path: Path, first: int, count: int) -> Path:
    """Renders the glimpses of `count` seeds into one file."""
    rows = [np.stack(column) for column in zip(*(glimpse(first + i) for i in range(count)))]
    part = path.with_suffix(".part.npz")
    np.savez(part, **dict(zip(("rgb", "parts", "things", "scene"), rows)))
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
        with ProcessPoolExecutor(jobs) as pool:
            for n, _ in enumerate(pool.map(write, *zip(*missing), [size] * len(missing)), 1):
                log.info("%d of %d", n * size, len(missing) * size)
    found = [np.load(path) for path in paths]
    return Glimpses(*(np.concatenate([f[name] for f in found]) for name in ("rgb", "parts", "things", "scene")))
