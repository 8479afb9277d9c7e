"""Wan's transformers at work: text, first and last frames, a clip to begin from, known frames held while the rest is made."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..families.wan import GROWN_FPS, SPEC
from . import pictures, steps
from .drafts import drafting
from .wan_footage import Footage

if TYPE_CHECKING:
    from torch import Tensor

    from ..device import Device
    from ..families import Window


class Film(Footage):
    """Wan as families.Model describes it."""

    begins_from_latents = True

    def __init__(self, parts: dict[str, Any], index: dict[str, Any], folder: Path, place: Device, most: int):
        super().__init__(parts, index, folder, place, most)
        self.grown = bool(index.get("expand_timesteps"))
        config = self._any_transformer().config
        self.pictured = config.in_channels > config.out_channels
        self.overlap = 1 if self.pictured or self.grown else 5
        self.native_fps = GROWN_FPS if self.grown else SPEC.native_fps

    def sample(self, window: Window) -> Iterator[Tensor]:
        """One clean latent (1, C, T, h, w) a step."""
        with drafting(window.draft, self.named(), window.steps, self.entry(window), self.placing.plan):
            yield from self.placed(self.estimates(window))

    def estimates(self, window: Window) -> Iterator[Tensor]:
        scheduler = self.schedule(window)
        latent, first = self.begun(window, scheduler)
        self.tune(window, self.tokens(latent.shape))
        if self.pictured:
            return steps.denoised(scheduler, latent, steps.limited(self.pictured_velocity(window), window, scheduler), first)
        known, mask = self.known(window, latent)
        if self.grown:
            return self.grown_steps(window, scheduler, latent, first, known, mask)
        velocity = steps.limited(self.plain_velocity, window, scheduler)
        return steps.denoised(scheduler, latent, velocity, first, self.hold(known, mask, latent))

    def entry(self, window: Window) -> int:
        """The step with which sampling begins: the first, unless part of a clip is kept."""
        from ..sampling import schedules
        return 0 if window.source is None or window.change >= 1 else schedules.entry(window.steps, window.change)

    def begun(self, window: Window, scheduler) -> tuple[Tensor, int]:
        """The latent to begin with, and at which step: noise, or the source with as much noise as its change asks for."""
        noise, first = self.noise(window), self.entry(window)
        if window.source is None or window.change >= 1:
            return noise, 0
        kept = window.source_latent
        clean = self.autoencoder.encode(pictures.video(window.source)) if kept is None else kept.float().to(self.place)
        sigma = scheduler.sigmas[first].to(clean)
        return (1 - sigma) * clean + sigma * noise, first

    # ------------------------------------------------------------ velocities
    def guess(self, window: Window, given: Tensor, timestep: Tensor, at: Tensor, **more) -> Tensor:
        """The guided velocity; `at` chooses the expert."""
        expert, window = self.expert(at), self.guided(window, at)

        def call(copies: int, text: Tensor, which: str) -> Tensor:
            def each(one: Tensor | None) -> Tensor | None:
                return one if one is None else one.repeat(copies, *[1] * (one.ndim - 1))
            with expert.cache_context(which):
                return expert(hidden_states=each(given.to(self.dtype)), timestep=each(timestep), encoder_hidden_states=text, return_dict=False,
                              **{name: each(one) for name, one in more.items()})[0]
        return steps.answered(call, self.texts(window), window.guidance, self.tokens(given.shape))

    def plain_velocity(self, window: Window, latent: Tensor, timestep: Tensor) -> Tensor:
        return self.guess(window, latent, timestep.expand(1), timestep)

    def pictured_velocity(self, window: Window):
        """With the known pictures in channels of their own: four of mask, then their latent."""
        import torch
        beside, seen = self.beside(window), self.seen(window)
        return lambda one, latent, timestep: self.guess(one, torch.cat([latent, beside], 1), timestep.expand(1), timestep,
                                                        encoder_hidden_states_image=seen)

    def grown_steps(self, window: Window, scheduler, latent: Tensor, first: int, known: Tensor, mask: Tensor) -> Iterator[Tensor]:
        """Known latent frames stay clean and have the timestep 0."""
        def velocity(window: Window, noisy: Tensor, timestep: Tensor) -> Tensor:
            given = mask * known + (1 - mask) * noisy
            places = ((1 - mask)[0, 0].expand(*noisy.shape[2:])[:, ::2, ::2] * timestep).flatten()[None]
            return self.guess(window, given, places, timestep)
        for estimate in steps.denoised(scheduler, latent, steps.limited(velocity, window, scheduler), first):
            yield mask * known + (1 - mask) * estimate

    # ------------------------------------------------------------ what is known
    def known(self, window: Window, like: Tensor) -> tuple[Tensor, Tensor]:
        """Clean latents (1, C, T, h, w) and where they are known (1, 1, T, 1, 1): the window before and the first frame."""
        import torch
        known, mask = torch.zeros_like(like), torch.zeros((1, 1, like.shape[2], 1, 1), device=like.device)
        head = None
        if window.tail is not None:
            head = self.autoencoder.encode(pictures.of_frames(window.tail))
        elif 0 in window.stills:
            head = self.autoencoder.encode(pictures.video(window.stills[0][None]))
        if head is not None:
            known[:, :, :head.shape[2]], mask[:, :, :head.shape[2]] = head, 1
        return known, mask

    def hold(self, known: Tensor, mask: Tensor, noise: Tensor):
        """Puts known latent frames back after every step, as noisy as the rest; models by text know no other way."""
        if not mask.any():
            return None
        return lambda latent, sigma: mask * ((1 - sigma) * known + sigma * noise) + (1 - mask) * latent

    def anchors(self, window: Window) -> dict[int, Tensor]:
        """Known pictures (3, h, w), -1..1, by frame; one at the end of the shot holds until the end of the window."""
        import torch
        found = {frame: pictures.video(still[None])[0, :, 0] for frame, still in window.stills.items()}
        if window.tail is not None:
            found[0] = pictures.of_frames(window.tail[-1:])[0, :, 0]
        if window.source is not None and 0 not in found:
            found[0] = pictures.video(window.source[:1])[0, :, 0]
        if 0 not in found:
            found[0] = torch.zeros((3, window.size.height, window.size.width))
        last = max(found)
        if 0 < last and window.frames - last <= SPEC.frames.stride:
            found.update({frame: found[last] for frame in range(last, window.frames)})
        return found

    def beside(self, window: Window) -> Tensor:
        """(1, 4 + C, T, h, w): which of each four frames are known, and the latent of a clip that is grey elsewhere."""
        import torch
        anchors = self.anchors(window)
        clip = torch.zeros((1, 3, window.frames, window.size.height, window.size.width))
        told = torch.zeros((1, 1, window.frames, 1, 1))
        for frame, picture in anchors.items():
            clip[0, :, frame], told[:, :, frame] = picture, 1
        latent = self.autoencoder.encode(clip)
        stride = self.autoencoder.stride_t
        told = torch.cat([told[:, :, :1].repeat_interleave(stride, 2), told[:, :, 1:]], 2)
        told = told.view(1, -1, stride, 1, 1).transpose(1, 2).expand(-1, -1, -1, *latent.shape[3:])
        return torch.cat([told.to(latent), latent], 1)

    def seen(self, window: Window) -> Tensor | None:
        """What Wan 2.1's image encoder says of the pictures; None for models without one."""
        import torch
        if self._any_transformer().config.image_dim is None:
            return None
        anchors = self.anchors(window)
        shown = [anchors[0]] + ([anchors[max(anchors)]] if max(anchors) else [])
        images = [((picture + 1) / 2 * 255).round().to(torch.uint8) for picture in shown]
        values = self.parts["image_processor"](images=images, return_tensors="pt").pixel_values
        with torch.inference_mode(), self.placing.using("image_encoder"):
            encoder = self.parts["image_encoder"]
            states = encoder(values.to(self.place, encoder.dtype), output_hidden_states=True).hidden_states[-2]
        return states.to(self.dtype)
