"""The list of takes that the panels show: filled from the folder, never saved. The folder stays the truth."""
from __future__ import annotations

import logging
from pathlib import Path

import bpy
import bpy.utils.previews
from bpy.app.handlers import persistent
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, IntProperty, PointerProperty, StringProperty

from ..engine.errors import SoraError
from ..engine.protocol import TAKE_FILE, read_take
from . import families, library, settings as choices, shot

log = logging.getLogger(__name__)
_pictures = None            # bpy.utils.previews collection: the first frame of each take


class SoraTake(bpy.types.PropertyGroup):
    """One line of the list. `name` is the take's id, so that it can be found by it."""

    title: StringProperty(name="Take")
    folder: StringProperty(name="Folder")
    prompt: StringProperty(name="Prompt")
    seed: StringProperty(name="Seed")
    facts: StringProperty(name="Facts")
    notes: StringProperty(name="Notes")
    broken: StringProperty(name="Trouble")
    starred: BoolProperty(name="Star")


_shown: list = []           # Blender keeps no reference to the strings of dynamic items


def _models_items(_self, _context):
    fresh = [("SHOT", "Family of the Shot", "The models of the family that the scene's shot is set to"),
             *((spec.name, spec.label, spec.note) for spec in families.specs())]
    if _shown != fresh:
        _shown[:] = fresh
    return _shown


class SoraSession(bpy.types.PropertyGroup):
    """What the panels remember while Blender is open: at `window_manager.sora`."""

    takes: CollectionProperty(type=SoraTake)
    take_index: IntProperty(name="Take", description="The chosen take")
    models_family: EnumProperty(name="Family", description="Whose models are listed", items=_models_items)
    refusal: StringProperty(name="Refusal")
    remedy_action: StringProperty()
    remedy_label: StringProperty()
    remedy_value: StringProperty()


def refresh(context) -> None:
    """Reads the folder anew; the chosen take stays chosen. Raises FolderError."""
    folder = shot.takes_folder(context)
    found = library.scan(folder)
    elsewhere = [place for place in _arrived if place.parent != folder and (place / TAKE_FILE).is_file()]
    found += [library.Found(folder=place, take=read_take(place)) for place in reversed(elsewhere)]
    session = context.window_manager.sora
    before = chosen(context)
    kept = before.name if before else ""
    session.takes.clear()
    for one in found:
        _fill(session.takes.add(), one)
    session.take_index = max(0, session.takes.find(kept)) if kept else 0
    _estimates.clear()
    _scanned[:] = found


def arrived(context, folder: Path) -> None:
    """Puts a take that was printed just now on top of the list and chooses it, without reading the others again."""
    if _pictures is None:
        return                              # nothing is registered that would show it
    session = context.window_manager.sora
    _arrived.append(folder)
    try:
        one = library.Found(folder=folder, take=read_take(folder))
    except SoraError as error:
        log.warning("%s", error)
        return
    if (before := session.takes.find(folder.name)) >= 0:
        session.takes.remove(before)        # the folder was read in between
    _fill(session.takes.add(), one)
    session.takes.move(len(session.takes) - 1, 0)
    session.take_index = 0
    _scanned.insert(0, one)
    _estimates.clear()


_scanned: list[library.Found] = []
_arrived: list[Path] = []       # printed since the file was opened: they stay listed when saving it changes the folder
_estimates: dict = {}


def estimate(family: str, size, frames: int) -> library.Estimate | None:
    """Time and memory of such a shot, measured on the takes that were read last; None before the first one."""
    key = family, size, frames
    if key not in _estimates:
        _estimates[key] = library.estimate(_scanned, *key)
    return _estimates[key]


def chosen(context) -> SoraTake | None:
    """The take that is chosen in the list."""
    session = context.window_manager.sora
    return session.takes[session.take_index] if 0 <= session.take_index < len(session.takes) else None


def picture(name: str) -> int:
    """Icon of a take's first frame, by its id; 0 where there is none."""
    return _pictures[name].icon_id if _pictures is not None and name in _pictures else 0


def _fill(row: SoraTake, one: library.Found) -> None:
    row.name, row.folder, row.broken, row.starred = one.folder.name, str(one.folder), one.broken, one.star
    row.title = one.folder.name
    if one.take is None:
        return
    take, made = one.take, one.take.shot
    row.title, row.prompt = made.name or made.prompt[:48] or made.id, made.prompt
    row.seed = str(made.seed)
    row.facts = f"{made.size}, {made.frames} frames, seed {made.seed}, {spelled(take.elapsed)} on {take.device}{', with sound' if take.sound else ''}"
    row.notes = "\n".join((*take.notes, *memory(take), *([f"Not understood: {', '.join(take.not_understood)}"] if take.not_understood else [])))
    first = one.folder / take.files.folder / take.files.names()[0]
    if _pictures is not None and row.name not in _pictures and first.is_file():
        _pictures.load(row.name, str(first), "IMAGE")


def memory(take) -> tuple[str, ...]:
    """How the model was kept in memory, what that was estimated to need and what it did; nothing where it was not planned."""
    if not take.plan:
        return ()
    return (f"Memory: {choices.plan_label(take.plan)}, {gigabytes(take.planned_bytes)} planned, {gigabytes(take.peak_bytes)} measured",)


def gigabytes(count: int) -> str:
    """`9_300_000_000` -> `9.3 GB`; below a twentieth of one in MB."""
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.0f} MB"


def spelled(seconds: float) -> str:
    """`75.2` -> `1:15`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02d}"


def opened(row: SoraTake):
    """The take of a line, read again from its folder. Raises FolderError or WireError."""
    return read_take(Path(row.folder))


def look_again() -> None:
    """Refresh where nobody waits for an answer: after loading, saving and enabling."""
    try:
        refresh(bpy.context)
    except SoraError as error:
        log.warning("%s", error)


@persistent
def _after_load(*_file) -> None:
    _arrived.clear()
    look_again()


@persistent
def _after_save(*_file) -> None:
    look_again()


CLASSES = (SoraTake, SoraSession)


def register():
    global _pictures
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.WindowManager.sora = PointerProperty(type=SoraSession, options={"SKIP_SAVE"})
    _pictures = bpy.utils.previews.new()
    bpy.app.handlers.load_post.append(_after_load)
    bpy.app.handlers.save_post.append(_after_save)
    bpy.app.timers.register(look_again, first_interval=0.3)         # while registering there is no context yet


def unregister():
    global _pictures
    bpy.app.handlers.load_post.remove(_after_load)
    bpy.app.handlers.save_post.remove(_after_save)
    if bpy.app.timers.is_registered(look_again):
        bpy.app.timers.unregister(look_again)
    bpy.utils.previews.remove(_pictures)
    _pictures = None
    for kept in (_scanned, _arrived, _estimates):
        kept.clear()
    del bpy.types.WindowManager.sora
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
