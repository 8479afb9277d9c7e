"""Wan's causal autoencoder (also VACE's and SkyReels'): latents of unit scale, decoding as a stream, large pictures in tiles.

Precision and tiles depend on the device, the size and the files that are written, never on what is free: the same shot gives the same
pixels on one machine.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import pictures
from .remembered import Encoded

if TYPE_CHECKING:
    from torch import Tensor

    from ..protocol import Size


TOGETHER = 60 * 104         # latent pixels
STRETCH = 21                # latent frames of a clip whose tiles are decoded one after the other: what Wan samples at once


class Autoencoder:
    """`encode` and `decode` between (1, 3, T, h, w), -1..1, and normalised latents (1, C, 1 + (T - 1) / 4, h / 8, w / 8)."""

    def __init__(self, vae, device, using, memory: int = 0):
        """`using(name)`: a context in which the component is on `device`, which has `memory` bytes altogether; 0: pictures are never cut."""
        import torch
        if device.type == "cpu":
            from .wan_norm import quickened
            vae = quickened(vae)
        self.vae, self._device, self._using, self._memory = vae, device, using, memory
        shape = (1, vae.config.z_dim, 1, 1, 1)
        self._mean, self._std = (torch.tensor(values).view(shape) for values in (vae.config.latents_mean, vae.config.latents_std))
        self.stride_t = 2 ** sum(vae.temperal_downsample)
        self.stride = vae.spatial_compression_ratio
        self.channels = vae.config.z_dim
        self.known = Encoded()

    def encode(self, video: Tensor) -> Tensor:
        """Remembered by content. float32."""
        return self.known.latent("wan", video, self._encode).to(self._device)

    def _encode(self, video: Tensor) -> Tensor:
        import torch

        from . import wan_tiles
        with torch.inference_mode(), self._using("vae"):
            found = wan_tiles.encoded(self.vae, video.to(self._device, self.vae.dtype), self._most()).float()
            return (found - self._mean.to(found)) * (1.0 / self._std).to(found)

    def decode(self, latent: Tensor, precisely: bool = False) -> Iterator[Tensor]:
        """(n, 3, h, w), 0..1, as they come: one frame, then four at a time. Memory holds one latent frame's activations, of one tile where
        pictures are large. `precisely`: in full precision, for files whose colours have more than 8 bits.

        The same arithmetic as diffusers' `AutoencoderKLWan._decode`, which joins all chunks before it returns.
        """
        import torch

        from . import wan_tiles
        with self._using("vae"), self._precise(precisely):
            with torch.inference_mode():
                latent = latent.to(self._device, torch.float32)
                scaled = (latent / (1.0 / self._std).to(latent) + self._mean.to(latent)).to(self.vae.dtype)
            for chunk in wan_tiles.decoded(self.vae, scaled, self._groups(scaled), self._most()):
                yield pictures.frames(chunk)

    def remarks(self, size: Size, precisely: bool) -> tuple[str, ...]:
        """How pictures of `size` are decoded, for the take, where it is not whole and in full precision."""
        from . import wan_tiles
        bits = 32 if precisely else self.vae.dtype.itemsize * 8
        most, beside = self._most(bits), wan_tiles.halo(self.vae.config, False)
        count = len(wan_tiles.tiles(size.height // self.stride, size.width // self.stride, most, beside))
        return ((*(("Decoded in bfloat16; OpenEXR and 16-bit PNG are decoded in full precision",) if bits < 32 else ()),
                 *((f"Decoded in {count} tiles, without seams: whole pictures would take more than half of this device's memory",) if count > 1 else ())))

    @contextlib.contextmanager
    def _precise(self, wanted: bool) -> Iterator[None]:
        """The weights in full precision meanwhile."""
        import torch
        before = self.vae.dtype
        if not wanted or before == torch.float32:
            yield
            return
        self.vae.to(torch.float32)
        try:
            yield
        finally:
            self.vae.to(before)

    def _most(self, bits: int = 0) -> float:
        """Latent pixels of the largest picture, or tile of one, that goes through at once, in so many bits or those that its weights have now."""
        from .. import footprint
        return footprint.tile(self.vae.config, bits or self.vae.dtype.itemsize * 8, self._memory) / self.stride ** 2

    def _groups(self, scaled: Tensor) -> list[tuple[int, int]]:
        """Latent frames that are decoded together: the first alone, then as many as are no larger than one at 480p, or than a tile."""
        each = max(1, int(min(TOGETHER, self._most()) // (scaled.shape[3] * scaled.shape[4])))
        return [(0, 1), *((first, min(first + each, scaled.shape[2])) for first in range(1, scaled.shape[2], each))]
