"""How far a download, a copy or a check is."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step. Bytes of all files together; `eta` in seconds and `speed` in bytes a second, below 0 when not known yet."""

    model: str
    file: str
    done: int
    total: int
    eta: float = -1.0
    speed: float = -1.0
