"""The sound that came with a take, as a strip beside its picture strip and over the very same frames."""
from __future__ import annotations

import os
from pathlib import Path

from ...engine.protocol import Take
from .. import compat
from . import channels, images


def lay(context, edit, place, take: Take, folder: Path, picture) -> str:
    """Adds the sound next to the strip `picture`, or refreshes the one that is there; a sentence, "" for a silent take."""
    if not take.sound:
        return ""
    path = Path(os.path.abspath(folder / take.sound))
    if not path.is_file():
        return f"Its sound is not there any more: {path}."
    first, after = compat.strip_span(picture)
    strip = _landed(place.strips, take, first)
    if strip is None:
        channel = channels.beside(place, first, after, picture.channel)
        if channel is None:
            return "Its sound found no free channel."
        strip = place.strips.new_sound(name=f"{images.titled(take)} Sound", filepath=str(path), channel=channel, frame_start=first)
    compat.set_strip_span(strip, first, after)
    strip.sound.filepath = images.stored(context, path)
    strip[images.RECORD] = {"take": take.id, "folder": str(path.parent), "first": first, "last": after - 1, "landing": "sound"}
    return f"Its sound is on channel {strip.channel}{_out_of_step(edit, take)}."


def _landed(strips, take: Take, first: int):
    """The sound strip of this take that begins where it would land, or None."""
    for strip in strips:
        kept = strip.get(images.RECORD)
        if kept is not None and kept.get("take") == take.id and strip.type == "SOUND" and compat.strip_span(strip)[0] == first:
            return strip
    return None


def _out_of_step(edit, take: Take) -> str:
    """Sound keeps its own speed; images play one a frame."""
    fps = edit.render.fps / edit.render.fps_base
    return "" if abs(fps - take.shot.fps) < 0.005 else ", where it keeps its own speed and so runs out of step with the images"
