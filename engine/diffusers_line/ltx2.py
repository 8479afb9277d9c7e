"""LTX-2 at work, through diffusers' own pipeline: conditions at any frame, a control clip, and the sound it makes beside the pictures."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..families.ltx2 import SPEC
from . import pictures
from .piped import Piped
from .stepping import Euler, stepped

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..families import Window

LENGTH = 1024       # tokens


class Sound(Piped):
    """LTX-2 as families.Model describes it. Long shots go on from the last frames of the window before."""

    window, overlap = SPEC.window, 9

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self._audio: list[Tensor] = []

    def text(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Embedding and attention mask."""
        import torch
        with torch.inference_mode():
            return self.pipe._get_gemma_prompt_embeds(prompt, max_sequence_length=self._length(), device=self.place)

    def _length(self) -> int:
        """LTX-2's connectors take whole multiples of their registers; the tokenizer's own length is the most."""
        return min(LENGTH, self.parts["tokenizer"].model_max_length)

    def sample(self, window: Window) -> Iterator[Tensor]:
        asked = self._asked(window)
        if window.tail is None:
            self._audio.clear()         # a new shot begins

        def run(callback):
            return self.pipe(**asked, callback_on_step_end=callback)
        euler, shape = Euler(self.pipe.scheduler), self._latent_shape(window)
        for found in stepped(run):
            if isinstance(found, tuple):
                packed = euler.estimate(found[0], found[2])
                yield self._unpacked(packed, shape)
            else:
                self._audio.append(found.audio.cpu())
                yield found.frames

    def _asked(self, window: Window) -> dict[str, Any]:
        """The pipeline's arguments. Guidance without the extra passes of STG and of separate modalities, as for the distilled model."""
        text, negative = window.text, window.negative
        return {"prompt": None, "prompt_embeds": text[0], "prompt_attention_mask": text[1], "negative_prompt_embeds": negative[0],
                "negative_prompt_attention_mask": negative[1], "conditions": self._conditions(window) or None,
                "reference_conditions": self._controls(window) or None, "height": window.size.height, "width": window.size.width,
                "num_frames": window.frames, "frame_rate": window.fps, "num_inference_steps": window.steps, "guidance_scale": window.guidance,
                "audio_guidance_scale": window.guidance, "stg_scale": 0.0, "audio_stg_scale": 0.0, "modality_scale": 1.0, "audio_modality_scale": 1.0,
                "spatio_temporal_guidance_blocks": None, "generator": self.dice(window), "output_type": "latent"}

    def _conditions(self, window: Window) -> list:
        """Pictures at their latent frames, and the window before at the beginning; the pipeline counts colours to 255.

        Single pictures go through the compression that the model was trained with, which is the pipeline's default.
        """
        from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
        stride = self.pipe.vae_temporal_compression_ratio
        found = [LTX2VideoCondition(frames=(still * 255 + 0.5).astype("uint8")[None], index=-(-frame // stride))
                 for frame, still in sorted(window.stills.items())]
        if window.tail is not None:
            found.insert(0, LTX2VideoCondition(frames=window.tail.float() * 255, index=0))
        return found

    def _controls(self, window: Window) -> list:
        """The guide as a reference clip for the IC-LoRA that is worn."""
        import torch
        from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition
        return [LTX2ReferenceCondition(frames=torch.from_numpy(guide).expand(*guide.shape[:3], 3).permute(0, 3, 1, 2),
                                       strength=window.strengths.get(kind, 1.0)) for kind, guide in window.guides.items()]

    def _latent_shape(self, window: Window) -> tuple[int, int, int]:
        time, side = self.pipe.vae_temporal_compression_ratio, self.pipe.vae_spatial_compression_ratio
        return (window.frames - 1) // time + 1, window.size.height // side, window.size.width // side

    def _unpacked(self, packed: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """(1, tokens, C) -> (1, C, T, h, w) as the pipeline returns it; conditions that were appended are left out."""
        pipe, vae = self.pipe, self.parts["vae"]
        count = shape[0] * shape[1] * shape[2]
        latent = pipe._unpack_latents(packed[:, :count], *shape, pipe.transformer_spatial_patch_size, pipe.transformer_temporal_patch_size)
        return pipe._denormalize_latents(latent, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)

    def sound(self, fps: float, frames: int) -> tuple[np.ndarray, int]:
        """What the shot that was sampled last sounds like: float32 (channels, samples), -1..1, and samples a second.

        Each window's sound is its own; where windows share frames, that of the earlier one is heard. Its latents come in steps of
        some hundredths of a second, so the end is cut, or is silent, to be as long as the frames.
        """
        import numpy as np
        import torch
        vae, vocoder = self.parts["audio_vae"], self.parts["vocoder"]
        rate, made = vocoder.config.output_sampling_rate, []
        for index, latent in enumerate(self._audio):
            with torch.inference_mode():
                wave = vocoder(vae.decode(latent.to(self.place, vae.dtype), return_dict=False)[0])[0].float().cpu().numpy()
            made.append(wave[:, round(self.overlap / fps * rate) if index else 0:])
        joined, length = np.concatenate(made, 1), round(frames / fps * rate)
        return np.pad(joined[:, :length], ((0, 0), (0, max(0, length - joined.shape[1])))).clip(-1, 1), rate

    def encode_still(self, picture: Tensor) -> Tensor:
        vae = self.parts["vae"]
        return vae.encode(picture.to(self.place, vae.dtype)).latent_dist.mode()

    def decode(self, latent: Tensor, window: Window | None = None) -> Iterator[Tensor]:
        import torch
        vae = self.parts["vae"]
        with torch.inference_mode():
            quiet = torch.zeros(1, device=self.place, dtype=vae.dtype) if vae.config.timestep_conditioning else None
            video = vae.decode(latent.to(vae.dtype), quiet, return_dict=False)[0]
        yield from self.chunks(video)
