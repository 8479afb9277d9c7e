"""From the hub into the models folder: said up front, resumed after a kill, and only the right bytes.

A model grows in `.partial/<name>/`. A file there has its own name only once its digest agreed, so whatever a kill leaves
behind is either right or a `.partial` that goes on where it stopped.
"""
from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from ..errors import CHOOSE, DiskFull, ModelError, Remedy
from . import lock, recognise
from .admission import WEIGHTS, check_folder, is_kept, is_pickle
from .catalogue import Entry
from .growing import Growing
from .hub import AGAIN, Dropped, Hub, Remote
from .lock import Digest, Locked, unwritable, write_json
from .progress import Progress
from .repair import noted, reusable, reuse
from .store import Installed, Kept, Store

log = logging.getLogger(__name__)

RESERVE = 64_000_000                # bytes that stay free
TRIES = 7                           # in a row without one new byte
VARIANT = re.compile(r"\.(fp16|bf16|fp8|non_ema)[.-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a pull would bring. `locked` when an earlier pull fixed it."""

    entry: Entry
    revision: str
    licence: str                    # what the hub's card says, or else the catalogue
    files: dict[str, Remote]
    locked: bool

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def plan(entry: Entry, hub: Hub, lock_file: Path, update: bool = False) -> Plan:
    """What to bring: what the lock says, or the hub's newest when there is no lock or `update`. Raises ModelError, FolderError."""
    locked = lock.read(lock_file).get(entry.name)
    if locked and not update:
        if locked.repository != entry.repository:
            raise ModelError(f"{lock_file} has {entry.name} from {locked.repository}, the catalogue from {entry.repository}; "
                             "pull with --update to lock it again.", CHOOSE)
        files = {name: Remote(file.size, file.sha256, "") for name, file in locked.files.items()}
        return Plan(entry=entry, revision=locked.revision, licence=locked.licence, files=files, locked=True)
    listing = _patiently(lambda: hub.listing(entry.repository), entry.repository)
    return Plan(entry=entry, revision=listing.revision, licence=listing.licence or entry.licence.id,
                files=_wanted(entry, listing.files), locked=False)


def agree(plan_: Plan, store: Store, accepted: str) -> None:
    """Records that the plan's licence was accepted, or raises ModelError with the licence in it. Raises FolderError."""
    path, key = store.folder / "licences.json", f"{plan_.entry.name} {plan_.licence}"
    known = _accepted(path)
    if key in known:
        return
    licence = plan_.entry.licence
    if accepted.strip().lower() != plan_.licence:
        other = "" if plan_.licence == licence.id else f" The catalogue expected {licence.id}."
        note = f" {licence.note}" if licence.note else ""
        raise ModelError(f"{plan_.entry.label} is under {plan_.licence} ({licence.label}, {licence.text}).{other}{note} "
                         f"Read it, then pull with --accept-licence {plan_.licence}.",
                         Remedy(action="get_model", label="Read the Licence", value=plan_.entry.name))
    facts = {"licence": plan_.licence, "text": licence.text, "repository": plan_.entry.repository, "revision": plan_.revision,
             "accepted": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    write_json(path, {**known, key: facts})


def accepted(name: str, store: Store) -> tuple[str, ...]:
    """Short names of the licences under which the model `name` was accepted on this machine. Raises ModelError."""
    known = _accepted(store.folder / "licences.json")
    return tuple(key.partition(" ")[2] for key in known if key.partition(" ")[0] == name)


def begun(name: str, store: Store) -> int:
    """Bytes of the model `name` that an interrupted pull left, 0 when there are none."""
    staging = store.staging(name)
    return sum(path.stat().st_size for path in staging.rglob("*") if path.is_file()) if staging.exists() else 0


def forget(name: str, store: Store) -> None:
    """Deletes what an interrupted pull of `name` left. Raises ModelError while another process goes on with it, FolderError."""
    staging = store.staging(name)
    try:
        with FileLock(staging.with_name(f"{name}.lock"), timeout=0):
            shutil.rmtree(staging)
    except Timeout as error:
        raise ModelError(f"{name} is being pulled by another process.", AGAIN) from error
    except OSError as error:
        raise unwritable(staging, error) from error


def _accepted(path: Path) -> dict:
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}, which says what licences were accepted, cannot be read: {error}.", CHOOSE) from error
    return known if isinstance(known, dict) else {}


def missing(plan_: Plan, store: Store) -> int:
    """Bytes that are still to come. Raises DiskFull when they do not fit."""
    there = max(begun(plan_.entry.name, store), reusable(plan_.entry.name, plan_.files, store))
    need, free = max(0, plan_.size - there), free_space(store.folder)
    if need + RESERVE > free:
        raise DiskFull(f"{plan_.entry.label} needs {need / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free at {store.folder}.",
                       Remedy(action="free_disk", label="Show Folder", value=str(store.folder)))
    return need


def free_space(folder: Path) -> int:
    """Free bytes on the disk that `folder` is on or will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def pull(plan_: Plan, store: Store, hub: Hub, lock_file: Path, pause: float = 0.5) -> Generator[Progress, None, Installed]:
    """Brings the plan's files and adopts the model; yields progress, returns what is installed.

    `pause` is the first wait in seconds after a dropped connection. Raises ModelError, FolderError, DiskFull.
    """
    staging = store.staging(plan_.entry.name)
    try:
        staging.mkdir(parents=True, exist_ok=True)
        with FileLock(staging.with_name(f"{staging.name}.lock"), timeout=0):
            missing(plan_, store)
            _forget_stale(plan_, staging)
            whole = yield from reuse(plan_.entry.name, plan_.files, store, staging)
            if whole and whole.revision == plan_.revision:
                return _settled(plan_, whole, store, staging, lock_file)
            yield from _bring(plan_, hub, staging, pause)
            return _finish(plan_, store, staging, lock_file)
    except Timeout as error:
        raise ModelError(f"{plan_.entry.name} is already being pulled by another process.", AGAIN) from error
    except OSError as error:
        raise unwritable(staging, error) from error


def _wanted(entry: Entry, files: dict[str, Remote]) -> dict[str, Remote]:
    """The files of `entry` among the hub's. Raises ModelError when there is no safe form of one."""
    chosen = {path: file for path, file in files.items() if entry.wants(path) and is_kept(path)}
    plain = {str(PurePosixPath(path).parent) for path in chosen if path.endswith(WEIGHTS) and not VARIANT.search(path)}
    chosen = {path: file for path, file in chosen.items() if not (VARIANT.search(path) and str(PurePosixPath(path).parent) in plain)}
    weighted = {str(PurePosixPath(path).parent) for path in chosen if path.endswith(WEIGHTS)}
    for path in files:
        if entry.wants(path) and is_pickle(path) and str(PurePosixPath(path).parent) not in weighted:
            raise ModelError(f"{entry.repository} offers {path} only in a form that could run code; it is not pulled.", CHOOSE)
    needed = {"model_index.json"} if entry.folders else set(entry.files)
    if not needed <= chosen.keys() or not weighted:
        lacking = ", ".join(sorted(needed - chosen.keys())) or "weights"
        raise ModelError(f"{entry.repository} does not hold {entry.label} (any more): {lacking} is not there.", CHOOSE)
    for path, file in chosen.items():
        if not file.sha256 and not file.blob:
            raise ModelError(f"The hub names no digest for {path}, so it could not be checked; it is not pulled.", AGAIN)
    return chosen


def _forget_stale(plan_: Plan, staging: Path) -> None:
    """Drops what an interrupted pull of another revision left. Raises FolderError, DiskFull."""
    now = {name: asdict(file) for name, file in plan_.files.items()}
    note = staging.with_name(f"{staging.name}.plan.json")
    try:
        before = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    except ValueError:
        before = {}                     # a kill while it was written: every file is fetched again
    for path in [path for path in staging.rglob("*") if path.is_file()]:
        name = path.relative_to(staging).as_posix().removesuffix(".partial")
        if name not in now or before.get(name, {}).get("size") != now[name]["size"] or _differs(before[name], now[name]):
            path.unlink()
    write_json(note, now)


def _differs(before: dict, now: dict) -> bool:
    """A lock knows the sha256, a listing of a small file only the blob: such a pair may be the same, but is not taken for it."""
    same = before["sha256"] == now["sha256"] if now["sha256"] else before["blob"] == now["blob"]
    return not same


def _bring(plan_: Plan, hub: Hub, staging: Path, pause: float) -> Generator[Progress, None, None]:
    done, began, fetched = 0, time.monotonic(), 0
    for name, remote in sorted(plan_.files.items(), key=lambda item: item[1].size):
        gained = 0
        if (staging / name).exists():
            gained = remote.size
        else:
            for position, new in _fetch(plan_, name, hub, staging, pause):
                gained, fetched = position, fetched + new
                speed = fetched / max(time.monotonic() - began, 1e-6)
                eta = (plan_.size - done - gained) / speed if fetched else -1.0
                yield Progress(model=plan_.entry.name, file=name, done=done + gained, total=plan_.size, eta=eta, speed=speed)
        done += gained
    yield Progress(model=plan_.entry.name, file="", done=done, total=plan_.size, eta=0.0)


def _fetch(plan_: Plan, name: str, hub: Hub, staging: Path, pause: float) -> Generator[tuple[int, int], None, None]:
    """Brings one file; yields (its length so far, new bytes). Wrong bytes are fetched once more, then refused."""
    remote, partial = plan_.files[name], staging / f"{name}.partial"
    partial.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        with Growing(partial, remote) as growing:
            yield from _grow(growing, plan_, name, hub, pause)
            right = growing.agrees()
        if right:
            os.replace(partial, staging / name)
            return
        log.warning("%s arrived with other bytes than the hub promised", name)
        partial.unlink()
    raise ModelError(f"{hub.endpoint} twice sent other bytes than it promised for {name}; nothing of it was kept.", AGAIN)


def _grow(growing: Growing, plan_: Plan, name: str, hub: Hub, pause: float) -> Generator[tuple[int, int], None, None]:
    """Asks for the rest until it is there; raises ModelError after TRIES without a single new byte."""
    tries = 0
    yield growing.length, 0
    while growing.length < growing.size:
        before = growing.length
        try:
            begin, blocks = hub.stream(plan_.entry.repository, plan_.revision, name, growing.length)
            if begin != growing.length:
                growing.restart()           # the server knows no ranges
                if begin:
                    raise Dropped(f"it began at byte {begin}")
            for block in blocks:
                growing.add(block)
                yield growing.length, len(block)
                if growing.length > growing.size:
                    return                  # too long: the digest will not agree
            if growing.length < growing.size:
                raise Dropped("the connection ended early")
        except Dropped as error:
            tries = 0 if growing.length > before else tries + 1
            if tries == TRIES:
                raise _gave_up(hub, name, error) from error
            log.info("%s: %s at byte %d; asking again", name, error, growing.length)
            time.sleep(min(pause * 2**tries, 30.0))


def _patiently(ask, what: str, pause: float = 0.5):
    """`ask()`, again after a dropped connection. Raises ModelError."""
    for tries in range(3):
        try:
            return ask()
        except Dropped as error:
            last = error
            time.sleep(pause * 2**tries)
    raise ModelError(f"The hub does not answer about {what} ({last}).", AGAIN)


def _gave_up(hub: Hub, name: str, error: Dropped) -> ModelError:
    return ModelError(f"{hub.endpoint} stopped sending {name} ({error}); what arrived is kept, and the next pull goes on from there.", AGAIN)


def _finish(plan_: Plan, store: Store, staging: Path, lock_file: Path) -> Installed:
    """Looks into every file, locks what it was and moves it to its place. Raises ModelError, FolderError, DiskFull."""
    entry, weights = plan_.entry, [name for name in plan_.files if name.endswith(WEIGHTS)]
    try:
        facts = None
        if entry.kind == "diffusers":
            check_folder(staging)
        else:
            facts = recognise.agree(staging / weights[0], entry.family, entry.kind == "lora")
    except ModelError:
        shutil.rmtree(staging)
        raise
    files = {name: noted(staging / name, plan_.files[name]) for name in sorted(plan_.files)}
    _lock(plan_, files, lock_file)
    return store.adopt(Installed(name=entry.name, family=entry.family, kind=entry.kind, label=entry.label, licence=plan_.licence,
                                 files=files, repository=entry.repository, revision=plan_.revision, width=facts.width if facts else 0), staging)


def _settled(plan_: Plan, whole: Installed, store: Store, staging: Path, lock_file: Path) -> Installed:
    """The model that was here already, every byte of it as promised."""
    shutil.rmtree(staging)
    store.record(whole)
    _lock(plan_, whole.files, lock_file)
    return whole


def _lock(plan_: Plan, files: dict[str, Kept], lock_file: Path) -> None:
    if not plan_.locked:
        lock.keep(lock_file, plan_.entry.name, Locked(repository=plan_.entry.repository, revision=plan_.revision, licence=plan_.licence,
                                                      files={name: Digest(file.size, file.sha256) for name, file in files.items()}))
