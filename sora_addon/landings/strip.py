"""A take as an image strip: scene frame a..b lands at a..b, one image a frame, in the sequencer that the artist edits.

Blender 5 lets a workspace edit another scene than it shows. The strip lands there, because that is where the artist
looks for it: over the scene strip that plays the shot's scene where there is one, otherwise at the shot's own frames.
Strips are found again by the take's id, never by reference: an undo leaves references to freed memory behind.
"""
from __future__ import annotations

from pathlib import Path

from ...engine.errors import LandingError, Remedy
from ...engine.protocol import Take
from .. import compat
from . import framing, images

CHANNELS = 128              # Blender's highest channel


def land(context, scene, take: Take, folder: Path, options: dict[str, str]) -> str:
    """Adds the take's strip, or refreshes the one that is already in its place. Raises FolderError or LandingError."""
    plate = images.sequence(take, folder)
    edit = compat.edited_scene(context, scene)
    if edit.library:
        raise LandingError(f"The sequencer edits “{edit.name}”, which is linked from another file; choose a scene of this one in its header.")
    colourspace, told = images.colours(edit, take)
    start = _start(edit, scene, plate)
    editor = edit.sequence_editor or edit.sequence_editor_create()
    meta = editor.meta_stack[-1] if editor.meta_stack else None
    place = meta or editor
    strip = _landed(place.strips, take, start, len(plate.names), options.get("channel", ""))
    kept = strip is not None
    if not kept:
        channel = _channel(place, start, start + len(plate.names), options.get("channel", ""))
        strip = _laid(edit, scene, place.strips, take, plate, channel, start, options)
    strip.directory = images.stored(context, plate.folder) + "/"
    strip.colorspace_settings.name = colourspace
    strip[images.RECORD] = images.record(take, plate, landing="strip")
    compat.show_sequencer(context, edit)
    at = f"{start} to {start + len(plate.names) - 1}" if len(plate.names) > 1 else f"{start}"
    where = f"on channel {strip.channel} of “{edit.name}”" + (f" in the open meta strip “{meta.name}”" if meta else "")
    said = f"The strip at {at} {where} was refreshed." if kept else f"Strip at {at} {where}."
    notes = (said, told, framing.told(edit, _camera(scene, options), take.shot.size), _rate(edit, take), _hidden(meta, start, len(plate.names)))
    return " ".join(filter(None, notes))


def _laid(edit, scene, strips, take: Take, plate: images.Sequence, channel: int, start: int, options):
    """A new strip with one element a frame, scaled so that it stays registered to the camera's frame."""
    strip = strips.new_image(name=images.titled(take), filepath=str(plate.folder / plate.names[0]), channel=channel,
                             frame_start=start, fit_method="ORIGINAL")
    for name in plate.names[1:]:
        strip.elements.append(name)
    strip.transform.scale_x = strip.transform.scale_y = framing.scale(edit, _camera(scene, options), take.shot.size)
    return strip


def _camera(scene, options):
    return scene.objects.get(options.get("camera", "")) or scene.camera


# ---------------------------------------------------------------- where in time
def _start(edit, scene, plate: images.Sequence) -> int:
    """Frame of `edit` at which the first image belongs."""
    if edit == scene or edit.sequence_editor is None:
        return plate.start
    for strip in edit.sequence_editor.strips_all:
        if strip.type == "SCENE" and strip.scene == scene:
            first, after = compat.strip_span(strip)
            start = compat.strip_content_start(strip) + plate.start - scene.frame_start
            if start < after and first < start + len(plate.names):
                return start
    return plate.start


def _landed(strips, take: Take, start: int, count: int, channel: str):
    """The strip of this take that is already where it would land, or None."""
    for strip in strips:
        kept = strip.get(images.RECORD)
        if kept is not None and kept.get("take") == take.id and strip.type == "IMAGE" \
                and compat.strip_span(strip) == (start, start + count) and len(strip.elements) == count and channel in ("", str(strip.channel)):
            return strip
    return None


# ---------------------------------------------------------------- on which channel
def _channel(place, first: int, after: int, chosen: str) -> int:
    """The chosen channel, or the lowest usable one above every picture at first..after-1. Raises LandingError."""
    over = [strip for strip in place.strips if _meet(strip, first, after)]
    taken = {strip.channel: strip.name for strip in over}
    shut = {number for number, channel in enumerate(place.channels) if channel.lock or channel.mute}
    highest = max((strip.channel for strip in over if strip.type != "SOUND"), default=0)
    usable = [n for n in range(highest + 1, CHANNELS + 1) if n not in taken and n not in shut] \
        or [n for n in range(1, CHANNELS + 1) if n not in taken and n not in shut]
    if not usable:
        raise LandingError(f"All {CHANNELS} channels are occupied at frames {first} to {after - 1}; delete or move a strip there.")
    if not chosen:
        return usable[0]
    wanted = int(chosen) if chosen.isascii() and chosen.isdecimal() else 0
    if not 1 <= wanted <= CHANNELS:
        raise LandingError(f"“{chosen}” is not a channel; they go from 1 to {CHANNELS}.", _other(usable[0]))
    if wanted in taken:
        raise LandingError(f"Channel {wanted} is occupied by “{taken[wanted]}” at frames {first} to {after - 1}; channel {usable[0]} is free.",
                           _other(usable[0]))
    return wanted


def _meet(strip, first: int, after: int) -> bool:
    start, end = compat.strip_span(strip)
    return start < after and first < end


def _other(channel: int) -> Remedy:
    return Remedy(action="set_channel", label=f"Use Channel {channel}", value=str(channel))


# ---------------------------------------------------------------- what to say
def _rate(edit, take: Take) -> str:
    fps = edit.render.fps / edit.render.fps_base
    if abs(fps - take.shot.fps) < 0.005:
        return ""
    return f"It was shot at {take.shot.fps:g} frames a second and “{edit.name}” plays {fps:g}, one image a frame."


def _hidden(meta, start: int, count: int) -> str:
    if meta is None:
        return ""
    first, after = compat.strip_span(meta)
    inside = first <= start and start + count <= after
    return "" if inside else f"“{meta.name}” shows only frames {first} to {after - 1} of it until its handles are moved."
