"""What falls before the camera: snow and rain, drawn onto a clip. Drawn from a numpy Generator for each clip, so that every device draws the same."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def fallen(weathers: list[str], rgb: Tensor, seeds: list[int]) -> Tensor:
    """rgb (B, T, H, W, 3) in [0, 1] with each clip's weather before it."""
    for weather, strokes in (("snowfall", _flakes), ("rain", _drops)):
        mine = [i for i, other in enumerate(weathers) if other == weather]
        if not mine:
            continue
        shown = rgb[mine].contiguous()
        if weather == "rain":                                  # less colour
            shown = shown.mean(-1, keepdim=True) * .45 + shown * .5
        pixels, keep, add = shown.view(-1, 3), *((.35, .65) if weather == "snowfall" else (.72, .22))
        each = [strokes(np.random.default_rng(seeds[i]), *shown.shape[1:4]) for i in mine]
        for stroke in zip(*each):                              # a pixel is painted once a stroke, and again by the next
            at = np.unique(np.concatenate([n * shown[0, ..., 0].numel() + one for n, one in enumerate(stroke)]))
            at = torch.from_numpy(at).to(rgb.device)
            pixels[at] = pixels[at] * keep + add
        rgb = rgb.index_copy(0, torch.tensor(mine, device=rgb.device), shown)
    return rgb


def _flakes(rng: np.random.Generator, frames: int, h: int, w: int) -> list[np.ndarray]:
    """Pixels of a clip, counted through, with a flake of snow before them."""
    count, f = max(12, h * w // 45), np.arange(frames)[:, None]
    x, y, fall = rng.uniform(0, w, count), rng.uniform(0, h, count), rng.uniform(.5, 1.4, count) * h / 40
    row, column = np.mod(y + fall * f, h).astype(int), np.mod(x + .25 * np.sin(f * .3 + y) * 3, w).astype(int)
    return [((f * h + row) * w + column).ravel()]


def _drops(rng: np.random.Generator, frames: int, h: int, w: int) -> list[np.ndarray]:
    """Pixels of a clip, for each row that a drop is long: slanting streaks that are somewhere else in every frame."""
    drops, long = max(16, h * w // 60), max(3, h // 10)
    drawn = [(rng.integers(0, w, drops), rng.integers(-long, h, drops)) for _ in range(frames)]
    f, (x, y) = np.arange(frames)[:, None], (np.stack(each) for each in zip(*drawn))
    strokes = []
    for i in range(long):
        inside = (y + i >= 0) & (y + i < h)
        strokes.append(((f * h + y + i) * w + np.mod(x + i // 3, w))[inside])
    return strokes
