"""CogVideoX-Fun Control: one layout guide, depth or edges. A third opinion on what a layout should become."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..diffusers_line import pictures
from ..diffusers_line.drafts import THRESHOLD, drafting
from ..diffusers_line.piped import Piped
from ..diffusers_line.stepping import stepped
from ..errors import GuideError, Remedy
from ..protocol import FamilySpec, FrameGrid, Shot, SizeGrid

if TYPE_CHECKING:
    from torch import Tensor

    from ..device import Device
    from . import Window

SPEC = FamilySpec(
    name="cogvideox",
    label="CogVideoX-Fun Control",
    note="Follows one layout guide, depth or edges, for up to 49 frames",
    licence="CogVideoX licence",
    guides=("depth", "edges"),
    frames=FrameGrid(stride=4, offset=1),
    sizes=SizeGrid(multiple=2, shortest=32, longest=4096),
    longest=49,
    native_area=720 * 480,
    steps=50,
    guidance=6.0,
    models=("cogvideox-fun-5b-control", "cogvideox-fun-5b-pose"),
    plans=True,
    window=49,
    drafts=THRESHOLD,
)
LENGTH = 226        # tokens


def check(shot: Shot, folder: Path) -> None:
    """Exactly one guide. Raises GuideError."""
    kinds = [guide.kind for guide in shot.guides if guide.kind != "camera"]
    if len(kinds) > 1:
        raise GuideError("CogVideoX-Fun follows one guide at a time; choose depth or edges.",
                         Remedy(action="drop_guide", label=f"Drop {kinds[1].title()}", value=kinds[1]))
    if not kinds:
        raise GuideError("CogVideoX-Fun follows a layout; switch on the depth or the edges guide.")


def load(folder: Path, device: Device) -> "Control":
    """The weights of `folder` on `device`. Raises ModelError."""
    from diffusers import CogVideoXFunControlPipeline

    from ..diffusers_line import loading, piped
    allowed = {"tokenizer": loading.UMT5["tokenizer"], "text_encoder": ("T5EncoderModel",), "vae": ("AutoencoderKLCogVideoX",),
               "transformer": ("CogVideoXTransformer3DModel",), "scheduler": ("DDIMScheduler", "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")}
    parts = loading.components(folder, allowed, piped.on(device, ("text_encoder", "transformer", "vae")))
    side = 2 ** (len(parts["vae"].config.block_out_channels) - 1) * parts["transformer"].config.patch_size
    return Control(CogVideoXFunControlPipeline, parts, folder, device, SizeGrid(multiple=side, shortest=side, longest=4096), SPEC.native_area)


class Control(Piped):
    """CogVideoX-Fun as families.Model describes it. Its latents are (1, C, T, h, w) here, frames before channels inside."""

    window = SPEC.window

    def text(self, prompt: str) -> Tensor:
        import torch
        with torch.inference_mode():
            return self.pipe._get_t5_prompt_embeds(prompt, max_sequence_length=self._length())

    def _length(self) -> int:
        return min(LENGTH, self.parts["transformer"].config.max_text_seq_length)

    def sample(self, window: Window) -> Iterator[Tensor]:
        kind, guide = next(iter(window.guides.items()))
        shown = pictures.video(1 - guide if kind == "edges" else guide) * window.strengths.get(kind, 1.0)
        control = (shown[0].transpose(0, 1) + 1) / 2

        def run(callback):
            return self.pipe(control_video=control[None], height=window.size.height, width=window.size.width, num_inference_steps=window.steps,
                             guidance_scale=window.guidance, prompt_embeds=window.text, negative_prompt_embeds=window.negative,
                             generator=self.dice(window), output_type="latent", callback_on_step_end=callback,
                             max_sequence_length=self._length()).frames
        with drafting(window.draft, [self.parts["transformer"]], self.placing.plan):
            for found in stepped(run):
                yield (found[2] if isinstance(found, tuple) else found).transpose(1, 2)

    def encode_still(self, picture: Tensor) -> Tensor:
        vae = self.parts["vae"]
        return vae.encode(picture.to(self.place, vae.dtype)).latent_dist.mode() * vae.config.scaling_factor

    def decode(self, latent: Tensor, window: Window | None = None) -> Iterator[Tensor]:
        """Two latent frames at a time, as diffusers' `AutoencoderKLCogVideoX._decode` does before it joins them."""
        import torch
        vae, cache = self.parts["vae"], None
        each, count = vae.num_latent_frames_batch_size, latent.shape[2]
        odd = count % each
        with self.placing.using("vae"):
            latent = latent.to(self.place, vae.dtype) / vae.config.scaling_factor
            for index in range(max(count // each, 1)):
                with torch.inference_mode():
                    part = latent[:, :, each * index + (0 if index == 0 else odd):each * (index + 1) + odd]
                    part = part if vae.post_quant_conv is None else vae.post_quant_conv(part)
                    out, cache = vae.decoder(part, conv_cache=cache)
                    chunk = pictures.frames(out)
                yield chunk
