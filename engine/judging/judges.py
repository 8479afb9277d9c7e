"""Small networks that read attributes off a clip's frames, and how they learn it from glimpses.

Setting reads sky, ground and style off single frames; Motion the camera's move off dense optical flow; Finder says where the things
are; Look reads colour and shape off a crop about one thing. Frames are (..., 3, H, W) in [-1, 1].
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attributes import CHOICES, MIRRORED
from .glimpses import HEIGHT, SEEN, WIDTH

CROP, MARGIN = 32, 1.35                                        # pixels of a crop's side; how much wider than the thing it is
LEAST = 6.0                                                    # pixels of 40x64 of a thing that can be judged


def _cut(a: int, b: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.GELU())


class Reader(nn.Module):
    """Pictures (B, C, h, w) of one size to logits of several attributes."""

    def __init__(self, channels: int, size: tuple[int, int], names: tuple[str, ...], c: int, strides: tuple[int, ...]):
        super().__init__()
        widths, layers, scale = [channels, c, 2 * c, 3 * c, 4 * c, 4 * c][:len(strides) + 1], [], 1
        for a, b, stride in zip(widths, widths[1:], strides):
            layers.append(_cut(a, b, stride))
            scale *= stride
        cells = -(-size[0] // scale) * -(-size[1] // scale)
        self.names, self.eye = names, nn.Sequential(*layers, nn.Flatten())
        self.mind = nn.Sequential(nn.Dropout(.1), nn.Linear(widths[-1] * cells, 192), nn.GELU(), nn.Dropout(.2))
        self.heads = nn.ModuleList(nn.Linear(192, len(CHOICES[n])) for n in names)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        mind = self.mind(self.eye(x))
        return {name: head(mind) for name, head in zip(self.names, self.heads)}


class Finder(nn.Module):
    """Where the first and the second thing are: (B, 3, 40, 64) -> logits (B, 3, 20, 32) of neither, first, second."""

    def __init__(self, c: int = 24):
        super().__init__()
        self.a, self.b, self.c = _cut(3, c, 2), nn.Sequential(_cut(c, 2 * c, 2), _cut(2 * c, 2 * c, 1)), _cut(2 * c, 3 * c, 2)
        self.wide = nn.Sequential(_cut(3 * c, 3 * c, 2), _cut(3 * c, 3 * c, 1))
        self.up, self.finer, self.out = _cut(6 * c, 2 * c, 1), _cut(4 * c, 2 * c, 1), nn.Conv2d(3 * c, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a)
        c = self.c(b)
        to = lambda y, like: F.interpolate(y, like.shape[-2:], mode="bilinear", align_corners=False)
        deep = self.up(torch.cat([c, to(self.wide(c), c)], 1))
        return self.out(torch.cat([a, to(self.finer(torch.cat([b, to(deep, b)], 1)), a)], 1))


def boxes(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Soft masks (N, h, w) -> centres (N, 2) and half sides (N,) in [-1, 1] of the width, from their moments; and areas in cells of 40x64."""
    n, h, w = mask.shape
    weight = mask.flatten(1) / mask.flatten(1).sum(1, keepdim=True).clamp(min=1e-6)
    y, x = torch.meshgrid((torch.arange(h) + .5) / h * 2 - 1, (torch.arange(w) + .5) / w * 2 - 1, indexing="ij")
    x, y = x.flatten().to(mask), y.flatten().to(mask)
    cx, cy = weight @ x, weight @ y
    spread = torch.maximum((weight @ x.square() - cx.square()), (weight @ y.square() - cy.square()) * (h / w) ** 2).clamp(min=0).sqrt()
    area = mask.flatten(1).sum(1) * (HEIGHT * WIDTH / (h * w))
    return torch.stack([cx, cy], 1), spread * 3 ** .5 * MARGIN, area      # a square of side 2s has a spread of s / sqrt(3)


def crops(frames: Tensor, centre: Tensor, half: Tensor) -> Tensor:
    """(N, 3, CROP, CROP) about centres of frames (N, 3, H, W)."""
    aspect = frames.shape[-1] / frames.shape[-2]
    grid = ((torch.arange(CROP).to(frames) + .5) / CROP * 2 - 1)
    half = half.clamp(min=.08)
    x = centre[:, 0, None, None] + half[:, None, None] * grid[None, None, :]
    y = centre[:, 1, None, None] + half[:, None, None] * aspect * grid[None, :, None]
    return F.grid_sample(frames, torch.stack(torch.broadcast_tensors(x, y), -1), mode="bilinear", padding_mode="border", align_corners=False)


def flow(video: Tensor) -> Tensor:
    """(B, 3, T>=5, H, W) -> (B, 4 * 2 + 5, 10, 16): optical flow between SEEN's neighbours (Kroeger et al. 2016), pooled, and grey frames."""
    import cv2

    found, grey = [], F.interpolate(video.mean(1), (2 * HEIGHT, 2 * WIDTH), mode="bilinear", align_corners=False)
    lens = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    lens.setFinestScale(1)
    for clip in ((grey + 1) * 127.5).round().clamp(0, 255).byte().numpy():
        found.append(torch.stack([torch.from_numpy(lens.calc(a, b, None)) for a, b in zip(clip, clip[1:])]))
    moved = torch.stack(found).permute(0, 1, 4, 2, 3).flatten(1, 2) / 8
    return torch.cat([F.adaptive_avg_pool2d(moved, (10, 16)), F.adaptive_avg_pool2d(grey, (10, 16))], 1)


def in_a_mirror(moved: Tensor) -> Tensor:
    """What `flow` finds in clips with left and right exchanged, of what it found in them: (..., channels, h, w)."""
    pairs = 2 * (len(SEEN) - 1)
    sign = torch.ones(moved.shape[-3], 1, 1)
    sign[:pairs:2] = -1                                        # what went to the right goes to the left
    return moved.flip(-1) * sign


class Judges(nn.Module):
    """All of them, as one set of weights."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.setting = Reader(3, (HEIGHT, WIDTH), ("sky", "ground", "style"), c, (2, 2, 2, 1))
        self.motion = Reader(4 * 2 + len(SEEN), (10, 16), ("camera",), c * 5 // 4, (1, 1, 2))
        self.finder = Finder(c // 2)
        self.look = Reader(3, (CROP, CROP), ("colour", "shape"), c * 3 // 4, (1, 2, 2, 2))

    def _small(self, frames: Tensor) -> Tensor:
        return frames if frames.shape[-2:] == (HEIGHT, WIDTH) else F.interpolate(frames, (HEIGHT, WIDTH), mode="area")

    @torch.no_grad()
    def read(self, video: Tensor, masks: Tensor | None = None) -> dict[str, Tensor]:
        """Log-probabilities of each of CHOICES, (B, n), of clips (B, 3, T, H, W) in [-1, 1].

        Colour and shape are those of the first thing, looked for where masks (B, T, H, W) say that it is, or found in the picture.
        """
        at = seen(video.shape[2])
        frames = video[:, :, at].transpose(1, 2)
        b, t = frames.shape[:2]
        small = self._small(frames.flatten(0, 1))
        of_frames = {name: out.log_softmax(1).view(b, t, -1).mean(1) for name, out in self.setting(small).items()}
        moved = flow(small.view(b, t, *small.shape[1:]).transpose(1, 2))
        both = self.motion(moved)["camera"].log_softmax(1), self.motion(in_a_mirror(moved))["camera"].log_softmax(1)[:, MIRRORED]
        move = (both[0] + both[1]).log_softmax(1)
        place = self.where(small, 1) if masks is None else masks[:, at].flatten(0, 1).float()
        return {**self.judged(frames, place), **of_frames, "camera": move}

    @torch.no_grad()
    def where(self, small: Tensor, which: int) -> Tensor:
        """(N, 20, 32): how surely each place of frames (N, 3, 40, 64) is of the first (1) or the second (2) thing."""
        p = self.finder(small).softmax(1)[:, which]
        return p * (p > .5)

    @torch.no_grad()
    def judged(self, frames: Tensor, place: Tensor) -> dict[str, Tensor]:
        """Colour and shape (B, n) of the thing that soft masks (B * T, h, w) mark in frames (B, T, 3, H, W); NaN where it isn't seen."""
        b, t = frames.shape[:2]
        centre, half, area = boxes(place)
        seen_ = (area >= LEAST).view(b, t, 1).float()
        out = self.look(crops(frames.flatten(0, 1), centre, half))
        return {name: (o.log_softmax(1).view(b, t, -1) * seen_).sum(1) / seen_.sum(1) for name, o in out.items()}


def seen(frames: int) -> list[int]:
    """As SEEN, of a clip of any length."""
    return [round(i * (frames - 1) / (len(SEEN) - 1)) for i in range(len(SEEN))]
