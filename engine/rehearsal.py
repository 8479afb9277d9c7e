"""What a model changes from step to step, learned once by sampling a small clip in full, and kept beside its weights, or where its family says.

Drafts by magnitudes go by it. It is learned anew for another number of steps and for another preset; the clip, its words and its seed are always
the same, so that what a shot becomes does not depend on the shots before it.
"""
from __future__ import annotations

import dataclasses
import json
import logging
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from . import families, presets
from .ahead import heed
from .errors import FolderError
from .families import Window
from .models import lock
from .protocol import Shot, Size
from .sampling.draft import Draft, Learning, Steady

if TYPE_CHECKING:
    from .clock import Clock
    from .families import Model
    from .studio import Studio

log = logging.getLogger(__name__)

FILE = ".magnitudes.json"               # in the folder that `home` says, where it is a model's none of its own files
STAGE = "rehearse"
PROMPT, FRAMES = "people walk along a busy street at sunset, the camera follows them", 17
WIDE, TALL = 26, 15                     # tokens of each latent frame: 416x240 pixels for most of Wan's line


def draft(shot: Shot, model: Model, studio: Studio, clock: Clock, cut: threading.Event) -> Steady:
    """How a shot that goes by magnitudes is drafted; what has to be learned for it is learned first. Raises Cut."""
    made = Steady(families.family(shot.family).SPEC.magnitudes)
    if not possible(made, model):
        return made
    made.ratios = kept(home(shot)).get(key(shot), {})
    if not made.ratios:
        made.ratios = learn(shot, model, studio, clock, cut)
        made.learned = f"how much the model's steps change was learned first, in {shot.steps} steps of {FRAMES} small frames"
    return made


def learn(shot: Shot, model: Model, studio: Studio, clock: Clock, cut: threading.Event) -> dict[str, list[float]]:
    """What drafts such as `shot` go by, found out now and kept, in the place of what was known. Raises Cut."""
    with clock.stage(STAGE):
        found = _learned(shot, model, studio, clock, cut)
    folder = home(shot)
    if folder is not None:
        _keep(folder, kept(folder) | {key(shot): found})
    return found


def possible(draft: Draft | Learning, model: Model) -> bool:
    """Whether the model can leave out blocks as it is placed now; where it cannot, the draft is told why."""
    if not hasattr(model, "placing"):
        return True
    from .diffusers_line import drafts
    return drafts.possible(draft, model.placing.plan)


def home(shot: Shot) -> Path | None:
    """The folder in which is kept what was learned of the shot's model, None where the environment wants nothing kept. Raises ModelError, FolderError."""
    folder, family = families.weights(shot.family, shot.model), families.family(shot.family)
    return family.rehearsals(folder) if hasattr(family, "rehearsals") else folder


def kept(folder: Path | None) -> dict[str, dict[str, list[float]]]:
    """Steps and preset -> transformer -> ratios (see sampling.draft.Learning), as they were learned before. A damaged file says nothing."""
    if folder is None or not (folder / FILE).is_file():
        return {}
    try:
        read = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(key): {str(name): [float(one) for one in ratios] for name, ratios in found.items()} for key, found in read.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        log.warning("%s is learned anew: %s", folder / FILE, error)
        return {}


def _keep(folder: Path, known: dict) -> None:
    """What cannot be kept is learned again by the next draft."""
    try:
        lock.write_json(folder / FILE, known)
    except FolderError as error:
        log.warning("%s", error)


def key(shot: Shot) -> str:
    """The name of what was learned for shots such as this one, with its preset or its model's own settings applied."""
    return f"{shot.steps} steps" + (f", {shot.preset}" if shot.preset else ", no guidance" if _unguided(shot) else "")


def _unguided(shot: Shot) -> bool:
    """Whether the shot itself does without guidance: then some models take other noise levels."""
    return not shot.preset and 0 <= shot.guidance <= 1


def _learned(shot: Shot, model: Model, studio: Studio, clock: Clock, cut: threading.Event) -> dict[str, list[float]]:
    """By sampling without the shot's own LoRAs, but with those of its preset. Raises Cut."""
    preset, learning = presets.of(shot), Learning()
    studio.dress(model, dataclasses.replace(shot, loras=preset.loras if preset else ()))
    try:
        window = _window(shot, model, learning)
        for step, _ in enumerate(model.sample(window), 1):
            heed(cut)
            clock.say(STAGE, step, window.steps, note="Learning how much this model changes from step to step; later drafts know it")
    finally:
        studio.dress(model, shot)
    return learning.ratios()


def _side(folder: Path) -> int:
    """Pixels of a side of what a token stands for, of a diffusers model."""
    from .plan import strides
    return math.isqrt(strides(folder)[0])


def _window(shot: Shot, model: Model, learning: Learning) -> Window:
    """A small clip of the rehearsal's own words, with what the family cannot do without."""
    import numpy as np
    family, preset = families.family(shot.family), presets.of(shot)
    side = family.TOKEN if hasattr(family, "TOKEN") else _side(families.weights(shot.family, shot.model))
    size = model.native(Size(WIDE * side, TALL * side))
    slope = np.linspace(0, 1, size.height, dtype=np.float32)[None, :, None, None].repeat(FRAMES, 0).repeat(size.width, 2)
    own = families.own(shot.family, shot.model)         # as the model is documented, whatever this shot has: what is learned is for all
    guidance, low = (1.0, -1.0) if _unguided(shot) else (preset.guidance, -1.0) if preset else (own.guidance, own.guidance_low)
    return Window(frames=FRAMES, size=size, seed=0, steps=shot.steps, guidance=guidance, guidance_low=low, text=model.text(PROMPT),
                  negative=model.text(""), draft=learning, preset=preset, **(family.rehearsed(slope) if hasattr(family, "rehearsed") else {}))
