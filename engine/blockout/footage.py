"""Blockout at work, as families.Model describes it: windows of a shot become latents, latents become frames."""
from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError

from .. import pace
from ..clock import moments
from ..errors import CHOOSE, ModelError
from ..families.blockout import WEIGHTS, refines
from ..protocol import Size
from ..sampling import guidance, samplers, schedules
from . import coarse, model
from .guides import GUIDES, PICTURES, SIDE
from .transformer import guide_patches

if TYPE_CHECKING:
    from torch import Tensor

    from ..device import Device
    from ..families import Window

OVERLAP = 5             # frames that a window shares with the one before: two latent frames, the most that training often held


def opened(folder: Path, device: Device) -> Footage:
    """The weights of `folder` on `device`. Raises ModelError."""
    return Footage(loaded(lambda: model.load(folder, torch.device(device.name), getattr(torch, device.dtype)), folder), folder)


def loaded(read, folder: Path):
    """What `read` gives. Raises ModelError, where the files in `folder` are not what they should be."""
    try:
        return read()
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"The model in {folder} cannot be loaded: {error}.", CHOOSE) from error


def _unbroken(stills: dict[int, np.ndarray], frame: int) -> range:
    """The frames before and after the still at `frame` up to which there is one at each."""
    first = last = frame
    while first - 1 in stills:
        first -= 1
    while last + 1 in stills:
        last += 1
    return range(first, last + 1)


def _continued(stills: dict[int, np.ndarray], run: range, frame: int) -> np.ndarray:
    """The still at `frame`; where there is none, what an unbroken run of two or more of them moves on to, or came from."""
    if frame in stills:
        return stills[frame]
    end, inner = (run[0], run[1]) if frame < run[0] else (run[-1], run[-2])
    return pace.beyond(stills[end], stills[inner], -abs(frame - end))


def _entry(window: Window) -> int:
    """The step with which sampling begins: the first, unless part of a clip is kept."""
    kept = (window.source is not None or window.source_latent is not None) and window.change < 1
    return schedules.entry(window.steps, window.change) if kept else 0


class Footage:
    """Blockout as families.Model describes it. Frames of the autoencoder are -1..1, those out here 0..1."""

    overlap, begins_from_latents = OVERLAP, True

    def __init__(self, blockout, folder: Path):
        self._blockout, self._folder, self._wardrobe, self._second, self._remarks = blockout, folder, None, None, ()
        self.window = blockout.window_frames

    def wear(self, loras) -> tuple[str, ...]:
        """Exactly these (path, strength) on the transformer. Returns notes. Raises ModelError."""
        if self._wardrobe is None:
            if not loras:
                return ()
            from .lora import Wardrobe
            self._wardrobe = Wardrobe(self._blockout.transformer, self._folder)
        return self._wardrobe.wear(loras)

    def native(self, size: Size) -> Size:
        return Size(*self._blockout.native_size(size.width, size.height))

    def text(self, prompt: str):
        return self._blockout.encode_text(prompt)

    def completed(self, prompt: str) -> str:
        """As `text.completed`; a model that somebody taught their own look draws that where no style is named."""
        from . import text
        return text.completed(prompt) if self._folder == WEIGHTS else prompt

    def not_understood(self, prompt: str) -> tuple[str, ...]:
        from . import text
        return tuple(text.tokens(prompt).not_understood)

    def remarks(self) -> tuple[str, ...]:
        """How the window before was drawn, for the take."""
        return self._remarks

    def sample(self, window: Window) -> Iterator[Tensor]:
        """Euler steps of rectified flow; one clean latent (1, C, K, h, w) a step. Small first where no layout holds the clip together."""
        small = coarse.first(window, self.native)
        self._remarks = (f"Drawn at {small.size} first, and from that at {window.size}: no layout says what stands where",) if small else ()
        told = model.told_rate(window.fps)
        if told != window.fps and not window.guides:           # a layout says how things move
            self._remarks += (f"Moves as at {told:g} frames a second, the nearest to {window.fps:g} that the model has learned",)
        if small is None:
            yield from self._sampled(window)
            return
        ahead = schedules.entry(window.steps, coarse.AGAIN)    # as many steps of the window are left out as one hears of the small clip's
        shape = self._blockout.latent_shape(window.frames, window.size.width, window.size.height)
        for done, latent in enumerate(self._sampled(small), 1):
            if done * ahead // window.steps > (done - 1) * ahead // window.steps:
                yield coarse.looked_at(latent, shape)
        with torch.inference_mode():
            drawn = self._encoded(coarse.pictures(torch.cat(list(self.decode(latent, small))), window.size))
        yield from self._sampled(replace(window, source_latent=drawn, change=coarse.AGAIN))

    def _sampled(self, window: Window) -> Iterator[Tensor]:
        """At the window's own size."""
        with torch.inference_mode():
            noise = self._blockout.noise(window.frames, window.size.width, window.size.height, window.seed)
            source = self._source(window)
            known, mask = self._known(window, noise, source)
            given = self._guides(window, PICTURES) | self._flight(window), known, mask
            told = {"draft": window.draft, "fps": model.told_rate(window.fps), "portrait": self._portrait(window), "first": _entry(window)}
            denoise = self._blockout.denoiser(window.text, window.negative, *given, window.guidance, **told)
            if window.guided is not None:
                alone = self._blockout.denoiser(window.text, window.negative, *given, 1.0, **told)
                denoise = guidance.limited(denoise, alone, self._blockout.sigmas(window.steps), window.guided)
            steps = self._begun(denoise, noise, source, window)
        while True:
            with torch.inference_mode():        # entered for each step: a generator must not keep it while it rests
                following = next(steps, None)
            if following is None:
                return
            yield following[1]

    def _source(self, window: Window) -> Tensor | None:
        """The latent of the clip to begin from: what its frames were decoded from, where that was kept."""
        if window.source_latent is not None:
            return window.source_latent.to(self._blockout.device, self._blockout.dtype)
        return None if window.source is None else self._encoded(torch.from_numpy(window.source).permute(0, 3, 1, 2))

    def _begun(self, denoise, noise: Tensor, source: Tensor | None, window: Window):
        """From noise; or from the source with as much noise as its change asks for, which leaves the first steps out."""
        sigmas, first = self._blockout.sigmas(window.steps), _entry(window)
        if source is None or window.change >= 1:
            return samplers.euler(denoise, noise, sigmas)
        return samplers.euler(denoise, samplers.noised(source, noise, sigmas[first]), sigmas[first:])

    def _guides(self, window: Window, kinds: Collection[str]) -> dict[str, Tensor]:
        """(1, C, T, H, W) of those `kinds` that the window has; strength fades a guide towards nothing."""
        strengths = {kind: window.strengths.get(kind, 1.) for kind in kinds if kind in window.guides}
        return {kind: torch.from_numpy(window.guides[kind]).permute(3, 0, 1, 2)[None].to(self._blockout.device, self._blockout.dtype) * strength
                for kind, strength in strengths.items() if strength > 0}

    def _flight(self, window: Window) -> dict[str, Tensor]:
        """What the camera tells; strength fades it towards a camera that stands still over plain ground."""
        if window.cameras is None:
            return {}
        depth = window.guides["depth"][..., 0] if "depth" in window.guides else None
        told = self._blockout.flown(window.cameras, depth, window.near, window.far)
        return {kind: x * window.strengths.get("camera", 1.0) for kind, x in told.items()}

    def _portrait(self, window: Window) -> Tensor | None:
        """The latent of the picture of the subject, all of which is seen in a square."""
        if not window.references:
            return None
        picture = torch.from_numpy(window.references[0]).permute(2, 0, 1)[None]
        high, wide = picture.shape[2:]
        across, down = ((max(high, wide) - side) // 2 for side in (wide, high))
        square = torch.nn.functional.pad(picture, (across, max(high, wide) - wide - across, down, max(high, wide) - high - down), mode="replicate")
        return self._blockout.encode_portrait(coarse.pictures(square, Size(SIDE, SIDE)) * 2 - 1)

    def _known(self, window: Window, like: Tensor, source: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Clean latents and a mask (1, 1, K, h, w) of what is known: the source outside its mask, keyframes, and the window before.

        Keyframes hold the latent frames that they fall into, each four frames long except the first.
        """
        if window.tail is None and not window.stills and "mask" not in window.guides:
            return None, None
        stride = self._blockout.latent_stride[0]
        known, mask = torch.zeros_like(like), torch.zeros_like(like[:, :1])
        if "mask" in window.guides:
            known, mask = source.clone(), self._kept(window.guides["mask"]).to(like)
        for at in {-(-frame // stride) for frame in window.stills}:
            known[:, :, at], mask[:, :, at] = self._still(window.stills, at, stride), 1
        if window.tail is not None:
            head = self._encoded(window.tail)
            known[:, :, :head.shape[2]], mask[:, :, :head.shape[2]] = head, 1
        return known, mask

    def _still(self, stills: dict[int, np.ndarray], at: int, stride: int) -> Tensor:
        """The latent frame (1, C, h, w) at `at`. One still alone stands; of stills that follow one another the motion is known, too: frames of the
        latent that are not go on with it, as pictures that stand would stop the clip for as long."""
        frames = range(max(0, stride * at - stride + 1), stride * at + 1)
        last = max(frame for frame in stills if frame in frames)
        run = _unbroken(stills, last)
        if len(run) == 1 or at == 0:
            return self._blockout.encode_still(torch.from_numpy(stills[last]).permute(2, 0, 1)[None] * 2 - 1, at)[:, :, 0]
        moving = np.stack([_continued(stills, run, frame) for frame in (frames[0] - 1, *frames)])
        return self._encoded(torch.from_numpy(moving).permute(0, 3, 1, 2))[:, :, -1]

    def _kept(self, changing: np.ndarray) -> Tensor:
        """(1, 1, K, h, w): 1 where nothing below a latent pixel is to be made anew. `changing` is the mask (T, H, W, 1)."""
        anew = torch.from_numpy(changing).permute(3, 0, 1, 2)[None]
        k, h, w = self._blockout.latent_shape(len(changing), changing.shape[2], changing.shape[1])[2:]
        return 1 - (guide_patches(anew).amax(-1) > 0).float().view(1, 1, k, h, w)

    def _encoded(self, frames: Tensor) -> Tensor:
        """(n, 3, h, w) 0..1 -> latent."""
        video = frames.to(self._blockout.device, self._blockout.dtype).transpose(0, 1)[None] * 2 - 1
        first, rest = video[:, :, :1], video[:, :, 1:].split(self._blockout.latent_stride[0], 2) if video.shape[2] > 1 else ()
        return torch.cat(list(self._blockout.autoencoder.encode_stream((first, *rest))), 2)

    def glimpse(self, latent: Tensor, window: Window) -> np.ndarray:
        """Moments of the clip along its guides, each decoded as if it were a still."""
        chosen = moments(latent.shape[2])
        stride = self._blockout.latent_stride[0]
        guides = {kind: images[0, :, [stride * index for index in chosen]].transpose(0, 1)[:, :, None] for kind, images in self._guides(window, GUIDES).items()}
        stills = self._blockout.autoencoder.decode_stream(latent[0, :, chosen].transpose(0, 1)[:, :, None], guides)      # (n, 3, 1, h, w)
        return next(self._frames(still.transpose(0, 2) for still in stills)).permute(0, 2, 3, 1).cpu().numpy()

    def decode(self, latent: Tensor, window: Window) -> Iterator[Tensor]:
        """The decoder draws along the window's guides, so that the latent need not hold every edge."""
        return self._frames(self._blockout.autoencoder.decode_stream(latent, self._guides(window, GUIDES)))

    def _frames(self, chunks: Iterator[Tensor]) -> Iterator[Tensor]:
        """(1, 3, n, h, w) in -1..1 -> (n, 3, h, w) in 0..1."""
        while True:
            with torch.inference_mode():
                chunk = next(chunks, None)
                if chunk is None:
                    return
                frames = (chunk[0].transpose(0, 1).float() + 1) / 2
            yield frames.clamp(0, 1)

    def refiner(self, prompt: str, strength: float, seed: int):
        """What takes this model's frames to twice their size, None where its folder has no refiner. Raises ModelError."""
        from . import refiner
        if self._second is None and refines(self._folder):
            self._second = loaded(lambda: refiner.load(self._folder, self._blockout.device), self._folder)
        return self._second and refiner.Refining(self._second, self._second.words([prompt]), strength, seed)

    def deliver(self, frames: Tensor, size: Size, guides: dict[str, np.ndarray]) -> np.ndarray:
        from . import upscale
        larger = size.width > frames.shape[3] or size.height > frames.shape[2]         # what shrinks needs no edges of the layout
        full = {kind: torch.from_numpy(images).permute(0, 3, 1, 2).to(frames) for kind, images in guides.items() if larger}
        with torch.inference_mode():
            if size != Size(frames.shape[3], frames.shape[2]):
                frames = upscale.upscale(frames, size, full.get("depth"), full.get("normal"), full.get("albedo"))
            return frames.permute(0, 2, 3, 1).float().cpu().numpy()
