"""Models that were linked, not copied: where their folder is now, also after it moved."""
from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from ..errors import ModelError, Remedy

log = logging.getLogger(__name__)

LOOKED = 500        # folders that a search opens at most


def written(target: Path, models: Path) -> dict[str, str]:
    """`link` and `beside` of a record for `target`, seen from the models folder."""
    try:
        beside = os.path.relpath(target, models)
    except ValueError:          # another drive on Windows
        beside = ""
    return {"link": str(target), "beside": beside}


def target(model) -> Path:
    """The folder that holds the files of the linked `model`; looked for where it may have moved to. Raises ModelError."""
    for place in _places(model):
        if _holds(place, model):
            if str(place) != model.link:
                log.info("%s moved from %s to %s", model.name, model.link, place)
            return place
    raise ModelError(f"{model.name} was linked from {model.link}, which is not there any more; import it again from where it is now.",
                     Remedy(action="choose_model", label="Choose a Model", value=model.name))


def mended(model, models: Path):
    """The record of `model` with the place where it is now. Raises ModelError."""
    return replace(model, **written(target(model), models))


def _places(model):
    """Where it was; where it lies if it moved together with the models folder; then folders around both."""
    old, models = Path(model.link), model.folder.parent
    yield old
    if model.beside:
        yield Path(os.path.normpath(models / model.beside))
    looked = 0
    for around in (old.parent, models, models.parent):
        for folder in _folders(around):
            looked += 1
            if looked > LOOKED:
                return
            yield folder


def _folders(around: Path) -> list[Path]:
    try:
        return sorted(path for path in around.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:             # gone or not ours to read: nothing to find there
        return []


def _holds(place: Path, model) -> bool:
    """Whether every file is there with its length; `Store.check` then reads those whose time differs."""
    try:
        return all((place / name).stat().st_size == kept.size for name, kept in model.files.items())
    except OSError:
        return False
