"""CogVideoX-Fun Control: one layout guide, depth or edges. A third opinion on what a layout should become."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GuideError, Remedy
from ..models import catalogue
from ..protocol import FamilySpec, FrameGrid, Shot, SizeGrid
from ..ways_out import with_guide

if TYPE_CHECKING:
    import numpy as np

    from ..device import Device
    from ..diffusers_line.cogvideox import Control
    from ..footprint import Given

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
    # https://github.com/aigc-apps/VideoX-Fun/blob/28e60b11823d6902a3cc2022f48dd47c1203b62b/examples/cogvideox_fun/predict_v2v_control.py
    steps=50,
    guidance=6.0,
    models=("cogvideox-fun-5b-control",),
    weights=catalogue.weights("cogvideox"),
    loras=True,
    plans=True,
    window=49,
    drafts=0.1,             # as the cache's author has it; not measured on real weights yet
    magnitudes=0.06,        # as diffusers has it; not measured on real weights yet
    compiles=True,
    limits=True,
)


def check(shot: Shot, folder: Path) -> None:
    """Exactly one guide. Raises GuideError."""
    kinds = [guide.kind for guide in shot.guides if guide.kind != "camera"]
    if len(kinds) > 1:
        raise GuideError("CogVideoX-Fun follows one guide at a time; choose depth or edges.",
                         Remedy(action="drop_guide", label=f"Drop {kinds[1].title()}", value=kinds[1]))
    if not kinds:
        raise GuideError("CogVideoX-Fun follows a layout; switch on the depth or the edges guide.", with_guide("depth"))


def given(shot: Shot) -> Given:
    """Its guide is encoded; it lies in channels beside the noise."""
    from ..footprint import Given
    return Given(encoded=shot.frames + SPEC.frames.stride - 1)


def rehearsed(slope: np.ndarray) -> dict:
    """The slope as its depth."""
    return {"guides": {"depth": slope}}


def load(folder: Path, device: Device) -> Control:
    """The weights of `folder` on `device`. Raises ModelError."""
    from diffusers import CogVideoXFunControlPipeline

    from ..diffusers_line import loading, piped
    from ..diffusers_line.cogvideox import Control
    allowed = {"tokenizer": loading.UMT5["tokenizer"], "text_encoder": ("T5EncoderModel",), "vae": ("AutoencoderKLCogVideoX",),
               "transformer": ("CogVideoXTransformer3DModel",), "scheduler": ("DDIMScheduler", "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")}
    parts = loading.components(folder, allowed, piped.on(device, ("text_encoder", "transformer", "vae")))
    side = 2 ** (len(parts["vae"].config.block_out_channels) - 1) * parts["transformer"].config.patch_size
    return Control(CogVideoXFunControlPipeline, parts, folder, device, SizeGrid(multiple=side, shortest=side, longest=4096), SPEC.native_area)
