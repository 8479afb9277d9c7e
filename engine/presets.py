"""What a shot takes over that it does not say itself: from the preset that it names, otherwise from its model."""
from __future__ import annotations

import dataclasses

from . import families
from .errors import Remedy, ShotError
from .protocol import Preset, Shot
from .ways_out import LEAVE_LORAS

LEAVE = Remedy(action="leave_out", label="Shoot in All Steps", value="preset")


def of(shot: Shot) -> Preset | None:
    """The preset that the shot names, unless nothing is sampled. Raises ShotError where its family has none of that name for the model."""
    if not shot.preset or shot.latents:
        return None
    spec = families.family(shot.family).SPEC
    found = next((preset for preset in spec.presets if preset.name == shot.preset), None)
    if found is None:
        known = ", ".join(preset.name for preset in spec.presets) or "none"
        raise ShotError(f"{spec.label} has no preset called {shot.preset!r}; it has: {known}.", LEAVE)
    if shot.model in spec.models and shot.model not in found.models:
        raise ShotError(f"The preset “{found.label}” is made for {', '.join(found.models)}, not for {shot.model}.", LEAVE)
    return found


def without_loras(shot: Shot) -> Remedy:
    """The way out where one of the shot's LoRAs does not fit: leaving those out that a person put on, or the preset where all are its own."""
    preset = of(shot)
    return LEAVE if preset and {lora.name for lora in shot.loras} <= {lora.name for lora in preset.loras} else LEAVE_LORAS


def applied(shot: Shot) -> Shot:
    """The shot with its preset's LoRAs, and with the steps and guidance of its preset or its model where it has none of its own; a take
    records what was meant, whatever the defaults are later. Raises ShotError, and ModelError, FolderError where no model is there.
    """
    if shot.latents:
        return shot
    preset, worn = of(shot), {lora.name for lora in shot.loras}
    if preset:
        shot = dataclasses.replace(shot, loras=(*(lora for lora in preset.loras if lora.name not in worn), *shot.loras))
    if shot.steps and shot.guidance >= 0:
        return shot
    given = preset or families.own(shot.family, shot.model)
    low = given.guidance_low if preset is None and shot.guidance < 0 and shot.guidance_low < 0 else shot.guidance_low
    return dataclasses.replace(shot, steps=shot.steps or given.steps, guidance_low=low,
                               guidance=shot.guidance if shot.guidance >= 0 else given.guidance)
