"""CogVideoX-Fun at work, through diffusers' own pipeline: one layout clip beside the noise."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..families.cogvideox import SPEC
from . import pictures, prompts
from .drafts import drafting
from .piped import Piped
from .remembered import Embeddings
from .resting import resting
from .stepping import stepped

if TYPE_CHECKING:
    from torch import Tensor

    from ..families import Window

LENGTH = 226        # tokens


class Control(Piped):
    """CogVideoX-Fun as families.Model describes it. Its latents are (1, C, T, h, w) here, frames before channels inside."""

    window, kinds = SPEC.window, ("CogVideoXBlock",)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._texts = Embeddings(f"{prompts.identity(self.folder)}/{self.parts['text_encoder'].dtype}/{self._length()}")

    def text(self, prompt: str) -> Tensor:
        """What the encoder says is kept on disk, without weights, which take no time to find."""
        import torch
        asked = prompts.plainly(prompt)
        said = self._texts.embedding(asked.text, self._encoded)
        with torch.inference_mode():
            made = said.to(self.place)
            return made * prompts.scales(self.parts["tokenizer"], asked, self._length()).to(made) if asked.parts else made

    def _encoded(self, prompt: str) -> Tensor:
        import torch
        with torch.inference_mode():
            return self.pipe._get_t5_prompt_embeds(prompt, max_sequence_length=self._length())

    def _length(self) -> int:
        return min(LENGTH, self.parts["transformer"].config.max_text_seq_length)

    def sample(self, window: Window) -> Iterator[Tensor]:
        kind, guide = next(iter(window.guides.items()))
        shown = pictures.video(1 - guide if kind == "edges" else guide) * window.strengths.get(kind, 1.0)
        control = (shown[0].transpose(0, 1) + 1) / 2

        self._tuning.ask(window, self.placing.plan, 0)      # its attention is PyTorch's own, whichever kernel is asked for

        def run(callback):
            return self.pipe(control_video=control[None], height=window.size.height, width=window.size.width, num_inference_steps=window.steps,
                             guidance_scale=window.guidance, prompt_embeds=window.text, negative_prompt_embeds=window.negative,
                             generator=self.dice(window), output_type="latent", callback_on_step_end=callback,
                             max_sequence_length=self._length()).frames
        transformer = self.parts["transformer"]
        with drafting(window.draft, {"transformer": transformer}, window.steps, plan=self.placing.plan), resting(window, transformer):
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
