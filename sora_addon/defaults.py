"""Steps and guidance as a model is documented to be shot with: what the settings take over with it, and what the panel says where they differ."""
from __future__ import annotations

import math

from ..engine.protocol import Defaults, FamilySpec, Preset, Shot
from . import stock

NEAR = 1e-6                 # of a number: Blender keeps fewer digits than the engine's spec has


def of(spec: FamilySpec, model: str) -> Defaults:
    """Those of the weights `model`; of "" those of the weights that are meant by it."""
    return spec.own(stock.meant(spec, model))


def take_over(settings, given: Defaults | Preset) -> None:
    """Steps and guidance as a model or a preset has them."""
    settings.steps = given.steps
    _guide(settings, given)


def follow(settings, spec: FamilySpec, before: str) -> None:
    """After other weights were chosen than `before`: what stood at the numbers of those goes over to the new ones', what the artist changed stays."""
    was, now = of(spec, before), of(spec, settings.model_name)
    if settings.steps == was.steps:
        settings.steps = now.steps
    if _guided_as(settings, was):
        _guide(settings, now)


def restore(settings, spec: FamilySpec, shot: Shot, preset: Preset | None) -> None:
    """As a shot has them: what it does not say itself comes from its preset, or its model."""
    take_over(settings, preset or of(spec, shot.model))
    settings.steps = shot.steps or settings.steps
    if shot.guidance >= 0:
        settings.guidance, settings.split_guidance = shot.guidance, False
    if shot.guidance_low >= 0:
        settings.split_guidance, settings.guidance_low = True, shot.guidance_low


def note(settings, spec: FamilySpec) -> str:
    """What the model is documented to be shot with, where the settings have something else and no preset says why; else ""."""
    own = of(spec, settings.model_name)
    if settings.preset_name or settings.steps == own.steps and _guided_as(settings, own):
        return ""
    low = f", {own.guidance_low:g} for little noise" if own.guidance_low >= 0 else ""
    return f"The model's own: {own.steps} steps, guidance {own.guidance:g}{low}"


def _guide(settings, given: Defaults | Preset) -> None:
    low = getattr(given, "guidance_low", -1.0)
    settings.guidance, settings.split_guidance = given.guidance, low >= 0
    if settings.split_guidance:
        settings.guidance_low = low


def _guided_as(settings, own: Defaults) -> bool:
    low = settings.guidance_low if settings.split_guidance else settings.guidance
    wanted = own.guidance_low if own.guidance_low >= 0 else own.guidance
    return math.isclose(settings.guidance, own.guidance, rel_tol=NEAR) and math.isclose(low, wanted, rel_tol=NEAR)
