"""A last word for the decoder: with the encoder frozen, and on latents a little off, as a transformer's are."""
from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .autoencoder import Autoencoder, Decoder
from .optimise import Muon
from .train_autoencoder import BATCH, Crops, held_out, psnr
from .train_transformer import trained_autoencoder
from .training import Run

OFF = .15                                                      # standard deviation, in normalised latents, at most


def optimisers(model: nn.Module) -> list:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 4 and not n.startswith(("into", "out"))]
    ours = {id(p) for p in matrices}
    return [Muon(matrices, lr=.005), torch.optim.AdamW([p for p in model.parameters() if id(p) not in ours], 1e-3, betas=(.9, .98), weight_decay=0.)]


def loss(decoder: Decoder, autoencoder: Autoencoder, video: Tensor, g: torch.Generator) -> Tensor:
    with torch.no_grad():
        mean = autoencoder.encoder(video)[0]
    off = torch.randn(mean.shape, generator=g) * OFF * torch.rand(len(mean), 1, 1, 1, 1, generator=g) * autoencoder.std.view(1, -1, 1, 1, 1)
    error = decoder(mean + off) - video
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + .5 * edges


def stage(root: Path, out: Path, minutes: float, series: tuple[str, ...] = ("short", "long")) -> None:
    torch.manual_seed(2)
    autoencoder = trained_autoencoder(out)
    decoder = Decoder(autoencoder.config)
    decoder.load_state_dict(autoencoder.decoder.state_dict())
    run = Run("decoder", out, decoder, optimisers(decoder), minutes, horizon=300, seed=2)
    run.resume()
    crops, video = Crops(root, series), held_out() if run.rank == 0 else None
    latent = autoencoder.encoder(video)[0] if run.rank == 0 else None
    run.train(lambda m, g: loss(m, autoencoder, crops.draw(g, BATCH), g), lambda m: {"psnr": psnr(m(latent).clamp(-1, 1), video).mean()}, every=100)
