"""A take as an image strip: scene frame a..b lands at a..b, one image a frame, in the sequencer that the artist edits; its sound beside it.

Blender 5 lets a workspace edit another scene than it shows. The strip lands there, because that is where the artist
looks for it: over the scene strip that plays the shot's scene where there is one, otherwise at the shot's own frames.
Strips are found again by the take's id, never by reference: an undo leaves references to freed memory behind.
"""
from __future__ import annotations

from pathlib import Path

from ...engine.errors import LandingError
from ...engine.protocol import Loop, Take, loop_of
from .. import compat, edit
from . import channels, framing, images, sound


def land(context, scene, take: Take, folder: Path, options: dict[str, str]) -> str:
    """Adds the take's strip, or refreshes the one that is already in its place. Raises FolderError or LandingError."""
    plate = images.sequence(take, folder)
    sequenced = compat.edited_scene(context, scene)
    if sequenced.library:
        raise LandingError(f"The sequencer edits “{sequenced.name}”, which is linked from another file; "
                           "choose a scene of this one in its header.")
    colourspace, told = images.colours(sequenced, take)
    start = plate.start + edit.shift(sequenced, scene, plate.start, plate.last)
    editor = sequenced.sequence_editor or sequenced.sequence_editor_create()
    meta = editor.meta_stack[-1] if editor.meta_stack else None
    place = meta or editor
    loop = loop_of(take.shot)
    shown = len(plate.names) - (loop.tail if loop else 0)
    strip = _landed(place.strips, take, start, shown, options.get("channel", ""))
    kept = strip is not None
    if not kept:
        channel = channels.chosen(place, start, start + shown, options.get("channel", ""), sounding=bool(take.sound))
        strip = _laid(sequenced, scene, place.strips, take, plate, channel, start, options)
        compat.set_strip_span(strip, start, start + shown)
    strip.directory = images.stored(context, plate.folder) + "/"
    strip.colorspace_settings.name = colourspace
    strip[images.RECORD] = images.record(take, plate, landing="strip")
    compat.show_sequencer(context, sequenced)
    at = f"{start} to {start + shown - 1}" if shown > 1 else f"{start}"
    where = f"on channel {strip.channel} of “{sequenced.name}”" + (f" in the open meta strip “{meta.name}”" if meta else "")
    said = f"The strip at {at} {where} was refreshed." if kept else f"Strip at {at} {where}."
    heard = sound.lay(context, sequenced, place, take, folder, strip)
    fits = framing.told(sequenced, _camera(scene, options), take.shot.size)
    return " ".join(filter(None, (said, _round(loop), heard, told, fits, _rate(sequenced, take), _hidden(meta, start, shown))))


def _laid(sequenced, scene, strips, take: Take, plate: images.Sequence, channel: int, start: int, options):
    """A new strip with one element a frame, scaled so that it stays registered to the camera's frame."""
    strip = strips.new_image(name=images.titled(take), filepath=str(plate.folder / plate.names[0]), channel=channel,
                             frame_start=start, fit_method="ORIGINAL")
    for name in plate.names[1:]:
        strip.elements.append(name)
    strip.transform.scale_x = strip.transform.scale_y = framing.scale(sequenced, _camera(scene, options), take.shot.size)
    return strip


def _camera(scene, options):
    return scene.objects.get(options.get("camera", "")) or scene.camera


# ---------------------------------------------------------------- where in time
def _landed(strips, take: Take, start: int, count: int, channel: str):
    """The strip of this take that is already where it would land, or None."""
    for strip in strips:
        kept = strip.get(images.RECORD)
        if kept is not None and kept.get("take") == take.id and strip.type == "IMAGE" \
                and compat.strip_span(strip) == (start, start + count) and len(strip.elements) == take.files.count \
                and channel in ("", str(strip.channel)):
            return strip
    return None


# ---------------------------------------------------------------- what to say
def _round(loop: Loop | None) -> str:
    """A loop goes on with the first pictures of the take that it leads back to; its strip would show them twice."""
    return f"It ends before its last {loop.tail} image{'s' if loop.tail > 1 else ''}, with which the take begins again." if loop else ""


def _rate(sequenced, take: Take) -> str:
    fps = sequenced.render.fps / sequenced.render.fps_base
    if abs(fps - take.shot.fps) < 0.005:
        return ""
    return f"It was shot at {take.shot.fps:g} frames a second and “{sequenced.name}” plays {fps:g}, one image a frame."


def _hidden(meta, start: int, count: int) -> str:
    if meta is None:
        return ""
    first, after = compat.strip_span(meta)
    inside = first <= start and start + count <= after
    return "" if inside else f"“{meta.name}” shows only frames {first} to {after - 1} of it until its handles are moved."
