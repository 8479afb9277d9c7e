"""The refiner's part of a shot: a second model takes the first one's frames up before they are delivered, by its own prompt and strength."""
from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from . import clip, families
from .ahead import heed
from .protocol import Shot, Size

if TYPE_CHECKING:
    from torch import Tensor

    from .families import Model


def strength(shot: Shot) -> float:
    """How much the refiner may draw anew: the shot's, or its model's own, 0 where that has no refiner. Raises ModelError."""
    family = families.family(shot.family)
    own = family.refines(families.weights(shot.family, shot.model)) if hasattr(family, "refines") else family.SPEC.refines
    return shot.refine_strength if shot.refine_strength >= 0 else own


def of(shot: Shot, model: Model, native: Size) -> tuple[Refining | None, tuple[str, ...]]:
    """The shot's refining, None where it is not refined; and why not, where it was to be."""
    wanted = strength(shot)
    if not wanted:
        return None, ()
    if shot.size.width <= native.width and shot.size.height <= native.height:
        return None, ("Not refined: the model itself draws frames as large as the shot's",)
    refiner = model.refiner(shot.refine_prompt or shot.prompt, wanted, clip.seed(shot.seed, -1))
    if refiner is None:
        return None, (f"Not refined: {shot.model or shot.family} has no refiner",)
    return Refining(refiner, wanted, native, shot.refine_prompt), ()


class Refining:
    """Frames of one shot as they come, in order, whatever windows they were sampled in: they are refined as one clip."""

    def __init__(self, refiner, wanted: float, native: Size, prompt: str):
        self._refiner, self._strength, self._prompt = refiner, wanted, prompt
        self.native, self.size = native, Size(native.width * refiner.times, native.height * refiner.times)

    def frames(self, native: Tensor, first: int, guides: clip.Guides, cut: threading.Event) -> Tensor:
        """The next frames (n, 3, h, w), sRGB 0..1, the shot's from `first` on -> (n, 3, H, W) of `size`. Raises Cut within a step."""
        import torch
        along = []
        for index in range(first, first + len(native)):
            heed(cut)
            along.append(guides.frame(index, self.size, clip.FOR_REFINING))
        layout = {kind: torch.from_numpy(np.concatenate([one[kind] for one in along])).permute(0, 3, 1, 2).to(native) for kind in along[0]}
        for refined in self._refiner.steps(native, layout):
            heed(cut)
        return refined

    def note(self) -> str:
        words = f", to “{self._prompt}”" if self._prompt else ""
        return f"Refined from {self.native} to {self.size} by a second model, strength {self._strength:g}{words}"
