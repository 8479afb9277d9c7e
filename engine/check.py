"""What can be known to be wrong with a shot before anything costs: every refusal is a sentence, most with a way out."""
from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from . import clip, families, latents, presets
from .errors import CHOOSE, GuideError, KeyframeError, ModelError, Remedy, ShotError
from .protocol import DRAFTS, EXPERTS, FORMATS, MAGNITUDE, PLANS, FamilySpec, Guide, Shot
from .ways_out import LEAVE_LORAS, without_loras, without_stills

MOST_STEPS, FASTEST = 1000, 1000.0      # denoising steps; frames a second
LAST_NUMBER = 999_999                   # Blender's own last frame is 1,048,574


def shot(asked: Shot) -> None:
    """Raises ModelError, ShotError, GuideError, KeyframeError or FolderError."""
    spec = families.family(asked.family).SPEC
    _words(asked)
    _grid(asked, spec)
    numbers(asked)
    _refining(asked, spec)
    folder = families.weights(asked.family, asked.model)
    if asked.guidance_low >= 0 and not (spec.experts and families.two_experts(folder)):
        raise ShotError("This model has one transformer, not one for much noise and one for little; guide all of it alike.",
                        Remedy(action="leave_out", label="Guide All Alike", value="split_guidance"))
    _guides(asked, spec)
    _keyframes(asked, spec)
    _beside(asked, spec)
    _loras(asked, spec, folder)
    if asked.latents:
        latents.check(asked)
    own = getattr(families.family(asked.family), "check", None)
    if own is not None:
        own(asked, folder)


def _words(asked: Shot) -> None:
    if not asked.prompt.strip():
        raise ShotError("The prompt is empty; write what the clip should show.", Remedy(action="write_prompt", label="Write a Prompt"))
    if "\0" in asked.out or not Path(asked.out).is_absolute():
        raise ShotError(f"The take's folder {asked.out!r} is not an absolute path.", Remedy(action="choose_folder", label="Choose a Folder"))
    if asked.format not in FORMATS:
        raise ShotError(f"There is no format called {asked.format!r}; there are: {', '.join(FORMATS)}.")
    if asked.plan and asked.plan not in PLANS:
        raise ShotError(f"There is no memory plan called {asked.plan!r}; there are: {', '.join(PLANS)}.",
                        Remedy(action="set_plan", label="Choose Automatically"))


def _grid(asked: Shot, spec: FamilySpec) -> None:
    if asked.compiled and not spec.compiles:
        raise ShotError(f"{spec.label} is not compiled here; shoot it as it is.", Remedy(action="leave_out", label="Do Not Compile", value="compiled"))
    if asked.draft and not spec.drafts:
        raise ShotError(f"{spec.label} makes no drafts; shoot it in full.", Remedy(action="leave_out", label="Shoot in Full", value="draft"))
    if asked.draft_by not in DRAFTS or (asked.draft and asked.draft_by == MAGNITUDE and not spec.magnitudes):
        raise ShotError(f"{spec.label} makes no drafts by {asked.draft_by!r}; choose another way, or shoot it in full.",
                        Remedy(action="leave_out", label="Shoot in Full", value="draft"))
    if asked.limited:
        _limited(asked, spec)
    if asked.two_stages and not spec.second:
        raise ShotError(f"{spec.label} has no second stage; shoot it in one.",
                        Remedy(action="leave_out", label="Shoot in One Stage", value="two_stages"))
    if not 1 <= asked.frames <= spec.longest:
        fitting = min(max(asked.frames, 1), spec.longest)
        raise ShotError(f"{spec.label} makes 1 to {spec.longest} frames, not {asked.frames}.",
                        Remedy(action="set_frames", label=f"Use {fitting}", value=str(fitting)))
    nearest = spec.sizes.nearest(asked.size)
    if nearest != asked.size:
        raise ShotError(f"{spec.label} cannot deliver {asked.size}; the nearest size it can is {nearest}.",
                        Remedy(action="set_size", label=f"Use {nearest}", value=str(nearest)))


def _limited(asked: Shot, spec: FamilySpec) -> None:
    """Guidance in some of the steps alone."""
    every = Remedy(action="leave_out", label="Guide Every Step", value="limit_guidance")
    if not spec.limits:
        raise ShotError(f"{spec.label} is guided in every step or in none; do not limit its guidance.", every)
    if not 0 <= asked.guided_from < asked.guided_until <= 1:
        raise ShotError(f"Guidance cannot last from {asked.guided_from:g} until {asked.guided_until:g} of the steps; "
                        "both lie between 0 and 1, and the end after the beginning.", every)
    if asked.draft and asked.draft_by == MAGNITUDE:
        raise ShotError("A draft by magnitudes has learned steps that are all guided alike; draft by the first block, or guide every step.", every)


def numbers(asked: Shot) -> None:
    """Raises ShotError for steps, seeds, rates and the like that no family takes."""
    if not (math.isfinite(asked.fps) and 0 < asked.fps <= FASTEST):
        raise ShotError(f"{asked.fps:g} frames a second is not a frame rate; it must lie above 0 and at most at {FASTEST:g}.")
    if not 0 <= asked.frame_start <= LAST_NUMBER - asked.frames:
        raise ShotError(f"Frames cannot be numbered from {asked.frame_start}; start between 0 and {LAST_NUMBER - asked.frames}.")
    if not 0 <= asked.steps <= MOST_STEPS:
        raise ShotError(f"{asked.steps} steps are out of range; use 0 (the model's own) to {MOST_STEPS}.")
    if not (math.isfinite(asked.guidance) and asked.guidance <= 100):
        raise ShotError(f"A guidance of {asked.guidance:g} is out of range; use 0 to 100, or below 0 for the model's own.")
    if not (math.isfinite(asked.guidance_low) and asked.guidance_low <= 100):
        raise ShotError(f"A guidance of {asked.guidance_low:g} for little noise is out of range; use 0 to 100, or below 0 for the same throughout.")
    if not 0 <= asked.seed < 2 ** 63:
        raise ShotError(f"The seed {asked.seed} is out of range; use 0 to 2^63 - 1.")


def _refining(asked: Shot, spec: FamilySpec) -> None:
    if not (math.isfinite(asked.refine_strength) and asked.refine_strength <= 1):
        raise ShotError(f"A refiner's strength of {asked.refine_strength:g} is out of range; use 0 (none) to 1, or below 0 for the family's own.")
    if (asked.refine_strength > 0 or asked.refine_prompt) and not (spec.refines or hasattr(families.family(asked.family), "refines")):
        raise ShotError(f"{spec.label} has no refiner; leave its strength and prompt out.",
                        Remedy(action="leave_out", label="Do Not Refine", value="refine_strength"))


def _guides(asked: Shot, spec: FamilySpec) -> None:
    kinds = [guide.kind for guide in asked.guides]
    for guide in asked.guides:
        drop = Remedy(action="drop_guide", label=f"Drop {guide.kind.title()}", value=guide.kind)
        if guide.kind not in (*spec.guides, "camera"):      # camera matrices accompany every shot: normals are turned by them
            raise GuideError(f"{spec.label} does not take {guide.kind} guides; it takes {', '.join(spec.guides) or 'none'}.", drop)
        if kinds.count(guide.kind) > 1:
            raise GuideError(f"The shot has more than one {guide.kind} guide.", drop)
        if not (math.isfinite(guide.strength) and 0 <= guide.strength <= 1):
            raise GuideError(f"The {guide.kind} guide's strength {guide.strength:g} is not between 0 and 1.", drop)
        if guide.kind == "mask" and asked.source is None:
            raise GuideError("The mask says what is made anew; choose a source clip that stays as it is outside.", drop)
        if guide.spans:
            _spans(asked, spec, guide, drop)
    if asked.guides:
        from . import guides    # brings OpenEXR, which a shot without guides need not wait for
        guides.check(asked)


def _spans(asked: Shot, spec: FamilySpec, guide: Guide, drop: Remedy) -> None:
    """Strengths of some frames: within the shot, and one for each frame."""
    if not spec.spans:
        raise GuideError(f"{spec.label} keeps one strength throughout; the {guide.kind} guide has another one in some frames.", drop)
    told: set[int] = set()
    for span in guide.spans:
        if not (0 <= span.first <= span.last < asked.frames and math.isfinite(span.strength) and 0 <= span.strength <= 1):
            raise GuideError(f"The {guide.kind} guide's strength {span.strength:g} in the frames {span.first} to {span.last} cannot be; "
                             f"strengths lie between 0 and 1, frames between 0 and {asked.frames - 1}.", drop)
        frames = set(range(span.first, span.last + 1))
        if frames & told:
            raise GuideError(f"The {guide.kind} guide has two strengths in frame {min(frames & told)}.", drop)
        told |= frames


def _keyframes(asked: Shot, spec: FamilySpec) -> None:
    if asked.keyframes and not spec.keyframes:
        raise KeyframeError(f"{spec.label} does not take keyframes.", without_stills(asked))
    at = [keyframe.frame for keyframe in asked.keyframes]
    for keyframe in asked.keyframes:
        if not 0 <= keyframe.frame < asked.frames:
            raise KeyframeError(f"A keyframe lies at frame {keyframe.frame}, but the shot has the frames 0 to {asked.frames - 1}.",
                                without_stills(asked, [keyframe.frame], ends=False))
        if at.count(keyframe.frame) > 1:
            raise KeyframeError(f"Two keyframes lie at frame {keyframe.frame}.", without_stills(asked, [keyframe.frame], ends=False))
        clip.picture(keyframe.path, "keyframe", without_stills(asked, [keyframe.frame]))


def _beside(asked: Shot, spec: FamilySpec) -> None:
    """Source clip and reference pictures."""
    if asked.source is not None:
        if not spec.source:
            raise GuideError(f"{spec.label} does not begin from a clip.", CHOOSE)
        if asked.source.kind != "beauty" or not (math.isfinite(asked.source.strength) and 0 <= asked.source.strength <= 1):
            raise GuideError("A source clip is of the kind beauty, and how much of it changes lies between 0 and 1.",
                             Remedy(action="leave_out", label="Begin from Nothing", value="source"))
        from . import guides
        guides.check(dataclasses.replace(asked, guides=(asked.source,)))
    if len(asked.references) > spec.references:
        raise KeyframeError(f"{spec.label} takes {spec.references or 'no'} reference pictures, not {len(asked.references)}.", CHOOSE)
    for path in asked.references:
        clip.picture(path, "picture of the subject", Remedy(action="leave_out", label="Leave the Subject Out", value="references"))


def _loras(asked: Shot, spec: FamilySpec, folder: Path) -> None:
    leave = LEAVE_LORAS
    if asked.loras and not spec.loras:
        raise ModelError(f"{spec.label} takes no LoRAs.", leave)
    for lora in asked.loras:
        if not (math.isfinite(lora.strength) and abs(lora.strength) <= 4):
            raise ModelError(f"The LoRA {lora.name} cannot have the strength {lora.strength:g}; use -4 to 4.", leave)
        if lora.expert not in range(len(EXPERTS)):
            raise ModelError(f"The LoRA {lora.name} is for an expert {lora.expert}; there are: {', '.join(EXPERTS)}.", leave)
        if lora.expert and not families.two_experts(folder):
            raise ModelError(f"The LoRA {lora.name} is for one of two experts, and this model has one; let it be for both, or leave it out.", leave)
        if any(other is not lora and other.name == lora.name and (other.expert == lora.expert or 0 in (other.expert, lora.expert)) for other in asked.loras):
            raise ModelError(f"The LoRA {lora.name} is worn twice by the same transformer; once is enough, or once for each of two experts.", leave)
        with without_loras(presets.without_loras(asked)):
            families.lora(asked.family, lora.name)
