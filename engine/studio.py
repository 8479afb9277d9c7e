"""What stays warm between shots, and how it is kept in memory."""
from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import device, families, presets
from .protocol import PROCESSOR, Estimated, Shot
from .ways_out import without_loras

if TYPE_CHECKING:
    from .plan import Plan


class Studio:
    """What stays warm between shots: the device, one loaded model and the embeddings of recent prompts."""

    KEPT = 32           # prompts

    def __init__(self):
        self._device: device.Device | None = None           # where the shot under way is made
        self._card: device.Device | None = None             # the device that shoots, as it was when it held no model
        self._loaded: tuple[tuple[str, Path], families.Model] | None = None
        self._texts: dict[str, object] = {}
        self._floors: dict[tuple[str, Path, str], str] = {}     # plans that a model was found to need at least, on which device
        self._resorted = ""                     # the shot that the processor makes because no plan on the card sufficed
        self._plan = self._insisted = ""        # how the loaded model is kept, and what a person asked for when it was loaded
        self.remarks: tuple[str, ...] = ()      # what became of the shot under way, for its take
        self._bare = self._idle = 0             # bytes that this process had before it was loaded, of the device's memory and of the machine's
        self._there = ""                        # on which device it was loaded
        self._used = False                      # whether anything was loaded, or begun to be, since memory was last given back

    def device(self) -> device.Device:
        """Imports torch on the first call. Raises EngineBroken."""
        if self._device is None:
            self._device = self._card = device.chosen()
        return self._device

    def settle(self, shot: Shot, asked: str = "") -> device.Device:
        """Where `shot` is made from now on by the plan `asked` for or the fastest that fits: the device that shoots, or, where that is a card and
        nothing of the model fits on it, the processor beside it. Raises SoraError."""
        self.device()
        slowly = not self._card.shares and families.family(shot.family).SPEC.plans and self._beside(shot, asked)
        if slowly != (self._device.name != self._card.name):
            self._device = device.processor() if slowly else self._card
        return self._device

    def _beside(self, shot: Shot, asked: str) -> bool:
        """Whether the processor makes the shot although there is a card, of which the take is told."""
        from .estimate import planned, slowly
        wanted = shot.family, families.weights(shot.family, shot.model)
        floor = PROCESSOR if self._resorted == shot.id else self._floors.get((*wanted, self._card.name), "full")
        chosen = planned(dataclasses.replace(shot, plan=asked), wanted[1], self._card, floor, self._processor())
        if chosen.name == PROCESSOR and slowly(self._card) not in self.remarks:
            self.remarks += (slowly(self._card),)
        return chosen.name == PROCESSOR

    def _processor(self) -> device.Device:
        """The processor with its memory as it is when no model is loaded."""
        place = device.processor()
        mine = max(0, device.held(place) - self._idle) if self._loaded else 0
        return dataclasses.replace(place, free=min(place.memory, place.free + mine))

    def model(self, shot: Shot, asked: str = "") -> families.Model:
        """The shot's model, loaded unless it is the one that is; a plan that is `asked` for may need it loaded anew. Raises ModelError."""
        wanted = (shot.family, families.weights(shot.family, shot.model))
        here = self.device().name
        if self._loaded is None or self._loaded[0] != wanted or self._there != here or self._stuck(asked):
            self.unload()
            self._device = device.anew(self._device)            # what is free changes
            if here == self._card.name:
                self._card = self._device
            self._bare, self._idle = device.held(self._device), device.held(device.processor())
            self._insisted, self._used, self._there = asked, True, here
            self._loaded = (wanted, families.family(shot.family).load(wanted[1], self._device))
        return self._loaded[1]

    def _stuck(self, asked: str) -> bool:
        """Whether the model is kept in a way that it cannot leave, and that is not the one wanted."""
        return self._lasts() and asked not in (self._insisted, self._plan)

    def _lasts(self) -> bool:
        """Whether the model is kept in a way that it cannot leave. What plans there are is read only for models that have some."""
        if not self._plan:
            return False
        from .plan import LASTING
        return self._plan in LASTING

    def fit(self, model: families.Model, shot: Shot, asked: str = "") -> Plan | None:
        """Has the model place itself for the shot, where it can do so in several ways. Raises ModelError."""
        if not hasattr(model, "fit"):
            return None
        from .estimate import need
        wanted = self._loaded[0]
        try:
            chosen = model.fit(need(shot, wanted[1], self._device), self._floors.get((*wanted, self._there), "full"), asked)
            return dataclasses.replace(chosen, name=PROCESSOR) if self._there != self._card.name else chosen
        finally:
            self._plan = model.placing.plan         # also where memory ended on the way to it

    def estimate(self, shot: Shot) -> Estimated:
        """What the shot would need, without loading anything: what a loaded model holds would be free for it. Raises SoraError."""
        from .estimate import estimated
        place = device.chosen()
        mine = max(0, device.held(place) - self._bare) if self._loaded and self._there == place.name else 0
        beside = None if place.shares else self._processor()
        return estimated(shot, dataclasses.replace(place, free=min(place.memory, place.free + mine)), self._floor(shot), beside)

    def _floor(self, shot: Shot) -> str:
        """The fastest plan by which the shot's model can run as it is, or was found to run at all."""
        wanted = shot.family, families.weights(shot.family, shot.model)
        shoots = self._card.name if self._card else self._there
        if self._loaded and self._loaded[0] == wanted and self._there == shoots and self._lasts() and not self._stuck(shot.plan):
            return self._plan
        return self._floors.get((*wanted, shoots), "full")

    def step_down(self, shot: Shot) -> str:
        """After memory did not suffice: forgets the model and remembers the plan to load it by next, "" where there is none. After the last one on a
        card that is the processor, where its memory is said to suffice."""
        if self._loaded is None or not self._plan:
            return ""
        from .plan import CHOICE, following, is_packed
        insisted = os.environ.get(CHOICE)       # then that is all there is
        slower = "" if insisted else following(self._plan, self.device(), is_packed(self._loaded[0][1])) or self._last_resort(shot)
        if slower == PROCESSOR:         # for this shot alone: a smaller one may fit on the card
            self._resorted = shot.id
        elif slower:
            self._floors[*self._loaded[0], self._there] = slower
        if slower:
            self.remarks += (f"Memory did not suffice for the plan “{self._plan}”; made by “{slower}”",)
        self.unload()
        return slower

    def _last_resort(self, shot: Shot) -> str:
        """The processor, unless the shot is made there already or does not fit there."""
        if self.device().shares:
            return ""
        from .estimate import planned
        last = planned(dataclasses.replace(shot, plan=PROCESSOR), self._loaded[0][1], self._device, beside=self._processor())
        return PROCESSOR if last.fits else ""

    def dress(self, model: families.Model, shot: Shot) -> tuple[str, ...]:
        """Puts the shot's LoRAs on the model and takes all others off. Returns notes. Raises ModelError."""
        if not families.family(shot.family).SPEC.loras:
            return ()
        found = [(families.lora(shot.family, lora.name), lora) for lora in shot.loras]
        worn, experts = [(path, lora.strength) for path, lora in found], [lora.expert for _, lora in found]
        more = {"experts": experts} if any(experts) else {}
        if shot.two_stages and not shot.latents:
            more["later"] = families.family(shot.family).second(shot)
        with without_loras(presets.without_loras(shot)):
            return model.wear(worn, **more)

    def text(self, model: families.Model, prompt: str):
        """The prompt's embedding, from the last few where it is among them."""
        if prompt not in self._texts:
            while len(self._texts) >= self.KEPT:
                self._texts.pop(next(iter(self._texts)))
            self._texts[prompt] = model.text(prompt)
        return self._texts[prompt]

    def unload(self) -> None:
        """Frees the model and everything that came from it."""
        self._loaded, self._plan, self._insisted = None, "", ""
        self._texts.clear()
        if self._used:                          # looking for garbage takes a while, and the first shot has left none
            device.release(self._device)
            self._used = False
