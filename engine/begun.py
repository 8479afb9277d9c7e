"""What a take kept of the pictures that another shot begins from, so that these need not be read back, rounded and scaled, from its files.

A clip to change (Remix) is begun from the very latent that it was decoded from. Stills that are the end of a take (Extend) are its frames as
the model drew them; as many as windows share go in as windows do, as one piece. Their latent itself cannot: the first latent frame of a causal
autoencoder stands for one frame and the others for several, so that the end of one clip's is no beginning of another's.

Where nothing is kept, or it does not fit, the pictures are used, and `notes` says why.
"""
from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import clip, latents
from .ahead import heed
from .errors import ShotError, SoraError
from .families import Model, Window
from .pace import Pace
from .protocol import LATENTS, TAKE_FILE, FrameGrid, Shot, Size, read_take

if TYPE_CHECKING:
    from torch import Tensor

NUMBER = re.compile(r"(\d+)$")


def _take(path: str) -> Path | None:
    """The folder of the take that keeps latents and that a folder of pictures lies in."""
    folder = Path(path).parent
    return folder if (folder / TAKE_FILE).is_file() and (folder / LATENTS).is_dir() else None


class Clip:
    """The latents of the source clip, window by window."""

    def __init__(self, shot: Shot, model: Model, size: Size, stretches: tuple[clip.Stretch, ...]):
        """`size` is what the model makes of the shot."""
        self.notes: tuple[str, ...] = ()
        self._of: Shot | None = None
        able = shot.source and not shot.latents and getattr(model, "begins_from_latents", False)
        folder = _take(shot.source.path) if able else None
        if folder is None:
            return
        try:
            self._of = _agreeing(replace(shot, latents=str(folder)), size, stretches)
            self.notes = (f"Begun from what {folder.name} had sampled, not from its pictures",)
        except SoraError as error:
            self.notes = (f"Begun from the pictures of {folder.name}: {error.sentence}",)

    def latent(self, stretch: clip.Stretch) -> Tensor | None:
        """What the source's frames of a window were decoded from; None where its pictures are all there is. Raises ShotError."""
        return latents.read(self._of, stretch) if self._of else None


def _agreeing(of: Shot, size: Size, stretches: tuple[clip.Stretch, ...]) -> Shot:
    """The shot, if the latents that it names are of its own clip, size and windows. Raises ShotError."""
    latents.check(of)
    if latents.native(of) != size:
        raise ShotError(f"It was sampled at {latents.native(of)}, and this shot is at {size}.")
    for stretch in stretches:
        latents.agree(of, stretch)
    return of


class End:
    """The frames that a shot begins with, where its first stills are the end of a take of the same model."""

    def __init__(self, shot: Shot, model: Model, size: Size, coding: str, grid: FrameGrid, cut: threading.Event):
        """`size` is what the model makes of the shot, `coding` how it codes light, `grid` the clips that it can make. Raises Cut."""
        self.notes: tuple[str, ...] = ()
        self.stills: dict[int, np.ndarray] = {}         # frame of the shot -> float32 (h, w, 3), sRGB 0..1
        self.tail: Tensor | None = None                 # (overlap, 3, h, w), when enough are there; then they are none of `stills`
        folder, numbers = _run(shot)
        if folder is None:
            return
        try:
            drawn = _drawn(shot, folder, numbers, model, size, grid, cut)
            if latents.coded(replace(shot, latents=str(folder))) != coding:
                raise ShotError("It codes light in another way.")
        except SoraError as error:
            self.notes = (f"Goes on from the pictures of {folder.name}: {error.sentence}",)
            return
        self.notes = (f"Goes on from {folder.name} as the model drew it, not from its pictures",)
        shared = model.overlap if 1 < model.overlap <= len(drawn) else 0
        self.tail = drawn[:shared] if shared else None
        self.stills = {frame: drawn[frame].permute(1, 2, 0).float().cpu().numpy() for frame in range(shared, len(drawn))}

    def instead(self, found: dict[int, clip.Still]) -> dict[int, clip.Still]:
        """The shot's stills without those that the tail holds, and with what the model drew of the others."""
        first = len(self.tail) if self.tail is not None else 0
        return {frame: clip.Still(self.stills[frame], Size(*self.stills[frame].shape[1::-1])) if frame in self.stills else still
                for frame, still in found.items() if frame >= first}


def _run(shot: Shot) -> tuple[Path | None, list[int]]:
    """The take whose consecutive pictures the shot's first stills are, from its first frame on, and their numbers."""
    found = sorted((keyframe.frame, Path(keyframe.path)) for keyframe in shot.keyframes if not shot.latents)
    folder, numbers = (_take(str(found[0][1].parent)) if found and found[0][0] == 0 else None), []
    for frame, path in found if folder else ():
        number = NUMBER.search(path.stem)
        if frame != len(numbers) or _take(str(path.parent)) != folder or number is None or numbers and int(number[1]) != numbers[-1] + 1:
            break
        numbers.append(int(number[1]))
    return folder, numbers


def _drawn(shot: Shot, folder: Path, numbers: list[int], model: Model, size: Size, grid: FrameGrid, cut: threading.Event) -> Tensor:
    """The frames of those numbers, (n, 3, h, w), as the model decodes them once more. Raises SoraError where that cannot be, Cut."""
    import torch
    of = replace(read_take(folder).shot, latents=str(folder))
    if (of.family, of.model) != (shot.family, shot.model):
        raise ShotError("It is of another model.")
    rate = getattr(model, "native_fps", 0.0)
    if Pace(of, rate).own or Pace(shot, rate).own:
        raise ShotError("The model moves at a rate of its own, and what is shown lies between its frames.")
    last = clip.stretches(of.frames, model.window, model.overlap, grid)[-1]
    first = numbers[0] - of.frame_start
    if not last.start <= first <= first + len(numbers) <= of.frames:
        raise ShotError("They lie before its last window.")
    _agreeing(of, size, (last,))
    guides = clip.Guides(of).window(last.start, last.frames, size, cut)
    window = Window(frames=last.frames, size=size, seed=0, steps=0, guidance=0.0, text=None, negative=None, guides=guides, fps=of.fps,
                    strengths={guide.kind: guide.strength for guide in of.guides})
    made, latent = [], latents.read(of, last)
    for chunk in model.decode(latent.to(getattr(model, "place", latent.device)), window):
        heed(cut)
        made.append(chunk)
    return torch.cat(made)[first - last.start:][:len(numbers)].clone()
