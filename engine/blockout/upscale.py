"""From the model's small frames to the shot's size: edges land on the layout's own edges where its depth, normals or colours are known.

Joint bilateral upsampling (Kopf et al. 2007) with a quadratic B-spline in space. A small pixel that straddles an edge has a guide value
that is neither side's, so that neither side takes its mixed colour: plates have no halos. Where things of one depth and one facing touch,
only the colours of their materials tell them apart. One frame at a time.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

NORMAL_REACH = .22              # how far apart normals may be on one surface
COLOUR_REACH = .08              # the same for the sRGB colours of things, 0..1
DEPTH_REACH = .018              # the same for the square root of normalised inverse depth, at least
SLOPE_SHARE = .3                # and this share of how much that changes about a small pixel
PLAIN = 1e-4                    # weight of plain interpolation, for what is too thin to be seen small
LEAST = -60.                    # exponents below it make no difference beside PLAIN; torch's exp is a hundred times slower below -87
STRETCH = 12000                 # pixels gathered at once: nine weights for each of them stay in a processor's own cache


@dataclass(frozen=True, slots=True)
class Taps:
    """The three small pixels about each large one along an axis, and their B-spline weights."""
    index: Tensor               # (3, n) long
    weight: Tensor              # (3, n)

    @classmethod
    def of(cls, small: int, large: int, like: Tensor) -> Taps:
        at = (torch.arange(large, device=like.device, dtype=like.dtype) + .5) * small / large - .5
        middle = at.round()
        t = at - middle
        weight = torch.stack([.5 * (.5 - t) ** 2, .75 - t ** 2, .5 * (.5 + t) ** 2])
        index = torch.stack([middle - 1, middle, middle + 1]).long().clamp(0, small - 1)
        return cls(index, weight)

    def stretches(self, longest: int) -> Iterator[tuple[int, int, int]]:
        """(first, past the last, middle small pixel) of large ones, at most `longest`, that have the same three small ones about them."""
        at = 0
        for middle, run in groupby(self.index[1].tolist()):
            past = at + len(list(run))
            yield from ((first, min(first + longest, past), middle) for first in range(at, past, longest))
            at = past


def sharpened(frame: Tensor, amount: float = .55) -> Tensor:
    """(3, h, w) with about as much contrast as the B-spline will take away, within its neighbourhood's own range."""
    x = F.pad(frame[None], (1, 1, 1, 1), mode="replicate")
    crisp = frame + amount * (frame - F.avg_pool2d(x, 3, 1)[0])
    return torch.minimum(torch.maximum(crisp, -F.max_pool2d(-x, 3, 1)[0]), F.max_pool2d(x, 3, 1)[0])


def features(depth: Tensor | None, normal: Tensor | None, albedo: Tensor | None = None) -> Tensor:
    """(C, H, W): square-rooted inverse depth, scaled normals and scaled colours. Far things differ more in the root, and what has no colour
    of its own is told apart from black."""
    parts = [] if depth is None else [depth.clamp(0, 1).sqrt()]
    parts += [] if normal is None else [normal / NORMAL_REACH]
    return torch.cat(parts + ([] if albedo is None else [(albedo[:3] + albedo[3:] - 1) / COLOUR_REACH]))


def _spread(x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """How far apart features (C, H, W) are: about each pixel, or within each cell of a grid of `size`."""
    pool = (lambda y: F.max_pool2d(y, 3, 1, 1)) if size is None else (lambda y: F.adaptive_max_pool2d(y, size))
    return (pool(x[None]) + pool(-x[None]))[0]


def purity(large: Tensor, reach: Tensor | float, size: tuple[int, int]) -> Tensor:
    """(1, h, w): 1 where a small pixel lies on one surface, towards 0 where it straddles two and its colour is of neither."""
    within = _spread(large, size)
    return torch.exp(-.5 * torch.cat([within[:1] / reach, within[1:]]).square().sum(0, keepdim=True)) + .02


def _slope(small: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W): how far apart depths may be on one surface, from how they change about each small pixel (1, h, w)."""
    return F.interpolate((_spread(small)[None] * SLOPE_SHARE).clamp(min=DEPTH_REACH), size, mode="bilinear", align_corners=False)[0, 0]


def joint_bilateral(frame: Tensor, depth: Tensor | None, normal: Tensor | None, albedo: Tensor | None = None) -> Tensor:
    """frame (3, h, w) at the size of depth (1, H, W) in [0, 1], normal (3, H, W) in [-1, 1] and albedo (4, H, W) as engine.guides has it,
    at least one of which is given."""
    large = features(depth, normal, albedo)
    height, width = large.shape[1:]
    h, w = frame.shape[1:]
    small = F.interpolate(large[None], (h, w), mode="area")[0]
    reach = None if depth is None else _slope(small[:1], (height, width))
    narrow = 1. if reach is None else F.interpolate(reach[None, None], (h, w), mode="area")[0]
    columns = Taps.of(w, width, frame)
    across = _across(torch.cat([sharpened(frame), torch.ones_like(frame[:1]), purity(large, narrow, (h, w)).log_(), small]), columns)
    across[:4] *= columns.weight
    out = large.new_empty(3, height, width)
    _gather(out, across, large, reach, Taps.of(h, height, frame))
    return softened(out, large, depth is not None)


def _across(small: Tensor, columns: Taps) -> Tensor:
    """(C, h + 2, 3, W): the three small pixels of (C, h, w) about each large column; the first and the last row are there twice."""
    c, h, _ = small.shape
    wide = small.index_select(2, columns.index.flatten()).view(c, h, *columns.index.shape)
    return torch.cat([wide[:, :1], wide, wide[:, -1:]], 1)


def _gather(out: Tensor, across: Tensor, large: Tensor, reach: Tensor | None, rows: Taps) -> None:
    """Fills out (3, H, W) from the nine taps about each large pixel, in stretches of rows that stay in a processor's own cache.

    across (11 or less, h + 2, 3, W): colour and 1, both times their columns' weights, the logarithm of purity, features.
    """
    width = out.shape[2]
    near, apart = large.new_empty(2, 9, STRETCH // width + 1, width)
    sums = large.new_empty(4, STRETCH // width + 1, width)
    for a, b, middle in rows.stretches(max(1, STRETCH // width)):
        taps, here = across[:, middle:middle + 3].flatten(1, 2)[:, :, None], large[:, a:b]       # (C, 9, 1, W), (C, n, W)
        weights, off, total = near[:, :b - a], apart[:, :b - a], sums[:, :b - a].zero_()
        for c in range(len(here)):
            torch.sub(taps[5 + c], here[c], out=off)
            if c == 0 and reach is not None:
                off /= reach[a:b]
            torch.addcmul(weights if c else taps[4], off, off, value=-.5, out=weights)
        weights.clamp_(min=LEAST).exp_().add_(PLAIN).mul_(rows.weight[:, None, a:b].repeat_interleave(3, 0).transpose(1, 2))
        for k in range(9):
            total.addcmul_(taps[:4, k], weights[k])
        torch.div(total[:3], total[3], out=out[:, a:b])


def _neighbours(x: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`join` over the 3x3 pixels about each of (C, H, W), first down, then across; edges are repeated."""
    x = F.pad(x[None], (1, 1, 1, 1), mode="replicate")[0]
    x = join(join(x[:, :-2], x[:, 1:-1]), x[:, 2:])
    return join(join(x[:, :, :-2], x[:, :, 1:-1]), x[:, :, 2:])


def softened(frame: Tensor, guide: Tensor, deep: bool) -> Tensor:
    """Takes the stairs off the guide's own edges, which are not anti-aliased: half a 3x3 mean, there only. In stretches, as `_gather`."""
    out, (height, width) = torch.empty_like(frame), frame.shape[1:]
    rows = max(1, STRETCH // width)
    for a in range(0, height, rows):
        first, past = max(0, a - 1), min(height, a + rows + 1)
        soft = frame[:, first:past].lerp(_neighbours(frame[:, first:past], torch.add).div_(9), _edges(guide[:, first:past + 1], past - first, deep))
        out[:, a:a + rows] = soft[:, a - first:a - first + rows]
    return out


def _edges(guide: Tensor, rows: int, deep: bool) -> Tensor:
    """(1, rows, W): how much the guide (C, rows or one more, W) changes about each pixel, as a share of the mean to take there."""
    down, across = guide.diff(dim=1, append=guide[:, -1:])[:, :rows], guide.diff(dim=2, append=guide[:, :, -1:])[:, :rows]
    step = down.abs_().add_(across.abs_())
    if deep:
        step[0] /= 3 * DEPTH_REACH
    return _neighbours(step.amax(0)[None].clamp_(0, 1), torch.maximum).mul_(.6)


def bicubic(frame: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(frame[None], (height, width), mode="bicubic", align_corners=False, antialias=True)[0]


def upscaled(frames: Tensor, width: int, height: int, *guides: Tensor | None) -> Iterator[Tensor]:
    """Frames (3, height, width) of (T, 3, h, w), one by one; guides in the order of `upscale`."""
    for i, frame in enumerate(frames):
        if all(g is None for g in guides):
            yield bicubic(frame, height, width)
        else:
            yield joint_bilateral(frame, *(g if g is None else _sized(g[i], height, width) for g in guides))


def _sized(guide: Tensor, height: int, width: int) -> Tensor:
    return guide if guide.shape[1:] == (height, width) else F.interpolate(guide[None], (height, width), mode="nearest")[0]


def upscale(frames: Tensor, size, depth: Tensor | None = None, normal: Tensor | None = None, albedo: Tensor | None = None) -> Tensor:
    """frames (T, 3, h, w) in any range -> (T, 3, H, W) in that range; `size` is (W, H) or has width and height.

    depth (T, 1, H, W) in [0, 1], normal (T, 3, H, W) in [-1, 1] and albedo (T, 4, H, W) in [0, 1], its last channel how much of a pixel has
    a colour of its own, are the layout's guides at about that size; bicubic without any.
    """
    width, height = (size.width, size.height) if hasattr(size, "width") else size
    low, high = frames.amin(), frames.amax()
    out = frames.new_empty(len(frames), 3, height, width)
    for i, frame in enumerate(upscaled(frames, width, height, depth, normal, albedo)):
        out[i] = frame.clamp(low, high)
    return out
