"""SANA-WM at work, through diffusers' own pipeline: Blender's camera matrices and intrinsics as they are."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..families.sana_wm import SPEC
from ..protocol import Size
from . import pictures, prompts
from .chained import chained
from .piped import Piped
from .remembered import Embeddings
from .resting import resting
from .stepping import Euler, stepped

if TYPE_CHECKING:
    from torch import Tensor

    from ..families import Window

LENGTH = 300        # tokens


class Flight(Piped):
    """SANA-WM as families.Model describes it. Long shots go on from the last frame of the window before."""

    window = SPEC.window

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        encoder = f"{prompts.identity(self.folder)}/{self.parts['text_encoder'].dtype}/{LENGTH}"
        self._prompts, self._negatives = Embeddings(f"{encoder}/led"), Embeddings(encoder)      # the pipeline's own words lead a prompt alone

    def native(self, size: Size) -> Size:
        """Near the one size that it was trained at, whatever the shot's: smaller pictures are made large and scaled down."""
        wide, tall = self.parts["transformer"].config.image_size * 16 // 9, self.parts["transformer"].config.image_size
        return Size(max(wide // self._grid.multiple, 1) * self._grid.multiple, max(tall // self._grid.multiple, 1) * self._grid.multiple)

    def sample(self, window: Window) -> Iterator[Tensor]:
        import PIL.Image
        import torch
        if window.tail is not None:
            first = window.tail[-1].permute(1, 2, 0).float().cpu().numpy()
        else:
            first = window.stills[0]
        self._tuning.ask(window, self.placing.plan, 0)      # its attention is PyTorch's own, whichever kernel is asked for
        image = PIL.Image.fromarray((first.clip(0, 1) * 255 + 0.5).astype("uint8"))
        text, negative = window.text, window.negative
        said, mask = self._said(text.text, self._prompts, self._led)
        refused, refused_mask = self._said(negative.text, self._negatives, self._alone)

        def run(callback):
            with torch.inference_mode():
                return self.pipe(image, "", prompt_embeds=said, prompt_attention_mask=mask, negative_prompt_embeds=refused,
                                 negative_prompt_attention_mask=refused_mask, c2w=window.cameras.c2w.astype("float32"), intrinsics=window.cameras.K.astype("float32"),
                                 height=window.size.height, width=window.size.width, num_frames=window.frames, num_inference_steps=window.steps,
                                 guidance_scale=window.guidance, generator=self.dice(window), fps=round(window.fps),
                                 output_type="latent", callback_on_step_end=callback, max_sequence_length=LENGTH).frames
        euler = Euler(self.pipe.scheduler)
        transformer = self.parts["transformer"]
        levelled = transformer.attention_y_norm if transformer.config.y_norm else transformer.y_embedder
        with (resting(window, transformer), chained(window.draft, transformer, "blocks", self.placing.plan),
              prompts.weighing(levelled, self._weigh(text, negative))):
            for found in stepped(run):
                yield euler.estimate(found[0], found[2]) if isinstance(found, tuple) else found

    def text(self, prompt: str) -> prompts.Weighted:
        """What it weighs; it is encoded when it is known whether it is what is wanted or what is not."""
        return prompts.plainly(prompt)

    def _said(self, words: str, kept: Embeddings, encode) -> tuple[Tensor, Tensor]:
        """What the encoder says of the words (1, 1, tokens, C) and the attention mask (1, tokens), which lies behind it where they are kept on disk."""
        both = kept.embedding(words, encode).to(self.place)
        return both[..., :-1], both[:, 0, :, -1].long()

    def _led(self, prompt: str) -> Tensor:
        from diffusers.pipelines.sana_wm.pipeline_sana_wm import DEFAULT_CHI_PROMPT
        return self._encoded(0, prompt=prompt, chi_prompt=DEFAULT_CHI_PROMPT, **dict.fromkeys(("negative_prompt_embeds", "negative_prompt_attention_mask"), ()))

    def _alone(self, negative: str) -> Tensor:
        return self._encoded(2, prompt="", negative_prompt=negative, **dict.fromkeys(("prompt_embeds", "prompt_attention_mask"), ()))

    def _encoded(self, which: int, **asked) -> Tensor:
        """One of the two texts, by the pipeline, which asks the encoder for those that it is not given: () stands for the other one."""
        import torch
        with torch.inference_mode():
            found = self.pipe.encode_prompt(**asked, device=self.place, max_sequence_length=LENGTH)
            said, mask = found[which], found[which + 1]
            return torch.cat([said, mask[:, None, :, None].to(said)], -1)

    def _weigh(self, text: prompts.Weighted, negative: prompts.Weighted):
        """What scales the texts as the transformer attends to them, (B, 1, tokens, C), after it has levelled them; None without weights.

        A batch of two has the negative one first. The pipeline puts its own words before the prompt, and takes the first token and the last.
        """
        import torch
        from diffusers.pipelines.sana_wm.pipeline_sana_wm import DEFAULT_CHI_PROMPT
        if all(weight == 1 for _, _, weight in (*text.parts, *negative.parts)):
            return None
        tokenizer, before = self.parts["tokenizer"], "\n".join(DEFAULT_CHI_PROMPT)
        length = len(tokenizer.encode(before)) + LENGTH - 2
        own = prompts.scales(tokenizer, text.after(before), length, "right")
        own = torch.cat([own[:, :1], own[:, 1 - LENGTH:]], 1)
        both = torch.stack([prompts.scales(tokenizer, negative, LENGTH, "right"), own])
        return lambda said: said * both[-len(said):].to(said)

    def encode_still(self, picture: Tensor) -> Tensor:
        return self.pipe._encode_first_frame(picture[:, :, 0], self.place, self.parts["transformer"].dtype)

    def decode(self, latent: Tensor, window: Window | None = None) -> Iterator[Tensor]:
        """From unit scale, as the pipeline's own `_decode_latents` does it."""
        from . import ltx2_stream
        vae = self.parts["vae"]
        with self.placing.using("vae"):
            latent = latent.to(self.place, vae.dtype)
            mean, deviation = (one.view(1, -1, 1, 1, 1).to(latent) for one in (vae.latents_mean, vae.latents_std))
            for chunk in ltx2_stream.decoded(vae, latent / vae.config.scaling_factor * deviation + mean):
                yield pictures.frames(chunk)
