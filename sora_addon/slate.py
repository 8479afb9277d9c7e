"""The slate: what is queued, rolling, printed, failed or cut, and in which order. Knows nothing of bpy.

A Slate is a value: every change gives another one. Durability is a `state.json` beside each shot's `shot.json`, so
that a killed Blender finds its queue again.
"""
from __future__ import annotations

import dataclasses
import json
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..engine import protocol
from ..engine.errors import FolderError, Remedy, ShotError, SoraError, WireError
from .claim import alive

log = logging.getLogger(__name__)

STATE_FILE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Waits for its turn, or, where `held` says why, for the artist."""

    held: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """Being made. Stage `guides` is Blender's, the others are the engine's."""

    stage: str
    step: int = 0
    steps: int = 0
    eta: float = -1.0               # seconds; below 0: not known yet
    preview: str = ""               # the newest image file, or ""
    note: str = ""
    cutting: bool = False           # the cut was asked for, the engine has not answered yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    take: str                       # the take's folder
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    code: str
    sentence: str
    remedy: Remedy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    printed: int = 0                # frames that are on disk


Status = Queued | Rolling | Printed | Failed | Cut
_STATUSES = {kind.__name__.lower(): kind for kind in (Queued, Rolling, Printed, Failed, Cut)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A shot and where it stands."""

    shot: protocol.Shot
    status: Status = Queued()


@dataclass(frozen=True, slots=True)
class Slate:
    """Entries in the order in which they roll."""

    entries: tuple[Entry, ...] = ()

    # ------------------------------------------------------------ questions
    def find(self, shot: str) -> Entry | None:
        """The entry of the shot with this id."""
        return next((entry for entry in self.entries if entry.shot.id == shot), None)

    @property
    def rolling(self) -> Entry | None:
        return next((entry for entry in self.entries if isinstance(entry.status, Rolling)), None)

    @property
    def following(self) -> Entry | None:
        """The entry whose turn is next."""
        return next((entry for entry in self.entries if entry.status == Queued()), None)

    # ------------------------------------------------------------ the artist's changes
    def add(self, shot: protocol.Shot) -> "Slate":
        """Raises ShotError when a shot of that id is there already."""
        if self.find(shot.id):
            raise ShotError(f"The shot {shot.id} is on the slate already.")
        return Slate((*self.entries, Entry(shot=shot)))

    def cut(self, shot: str) -> "Slate":
        """A queued shot is cut at once; a rolling one says so until the engine answers."""
        entry = self.find(shot)
        if entry and isinstance(entry.status, Queued):
            return self.put(shot, Cut())
        if entry and isinstance(entry.status, Rolling):
            return self.put(shot, replace(entry.status, cutting=True))
        return self

    def move(self, shot: str, by: int) -> "Slate":
        """Move the shot `by` places, negative towards the beginning; stops at the ends."""
        entry = self.find(shot)
        if entry is None:
            return self
        others = [other for other in self.entries if other is not entry]
        place = max(0, self.entries.index(entry) + by)
        return Slate((*others[:place], entry, *others[place:]))

    def hold(self, shot: str, why: str) -> "Slate":
        """A queued shot waits until `retry`."""
        entry = self.find(shot)
        return self.put(shot, Queued(held=why)) if entry and isinstance(entry.status, Queued) else self

    def retry(self, shot: str) -> "Slate":
        """Queue a failed, cut or held shot once more, at the end. A printed one stays: takes are never overwritten."""
        entry = self.find(shot)
        if entry is None or isinstance(entry.status, (Rolling, Printed)) or entry.status == Queued():
            return self
        others = tuple(other for other in self.entries if other is not entry)
        return Slate((*others, Entry(shot=entry.shot)))

    def remove(self, shot: str) -> "Slate":
        """Take the shot off the slate unless it is rolling."""
        return Slate(tuple(entry for entry in self.entries
                           if entry.shot.id != shot or isinstance(entry.status, Rolling)))

    def clear(self) -> "Slate":
        """Take everything off that has ended."""
        return Slate(tuple(entry for entry in self.entries if isinstance(entry.status, (Queued, Rolling))))

    # ------------------------------------------------------------ what happens to it
    def put(self, shot: str, status: Status) -> "Slate":
        """The shot with another status."""
        return self._with(shot, status=status)

    def ready(self, shot: protocol.Shot) -> "Slate":
        """The shot with its rendered guides in place of the one without."""
        return self._with(shot.id, shot=shot)

    def apply(self, event: protocol.Event) -> "Slate":
        """What the engine said, about a rolling shot. Anything else changes nothing."""
        entry = self.find(getattr(event, "shot", ""))
        if entry is None or not isinstance(entry.status, Rolling):
            return self
        return self.put(event.shot, _after(entry.status, event))

    def _with(self, name: str, **change) -> "Slate":
        return Slate(tuple(replace(entry, **change) if entry.shot.id == name else entry for entry in self.entries))

    @classmethod
    def resume(cls, takes: Path) -> "Slate":
        """What a former Blender left unfinished in `takes`, oldest first, held until the artist asks for it."""
        entries = [_left_behind(folder) for folder in sorted(Path(takes).glob("*/")) if not folder.name.startswith(".")]
        return cls(tuple(entry for entry in entries if entry))


def _after(status: Rolling, event: protocol.Event) -> Status:
    match event:
        case protocol.Progress():
            return replace(status, stage=event.stage, step=event.step, steps=event.steps, eta=event.eta,
                           preview=event.preview or status.preview, note=event.note)
        case protocol.Done():
            return Printed(take=event.take, notes=event.notes)
        case protocol.Failed():
            return Failed(code=event.code, sentence=event.sentence, remedy=event.remedy)
        case protocol.Cancelled():
            return Cut(printed=event.printed)
    return status


# ---------------------------------------------------------------- durability
def write(path: Path, text: str) -> None:
    """Replace a small file at once, so that a reader sees the old or the whole new one. Raises FolderError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise FolderError(f"{path} cannot be written: {error.strerror or error}.",
                          Remedy(action="choose_folder", label="Choose a Folder")) from error


def freeze(shot: protocol.Shot) -> None:
    """Write `shot.json` into the shot's folder. Raises FolderError."""
    write(Path(shot.out) / protocol.SHOT_FILE, protocol.as_json(shot))


def save(entry: Entry, owner: str = "") -> None:
    """Write `state.json`; `owner` is the claim of the Blender that queued it. Raises FolderError."""
    facts = {"status": type(entry.status).__name__.lower(), "owner": owner, **dataclasses.asdict(entry.status)}
    write(Path(entry.shot.out) / STATE_FILE, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def saved(folder: Path) -> tuple[Status, str]:
    """Status and owner as they were saved; Queued and "" when nothing was. Raises FolderError or WireError."""
    path = Path(folder) / STATE_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Queued(), ""
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise WireError(f"{path} is damaged: {error}.") from error
    kind = _STATUSES.get(facts.get("status")) if isinstance(facts, dict) else None
    if kind is None:
        raise WireError(f"{path} names no status.")
    return protocol.decode(facts, kind), str(facts.get("owner", ""))


def owner(shot: protocol.Shot) -> str:
    """The claim of the Blender that looked after the shot last, or ""."""
    try:
        return saved(Path(shot.out))[1]
    except SoraError as error:
        log.warning("%s", error)
        return ""


def _left_behind(folder: Path) -> Entry | None:
    """The unfinished shot in `folder`, unless it has a take, belongs to a living Blender or cannot be read."""
    if not (folder / protocol.SHOT_FILE).is_file() or (folder / protocol.TAKE_FILE).exists():
        return None
    try:
        shot = replace(protocol.read_shot(folder), id=folder.name, out=str(folder))
    except SoraError as error:
        log.warning("%s is not resumed: %s", folder.name, error)
        return None
    try:
        status, former = saved(folder)
    except SoraError as error:
        log.warning("%s: %s", folder.name, error)
        status, former = Queued(), ""
    if isinstance(status, (Failed, Cut)):
        return Entry(shot=shot, status=status)
    if alive(folder.parent, former):
        return None
    return Entry(shot=shot, status=Queued(held="Interrupted: Blender ended before it was printed."))
