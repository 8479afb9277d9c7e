"""A last word for the decoder: with the encoder frozen, on latents a little off as a transformer's are, and shown the layout's guides."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import conditions, data, guides, shards
from .autoencoder import Autoencoder, Decoder
from .optimise import Muon
from .train_autoencoder import BATCH, CROP, FRAMES, as_video, psnr
from .train_transformer import trained_autoencoder
from .training import Run

OFF = .2                                                       # standard deviation, in normalised latents, at most
REFRESH = 50


class Layouts:
    """Random crops of rendered clips with their guides."""

    def __init__(self, root: Path, series: tuple[str, ...]):
        self.root, self.series, self.open, self.draws = root, series, [], 0

    def draw(self, g: torch.Generator, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        if self.draws % REFRESH == 0:
            self.open = [[np.load(p / f"{n}.npy", mmap_mode="r") for n in ("rgb", "inverse_depth", "normal")]
                         for s in self.series for p in shards.ready(self.root, s)]
        self.draws += 1
        pick = lambda n: int(torch.randint(n, (1,), generator=g))
        clips = self.open[pick(len(self.open))]
        n, t, h, w = clips[0].shape[:4]
        height, width = min(CROP, h) // 8 * 8, min(CROP, w) // 8 * 8
        t0, y0, x0 = pick(t - FRAMES + 1), pick(h - height + 1), pick(w - width + 1)
        rows = np.sort(torch.randperm(n, generator=g)[:batch].numpy())
        inverse, normal = (np.asarray(c[rows]) for c in clips[1:])
        layout = conditions.guides(inverse, normal, g)                            # near and far are the whole clip's, not the crop's
        window = np.s_[:, :, t0:t0 + FRAMES, y0:y0 + height, x0:x0 + width]
        return as_video(clips[0][rows][:, t0:t0 + FRAMES, y0:y0 + height, x0:x0 + width]), {k: x[window] for k, x in layout.items()}


def optimisers(model: nn.Module) -> list:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 4 and not n.startswith(("into", "out"))]
    ours = {id(p) for p in matrices}
    return [Muon(matrices, lr=.006), torch.optim.AdamW([p for p in model.parameters() if id(p) not in ours], 1e-3, betas=(.9, .98), weight_decay=0.)]


def loss(decoder: Decoder, autoencoder: Autoencoder, video: Tensor, layout: dict[str, Tensor], g: torch.Generator) -> Tensor:
    with torch.no_grad():
        mean = autoencoder.encoder(video)[0]
    off = torch.randn(mean.shape, generator=g) * OFF * torch.rand(len(mean), 1, 1, 1, 1, generator=g) * autoencoder.std.view(1, -1, 1, 1, 1)
    error = decoder(mean + off, layout=guides.planes(layout, conditions.given(g, len(video)))) - video
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + .5 * edges


def judged(autoencoder: Autoencoder, count: int = 12):
    """A judge of decoders on held-out clips, with and without guides."""
    clips = [data.clip(shards.HELD_OUT + i) for i in range(count)]
    video = as_video(np.stack([c.rgb for c in clips]))
    layout = conditions.guides(np.stack([c.inverse_depth for c in clips]), np.stack([c.normal for c in clips]), torch.Generator(), rough=False)
    with torch.no_grad():
        latent = autoencoder.encoder(video)[0]

    def judge(decoder: Decoder) -> dict:
        shown = {"psnr": None, "psnr, guides": guides.planes(layout)}
        return {name: psnr(decoder(latent, layout=x).clamp(-1, 1), video).mean() for name, x in shown.items()}
    return judge


def stage(root: Path, out: Path, minutes: float, series: tuple[str, ...] = ("short", "long", "varied", "timed", "hiding", "large varied")) -> None:
    torch.manual_seed(2)
    autoencoder = trained_autoencoder(out)
    decoder = Decoder(autoencoder.config)
    decoder.load_state_dict(autoencoder.decoder.state_dict())
    run = Run("decoder", out, decoder, optimisers(decoder), minutes, horizon=300, seed=2)
    run.resume()
    layouts = Layouts(root, series)
    run.train(lambda m, g: loss(m, autoencoder, *layouts.draw(g, BATCH), g), judged(autoencoder) if run.rank == 0 else None, every=100)
