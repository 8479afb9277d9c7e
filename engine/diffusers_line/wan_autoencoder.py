"""Wan's causal autoencoder (also VACE's and SkyReels'): latents of unit scale, decoding as a stream."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import pictures
from .remembered import Encoded

if TYPE_CHECKING:
    from torch import Tensor


TOGETHER = 60 * 104         # latent pixels


class Autoencoder:
    """`encode` and `decode` between (1, 3, T, h, w), -1..1, and normalised latents (1, C, 1 + (T - 1) / 4, h / 8, w / 8)."""

    def __init__(self, vae, device, using):
        """`using(name)`: a context in which the component is on `device`."""
        import torch
        if device.type == "cpu":
            from .wan_norm import quickened
            vae = quickened(vae)
        self.vae, self._device, self._using = vae, device, using
        shape = (1, vae.config.z_dim, 1, 1, 1)
        self._mean, self._std = (torch.tensor(values).view(shape) for values in (vae.config.latents_mean, vae.config.latents_std))
        self.stride_t = 2 ** sum(vae.temperal_downsample)
        self.stride = vae.spatial_compression_ratio
        self.channels = vae.config.z_dim
        self._known = Encoded()

    def encode(self, video: Tensor) -> Tensor:
        """Remembered by content. float32."""
        return self._known.latent("wan", video, self._encode).to(self._device)

    def _encode(self, video: Tensor) -> Tensor:
        import torch
        with torch.inference_mode(), self._using("vae"):
            found = self.vae.encode(video.to(self._device, self.vae.dtype)).latent_dist.mode().float()
            return (found - self._mean.to(found)) * (1.0 / self._std).to(found)

    def decode(self, latent: Tensor) -> Iterator[Tensor]:
        """(n, 3, h, w), 0..1, as they come: one frame, then four at a time. Memory holds one latent frame's activations.

        The same arithmetic as diffusers' `AutoencoderKLWan._decode`, which joins all chunks before it returns.
        """
        import torch
        with self._using("vae"):
            with torch.inference_mode():
                latent = latent.to(self._device, self.vae.dtype)
                scaled = latent / (1.0 / self._std).to(latent) + self._mean.to(latent)
            yield from self._stream(scaled)

    def _groups(self, scaled: Tensor) -> list[tuple[int, int]]:
        """Latent frames that are decoded together: the first alone, then as many as are no larger than one at 480p."""
        each = max(1, TOGETHER // (scaled.shape[3] * scaled.shape[4]))
        return [(0, 1), *((first, min(first + each, scaled.shape[2])) for first in range(1, scaled.shape[2], each))]

    def _stream(self, scaled: Tensor) -> Iterator[Tensor]:
        import torch
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
        self.vae.clear_cache()
        try:
            for first, last in self._groups(scaled):
                with torch.inference_mode():
                    self.vae._conv_idx = [0]
                    part = self.vae.post_quant_conv(scaled[:, :, first:last])
                    out = self.vae.decoder(part, feat_cache=self.vae._feat_map, feat_idx=self.vae._conv_idx, first_chunk=first == 0)
                    if self.vae.config.patch_size is not None:
                        out = unpatchify(out, patch_size=self.vae.config.patch_size)
                    chunk = pictures.frames(out)
                yield chunk
        finally:
            self.vae.clear_cache()
