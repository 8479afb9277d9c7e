"""SkyReels-V2 at work, through diffusers' own pipelines: diffusion forcing goes from stretch to stretch by itself."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..families.skyreels import SHARED, SPEC, TOGETHER
from .drafts import drafting
from .remembered import Encoded
from .resting import pausing
from .stepping import stepped
from .wan_footage import Footage

if TYPE_CHECKING:
    from torch import Tensor

    from ..device import Device
    from ..families import Window


class Reel(Footage):
    """SkyReels as families.Model describes it. A whole shot is one window: the model itself goes from stretch to stretch."""

    window, overlap = SPEC.window, 17

    def __init__(self, parts: dict[str, Any], index: dict[str, Any], folder: Path, place: Device, most: int):
        from diffusers import SkyReelsV2DiffusionForcingImageToVideoPipeline, SkyReelsV2DiffusionForcingPipeline
        super().__init__(parts, index, folder, place, most)
        self._by_text, self._by_picture = SkyReelsV2DiffusionForcingPipeline(**parts), _ending(SkyReelsV2DiffusionForcingImageToVideoPipeline)(**parts)
        self.encoded = Encoded()
        self.encoded.stand_before(parts["vae"])
        for pipe in (self._by_text, self._by_picture):
            pipe.set_progress_bar_config(disable=True)

    def placed_by(self, parts: dict[str, Any], place):
        from ..diffusers_line.turns import Turns
        return Turns(parts, place)

    def sample(self, window: Window) -> Iterator[Tensor]:
        import torch
        self.tune(window, self.tokens(self.shape(min(window.frames, TOGETHER), window.size)))
        text, negative = self.texts(window)
        asked = {"prompt_embeds": text, "negative_prompt_embeds": negative, "height": window.size.height, "width": window.size.width,
                 "num_frames": window.frames, "num_inference_steps": window.steps, "guidance_scale": window.guidance,
                 "generator": torch.Generator("cpu").manual_seed(window.seed), "output_type": "latent", "fps": round(window.fps),
                 "base_num_frames": TOGETHER, "overlap_history": SHARED if window.frames > TOGETHER else None}
        pipe, count = self._by_picture if window.stills else self._by_text, self.shape(window.frames, window.size)[2]
        asked |= {"prompt": None} | self._pictures(window)

        def run(callback):
            return pipe(**asked, callback_on_step_end=callback).frames
        with drafting(window.draft, self.named(), window.steps, plan=self.placing.plan), pausing(window, pipe):
            for found in self.placed(stepped(run)):
                latent = found[2].clone() if isinstance(found, tuple) else found
                yield latent[:, :, :count]          # a last picture lies behind the clip while it is made

    def _pictures(self, window: Window) -> dict[str, Tensor]:
        """The keyframes as the pipeline takes them: (1, 3, h, w), 0..1."""
        import torch
        stills = {frame: torch.from_numpy(still).permute(2, 0, 1)[None] for frame, still in sorted(window.stills.items())}
        found = {"image": stills[0]} if stills else {}
        return found | {"last_image": stills[max(stills)]} if len(stills) > 1 else found


def _ending(pipeline: type) -> type:
    """The pipeline by pictures with a last stretch that may be shorter than the others, as diffusers has it in the one by text only: without
    it, a clip whose stretches are not all of one length ends in an error. It can go when theirs asks for no more frames than there are."""
    class Ending(pipeline):
        def generate_timestep_matrix(self, count, steps, together, *more, **named):
            return super().generate_timestep_matrix(count, steps, min(together, count), *more, **named)
    return Ending
