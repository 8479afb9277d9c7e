"""SkyReels-V2 by diffusion forcing: long clips by text, or from a first and a last frame."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..diffusers_line.stepping import stepped
from ..diffusers_line.wan_footage import Footage
from ..errors import KeyframeError
from ..protocol import FamilySpec, FrameGrid, Shot, SizeGrid

if TYPE_CHECKING:
    from torch import Tensor

    from ..device import Device
    from . import Window

SPEC = FamilySpec(
    name="skyreels",
    label="SkyReels-V2",
    note="Long clips by text, or from a first and a last frame",
    licence="Skywork licence",
    keyframes=True,
    frames=FrameGrid(stride=4, offset=1),
    sizes=SizeGrid(multiple=2, shortest=32, longest=4096),
    longest=1457,
    native_fps=24.0,
    native_area=960 * 544,
    steps=30,
    guidance=6.0,
    models=("skyreels-v2-df-1.3b-540p", "skyreels-v2-df-14b-540p", "skyreels-v2-df-14b-720p"),
    loras=True,
    plans=True,
    window=1457,
)
TOGETHER, SHARED = 97, 17   # frames of one stretch, and those it shares with the one before, inside the model


def check(shot: Shot, folder: Path) -> None:
    """Keyframes at the ends only. Raises KeyframeError."""
    frames = {keyframe.frame for keyframe in shot.keyframes}
    odd = sorted(frames - {0, shot.frames - 1})
    if odd:
        raise KeyframeError(f"SkyReels takes keyframes at the first and the last frame, not at frame {odd[0]}.")
    if frames and 0 not in frames:
        raise KeyframeError("SkyReels takes a keyframe at the last frame only together with one at the first.")


def load(folder: Path, device: Device) -> "Reel":
    """The weights of `folder` on `device`. Raises ModelError."""
    from ..diffusers_line import loading, wan_footage
    allowed = {**loading.UMT5, "vae": ("AutoencoderKLWan",), "scheduler": loading.FLOW_SCHEDULERS, "transformer": ("SkyReelsV2Transformer3DModel",)}
    parts = loading.components(folder, allowed, wan_footage.dtypes(device))
    return Reel(parts, loading.index(folder), folder, device, 1280 * 720 if "720p" in folder.name.lower() else SPEC.native_area)


class Reel(Footage):
    """SkyReels as families.Model describes it. A whole shot is one window: the model itself goes from stretch to stretch."""

    window, overlap = SPEC.window, 17

    def __init__(self, parts: dict[str, Any], index: dict[str, Any], folder: Path, place: Device, most: int):
        from diffusers import SkyReelsV2DiffusionForcingImageToVideoPipeline, SkyReelsV2DiffusionForcingPipeline
        super().__init__(parts, index, folder, place, most)
        self._by_text, self._by_picture = SkyReelsV2DiffusionForcingPipeline(**parts), SkyReelsV2DiffusionForcingImageToVideoPipeline(**parts)
        for pipe in (self._by_text, self._by_picture):
            pipe.set_progress_bar_config(disable=True)

    def placed_by(self, parts: dict[str, Any], place):
        from ..diffusers_line.turns import Turns
        return Turns(parts, place)

    def sample(self, window: Window) -> Iterator[Tensor]:
        import torch
        text, negative = self.texts(window)
        asked = {"prompt_embeds": text, "negative_prompt_embeds": negative, "height": window.size.height, "width": window.size.width,
                 "num_frames": window.frames, "num_inference_steps": window.steps, "guidance_scale": window.guidance,
                 "generator": torch.Generator("cpu").manual_seed(window.seed), "output_type": "latent", "fps": round(window.fps),
                 "base_num_frames": TOGETHER, "overlap_history": SHARED if window.frames > TOGETHER else None}
        pipe = self._by_picture if window.stills else self._by_text
        asked |= {"prompt": None} | self._pictures(window)

        def run(callback):
            return pipe(**asked, callback_on_step_end=callback).frames
        for found in self.placed(stepped(run)):
            yield found[2].clone() if isinstance(found, tuple) else found

    def _pictures(self, window: Window) -> dict[str, Tensor]:
        """The keyframes as the pipeline takes them: (1, 3, h, w), 0..1."""
        import torch
        stills = {frame: torch.from_numpy(still).permute(2, 0, 1)[None] for frame, still in sorted(window.stills.items())}
        found = {"image": stills[0]} if stills else {}
        return found | {"last_image": stills[max(stills)]} if len(stills) > 1 else found
