"""Reads every byte of a model again and says what is not as it was."""
from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from ..errors import ModelError
from . import lock
from .admission import check_file, check_folder, files_of
from .catalogue import WHOLE
from .progress import Progress
from .store import Installed, Kept, Store, digest


def verify(model: Installed, store: Store, lock_file: Path) -> Generator[Progress, None, list[str]]:
    """Yields progress; returns sentences, none when every file is right. Raises ModelError when a linked model is gone."""
    root, locked = model.root, lock.read(lock_file).get(model.name)
    sentences, seen, done = [], {}, 0
    for name, kept in model.files.items():
        yield Progress(model=model.name, file=name, done=done, total=model.size)
        wanted = locked.files[name].sha256 if locked and locked.revision == model.revision and name in locked.files else kept.sha256
        sentence, seen[name] = _looked(root / name, kept, wanted)
        sentences += [sentence] if sentence else []
        done += kept.size
    sentences += _beside(root, model)
    if not sentences:
        store.record(replace(model, files=seen))
    yield Progress(model=model.name, file="", done=model.size, total=model.size, eta=0.0)
    return sentences


def _looked(path: Path, kept: Kept, wanted: str) -> tuple[str, Kept]:
    try:
        now = digest(path)
        if now.sha256 != wanted:
            return f"{path} has other bytes than it should ({now.size} of {kept.size}).", now
        check_file(path)
    except ModelError as error:
        return error.sentence, kept
    return "", now


def _beside(root: Path, model: Installed) -> list[str]:
    """Files that nobody checked in: harmless ones are named too, because a loader might pick them."""
    if model.kind not in WHOLE:
        return []
    try:
        strangers = sorted(set(files_of(root)) - set(model.files))
        if model.kind == "diffusers":
            check_folder(root)
    except ModelError as error:
        return [error.sentence]
    return [f"{root / name} does not belong to {model.name}." for name in strangers]
