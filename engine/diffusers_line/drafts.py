"""Drafts with diffusers' own caches, by the first block or by magnitudes: on while a window is sampled, off without a trace afterwards."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..sampling.draft import IN_A_ROW, RETAINED, Draft, Learning, Steady

BLOCKWISE = "nothing was skipped, because this memory plan brings the model block by block"


@contextlib.contextmanager
def drafting(draft: Draft | Learning | None, transformers: dict[str, Any], steps: int, first: int = 0, plan: str = "") -> Iterator[None]:
    """The cache on these transformers meanwhile, its passes counted, for a window whose `steps` begin at the step `first`.

    None changes nothing, nor does a plan that cannot skip blocks. The transformers' steps follow each other in their order.
    """
    if draft is None or not possible(draft, plan):
        yield
        return
    listeners = []
    _introduce()
    try:
        left = first
        for name, transformer in transformers.items():
            own = draft.ratios[name] if isinstance(draft, Steady) else []
            transformer.enable_cache(_settings(draft, steps, own[left:]))
            left = max(0, left - len(own))
            listeners.append(transformer.register_forward_pre_hook(_Anew(transformer), with_kwargs=True))
            listener = _Counter(draft, transformer) if isinstance(draft, Draft) else _Listener(draft, name, transformer)
            listeners.append(transformer.register_forward_hook(listener))
        yield
    finally:
        for listener in listeners:
            listener.remove()
        for transformer in transformers.values():
            if transformer.is_cache_enabled:
                transformer.disable_cache()


def possible(draft: Draft | Learning, plan: str) -> bool:
    """Blocks that are fetched one after the other cannot be left out: the fetching counts on their order."""
    draft.hindrance = BLOCKWISE if plan == "blocks" else ""
    return not draft.hindrance


def _settings(draft: Draft | Learning, steps: int, ratios: list[float]):
    """As diffusers has them; `ratios` are of the steps that a transformer will be asked for."""
    from diffusers import FirstBlockCacheConfig, MagCacheConfig
    if isinstance(draft, Learning):
        return MagCacheConfig(calibrate=True, num_inference_steps=steps + 1)         # with its last step it would print, and forget
    if isinstance(draft, Steady):
        return MagCacheConfig(threshold=draft.threshold, max_skip_steps=IN_A_ROW, retention_ratio=RETAINED, num_inference_steps=len(ratios),
                              mag_ratios=ratios)
    return FirstBlockCacheConfig(threshold=draft.threshold)


def _introduce() -> None:
    """Tells diffusers of the one kind of block that it does not know how to skip, SkyReels', which is called and answers as Wan's."""
    from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
    from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2TransformerBlock
    TransformerBlockRegistry.register(SkyReelsV2TransformerBlock, TransformerBlockMetadata(return_hidden_states_index=0))


def _hooks(transformer) -> list[dict]:
    return [module._diffusers_hook.hooks for module in transformer.modules() if hasattr(module, "_diffusers_hook")]


def _states(transformer):
    """What the cache keeps of each text."""
    from diffusers.hooks.first_block_cache import _FBC_LEADER_BLOCK_HOOK
    from diffusers.hooks.mag_cache import _MAG_CACHE_LEADER_BLOCK_HOOK
    leaders = (_FBC_LEADER_BLOCK_HOOK, _MAG_CACHE_LEADER_BLOCK_HOOK)
    return next(each[name] for each in _hooks(transformer) for name in leaders if name in each).state_manager


class _Anew:
    """Forgets what was kept of all texts where a stretch of the clip ends and the next one begins, which the noise that rises tells; a text that
    is asked in few of the steps might not notice by itself."""

    def __init__(self, transformer):
        self._states, self._before = _states(transformer), {}

    def __call__(self, transformer, arguments, named) -> None:
        text, noise = self._states.context.name, float(named["timestep"].max())
        if noise > self._before.get(text, noise):
            self._states._state_cache.clear()
            self._before.clear()
        self._before[text] = noise


class _Counter:
    """Looks after each pass at what the cache decided: by the first block, that one is always asked, by magnitudes none is."""

    def __init__(self, draft: Draft, transformer):
        from diffusers.hooks.first_block_cache import _FBC_BLOCK_HOOK
        from diffusers.hooks.mag_cache import _MAG_CACHE_BLOCK_HOOK
        followers = sum(_FBC_BLOCK_HOOK in each or _MAG_CACHE_BLOCK_HOOK in each for each in _hooks(transformer))
        self._draft, self._states, self._blocks = draft, _states(transformer), 1 + followers
        self._skips = self._blocks if isinstance(draft, Steady) else followers

    def __call__(self, transformer, arguments, output) -> None:
        self._draft.count(self._blocks, 0 if self._states.get_state().should_compute else self._skips)


class _Listener:
    """Takes down after each pass how many times larger its text's change was than before: pipelines have diffusers forget it at their end."""

    def __init__(self, learning: Learning, name: str, transformer):
        self._texts, self._states, self._found = learning.found.setdefault(name, []), _states(transformer), {}

    def __call__(self, transformer, arguments, output) -> None:
        text = self._states.context.name
        if text not in self._found:
            self._found[text] = []
            self._texts.append(self._found[text])
        self._found[text].append(self._states.get_state().calibration_ratios[-1])
