"""VACE at work, with one transformer or two experts: the control branch is shown the layout, masks and references, each with a strength for
every frame."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import steps
from .drafts import possible
from .wan_footage import Footage

if TYPE_CHECKING:
    from torch import Tensor

    from ..families import Window
    from ..sampling.draft import Memory
    from . import vace_guides


class Layout(Footage):
    """VACE as families.Model describes it."""

    def sample(self, window: Window) -> Iterator[Tensor]:
        """One clean latent (1, C, T, h, w) a step; reference frames, which lie before the clip while it is made, are left out."""
        from . import vace_guides
        extra = len(window.references)
        scheduler = self.schedule(window)
        controls = vace_guides.controls(window, self.autoencoder)
        latents = [control.latent.to(self.dtype) for control in controls]
        scales = [self._scale(control, latents[0].shape[3:]) for control in controls]
        noise = self.noise(window, extra)
        self.tune(window, self.tokens(noise.shape))
        velocity = steps.limited(self._velocity(window, latents, scales), window, scheduler)
        for estimate in self.placed(steps.denoised(scheduler, noise, velocity)):
            yield estimate[:, :, extra:]

    def _scale(self, control: vace_guides.Control, sides) -> Tensor:
        """(layers,) for one strength, (layers, 1, tokens, 1) for one that differs between latent frames."""
        import torch
        config = self._any_transformer().config
        layers, patch = len(config.vace_layers), config.patch_size
        if len(set(control.strengths)) == 1:
            return torch.full((layers,), control.strengths[0], device=self.place, dtype=self.dtype)
        each = (sides[0] // patch[1]) * (sides[1] // patch[2])
        tokens = torch.tensor(control.strengths).repeat_interleave(each)[None, None, :, None]
        return tokens.expand(layers, -1, -1, -1).to(self.place, self.dtype)

    def _velocity(self, window: Window, latents: list[Tensor], scales: list[Tensor]):
        config = self._any_transformer().config
        draft = window.draft if window.draft and possible(window.draft, self.placing.plan) else None
        control, scale = (latents[0], scales[0]) if len(latents) == 1 and draft is None else (tuple(latents), tuple(scales))
        blocks = config.num_layers + len(latents) * len(config.vace_layers)
        caches: dict[tuple[str, str], Memory | None] = {}

        def cached(name: str, text: str) -> Memory | None:
            """What a draft remembers of one transformer and text, of which another one knows nothing."""
            if draft and (name, text) not in caches:
                caches[name, text] = draft.memory(blocks, (name,))
            return caches.get((name, text))

        def velocity(one: Window, latent: Tensor, timestep: Tensor) -> Tensor:
            name, transformer, one = self.called(timestep), self.expert(timestep), self.guided(one, timestep)

            def call(copies: int, text: Tensor, which: str) -> Tensor:
                each = (copies, -1, -1, -1, -1)
                shown = tuple(one.expand(each) for one in control) if isinstance(control, tuple) else control.expand(each)
                return transformer(hidden_states=latent.to(self.dtype).expand(each), timestep=timestep.expand(copies), encoder_hidden_states=text,
                                   control_hidden_states=shown, control_hidden_states_scale=scale, return_dict=False, cache=cached(name, which))[0]
            return steps.answered(call, self.texts(one), one.guidance, self.tokens(latent.shape))
        return velocity
