"""What is here already is not fetched again: a damaged model is mended by its damaged files alone."""
from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from ..errors import ModelError
from .admission import files_of
from .growing import agrees
from .hub import Remote
from .progress import Progress
from .store import Installed, Kept, Store, digest


def reusable(name: str, wanted: dict[str, Remote], store: Store) -> int:
    """Bytes of the installed model that its record says are the wanted ones."""
    old = _here(name, store)
    return sum(kept.size for file, kept in old.files.items() if file in wanted and kept.sha256 == wanted[file].sha256) if old else 0


def reuse(name: str, wanted: dict[str, Remote], store: Store, staging: Path) -> Generator[Progress, None, Installed | None]:
    """Reads the installed model's files again and puts the right ones into `staging`; yields progress.

    Returns the model when all of it is right and nothing else lies beside it. Raises OSError.
    """
    old, total = _here(name, store), sum(remote.size for remote in wanted.values())
    if not old:
        return None
    right, done = [], 0
    for file, remote in wanted.items():
        yield Progress(model=name, file=file, done=done, total=total)
        if file in old.files and agrees(old.folder / file, remote):
            right.append(file)
            done += remote.size
    if len(right) == len(wanted) and _nothing_else(old):
        return replace(old, files={file: noted(old.folder / file, wanted[file]) for file in right})
    for file in right:
        if not (staging / file).exists():
            _put(old.folder / file, staging / file)
    return None


def _here(name: str, store: Store) -> Installed | None:
    """The model if it lies in the models folder itself: linked ones belong to somebody else."""
    return next((model for model in store.installed() if model.name == name and not model.link), None)


def noted(path: Path, remote: Remote) -> Kept:
    """The record of a file whose digest just agreed; small files get their sha256 here."""
    return Kept(remote.size, remote.sha256, path.stat().st_mtime_ns) if remote.sha256 else digest(path)


def _nothing_else(model: Installed) -> bool:
    try:
        return set(files_of(model.folder)) == set(model.files)
    except ModelError:
        return False


def _put(source: Path, target: Path) -> None:
    """A second name for the file where the disk knows such a thing, otherwise a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
