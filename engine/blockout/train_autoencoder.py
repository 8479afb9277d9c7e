"""The autoencoder's training: L1, L2 and edges against rendered clips, a light pull of the latents to a unit Gaussian."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..device import Device
from . import data, shards
from .autoencoder import Autoencoder
from .optimise import Muon
from .training import Run, onto, where

FRAMES, CROP, BATCH = 9, 48, 2
PULL = 1e-4


def as_video(rgb: np.ndarray) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(rgb)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


class Crops:
    """Random crops in time and space of rendered clips; looks for new shards as they appear."""

    def __init__(self, root: Path, series: tuple[str, ...]):
        self.root, self.series, self.rgb, self.draws = root, series, [], 0

    def draw(self, g: torch.Generator, batch: int, times: int = 1, place: torch.device | str = "cpu") -> Tensor:
        """(times * batch, 3, FRAMES, h, w) on a device: `batch` crops of each of so many shards, some of them the same."""
        if self.draws % 50 == 0:
            self.rgb = [np.load(p / "rgb.npy", mmap_mode="r") for s in self.series for p in shards.ready(self.root, s)]
        self.draws += 1
        return onto(as_video(np.concatenate([self._window(clips, g, batch) for clips in alike(self.rgb, times, g)])), place)

    def _window(self, clips: np.ndarray, g: torch.Generator, batch: int) -> np.ndarray:
        """One place in time and space of some clips of a shard."""
        pick = lambda n: int(torch.randint(n, (1,), generator=g))
        _, t, h, w, _ = clips.shape
        high, wide = crop(clips)
        t0, y0, x0 = pick(t - FRAMES + 1), pick(h - high + 1), pick(w - wide + 1)
        window = clips[:, t0:t0 + FRAMES, y0:y0 + high, x0:x0 + wide]
        return np.stack([window[pick(len(window))] for _ in range(batch)])


def crop(rgb: np.ndarray) -> tuple[int, int]:
    """Height and width of the crops of a shard's clips."""
    return tuple(min(CROP, side) // 8 * 8 for side in rgb.shape[2:4])


def alike(found: list, times: int, g: torch.Generator, rgb: Callable = lambda one: one) -> Iterator:
    """So many of the shards that are open, with replacement, whose crops are of one size; `rgb` says where a shard has its pictures."""
    pick = lambda among: among[int(torch.randint(len(among), (1,), generator=g))]
    first = pick(found)
    yield first
    others = [one for one in found if crop(rgb(one)) == crop(rgb(first))] if times > 1 else []
    for _ in range(times - 1):
        yield pick(others)


def loss(model: Autoencoder, video: Tensor, g: torch.Generator) -> Tensor:
    """L1, L2 and edges of what comes back of the video (B, 3, T, H, W), on the model's device; g is the CPU's."""
    mean, spread = model.encoder(video)
    latent = mean + torch.randn(mean.shape, generator=g).to(mean) * (spread / 2).exp()
    error = model.decoder(latent) - video
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    pull = .5 * (mean.square() + spread.exp() - 1 - spread).mean()
    return error.abs().mean() + error.square().mean() + .5 * edges + PULL * pull


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """(B,) decibels between videos in [-1, 1]."""
    return -10 * torch.log10(((a - b) / 2).square().flatten(1).mean(1) + 1e-9)


def held_out(count: int = 16, frames: int = 17, h: int = 40, w: int = 64) -> Tensor:
    first = shards.HELD_OUT
    return as_video(np.stack([data.clip(first + i, frames, h, w).rgb for i in range(count)]))


def set_statistics(model: Autoencoder, crops: Crops, g: torch.Generator, draws: int = 24) -> None:
    """Measures the latents' mean and spread per channel and keeps them with the weights."""
    model.eval()
    with torch.no_grad():
        latents = torch.cat([model.encoder(crops.draw(g, 8, place=where(model)))[0].transpose(0, 1).flatten(1) for _ in range(draws)], 1)
    model.mean.copy_(latents.mean(1))
    model.std.copy_(latents.std(1))


def optimisers(model: nn.Module) -> list:
    ends = ("encoder.halve", "encoder.out", "decoder.into", "decoder.out")
    matrices = [p for n, p in model.named_parameters() if p.ndim == 4 and not n.startswith(ends)]
    ours = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in ours]
    return [Muon(matrices, lr=.01), torch.optim.AdamW(rest, 2e-3, betas=(.9, .98), weight_decay=0.)]


def stage(root: Path, out: Path, minutes: float, place: Device | None = None, series: tuple[str, ...] = ("short", "long")) -> None:
    """Trains in `out` on the clips in `root`, on the CPU unless there is another place."""
    torch.manual_seed(0)
    model = Autoencoder().to(place.name if place else "cpu")
    run = Run("autoencoder", out, model, optimisers(model), minutes, horizon=300, place=place)
    run.resume()
    crops, video = Crops(root, series), onto(held_out(), where(model)) if run.rank == 0 else None

    def judge(average: Autoencoder) -> dict:
        return {"psnr": psnr(average.decoder(average.encoder(video)[0]).clamp(-1, 1), video).mean()}

    run.train(lambda m, g: loss(m, crops.draw(g, BATCH, run.times, where(m)), g), judge, every=100)
    if run.rank == 0:
        set_statistics(run.average.model, crops, run.random)
        run.save()
