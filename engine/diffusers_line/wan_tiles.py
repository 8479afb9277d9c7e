"""Wan's autoencoder on pictures that are too large for the device: in tiles without seams, each of them streamed through time.

Only the middle of the network looks at the whole picture, in latents, which are small. What stands outside of it are convolutions that see
no further than `halo` latent pixels: a tile that is given so much more on each side than is kept of it comes out as the whole would, but for
rounding, and nothing has to be faded. (diffusers' own `tiled_decode` cuts the middle as well, fades what differs, and joins the whole clip.)
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import CACHE_T, patchify, unpatchify
from torch import Tensor

from .wan_autoencoder import STRETCH

Span = tuple[int, int]          # from, to


@dataclass(frozen=True, slots=True)
class Tile:
    """Latent pixels that a tile answers for, and those that it is given to do so: rows, columns."""

    own: tuple[Span, Span]
    given: tuple[Span, Span]

    def cut(self, whole: Tensor, times: int = 1) -> Tensor:
        """What the tile is given of (..., h, w), which has `times` as many pixels."""
        (top, bottom), (left, right) = self.given
        return whole[..., times * top:times * bottom, times * left:times * right]

    def put(self, part: Tensor, whole: Tensor, times: int = 1) -> None:
        """Its own part of what was made of what it was given, into the whole."""
        (top, bottom), (left, right) = self.own
        down, across = top - self.given[0][0], left - self.given[1][0]
        mine = part[..., times * down:times * (down + bottom - top), times * across:times * (across + right - left)]
        whole[..., times * top:times * bottom, times * left:times * right] = mine


def halo(config, encoding: bool) -> int:
    """Latent pixels that a tile needs beside its own: how far the convolutions outside of the middle see."""
    levels, blocks = len(config.dim_mult), config.num_res_blocks
    if encoding:
        return math.ceil((1 + sum(2 * blocks * 2 ** level for level in range(levels)) + 2 ** (levels - 1) - 1) / 2 ** (levels - 1))
    return math.ceil(sum(2 * (blocks + 1) / 2 ** level for level in range(levels)) + sum(1 / 2 ** level for level in range(1, levels)) + 1 / 2 ** (levels - 1))


def tiles(height: int, width: int, most: float, beside: int) -> list[Tile]:
    """The fewest tiles of at most `most` latent pixels each, `beside` around them among these; larger ones where smaller would be mostly those."""
    rows = columns = 1
    while _largest(height, rows, beside) * _largest(width, columns, beside) > most:
        more = [(_largest(height, down, beside) * _largest(width, across, beside), down, across)
                for down, across, own in ((rows + 1, columns, height // (rows + 1)), (rows, columns + 1, width // (columns + 1))) if own >= beside]
        if not more:
            break
        _, rows, columns = min(more)
    return [Tile(own=(down, across), given=(_wider(down, height, beside), _wider(across, width, beside)))
            for down in _parts(height, rows) for across in _parts(width, columns)]


def _parts(length: int, count: int) -> list[Span]:
    return [(length * index // count, length * (index + 1) // count) for index in range(count)]


def _wider(part: Span, length: int, beside: int) -> Span:
    return max(0, part[0] - beside), min(length, part[1] + beside)


def _largest(length: int, count: int, beside: int) -> int:
    return max(last - first for first, last in (_wider(part, length, beside) for part in _parts(length, count)))


# ---------------------------------------------------------------- the network, in parts
def _causal(conv, x: Tensor, memory: list, at: list[int]) -> Tensor:
    """A convolution that remembers its last frames, as diffusers' forwards have it in line."""
    kept, before = x[:, :, -CACHE_T:].clone(), memory[at[0]]
    if kept.shape[2] < 2 and before is not None:
        kept = torch.cat([before[:, :, -1:], kept], 2)
    x = conv(x, before)
    memory[at[0]] = kept
    at[0] += 1
    return x


def _ended(net, x: Tensor, memory: list, at: list[int]) -> Tensor:
    return _causal(net.conv_out, net.nonlinearity(net.norm_out(x)), memory, at)


def _memory(net) -> list:
    """For every convolution and resampling in time of a decoder or encoder; some places stay empty."""
    return [None] * (1 + sum(1 for _ in net.modules()))


@torch.inference_mode()
def _middle(vae, latent: Tensor, memory: list) -> Tensor:
    """Latent frames through what sees whole pictures."""
    at = [0]
    x = _causal(vae.decoder.conv_in, vae.post_quant_conv(latent), memory, at)
    return vae.decoder.mid_block(x, feat_cache=memory, feat_idx=at)


@torch.inference_mode()
def _drawn(vae, x: Tensor, memory: list, first: bool) -> Tensor:
    """What came of `_middle`, whole or a tile of it -> pictures (1, 3, n, h, w), -1..1."""
    at = [0]
    for block in vae.decoder.up_blocks:
        x = block(x, feat_cache=memory, feat_idx=at, first_chunk=first)
    x = _ended(vae.decoder, x, memory, at)
    return x if vae.config.patch_size is None else unpatchify(x, vae.config.patch_size)


def decoded(vae, latent: Tensor, groups: list[Span], most: float) -> Iterator[Tensor]:
    """(1, 3, n, h, w), -1..1, of each group of latent frames; `latent` (1, C, T, h, w) as the autoencoder itself scales it, tiles of at most
    `most` latent pixels.

    Of each stretch of the clip, all tiles but the last are decoded before its first pictures come, and wait in the processor's memory; the
    last one streams. Between stretches what tiles remember waits there as well: a long clip takes no more than a stretch.
    """
    cut = tiles(*latent.shape[3:], most, halo(vae.config, False))
    memory, memories = _memory(vae.decoder), [_memory(vae.decoder) for _ in cut]
    if len(cut) == 1:
        yield from _streamed(vae, (_middle(vae, latent[:, :, first:last], memory) for first, last in groups), memories[0], True)
        return
    for begin in range(0, len(groups), STRETCH):
        middle = [_middle(vae, latent[:, :, first:last], memory) for first, last in groups[begin:begin + STRETCH]]
        yield from _joined(vae, cut, middle, memories, begin == 0)


def _joined(vae, cut: list[Tile], middle: list[Tensor], memories: list[list], first: bool) -> Iterator[Tensor]:
    """Pictures of one stretch. On the device is what one tile remembers."""
    side, size, done = vae.spatial_compression_ratio, middle[0].shape[3:], []
    for tile, memory in zip(cut[:-1], memories, strict=False):
        _moved(memory, middle[0].device)
        done.append([part.cpu() for part in _streamed(vae, map(tile.cut, middle), memory, first)])
        _moved(memory, "cpu")
    _moved(memories[-1], middle[0].device)
    for index, part in enumerate(_streamed(vae, map(cut[-1].cut, middle), memories[-1], first)):
        whole = part.new_empty((*part.shape[:3], size[0] * side, size[1] * side))
        for tile, mine in zip(cut, [*(parts[index] for parts in done), part], strict=True):
            tile.put(mine, whole, side)
        yield whole
    _moved(memories[-1], "cpu")


def _moved(memory: list, where) -> None:
    """What is remembered, in place; diffusers remembers words as well."""
    memory[:] = [one.to(where) if isinstance(one, Tensor) else one for one in memory]


def _streamed(vae, middle: Iterable[Tensor], memory: list, first: bool) -> Iterator[Tensor]:
    for index, x in enumerate(middle):
        yield _drawn(vae, x, memory, first and index == 0)


@torch.inference_mode()
def encoded(vae, video: Tensor, most: float) -> Tensor:
    """(1, 3, T, h, w), -1..1 -> the mode of its latent (1, C, 1 + (T - 1) / 4, h / side, w / side), as the autoencoder itself scales it."""
    side, config = vae.spatial_compression_ratio, vae.config
    cut = tiles(video.shape[3] // side, video.shape[4] // side, most, halo(config, True))
    if len(cut) == 1:
        return vae.encode(video).latent_dist.mode()
    middle = None
    for tile in cut:
        part = _narrowed(vae.encoder, tile.cut(video, side), config.patch_size or 1)
        if middle is None:
            middle = part.new_empty((*part.shape[:3], video.shape[3] // side, video.shape[4] // side))
        tile.put(part, middle)
    memory, found = _memory(vae.encoder), []
    for x in middle.split(1, 2):
        at = [0]
        found.append(_ended(vae.encoder, vae.encoder.mid_block(x, feat_cache=memory, feat_idx=at), memory, at))
    return vae.quant_conv(torch.cat(found, 2)).chunk(2, 1)[0]


def _narrowed(encoder, video: Tensor, patch: int) -> Tensor:
    """A tile of a clip through what stands before the middle, one frame and then four at a time."""
    video, memory, found = patchify(video, patch), _memory(encoder), []
    for x in [video[:, :, :1], *video[:, :, 1:].split(4, 2)]:
        at = [0]
        x = _causal(encoder.conv_in, x, memory, at)
        for block in encoder.down_blocks:
            x = block(x, feat_cache=memory, feat_idx=at)
        found.append(x)
    return torch.cat(found, 2)
