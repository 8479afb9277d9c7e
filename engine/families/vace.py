"""Wan VACE: layouts (depth, edges, grey, boxes, normals), masks, keyframes anywhere, reference pictures, several guides at once."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..diffusers_line import steps
from ..diffusers_line.drafts import THRESHOLD, possible
from ..diffusers_line.wan_footage import Footage
from ..errors import GuideError, Remedy
from ..footprint import Given
from ..protocol import FamilySpec, FrameGrid, Shot, SizeGrid
from ..sampling.draft import FirstBlock

if TYPE_CHECKING:
    from torch import Tensor

    from ..diffusers_line import vace_guides
    from ..device import Device
    from . import Window

SPEC = FamilySpec(
    name="vace",
    label="Wan VACE",
    note="Follows a layout: depth, edges, grey, masks, keyframes at any frame, pictures of the subject",
    licence="Apache-2.0",
    guides=("depth", "normal", "beauty", "mask", "edges", "layout"),
    spans=True,
    keyframes=True,
    source=True,
    frames=FrameGrid(stride=4, offset=1),
    sizes=SizeGrid(multiple=2, shortest=32, longest=4096),
    longest=1440,
    native_area=832 * 480,
    steps=30,
    guidance=5.0,
    models=("wan2.1-vace-1.3b", "wan2.1-vace-14b"),
    references=4,
    loras=True,
    plans=True,
    window=81,
    drafts=THRESHOLD,
)


def check(shot: Shot, folder: Path) -> None:
    """A mask needs pictures to keep outside it; a clip beside other guides needs a mask, or it would not count. Raises GuideError."""
    kinds = {guide.kind for guide in shot.guides}
    if shot.source is not None and kinds and "mask" not in kinds:
        raise GuideError("VACE takes a source clip alone, or with a mask of what is made anew; with other guides it would not count.",
                         Remedy(action="leave_out", label="Begin from Nothing", value="source"))
    if "mask" in kinds and shot.source is None:
        raise GuideError("The mask says what is made anew; choose a source clip that stays as it is outside.",
                         Remedy(action="drop_guide", label="Drop Mask", value="mask"))


def given(shot: Shot) -> Given:
    """Hints and references; known frames and a mask are in a hint's own pictures."""
    from ..diffusers_line import vace_guides
    return Given(hints=len(vace_guides.counting(shot.guides)), pictures=len(shot.references))


def notes(shot: Shot) -> tuple[str, ...]:
    """What was shown as something else than it is."""
    from ..diffusers_line import vace_guides
    return vace_guides.notes(vace_guides.counting(shot.guides))


def load(folder: Path, device: Device) -> "Layout":
    """The weights of `folder` on `device`. Raises ModelError."""
    from ..diffusers_line import loading, wan_footage
    from ..diffusers_line.vace_transformer import Transformer
    allowed = {**loading.UMT5, "vae": ("AutoencoderKLWan",), "scheduler": loading.FLOW_SCHEDULERS, "transformer": ("WanVACETransformer3DModel",)}
    parts = loading.components(folder, allowed, wan_footage.dtypes(device), own={"WanVACETransformer3DModel": Transformer})
    return Layout(parts, loading.index(folder), folder, device, SPEC.native_area)


class Layout(Footage):
    """VACE as families.Model describes it."""

    def sample(self, window: Window) -> Iterator[Tensor]:
        """One clean latent (1, C, T, h, w) a step; reference frames, which lie before the clip while it is made, are left out."""
        from ..diffusers_line import vace_guides
        extra = len(window.references)
        scheduler = steps.fresh(self.parts["scheduler"], window.steps, self.place)
        controls = vace_guides.controls(window, self.autoencoder)
        latents = [control.latent.to(self.dtype) for control in controls]
        scales = [self._scale(control, latents[0].shape[3:]) for control in controls]
        for estimate in self.placed(steps.denoised(scheduler, self.noise(window, extra), self._velocity(window, latents, scales))):
            yield estimate[:, :, extra:]

    def _scale(self, control: vace_guides.Control, sides) -> Tensor:
        """(layers,) for one strength, (layers, 1, tokens, 1) for one that differs between latent frames."""
        import torch
        config = self.parts["transformer"].config
        layers, patch = len(config.vace_layers), config.patch_size
        if len(set(control.strengths)) == 1:
            return torch.full((layers,), control.strengths[0], device=self.place, dtype=self.dtype)
        each = (sides[0] // patch[1]) * (sides[1] // patch[2])
        tokens = torch.tensor(control.strengths).repeat_interleave(each)[None, None, :, None]
        return tokens.expand(layers, -1, -1, -1).to(self.place, self.dtype)

    def _velocity(self, window: Window, latents: list[Tensor], scales: list[Tensor]):
        transformer, texts = self.parts["transformer"], self.texts(window)
        draft = window.draft if window.draft and possible(window.draft, self.placing.plan) else None
        control, scale = (latents[0], scales[0]) if len(latents) == 1 and draft is None else (tuple(latents), tuple(scales))
        blocks = len(transformer.blocks) + len(latents) * len(transformer.vace_blocks)
        caches = defaultdict(lambda: draft and FirstBlock(draft, blocks))

        def velocity(latent: Tensor, timestep: Tensor) -> Tensor:
            def call(copies: int, text: Tensor, which: str) -> Tensor:
                each = (copies, -1, -1, -1, -1)
                shown = tuple(one.expand(each) for one in control) if isinstance(control, tuple) else control.expand(each)
                return transformer(hidden_states=latent.to(self.dtype).expand(each), timestep=timestep.expand(copies), encoder_hidden_states=text,
                                   control_hidden_states=shown, control_hidden_states_scale=scale, return_dict=False, cache=caches[which])[0]
            return steps.answered(call, texts, window.guidance, self.tokens(latent))
        return velocity
