"""SANA-WM: a picture and Blender's own camera, frame by frame: matrices and intrinsics as they are."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GuideError, KeyframeError
from ..models import catalogue
from ..protocol import FamilySpec, FrameGrid, Shot, Size, SizeGrid
from ..ways_out import with_guide, with_still, without_stills

if TYPE_CHECKING:
    import numpy as np

    from ..device import Device
    from ..diffusers_line.sana_wm import Flight

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
    # https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/sana_wm/pipeline_sana_wm.py
    steps=60,
    guidance=5.0,
    models=("sana-wm",),
    weights=catalogue.weights("sana_wm"),
    loras=True,
    plans=True,
    window=161,
    drafts=0.1,             # as the cache's author has it; not measured on real weights yet
    magnitudes=0.06,        # as diffusers has it; not measured on real weights yet
    compiles=True,
    limits=True,
)


def check(shot: Shot, folder: Path) -> None:
    """A camera and a first frame, and no other keyframes. Raises GuideError, KeyframeError."""
    from .. import camera
    path = next((guide.path for guide in shot.guides if guide.kind == "camera"), "")
    if not path:
        raise GuideError("SANA-WM follows a camera; switch on the camera guide.", with_guide("camera"))
    camera.along(path, shot)
    frames = {keyframe.frame for keyframe in shot.keyframes}
    if frames != {0}:
        raise KeyframeError("SANA-WM begins from a picture: give it a keyframe at the first frame, and at no other.",
                            without_stills(shot, frames - {0}) if 0 in frames else with_still(shot, 0))


def made(folder: Path) -> Size:
    """The one size, near 16:9, that its models were trained at; smaller and larger shots are scaled from it. Raises ModelError."""
    from ..diffusers_line import loading
    tall = loading.configuration(folder, "transformer").get("image_size", 720)
    return Size(tall * 16 // 9, tall)


def rehearsed(slope: np.ndarray) -> dict:
    """The slope as its first picture, and a camera that goes straight ahead, two centimetres a frame."""
    import numpy as np

    from ..camera import Cameras
    count, height, width, _ = slope.shape
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 2, 3] = 0.02 * np.arange(count)
    lens = np.tile([width, width, width / 2, height / 2], (count, 1))
    cameras = Cameras(frames=np.arange(count), c2w=poses, K=lens, size=Size(width, height), fps=24.0)
    return {"stills": {0: slope[0].repeat(3, -1)}, "cameras": cameras}


def load(folder: Path, device: Device) -> Flight:
    """The weights of `folder` on `device`. Raises ModelError."""
    from diffusers import SanaWMPipeline

    from ..diffusers_line import loading, piped
    from ..diffusers_line.sana_wm import Flight
    from ..diffusers_line.sana_wm_transformer import Transformer
    allowed = {"tokenizer": loading.GEMMA_TOKENIZERS, "text_encoder": ("Gemma2Model", "Gemma2ForCausalLM"), "vae": ("AutoencoderKLLTX2Video",),
               "transformer": ("SanaWMTransformer3DModel",), "scheduler": ("FlowMatchEulerDiscreteScheduler",)}
    parts = loading.components(folder, allowed, piped.on(device, ("text_encoder", "transformer", "vae")),
                               own={"SanaWMTransformer3DModel": Transformer})
    side = parts["vae"].spatial_compression_ratio
    return Flight(SanaWMPipeline, parts, folder, device, SizeGrid(multiple=side, shortest=side, longest=4096), SPEC.native_area)
