"""Guidance that rests in some steps of diffusers' own pipelines, which ask for both texts in one batch, the negative one first, or one after the other."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ..families import Window

ALONE = "alone"         # what a draft keeps of such a batch has another size without one of the texts


@contextlib.contextmanager
def resting(window: Window, transformer: torch.nn.Module) -> Iterator[None]:
    """Meanwhile the transformer is asked for the positive text alone in steps that are not guided, and the answer is given for both.

    What guidance adds between two that are the same is nothing, to the bit. A window that is guided throughout, or not at all, changes nothing.
    """
    if window.guided is None or window.guidance <= 1:
        yield
        return
    own = transformer.__dict__.get("forward")       # a memory plan may stand before it
    transformer.forward = _Resting(transformer, window.guided)
    try:
        yield
    finally:
        del transformer.forward
        if own is not None:
            transformer.forward = own


@contextlib.contextmanager
def pausing(window: Window, pipe: Any) -> Iterator[None]:
    """As `resting`, for a pipeline that asks for the positive text, then looks whether there is guidance, and asks for the negative one. Each
    stretch of its clip has all of the window's steps."""
    if window.guided is None or window.guidance <= 1:
        yield
        return
    listener = pipe.transformer.register_forward_pre_hook(_Pausing(pipe, window))
    try:
        yield
    finally:
        listener.remove()


class _Pausing:
    """Before each answer of a transformer: whether it is for the positive text, and then whether its step is guided."""

    def __init__(self, pipe: Any, window: Window):
        self._pipe, self._window, self._step, self._second = pipe, window, 0, False

    def __call__(self, transformer, arguments) -> None:
        if self._second:
            self._second = False
            return
        self._second = self._step % self._window.steps in self._window.guided
        self._step += 1
        self._pipe._guidance_scale = self._window.guidance if self._second else 1.0         # what its `do_classifier_free_guidance` looks at


class _Resting:
    """A transformer's `forward` that counts its steps."""

    def __init__(self, transformer: torch.nn.Module, guided: range):
        self._transformer, self._forward, self._guided, self._step = transformer, transformer.forward, guided, 0

    def __call__(self, *given, **named):
        step, self._step = self._step, self._step + 1
        if step in self._guided:
            return self._forward(*given, **named)
        if getattr(self._transformer, "is_cache_enabled", False):
            from diffusers.hooks.hooks import CacheContext, _set_cache_context
            _set_cache_context(self._transformer, CacheContext(ALONE))      # the pipeline forgets it after this call
        made = self._forward(*map(_second, given), **{name: _second(value) for name, value in named.items()})
        return tuple(torch.cat([one, one]) for one in made)


def _second(given: Any) -> Any:
    """The half of a batch of two that is for the positive text; what is no batch stays."""
    return given[1:] if isinstance(given, torch.Tensor) and given.ndim and len(given) == 2 else given
