"""Models as the panels show them, and the child processes that fetch, check, import and remove them. Knows nothing of bpy.

The work is done by `python -m engine models ... --json`; `poll` hands over what it has said.
"""
from __future__ import annotations

import json
import logging
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..engine import protocol
from ..engine.errors import REPAIR, Cut, EngineBroken, SoraError, WireError
from . import child
from .client import why
from .pipes import Incoming

log = logging.getLogger(__name__)

WHOLE = ("diffusers", "native")             # kinds that are a model by themselves
STATES = ("installed", "partial", "damaged", "absent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """`text` is its address. `sure` is False where the catalogue could not look it up."""

    id: str
    label: str
    text: str
    note: str = ""
    sure: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One line of the catalogue, or a model that was imported. `size` in bytes, 0 where only the hub knows it."""

    name: str
    family: str
    kind: str
    label: str
    state: str                              # one of STATES, at a look at the files' lengths
    size: int
    licence: Licence
    wrong: str = ""                         # why it is damaged
    partial: int = 0                        # bytes that an interrupted download left
    accepted: tuple[str, ...] = ()          # licences that were accepted on this machine
    folder: str = ""                        # where it lies, "" when it is not installed
    repository: str = ""                    # "" for what cannot be downloaded
    does: tuple[str, ...] = ()              # what it can be given and gives, in the catalogue's words

    @property
    def is_here(self) -> bool:
        return self.state == "installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The models folder, the free bytes of its disk and those in its trash, what there is, and records that cannot be read, as sentences."""

    folder: str
    free: int
    models: tuple[Model, ...]
    trash: int = 0
    problems: tuple[str, ...] = ()

    def of(self, family: str) -> tuple[Model, ...]:
        """The models of a family, LoRAs last."""
        return tuple(sorted((model for model in self.models if model.family == family), key=lambda model: model.kind == "lora"))

    def named(self, name: str) -> Model | None:
        """The model called `name`."""
        return next((model for model in self.models if model.name == name), None)

    def lacking(self, family: str, name: str) -> Model | None:
        """What has to be there before the family can shoot with the model `name` ("": any) and is not; None when nothing lacks."""
        known = [model for model in self.of(family) if model.kind in WHOLE]
        if name:
            known = [model for model in known if model.name == name]
        begun = [model for model in known if model.state != "absent"]
        return None if any(model.is_here for model in known) else next(iter(begun or known), None)


# ---------------------------------------------------------------- what is said
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a download brings, as the hub says: bytes of all files, of those that are missing, free on the disk."""

    model: str
    licence: str
    size: int
    missing: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far it is, in bytes; `speed` in bytes a second and `eta` in seconds, below 0 when not known."""

    done: int
    total: int
    file: str = ""
    speed: float = -1.0
    eta: float = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The command's last word."""

    facts: dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Cut (its code is `cut`) or failed; what was downloaded is used next time."""

    error: SoraError


def listing(facts: dict) -> Listing:
    """What `models list --json` says. Raises WireError when it is something else."""
    try:
        return Listing(folder=str(facts["folder"]), free=int(facts["free"]), trash=int(facts["trash"]), problems=tuple(map(str, facts["problems"])),
                       models=tuple(_model(row) for row in facts["models"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WireError(f"The engine's list of models makes no sense ({type(error).__name__}: {error}).", REPAIR) from error


def _model(row: dict) -> Model:
    entry, here = row["catalogue"] or {}, row["installed"] or {}
    licence = entry.get("licence") or {"id": here.get("licence", ""), "label": here.get("licence", ""), "text": ""}
    return Model(
        name=row["name"], family=row["family"], kind=row["kind"], label=row["label"] or row["name"], state=row["state"], wrong=row["wrong"],
        partial=row["partial"], accepted=tuple(row["accepted"]), size=here.get("size") or entry.get("size", 0),
        folder=here.get("link") or here.get("folder", ""), repository=entry.get("repository", ""), does=tuple(entry.get("does", ())),
        licence=Licence(id=here.get("licence") or licence["id"], label=licence["label"], text=licence["text"], note=licence.get("note", ""),
                        sure="licence" not in entry.get("unverified", ())))


def heard(line: str) -> Plan | Step | Finished | Stopped:
    """One line of the command's. Raises WireError."""
    try:
        facts = json.loads(line)
        match facts.get("type"):
            case "Plan":
                return Plan(**{name: facts[name] for name in Plan.__dataclass_fields__})
            case "Progress":
                return Step(**{name: facts[name] for name in Step.__dataclass_fields__ if name in facts})
            case "Failed":
                return Stopped(error=_error(protocol.read(line, (protocol.Failed,))))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WireError(f"The engine's models command said {line[:80]!r}.", REPAIR) from error
    return Finished(facts=facts)


def _error(failed: protocol.Failed) -> SoraError:
    error = SoraError(failed.sentence, failed.remedy)
    error.code = failed.code
    return error


# ---------------------------------------------------------------- the child
class Errand:
    """One `python -m engine models ...`. `online` lets it reach the hub; otherwise it cannot."""

    def __init__(self, python: Path, root: Path, arguments: tuple[str, ...], settings: dict[str, str], online: bool = False):
        self.command = [str(python), "-X", "utf8", "-m", "engine", "models", *arguments, "--json"]
        self.env = child.environment(hub=online, PYTHONPATH=str(root), PYTHONSAFEPATH="1", **settings)
        self._incoming: Incoming | None = None
        self._trouble = tempfile.TemporaryFile()
        self._end: Finished | Stopped | None = None     # its last word
        self._cut = self._over = False

    def start(self) -> None:
        """Begin; returns at once. What keeps it from starting is said by `poll`."""
        try:
            self._incoming = Incoming(child.start(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._trouble,
                                                  env=self.env, cwd=Path.home()))
        except OSError as error:
            self._end = Stopped(error=EngineBroken(f"{self.command[0]} does not start: {error.strerror or error}.", REPAIR))

    def poll(self) -> list[Plan | Step | Finished | Stopped]:
        """What was said since the last call. After Finished or Stopped nothing follows."""
        said: list[Plan | Step | Finished | Stopped] = []
        if self._over:
            return said
        if self._incoming:
            while (line := self._incoming.line()) is not None:
                said += self._noted(line.decode("utf-8", "replace"))
            if self._incoming.code is None:
                return said
            self._incoming.close()
        self._over = True
        return [*said, self._end or Stopped(error=Cut("Stopped.") if self._cut else _death(self._incoming.code, self._trouble))]

    def stop(self) -> None:
        """Stop soon; ends with Stopped. What arrived stays on the disk."""
        self._cut = True
        if self._incoming:
            child.kill(self._incoming.child)

    def _noted(self, line: str) -> list[Plan | Step]:
        try:
            said = heard(line)
        except WireError as error:
            log.warning("%s", error)
            return []
        if isinstance(said, (Finished, Stopped)):
            self._end = said
            return []
        return [said]


def _death(code: int, trouble) -> EngineBroken:
    """Why a child that said nothing last has ended."""
    trouble.seek(0)
    last = [line for line in trouble.read().decode("utf-8", "replace").splitlines() if line.strip()][-1:]
    return EngineBroken(f"The engine {why(code)}" + (f" Its last words: {last[0].strip()[:300]}" if last else ""), REPAIR)
