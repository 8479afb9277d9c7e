"""What a shot has beside its words and guides, where the family takes it: stills, a source clip, pictures of the subject, LoRAs.

Each is read from the settings into its part of the Shot, or refused with a way out; `restore` puts all of them back.
"""
from __future__ import annotations

from pathlib import Path

import bpy

from ..engine import protocol
from ..engine.errors import GuideError, KeyframeError, ModelError, Remedy, SoraError
from ..engine.protocol import EXPERTS, FamilySpec, Guide, Keyframe, Lora, Shot
from . import compat, edit, footage, lines, loras as library

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")      # what the engine reads as a still


# ---------------------------------------------------------------- stills
def stills(settings, spec: FamilySpec, start: int, frames: int) -> tuple[Keyframe, ...]:
    """The stills of the shot's frames in order, where asked for. Raises KeyframeError."""
    if not (settings.use_keyframes and spec.keyframes):
        return ()
    last, found = start + frames - 1, {}
    for frame, written, line in _asked_stills(settings, start, last):
        leave = _leave(line)
        if not start <= frame <= last:
            raise KeyframeError(f"The still at frame {frame} lies outside of the shot's frames, {start} to {last}.", leave)
        if frame - start in found:
            raise KeyframeError(f"There are two stills for frame {frame}; one is enough.", leave)
        found[frame - start] = Keyframe(frame=frame - start, path=_picture(written, f"The still at frame {frame}", leave))
    return tuple(found[frame] for frame in sorted(found))


def still_frames(settings, spec: FamilySpec, start: int, frames: int) -> tuple[int, ...]:
    """The frames of the stills that are asked for, counted from 0 within the shot, whether their pictures are there or not."""
    asked = _asked_stills(settings, start, start + frames - 1) if settings.use_keyframes and spec.keyframes else ()
    return tuple(frame - start for frame, _written, _line in asked)


def _asked_stills(settings, start: int, last: int) -> list[tuple[int, str, str]]:
    """(scene frame, path as written, its line for `lines.leave_out`): those of the ends' own fields first."""
    ends = [(start, settings.first_image, "first_image")]
    if last > start:
        ends.append((last, settings.last_image, "last_image"))
    return [end for end in ends if end[1]] + [(row.frame, row.image, f"stills {index}") for index, row in enumerate(settings.stills) if row.on]


def _picture(written: str, what: str, leave: Remedy) -> str:
    """The absolute path of a picture that is there and that the engine can read. Raises KeyframeError."""
    path = bpy.path.abspath(written)
    if not written:
        raise KeyframeError(f"{what} has no picture yet; choose one.", leave)
    if not Path(path).is_file():
        raise KeyframeError(f"{what} is not there: {path}.", leave)
    if Path(path).suffix.lower() not in PICTURES:
        raise KeyframeError(f"{what}, {Path(path).name}, is not a PNG, JPEG, TIFF or WebP; choose another picture.", leave)
    return path


# ---------------------------------------------------------------- pictures of the subject
def references(settings, spec: FamilySpec) -> tuple[str, ...]:
    """Files of the pictures that are on. Raises KeyframeError for one that is missing, and for more than the family takes."""
    on = [(index, row.image) for index, row in enumerate(settings.references) if row.on] if spec.references else []
    if len(on) > spec.references:
        extra = _leave("references " + " ".join(str(index) for index, _written in on[spec.references:]), "Use the First")
        raise KeyframeError(f"{spec.label} takes up to {spec.references} pictures of the subject, not {len(on)}.", extra)
    return tuple(_picture(written, f"Picture {index + 1} of the subject", _leave(f"references {index}")) for index, written in on)


# ---------------------------------------------------------------- LoRAs
def loras(settings, spec: FamilySpec, folder: Path) -> tuple[Lora, ...]:
    """The LoRAs that are on, those of the models folder by their names, others by their files. Raises ModelError."""
    from . import stock             # it looks after the engine, which reads these settings
    found, experts = [], stock.two_experts(spec, settings.model_name)
    for index, row in enumerate(settings.loras) if spec.loras else ():
        if not row.on:
            continue
        leave = _leave(f"loras {index}")
        name = _lora(row.lora.strip(), spec, folder, leave)
        worn = Lora(name=name, strength=round(row.strength, 4), expert=EXPERTS.index(row.expert) if experts else 0)
        if any(one.name == name and (one.expert == worn.expert or 0 in (one.expert, worn.expert)) for one in found):
            raise ModelError(f"The LoRA {row.lora} is in the list twice; once is enough{', or once for each expert' if experts else ''}.", leave)
        found.append(worn)
    return tuple(found)


def _lora(written: str, spec: FamilySpec, folder: Path, leave: Remedy) -> str:
    """A LoRA's name, or its file's absolute path. Raises ModelError."""
    if not written:
        raise ModelError("A LoRA of the list has no name yet; choose one of the models folder, or a file.", leave)
    if not is_file(written):
        if written not in [one.name for one in library.known(folder, spec.name, *spec.kin)]:
            raise ModelError(f"The LoRA {written} is not among those of {spec.label} in {folder}; import it, or choose its file.", leave)
        return written
    path = Path(bpy.path.abspath(written))
    if path.suffix.lower() != library.WEIGHTS:
        raise ModelError(f"{path.name} is not a safetensors file; LoRAs of other kinds could run a program when opened.", leave)
    if not path.is_absolute() or not path.is_file():
        raise ModelError(f"The LoRA {path} is not there.", leave)
    return str(path)


def is_file(written: str) -> bool:
    """Whether a LoRA is written as a file, not as a name of the models folder."""
    return "/" in written or "\\" in written or written.lower().endswith(library.WEIGHTS)


# ---------------------------------------------------------------- the source clip
def source(context, spec: FamilySpec, start: int, frames: int, takes: Path) -> list[Path]:
    """The picture of each of the shot's frames that the clip begins from; none where nothing is asked for. Raises GuideError."""
    settings = context.scene.sora
    if not spec.source or settings.source_from == "NONE":
        return []
    leave = _leave("source", "Begin from Nothing")
    if settings.source_from == "STRIP":
        return _of_strip(context, start, frames, leave)
    if settings.source_from == "TAKE":
        return footage.covering(_of_take(context, settings.source_take, takes, leave), start, frames, leave)
    if not settings.source_folder:
        raise GuideError("No folder of pictures is chosen to begin from.", leave)
    return footage.covering(footage.numbered(Path(bpy.path.abspath(settings.source_folder)), leave), start, frames, leave)


def _of_take(context, name: str, takes: Path, leave: Remedy) -> dict[int, Path]:
    """Scene frame -> picture of a take of the library. Raises GuideError."""
    if not name:
        raise GuideError("No take is chosen to begin from.", leave)
    row = context.window_manager.sora.takes.get(name)
    folder = Path(row.folder) if row else takes / name
    try:
        take = protocol.read_take(folder)
    except SoraError as error:
        raise GuideError(f"The take {name} cannot be begun from: {error.sentence}", leave) from error
    places = [folder / take.files.folder / each for each in take.files.names()]
    gone = next((path for path in places if not path.is_file()), None)
    if gone:
        raise GuideError(f"The take {name} lacks {gone.name}.", leave)
    return dict(enumerate(places, take.shot.frame_start))


def _of_strip(context, start: int, frames: int, leave: Remedy) -> list[Path]:
    """The pictures that the active image strip shows at the shot's frames. Raises GuideError."""
    sequenced = compat.edited_scene(context, context.scene)
    strip = sequenced.sequence_editor.active_strip if sequenced.sequence_editor else None
    trouble = unreadable(strip)
    if trouble:
        raise GuideError(trouble, leave)
    later = edit.shift(sequenced, context.scene, start, start + frames - 1)
    first, after = compat.strip_span(strip)
    if start + later < first or start + later + frames > after:
        there = after - start - later if first <= start + later < after else 0
        raise GuideError(f"“{strip.name}” shows the frames {first - later} to {after - 1 - later}; the shot has the frames {start} to "
                         f"{start + frames - 1}.", footage.shorter(there) if there else leave)
    names = [element.filename for element in strip.elements]
    if strip.use_reverse_frames:
        names.reverse()
    at = start + later - compat.strip_content_start(strip) + compat.strip_trimmed(strip)
    shown = [names[min(max(at + index, 0), len(names) - 1)] for index in range(frames)]     # handles may hold the first and last image
    found = [Path(bpy.path.abspath(strip.directory)) / name for name in shown]
    odd = next((path for path in found if path.suffix.lower() not in footage.PICTURES or not path.is_file()), None)
    if odd:
        raise GuideError(f"“{strip.name}” shows {odd}, which is not there or no EXR, PNG, JPEG or TIFF.", leave)
    return found


def unreadable(strip) -> str:
    """A sentence when a clip cannot be read from the strip, otherwise ""."""
    if strip is None:
        return "No strip is active in the sequencer; click the image strip to begin from."
    if strip.type == "MOVIE":
        return f"“{strip.name}” is a movie, which is not read picture by picture; render it as images and choose their folder."
    if strip.type != "IMAGE":
        return f"“{strip.name}” is not a strip of images; click one, or render it as images and choose their folder."
    if len(strip.retiming_keys):
        return f"“{strip.name}” is retimed, which is not followed; render it as images and choose their folder."
    return ""


# ---------------------------------------------------------------- and back
def restore(settings, shot: Shot, spec: FamilySpec, takes: Path) -> None:
    """Puts a shot's stills, source clip, pictures and LoRAs back; what it had not is empty."""
    last = shot.frames - 1
    at = {still.frame: still.path for still in shot.keyframes}
    settings.use_keyframes = bool(at)
    settings.first_image, settings.last_image = at.pop(0, ""), at.pop(last, "")
    for name in lines.LISTS:
        getattr(settings, name).clear()
    for frame, path in sorted(at.items()):
        lines.add(settings, "stills", frame=shot.numbered(frame), image=path)
    for path in shot.references:
        lines.add(settings, "references", image=path)
    for worn in shot.loras:
        lines.add(settings, "loras", lora=worn.name, strength=worn.strength, expert=EXPERTS[worn.expert])
    _restore_source(settings, shot.source, takes)
    if shot.source and spec.changes:
        settings.source_change = shot.source.strength


def _restore_source(settings, clip: Guide | None, takes: Path) -> None:
    settings.source_from, settings.source_take, settings.source_folder = "NONE", "", ""
    if clip is None:
        return
    take = Path(clip.path).parent
    if take.parent == takes and Path(clip.path).name != footage.FOLDER:
        settings.source_from, settings.source_take = "TAKE", take.name
    else:
        settings.source_from, settings.source_folder = "FOLDER", clip.path


def _leave(line: str, label: str = "Leave It Out") -> Remedy:
    return Remedy(action="leave_out", label=label, value=line)
