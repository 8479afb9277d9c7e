"""What families that run one of diffusers' own pipelines have in common."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plan import Need, Plan
from ..protocol import Size, SizeGrid
from . import pictures
from .glimpses import Linear
from .loras import Wardrobe
from .remembered import Encoded
from .tuning import Tuning

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..device import Device
    from ..families import Window


class Piped:
    """Components behind a pipeline, on the device as a memory plan says; a family adds how it samples, encodes and decodes."""

    window, overlap = 81, 1
    beside: tuple[str, ...] = ()        # components that the pipeline does not know
    kinds: tuple[str, ...] = ()         # classes of the transformer's blocks, where its own class does not name them

    def __init__(self, pipeline: type, parts: dict[str, Any], folder: Path, place: Device, grid: SizeGrid, most: int):
        import torch

        from .turns import Turns
        self.parts, self.folder, self.place, self._grid, self._most = parts, folder, torch.device(place.name), grid, most
        self._device, self.placing = place, Turns(parts, self.place)
        self.pipe = pipeline(**{name: part for name, part in parts.items() if name not in self.beside})
        self.pipe.set_progress_bar_config(disable=True)
        self.encoded = Encoded()
        self.encoded.stand_before(parts["vae"])
        self._wardrobe = Wardrobe([parts["transformer"]])
        self._linear: Linear | None = None
        self._tuning = Tuning(place, [parts["transformer"]], self.attending(), self.kinds)

    def attending(self) -> list[Any]:
        """What of the transformer attends by a kernel that can be chosen."""
        return []

    def remarks(self) -> tuple[str, ...]:
        """What was chosen for the shot before, for its take."""
        return self._tuning.remarks()

    def fit(self, needed: Need, floor: str, asked: str = "") -> Plan:
        """Places the components by the plan `asked` for, or the fastest from `floor` on that fits. Raises ModelError."""
        return self.placing.fit(needed, self._device, floor, asked)

    def native(self, size: Size) -> Size:
        return pictures.native(size, self._grid, self._most)

    def text(self, prompt: str):
        """Pipelines read their prompts themselves unless a family does it before."""
        return prompt

    def not_understood(self, prompt: str) -> tuple[str, ...]:
        """Subword encoders know every word."""
        return ()

    def wear(self, loras) -> tuple[str, ...]:
        """Puts on exactly these (path, strength), without loading the model again. Raises ModelError."""
        return self._wardrobe.wear(loras)

    def dice(self, window):
        """A generator that depends on the seed alone, not on the device."""
        import torch
        return torch.Generator("cpu").manual_seed(window.seed)

    def encode_still(self, picture: Tensor) -> Tensor:
        """(1, 3, 1, h, w), -1..1 -> latent as `sample` yields them, for the preview's fit."""
        raise TypeError(f"{type(self).__name__} has no still encoder")

    def glimpse(self, latent: Tensor, window: Window) -> np.ndarray:
        import torch
        if self._linear is None:
            with torch.inference_mode():
                self._linear = Linear(self.encode_still)
        return self._linear.shown(latent)

    def deliver(self, frames: Tensor, size: Size, guides: dict[str, np.ndarray]) -> np.ndarray:
        return pictures.delivered(frames, size)


def on(place: Device, parts: tuple[str, ...], full: tuple[str, ...] = ()) -> dict[str, Any]:
    """The precision of each component; those in `full` in full precision."""
    import torch
    weights = getattr(torch, place.dtype)
    return {**dict.fromkeys(parts, weights), **dict.fromkeys(full, torch.float32)}
