"""Channels of the sequencer: which are free at some frames, and which one a strip takes."""
from __future__ import annotations

from ...engine.errors import LandingError, Remedy
from .. import compat

HIGHEST = 128               # Blender's highest channel


def free(place, first: int, after: int) -> list[int]:
    """Channels of an editor or meta strip with nothing at first..after-1, neither locked nor muted, lowest first."""
    taken = set(_taken(place, first, after))
    shut = {number for number, channel in enumerate(place.channels) if channel.lock or channel.mute}
    return [n for n in range(1, HIGHEST + 1) if n not in taken and n not in shut]


def chosen(place, first: int, after: int, wanted: str, sounding: bool = False) -> int:
    """The wanted channel, or the lowest usable one above every picture at first..after-1. Raises LandingError.

    With `sounding`, one that has a free channel below it for the sound is better.
    """
    usable = free(place, first, after)
    if not usable:
        raise LandingError(f"All {HIGHEST} channels are occupied at frames {first} to {after - 1}; delete or move a strip there.")
    highest = max((strip.channel for strip in place.strips if strip.type != "SOUND" and _meet(strip, first, after)), default=0)
    above = [n for n in usable if n > highest] or usable
    best = next((n for n in above if n - 1 in usable), above[0]) if sounding else above[0]
    if not wanted:
        return best
    number = int(wanted) if wanted.isascii() and wanted.isdecimal() else 0
    if not 1 <= number <= HIGHEST:
        raise LandingError(f"“{wanted}” is not a channel; they go from 1 to {HIGHEST}.", _other(best))
    taken = _taken(place, first, after)
    if number in taken:
        raise LandingError(f"Channel {number} is occupied by “{taken[number]}” at frames {first} to {after - 1}; channel {best} is free.",
                           _other(best))
    return number


def beside(place, first: int, after: int, channel: int) -> int | None:
    """The free channel nearest to `channel`, the one below before the one above; None when all are occupied."""
    return min(free(place, first, after), key=lambda n: (abs(n - channel), n), default=None)


def _taken(place, first: int, after: int) -> dict[int, str]:
    return {strip.channel: strip.name for strip in place.strips if _meet(strip, first, after)}


def _meet(strip, first: int, after: int) -> bool:
    start, end = compat.strip_span(strip)
    return start < after and first < end


def _other(channel: int) -> Remedy:
    return Remedy(action="set_channel", label=f"Use Channel {channel}", value=str(channel))
