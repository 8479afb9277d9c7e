"""Blockout: the embedded model. Turns a blocked-out scene's depth and normals, and a prompt, into a small clip."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CHOOSE, ModelError
from ..protocol import FamilySpec, FrameGrid, SizeGrid

if TYPE_CHECKING:
    import numpy as np

    from ..blockout.footage import Footage
    from ..device import Device

WEIGHTS = Path(__file__).resolve().parents[1] / "blockout" / "weights"
REFINER = "refiner-v0.json"                     # what a folder with a refiner holds
TOKEN = 8                                       # pixels of a token's side


def refines(folder: Path) -> float:
    """The strength of a model's refiner unless a shot says otherwise, 0 where its folder has none."""
    return 1.0 if (folder / REFINER).is_file() else 0.0


SPEC = FamilySpec(
    name="blockout",
    label="Blockout",
    note="Embedded: small, made for layouts, runs on any machine without a download",
    licence="GPL-3.0-or-later",
    guides=("depth", "normal", "albedo", "mask", "vector", "camera"),
    keyframes=True,
    shared=5,               # two latent frames, as windows share
    references=1,
    source=True,
    changes=True,
    frames=FrameGrid(stride=4, offset=1),
    sizes=SizeGrid(multiple=8, shortest=64, longest=4096),
    longest=3600,
    native_area=128 * 72,
    steps=8,
    guidance=3.0,
    models=("blockout-v0",),
    loras=True,
    drafts=0.2,
    magnitudes=0.06,        # at 8 steps four of them are left out, see scripts/LOG.md
    refines=refines(WEIGHTS),
    limits=True,
)


def folder(model: str) -> Path:
    """Where one of SPEC.models lies in the project, or one that was trained further and imported. Raises ModelError, FolderError."""
    if model in ("", *SPEC.models):
        return WEIGHTS
    from ..models import store
    kept = store.Store(store.default_folder())
    found = next((each for each in kept.installed() if (each.name, each.family, each.kind) == (model, SPEC.name, "native")), None)
    if found is None:
        raise ModelError(f"{SPEC.label} has no model called {model!r}, and none was imported by that name; it has {', '.join(SPEC.models)}.", CHOOSE)
    kept.check(found)
    return found.path


def rehearsals(folder: Path) -> Path | None:
    """Not beside the weights, which may lie where nothing can be written, and are replaced in place when they were trained further: in the
    caches, by what the weights are. None where the environment wants none. Raises ModelError."""
    from ..diffusers_line.remembered import default_folder
    from ..models import store
    cache = default_folder("magnitudes")
    return cache and cache / store.digest(folder / "blockout-v0.safetensors").sha256[:16]


def rehearsed(slope: np.ndarray) -> dict:
    """The slope as its depth: without a layout the clip would be drawn twice."""
    return {"guides": {"depth": slope}}


def load(folder: Path, device: Device) -> Footage:
    """The weights of `folder` on `device`. Raises ModelError."""
    from ..blockout.footage import opened
    return opened(folder, device)
