"""The exam: held-out scenes with what was asked of them, which training and the judges never saw."""
from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ..blockout import conditions, data, world
from ..blockout.looks import FINISH_NAMES
from ..blockout.train_autoencoder import as_video
from ..camera import Cameras
from ..protocol import Size
from . import attributes, pixels
from .attributes import CHOICES

SEEDS = 9_500_000
FRAMES, HEIGHT, WIDTH = 17, 40, 64


def guides_of(clips: list[data.Clip]) -> dict[str, Tensor]:
    """depth (N, 1, T, H, W) and normal (N, 3, T, H, W) as the engine reads them."""
    return conditions.guides(np.stack([c.inverse_depth for c in clips]), np.stack([c.normal for c in clips]), torch.Generator(), rough=False)


def colours_of(clips: list[data.Clip]) -> dict[str, Tensor]:
    """albedo (N, 4, T, H, W) as the engine reads it: the colour of every thing and of the ground."""
    return {"albedo": conditions.albedos(*data.painted(clips), torch.Generator(), rough=False)}


def vectors_of(clips: list[data.Clip]) -> dict[str, Tensor]:
    """vector (N, 2, T, H, W) as the engine reads it."""
    drawn = np.stack([data.vectors(c.scene, *c.inverse_depth.shape[1:3]) for c in clips])
    return {"vector": conditions.vectors(drawn, torch.Generator(), rough=False)}


def cameras_of(clip: data.Clip, fps: float = 24.) -> Cameras:
    """The clip's own camera, as `camera.json` would have it."""
    frames, h, w, _ = clip.rgb.shape
    c2w, lens = data.cameras(clip.scene, h, w)
    return Cameras(frames=np.arange(frames), c2w=c2w.astype(np.float64), K=np.tile(lens * (w, h, w, h), (frames, 1)), size=Size(w, h), fps=fps)


def at_frame(scene: world.Scene, frame: int) -> world.Scene:
    """One frame of a scene."""
    still = copy.copy(scene)
    still.eye, still.yaw, still.pitch = scene.eye[frame:frame + 1], scene.yaw[frame:frame + 1], scene.pitch[frame:frame + 1]
    still.movers = [m[frame:frame + 1] for m in scene.movers]
    return still


def painted(scene: world.Scene, which: int, finish: str) -> world.Scene:
    """The scene with another finish on one of its things."""
    other = copy.copy(scene)
    other.solids = [replace(s, finish=FINISH_NAMES.index(finish)) if s.part == which else s for s in scene.solids]
    other.things = [replace(t, finish=finish) if i == which else t for i, t in enumerate(scene.things)]
    return other


@dataclass(slots=True)
class Exam:
    clips: list[data.Clip]
    video: Tensor                                              # (N, 3, T, H, W)
    guides: dict[str, Tensor]
    masks: Tensor                                              # (N, 2, T, H, W) bool: the first and the second thing
    truth: Tensor                                              # (N, 6)
    asked: Tensor                                              # (N, 6) bool: named in the caption and visible in the style
    cameras: list[Cameras]
    near: Tensor                                               # (N,) metres to the nearest and the farthest thing
    far: Tensor
    _palettes: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, clips: list[data.Clip]) -> Exam:
        _, h, w, _ = clips[0].rgb.shape
        parts = [torch.from_numpy(data.parts(c.scene, h, w)) for c in clips]
        truth = torch.tensor([attributes.truth(c.scene) for c in clips])
        asked = torch.stack([attributes.asked(c) for c in clips]) & (truth >= 0)
        return cls(clips, as_video(np.stack([c.rgb for c in clips])), guides_of(clips) | colours_of(clips) | vectors_of(clips),
                   torch.stack([torch.stack([p == 0, p == 1]) for p in parts]),
                   truth, asked, [cameras_of(c) for c in clips], *conditions.span(torch.from_numpy(np.stack([c.inverse_depth for c in clips])).float()))

    @classmethod
    def rendered(cls, count: int) -> Exam:
        """Clips of one or two things in turn."""
        return cls.of([data.clip(SEEDS + i, FRAMES, HEIGHT, WIDTH, kind="objects", count=1 + i % 2) for i in range(count)])

    def one(self, i: int, *kinds: str) -> dict[str, Tensor]:
        """Guides (1, C, T, H, W) of clip i."""
        return {kind: self.guides[kind][i:i + 1] for kind in kinds}

    def flown(self, i: int) -> dict:
        """The fields of a Wish that is to follow clip i's camera."""
        return {"cameras": self.cameras[i], "near": float(self.near[i]), "far": float(self.far[i])}

    def best_frame(self, i: int, which: int) -> int:
        """In which most of a thing is seen."""
        return int(self.masks[i, which].flatten(1).sum(1).argmax())

    def palette(self, i: int, which: int = 0) -> Tensor:
        """(8, 3) mean L*a*b* of a thing of clip i, had it been painted in each of the colours: in this very light and style."""
        if (i, which) not in self._palettes:
            clip, at = self.clips[i], self.best_frame(i, which)
            still, (h, w) = at_frame(clip.scene, at), clip.rgb.shape[1:3]
            shown = np.concatenate([data.render(painted(still, which, colour), h, w, SEEDS + i)[0] for colour in CHOICES["colour"]])
            mask = self.masks[i, which, at].expand(len(shown), -1, -1)
            self._palettes[i, which] = pixels.mean_colour(as_video(shown[None])[0].transpose(0, 1), mask)
        return self._palettes[i, which]

    def measured_colour(self, video: Tensor, i: int, which: int = 0) -> int:
        """The palette's colour that a thing of clip i is nearest to in video (3, T, H, W); -1 where it isn't seen."""
        at = self.best_frame(i, which)
        if not self.masks[i, which, at].any():
            return -1
        found = pixels.mean_colour(video[None, :, at], self.masks[i, which, at][None])
        return int((self.palette(i, which) - found).norm(dim=1).argmin())
