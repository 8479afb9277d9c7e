"""LTX-2 at work, through diffusers' own pipeline: conditions at any frame, control clips, a second stage, and the sound beside the pictures."""
from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import light
from ..families import ltx2
from ..models import admission
from ..protocol import Size, SizeGrid
from ..sampling.draft import Draft
from . import pictures, prompts
from .chained import chained
from .loras import Wardrobe
from .piped import Piped
from .remembered import Embeddings
from .resting import resting
from .stepping import Euler, stepped

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..families import Window

LENGTH = 1024       # tokens
Spoken = tuple["Tensor", "Tensor | None"]       # what every layer of the encoder says of a prompt's own tokens, (1, n, C); their weights, (1, n, 1)
STREAMS = ("hidden_states", "audio_hidden_states")      # of a block: pictures and sound


class Sound(Piped):
    """LTX-2 as families.Model describes it. Long shots go on from the last frames of the window before.

    Two stages are those of Lightricks' own pipelines: sampled at half the size, the latent made twice as large by a network of its own,
    noised again to where the distilled schedule has three steps left, and refined by those without guidance.
    """

    window, overlap, beside = ltx2.SPEC.window, 9, (ltx2.UPSAMPLER,)

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self._wardrobe = Wardrobe([self.parts["transformer"]], self.parts["connectors"])
        self._texts = Embeddings(f"{prompts.identity(self.folder)}/{self.parts['text_encoder'].dtype}/{self._length()}")
        self._audio: list[Tensor] = []
        self._tiny = None           # what previews are drawn by; () where that is a linear map
        self._worn, self._later, self._shrink, self._bright = [], [], 1, False

    # ------------------------------------------------------------ what a shot sets up
    def wear(self, loras, later=()) -> tuple[str, ...]:
        self._worn, self._later = list(loras), list(later)
        said = [admission.header(path)[1] for path, _ in self._worn]
        self._shrink, self._bright = ltx2.shrink(said), any(map(ltx2.bright, said))
        return self._wardrobe.wear(self._worn, self._later)

    def native(self, size: Size) -> Size:
        return pictures.native(size, self._on(self._shrink), self._most)

    def doubled(self, size: Size) -> Size:
        """What two stages make: both sides are halved for the first one, which is no larger than a shot of one stage."""
        return pictures.native(size, self._on(2 * self._shrink), 4 * self._most)

    def _on(self, times: int) -> SizeGrid:
        """The grid of sizes that can be divided by `times` and still be drawn."""
        side = self._grid.multiple * times
        return SizeGrid(multiple=side, shortest=side, longest=self._grid.longest)

    def text(self, prompt: str) -> Spoken:
        """On the CPU. What the encoder says is kept on disk, without weights, which take no time to find."""
        asked = prompts.plainly(prompt)
        said = self._texts.embedding(asked.text, self._encoded)
        if all(weight == 1 for _, _, weight in asked.parts):
            return said, None
        return said, prompts.scales(self.parts["tokenizer"], asked, self._length(), "left")[:, -said.shape[1]:]

    def _encoded(self, prompt: str) -> Tensor:
        """Without the padding before it, which is most of it: the whole would be some 400 MB."""
        import torch
        with torch.inference_mode():
            made, mask = self.pipe._get_gemma_prompt_embeds(prompt, max_sequence_length=self._length(), device=self.place)
            return made[:, mask[0].bool()].cpu()

    def _padded(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding and attention mask as the pipeline takes them; what stands at the padding's places, the connectors put aside."""
        import torch
        before = self._length() - text.shape[1]
        mask = torch.ones((1, text.shape[1]), dtype=torch.int64, device=self.place)
        pad = torch.nn.functional.pad
        return pad(text.to(self.place), (0, 0, before, 0)), pad(mask, (before, 0))

    def _weigh(self, window: Window, guided: bool):
        """What scales the connectors' output for pictures and for sound, by the weights of the window's texts; None where they have none.

        The connectors level what comes in, and level it again at their end: only after them does a weight count for its own words alone.
        They bring the prompt's tokens to the front where registers follow these, and otherwise leave them behind the padding.
        """
        import torch
        weights = [weight for _, weight in ((window.negative, window.text) if guided else (window.text,))]
        if all(weight is None for weight in weights):
            return None
        pads = [(self._length() - weight.shape[1] if weight is not None else 0) for weight in weights]

        def scaled(said: Tensor, registers: bool) -> Tensor:
            rows = [torch.ones(1, self._length(), 1) if weight is None else
                    torch.nn.functional.pad(weight, (0, 0, 0, pad) if registers else (0, 0, pad, 0), value=1.0) for weight, pad in zip(weights, pads)]
            return said * torch.cat(rows).to(said)

        def weigh(said: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            connectors = self.parts["connectors"]
            both = (connectors.video_connector, connectors.audio_connector)
            return *(scaled(one, part.learnable_registers is not None) for one, part in zip(said, both)), said[2]
        return weigh

    def _length(self) -> int:
        """LTX-2's connectors take whole multiples of their registers; the tokenizer's own length is the most."""
        return min(LENGTH, self.parts["tokenizer"].model_max_length)

    def attending(self) -> list[Any]:
        """The pictures' self-attention, which takes nearly all of the time; the text comes with a mask, which most kernels do not take."""
        return [block.attn1 for block in self.parts["transformer"].transformer_blocks]

    # ------------------------------------------------------------ sampling
    def sample(self, window: Window) -> Iterator[Tensor]:
        if window.index == 0:
            self._audio.clear()         # a new shot begins
        first = dataclasses.replace(window, size=Size(window.size.width // 2, window.size.height // 2)) if window.two_stages else window
        asked, heard, latent = self._asked(first), [], None
        transformer = self.parts["transformer"]
        with resting(window, transformer), chained(window.draft, transformer, "transformer_blocks", self.placing.plan, STREAMS):
            for latent in self._stage(first, asked, heard):
                yield latent
        if window.two_stages:
            yield from self._second(window, self._again(window, asked, latent, heard.pop()), heard)
        self._audio += heard

    def _second(self, window: Window, asked: dict[str, Any], heard: list[Tensor]) -> Iterator[Tensor]:
        """The second stage, whose few steps all change much: a draft counts them, and skips nothing."""
        with self._refining():
            yield from self._stage(window, asked, heard)
        if isinstance(window.draft, Draft) and not window.draft.hindrance:
            window.draft.count(len(self.parts["transformer"].transformer_blocks) * len(asked["sigmas"]), 0)

    def _stage(self, window: Window, asked: dict[str, Any], heard: list[Tensor]) -> Iterator[Tensor]:
        """One run of the pipeline: estimates of the clean latent, the last one the result. Its sound's latent is added to `heard`."""
        self._tuning.ask(window, self.placing.plan, math.prod(self._latent_shape(window)))
        with self._scheduled(asked), prompts.weighing(self.parts["connectors"], self._weigh(window, asked["guidance_scale"] > 1)):
            def run(callback):
                return self.pipe(**asked, callback_on_step_end=callback)
            euler, shape = Euler(self.pipe.scheduler), self._latent_shape(window)
            for found in stepped(run):
                if isinstance(found, tuple):
                    packed = euler.estimate(found[0], found[2])
                    yield self._unpacked(packed, shape)
                else:
                    heard.append(found.audio.cpu())
                    yield found.frames

    def _asked(self, window: Window) -> dict[str, Any]:
        """The pipeline's arguments. Guidance without the extra passes of STG and of separate modalities, as for the distilled model.

        Eight steps without guidance are what distilled weights were taught, at noise levels of their own.
        """
        from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
        text, negative = self._padded(window.text[0]), self._padded(window.negative[0])
        distilled = window.guidance <= 1 and window.steps == len(DISTILLED_SIGMA_VALUES)
        return {"prompt": None, "prompt_embeds": text[0], "prompt_attention_mask": text[1], "negative_prompt_embeds": negative[0],
                "negative_prompt_attention_mask": negative[1], "conditions": self._conditions(window) or None,
                "reference_conditions": self._controls(window) or None, "reference_downscale_factor": self._shrink,
                "height": window.size.height, "width": window.size.width, "sigmas": list(DISTILLED_SIGMA_VALUES) if distilled else None,
                "num_frames": window.frames, "frame_rate": window.fps, "num_inference_steps": window.steps, "guidance_scale": window.guidance,
                "audio_guidance_scale": window.guidance, "stg_scale": 0.0, "audio_stg_scale": 0.0, "modality_scale": 1.0, "audio_modality_scale": 1.0,
                "spatio_temporal_guidance_blocks": None, "generator": self.dice(window), "output_type": "latent"}

    def _again(self, window: Window, first: dict[str, Any], latent: Tensor, sound: Tensor) -> dict[str, Any]:
        """The arguments of the second stage. The picture is laid out by now: guides count only where they are what the light comes from."""
        import torch
        from diffusers.pipelines.ltx2.utils import STAGE_2_DISTILLED_SIGMA_VALUES as sigmas
        with torch.inference_mode():
            upsampler = self.parts[ltx2.UPSAMPLER]
            larger = upsampler(latent.to(upsampler.dtype)).float()
        lit = ltx2.lit(list(window.guides)) if self._bright else []
        controls = self._controls(dataclasses.replace(window, guides={kind: window.guides[kind] for kind in lit}))
        return {**first, "conditions": self._conditions(window) or None, "reference_conditions": controls or None,
                "height": window.size.height, "width": window.size.width, "latents": larger, "audio_latents": sound.to(self.place),
                "sigmas": list(sigmas), "noise_scale": sigmas[0], "num_inference_steps": len(sigmas),
                "guidance_scale": 1.0, "audio_guidance_scale": 1.0}

    @contextlib.contextmanager
    def _refining(self) -> Iterator[None]:
        """The second stage's LoRAs instead of the first one's."""
        self._wardrobe.change(self._later)
        try:
            yield
        finally:
            self._wardrobe.change(self._worn)

    @contextlib.contextmanager
    def _scheduled(self, asked: dict[str, Any]) -> Iterator[None]:
        """Noise levels that are asked for are taken as they are, not shifted by how large the picture is."""
        own = self.pipe.scheduler
        if asked["sigmas"] is not None:
            self.pipe.scheduler = type(own).from_config(own.config, use_dynamic_shifting=False, shift_terminal=None)
        try:
            yield
        finally:
            self.pipe.scheduler = own

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
        """The guides as reference clips for the IC-LoRAs that are worn, as small as those were taught to see them.

        A reference that counts for nothing is left out: the pipeline would make it a clip of noise that is attended to all the same.
        """
        import torch
        from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition
        side, found = (window.size.height // self._shrink, window.size.width // self._shrink), []
        for kind, guide in window.guides.items():
            strength = window.strengths.get(kind, 1.0)
            if strength == 0:
                continue
            clip = torch.from_numpy(guide).expand(*guide.shape[:3], 3).permute(0, 3, 1, 2)
            clip = torch.nn.functional.interpolate(clip, side, mode="area")         # the pipeline itself would take every other pixel
            found.append(LTX2ReferenceCondition(frames=clip, strength=strength))
        return found

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

    # ------------------------------------------------------------ pictures
    def encode_still(self, picture: Tensor) -> Tensor:
        vae = self.parts["vae"]
        return vae.encode(picture.to(self.place, vae.dtype)).latent_dist.mode()

    def glimpse(self, latent: Tensor, window: Window) -> np.ndarray:
        if self._tiny is None:
            self._tiny = self._decoder() or ()
        seen = self._tiny.shown(self._normal(latent)) if self._tiny else super().glimpse(latent, window)
        return light.shown(light.of_logc3(seen)).astype("float32") if self._bright else seen

    def _decoder(self):
        """TAEHV's network for these latents, which are others from LTX-2.3 on, whose sound goes through a second network."""
        from . import tiny_decoder
        later = type(self.parts["vocoder"]).__name__ == "LTX2VocoderWithBWE"
        return tiny_decoder.found(128, self.place, name=f"{'taeltx2_3' if later else 'taeltx_2'}.safetensors")

    def _normal(self, latent: Tensor) -> Tensor:
        """Of unit scale, as the transformer has it."""
        vae = self.parts["vae"]
        return self.pipe._normalize_latents(latent, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)

    def decode(self, latent: Tensor, window: Window | None = None) -> Iterator[Tensor]:
        """High dynamic range in full precision: its curve makes steps of 16 bits seen."""
        from . import ltx2_stream
        vae = self.parts["vae"]
        with self.placing.using("vae"), self._precisely(vae):
            for chunk in ltx2_stream.decoded(vae, latent.to(self.place, vae.dtype)):
                yield pictures.frames(chunk)

    @contextlib.contextmanager
    def _precisely(self, vae) -> Iterator[None]:
        """The autoencoder in full precision meanwhile, where light is coded so that it matters."""
        import torch
        before = vae.dtype
        if not self._bright or before == torch.float32:
            yield
            return
        vae.to(torch.float32)
        try:
            yield
        finally:
            vae.to(before)
