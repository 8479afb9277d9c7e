"""Noise levels of rectified flow, from 1 (noise) to 0 (picture). x_sigma = (1 - sigma) * x0 + sigma * noise."""
from __future__ import annotations

import torch
from torch import Tensor


def shifted(sigmas: Tensor, shift: float) -> Tensor:
    """Spends more of the way near noise: s*u / (1 + (s-1)*u), Esser et al. 2024 (Stable Diffusion 3), eq. 23."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def unshifted(sigmas: Tensor, shift: float) -> Tensor:
    """The inverse of `shifted`."""
    return sigmas / (shift - (shift - 1) * sigmas)


def linear(steps: int, shift: float = 1.0, start: float = 1.0) -> Tensor:
    """(steps + 1,) evenly spaced, then shifted; the first is exactly `start`, the last exactly 0."""
    if steps < 1:
        raise ValueError("a schedule has at least one step")
    begin = unshifted(torch.tensor(float(start)), shift)
    return shifted(torch.linspace(1, 0, steps + 1) * begin, shift)


def entry(steps: int, change: float) -> int:
    """The step to begin with where `change`, 0 to 1, of a clip is to be made anew (SDEdit, Meng et al. 2022); the last one is always taken."""
    return min(steps - int(steps * change), steps - 1)


def area_shift(tokens: int, base: int = 256, top: int = 4096, low: float = .5, high: float = 1.15) -> float:
    """exp of a shift linear in the number of tokens, as FLUX.1 (Black Forest Labs 2024) sets it."""
    return float(torch.exp(torch.tensor(low + (high - low) * (tokens - base) / (top - base))))
