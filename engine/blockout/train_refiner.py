"""The refiner's training: frames as Blockout's autoencoder gives them back, half as large, beside what the renderer shows at full size."""
from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..device import Device
from ..sampling import samplers
from . import captions, conditions, data, guides, model, shards, world
from .model import Blockout
from .optimise import Muon
from .refiner import SHARED, SPREAD, STEPS, TIMES, Refiner, Refining, enlarged, shown
from .train_autoencoder import as_video, psnr
from .training import Run, onto, where

log = logging.getLogger(__name__)

FRAMES, WHOLE = 5, (17, 33, 49)                                # of a pair, out of a clip of so many: things move as fast as they do in those
HELD_OUT = 9_800_000
CROP, SHOWN, BATCH, GRID = 64, 3, 4, 16                        # pixels of the large picture, frames, clips; the autoencoder's blocks in it
SMALL = "small.npy"                                            # uint8 (N, T, h, w, 3) in a shard's folder
MAKES = {"returned": .75, "off": .25}                          # share: by the autoencoder, its latents a little off; what the transformer redraws
                                                               # has another light, and a refiner that learns from it learns to shift colours
UNHURT = .2                                                    # share of crops that no autoencoder made: a better one than today's comes nearer to them
GIVEN = ((0, 0), (1, 1), (1, 0), (0, 1))                       # nothing, depth and normal, depth, normal
GIVEN_SHARE = (.06, .82, .06, .06)
OFF = .1                                                       # standard deviation, in normalised latents, at most
FAR = 2.                                                       # of SPREAD: errors past it no longer count by their square
EDGES = .3                                                     # weight of differences between neighbours, which keep lines thin
LITTLE = .03                                                   # an error that counts no more by its share
REFRESH = 25


def glance(seed: int, h: int, w: int) -> data.Clip:
    """FRAMES frames of the clip of a seed, wherever."""
    rng = np.random.default_rng(seed)
    frames = int(rng.choice(WHOLE))
    scene, first = world.drawn(rng, frames, w / h), int(rng.integers(frames - FRAMES + 1))
    caption, some = captions.caption(scene, rng), slice(first, first + FRAMES)
    scene.eye, scene.yaw, scene.pitch, scene.movers = scene.eye[some], scene.yaw[some], scene.pitch[some], [m[some] for m in scene.movers]
    return data.Clip(*data.render(scene, h, w, seed), caption, scene)


@dataclass(frozen=True, slots=True)
class Glances(shards.Series):
    """Few frames a clip: what matters is how they look large, and how they follow one another."""

    def clip(self, n: int, i: int) -> data.Clip:
        return glance(self.first + n * self.clips + i, *self.shape(n)[1:])


SERIES, NAME, COUNT = Glances(((FRAMES, 144, 256),) * 4 + ((FRAMES, 256, 144), (FRAMES, 192, 192)), 16, 60_000_000), "refine", 40       # shards


def smaller(x: np.ndarray) -> np.ndarray:
    """(N, T, H, W, ...) -> (N, T, H/2, W/2, ...) float32: means of 2x2 pixels."""
    n, t, h, w = x.shape[:4]
    return np.asarray(x, np.float32).reshape(n, t, h // TIMES, TIMES, w // TIMES, TIMES, *x.shape[4:]).mean((3, 5))


def given(g: torch.Generator, layout: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of depth and normal that are given this time."""
    flags = GIVEN[int(torch.multinomial(torch.tensor(GIVEN_SHARE), 1, generator=g))]
    return {kind: layout[kind] for kind, there in zip(guides.GUIDES, flags) if there}


def as_made(blockout: Blockout, x: Tensor, layout: dict[str, Tensor], make: str, g: torch.Generator) -> Tensor:
    """A small clip (1, 3, T, h, w) of the latent x as Blockout would have made it; layout as in guides.py. Both on its device, g is the CPU's."""
    layout = given(g, layout)
    if make == "off":
        x = x + (torch.randn(x.shape, generator=g) * OFF * torch.rand((), generator=g)).to(x)
    return blockout.autoencoder.decode(x, layout or None)


@torch.no_grad()
def makes(blockout: Blockout, rgb: np.ndarray, inverse: np.ndarray, normal: np.ndarray, seed: int) -> np.ndarray:
    """Clips of a shard (N, T, H, W, 3) half as large, each in one of MAKES: the renderer's time is better spent on more clips than on more of one."""
    g, found = torch.Generator().manual_seed(seed), []
    video, layout = onto((as_video(smaller(rgb)), conditions.guides(smaller(inverse), smaller(normal), g)), blockout.device)
    for i in range(len(rgb)):
        one = {kind: x[i:i + 1] for kind, x in layout.items()}
        latent = blockout.autoencoder.encode(video[i:i + 1])
        make = list(MAKES)[int(torch.multinomial(torch.tensor(list(MAKES.values())), 1, generator=g))]
        clip = as_made(blockout, latent, one, make, g)[0]
        found.append(((clip.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().numpy())
    return np.stack(found)


def prepare(root: Path, weights: Path, jobs: int, place: Device | None = None, count: int = COUNT) -> None:
    """Shards 0..count-1: on the CPU in `jobs` processes, elsewhere in this one."""
    if place is not None and place.name != "cpu":
        for n in range(count):
            log.info("%s", shard(root, weights, n, place.name))
        return
    with data.renderers(jobs) as pool:
        for done in [pool.submit(shard, root, weights, n) for n in range(count)]:
            log.info("%s", done.result())


def shard(root: Path, weights: Path, n: int, place: str = "cpu") -> Path:
    """Renders shard n and has the Blockout in `weights` make its small side on the device of that name, unless that is there."""
    folder = shards.write(root, NAME, n, SERIES, shards.renderer(place))
    if not (folder / SMALL).exists():
        blockout = model.load(weights, place)
        arrays = [np.load(folder / f"{name}.npy") for name in ("rgb", "inverse_depth", "normal")]
        np.save(folder / f".{SMALL}", makes(blockout, *arrays, n))
        os.replace(folder / f".{SMALL}", folder / SMALL)
    return folder


class Pairs:
    """Random crops of small and large clips, the large one's guides and captions; looks for new shards as they appear."""

    def __init__(self, root: Path):
        self.root, self.open, self.draws = root, {}, 0

    def draw(self, g: torch.Generator, times: int = 1, place: torch.device | str = "cpu") -> tuple[Tensor, Tensor, dict[str, Tensor], list[str]]:
        """small and large (B, T, 3, ., .) in [-1, 1], guides (B, C, T, H, W), captions, on a device: of so many shards, some of them the same."""
        if self.draws % REFRESH == 0:
            self._look()
        self.draws += 1
        small, large, layouts, texts = zip(*(self._some(g, place) for _ in range(times)))
        return torch.cat(small), torch.cat(large), {kind: torch.cat([one[kind] for one in layouts]) for kind in guides.GUIDES}, sum(texts, [])

    def _some(self, g: torch.Generator, place: torch.device | str) -> tuple[Tensor, Tensor, dict[str, Tensor], list[str]]:
        pick = lambda n: int(torch.randint(n, (1,), generator=g))
        small, rgb, inverse, normal, texts = list(self.open.values())[pick(len(self.open))]
        rows = torch.randperm(len(rgb), generator=g)[:BATCH].numpy()
        layout = conditions.guides(*onto([torch.from_numpy(np.asarray(x[rows])) for x in (inverse, normal)], place), g)
        (h, w), first = rgb.shape[2:4], pick(FRAMES - SHOWN + 1)
        some = slice(first, first + SHOWN)
        cuts = [(pick((h - CROP) // GRID + 1) * GRID, pick((w - CROP) // GRID + 1) * GRID) for _ in rows]
        large = torch.cat([as_video(rgb[i:i + 1, some, y:y + CROP, x:x + CROP]) for i, (y, x) in zip(rows, cuts)])
        low = as_video(np.stack([small[i, some, y // TIMES:(y + CROP) // TIMES, x // TIMES:(x + CROP) // TIMES] for i, (y, x) in zip(rows, cuts)]))
        low = torch.where((torch.rand(BATCH, generator=g) < UNHURT).view(-1, 1, 1, 1, 1), F.avg_pool3d(large, (1, TIMES, TIMES)), low)
        layout = {kind: torch.stack([every[i, :, some, y:y + CROP, x:x + CROP] for i, (y, x) in enumerate(cuts)]) for kind, every in layout.items()}
        return *onto((low.transpose(1, 2), large.transpose(1, 2)), place), layout, [texts[i] for i in rows]

    def _look(self) -> None:
        for folder in shards.ready(self.root, NAME):
            if folder not in self.open and (folder / SMALL).exists():
                arrays = [np.load(folder / name, mmap_mode="r") for name in (SMALL, "rgb.npy", "inverse_depth.npy", "normal.npy")]
                self.open[folder] = (*arrays, shards.captions(folder))


def sigmas(g: torch.Generator, batch: int) -> Tensor:
    """(B,) noise levels: most at the most, where sampling begins, the rest anywhere."""
    return torch.where(torch.rand(batch, generator=g) < .75, torch.ones(batch), torch.rand(batch, generator=g)).clamp(min=.02)


def loss(refiner: Refiner, small: Tensor, large: Tensor, layout: dict[str, Tensor], texts: list[str], g: torch.Generator) -> Tensor:
    """How much of what up-scaling is off remains, a share of each clip: what was redrawn differs ten times as much from the truth, past mending.
    All on the refiner's device, g is the CPU's."""
    b, t = small.shape[:2]
    layout = {kind: x.transpose(1, 2).flatten(0, 1) for kind, x in given(g, layout).items()}       # the same for all of a step: up-scaling follows them, too
    plain = enlarged(small.flatten(0, 1), layout)
    planes, plain = shown(layout, plain).unflatten(0, (b, t)), plain.unflatten(0, (b, t))
    x0, sigma = (large - plain) / SPREAD, sigmas(g, b).to(plain)
    eps = torch.randn(b, 1, *x0.shape[2:], generator=g) * SHARED ** .5 + torch.randn(x0.shape, generator=g) * (1 - SHARED) ** .5
    x = samplers.noised(x0, eps.to(x0), sigma.view(-1, 1, 1, 1, 1))
    words = refiner.words([caption if torch.rand((), generator=g) > .1 else "" for caption in texts])
    seen = refiner.see(small, plain, planes, words)
    return (off(refiner.denoised(x, sigma, words, seen) - x0) / (off(x0) + LITTLE)).mean()


def off(error: Tensor) -> Tensor:
    """(B,) Huber's error of residuals (B, T, 3, H, W), and that of their differences between neighbours."""
    edges = error.diff(dim=-1).abs().flatten(1).mean(1) + error.diff(dim=-2).abs().flatten(1).mean(1)
    far = F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=FAR).flatten(1).mean(1)       # what cannot be known (snowflakes) must not rule
    return far + EDGES * edges


def optimisers(refiner: nn.Module) -> list:
    ends = ("see.into", "noisy", "out", "ink")
    matrices = [p for n, p in refiner.named_parameters() if p.ndim == 4 and not n.startswith(ends)]
    ours = {id(p) for p in matrices}
    return [Muon(matrices, lr=.02), torch.optim.AdamW([p for p in refiner.parameters() if id(p) not in ours], 2e-3, betas=(.9, .98), weight_decay=0.)]


class HeldOut:
    """Decibels of clips never trained on: returned by the autoencoder, up-scaled plainly and refined."""

    def __init__(self, blockout: Blockout, count: int = 3):
        g = torch.Generator().manual_seed(1)
        self.clips = [glance(HELD_OUT + i, 144, 256) for i in range(count)]
        self.cases = []
        for clip in self.clips:
            rgb, inverse, normal = (x[None] for x in (clip.rgb, clip.inverse_depth, clip.normal))
            small = conditions.guides(smaller(inverse), smaller(normal), g, rough=False)
            video, small = onto((as_video(smaller(rgb)), small), blockout.device)
            with torch.no_grad():
                low = blockout.autoencoder.decode(blockout.autoencoder.encode(video), small)[0].transpose(0, 1)
            layout = {kind: x[0].transpose(0, 1) for kind, x in conditions.guides(inverse, normal, g, rough=False).items()}
            self.cases.append(onto((low, as_video(rgb)[0].transpose(0, 1), layout, clip.caption), blockout.device))

    def __call__(self, refiner: Refiner) -> dict[str, Tensor]:
        found: dict[str, list] = {"plain": [], "guided": [], "refined": [], "two steps": [], "no guides": []}
        level = lambda a, b: found[b].append(psnr(a[None], truth[None]))
        for low, truth, layout, caption in self.cases:
            words = refiner.words([caption])
            level(enlarged(low, layout), "guided")
            level(enlarged(low, {}), "plain")
            low = (low + 1) / 2
            for name, strength, steps, along in (("refined", 1., STEPS, layout), ("two steps", 1., 2, layout), ("no guides", 1., STEPS, {})):
                level(Refining(refiner, words, strength, 1, steps)(low, along) * 2 - 1, name)
        return {name: torch.cat(x).mean() for name, x in found.items()}


def stage(root: Path, out: Path, minutes: float, weights: Path = model.WEIGHTS, place: Device | None = None) -> None:
    """Trains on shards of root/refine that `prepare` has made, on the CPU unless there is another place."""
    torch.manual_seed(3)
    refiner = Refiner().to(place.name if place else "cpu")
    blockout = model.load(weights, where(refiner))
    run = Run("refiner", out, refiner, optimisers(refiner), minutes, horizon=100, seed=3, hold=.3, place=place)
    run.resume()
    pairs = Pairs(root)
    run.train(lambda m, g: loss(m, *pairs.draw(g, run.times, where(m)), g), HeldOut(blockout) if run.rank == 0 else None, every=150)
