"""Guidance in some of the steps alone: where there is little noise left it costs and does little, where there is most it does harm.

Kynkäänniemi et al. 2024, “Applying guidance in a limited interval”, limit noise levels; shares of the steps say the same for every schedule.
"""
from __future__ import annotations

import math

FINE = 9        # digits that count: 0.7 of 10 steps are 7, whatever binary fractions make of it


def guided(steps: int, begin: float, end: float) -> range | None:
    """The steps that are guided, counted from 0: those that lie, if only in part, between the shares; None for all. There is always one."""
    first, last = math.floor(round(begin * steps, FINE)), math.ceil(round(end * steps, FINE))
    return None if (first, last) == (0, steps) else range(first, last)


def note(steps: range, of: int) -> str:
    """For the take; steps are counted from 1 there."""
    which = f"step {steps.start + 1}" if len(steps) == 1 else f"the steps {steps.start + 1} to {steps.stop}"
    return f"Guidance in {which} of {of} alone"
