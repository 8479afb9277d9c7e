"""Wan VACE: layouts (depth, edges, grey, boxes, normals), masks, keyframes anywhere, reference pictures, several guides at once."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CHOOSE, GuideError, ModelError, Remedy
from ..models import catalogue
from ..protocol import FamilySpec, FrameGrid, Lora, Preset, Shot, SizeGrid

if TYPE_CHECKING:
    import numpy as np

    from ..device import Device
    from ..diffusers_line.vace import Layout
    from ..footprint import Given

# by the LoRA of the model that VACE contains; its levels and its noise anew are those that it was trained for, as with Wan 2.1
FOUR = Preset(name="4-steps", label="4 Steps", note="About twenty-five times fewer evaluations, less variety and motion; by lightx2v's LoRA for Wan",
              source="https://github.com/deepbeepmeep/Wan2GP/blob/0b89ba6f1c6f5255edee0c15e33583a29e74f718/docs/LORAS.md",
              models=("wan2.1-vace-14b",), steps=4, guidance=1.0, loras=(Lora(name="wan2.1-t2v-14b-4-steps"),), shift=5.0, renews=True)
# VACE-Fun contains Wan 2.2's two experts, and Wan2GP offers it their profiles of few steps (models/wan/wan_handler.py: vace_14B_2_2)
TWO = Preset(name="4-steps-a14b", label="4 Steps", note="About twenty-five times fewer evaluations, less variety and motion; by lightx2v's LoRAs for Wan 2.2",
             source="https://github.com/deepbeepmeep/Wan2GP/blob/b0c3e957ab2bf8ca3d1aa5494c41d6bfc176ff2e/profiles/wan_2_2/"
                    "Lightning%20t2v%20v1.0%202%20Phases%20-%204%20Steps.json",
             models=("wan2.2-vace-fun-a14b",), steps=4, guidance=1.0, shift=3.0,
             loras=(Lora(name="wan2.2-t2v-a14b-4-steps-high", expert=1), Lora(name="wan2.2-t2v-a14b-4-steps-low", expert=2)))
SPEC = FamilySpec(
    name="vace",
    label="Wan VACE",
    note="Follows a layout: depth, edges, grey, masks, keyframes at any frame, pictures of the subject",
    licence="Apache-2.0",
    guides=("depth", "normal", "beauty", "mask", "edges", "layout"),
    spans=True,
    keyframes=True,
    shared=5,               # two latent frames
    source=True,
    frames=FrameGrid(stride=4, offset=1),
    sizes=SizeGrid(multiple=2, shortest=32, longest=4096),
    longest=1440,
    native_area=832 * 480,
    # https://github.com/ali-vilab/VACE/blob/48eb44f1c4be87cc65a98bff985a26976841e9f3/vace/vace_wan_inference.py
    # and VACE-Fun, with one guidance for both experts:
    # https://github.com/aigc-apps/VideoX-Fun/blob/02c971ef4c6f95809472c848451857273bee450b/examples/wan2.2_vace_fun/predict_v2v_control.py
    steps=50,
    guidance=5.0,
    models=("wan2.1-vace-1.3b", "wan2.1-vace-14b", "wan2.2-vace-fun-a14b"),
    experts=("wan2.2-vace-fun-a14b",),
    weights=catalogue.weights("vace"),
    references=4,
    loras=True,
    kin=("wan", "skyreels"),
    plans=True,
    window=81,
    drafts=0.1,             # as the cache's author has it; not measured on real weights yet
    magnitudes=0.06,        # as diffusers has it; not measured on real weights yet
    presets=(FOUR, TWO),
    compiles=True,
    limits=True,
)


def check(shot: Shot, folder: Path) -> None:
    """A clip beside other guides needs a mask, or it would not count. Raises GuideError."""
    kinds = {guide.kind for guide in shot.guides}
    if shot.source is not None and kinds and "mask" not in kinds:
        raise GuideError("VACE takes a source clip alone, or with a mask of what is made anew; with other guides it would not count.",
                         Remedy(action="leave_out", label="Begin from Nothing", value="source"))


def given(shot: Shot) -> Given:
    """Hints and references; known frames and a mask are in a hint's own pictures. Of each hint what is kept and what is made are encoded."""
    from ..footprint import Given
    from ..diffusers_line import vace_guides
    hints, pictures = len(vace_guides.counting(shot.guides)), len(shot.references)
    stride = SPEC.frames.stride
    return Given(hints=hints, pictures=pictures, precise=shot.deep, encoded=2 * max(hints, 1) * (shot.frames + stride - 1) + stride * pictures)


def notes(shot: Shot) -> tuple[str, ...]:
    """What was shown as something else than it is."""
    from ..diffusers_line import vace_guides
    return vace_guides.notes(vace_guides.counting(shot.guides))


def rehearsed(slope: np.ndarray) -> dict:
    """The slope as its depth."""
    return {"guides": {"depth": slope}}


def load(folder: Path, device: Device) -> Layout:
    """The weights of `folder` on `device`. Raises ModelError."""
    from ..diffusers_line import loading, wan_footage
    from ..diffusers_line.vace import Layout
    from ..diffusers_line.vace_transformer import Transformer
    allowed = {**loading.UMT5, "vae": ("AutoencoderKLWan",), "scheduler": loading.FLOW_SCHEDULERS, "transformer": ("WanVACETransformer3DModel",),
               "transformer_2": ("WanVACETransformer3DModel",)}
    parts = loading.components(folder, allowed, wan_footage.dtypes(device), ("transformer", "transformer_2"), own={"WanVACETransformer3DModel": Transformer})
    if parts["transformer"] is None and parts["transformer_2"] is None:
        raise ModelError(f"{folder} has no transformer; it is not a model of this family.", CHOOSE)
    return Layout(parts, loading.index(folder), folder, device, SPEC.native_area)
