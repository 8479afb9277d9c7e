"""The library: takes found on disk, marked, searched, thrown away, and what they teach about time and memory. No bpy.

The folder is the truth: nothing is kept beside it, so takes that were copied in or deleted outside are right at once.
"""
from __future__ import annotations

import json
import re
import shutil
import unicodedata
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from ..engine import protocol
from ..engine.errors import FolderError, SoraError
from .slate import write

MARKS_FILE, TRASH = "marks.json", ".trash"
RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$", *(f"com{n}" for n in "123456789¹²³"),
            *(f"lpt{n}" for n in "123456789¹²³")}
LONGEST_NAME = 48               # characters of a scene's name that stay in a folder's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One folder of the library: a take, or the sentence that says why it is none."""

    folder: Path
    take: protocol.Take | None = None
    broken: str = ""
    star: bool = False
    rejected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a shot will cost, measured on `takes` former ones."""

    seconds: float
    peak_bytes: int
    takes: int


# ---------------------------------------------------------------- finding
def scan(takes: Path) -> list[Found]:
    """All takes in the folder, newest first; broken ones too, with the reason. Shots without a take are the slate's."""
    try:
        folders = [folder for folder in Path(takes).iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FolderError(f"{takes} cannot be read: {error.strerror or error}.") from error
    found = [_look(folder) for folder in folders if (folder / protocol.TAKE_FILE).exists()]
    return sorted(found, key=lambda one: (one.take.created if one.take else "", one.folder.name), reverse=True)


def _look(folder: Path) -> Found:
    marks = read_marks(folder)
    try:
        take = protocol.read_take(folder)
        missing = missing_frames(folder, take)
    except SoraError as error:
        return Found(folder=folder, broken=error.sentence, **marks)
    return Found(folder=folder, take=take, broken=missing, **marks)


def missing_frames(folder: Path, take: protocol.Take) -> str:
    """A sentence when frames of a take are gone, otherwise "". One directory listing, no file is opened."""
    try:
        there = {path.name for path in (folder / take.files.folder).iterdir()}
    except OSError:
        return f"The frames of {folder.name} are gone."
    gone = [name for name in take.files.names() if name not in there]
    return f"{len(gone)} of {take.files.count} frames of {folder.name} are gone, the first is {gone[0]}." if gone else ""


def search(found: list[Found], text: str) -> list[Found]:
    """Those whose prompt, name or folder holds every word of `text`, whatever the case."""
    words = text.casefold().split()
    return [one for one in found if all(word in _words(one) for word in words)]


def _words(one: Found) -> str:
    shot = one.take.shot if one.take else None
    return " ".join((one.folder.name, shot.prompt if shot else "", shot.name if shot else "")).casefold()


# ---------------------------------------------------------------- marks and trash
def read_marks(folder: Path) -> dict[str, bool]:
    """`{"star": ..., "rejected": ...}`; unreadable marks count as none."""
    try:
        marks = json.loads((folder / MARKS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        marks = {}
    marks = marks if isinstance(marks, dict) else {}
    return {name: marks.get(name) is True for name in ("star", "rejected")}


def mark(folder: Path, *, star: bool = False, rejected: bool = False) -> None:
    """Set both marks of a take. Raises FolderError."""
    write(Path(folder) / MARKS_FILE, json.dumps({"star": star, "rejected": rejected}) + "\n")


def throw_away(takes: Path, folder: Path) -> Path:
    """Move a take into the library's trash and say where it is now. Raises FolderError."""
    takes, folder = Path(takes).resolve(), Path(folder).resolve()
    if folder.parent != takes:
        raise FolderError(f"{folder} is not a take of {takes}.")
    place = takes / TRASH / folder.name
    if place.exists():
        place = place.with_name(f"{folder.name}-{uuid.uuid4().hex[:4]}")
    try:
        place.parent.mkdir(exist_ok=True)
        folder.rename(place)
    except OSError as error:
        raise FolderError(f"{folder.name} cannot be moved to the trash: {error.strerror or error}.") from error
    return place


def empty_trash(takes: Path) -> None:
    """Delete what was thrown away. Raises FolderError."""
    try:
        shutil.rmtree(Path(takes) / TRASH)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FolderError(f"The trash cannot be emptied: {error.strerror or error}.") from error


# ---------------------------------------------------------------- what takes teach
def estimate(takes: list[Found], family: str, size: protocol.Size, frames: int, device: str = "") -> Estimate | None:
    """Time and memory of a shot, from up to 20 newest takes of the family (and device); None before the first one.

    Seconds follow frames and pixels through the median of what was measured. Memory is that of the largest take that
    is no larger, or of the smallest one otherwise: it is a measured number, not a computed one.
    """
    known = [one.take for one in takes if one.take and one.take.shot.family == family
             and (not device or one.take.device == device) and one.take.seconds][:20]
    if not known:
        return None
    wanted = frames * size.width * size.height
    rate = median(take.elapsed / _work(take) for take in known)
    smaller = [take for take in known if _work(take) <= wanted]
    like = max(smaller, key=_work) if smaller else min(known, key=_work)
    return Estimate(seconds=rate * wanted, peak_bytes=like.peak_bytes, takes=len(known))


def _work(take: protocol.Take) -> int:
    return max(1, take.shot.frames * take.shot.size.width * take.shot.size.height)


# ---------------------------------------------------------------- names
def take_id(scene: str, now: datetime) -> str:
    """`20261120-235012-street-7f3a`: sorts by time, unique, a legal folder name everywhere."""
    name = safe_name(scene)
    return "-".join(part for part in (now.strftime("%Y%m%d-%H%M%S"), name, uuid.uuid4().hex[:4]) if part)


def safe_name(text: str) -> str:
    """`text` without what a file system, a Blender path template or a terminal would take for something else."""
    text = unicodedata.normalize("NFC", text)
    kept = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text)
    kept = re.sub(r"""[/\\:*?"<>|{}#%$&;`'~!\s]+""", "-", kept)
    kept = re.sub(r"-{2,}", "-", kept)[:LONGEST_NAME]
    while len(kept.encode("utf-8")) > 120:          # a name may have 255 bytes; 汉 takes three
        kept = kept[:-1]
    kept = kept.strip(" .-")
    return f"{kept}-scene" if kept.casefold().split(".")[0] in RESERVED else kept
