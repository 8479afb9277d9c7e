"""Wan 2.1 and 2.2: text, first frame, first and last frame, or a clip to begin from."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CHOOSE, WEIGHTS, KeyframeError, ModelError, Remedy
from ..models import catalogue
from ..protocol import Defaults, FamilySpec, FrameGrid, Lora, Preset, Rate, Shot, SizeGrid

if TYPE_CHECKING:
    from ..device import Device
    from ..diffusers_line.wan import Film
    from ..footprint import Given

DISTILLED = "https://github.com/ModelTC/LightX2V/blob/0eca726c79d6eecb4b254fea825c5560aa6c6b0b/docs/EN/source/method_tutorials/step_distill.md"
LIGHTNING = "https://github.com/ModelTC/Wan2.2-Lightning/blob/27175501c2b743c6e0a32a5bc86da4efe81f59b5/README.md"


def _four(name: str, source: str, models: tuple[str, ...], loras: tuple[Lora, ...], renews: bool = False) -> Preset:
    """lightx2v's four steps: https://github.com/ModelTC/LightX2V, configs/distill, and its step_distill scheduler, which renews noise for Wan 2.1."""
    return Preset(name=name, label="4 Steps", note="About twenty times fewer evaluations, less variety and motion; by lightx2v's LoRA", source=source,
                  models=models, steps=4, guidance=1.0, loras=loras, shift=5.0, renews=renews)


WAN21 = "https://github.com/Wan-Video/Wan2.1/blob/9737cba9c1c3c4d04b33fcad41c111989865d315/"
WAN22 = "https://github.com/Wan-Video/Wan2.2/blob/42bf4cfaa384bc21833865abc2f9e6c0e67233dc/wan/configs/"
DEFAULTS = (
    Defaults(model="wan2.1-t2v-1.3b", steps=50, guidance=6.0, source=WAN21 + "README.md"),          # its guidance; steps as below
    Defaults(model="wan2.1-t2v-14b", steps=50, guidance=5.0, source=WAN21 + "generate.py"),
    Defaults(model="wan2.1-i2v-14b-480p", steps=40, guidance=5.0, source=WAN21 + "generate.py"),
    Defaults(model="wan2.1-i2v-14b-720p", steps=40, guidance=5.0, source=WAN21 + "generate.py"),
    Defaults(model="wan2.1-flf2v-14b-720p", steps=50, guidance=5.0, source=WAN21 + "generate.py"),
    Defaults(model="wan2.2-ti2v-5b", steps=50, guidance=5.0, source=WAN22 + "wan_ti2v_5B.py"),
    Defaults(model="wan2.2-t2v-a14b", steps=40, guidance=4.0, guidance_low=3.0, source=WAN22 + "wan_t2v_A14B.py"),
    Defaults(model="wan2.2-i2v-a14b", steps=40, guidance=3.5, source=WAN22 + "wan_i2v_A14B.py"),    # of both experts
)
PRESETS = (
    _four("4-steps-t2v", DISTILLED, ("wan2.1-t2v-14b",), (Lora(name="wan2.1-t2v-14b-4-steps"),), renews=True),
    _four("4-steps-i2v", DISTILLED, ("wan2.1-i2v-14b-480p",), (Lora(name="wan2.1-i2v-14b-4-steps"),), renews=True),
    _four("4-steps-t2v-a14b", LIGHTNING, ("wan2.2-t2v-a14b",),
          (Lora(name="wan2.2-t2v-a14b-4-steps-high", expert=1), Lora(name="wan2.2-t2v-a14b-4-steps-low", expert=2))),
    _four("4-steps-i2v-a14b", LIGHTNING, ("wan2.2-i2v-a14b",),
          (Lora(name="wan2.2-i2v-a14b-4-steps-high", expert=1), Lora(name="wan2.2-i2v-a14b-4-steps-low", expert=2))),
)
GROWN_FPS = 24.0        # TI2V-5B was trained with more pictures a second
SPEC = FamilySpec(
    name="wan",
    label="Wan",
    note="Open film model by text, by first and last frame, or from a clip",
    licence="Apache-2.0",
    keyframes=True,
    source=True,
    changes=True,
    frames=FrameGrid(stride=4, offset=1),
    sizes=SizeGrid(multiple=2, shortest=32, longest=4096),
    longest=1440,
    native_fps=16.0,
    rates=(Rate(model="wan2.2-ti2v-5b", fps=GROWN_FPS),),
    native_area=832 * 480,
    steps=40,
    guidance=5.0,
    defaults=DEFAULTS,
    models=("wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "wan2.1-i2v-14b-480p", "wan2.1-i2v-14b-720p", "wan2.1-flf2v-14b-720p", "wan2.2-ti2v-5b",
            "wan2.2-t2v-a14b", "wan2.2-i2v-a14b"),
    weights=catalogue.weights("wan"),
    experts=("wan2.2-t2v-a14b", "wan2.2-i2v-a14b"),
    loras=True,
    kin=("skyreels",),
    plans=True,
    window=81,
    drafts=0.1,             # as the cache's author has it; not measured on real weights yet
    magnitudes=0.06,        # as diffusers has it; not measured on real weights yet
    presets=PRESETS,
    compiles=True,
    limits=True,
)
LARGE = 1280 * 720      # pixels of the models made for 720p


def check(shot: Shot, folder: Path) -> None:
    """Refuses keyframes and clips that this one model cannot use. Raises KeyframeError, ShotError, ModelError."""
    frames = {keyframe.frame for keyframe in shot.keyframes}
    if _takes_pictures(folder):
        if 0 not in frames and shot.source is None:
            raise KeyframeError("This Wan model continues from a picture; give it a keyframe at the first frame, or choose a text model.", WEIGHTS)
        odd = sorted(frames - {0, shot.frames - 1})
        if odd:
            raise KeyframeError(f"Wan takes keyframes at the first and the last frame, not at frame {odd[0]}; VACE takes them anywhere.",
                                Remedy(action="use_family", label="Use VACE", value="vace"))
        _ends(shot, folder, 0 in frames and shot.frames - 1 in frames)
    elif frames and not _grown(folder):
        raise KeyframeError("This Wan model takes text only; choose one for pictures (I2V), or VACE.", WEIGHTS)
    elif frames - {0}:
        raise KeyframeError("This Wan model takes a first frame only; choose one for first and last frames, or VACE.", WEIGHTS)


def _ends(shot: Shot, folder: Path, both: bool) -> None:
    """Wan 2.1's image encoder was trained on one picture, or on two; others take what comes. Raises KeyframeError."""
    from ..diffusers_line import loading
    config = loading.configuration(folder, "transformer")
    if not config.get("image_dim"):
        return
    pair = bool(config.get("pos_embed_seq_len"))
    if pair and (not both or shot.frames > SPEC.window):
        raise KeyframeError(f"This Wan model goes from a first to a last frame, within {SPEC.window} frames; give it both keyframes.", WEIGHTS)
    if both and not pair:
        raise KeyframeError("This Wan model takes a first frame only; choose one for first and last frames, or VACE.", WEIGHTS)


def _grown(folder: Path) -> bool:
    """TI2V-5B: a timestep for each latent frame, so that known frames are told by having no noise."""
    from ..diffusers_line import loading
    return bool(loading.index(folder).get("expand_timesteps"))


def _takes_pictures(folder: Path) -> bool:
    """Whether the transformer has channels for pictures beside the noise."""
    from ..diffusers_line import loading
    channels = [loading.configuration(folder, part) for part in ("transformer", "transformer_2")]
    return any(one.get("in_channels", 16) > one.get("out_channels", 16) for one in channels if one)


def given(shot: Shot) -> Given:
    """Pictures are in channels of their own, or in the clip. A clip to begin from is encoded, and so is one that is grey but for keyframes."""
    from ..footprint import Given
    clips = (shot.source is not None) + bool(shot.keyframes)
    return Given(precise=shot.deep, encoded=clips * (shot.frames + SPEC.frames.stride - 1))


def load(folder: Path, device: Device) -> Film:
    """The weights of `folder` on `device`. Raises ModelError."""
    from ..diffusers_line import loading, wan_footage
    from ..diffusers_line.wan import Film
    allowed = {**loading.UMT5, "vae": ("AutoencoderKLWan",), "scheduler": loading.FLOW_SCHEDULERS, "transformer": ("WanTransformer3DModel",),
               "transformer_2": ("WanTransformer3DModel",), "image_encoder": ("CLIPVisionModel",),
               "image_processor": ("CLIPImageProcessor", "CLIPImageProcessorPil")}
    optional = ("transformer", "transformer_2", "image_encoder", "image_processor")
    parts = loading.components(folder, allowed, wan_footage.dtypes(device), optional)
    if parts["transformer"] is None and parts["transformer_2"] is None:
        raise ModelError(f"{folder} has no transformer; it is not a model of this family.", CHOOSE)
    return Film(parts, loading.index(folder), folder, device, area(folder))


def rate(folder: Path) -> float:
    """Frames a second. Raises ModelError."""
    return GROWN_FPS if _grown(folder) else SPEC.native_fps


def area(folder: Path) -> int:
    """Pixels of the largest picture that this one model makes. Raises ModelError."""
    return LARGE if _for_720p(folder) else SPEC.native_area


def _for_720p(folder: Path) -> bool:
    """By the folder's name, or by the autoencoder that only TI2V-5B has."""
    return "720p" in folder.name.lower() or _grown(folder)
