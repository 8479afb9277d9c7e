"""SkyReels-V2 by diffusion forcing: long clips by text, or from a first and a last frame."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KeyframeError, Remedy
from ..models import catalogue
from ..protocol import FamilySpec, FrameGrid, Shot, SizeGrid
from ..ways_out import with_still, without_stills

if TYPE_CHECKING:
    from ..device import Device
    from ..diffusers_line.skyreels import Reel
    from ..footprint import Given

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
    # https://github.com/SkyworkAI/SkyReels-V2/blob/abed76fec91103e4543c747eee45334137b3a558/generate_video_df.py
    steps=30,
    guidance=6.0,
    models=("skyreels-v2-df-1.3b-540p", "skyreels-v2-df-14b-540p", "skyreels-v2-df-14b-720p"),
    weights=catalogue.weights("skyreels"),
    loras=True,
    kin=("wan",),
    plans=True,
    window=1457,
    drafts=0.1,             # as the cache's author has it; not measured on real weights yet
    magnitudes=0.06,        # as diffusers has it; not measured on real weights yet
    compiles=True,
    limits=True,
)
TOGETHER, SHARED = 97, 17   # frames of one stretch, and those it shares with the one before, inside the model


def check(shot: Shot, folder: Path) -> None:
    """Keyframes at the ends only, and at the last frame only of what is made in one stretch. Raises KeyframeError."""
    frames = {keyframe.frame for keyframe in shot.keyframes}
    odd = sorted(frames - {0, shot.frames - 1})
    if odd:
        raise KeyframeError(f"SkyReels takes keyframes at the first and the last frame, not at frame {odd[0]}.", without_stills(shot, odd))
    if frames and 0 not in frames:
        raise KeyframeError("SkyReels takes a keyframe at the last frame only together with one at the first.", with_still(shot, 0))
    if len(frames) > 1 and shot.frames > TOGETHER:
        raise KeyframeError(f"SkyReels takes a keyframe at the last frame of shots of up to {TOGETHER} frames; this one has {shot.frames}.",
                            Remedy(action="set_frames", label=f"Use {TOGETHER} Frames", value=str(TOGETHER)))


def given(shot: Shot) -> Given:
    """Keyframes take the place of frames of the clip; each is encoded for itself."""
    from ..footprint import Given
    return Given(precise=shot.deep, encoded=2 * SPEC.frames.stride * len(shot.keyframes))      # mean and variance of each


def load(folder: Path, device: Device) -> Reel:
    """The weights of `folder` on `device`. Raises ModelError."""
    from ..diffusers_line import loading, wan_footage
    from ..diffusers_line.skyreels import Reel
    allowed = {**loading.UMT5, "vae": ("AutoencoderKLWan",), "scheduler": loading.FLOW_SCHEDULERS, "transformer": ("SkyReelsV2Transformer3DModel",)}
    parts = loading.components(folder, allowed, wan_footage.dtypes(device))
    return Reel(parts, loading.index(folder), folder, device, 1280 * 720 if "720p" in folder.name.lower() else SPEC.native_area)
