"""LTX-2: text, pictures at any frame, control clips through IC-LoRAs, twice the size by a second stage; sound comes with the pictures."""
from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GuideError, ModelError, Remedy
from ..models import catalogue
from ..protocol import Defaults, FamilySpec, FrameGrid, Lora, Preset, Shot, SizeGrid
from ..ways_out import LEAVE_LORAS

if TYPE_CHECKING:
    from ..device import Device
    from ..diffusers_line.ltx2 import Sound
    from ..footprint import Given

DISTILLED = "ltx-2-distilled-lora"          # the catalogue's name of the LoRA by which the second stage refines
CONTROL = "ltx-2.3-control-lora"            # that of the IC-LoRA by which LTX-2.3 follows a guide
UPSAMPLER = "latent_upsampler"              # a folder of the model's
EIGHT = dict(label="8 Steps", steps=8, guidance=1.0, source="https://huggingface.co/docs/diffusers/main/en/api/pipelines/ltx2")
# LTX_2_PARAMS; the guidances that go with it there, of skipped blocks and of separate modalities, are switched off here
OWN = ("https://github.com/Lightricks/LTX-2/blob/400fd31054597515f47125691032c04b1c3ee24e/"
       "packages/ltx-pipelines/src/ltx_pipelines/utils/constants.py")

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
    steps=30,                   # LTX_2_3_PARAMS there: of what is newer than LTX-2.0, and not distilled
    guidance=3.0,
    defaults=(Defaults(model="ltx-2", steps=40, guidance=3.0, source=OWN),
              Defaults(model="ltx-2.3-distilled", steps=8, guidance=1.0, source=EIGHT["source"])),
    models=("ltx-2", "ltx-2.3-distilled"),
    weights=catalogue.weights("ltx2"),
    loras=True,
    audio=True,
    plans=True,
    window=121,
    second=3,
    presets=(Preset(**EIGHT, name="8-steps", note="As these weights were distilled to be shot", models=("ltx-2.3-distilled",), loras=()),
             Preset(**EIGHT, name="8-steps-lora", note="About ten times fewer evaluations, by the distilled LoRA", models=("ltx-2",),
                    loras=(Lora(name=DISTILLED),))),
    drafts=0.1,             # as the cache's author has it; not measured on real weights yet
    magnitudes=0.06,        # as diffusers has it; not measured on real weights yet
    compiles=True,
    limits=True,
)


def check(shot: Shot, folder: Path) -> None:
    """Control clips, and the IC-LoRA that understands them; what the second stage needs. Raises GuideError, ModelError."""
    kinds = followed(shot)
    if kinds and all(one.name == DISTILLED for one in shot.loras):
        raise GuideError(f"LTX-2 follows {' and '.join(kinds)} only with an IC-LoRA made for it; add that LoRA, or drop the guide.",
                         _uncontrolled(kinds[0], folder))
    said = _said(shot)
    shrink([metadata for _, metadata in said])
    if shot.two_stages and not shot.latents:        # what was sampled before needs neither
        if not (folder / UPSAMPLER / "config.json").is_file():
            raise ModelError("This LTX-2 model has no spatial up-sampler, so it has no second stage.",
                             Remedy(action="leave_out", label="Shoot in One Stage", value="two_stages"))
        second(shot)


def followed(shot: Shot) -> list[str]:
    """The kinds of the guides that count: one at the strength 0 is as if it were not there."""
    return [guide.kind for guide in shot.guides if guide.kind != "camera" and guide.strength > 0]


def lit(kinds: list[str]) -> list[str]:
    """Of the guides' kinds those that light comes from, where a LoRA draws high dynamic range: the rendered picture, where there is one."""
    return ["beauty"] if "beauty" in kinds else kinds


def _uncontrolled(kind: str, folder: Path) -> Remedy:
    """The way out for a guide without its LoRA: to get the one that the catalogue has for these weights, otherwise to drop the guide."""
    from . import lora
    drop = Remedy(action="drop_guide", label=f"Drop {kind.title()}", value=kind)
    if kind not in ("depth", "edges") or folder.name != "ltx-2.3-distilled":
        return drop
    try:
        lora(SPEC.name, CONTROL)
    except ModelError:
        return Remedy(action="get_model", label="Get the LoRA", value=CONTROL)
    return drop


def _said(shot: Shot) -> list[tuple[tuple[Path, float], dict[str, str]]]:
    """The shot's LoRAs with their strengths, and what their files say of themselves. Raises ModelError, FolderError."""
    from ..models import admission
    from . import lora
    found = [(lora(shot.family, one.name), one.strength) for one in shot.loras]
    return [(one, admission.header(one[0])[1]) for one in found]


def bright(metadata: dict[str, str]) -> bool:
    """Whether a LoRA makes the model draw high dynamic range; its file says by which curve. Raises ModelError for one not known here.

    As Lightricks' own pipeline reads it: https://github.com/Lightricks/LTX-2, ltx_pipelines/hdr_ic_lora.py, read_hdr_lora_config.
    """
    curve = metadata.get("hdr_transform") or ("logc3" if metadata.get("use_hdr_transform") else "")
    if curve not in ("", "true", "logc3"):
        raise ModelError(f"This LoRA draws light by a curve called {curve!r}, which is not known here; known is logc3.", LEAVE_LORAS)
    return bool(curve)


def shrink(said: list[dict[str, str]]) -> int:
    """How many times smaller than the picture the LoRAs were taught to see their guides, which all have one size. Raises ModelError."""
    if any(metadata.get("reference_temporal_scale_factor", "1") != "1" for metadata in said):
        raise ModelError("This LoRA wants its guide at another frame rate than the pictures', which is not made here.", LEAVE_LORAS)
    wanted = {metadata["reference_downscale_factor"] for metadata in said if "reference_downscale_factor" in metadata}
    if len(wanted) > 1 or not all(one.isdecimal() and 1 <= int(one) <= 8 for one in wanted):
        raise ModelError(f"These LoRAs want their guides made smaller by {' and '.join(sorted(wanted))}; they cannot go together.", LEAVE_LORAS)
    return int(wanted.pop()) if wanted else 1


def light(shot: Shot) -> str:
    """How the shot's pictures code light: one of engine.light's. Raises ModelError, FolderError."""
    from ..light import LOGC3, SRGB
    return LOGC3 if any(bright(metadata) for _, metadata in _said(shot)) else SRGB


def second(shot: Shot) -> list[tuple[Path, float]]:
    """The LoRAs of the second stage: the distilled one, unless the weights are distilled themselves, which a shot without guidance
    says; and the shot's own, but for those that make it follow its guide: the picture is laid out by then. Raises ModelError.
    """
    from . import lora
    follows = followed(shot)
    worn = [one for (one, metadata), asked in zip(_said(shot), shot.loras) if bright(metadata) or not follows or asked.name == DISTILLED]
    if 0 <= shot.guidance <= 1 or any(one.name == DISTILLED for one in shot.loras):
        return worn
    try:
        return [*worn, (lora(shot.family, DISTILLED), 1.0)]
    except ModelError as error:
        raise ModelError("The second stage of LTX-2 refines by its distilled LoRA, which is not there.",
                         Remedy(action="get_model", label="Get the LoRA", value=DISTILLED)) from error


def given(shot: Shot) -> Given:
    """The pipeline appends a guide as a whole clip, and a keyframe that is not the first frame as one latent frame more.

    In two stages the second one counts: it has a guide only where light comes from it, and one text. The first one, at a quarter of the
    pixels, has all guides, and both texts where it is guided; of many guides it may need more. The up-sampler's own activations are less
    than a step's, always.
    """
    from ..footprint import Given
    from ..light import SRGB
    precise, kinds = light(shot) != SRGB, followed(shot)
    clips = len(kinds)
    if shot.two_stages:
        texts = 1 if 0 <= shot.guidance <= 1 else 2
        clips = max(len(lit(kinds)) if precise else 0, math.ceil(texts * (1 + len(kinds)) / 4 - 1))
    return Given(clips=clips, pictures=sum(keyframe.frame > 0 for keyframe in shot.keyframes), two_stages=shot.two_stages, precise=precise,
                 encoded=len(kinds) * (shot.frames + SPEC.frames.stride - 1) + SPEC.frames.stride * len(shot.keyframes))


def load(folder: Path, device: Device) -> Sound:
    """The weights of `folder` on `device`. Raises ModelError."""
    from diffusers import LTX2InContextPipeline

    from ..diffusers_line import loading, piped, single_file
    from ..diffusers_line.ltx2 import Sound
    from ..models import assembling
    allowed = {"tokenizer": loading.GEMMA_TOKENIZERS, "text_encoder": ("Gemma3ForConditionalGeneration",), "vae": ("AutoencoderKLLTX2Video",),
               "audio_vae": ("AutoencoderKLLTX2Audio",), "connectors": ("LTX2TextConnectors",), "vocoder": ("LTX2Vocoder", "LTX2VocoderWithBWE"),
               "transformer": ("LTX2VideoTransformer3DModel",), "scheduler": ("FlowMatchEulerDiscreteScheduler",)}
    weights = ("text_encoder", "vae", "audio_vae", "connectors", "vocoder", "transformer", UPSAMPLER)
    dtypes = piped.on(device, weights)
    parts = loading.components(folder, allowed, dtypes) | loading.aside(folder, {UPSAMPLER: ("LTX2LatentUpsamplerModel",)}, dtypes)
    alone = assembling.single(folder / "transformer")
    if alone is not None:
        single_file.connectors(parts["connectors"], alone)
    side = max(parts["vae"].spatial_compression_ratio, 32)
    return Sound(LTX2InContextPipeline, parts, folder, device, SizeGrid(multiple=side, shortest=side, longest=4096), SPEC.native_area)
