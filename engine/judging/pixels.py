"""Measures that need no judge: edges against the layout's, colours of things, how much moves and how much flickers."""
from __future__ import annotations

import hashlib

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def slopes(x: Tensor) -> Tensor:
    """(..., H, W) sum of absolute central differences."""
    out = torch.zeros_like(x)
    out[..., :, 1:-1] += (x[..., :, 2:] - x[..., :, :-2]).abs() / 2
    out[..., 1:-1, :] += (x[..., 2:, :] - x[..., :-2, :]).abs() / 2
    return out


def depth_edges(depth: Tensor, threshold: float = .06) -> Tensor:
    """(B, T, H, W) bool: where depth (B, 1, T, H, W) in [0, 1] jumps."""
    return slopes(depth[:, 0]) > threshold


def edge_f1(video: Tensor, layout: Tensor, least: int = 30) -> np.ndarray:
    """(B,) do the picture's strongest edges lie on the layout's, with a pixel of tolerance? video (B, 3, T, H, W), layout (B, T, H, W) bool.

    NaN where the layout has fewer than `least` edge pixels.
    """
    strength = torch.stack([slopes(video[:, c]) for c in range(3)]).amax(0)
    near = lambda m: F.max_pool2d(m[:, None], 3, 1, 1)[:, 0]
    scores = np.full(len(video), np.nan)
    for i, (edges, slope) in enumerate(zip(layout.float(), strength)):
        count = int(edges.sum())
        if count >= least:
            drawn = (slope >= slope.flatten().topk(count).values[-1]).float()
            precision, recall = (drawn * near(edges)).sum() / drawn.sum(), (edges * near(drawn)).sum() / edges.sum()
            scores[i] = (2 * precision * recall / (precision + recall + 1e-6)).item()
    return scores


def lab(rgb: Tensor) -> Tensor:
    """sRGB (..., 3) in [0, 1] -> CIE L*a*b* (D65)."""
    return torch.from_numpy(cv2.cvtColor(rgb.float().reshape(-1, 1, 3).numpy(), cv2.COLOR_RGB2LAB)).view(rgb.shape)


def inner(mask: Tensor) -> Tensor:
    """(N, H, W) bool without its rim, where something is left of it."""
    core = -F.max_pool2d(-mask[:, None].float(), 3, 1, 1)[:, 0] > 0
    return torch.where((core.flatten(1).sum(1) > 3)[:, None, None], core, mask)


def mean_colour(frames: Tensor, mask: Tensor) -> Tensor:
    """(N, 3) mean L*a*b* of frames (N, 3, H, W) in [-1, 1] where mask (N, H, W) is true; NaN where it never is."""
    weight = inner(mask).float()[..., None]
    colours = lab(((frames + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1))
    return (colours * weight).sum((1, 2)) / weight.sum((1, 2))


def movement(video: Tensor) -> np.ndarray:
    """(B,) mean absolute change from frame to frame."""
    return video.diff(dim=2).abs().flatten(1).mean(1).numpy()


def flicker(video: Tensor) -> np.ndarray:
    """(B,) mean absolute change of that change: what comes and goes."""
    return video.diff(dim=2).diff(dim=2).abs().flatten(1).mean(1).numpy()


def psnr_within(a: Tensor, b: Tensor, where: Tensor) -> float:
    """Decibels between videos (3, T, H, W) in [-1, 1] where (T, H, W) is true; NaN where it never is."""
    off = ((a - b) / 2).square().mean(0)[where]
    return float(-10 * torch.log10(off.mean() + 1e-9)) if len(off) else float("nan")


def digest(video: Tensor) -> str:
    return hashlib.sha256(((video.clamp(-1, 1) + 1) * 127.5).round().byte().contiguous().numpy().tobytes()).hexdigest()


def edge_distance(frame: Tensor, layout: np.ndarray) -> np.ndarray:
    """Pixels from each of the strongest edges of a frame (3, H, W) to the layout's nearest (H, W bool); as many as the layout has."""
    import cv2

    apart = cv2.distanceTransform((~layout).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    slope = torch.stack([slopes(c) for c in frame]).amax(0).numpy()
    slope[:2], slope[-2:], slope[:, :2], slope[:, -2:] = 0, 0, 0, 0
    count = min(int(layout.sum()), slope.size)
    strongest = np.argpartition(slope.ravel(), -count)[-count:] if count else []
    return apart.ravel()[strongest]


def layout_edges(inverse: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(H, W) bool: where inverse depth (H, W) bends by a sixteenth of itself, or the normal (H, W, 3) turns by more than about 35 degrees.

    On a plane inverse depth is linear over the picture, so that ground which runs to the horizon has no edge but that.
    """
    edges = np.zeros(inverse.shape, bool)
    for axis in (0, 1):
        before, after = np.roll(inverse, 1, axis), np.roll(inverse, -1, axis)
        found = np.abs(before + after - 2 * inverse) > np.maximum(np.maximum(before, after), inverse) / 16 + 1e-6
        found |= np.linalg.norm(normal - np.roll(normal, 1, axis), axis=-1) > .6
        found[(slice(None),) * axis + ([0, -1],)] = False
        edges |= found
    return edges
