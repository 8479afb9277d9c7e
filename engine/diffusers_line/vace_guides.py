"""A shot's guides as VACE's control latents: pictures, which of them are kept, and reference frames before them.

VACE (Jiang et al. 2025, https://arxiv.org/abs/2503.07598) takes one video and one mask: where the mask is 0 the video is kept,
where it is 1 the video is only a hint of what shall be there. Depth is near-white grey; contours are dark on white, as its own
annotator draws them, and so are the boxes of a layout: colours would stand for words of a list that does not come with the model.
Plain grey where there is no hint.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import pictures
from .wan_autoencoder import Autoencoder

if TYPE_CHECKING:
    from torch import Tensor

HINTS = ("depth", "edges", "layout", "beauty", "normal")     # in the order in which they are shown; `mask` is none
NOTES = {"normal": "Normals were shown to VACE as grey clay lit from the upper left: it knows no normals",
         "layout": "Boxes were shown to VACE as outlines without labels: what is in which of them is up to the prompt",
         "beauty": "Beauty was shown to VACE in grey: it adds the colours itself"}
LIGHT = np.float32([-0.4, 0.5, 0.77])               # towards the light, camera space


@dataclass(frozen=True)
class Control:
    """(1, 96, T, h, w), and how much it counts in each latent frame, reference frames first."""

    latent: Tensor
    strengths: tuple[float, ...]


def controls(window, autoencoder: Autoencoder) -> tuple[Control, ...]:
    """One control for each hint of the window, at least one; known frames, mask and references are in all of them."""
    kinds = [kind for kind in HINTS if kind in window.guides and window.strengths.get(kind, 1.0) + _most(window, kind) > 0]
    together = sum(window.strengths.get(kind, 1.0) for kind in kinds)
    share = 1 / together if together > 1 and len(kinds) > 1 else 1.0        # two whole hints would push twice as hard as one
    references = [_on_white(picture, window.size) for picture in window.references]
    made = []
    for kind in kinds or [None]:
        shown, anew = _video(window, kind)
        latent = _latent(shown, anew, references, autoencoder)
        strengths = _strengths(window, kind, autoencoder.stride_t) if kind else [1.0] * (latent.shape[2] - len(references))
        made.append(Control(latent, (1.0,) * len(references) + tuple(share * one for one in strengths)))
    return tuple(made)


def counting(guides) -> tuple[str, ...]:
    """Kinds of the shot's guides that are shown as hints."""
    return tuple(guide.kind for guide in guides if guide.kind in HINTS and max([guide.strength, *(span.strength for span in guide.spans)]) > 0)


def hint(kind: str, guide: np.ndarray) -> np.ndarray:
    """A guide (T, h, w, C) as VACE knows such pictures, (T, h, w, 1), 0..1."""
    if kind == "depth":
        return guide
    if kind in ("edges", "layout"):
        return 1 - guide
    if kind == "beauty":
        return guide @ np.float32([[0.2126], [0.7152], [0.0722]])
    lit = np.clip(guide @ LIGHT[:, None], 0, 1)
    return np.where(np.any(guide, -1, keepdims=True), 0.15 + 0.85 * lit, 0).astype(np.float32)      # normals: lit clay, which is grey to VACE


def notes(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """What was shown as something else than it is."""
    return tuple(NOTES[kind] for kind in kinds if kind in NOTES)


def _most(window, kind: str) -> float:
    return float(window.spans[kind].max()) if kind in window.spans else 0.0


def _strengths(window, kind: str, stride: int) -> list[float]:
    """Per latent frame: the mean of its frames'."""
    each = window.spans.get(kind)
    if each is None:
        return [window.strengths.get(kind, 1.0)] * ((window.frames - 1) // stride + 1)
    return [float(each[0])] + [float(each[at:at + stride].mean()) for at in range(1, window.frames, stride)]


def _video(window, kind: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (T, h, w, 3), 0..1, and what is made anew (T, h, w, 1), 0 or 1."""
    shape = (window.frames, window.size.height, window.size.width)
    shown = np.full((*shape, 3), 0.5, np.float32) if kind is None else np.broadcast_to(hint(kind, window.guides[kind]), (*shape, 3)).copy()
    anew = np.ones((*shape, 1), np.float32)
    if window.source is not None and "mask" in window.guides:
        anew = (window.guides["mask"] > 0.5).astype(np.float32)
        shown = shown * anew + window.source * (1 - anew)
    elif window.source is not None and kind is None:
        shown = np.broadcast_to(hint("beauty", window.source), shown.shape).copy()
    for frame, still in window.stills.items():
        shown[frame], anew[frame] = still, 0
    if window.tail is not None:
        tail = window.tail.permute(0, 2, 3, 1).float().cpu().numpy()
        shown[:len(tail)], anew[:len(tail)] = tail, 0
    return shown, anew


def _latent(shown: np.ndarray, anew: np.ndarray, references: list[np.ndarray], autoencoder: Autoencoder) -> Tensor:
    """(1, 96, T, h, w): latents of what is kept and of what is a hint, then the mask, 64 pixels of it in as many channels."""
    import torch
    video, mask = pictures.video(shown), torch.from_numpy(anew).permute(3, 0, 1, 2)[None]
    made = torch.cat([autoencoder.encode(video * (1 - mask)), autoencoder.encode(video * mask)], 1)
    for picture in references:
        kept = autoencoder.encode(pictures.video(picture[None]))
        made = torch.cat([torch.cat([kept, torch.zeros_like(kept)], 1), made], 2)
    return torch.cat([made, _mask_channels(mask[0, 0], len(references), made)], 1)


def _mask_channels(mask: Tensor, references: int, like: Tensor) -> Tensor:
    """(T, H, W) -> (1, 64, T', h, w); reference frames are kept."""
    import torch
    side = mask.shape[1] // like.shape[3]
    cells = mask.view(len(mask), like.shape[3], side, like.shape[4], side).permute(2, 4, 0, 1, 3).flatten(0, 1)
    cells = torch.nn.functional.interpolate(cells[None], (like.shape[2] - references, *like.shape[3:]), mode="nearest-exact")
    return torch.cat([torch.zeros_like(cells[:, :, :references]), cells], 2).to(like)


def _on_white(picture: np.ndarray, size) -> np.ndarray:
    """A reference (h, w, 3) of any size, whole, in the middle of a white picture of `size`."""
    import torch
    scale = min(size.height / picture.shape[0], size.width / picture.shape[1])
    height, width = int(picture.shape[0] * scale), int(picture.shape[1] * scale)
    small = torch.nn.functional.interpolate(torch.from_numpy(picture).permute(2, 0, 1)[None], (height, width), mode="bilinear", align_corners=False)
    canvas = np.ones((size.height, size.width, 3), np.float32)
    top, left = (size.height - height) // 2, (size.width - width) // 2
    canvas[top:top + height, left:left + width] = small[0].permute(1, 2, 0).numpy()
    return canvas
