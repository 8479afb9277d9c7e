"""Schedules of a few fixed steps for weights that were distilled to them, spoken to as a scheduler of diffusers."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..protocol import Preset

RENEWED = 0x5EED        # sets the noise between steps apart from that of the beginning


class Few:
    """`steps` equal parts of the way from noise to picture, shifted towards noise: s x / (1 + (s - 1) x).

    With 4 steps and a shift of 5 these are the levels for which lightx2v trained: 1, 15/16, 5/6, 5/8. Between two steps the estimate gets noise
    anew where the preset `renews` it, as consistency models are sampled (Song et al. 2023, algorithm 1), or the same noise, which is Euler's step.
    """

    def __init__(self, preset: Preset, steps: int, seed: int, device):
        import torch
        even = torch.linspace(1, 0, steps + 1)
        self.sigmas = preset.shift * even / (1 + (preset.shift - 1) * even)
        self.timesteps = (self.sigmas[:-1] * 1000).to(device)
        self._dice = torch.Generator("cpu").manual_seed(seed ^ RENEWED) if preset.renews else None

    def step(self, slope: Tensor, timestep: Tensor, latent: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        """The latent of the next level, from the velocity at this one."""
        import torch
        at = int((self.timesteps == timestep).nonzero()[0])
        now, following = float(self.sigmas[at]), float(self.sigmas[at + 1])
        clean = latent - now * slope
        noise = clean + slope
        if self._dice is not None:
            noise = torch.randn(latent.shape, generator=self._dice, dtype=torch.float32).to(latent)
        return ((1 - following) * clean + following * noise,)
