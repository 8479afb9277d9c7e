"""Drafts: sampling that skips most of a transformer's blocks in steps that would change little, and counts what it skipped."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Draft:
    """One shot's: how much the first block's change may differ before the others are asked, and what that saved."""

    threshold: float            # mean of absolute differences, relative to the mean of absolute changes
    evaluations: int = 0        # of blocks that sampling without a cache would have had
    skipped: int = 0
    hindrance: str = ""         # why nothing could be skipped

    def count(self, blocks: int, skipped: bool) -> None:
        """One pass through a transformer of so many blocks; where it is `skipped`, all but the first were."""
        self.evaluations += blocks
        self.skipped += blocks - 1 if skipped else 0

    def note(self) -> str:
        """For the take."""
        return f"Draft: {self.hindrance or f'{self.skipped} of {self.evaluations} block evaluations were skipped'}"


class FirstBlock:
    """The first-block cache (chengzeyi, ParaAttention, 2024), as diffusers' FirstBlockCache decides: where the first block changes its
    input nearly as it did when all blocks were asked last, the others are taken to change it as they did then. One for each clip and text."""

    def __init__(self, draft: Draft, blocks: int):
        self._draft, self._blocks = draft, blocks
        self._change: Tensor | None = None          # by the first block, when all were asked last
        self._rest: Tensor | None = None            # by the others

    def through(self, x: Tensor, first: Callable[[Tensor], Tensor], others: Callable[[Tensor], Tensor]) -> Tensor:
        """x after all blocks. `first` is the first one, `others` all that follow."""
        begun = first(x)
        change = begun - x
        skipped = self._change is not None and float((change - self._change).abs().mean() / self._change.abs().mean()) <= self._draft.threshold
        self._draft.count(self._blocks, skipped)
        if skipped:
            return begun + self._rest
        ended = others(begun)
        self._change, self._rest = change, ended - begun
        return ended
