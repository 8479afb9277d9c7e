"""The models folder: one folder for each model, found by the record in it, checked before anything opens its weights.

    <folder>/<name>/sora.json        what it is, and the sha256 of every file
    <folder>/.partial/<name>/        a download or copy in progress; renamed when it is whole
    <folder>/.trash/                 what was removed
    <folder>/models.lock.json        what the hub said (lock.py)

Nothing in it depends on where the folder lies, so it may move, be renamed or be a network drive.
"""
from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..errors import CHOOSE, WEIGHTS, FolderError, ModelError, Remedy
from . import catalogue, links
from .admission import RECORD, RESERVED, admit_name, check_file, check_folder
from .lock import unwritable, write_json

log = logging.getLogger(__name__)

ENVIRONMENT = "SORA_MODELS"
PARTIAL, TRASH = ".partial", ".trash"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
VERSION = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it was when its bytes were last read in full. `mtime` in nanoseconds: when it differs, they are read again."""

    size: int
    sha256: str
    mtime: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One model on this machine. `folder` holds the record; the files lie there too, or where `link` says."""

    name: str
    family: str
    kind: str                               # one of catalogue.KINDS
    label: str
    licence: str
    files: dict[str, Kept]
    repository: str = ""                    # "" when it was imported
    revision: str = ""
    link: str = ""                          # absolute path of a folder or file that was linked, not copied
    beside: str = ""                        # the same, relative to the models folder
    triggers: tuple[str, ...] = ()          # LoRA: words that call it up in a prompt
    strength: float = 1.0                   # LoRA: what it is meant to be used with
    width: int = 0                          # LoRA, or made of one file: channels of the transformer, 0 when unknown
    component: str = ""                     # made of one file: what its tensors are
    folder: Path = field(default=Path(), compare=False)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def root(self) -> Path:
        """The folder that the file names are relative to. Raises ModelError when a linked one is gone."""
        return links.target(self) if self.link else self.folder

    @property
    def path(self) -> Path:
        """What a loader opens: a model's folder, the file of a LoRA. Raises ModelError."""
        return self.root if self.kind in catalogue.WHOLE else self.root / next(iter(self.files))


def default_folder() -> Path:
    """The models folder: SORA_MODELS, or the user's folder for application files."""
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "sora" / "models"


def resolve(family: str, model: str = "", folder: Path | None = None) -> Path:
    """What a loader opens for `model` of `family` ("": the first there is), checked. Raises ModelError, FolderError."""
    return chosen(family, model, folder).path


def chosen(family: str, model: str = "", folder: Path | None = None) -> Installed:
    """Like `resolve`, with everything that is known of it: a loader needs `kind`."""
    store = Store(folder or default_folder())
    found = store.find(family, model)
    store.check(found)
    return found


class Store:
    """The models below `folder`. Reading never changes anything but the times at which files were checked."""

    def __init__(self, folder: Path):
        self.folder = Path(folder).absolute()
        self.problems: list[str] = []       # records that could not be read, as sentences; filled by installed()
        self.broken: dict[str, str] = {}    # the same by the folder's name, which is the model's

    def installed(self) -> tuple[Installed, ...]:
        """Every model with a readable record, in the catalogue's order, then by name. Raises FolderError."""
        self.problems, self.broken, found = [], {}, {}
        for record in self._records():
            try:
                model = _read(record)
                if model.name in found:
                    self.problems.append(f"{record.parent} and {found[model.name].folder} are both called {model.name}; the first is not used.")
                    continue
                found[model.name] = model
            except ModelError as error:
                self.problems.append(error.sentence)
                self.broken[record.parent.name] = error.sentence
        order = {entry.name: place for place, entry in enumerate(catalogue.entries())}
        return tuple(sorted(found.values(), key=lambda model: (order.get(model.name, len(order)), model.name)))

    def named(self, name: str) -> Installed:
        """The model called `name`. Raises ModelError, FolderError."""
        for model in self.installed():
            if model.name == name:
                return model
        raise self._absent(name)

    def find(self, family: str, model: str = "") -> Installed:
        """The model of `family` called `model`; "" is the first whole one. Raises ModelError, FolderError."""
        if model:
            found = self.named(model)
            if found.family != family:
                raise ModelError(f"{model} is a model of {found.family}, not of {family}.", WEIGHTS)
            return found
        for found in self.installed():
            if found.family == family and found.kind in catalogue.WHOLE:
                return found
        raise self._absent(f"A model of {family}")

    def loras(self, family: str) -> tuple[Installed, ...]:
        """The LoRA library of `family`."""
        return tuple(model for model in self.installed() if model.kind == "lora" and model.family == family)

    def check(self, model: Installed) -> None:
        """Every file is there, as it was and what it should be; those touched since are read again in full.

        Headers and configurations are looked into each time: a record can be written by anybody. Raises ModelError, FolderError: what can
        be pulled is to be pulled again.
        """
        try:
            self._check(model)
        except ModelError as error:
            error.remedy = _way_out(model)
            raise

    def _check(self, model: Installed) -> None:
        root, seen = model.root, dict(model.files)
        for name, kept in model.files.items():
            seen[name] = _checked(root / name, kept)
        if model.kind == "diffusers":
            check_folder(root)
        else:
            for name in model.files:
                check_file(root / name)
        moved = bool(model.link) and str(root) != model.link
        if (moved or seen != model.files) and os.access(model.folder, os.W_OK):
            self.record(replace(links.mended(model, self.folder) if moved else model, files=seen))

    def glance(self, model: Installed) -> str:
        """What is wrong at a look at the files' lengths, as a sentence, or "". `check` looks closer, `verify` reads every byte."""
        try:
            for name, kept in model.files.items():
                length = (model.root / name).stat().st_size
                if length != kept.size:
                    return f"{model.root / name} has {length} bytes where it had {kept.size}."
        except OSError as error:
            return f"{error.filename} is missing ({error.strerror})."
        except ModelError as error:
            return error.sentence
        return ""

    def record(self, model: Installed) -> None:
        """Writes the model's record. Raises FolderError, DiskFull."""
        fields = asdict(model)
        del fields["folder"]
        write_json(model.folder / RECORD, {"version": VERSION, **fields})

    def staging(self, name: str) -> Path:
        """The folder in which `name` grows until it is whole. Raises ModelError for an impossible name."""
        if not NAME.fullmatch(name) or RESERVED.fullmatch(name):
            raise ModelError(f"{name[:80]!r} cannot be a model's name: small letters, digits, dots, dashes, at most 64.", CHOOSE)
        return self.folder / PARTIAL / name

    def adopt(self, model: Installed, staging: Path) -> Installed:
        """Renames the finished `staging` folder to the model's place; an older one goes to the trash. Raises FolderError, DiskFull."""
        place = self.folder / model.name
        if model.name in [found.name for found in self.installed()] or model.name in self.broken:
            self.remove(model.name)
        self.record(replace(model, folder=staging))
        try:
            os.replace(staging, place)
        except OSError as error:
            raise unwritable(place, error) from error
        return replace(model, folder=place)

    def remove(self, name: str, now: bool = False) -> Path | None:
        """Moves a model to the trash, or deletes it `now`; also one whose record is damaged. A linked folder itself is left alone.

        Raises ModelError, FolderError.
        """
        found = {model.name: model.folder for model in self.installed()}
        place = found.get(name) or (self.folder / name if name in self.broken else self.named(name).folder)
        bin_ = self.folder / TRASH / f"{name}-{time.time_ns()}"
        try:
            bin_.parent.mkdir(exist_ok=True)        # same folder, so that a rename suffices
            os.replace(place, bin_)
            if not now:
                return bin_
            shutil.rmtree(bin_)
        except OSError as error:
            raise unwritable(place, error) from error
        return None

    def empty_trash(self) -> int:
        """Deletes what was removed before; bytes that were in it. Raises FolderError."""
        trash = self.folder / TRASH
        try:
            freed = self.thrown_away()
            if trash.exists():
                shutil.rmtree(trash)
        except OSError as error:
            raise unwritable(trash, error) from error
        return freed

    def thrown_away(self) -> int:
        """Bytes in the trash."""
        return sum(path.stat().st_size for path in (self.folder / TRASH).rglob("*") if path.is_file() and not path.is_symlink())

    def _absent(self, what: str) -> ModelError:
        if self.folder.exists():
            known = any(entry.name == what for entry in catalogue.entries())
            if known and self.staging(what).exists():
                return ModelError(f"{what} is in {self.folder} only in part: its download was interrupted; go on with it.",
                                  Remedy(action="get_model", label="Resume", value=what))
            return ModelError(f"{what} is not in {self.folder}; pull or import it first.",
                              Remedy(action="get_model", label="Get This Model", value=what) if known else CHOOSE)
        return ModelError(f"{what} cannot be looked for: the models folder {self.folder} is not there. Was it moved, or is its drive not connected?",
                          Remedy(action="choose_folder", label="Choose the Models Folder", value=str(self.folder)))

    def _records(self) -> list[Path]:
        if not self.folder.exists():
            return []
        try:
            return sorted(path / RECORD for path in self.folder.iterdir() if not path.name.startswith(".") and (path / RECORD).is_file())
        except OSError as error:
            raise FolderError(f"{self.folder} cannot be read: {error.strerror or error}.",
                              Remedy(action="choose_folder", label="Choose Another Folder")) from error


def digest(path: Path) -> Kept:
    """Length, sha256 and time of the file at `path`. Raises ModelError."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            facts = os.fstat(file.fileno())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.", CHOOSE) from error
    return Kept(facts.st_size, sha256, facts.st_mtime_ns)


def _way_out(model: Installed) -> Remedy:
    """Of a damaged model."""
    known = any(entry.name == model.name for entry in catalogue.entries())
    return Remedy(action="get_model", label="Get It Again", value=model.name) if known and model.repository else WEIGHTS


def _checked(path: Path, kept: Kept) -> Kept:
    try:
        facts = path.stat()
    except OSError as error:
        raise ModelError(f"{path} is missing ({error.strerror}); pull or import the model again.", CHOOSE) from error
    if facts.st_size != kept.size:
        raise ModelError(f"{path} has {facts.st_size} bytes where it had {kept.size}; pull or import the model again.", CHOOSE)
    if facts.st_mtime_ns == kept.mtime:
        return kept
    again = digest(path)
    if again.sha256 != kept.sha256:
        raise ModelError(f"{path} is not the file that was checked in; it is not opened. Pull or import the model again.", CHOOSE)
    return again


def _read(record: Path) -> Installed:
    """The record of a model. Raises ModelError."""
    try:
        fields = json.loads(record.read_text(encoding="utf-8"))
        if fields.pop("version") != VERSION:
            raise ModelError(f"{record} was written by another version.", CHOOSE)
        files = {str(admit_name(name)): Kept(int(kept["size"]), str(kept["sha256"]), int(kept["mtime"]))
                 for name, kept in fields.pop("files").items()}
        known = {key: value for key, value in fields.items() if key in Installed.__dataclass_fields__ and key != "folder"}
        known["triggers"] = tuple(known.get("triggers", ()))
        model = Installed(**known, files=files, folder=record.parent)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ModelError) as error:
        raise ModelError(f"{record} is damaged ({type(error).__name__}: {error}).", CHOOSE) from error
    if not NAME.fullmatch(str(model.name)) or model.kind not in catalogue.KINDS or not files:
        raise ModelError(f"{record} is damaged (no proper name, kind or files).", CHOOSE)
    return model
