"""Rendered clips on disk: a shard is a folder of .npy files with clips of one shape. Shard n is the same on every machine."""
from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import data, hiding, portraits, timed, varied, world
from .guides import SIDE

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Series:
    """Clips for one purpose. Shards take its shapes (frames, height, width) in turn; `few` draws one or a few things in daylight
    colours, in every clip or in every other one, which is how it is learned which word paints what."""
    shapes: tuple[tuple[int, int, int], ...]
    clips: int                                                 # a shard
    first: int                                                 # seed of the first clip
    few: tuple[int, ...] = ()                                  # how many things, in turn
    every: int = 1
    mottled: float = 1.                                        # as in `world.drawn`: a texture that is easier to learn from
    told: bool = False                                         # by captions alone: in every style, and never beside a guide
    near: float = 1.                                           # as in `world.drawn`: things that fill more of the picture are learned first
    draws: Callable = world.drawn                              # a scene, as `world.drawn`
    alone: float = 0.                                          # share that is shown no guide, beside those that training leaves without anyway

    def shape(self, n: int) -> tuple[int, int, int]:
        """Of shard n; a stride of 7 mixes shapes early."""
        return self.shapes[n * 7 % len(self.shapes)]

    def clip(self, n: int, i: int) -> data.Clip:
        """Clip i of shard n."""
        return data.clip(self.first + n * self.clips + i, *self.shape(n), self.draws, **self.fixed(i))

    def fixed(self, i: int) -> dict:
        """What clip i of a shard has to be, as `world.drawn` takes it."""
        few = {"kind": "objects", "count": self.few[i % len(self.few)]} if self.few and i % self.every == self.every - 1 else {}
        style = {"style": "photo"} if few and not self.told else {}
        return few | style | ({"mottled": self.mottled} if self.mottled > 1 else {}) | ({"near": self.near} if self.near < 1 else {})

    def captioned(self, n: int, i: int) -> tuple[world.Scene, str]:
        """Scene and caption of clip i of shard n."""
        frames, h, w = self.shape(n)
        return data.told(self.first + n * self.clips + i, frames, w / h, self.draws, **self.fixed(i))

    def scene(self, n: int, i: int) -> world.Scene:
        """That of clip i of shard n, drawn again: this costs nothing beside rendering it."""
        return self.captioned(n, i)[0]


SERIES = {
    "short": Series(((17, 40, 64),) * 12 + ((17, 64, 40),) * 2 + ((17, 48, 48),) * 2 + ((17, 32, 80),) * 2 + ((33, 40, 64),) * 2, 64, 1_000_000),
    "plain": Series(((17, 40, 64),), 64, 3_000_000, (1, 2)),
    "mottled": Series(((17, 40, 64),), 64, 50_000_000, (1, 2), 2, 3.5),
    "varied": Series(((17, 40, 64),) * 11 + ((17, 64, 40), (17, 48, 48), (17, 32, 80), (33, 40, 64)), 64, 90_000_000, draws=varied.drawn),
    "large varied": Series(((17, 72, 128),) * 3 + ((17, 128, 72),), 12, 110_000_000, draws=varied.drawn),
    "hiding": Series(((33, 40, 64),), 32, 130_000_000, draws=hiding.drawn),
    "timed": Series(((17, 40, 64),) * 6 + ((17, 64, 40), (33, 40, 64)), 64, 150_000_000, draws=timed.drawn, alone=.7),
    "academy": Series(((17, 48, 64), (17, 64, 48), (33, 48, 64)), 64, 170_000_000),
    "long": Series(((49, 56, 96),) * 7 + ((49, 96, 56), (49, 48, 112), (33, 56, 96)), 12, 5_000_000),
    "stills": Series(((1, 40, 64),) * 5 + ((1, 56, 96),) * 5 + ((1, 96, 56), (1, 48, 48), (1, 48, 112)), 512, 20_000_000, (1, 1, 2, 2, 3, 3), 2),
    "told": Series(((1, 40, 64),) * 8 + ((1, 56, 96),) * 2 + ((1, 72, 128),), 512, 70_000_000, (1, 1, 1, 2), told=True),
    "close": Series(((1, 40, 64),) * 8 + ((1, 56, 96),) * 2 + ((1, 72, 128),), 512, 80_000_000, (1, 1, 1, 2), told=True, near=.4),
    "large stills": Series(((1, 72, 128),) * 4 + ((1, 128, 72),), 256, 30_000_000, (1, 2, 3), 3),
    "large": Series(((17, 72, 128),) * 4 + ((33, 72, 128), (17, 128, 72)), 12, 40_000_000)}
HELD_OUT = 9_000_000                                           # seeds from here to 20 million are never trained on


def write(root: Path, name: str, n: int, series: Series | None = None, device: str = "cpu") -> Path:
    """Renders shard n of a series on a device, unless it is there already.

    Captions and scenes are the same from every device. Pixels are the same whenever they come from the same one; two devices round sines
    and roots differently in the last bit, by which a pixel in some thousands is another: at a shadow's rim, where a step of a style begins.
    """
    series, folder = series or SERIES[name], root / name / f"{n:04d}"
    if folder.exists():
        return folder
    (_, h, w), first = series.shape(n), series.first + n * series.clips
    scenes, said = zip(*(series.captioned(n, i) for i in range(series.clips)))
    rendered = data.render_all(list(scenes), h, w, [first + i for i in range(series.clips)], device)
    part = folder.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    for array, values in zip(("rgb", "inverse_depth", "normal"), rendered):
        np.save(part / f"{array}.npy", values.cpu().numpy())
    (part / "captions.json").write_text(json.dumps(said))
    os.replace(part, folder)
    return folder


def flown(folder: Path, clips: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Camera to world (N, T, 4, 4), lenses (N, 4), phases and strengths of the ground (N, 3), and frames a second (N,) of a shard's clips,
    0 of stills. Where a scene does not say its rate, its whole move takes timed.SECONDS."""
    series, n = SERIES[folder.parent.name], int(folder.name)
    scenes, (frames, h, w) = [series.scene(n, i) for i in range(clips)], series.shape(n)
    usual = (frames - 1) / timed.SECONDS
    each = ((*data.cameras(scene, h, w), world.ground(scene), np.float32(scene.fps or usual)) for scene in scenes)
    return tuple(np.stack(found) for found in zip(*each))


def painted(folder: Path, clips: int) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """`data.paints` of a shard's clips: (N, T, H, W), and lists of colours and of things."""
    series, n = SERIES[folder.parent.name], int(folder.name)

    def draw(file) -> None:
        _, h, w = series.shape(n)
        found = [data.paints(series.scene(n, i), h, w) for i in range(clips)]
        each = {f"colours{i}": c for i, (_, c, _) in enumerate(found)} | {f"parts{i}": p for i, (_, _, p) in enumerate(found)}
        np.savez_compressed(file, seen=np.stack([seen for seen, _, _ in found]), **each)
    with np.load(kept(folder / "paints.npz", draw)) as found:
        return found["seen"], [found[f"colours{i}"] for i in range(clips)], [found[f"parts{i}"] for i in range(clips)]


def moved(folder: Path, clips: int) -> np.ndarray:
    """`data.vectors` of a shard's clips (N, T, H, W, 2)."""
    series, n = SERIES[folder.parent.name], int(folder.name)

    def draw(file) -> None:
        _, h, w = series.shape(n)
        np.save(file, np.stack([data.vectors(series.scene(n, i), h, w) for i in range(clips)]))
    return np.load(kept(folder / "vectors.npy", draw), mmap_mode="r")


def portrayed(folder: Path, clips: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Portraits uint8 (N, SIDE, SIDE, 3) of a shard's subjects, which of them show one thing (N,), and captions that leave its look to them."""
    series, n = SERIES[folder.parent.name], int(folder.name)

    def draw(file) -> None:
        seeds = [series.first + n * series.clips + i for i in range(clips)]
        scenes = [series.scene(n, i) for i in range(clips)]
        alone, single = zip(*map(portraits.taken, scenes, seeds))
        shown = data.render_all(list(alone), SIDE, SIDE, seeds)[0][:, 0].numpy()
        said = np.array([portraits.unnamed(scene, np.random.default_rng((seed, 1))) for scene, seed in zip(scenes, seeds)])
        np.savez(file, shown=shown, single=single, said=said)
    with np.load(kept(folder / "portraits.npz", draw)) as found:
        return found["shown"], found["single"], found["said"].tolist()


def kept(path: Path, draw: Callable) -> Path:
    """The file that `draw` once wrote into, whole or not at all."""
    if not path.exists():
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            draw(file)
        os.replace(part, path)
    return path


def renderer(place: str) -> str:
    """The device that renders where another computes: itself where it is CUDA's or ROCm's, else the CPU; nobody has rendered on others."""
    return place if place.startswith("cuda") else "cpu"


def build(root: Path, series: str, count: int, jobs: int = 2, start: int = 0, device: str = "cpu") -> None:
    """Renders shards start..count-1: on the processor in `jobs` processes of one thread, on a card in this one."""
    def said(n: int, folder: Path) -> None:
        log.info("%s shard %d/%d: %s", series, n + 1, count, folder)
    if device != "cpu":
        for n in range(start, count):
            said(n, write(root, series, n, device=device))
        return
    with data.renderers(jobs) as pool:
        futures = [pool.submit(write, root, series, n) for n in range(start, count)]
        for n, future in enumerate(futures, start):
            said(n, future.result())


def ready(root: Path, series: str) -> list[Path]:
    """Finished shards, in order."""
    return sorted(p for p in (root / series).glob("[0-9]*") if p.suffix != ".part") if (root / series).exists() else []


def captions(folder: Path) -> list[str]:
    return json.loads((folder / "captions.json").read_text())
