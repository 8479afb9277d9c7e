"""LTX-2: text, pictures at any frame, a control clip through an IC-LoRA; sound comes with the pictures."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GuideError, Remedy
from ..protocol import FamilySpec, FrameGrid, Shot, SizeGrid

if TYPE_CHECKING:
    from ..device import Device
    from ..diffusers_line.ltx2 import Sound
    from ..footprint import Given

SPEC = FamilySpec(
    name="ltx2",
    label="LTX-2",
    note="Fast, with pictures at any frame, control by IC-LoRA, and sound",
    licence="LTX-2 Community Licence",
    guides=("depth", "edges", "beauty"),
    keyframes=True,
    frames=FrameGrid(stride=8, offset=1),
    sizes=SizeGrid(multiple=2, shortest=32, longest=4096),
    longest=1441,
    native_area=1280 * 704,
    steps=30,
    guidance=3.0,
    models=("ltx-2",),
    loras=True,
    audio=True,
    plans=True,
    window=121,
)


def check(shot: Shot, folder: Path) -> None:
    """One control clip, and the IC-LoRA that understands it. Raises GuideError."""
    kinds = [guide.kind for guide in shot.guides if guide.kind != "camera"]
    if len(kinds) > 1:
        raise GuideError("LTX-2 follows one guide at a time.", Remedy(action="drop_guide", label=f"Drop {kinds[1].title()}", value=kinds[1]))
    if kinds and not shot.loras:
        raise GuideError(f"LTX-2 follows {kinds[0]} only with an IC-LoRA made for it; add that LoRA, or drop the guide.",
                         Remedy(action="drop_guide", label=f"Drop {kinds[0].title()}", value=kinds[0]))


def given(shot: Shot) -> Given:
    """The pipeline appends a guide as a whole clip, and a keyframe that is not the first frame as one latent frame more."""
    from ..footprint import Given
    return Given(clips=sum(guide.kind != "camera" for guide in shot.guides), pictures=sum(keyframe.frame > 0 for keyframe in shot.keyframes))


def load(folder: Path, device: Device) -> Sound:
    """The weights of `folder` on `device`. Raises ModelError."""
    from diffusers import LTX2InContextPipeline

    from ..diffusers_line import loading, piped
    from ..diffusers_line.ltx2 import Sound
    allowed = {"tokenizer": loading.GEMMA_TOKENIZERS, "text_encoder": ("Gemma3ForConditionalGeneration",), "vae": ("AutoencoderKLLTX2Video",),
               "audio_vae": ("AutoencoderKLLTX2Audio",), "connectors": ("LTX2TextConnectors",), "vocoder": ("LTX2Vocoder",),
               "transformer": ("LTX2VideoTransformer3DModel",), "scheduler": ("FlowMatchEulerDiscreteScheduler",)}
    weights = ("text_encoder", "vae", "audio_vae", "connectors", "vocoder", "transformer")
    parts = loading.components(folder, allowed, piped.on(device, weights))
    side = max(parts["vae"].spatial_compression_ratio, 32)
    return Sound(LTX2InContextPipeline, parts, folder, device, SizeGrid(multiple=side, shortest=side, longest=4096), SPEC.native_area)
