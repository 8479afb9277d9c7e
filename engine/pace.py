"""A model's own frame rate beside the shot's: how many frames are made, and what each of the shot's frames shows of them.

Both ends are met, so that a first and a last keyframe are shown as they are. What lies between two frames that were made is moved
along the optical flow: repeating frames would judder, blending them would make ghosts. Shots whose motion the scene tells, by a
guide or a source clip, are made frame by frame at any rate.
"""
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .errors import KeyframeError
from .protocol import Shot
from .ways_out import without_stills

if TYPE_CHECKING:
    from torch import Tensor

ALIKE = 0.1             # of a rate; at one that is so near nobody sees the difference, as with film at 25 frames a second
NEAR = 0.02             # frames; what lies nearer to a frame that was made shows that one


class Pace:
    """`made` frames at `fps`; the shot's frame i lies at `positions[i]` of them."""

    def __init__(self, shot: Shot, native_fps: float):
        """`native_fps`: the model's, 0 for a model of any rate."""
        told = shot.source is not None or any(guide.kind != "camera" for guide in shot.guides)
        self.own = native_fps > 0 and not told and not math.isclose(native_fps, shot.fps, rel_tol=ALIKE)
        self.fps, self._shot = native_fps if self.own else shot.fps, shot
        self.made = 1 + math.ceil((shot.frames - 1) * native_fps / shot.fps - NEAR) if self.own else shot.frames
        self.positions = np.linspace(0, self.made - 1, shot.frames)
        near = np.abs(self.positions - np.rint(self.positions)) < NEAR
        self.positions[near] = np.rint(self.positions[near])

    def due(self, made: int) -> list[tuple[int, float]]:
        """The shot's frames that can be shown when the frame `made` is there, and how far each lies behind the one before it, 0..1."""
        there = np.flatnonzero((self.positions > made - 1) & (self.positions <= made))
        return [(int(index), float(self.positions[index] - (made - 1))) for index in there]

    def stills(self, found: dict) -> dict:
        """What is known by the shot's frames, by the frames that are made. Raises KeyframeError where two meet."""
        placed, crowded = {}, []
        for frame, still in sorted(found.items()):
            at = round(float(self.positions[frame]))
            crowded += [frame] if at in placed else []
            placed[at] = still
        if crowded:
            raise KeyframeError(f"At the model's {self.fps:g} frames a second two keyframes fall on one frame; move them apart, or leave one out.",
                                without_stills(self._shot, crowded))
        return placed

    def notes(self) -> tuple[str, ...]:
        return (f"The model moves at {self.fps:g} frames a second: {self.made} frames were made for the shot's {self._shot.frames}, "
                "and those between them follow the optical flow",) if self.own else ()


def between(before: Tensor, after: Tensor, part: float) -> Tensor:
    """(1, 3, h, w) each, 0..1: the picture at `part` (0..1) of the way from one to the other.

    Dense inverse search (Kroeger et al. 2016) both ways; either picture is moved along its flow, then they are mixed.
    """
    import cv2
    import torch
    one, other = (np.ascontiguousarray(frame[0].permute(1, 2, 0).float().cpu().numpy()) for frame in (before, after))
    grey = [cv2.cvtColor((image * 255 + 0.5).astype(np.uint8), cv2.COLOR_RGB2GRAY) for image in (one, other)]
    mixed = (1 - part) * _moved(one, *grey, part) + part * _moved(other, *grey[::-1], 1 - part)
    return torch.from_numpy(mixed.clip(0, 1)).permute(2, 0, 1)[None].to(before)


def beyond(image: np.ndarray, other: np.ndarray, part: float) -> np.ndarray:
    """float32 (h, w, 3), 0..1: what `image` moves on to, or below 0 came from, `part` times as far as it moves to the `other`."""
    import cv2
    grey = [cv2.cvtColor((each * 255 + 0.5).astype(np.uint8), cv2.COLOR_RGB2GRAY) for each in (image, other)]
    return _moved(image, *grey, part)


def _moved(image: np.ndarray, grey: np.ndarray, other: np.ndarray, part: float) -> np.ndarray:
    """`image` (h, w, 3), `part` of the way along the flow from `grey` to `other`, (h, w) uint8 each."""
    import cv2
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(grey, other, None) if min(grey.shape) >= 16 else np.zeros((*grey.shape, 2), np.float32)     # it needs room for its patches
    rows, columns = np.indices(grey.shape, np.float32)
    return cv2.remap(image, columns - part * flow[..., 0], rows - part * flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
