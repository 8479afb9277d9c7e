"""What a shot would need of the device's memory, said before it is shot. Only headers are read; nothing is loaded."""
from __future__ import annotations

import dataclasses
from pathlib import Path

from . import device, families, plan, presets
from .device import Device
from .errors import Remedy, SoraError
from .footprint import CACHED
from .pace import Pace
from .protocol import PROCESSOR, Estimated, FamilySpec, Shot, Size

SHORTEST, SMALLEST = 9, 128         # frames and pixels of a side, below which a suggestion helps nobody


def estimated(shot: Shot, place: Device, floor: str = "full", beside: Device | None = None) -> Estimated:
    """What `shot` needs on `place`, with its memory as it is when no model is loaded. Raises nothing that has a sentence.

    `floor` is the fastest plan that its model was found to run by; `beside`, the processor, where it shoots what fits on no card.
    """
    try:
        spec, folder = families.family(shot.family).SPEC, families.weights(shot.family, shot.model)
        if not (folder / "model_index.json").is_file():
            return Estimated(shot=shot.id, free=place.free)         # fits wherever the engine runs
        chosen = _chosen(shot, spec, folder, place, floor, beside)
        if chosen.name == PROCESSOR:
            free, note = (beside or device.processor()).free, slowly(place)
            return Estimated(shot=shot.id, plan=chosen.name, bytes=chosen.bytes, free=free, fits=chosen.fits, note=note,
                             remedy=_way_out(shot, spec, folder, place))
        found = Estimated(shot=shot.id, plan=chosen.name, bytes=chosen.bytes, free=place.free, fits=chosen.fits)
        return found if chosen.fits else dataclasses.replace(found, remedy=_way_out(shot, spec, folder, place))
    except SoraError as error:
        return Estimated(shot=shot.id, free=place.free, fits=False, note=error.sentence, remedy=error.remedy)


def slowly(card: Device) -> str:
    """What there is to say of a shot that is made beside a card."""
    return f"Made on the processor, not on {card.label}: that takes hours where a card takes minutes"


def planned(shot: Shot, folder: Path, place: Device, floor: str = "full", beside: Device | None = None) -> plan.Plan:
    """How `shot` is made with the diffusers model in `folder`: on `place` by the fastest plan from `floor` on that fits, or as a person asks.

    Where that is a card and nothing fits on it, on the processor, `beside` it, if that has the memory; with its bytes there. Raises ModelError.
    """
    asked = plan.insisted(shot.plan)
    if place.shares:                    # there is no other memory
        return plan.choose(need(shot, folder, place), place, floor, asked)
    left_alone = PROCESSOR in (asked, floor) and asked not in plan.ON_DEVICE
    found = None if left_alone else plan.choose(need(shot, folder, place), place, floor, asked)
    if found is not None and (found.fits or found.name == asked):
        return found
    beside = beside or device.processor()
    there = plan.choose(need(shot, folder, beside), beside)
    return plan.Plan(PROCESSOR, there.bytes, there.fits) if found is None or there.fits else found


def need(shot: Shot, folder: Path, place: Device) -> plan.Need:
    """What the shot needs on `place` with the diffusers model in `folder`: of one window, at the size that the model makes. Raises ModelError."""
    family, shot = families.family(shot.family), presets.applied(shot)
    rate = family.rate(folder) if hasattr(family, "rate") else family.SPEC.native_fps
    made = Pace(shot, rate).made                                # at the model's own rate, where no clip or layout sets the shot's
    frames = min(made, getattr(family, "TOGETHER", family.SPEC.window) or made)
    given = family.given(shot) if hasattr(family, "given") else plan.Given()
    if shot.draft and family.SPEC.drafts and not shot.two_stages:        # the second stage takes the most, and keeps nothing
        guided = max(shot.guidance, shot.guidance_low) > 1
        given = dataclasses.replace(given, kept=CACHED.get(shot.draft_by, 0) * (1 + guided + (guided and shot.limited)))
    needed = plan.need(folder, place, frames, _pixels(shot, family, folder), given)
    return dataclasses.replace(needed, worn=_worn(shot, family))


def _worn(shot: Shot, family) -> int:
    """Bytes of the LoRAs that are on together, those of a second stage among them. Raises ModelError, FolderError."""
    paths = {families.lora(shot.family, lora.name) for lora in shot.loras}
    if shot.two_stages and not shot.latents and hasattr(family, "second"):
        paths |= {Path(path) for path, _ in family.second(shot)}
    return sum(path.stat().st_size for path in paths)


def _pixels(shot: Shot, family, folder: Path) -> int:
    """Of each frame that the model makes, before it is scaled to the shot's size."""
    if hasattr(family, "made"):
        made = family.made(folder)
        return made.width * made.height
    most = (family.area(folder) if hasattr(family, "area") else family.SPEC.native_area) * (4 if shot.two_stages else 1)
    asked = shot.size.width * shot.size.height
    return min(asked, most or asked)


def _chosen(shot: Shot, spec: FamilySpec, folder: Path, place: Device, floor: str = "full", beside: Device | None = None) -> plan.Plan:
    if spec.plans:
        return planned(shot, folder, place, floor, beside)
    whole = need(shot, folder, place).bytes("full")
    return plan.Plan("full", whole, whole <= place.free * plan.SPARE)


def _way_out(shot: Shot, spec: FamilySpec, folder: Path, place: Device) -> Remedy:
    """The least change with which the shot fits on the device itself: another plan, fewer frames, a smaller size, another model."""
    def fits(**changed) -> bool:
        needed = need(dataclasses.replace(shot, plan="", **changed), folder, place)
        return plan.choose(needed, place).fits if spec.plans else needed.bytes("full") <= place.free * plan.SPARE

    if shot.plan and fits():
        return Remedy(action="set_plan", label="Choose Automatically")
    frames, size = spec.frames.floor(shot.frames // 2), _half(shot.size, spec)
    while frames >= SHORTEST:
        if fits(frames=frames):
            return Remedy(action="set_frames", label=f"Use {frames} Frames", value=str(frames))
        frames = spec.frames.floor(frames // 2)
    while min(size.width, size.height) >= SMALLEST:
        if fits(size=size):
            return Remedy(action="set_size", label=f"Use {size}", value=str(size))
        size = _half(size, spec)
    return Remedy(action="choose_model", label="Choose a Smaller Model")


def _half(size: Size, spec: FamilySpec) -> Size:
    half = Size(size.width // 2, size.height // 2)
    return spec.sizes.nearest(half) if min(half.width, half.height) >= spec.sizes.shortest else Size(0, 0)
