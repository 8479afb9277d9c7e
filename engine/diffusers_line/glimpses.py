"""Previews without an autoencoder's decoder: the best linear map from a latent's channels to colours, fitted once a model."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..clock import moments

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SIDE = 96           # pixels of the pictures that it is fitted on
SAMPLES = 6


class Linear:
    """Colours = channels @ matrix + offset, by least squares over soft colour pictures that the encoder saw."""

    def __init__(self, encode: Callable[[Tensor], Tensor]):
        """`encode`: (1, 3, 1, h, w) -1..1 -> latent (1, C, 1, h', w')."""
        import torch
        colours, latents = [], []
        for picture in _pictures():
            latent = encode(picture)[0, :, 0].float().cpu()                         # (C, h', w')
            small = torch.nn.functional.interpolate(picture[:, :, 0], latent.shape[1:], mode="area")[0]
            colours.append(small.flatten(1).T)
            latents.append(latent.flatten(1).T)
        channels = torch.cat(latents)
        known = torch.cat([channels, torch.ones(len(channels), 1)], 1)
        self._matrix = torch.linalg.lstsq(known, torch.cat(colours), driver="gelsd").solution      # (C + 1, 3)

    def shown(self, latent: Tensor) -> np.ndarray:
        """Moments of a latent (1, C, T, h', w') as float32 (n, h', w', 3), 0..1."""
        chosen = latent[0, :, moments(latent.shape[2])].float().cpu().permute(1, 2, 3, 0)      # (n, h', w', C)
        colours = chosen @ self._matrix[:-1] + self._matrix[-1]
        return ((colours + 1) / 2).clamp(0, 1).nan_to_num(0.5).numpy()


def _pictures():
    """Soft random colours, (1, 3, 1, SIDE, SIDE), -1..1; always the same."""
    import torch
    dice = torch.Generator().manual_seed(0)
    for cells in range(2, 2 + SAMPLES):
        seeds = torch.rand((1, 3, cells, cells), generator=dice) * 2 - 1
        yield torch.nn.functional.interpolate(seeds, (SIDE, SIDE), mode="bilinear", align_corners=False)[:, :, None]
