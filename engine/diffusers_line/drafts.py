"""Drafts with diffusers' own first-block cache: on while a window is sampled, off without a trace afterwards."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..sampling.draft import Draft

BLOCKWISE = "nothing was skipped, because this memory plan brings the model block by block"


@contextlib.contextmanager
def drafting(draft: Draft | None, transformers: list[Any], plan: str = "") -> Iterator[None]:
    """The cache on these transformers meanwhile, its passes counted. None changes nothing, nor does a plan that cannot skip blocks."""
    if draft is None or not possible(draft, plan):
        yield
        return
    from diffusers import FirstBlockCacheConfig
    counters = []
    try:
        for transformer in transformers:
            transformer.enable_cache(FirstBlockCacheConfig(threshold=draft.threshold))
            counters.append(transformer.register_forward_hook(_Counter(draft, transformer)))
        yield
    finally:
        for counter in counters:
            counter.remove()
        for transformer in transformers:
            if transformer.is_cache_enabled:
                transformer.disable_cache()


def possible(draft: Draft, plan: str) -> bool:
    """Blocks that are fetched one after the other cannot be left out: the fetching counts on their order."""
    draft.hindrance = BLOCKWISE if plan == "blocks" else ""
    return not draft.hindrance


class _Counter:
    """Looks after each pass at what the cache decided."""

    def __init__(self, draft: Draft, transformer):
        from diffusers.hooks.first_block_cache import _FBC_BLOCK_HOOK, _FBC_LEADER_BLOCK_HOOK
        hooks = [module._diffusers_hook.hooks for module in transformer.modules() if hasattr(module, "_diffusers_hook")]
        self._draft, self._blocks = draft, 1 + sum(_FBC_BLOCK_HOOK in each for each in hooks)
        self._states = next(each[_FBC_LEADER_BLOCK_HOOK] for each in hooks if _FBC_LEADER_BLOCK_HOOK in each).state_manager

    def __call__(self, transformer, arguments, output) -> None:
        self._draft.count(self._blocks, not self._states.get_state().should_compute)
