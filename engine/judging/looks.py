"""Every style that the family knows, each asked for along the same layouts: is the clip nearest to the scene as it is in that style?"""
from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..blockout import captions, data, varied, world
from ..blockout.looks import STYLISE
from ..blockout.train_autoencoder import as_video
from . import pixels, scores
from .exam import FRAMES, HEIGHT, WIDTH, guides_of
from .scores import Line
from .studio import Studio, Wish

SEEDS = 9_600_000
KINDS = ("crowd", "court", "hills")


def in_every_style(scene: world.Scene, seed: int) -> list[data.Clip]:
    """The same things, light and camera in each style; captions name colours, ground, light and style."""
    clips = []
    for style in STYLISE:
        other = copy.copy(scene)
        other.style, other.weather, other.wet = style, "clear", False
        caption = captions.caption(other, np.random.default_rng(seed), drop=0.)
        clips.append(data.Clip(*data.render(other, HEIGHT, WIDTH, seed), caption, other))
    return clips


def _seen(video: Tensor) -> Tensor:
    """(N, 3, T, H, W) -> (N, K): the middle frame's soft colours and how rough it is, in L*a*b*."""
    frame = video[:, :, video.shape[2] // 2]
    lab = pixels.lab(((frame + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    rough = torch.cat([lab.diff(dim=axis).abs().mean((2, 3)) for axis in (2, 3)], 1)
    soft = F.avg_pool2d(lab, 4)
    return torch.cat([soft.flatten(1) / soft[0, 0].numel() ** .5, 2 * rough], 1)


def nearest(video: Tensor, shown: Tensor) -> list[int]:
    """Of each clip of `video` which one of `shown` it looks most like."""
    return torch.cdist(_seen(video), _seen(shown)).argmin(1).tolist()


def lines(studio: Studio, scenes: int) -> dict[str, Line]:
    """`looks`: over that many layouts, each in all styles, along depth and normals."""
    hit, truth, codec, chance = [], [], [], []
    for i in range(scenes):
        drawn = varied.drawn(np.random.default_rng(SEEDS + i), FRAMES, WIDTH / HEIGHT, kind=KINDS[i % len(KINDS)], style="photo")
        clips = in_every_style(drawn, SEEDS + i)
        video, guides = as_video(np.stack([c.rgb for c in clips])), guides_of(clips)
        made = torch.cat([studio.clip(Wish(prompt=clip.caption, seed=i, guides={k: guides[k][n:n + 1] for k in ("depth", "normal")}))
                          for n, clip in enumerate(clips)])
        back, right = studio.returned(video, guides), np.arange(len(clips))
        found = np.array(nearest(made, video))
        hit += list(found == right)
        chance += list(found == np.roll(right, 1))
        truth += list(np.array(nearest(video, video)) == right)
        codec += [np.nan] * len(clips) if back is None else list(np.array(nearest(back, video)) == right)
    return {"looks": scores.share(hit, truth, chance, codec, note=f"{len(STYLISE)} styles")}
