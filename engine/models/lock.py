"""`models.lock.json`: the revision and the sha256 of every file, as the hub said at the first pull. A studio shares it.

Nothing in it is private to a machine, so that two of them that pulled the same have the same file.
"""
from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import DiskFull, FolderError, ModelError, Remedy
from .admission import admit_name

NAME = "models.lock.json"
ENVIRONMENT = "SORA_MODELS_LOCK"        # a lock that a studio shares, wherever it lies; otherwise the one in the models folder
VERSION = 1
REVISION = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's length in bytes and its sha256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What one model was at its first pull."""

    repository: str
    revision: str                           # 40 hexadecimal digits: a commit, never a branch
    licence: str
    files: dict[str, Digest]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def read(path: Path) -> dict[str, Locked]:
    """Model name -> what it has to be; empty when there is no lock yet. Raises ModelError, FolderError."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror or error}.", _shown(path)) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(fields, dict) or fields.get("version") != VERSION or not isinstance(fields.get("models"), dict):
        raise _unreadable(path, f"version {fields.get('version') if isinstance(fields, dict) else None!r}")
    return {str(name): _locked(path, facts) for name, facts in fields["models"].items()}


def keep(path: Path, name: str, locked: Locked) -> None:
    """Writes `locked` as what `name` has to be from now on; the rest of the lock stays. Raises ModelError, FolderError, DiskFull."""
    models = {**read(path), name: locked}
    write_json(path, {"version": VERSION, "models": {key: asdict(models[key]) for key in sorted(models)}})


def write_json(path: Path, value: dict) -> None:
    """`value` as JSON at `path`, whole or not at all. Raises FolderError, DiskFull."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> FolderError:
    """The error for a file that could not be written, with the way out that fits."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"There is no space left for {path}; what is there is kept, and the download goes on where it stopped.",
                        _shown(path))
    return FolderError(f"{path} cannot be written: {error.strerror or error}.",
                       Remedy(action="choose_folder", label="Choose Another Folder"))


def _locked(path: Path, facts: object) -> Locked:
    files = facts.get("files") if isinstance(facts, dict) else None
    if not isinstance(files, dict) or not REVISION.fullmatch(str(facts.get("revision"))):
        raise _unreadable(path, "a model in it has no revision or no files")
    return Locked(repository=str(facts.get("repository")), revision=facts["revision"], licence=str(facts.get("licence", "")),
                  files={str(admit_name(name)): _digest(path, file) for name, file in files.items()})


def _digest(path: Path, file: object) -> Digest:
    size, sha256 = (file.get("size"), file.get("sha256")) if isinstance(file, dict) else (None, None)
    if not isinstance(size, int) or size < 0 or not SHA256.fullmatch(str(sha256)):
        raise _unreadable(path, "a file in it has no length or no sha256")
    return Digest(size, sha256)


def _unreadable(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} is not a lock that this version reads ({why}); take it out of its folder to have models locked anew.", _shown(path))


def _shown(path: Path) -> Remedy:
    return Remedy(action="free_disk", label="Show Folder", value=str(path.parent))
