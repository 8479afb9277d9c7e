"""SANA-WM: a picture and Blender's own camera, frame by frame: matrices and intrinsics as they are."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..diffusers_line import pictures
from ..diffusers_line.piped import Piped
from ..diffusers_line.stepping import Euler, stepped
from ..errors import GuideError, KeyframeError
from ..protocol import FamilySpec, FrameGrid, Shot, Size, SizeGrid

if TYPE_CHECKING:
    from torch import Tensor

    from ..device import Device
    from . import Window

SPEC = FamilySpec(
    name="sana_wm",
    label="SANA-WM",
    note="Flies the scene's camera through a first picture",
    licence="see the model's page",
    guides=("camera",),
    keyframes=True,
    frames=FrameGrid(stride=8, offset=1),
    sizes=SizeGrid(multiple=2, shortest=32, longest=4096),
    longest=1440,
    native_area=1280 * 704,
    steps=60,
    guidance=5.0,
    models=("sana-wm",),
    plans=True,
    window=161,
)
LENGTH = 300        # tokens


def check(shot: Shot, folder: Path) -> None:
    """A camera and a first frame, and no other keyframes. Raises GuideError, KeyframeError."""
    if "camera" not in {guide.kind for guide in shot.guides}:
        raise GuideError("SANA-WM follows a camera; switch on the camera guide.")
    frames = {keyframe.frame for keyframe in shot.keyframes}
    if frames != {0}:
        raise KeyframeError("SANA-WM begins from a picture: give it a keyframe at the first frame, and at no other.")


def made(folder: Path) -> Size:
    """The one size, near 16:9, that its models were trained at; smaller and larger shots are scaled from it. Raises ModelError."""
    from ..diffusers_line import loading
    tall = loading.configuration(folder, "transformer").get("image_size", 720)
    return Size(tall * 16 // 9, tall)


def load(folder: Path, device: Device) -> "Flight":
    """The weights of `folder` on `device`. Raises ModelError."""
    from diffusers import SanaWMPipeline

    from ..diffusers_line import loading, piped
    allowed = {"tokenizer": loading.GEMMA_TOKENIZERS, "text_encoder": ("Gemma2Model", "Gemma2ForCausalLM"), "vae": ("AutoencoderKLLTX2Video",),
               "transformer": ("SanaWMTransformer3DModel",), "scheduler": ("FlowMatchEulerDiscreteScheduler",)}
    parts = loading.components(folder, allowed, piped.on(device, ("text_encoder", "transformer", "vae")))
    side = parts["vae"].spatial_compression_ratio
    return Flight(SanaWMPipeline, parts, folder, device, SizeGrid(multiple=side, shortest=side, longest=4096), SPEC.native_area)


class Flight(Piped):
    """SANA-WM as families.Model describes it. Long shots go on from the last frame of the window before."""

    window = SPEC.window

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
        image = PIL.Image.fromarray((first.clip(0, 1) * 255 + 0.5).astype("uint8"))

        def run(callback):
            with torch.inference_mode():
                return self.pipe(image, window.text, c2w=window.cameras.c2w.astype("float32"), intrinsics=window.cameras.K.astype("float32"),
                                 height=window.size.height, width=window.size.width, num_frames=window.frames, num_inference_steps=window.steps,
                                 guidance_scale=window.guidance, negative_prompt=window.negative, generator=self.dice(window), fps=round(window.fps),
                                 output_type="latent", callback_on_step_end=callback, max_sequence_length=LENGTH).frames
        euler = Euler(self.pipe.scheduler)
        for found in stepped(run):
            yield euler.estimate(found[0], found[2]) if isinstance(found, tuple) else found

    def encode_still(self, picture: Tensor) -> Tensor:
        return self.pipe._encode_first_frame(picture[:, :, 0], self.place, self.parts["transformer"].dtype)

    def decode(self, latent: Tensor, window: Window | None = None) -> Iterator[Tensor]:
        import torch
        with torch.inference_mode():
            video = self.pipe._decode_latents(latent)
        yield from self.chunks(video)
