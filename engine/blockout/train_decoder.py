"""A last word for the decoder: with the encoder frozen, on latents a little off as a transformer's are, and shown the layout's guides."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..device import Device
from . import conditions, data, guides, shards
from .autoencoder import Autoencoder, Decoder
from .optimise import Muon
from .train_autoencoder import BATCH, FRAMES, alike, as_video, crop, psnr
from .train_transformer import trained_autoencoder
from .training import Run, onto, where

OFF = .2                                                       # standard deviation, in normalised latents, at most
REFRESH = 50


class Layouts:
    """Random crops of rendered clips with their guides."""

    def __init__(self, root: Path, series: tuple[str, ...]):
        self.root, self.series, self.open, self.draws = root, series, [], 0

    def draw(self, g: torch.Generator, batch: int, times: int = 1, place: torch.device | str = "cpu") -> tuple[Tensor, dict[str, Tensor]]:
        """(times * batch, 3, FRAMES, h, w) and its guides, on a device: `batch` crops of each of so many shards, some of them the same."""
        if self.draws % REFRESH == 0:
            self.open = [[np.load(p / f"{n}.npy", mmap_mode="r") for n in ("rgb", "inverse_depth", "normal")]
                         for s in self.series for p in shards.ready(self.root, s)]
        self.draws += 1
        each = [self._window(clips, g, batch, place) for clips in alike(self.open, times, g, rgb=lambda one: one[0])]
        return torch.cat([video for video, _ in each]), {kind: torch.cat([layout[kind] for _, layout in each]) for kind in guides.GUIDES}

    def _window(self, clips: list[np.ndarray], g: torch.Generator, batch: int, place: torch.device | str) -> tuple[Tensor, dict[str, Tensor]]:
        pick = lambda n: int(torch.randint(n, (1,), generator=g))
        n, t, h, w = clips[0].shape[:4]
        height, width = crop(clips[0])
        t0, y0, x0 = pick(t - FRAMES + 1), pick(h - height + 1), pick(w - width + 1)
        rows = np.sort(torch.randperm(n, generator=g)[:batch].numpy())
        inverse, normal = onto([torch.from_numpy(np.asarray(c[rows])) for c in clips[1:]], place)
        layout = conditions.guides(inverse, normal, g)                            # near and far are the whole clip's, not the crop's
        window = np.s_[:, :, t0:t0 + FRAMES, y0:y0 + height, x0:x0 + width]
        video = onto(as_video(clips[0][rows][:, t0:t0 + FRAMES, y0:y0 + height, x0:x0 + width]), place)
        return video, {k: x[window] for k, x in layout.items()}


def optimisers(model: nn.Module) -> list:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 4 and not n.startswith(("into", "out"))]
    ours = {id(p) for p in matrices}
    return [Muon(matrices, lr=.006), torch.optim.AdamW([p for p in model.parameters() if id(p) not in ours], 1e-3, betas=(.9, .98), weight_decay=0.)]


def loss(decoder: Decoder, autoencoder: Autoencoder, video: Tensor, layout: dict[str, Tensor], g: torch.Generator) -> Tensor:
    with torch.no_grad():
        mean = autoencoder.encoder(video)[0]
    off = torch.randn(mean.shape, generator=g) * OFF * torch.rand(len(mean), 1, 1, 1, 1, generator=g)
    error = decoder(mean + off.to(mean) * autoencoder.std.view(1, -1, 1, 1, 1), layout=guides.planes(layout, conditions.given(g, len(video)).to(video))) - video
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + .5 * edges


def judged(autoencoder: Autoencoder, count: int = 12):
    """A judge of decoders on held-out clips, with and without guides."""
    clips = [data.clip(shards.HELD_OUT + i) for i in range(count)]
    video = as_video(np.stack([c.rgb for c in clips]))
    layout = conditions.guides(np.stack([c.inverse_depth for c in clips]), np.stack([c.normal for c in clips]), torch.Generator(), rough=False)
    video, layout = onto((video, layout), where(autoencoder))
    with torch.no_grad():
        latent = autoencoder.encoder(video)[0]

    def judge(decoder: Decoder) -> dict:
        shown = {"psnr": None, "psnr, guides": guides.planes(layout)}
        return {name: psnr(decoder(latent, layout=x).clamp(-1, 1), video).mean() for name, x in shown.items()}
    return judge


def stage(root: Path, out: Path, minutes: float, place: Device | None = None,
          series: tuple[str, ...] = ("short", "long")) -> None:
    """Trains in `out` on the clips in `root`, on the CPU unless there is another place."""
    torch.manual_seed(2)
    autoencoder = trained_autoencoder(out).to(place.name if place else "cpu")
    decoder = Decoder(autoencoder.config).to(where(autoencoder))
    decoder.load_state_dict(autoencoder.decoder.state_dict())
    run = Run("decoder", out, decoder, optimisers(decoder), minutes, horizon=300, seed=2, place=place)
    run.resume()
    layouts = Layouts(root, series)
    draw = lambda g: layouts.draw(g, BATCH, run.times, where(decoder))
    run.train(lambda m, g: loss(m, autoencoder, *draw(g), g), judged(autoencoder) if run.rank == 0 else None, every=100)
