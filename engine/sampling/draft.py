"""Drafts: sampling that skips most of a transformer's blocks in steps that would change little, and counts what it skipped."""
from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from torch import Tensor

Streams = Union["Tensor", tuple["Tensor", ...]]        # what goes through the blocks: tokens (B, n, C), or several kinds of them side by side
Blocks = Callable[[Streams], Streams]
NAMES = ("transformer", "sound")                # of the streams, among the ratios of what was learned
COUNTING = threading.Lock()
IN_A_ROW, RETAINED = 3, 0.2         # steps that are skipped one after the other at most; share of the first steps that never are: diffusers' own


@dataclass(slots=True)
class Draft:
    """One shot's: how much the first block's change may differ before the others are asked, and what that saved."""

    threshold: float            # mean of absolute differences, relative to the mean of absolute changes
    evaluations: int = 0        # of blocks that sampling without a cache would have had
    skipped: int = 0
    hindrance: str = ""         # why nothing could be skipped

    def count(self, blocks: int, skipped: int) -> None:
        """One pass through a transformer of so many blocks, of which some were skipped."""
        with COUNTING:                                         # two halves may count at once
            self.evaluations += blocks
            self.skipped += skipped

    def memory(self, blocks: int, names: tuple[str, ...] = NAMES, first: int = 0) -> FirstBlock:
        """What is kept from step to step of one clip and text, from the step `first` on; `names` are of the transformer, or of its streams."""
        return FirstBlock(self, blocks)

    def note(self) -> str:
        """For the take."""
        return f"Draft: {self.hindrance or f'{self.skipped} of {self.evaluations} block evaluations were skipped'}"


@dataclass(slots=True)
class Steady(Draft):
    """One by magnitudes: `threshold` is how far their product may stray from 1, added up over the steps that are skipped."""

    ratios: dict[str, list[float]] = field(default_factory=dict)    # transformer, or stream -> for each of its steps, see `Learning`
    learned: str = ""                                               # how they were found out, where that was for this shot

    def memory(self, blocks: int, names: tuple[str, ...] = NAMES, first: int = 0) -> Magnitudes:
        return Magnitudes(self, blocks, [self.ratios[name][first:] for name in names if name in self.ratios])

    def note(self) -> str:
        return "; ".join(filter(None, (Draft.note(self), self.learned)))


@dataclass(slots=True)
class Learning:
    """Sampling in full, by which it is found out how many times larger all blocks' change is than in the step before."""

    found: dict[str, list[list[float]]] = field(default_factory=dict)       # transformer, or stream -> for each text, for each step
    hindrance: str = ""

    def memory(self, blocks: int, names: tuple[str, ...] = NAMES, first: int = 0) -> Measured:
        """What finds it out for one text."""
        return Measured(self.found, names)

    def ratios(self) -> dict[str, list[float]]:
        """The mean over texts."""
        return {name: [sum(step) / len(step) for step in zip(*texts, strict=True)] for name, texts in self.found.items()}


def each(work: Callable, *streams):
    """`work` of the tensors, or of the first of each tuple, the second, and so on."""
    return tuple(map(work, *streams)) if isinstance(streams[0], tuple) else work(*streams)


def listed(streams) -> tuple:
    return streams if isinstance(streams, tuple) else (streams,)


class FirstBlock:
    """The first-block cache (chengzeyi, ParaAttention, 2024), as diffusers' FirstBlockCache decides: where the first block changes its
    input nearly as it did when all blocks were asked last, the others are taken to change it as they did then. Where several streams go
    through the blocks, each of them has to have changed as little. One for each clip and text."""

    def __init__(self, draft: Draft, blocks: int):
        self._draft, self._blocks = draft, blocks
        self._change: Streams | None = None         # by the first block, when all were asked last
        self._rest: Streams | None = None           # by the others

    def through(self, x: Streams, first: Blocks, others: Blocks) -> Streams:
        """x after all blocks. `first` is the first one, `others` all that follow."""
        begun = first(x)
        change = each(lambda after, before: after - before, begun, x)
        skipped = self._change is not None and all(map(self._alike, listed(change), listed(self._change)))
        self._draft.count(self._blocks, self._blocks - 1 if skipped else 0)
        if skipped:
            return each(lambda tokens, rest: tokens + rest, begun, self._rest)
        ended = others(begun)
        self._change, self._rest = change, each(lambda after, before: after - before, ended, begun)
        return ended

    def _alike(self, change: Tensor, known: Tensor) -> bool:
        return float((change - known).abs().mean() / known.abs().mean()) <= self._draft.threshold


class Magnitudes:
    """MagCache (Ma et al. 2025), as diffusers' decides: a step is skipped while the magnitude of all blocks' change, which is known from
    step to step, is about what it was when they were asked last. Of several streams the one that strayed farthest decides. One for each
    clip and text."""

    def __init__(self, draft: Steady, blocks: int, ratios: list[list[float]]):
        """`ratios`: of each stream, for each step."""
        self._draft, self._blocks, self._ratios = draft, blocks, ratios
        self._change: Streams | None = None         # by all blocks, when they were asked last
        self._step = self._row = 0
        self._forget()

    def _forget(self) -> None:
        """All blocks are asked in this step."""
        self._row, self._magnitudes, self._errors = 0, [1.0] * len(self._ratios), [0.0] * len(self._ratios)

    def through(self, x: Streams, first: Blocks, others: Blocks) -> Streams:
        """As FirstBlock.through."""
        skipped = self._skips()
        self._draft.count(self._blocks, self._blocks if skipped else 0)
        if skipped:
            return each(lambda tokens, change: tokens + change, x, self._change)
        ended = others(first(x))
        self._change = each(lambda after, before: after - before, ended, x)
        return ended

    def _skips(self) -> bool:
        step, self._step = self._step, self._step + 1
        if step < int(RETAINED * len(self._ratios[0]) + 0.5):
            return False
        self._row += 1
        for stream, ratios in enumerate(self._ratios):
            self._magnitudes[stream] *= ratios[step]
            self._errors[stream] += abs(1 - self._magnitudes[stream])
        if self._change is not None and max(self._errors) <= self._draft.threshold and self._row <= IN_A_ROW:
            return True
        self._forget()
        return False


class Measured:
    """Skips nothing, and adds to what is `found` of each stream: for each token the length of its change over that in the step before,
    their mean; 1 in the first."""

    def __init__(self, found: dict[str, list[list[float]]], names: tuple[str, ...] = NAMES):
        """`names`: of the streams, or of the transformer where there are two."""
        self._found, self._names = found, names
        self._ratios: list[list[float]] = []
        self._lengths: list[Tensor] = []

    def through(self, x: Streams, first: Blocks, others: Blocks) -> Streams:
        """As FirstBlock.through."""
        ended = others(first(x))
        lengths = [(after - before).float().norm(dim=-1) for after, before in zip(listed(ended), listed(x), strict=True)]
        if not self._lengths:
            self._ratios = [[] for _ in lengths]
            for name, ratios in zip(self._names, self._ratios):
                self._found.setdefault(name, []).append(ratios)
        for ratios, now, before in zip(self._ratios, lengths, self._lengths or lengths, strict=True):
            ratios.append(float((now / (before + 1e-8)).mean()) if self._lengths else 1.0)
        self._lengths = lengths
        return ended


Memory = FirstBlock | Magnitudes | Measured
