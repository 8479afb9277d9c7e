"""The doctor: is everything here that a shot needs? Each finding says what was found, and a remedy where it is wrong."""
from __future__ import annotations

import hashlib
import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import device, families
from .diffusers_line import attention
from .errors import CHOOSE, REPAIR, FolderError, ModelError, Remedy, SoraError
from .models import store
from .protocol import Finding
from .release import ENGINE_VERSION

MODULES = {"torch": "torch", "numpy": "numpy", "safetensors": "safetensors", "PyAV": "av", "OpenCV": "cv2", "OpenEXR": "OpenEXR",
           "filelock": "filelock", "psutil": "psutil", "typer": "typer", "rich": "rich"}
LITTLE_MEMORY, LITTLE_DISK = 2 << 30, 1 << 30       # bytes


def findings() -> list[Finding]:
    """Everything, in the order in which it has to be right."""
    return [*_python(), *_packages(), *_device(), *_attention(), *_folders(), *_weights()]


def _python() -> Iterator[Finding]:
    well = sys.version_info >= (3, 11)
    yield Finding(what="Engine", found=f"{ENGINE_VERSION}, Python {platform.python_version()} at {sys.executable}", well=well, remedy=None if well else REPAIR)


def _packages() -> Iterator[Finding]:
    for label, module in MODULES.items():
        try:
            found = importlib.import_module(module)
        except (ImportError, OSError) as error:
            yield Finding(what=label, found=str(error), well=False, remedy=REPAIR)
        else:
            yield Finding(what=label, found=str(getattr(found, "__version__", "there")), well=True)


def _device() -> Iterator[Finding]:
    try:
        place = device.chosen()
    except SoraError as error:
        yield Finding(what="Device", found=error.sentence, well=False, remedy=error.remedy)
        return
    yield Finding(what="Device", found=f"{place.label} ({place.name}, {place.dtype})", well=True)
    idle = device.idle_card(place)
    if idle:
        yield idle
    enough = place.free >= LITTLE_MEMORY
    yield Finding(what="Memory", found=f"{place.free / 2**30:.1f} of {place.memory / 2**30:.1f} GB free", well=enough,
                  remedy=None if enough else Remedy(action="unload", label="Free Memory"))


def _attention() -> Iterator[Finding]:
    """By which kernels shots attend here, as far as it was measured."""
    asked = os.environ.get(attention.CHOICE, "")
    known = asked in ("", *attention.EXACT, *attention.SLOW, *attention.ROUNDED)
    rows = [f"{attention.fastest(seconds).strip('_')} for {key.rpartition(', ')[2]}" for key, seconds in attention.kept().items()]
    found = f"{asked}, as {attention.CHOICE} asks" if asked else "; ".join(rows) or "PyTorch's own; on a CUDA device the first shot of each shape measures others"
    yield Finding(what="Attention", found=found, well=known, remedy=None if known else CHOOSE)


def _folders() -> Iterator[Finding]:
    for what, folder in (("Working folder", Path.cwd()), ("Lock folder", device.lock_path("cpu").parent), ("Temporary folder", Path(tempfile.gettempdir()))):
        writable = os.access(folder, os.W_OK)
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        remedy = None if writable and free >= LITTLE_DISK else (
            Remedy(action="free_disk", label="Open Folder", value=str(folder)) if writable else Remedy(action="choose_folder", label="Choose a Folder"))
        yield Finding(what=what, found=f"{folder}, {'writable' if writable else 'not writable'}, {free / 2**30:.1f} GB free", well=remedy is None, remedy=remedy)


def _weights() -> Iterator[Finding]:
    """The embedded model, and what lies in the models folder; models that were never pulled are no fault."""
    for model in families.family("blockout").SPEC.models:
        yield _weight("blockout", model)
    kept = store.Store(store.default_folder())
    for model in kept.installed():
        yield _installed(kept, model)


def _installed(kept: store.Store, model: store.Installed) -> Finding:
    try:
        kept.check(model)
    except (ModelError, FolderError) as error:
        return Finding(what=f"Model {model.name}", found=error.sentence, well=False, remedy=error.remedy)
    return Finding(what=f"Model {model.name}", found=f"{model.family}, {model.size / 2**30:.1f} GB, {len(model.files)} files as they were checked in", well=True)


def _weight(family: str, model: str) -> Finding:
    try:
        folder = families.weights(family, model)
    except ModelError as error:
        return Finding(what=f"Model {model}", found=error.sentence, well=False, remedy=error.remedy)
    files = sorted(folder.glob("*.safetensors"))
    hashes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}" for path in files)
    return Finding(what=f"Model {model}", found=hashes, well=True)
