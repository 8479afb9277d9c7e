"""The autoencoder of LTX-2 and SANA-WM, decoding as a stream: pictures come a few at a time, and memory holds a few at a time, however long the clip.

What diffusers' decoder does along time are convolutions of three frames; everything else looks at one frame. So each convolution waits for the
frames that it looks ahead to and keeps those that it looks back to, and what goes around it waits as long: the same arithmetic as
`AutoencoderKLLTX2Video.decode` of the whole clip, but for rounding. (Its own tiling in time instead decodes stretches as if nothing were around
them, and fades from one to the next.)
"""
from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..footprint import STREAMED

Layer = Callable[["Tensor | None", bool], "Tensor | None"]     # the next frames (B, C, n, h, w), whether they are the last -> what that gives so far


def possible(vae) -> bool:
    """Whether nothing in the decoder depends on noise or on a timestep, as in the published ones."""
    blocks = [block for block in vae.decoder.modules() if hasattr(block, "per_channel_scale1")]
    return vae.decoder.time_embedder is None and not any(block.per_channel_scale1 is not None or block.scale_shift_table is not None for block in blocks)


def decoded(vae, latent: Tensor, together: int = STREAMED) -> Iterator[Tensor]:
    """Pictures (B, 3, n, H, W), -1..1, of a `latent` (B, C, T, h, w) that is as the autoencoder takes it, as they come.

    `together`: how many numbers a layer makes at once. A decoder that depends on more than the latent decodes the clip whole.
    """
    if not possible(vae):
        with torch.inference_mode():
            quiet = torch.zeros(1, device=latent.device, dtype=latent.dtype) if vae.config.timestep_conditioning else None
            video = vae.decode(latent, quiet, return_dict=False)[0]
        yield from video.split(8, 2)
        return
    stream = _through(_levels(vae.decoder), latent, True, together)
    while True:
        with torch.inference_mode():            # not while the stream rests
            chunk = next(stream, None)
        if chunk is None:
            return
        yield _unpatched(chunk, vae.decoder.patch_size_t, vae.decoder.patch_size)
        del chunk


def _levels(decoder) -> list[tuple[int, list[Layer]]]:
    """Layers of one resolution each, and how many numbers the first of them makes of a place (frame, row, column)."""
    causal = decoder.is_causal
    levels = [(decoder.conv_in.out_channels, [_Convolved(decoder.conv_in, causal), *(_Resnet(one, causal) for one in decoder.mid_block.resnets)])]
    for block in decoder.up_blocks:
        if block.conv_in is not None:
            levels[-1][1].append(_Resnet(block.conv_in, causal))
        levels += [(one.conv.out_channels, [_Upsampled(one, causal)]) for one in block.upsamplers or ()]
        levels[-1][1].extend(_Resnet(one, causal) for one in block.resnets)
    out = _Convolved(decoder.conv_out, causal)
    levels[-1][1].append(lambda x, last: out(None if x is None else decoder.conv_act(decoder.norm_out(x)), last))
    return levels


def _through(levels: list[tuple[int, list[Layer]]], x: Tensor, last: bool, together: int) -> Iterator[Tensor]:
    """A few frames after the other through the first level, and what that gives through the others before the next few."""
    if not levels:
        yield x
        return
    (each, layers), *others = levels
    pieces = x.split(max(1, together // (each * x.shape[3] * x.shape[4])), 2)
    for index, y in enumerate(pieces, 1):
        for layer in layers:
            y = layer(y, last and index == len(pieces))
        if y is not None:
            yield from _through(others, y, last and index == len(pieces), together)


class _Waiting:
    """Frames that go around a convolution, until what comes out of it has reached them."""

    def __init__(self):
        self._held: Tensor | None = None

    def add(self, x: Tensor | None) -> None:
        if x is not None:
            self._held = x if self._held is None else torch.cat([self._held, x], 2)

    def take(self, count: int) -> Tensor:
        taken, self._held = self._held[:, :, :count], self._held[:, :, count:].clone()      # a view would keep all of it
        return taken


class _Convolved:
    """`LTX2VideoCausalConv3d`: the first frame stands for those before it, the last one for those after it."""

    def __init__(self, layer, causal: bool):
        self._layer, self._size = layer, layer.kernel_size[0]
        self._before, self._after = (self._size - 1, 0) if causal else ((self._size - 1) // 2,) * 2
        self._held: Tensor | None = None

    def __call__(self, x: Tensor | None, last: bool) -> Tensor | None:
        parts = [one for one in (self._held, x) if one is not None]
        if not parts:
            return None
        if self._held is None:
            parts = [x[:, :, :1]] * self._before + parts
        if last:
            parts += [parts[-1][:, :, -1:]] * self._after
        given = torch.cat(parts, 2)
        self._held = given[:, :, max(0, given.shape[2] - self._size + 1):].clone()
        return self._layer.conv(given) if given.shape[2] >= self._size else None


class _Resnet:
    """`LTX2VideoResnetBlock3d`."""

    def __init__(self, block, causal: bool):
        self._block, self._first, self._second = block, _Convolved(block.conv1, causal), _Convolved(block.conv2, causal)
        self._waiting = _Waiting()

    def __call__(self, x: Tensor | None, last: bool) -> Tensor | None:
        block = self._block
        self._waiting.add(x)
        x = self._first(None if x is None else block.nonlinearity(block.norm1(x)), last)
        x = self._second(None if x is None else block.nonlinearity(block.norm2(x)), last)
        return None if x is None else x + self._around(self._waiting.take(x.shape[2]))

    def _around(self, x: Tensor) -> Tensor:
        if self._block.norm3 is not None:
            x = self._block.norm3(x.movedim(1, -1)).movedim(-1, 1)
        return x if self._block.conv_shortcut is None else self._block.conv_shortcut(x)


class _Upsampled:
    """`LTX2VideoUpsampler3d`: of what the first frame becomes only the last is there."""

    def __init__(self, layer, causal: bool):
        self._layer, self._conv, self._waiting, self._ahead = layer, _Convolved(layer.conv, causal), _Waiting(), layer.stride[0] - 1

    def __call__(self, x: Tensor | None, last: bool) -> Tensor | None:
        if self._layer.residual:
            self._waiting.add(x)
        x = self._conv(x, last)
        if x is None:
            return None
        made = _spread(x, self._layer.stride)
        if self._layer.residual:
            beside = _spread(self._waiting.take(x.shape[2]), self._layer.stride)
            made = made + beside.repeat(1, made.shape[1] // beside.shape[1], 1, 1, 1)
        made, self._ahead = made[:, :, self._ahead:], 0
        return made


def _spread(x: Tensor, stride) -> Tensor:
    """(B, C * t * h * w, n, H, W) -> (B, C, n * t, H * h, W * w)."""
    batch, _, frames, height, width = x.shape
    parts = x.reshape(batch, -1, *stride, frames, height, width).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return parts.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _unpatched(x: Tensor, time: int, side: int) -> Tensor:
    """As at the end of diffusers' forward: (B, 3 * time * side^2, n, h, w) -> (B, 3, n * time, h * side, w * side)."""
    batch, _, frames, height, width = x.shape
    parts = x.reshape(batch, -1, time, side, side, frames, height, width).permute(0, 1, 5, 2, 6, 4, 7, 3)
    return parts.flatten(6, 7).flatten(4, 5).flatten(2, 3)
