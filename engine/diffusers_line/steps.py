"""The denoising loop of flow-matching models: diffusers' schedulers, an estimate of the clean latent a step."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..families import Window

BATCHED = 4096      # tokens of one text up to which both go together

Velocity = Callable[["Tensor", "Tensor"], "Tensor"]         # (latent, timestep) -> velocity, of the latent's shape
Hold = Callable[["Tensor", float], "Tensor"]                # (latent, sigma) -> the latent with what is known put back


def fresh(scheduler, steps: int, device):
    """A scheduler of the same settings without memory of another shot, set to `steps`."""
    made = type(scheduler).from_config(scheduler.config)
    made.set_timesteps(steps, device=device)
    return made


def noise(shape: tuple[int, ...], seed: int, device) -> Tensor:
    """Gaussian noise that depends on the seed alone, not on the device."""
    import torch
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32).to(device)


def denoised(scheduler, latent: Tensor, velocity: Velocity, first: int = 0, hold: Hold | None = None) -> Iterator[Tensor]:
    """Estimates of the clean latent, one a step from the step `first`; the last one is the result.

    `scheduler` is fresh and set. Flow matching (Lipman et al. 2023): x = (1 - sigma) clean + sigma noise, velocity = noise - clean.
    Gradients are off inside each step only: a generator must not keep that mode while it rests.
    """
    import torch
    sigmas = scheduler.sigmas
    for index in range(first, len(scheduler.timesteps)):
        with torch.inference_mode():
            timestep = scheduler.timesteps[index]
            slope = velocity(latent, timestep).to(latent.dtype)
            estimate = latent - sigmas[index].to(latent.device) * slope
            latent = scheduler.step(slope, timestep, latent, return_dict=False)[0]
            if hold is not None:
                latent = hold(latent, float(sigmas[index + 1]))
            last = index == len(scheduler.timesteps) - 1
        yield latent if last else estimate


def limited(velocity: Callable[[Window, Tensor, Tensor], Tensor], window: Window, scheduler) -> Velocity:
    """`velocity` of the window, and in the steps in which its guidance rests of the window without any."""
    if window.guided is None or max(window.guidance, window.guidance_low) <= 1:
        return partial(velocity, window)
    alone = dataclasses.replace(window, guidance=1.0, guidance_low=-1.0)
    among = {float(timestep) for timestep in scheduler.timesteps[window.guided.start:window.guided.stop]}
    return lambda latent, timestep: velocity(window if float(timestep) in among else alone, latent, timestep)


def answered(call: Callable[..., Tensor], texts: tuple[Tensor, Tensor | None], guidance: float, tokens: int) -> Tensor:
    """The guided velocity from `call(copies, text, which)`, which takes its inputs `copies` times. Few tokens are asked for both texts at
    once: then it is starting the many small operations that takes the time, and a batch starts them once. `which` names the texts: what a
    draft remembers of one says nothing of another."""
    import torch
    positive, negative = texts
    if negative is not None and tokens <= BATCHED:
        both = call(2, torch.cat([positive, negative]), "both")
        return guided(both[:1], both[1:], guidance)
    return guided(call(1, positive, "positive"), None if negative is None else call(1, negative, "negative"), guidance)


def guided(positive: Tensor, negative: Tensor | None, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022). Without a negative, the positive alone."""
    return positive if negative is None else negative + guidance * (positive - negative)
