"""Samplers of rectified flow as generators: each step yields (x, x0), so that whoever rolls them can preview and cancel."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
Steps = Iterator[tuple[Tensor, Tensor]]


def noise(shape: tuple[int, ...], seed: int, device="cpu", dtype=torch.float32) -> Tensor:
    """Unit Gaussian noise, the same for a seed on every device: drawn on the CPU."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def noised(x0: Tensor, eps: Tensor, sigma: float | Tensor) -> Tensor:
    """The straight path of rectified flow, Liu et al. 2022: (1 - sigma) * x0 + sigma * eps."""
    return (1 - sigma) * x0 + sigma * eps


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Steps:
    """Euler steps along the velocity (x - x0) / sigma of Liu et al. 2022 (rectified flow)."""
    for sigma, following in pairwise(sigmas):
        x0 = denoise(x, sigma)
        x = x0 + (x - x0) * (following / sigma)
        yield x, x0


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Steps:
    """Heun's second-order steps, Karras et al. 2022, algorithm 1; the last step is Euler's. Two calls a step."""
    for sigma, following in pairwise(sigmas):
        x0 = denoise(x, sigma)
        slope = (x - x0) / sigma
        trial = x + slope * (following - sigma)
        if following > 0:
            slope = (slope + (trial - denoise(trial, following)) / following) / 2
            trial = x + slope * (following - sigma)
        x = trial
        yield x, x0


def ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, generator: torch.Generator) -> Steps:
    """Each step goes to its estimate and noises it afresh, as consistency samplers do (Song et al. 2023, algorithm 1)."""
    for sigma, following in pairwise(sigmas):
        x0 = denoise(x, sigma)
        fresh = torch.randn(x.shape, generator=generator).to(x)
        x = noised(x0, fresh, following)
        yield x, x0
