"""The autoencoder's training: L1, L2 and edges against rendered clips, a light pull of the latents to a unit Gaussian."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import data, shards
from .autoencoder import Autoencoder
from .optimise import Muon
from .training import Run

FRAMES, CROP, BATCH = 9, 48, 2
PULL = 1e-4


def as_video(rgb: np.ndarray) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(rgb)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


class Crops:
    """Random crops in time and space of rendered clips; looks for new shards as they appear."""

    def __init__(self, root: Path, series: tuple[str, ...]):
        self.root, self.series, self.rgb, self.draws = root, series, [], 0

    def draw(self, g: torch.Generator, batch: int) -> Tensor:
        if self.draws % 50 == 0:
            self.rgb = [np.load(p / "rgb.npy", mmap_mode="r") for s in self.series for p in shards.ready(self.root, s)]
        self.draws += 1
        pick = lambda n: int(torch.randint(n, (1,), generator=g))
        clips = self.rgb[pick(len(self.rgb))]
        _, t, h, w, _ = clips.shape
        side = min(CROP, h) // 8 * 8, min(CROP, w) // 8 * 8
        t0, y0, x0 = pick(t - FRAMES + 1), pick(h - side[0] + 1), pick(w - side[1] + 1)
        window = clips[:, t0:t0 + FRAMES, y0:y0 + side[0], x0:x0 + side[1]]
        return as_video(np.stack([window[pick(len(window))] for _ in range(batch)]))


def loss(model: Autoencoder, video: Tensor, g: torch.Generator) -> Tensor:
    mean, spread = model.encoder(video)
    latent = mean + torch.randn(mean.shape, generator=g) * (spread / 2).exp()
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
        latents = torch.cat([model.encoder(crops.draw(g, 8))[0].transpose(0, 1).flatten(1) for _ in range(draws)], 1)
    model.mean.copy_(latents.mean(1))
    model.std.copy_(latents.std(1))


def optimisers(model: nn.Module) -> list:
    ends = ("encoder.halve", "encoder.out", "decoder.into", "decoder.out")
    matrices = [p for n, p in model.named_parameters() if p.ndim == 4 and not n.startswith(ends)]
    ours = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in ours]
    return [Muon(matrices, lr=.01), torch.optim.AdamW(rest, 2e-3, betas=(.9, .98), weight_decay=0.)]


def stage(root: Path, out: Path, minutes: float, series: tuple[str, ...] = ("short", "long")) -> None:
    torch.manual_seed(0)
    model = Autoencoder()
    run = Run("autoencoder", out, model, optimisers(model), minutes, horizon=300)
    run.resume()
    crops, video = Crops(root, series), held_out() if run.rank == 0 else None

    def judge(average: Autoencoder) -> dict:
        return {"psnr": psnr(average.decoder(average.encoder(video)[0]).clamp(-1, 1), video).mean()}

    run.train(lambda m, g: loss(m, crops.draw(g, BATCH), g), judge, every=100)
    if run.rank == 0:
        set_statistics(run.average.model, crops, run.random)
        run.save()
