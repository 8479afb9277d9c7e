"""Drafts of transformers whose blocks diffusers' own caches cannot skip: LTX-2's carry sound beside the pictures, SANA-WM's are not known to them."""
from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ..sampling.draft import Draft, Learning
from .drafts import possible

if TYPE_CHECKING:
    from ..sampling.draft import Memory, Streams


@contextlib.contextmanager
def chained(draft: Draft | Learning | None, transformer: torch.nn.Module, blocks: str, plan: str, streams: tuple[str, ...] = ()) -> Iterator[None]:
    """The transformer's `blocks` stand behind one that asks the draft meanwhile; afterwards they are as they were.

    `streams` are the arguments that a block takes and gives, by their names; () is the first one alone. None changes nothing, nor does a
    plan that cannot skip blocks. Pipelines that ask for both texts in one batch have one memory for them, and another one for one alone.
    """
    if draft is None or not possible(draft, plan):
        yield
        return
    own = getattr(transformer, blocks)
    setattr(transformer, blocks, torch.nn.ModuleList([_Chain(own, draft, streams)]))
    try:
        yield
    finally:
        setattr(transformer, blocks, own)


class _Chain(torch.nn.Module):
    """All blocks as one, called as each of them is."""

    def __init__(self, blocks: torch.nn.ModuleList, draft: Draft | Learning, streams: tuple[str, ...]):
        super().__init__()
        self.blocks, self._streams = blocks, streams
        self._memories: dict[int, Memory] = defaultdict(lambda: draft.memory(len(blocks)))      # texts in the batch -> what is kept of them
        self.eval()

    def forward(self, *given, **named) -> Streams:
        begun = tuple(named.pop(name) for name in self._streams) if self._streams else given[0]

        def through(blocks, x: Streams) -> Streams:
            for block in blocks:
                x = block(**dict(zip(self._streams, x)), **named) if self._streams else block(x, *given[1:], **named)
            return x
        memory = self._memories[len(begun[0] if self._streams else begun)]
        return memory.through(begun, lambda x: through(self.blocks[:1], x), lambda x: through(self.blocks[1:], x))
