"""What models of Wan's line have in common: UMT5 text, the causal autoencoder, previews, sizes. Each family adds how it samples."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plan import TRANSFORMERS, Need, Plan
from ..protocol import Size, SizeGrid
from . import pictures, prompts, steps
from .few_steps import Few
from .glimpses import Linear
from .loras import Wardrobe
from .placing import Placing
from .tuning import Tuning
from .wan_autoencoder import Autoencoder

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..device import Device
    from ..families import Window
    from .tiny_decoder import Tiny

LENGTH = 512        # tokens


class Footage:
    """Components on their device, as families.Model describes them, but for `sample`."""

    window, overlap = 81, 5

    def placed_by(self, parts: dict[str, Any], place) -> Placing:
        """What brings the components to the device."""
        return Placing(parts, place)

    def __init__(self, parts: dict[str, Any], index: dict[str, Any], folder: Path, place: Device, most: int):
        """`index`: the folder's model_index.json. `most`: pixels of the largest picture that the model itself makes."""
        import torch
        self.parts, self.index, self.place, self.most = parts, index, torch.device(place.name), most
        self.dtype = getattr(torch, place.dtype)
        self._device = place
        self.placing = self.placed_by(parts, self.place)
        self.autoencoder = Autoencoder(parts["vae"], self.place, self.placing.using, place.memory)
        self.encoded = self.autoencoder.known
        self._text = prompts.Encoder(parts["tokenizer"], parts["text_encoder"], folder, LENGTH, self.place, self.placing.using)
        self._wardrobe = Wardrobe(self.experts())
        self._seen_by: Linear | Tiny | None = None
        self._tuning = Tuning(place, self.experts(), self.experts())
        self._decoding: tuple[str, ...] = ()

    def fit(self, needed: Need, floor: str, asked: str = "") -> Plan:
        """Places the components by the plan `asked` for, or the fastest from `floor` on that fits. Raises ModelError."""
        return self.placing.fit(needed, self._device, floor, asked)

    @property
    def grid(self) -> SizeGrid:
        """Native sizes: whole patches."""
        patch = self._any_transformer().config.patch_size[1]
        return SizeGrid(multiple=self.autoencoder.stride * patch, shortest=self.autoencoder.stride * patch, longest=4096)

    def named(self) -> dict[str, Any]:
        """The transformers by their names: one, or two for much and for little noise."""
        return {name: self.parts[name] for name in TRANSFORMERS if self.parts.get(name) is not None}

    def experts(self) -> list[Any]:
        return list(self.named().values())

    def _any_transformer(self):
        return self.experts()[0]

    def native(self, size: Size) -> Size:
        return pictures.native(size, self.grid, self.most)

    def text(self, prompt: str) -> Tensor:
        return self._text.embedding(prompt)

    def not_understood(self, prompt: str) -> tuple[str, ...]:
        """Subword encoders know every word."""
        return ()

    def wear(self, loras, experts: Sequence[int] = ()) -> tuple[str, ...]:
        """Puts on exactly these (path, strength), without loading the model again; `experts` as Wardrobe.wear has them. Raises ModelError."""
        return self._wardrobe.wear(loras, experts=experts)

    def tune(self, window: Window, tokens: int) -> None:
        """Goes over to what is fastest for so many tokens. Raises ModelError."""
        self._tuning.ask(window, self.placing.plan, tokens)
        self._decoding = self.autoencoder.remarks(window.size, window.precise)

    def remarks(self) -> tuple[str, ...]:
        """What was chosen for the shot before, for its take."""
        return (*self._tuning.remarks(), *self._decoding)

    def schedule(self, window: Window):
        """The model's own scheduler, or a preset's few steps, for a window."""
        if window.preset:
            return Few(window.preset, window.steps, window.seed, self.place)
        return steps.fresh(self.parts["scheduler"], window.steps, self.place)

    def expert(self, timestep: Tensor):
        """The transformer for a timestep, on the device."""
        name = self.called(timestep)
        if len(self.named()) > 1:
            self.placing.bring(name)
        return self.parts[name]

    def called(self, timestep: Tensor) -> str:
        """Which transformer a timestep is for: Wan 2.2's first one for much noise, its second for little."""
        boundary = self.index.get("boundary_ratio")
        if boundary is None or self.parts.get("transformer_2") is None:
            return next(iter(self.named()))
        early = float(timestep) >= boundary * self.parts["scheduler"].config.num_train_timesteps
        return "transformer" if early and self.parts.get("transformer") is not None else "transformer_2"

    def guided(self, window: Window, timestep: Tensor) -> Window:
        """The window with the guidance of the expert that the timestep is for, as WanPipeline has `guidance_scale_2`."""
        second = len(self.named()) > 1 and self.called(timestep) == "transformer_2"
        return dataclasses.replace(window, guidance=window.guidance_low) if second and window.guidance_low >= 0 else window

    def placed(self, estimates: Iterator[Tensor]) -> Iterator[Tensor]:
        """The estimates, with the transformer on the device meanwhile."""
        self.placing.bring("transformer" if self.parts.get("transformer") is not None else "transformer_2")
        try:
            yield from estimates
        finally:
            self.placing.rest()

    def texts(self, window) -> tuple[Tensor, Tensor | None]:
        """The positive embedding and, where guidance needs it, the negative one, as the transformer takes them."""
        negative = window.negative if window.guidance > 1 else None
        return tuple(None if one is None else one.to(self.place, self.dtype) for one in (window.text, negative))

    def tokens(self, shape: tuple[int, ...]) -> int:
        """How many the transformer makes of a latent of the shape (1, C, T, h, w)."""
        patch = self._any_transformer().config.patch_size
        return shape[2] // patch[0] * (shape[3] // patch[1]) * (shape[4] // patch[2])

    def shape(self, frames: int, size: Size, extra: int = 0) -> tuple[int, ...]:
        """(1, C, T, h, w) of a clip's latent, with `extra` latent frames before it."""
        side = self.autoencoder.stride
        return (1, self.autoencoder.channels, (frames - 1) // self.autoencoder.stride_t + 1 + extra, size.height // side, size.width // side)

    def noise(self, window, extra: int = 0) -> Tensor:
        """(1, C, T, h, w) for a window, and `extra` latent frames before it."""
        return steps.noise(self.shape(window.frames, window.size, extra), window.seed, self.place)

    def glimpse(self, latent: Tensor, window: Window) -> np.ndarray:
        if self._seen_by is None:
            from . import tiny_decoder
            self._seen_by = tiny_decoder.found(self.autoencoder.channels, self.place) or Linear(self.autoencoder._encode)
        return self._seen_by.shown(latent)

    def decode(self, latent: Tensor, window: Window | None = None) -> Iterator[Tensor]:
        return self.autoencoder.decode(latent, window is not None and window.precise)

    def deliver(self, frames: Tensor, size: Size, guides: dict[str, np.ndarray]) -> np.ndarray:
        return pictures.delivered(frames, size)


def dtypes(place: Device) -> dict[str, Any]:
    """The precision of each component: the autoencoder's is the device's for decoding, the image encoder's full."""
    import torch
    weights = getattr(torch, place.dtype)
    return {"vae": getattr(torch, place.decoding), "text_encoder": weights, "image_encoder": torch.float32, "transformer": weights, "transformer_2": weights}
