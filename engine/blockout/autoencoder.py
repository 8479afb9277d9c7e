"""The causal video autoencoder: 1+4k frames become 1+k latent frames of an eighth of the width and height.

Every norm is per pixel and every look back in time is short, so that frames can be encoded and decoded as they come: `encode_stream` and
`decode_stream` hold two past frames a layer, however long the clip is. Inside, tensors are (B, T, C, H, W).
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .guides import PLANES, planes

TIME, SPACE = 4, 8
Memory = dict[nn.Module, Tensor]


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    latent: int = 16
    encoder: tuple[int, int, int, int] = (32, 64, 96, 128)      # channels at 1/2, 1/4, 1/8, and 1/8 after merging time
    decoder: tuple[int, int, int, int] = (160, 96, 64, 32)      # channels at 1/8 latent rate, 1/8, 1/4, 1/2 frame rate
    deep: int = 2


def each_frame(layer, x: Tensor) -> Tensor:
    """A two-dimensional layer on every frame."""
    b, t = x.shape[:2]
    y = layer(x.flatten(0, 1).contiguous(memory_format=torch.channels_last))
    return y.view(b, t, *y.shape[1:])


def pixel_norm(x: Tensor) -> Tensor:
    """Root-mean-square norm over the channels of each pixel; sees neither time nor neighbours."""
    return x * torch.rsqrt(x.square().mean(2, keepdim=True) + 1e-5)


class LookBack(nn.Module):
    """A causal convolution over this frame and the two before it; the first frame stands in for what came before the clip."""

    def __init__(self, c: int):
        super().__init__()
        self.mix = nn.Conv2d(3 * c, c, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor, memory: Memory | None) -> Tensor:
        before = memory[self] if memory and self in memory else x[:, :1].expand(-1, 2, -1, -1, -1)
        past = torch.cat([before, x], 1)
        if memory is not None:
            memory[self] = past[:, -2:]
        n = x.shape[1]
        return x + each_frame(self.mix, F.silu(pixel_norm(torch.cat([past[:, i:i + n] for i in range(3)], 2))))


class Residual(nn.Module):
    def __init__(self, c: int, time: bool = False):
        super().__init__()
        self.wide, self.mix = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 1)
        self.back = LookBack(c) if time else None
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        if self.back is not None:
            x = self.back(x, memory)
        return x + each_frame(lambda y: self.mix(F.silu(self.wide(y))), x)


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        a, b, c, d = config.encoder
        self.halve, self.at_half = nn.Conv2d(3, a, 4, 2, 1), Residual(a)
        self.quarter, self.at_quarter = nn.Conv2d(a, b, 4, 2, 1), Residual(b)
        self.eighth, self.at_eighth = nn.Conv2d(b, c, 4, 2, 1), Residual(c)
        self.merge = nn.Conv2d(TIME * c, d, 1)
        self.deep = nn.ModuleList(Residual(d, time=True) for _ in range(config.deep))
        self.out = nn.Conv2d(d, 2 * config.latent, 1)

    def forward(self, video: Tensor, memory: Memory | None = None, starts: bool = True) -> tuple[Tensor, Tensor]:
        """video (B, 3, n, H, W), n = 4k, less 3 where the clip starts -> mean and log-variance (B, C, k, H/8, W/8), not yet normalised."""
        x = self.at_half(each_frame(self.halve, video.transpose(1, 2)))
        x = self.at_quarter(each_frame(self.quarter, x))
        x = self.at_eighth(each_frame(self.eighth, x))
        x = torch.cat([x[:, :1].expand(-1, TIME - 1, -1, -1, -1), x], 1) if starts else x
        b, t, c, h, w = x.shape
        x = each_frame(self.merge, x.reshape(b, t // TIME, TIME * c, h, w))
        for block in self.deep:
            x = block(x, memory)
        mean, spread = each_frame(self.out, pixel_norm(x)).transpose(1, 2).chunk(2, 1)
        return mean, spread.clamp(-12, 4)


class Decoder(nn.Module):
    """Most of its work is done at half the picture's size, and a last convolution at full size: no blocks, no halos.

    Where the layout's guides are at hand it draws along them: the latent then only has to say what lies between the edges.
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        a, b, c, d = config.decoder
        self.into = nn.Conv2d(config.latent, a, 1)
        self.deep = nn.ModuleList(Residual(a, time=True) for _ in range(config.deep))
        self.unmerge, self.at_eighth = nn.Conv2d(a, TIME * b, 1), Residual(b, time=True)
        self.quarter, self.at_quarter = nn.Conv2d(b, 4 * c, 1), nn.ModuleList([Residual(c, time=True), Residual(c)])
        self.halve, self.at_half = nn.Conv2d(c, 4 * d, 1), nn.ModuleList([Residual(d), Residual(d)])
        self.layout_quarter, self.layout_half = nn.Conv2d(16 * PLANES, c, 1), nn.Conv2d(4 * PLANES, d, 3, padding=1)
        for layer in (self.layout_quarter, self.layout_half):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.full, self.out = nn.Conv2d(d, 4 * 12, 3, padding=1), nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, latent: Tensor, memory: Memory | None = None, starts: bool = True, layout: Tensor | None = None) -> Tensor:
        """latent (B, C, k, h, w) -> frames (B, 3, n, 8h, 8w), n = 4k, less 3 where the clip starts; layout (B, PLANES, n, 8h, 8w)."""
        layout = None if layout is None else layout.transpose(1, 2)
        x = each_frame(self.into, latent.transpose(1, 2))
        for block in self.deep:
            x = block(x, memory)
        x = each_frame(self.unmerge, F.silu(pixel_norm(x)))
        b, t, c, h, w = x.shape
        x = x.reshape(b, t * TIME, c // TIME, h, w)[:, TIME - 1 if starts else 0:]
        x = self.at_eighth(x, memory)
        x = each_frame(lambda y: F.pixel_shuffle(self.quarter(y), 2), x)
        if layout is not None:
            x = x + each_frame(lambda y: self.layout_quarter(F.pixel_unshuffle(y, 4)), layout)
        for block in self.at_quarter:
            x = block(x, memory)
        x = each_frame(lambda y: F.pixel_shuffle(self.halve(y), 2), x)
        if layout is not None:
            x = x + each_frame(lambda y: self.layout_half(F.pixel_unshuffle(y, 2)), layout)
        for block in self.at_half:
            x = block(x)
        x = each_frame(lambda y: self.out(F.silu(F.pixel_shuffle(self.full(y), 2))), x)
        return x.transpose(1, 2)


class Autoencoder(nn.Module):
    """Latents are normalised to about zero mean and unit variance by statistics kept with the weights."""

    def __init__(self, config: AutoencoderConfig = AutoencoderConfig()):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("std", torch.ones(config.latent))

    def _wide(self, statistic: Tensor) -> Tensor:
        return statistic.view(1, -1, 1, 1, 1)

    def encode(self, video: Tensor) -> Tensor:
        """video (B, 3, 1+4k, H, W) in [-1, 1], H and W multiples of 8 -> latent (B, C, 1+k, H/8, W/8)."""
        t, h, w = video.shape[2:]
        if (t - 1) % TIME or h % SPACE or w % SPACE:
            raise ValueError(f"{t} frames of {w}x{h} are not on the grid of 1+{TIME}k frames and multiples of {SPACE} pixels")
        return (self.encoder(video)[0] - self._wide(self.mean)) / self._wide(self.std)

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """As `encode`, of frames as they come: 1, then 4 each (B, 3, n, H, W) -> latent frames (B, C, 1, H/8, W/8). Memory is that of one of them."""
        memory: Memory = {}
        for k, chunk in enumerate(chunks):
            yield (self.encoder(chunk, memory, k == 0)[0] - self._wide(self.mean)) / self._wide(self.std)

    def decode(self, latent: Tensor, guides: dict[str, Tensor] | None = None) -> Tensor:
        """latent (B, C, 1+k, h, w) -> video (B, 3, 1+4k, 8h, 8w) in [-1, 1]. guides as in guides.py, at the video's size: edges follow them."""
        layout = planes(guides) if guides else None
        return self.decoder(latent * self._wide(self.std) + self._wide(self.mean), layout=layout).clamp(-1, 1)

    def decode_stream(self, latent: Tensor, guides: dict[str, Tensor] | None = None) -> Iterator[Tensor]:
        """As `decode`, one latent frame at a time: 1 frame, then 4 each (B, 3, n, 8h, 8w). Memory is that of one latent frame."""
        memory: Memory = {}
        for k in range(latent.shape[2]):
            here = latent[:, :, k:k + 1] * self._wide(self.std) + self._wide(self.mean)
            frames = slice(0, 1) if k == 0 else slice(TIME * k - TIME + 1, TIME * k + 1)
            layout = planes({name: g[:, :, frames] for name, g in guides.items()}) if guides else None
            yield self.decoder(here, memory, k == 0, layout).clamp(-1, 1)
