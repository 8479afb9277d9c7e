"""Where a window's latent comes from: sampled by the model, or kept by a take that was sampled before. Both are asked in the same way."""
from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import families, latents, light, presets, take
from .ahead import heed
from .protocol import MAGNITUDE
from .sampling import limited
from .sampling.draft import Draft

if TYPE_CHECKING:
    from torch import Tensor

    from .clip import Stretch
    from .clock import Clock
    from .families import Model, Window
    from .protocol import Reel, Shot
    from .studio import Studio

Look = Callable[["Tensor", "Window"], "Reel | None"]


def of(shot: Shot, model: Model, studio: Studio, clock: Clock, cut: threading.Event) -> Sampling | Kept:
    """What the shot asks for, with its prompts read where they are needed. Raises Cut, and the SoraError that a family has for it."""
    return Kept(shot) if shot.latents else Sampling(shot, model, studio, clock, cut)


class Sampling:
    """Sampled step by step, from the shot's seed and prompts. `size` is what the model makes; `light` is how it codes it."""

    def __init__(self, shot: Shot, model: Model, studio: Studio, clock: Clock, cut: threading.Event):
        family = families.family(shot.family)
        self._shot, self._model, self._clock, self._cut = shot, model, clock, cut
        self.size = model.doubled(shot.size) if shot.two_stages else model.native(shot.size)
        self.light = getattr(family, "light", lambda shot: light.SRGB)(shot)
        self._preset = presets.of(shot)
        self._second = family.SPEC.second if shot.two_stages else 0
        self._steps, self._guidance, self._low = shot.steps, shot.guidance, shot.guidance_low      # presets.applied has filled them in
        self._guided = limited.guided(self._steps, shot.guided_from, shot.guided_until) if max(self._guidance, self._low) > 1 else None
        with clock.stage("text"):
            clock.say("text")
            self._prompt = model.completed(shot.prompt) if hasattr(model, "completed") and not shot.loras else shot.prompt
            self._texts = studio.text(model, self._prompt), studio.text(model, shot.negative)
        heed(cut)
        self._draft = _draft(shot, model, studio, clock, cut)

    @property
    def each(self) -> int:
        """Steps that each window takes, of all stages."""
        return self._steps + self._second

    def fields(self) -> dict:
        """Those of a families.Window that say how it is sampled."""
        text, negative = self._texts
        return {"steps": self._steps, "guidance": self._guidance, "guidance_low": self._low, "guided": self._guided, "text": text, "negative": negative,
                "draft": self._draft, "preset": self._preset, "compiled": self._shot.compiled, "two_stages": self._shot.two_stages}

    def latent(self, stretch: Stretch, window: Window, windows: int, look: Look) -> Tensor:
        """The clean latent of one of so many `windows`; `look` sees every step but the last. Raises Cut."""
        with self._clock.stage("denoise"):
            done, latent = stretch.index * self.each, None
            self._at = done, self.each * windows
            self._clock.say("denoise", *self._at)
            for step, latent in enumerate(self._estimates(window), 1):
                heed(self._cut)
                self._at = done + step, self._at[1]
                self._clock.step("denoise", done + step, None if step == self.each else look(latent, window))
        return latent

    def _estimates(self, window: Window) -> Iterator[Tensor]:
        """The model's estimates, watched while it encodes what it is shown. Raises Cut."""
        estimates, encoded = self._model.sample(window), getattr(self._model, "encoded", None)
        while True:
            with encoded.watched(self._encoding) if encoded else contextlib.nullcontext():
                latent = next(estimates, None)
            if latent is None:
                return
            yield latent

    @contextlib.contextmanager
    def _encoding(self) -> Iterator[None]:
        """One guide, still or clip that is encoded: no step, and the shot can be cut before it and after it. Raises Cut."""
        heed(self._cut)
        with self._clock.stage("guides"):
            self._clock.say("encode")
            yield
        heed(self._cut)
        self._clock.say("denoise", *self._at)

    def sound(self) -> str:
        """The name of the file that the shot's sound was written into. Raises DiskFull or FolderError."""
        return take.keep_sound(self._shot, *self._model.sound(self._shot.fps, self._shot.frames))

    def notes(self) -> tuple[str, ...]:
        stages = (f"Sampled at half of {self.size}, then made twice as large and refined in {self._second} steps",) if self._second else ()
        added = self._prompt.removeprefix(self._shot.prompt).strip(" ,")
        style = (f"The prompt names no style, so “{added}” was added",) if added else ()
        few = (f"Preset “{self._preset.label}”: {self._steps} steps, guidance {self._guidance:g}",) if self._preset else ()
        each = (f"Guidance {self._guidance:g} for much noise, {self._low:g} for little",) if self._low >= 0 else ()
        some = (limited.note(self._guided, self._steps),) if self._guided else ()
        return (*style, *few, *each, *some, *stages, *((self._draft.note(),) if self._draft else ()), *getattr(self._model, "remarks", tuple)())

    def counted(self) -> dict[str, int]:
        """What a draft's take records."""
        return {"evaluations": self._draft.evaluations, "skipped": self._draft.skipped} if self._draft else {}


def _draft(shot: Shot, model: Model, studio: Studio, clock: Clock, cut: threading.Event) -> Draft | None:
    """How the shot is drafted, None for one in full. Raises Cut."""
    if not shot.draft:
        return None
    if shot.draft_by != MAGNITUDE:
        return Draft(families.family(shot.family).SPEC.drafts)
    from . import rehearsal     # which asks for more than every other shot needs
    return rehearsal.draft(shot, model, studio, clock, cut)


class Kept:
    """As Sampling, of what another take kept: nothing is sampled, so nothing needs words or steps."""

    each = 0

    def __init__(self, shot: Shot):
        """Raises ShotError."""
        self._shot, self.size, self.light = shot, latents.native(shot), latents.coded(shot)

    def fields(self) -> dict:
        return {"steps": 0, "guidance": 0.0, "text": None, "negative": None}

    def latent(self, stretch: Stretch, window: Window, windows: int, look: Look) -> Tensor:
        """Raises ShotError."""
        return latents.read(self._shot, stretch)

    def sound(self) -> str:
        return take.same_sound(self._shot)

    def notes(self) -> tuple[str, ...]:
        return (f"Made once more from what {Path(self._shot.latents).name} had sampled",)

    def counted(self) -> dict[str, int]:
        return {}
