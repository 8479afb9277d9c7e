"""The families that the panel offers: a snapshot in families.json, replaced by what a running engine says. No bpy.

`families.json` is written by `python -m engine families --json`, so that the panel can be drawn, and a shot frozen,
before an engine was ever installed.
"""
from __future__ import annotations

import json
import math
from pathlib import Path

from ..engine.errors import CHOOSE, ModelError
from ..engine.protocol import FamilySpec, Preset, Size, decode

SNAPSHOT = Path(__file__).with_name("families.json")
ALIKE, NEAR = 0.1, 0.02     # engine.pace's: of a rate, and of a frame
_known: dict[str, FamilySpec] = {}


def read_snapshot(path: Path = SNAPSHOT) -> tuple[FamilySpec, ...]:
    """The specs in a file as `python -m engine families --json` writes it. Raises WireError when it is damaged."""
    return tuple(decode(fields, FamilySpec) for fields in json.loads(path.read_text(encoding="utf-8")))


def specs() -> tuple[FamilySpec, ...]:
    """All families in the engine's order."""
    if not _known:
        adopt(read_snapshot())
    return tuple(_known.values())


def adopt(fresh: tuple[FamilySpec, ...]) -> None:
    """Takes what a running engine offers (Ready.families) in place of the snapshot; nothing brings the snapshot back."""
    _known.clear()
    _known.update((spec.name, spec) for spec in fresh)


def spec(name: str) -> FamilySpec:
    """The family called `name`. Raises ModelError."""
    found = known(name)
    if found is None:
        raise ModelError(f"This engine has no family called “{name}”.", CHOOSE)
    return found


def known(name: str) -> FamilySpec | None:
    """The family called `name`; None where this engine does not have it."""
    return next((each for each in specs() if each.name == name), None)


def presets(family: FamilySpec, model: str) -> tuple[Preset, ...]:
    """The presets for a model of the family: those made for it, and all where it was imported and nobody can know."""
    model = model or next(iter(family.models), "")
    return tuple(preset for preset in family.presets if model in preset.models or model not in family.models)


def preset(family: FamilySpec, model: str, name: str) -> Preset | None:
    """The preset called `name`, where the model has it."""
    return next((each for each in presets(family, model) if each.name == name), None)


def made(family: FamilySpec, model: str, frames: int, fps: float, told: bool) -> tuple[int, float]:
    """How many frames the model makes for so many of the shot's at `fps`, and its own rate, 0 where it has the shot's. As engine.pace has it:
    a model of another rate keeps that, unless the motion is `told` by a guide or a source clip.
    """
    rate = next((each.fps for each in family.rates if each.model == model), family.native_fps)
    if not rate or told or math.isclose(rate, fps, rel_tol=ALIKE):
        return family.frames.ceil(frames), 0.0
    return family.frames.ceil(1 + math.ceil((frames - 1) * rate / fps - NEAR)), rate


def room(family: FamilySpec, model: str) -> str:
    """What a model takes on disk and in memory, as far as that is documented: "about 28.0 GB of memory for its transformer, half in 8 bits"."""
    known = next((one for one in family.weights if one.model == model), None)
    if known is None:
        return ""
    disk = f"{known.disk / 1e9:.0f} GB on disk" if known.disk else ""
    memory = f"about {known.memory / 1e9:.1f} GB of memory for its transformer, half in 8 bits" if known.memory else ""
    return ", ".join(filter(None, (disk, memory)))


def chosen(context) -> FamilySpec | None:
    """The spec of the family that the scene's settings name; None where this engine does not have it."""
    return known(context.scene.sora.family_name)


def native_size(family: FamilySpec, size: Size, two_stages: bool = False) -> Size:
    """About the size that the model itself draws before up-scaling, or in `two_stages`: `size` where it draws all of it (pixels)."""
    area = family.native_area * (4 if two_stages else 1)
    if not area or area >= size.width * size.height:
        return size
    shrink = (area / (size.width * size.height)) ** 0.5
    multiple = max(8, family.sizes.multiple)
    return Size(*(max(multiple, round(side * shrink / multiple) * multiple) for side in (size.width, size.height)))
