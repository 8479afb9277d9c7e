"""Classifier-free guidance: two opinions of a denoiser made into one."""
from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .samplers import Denoise


def guided(positive: Tensor, negative: Tensor, scale: float) -> Tensor:
    """negative + scale * (positive - negative), Ho & Salimans 2022, in the x0 they predict; 1 is no guidance."""
    return negative + scale * (positive - negative)


def rescaled(x0: Tensor, positive: Tensor, share: float = .7) -> Tensor:
    """Brings a guided estimate back to the spread of the positive one, Lin et al. 2024, section 3.4; share 0 changes nothing."""
    dims = tuple(range(1, x0.ndim))
    return share * x0 * (positive.std(dims, keepdim=True) / x0.std(dims, keepdim=True)) + (1 - share) * x0


def limited(guiding: Denoise, alone: Denoise, sigmas: Tensor, steps: range) -> Denoise:
    """`guiding` in these steps of the schedule `sigmas`, `alone` in the others: Kynkäänniemi et al. 2024, equation 6."""
    high, low = sigmas[steps.start], sigmas[steps.stop]
    return lambda x, sigma: guiding(x, sigma) if low < sigma <= high else alone(x, sigma)


def held(x0: Tensor, known: Tensor | None, mask: Tensor | None) -> Tensor:
    """The estimate with what is known put in its place (replacement, Lugmayr et al. 2022). mask broadcasts, 1 = known."""
    return x0 if known is None or mask is None else x0 * (1 - mask) + known * mask


def classifier_free(both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], scale: float, rescale: float = 0.) -> Callable[[Tensor, Tensor], Tensor]:
    """A denoiser from `both`(x, sigma) -> (positive, negative) estimates in one batch."""
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        positive, negative = both(x, sigma)
        x0 = guided(positive, negative, scale)
        return rescaled(x0, positive, rescale) if rescale and scale != 1 else x0
    return denoise


