"""Which family a safetensors file belongs to, from the names of its tensors. Names are only compared.

The names of whole checkpoints are those by which diffusers' own `from_single_file` tells them apart
(`loaders/single_file_utils.py`, CHECKPOINT_KEY_NAMES); LoRA names are those that its LoRA loaders convert.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CHOOSE, ModelError
from . import scaled
from .admission import Tensor, header

log = logging.getLogger(__name__)

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
CONNECTORS = re.compile(r"(video_embeddings_connector|audio_embeddings_connector|text_embedding_projection)\.")         # LTX-2's text connectors
LORA = re.compile(r"\.(lora_A|lora_B|lora_down|lora_up|lora\.down|lora\.up)(\.default)?\.weight$")
WAN_LIKE = ("wan", "vace", "skyreels")          # one transformer, so their LoRAs fit each other; see `width`
# families that it may be of, the likeliest first -> tensor names of which one suffices, the component that the file then is, and the tensor whose
# first side is the width
CHECKPOINTS = (
    (("blockout",), ("transformer.blocks.0.qkv.weight",), "model", ""),
    (("vace",), ("vace_blocks.0.after_proj.bias",), "transformer", "patch_embedding.weight"),
    ((), ("motion_encoder.dec.direction.weight",), "transformer", ""),                      # Wan-Animate: no family here takes it
    (("skyreels",), ("fps_embedding.weight",), "transformer", "patch_embedding.weight"),
    (("wan", "skyreels"), ("head.modulation",), "transformer", "patch_embedding.weight"),   # the larger SkyReels have Wan's very tensors
    (("wan",), ("decoder.middle.0.residual.0.gamma",), "vae", ""),
    (("ltx2",), ("av_ca_a2v_gate_adaln_single.emb.timestep_embedder.linear_1.weight",), "transformer", ""),
    (("ltx2",), ("audio_vae.per_channel_statistics.mean-of-means",), "checkpoint", ""),
)
LORAS = (
    (("blockout",), re.compile(r"^transformer\.blocks\.\d+\.(qkv|out|up|down)\.lora_")),
    (("sana_wm",), re.compile(r"(^|\.)blocks\.\d+\.(attn\.(qkv|proj|\w+_(proj|gate|cam))|cross_attn\.(\w+_linear|proj)|plucker_proj)\.lora_")),
    (("vace",), re.compile(r"(^|\.|lora_unet_)vace_blocks[._]\d")),
    (WAN_LIKE, re.compile(r"(^|\.|lora_unet_)blocks[._]\d+[._]((self_attn|cross_attn|attn1|attn2)[._](to_)?(q|k|v|o|out)[._]|ffn[._])")),
    (("ltx2",), re.compile(r"transformer_blocks[._]\d+[._](audio_|video_to_audio|av_ca)")),
    (("ltx2", "cogvideox"), re.compile(r"transformer_blocks[._]\d+[._]attn")),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file's tensors say. No families: they say nothing."""

    lora: bool
    families: tuple[str, ...]
    component: str = ""
    width: int = 0
    known: bool = True          # False: no name in it was recognised


def recognise(tensors: dict[str, Tensor]) -> Facts:
    """What the tensors belong to."""
    adapters = [name for name in tensors if LORA.search(name)]
    if adapters:
        for families, names in LORAS:
            if any(names.search(name) for name in adapters):
                return Facts(True, families, width=_lora_width(tensors, adapters))
        return Facts(True, (), known=False)
    plain = {bare(name): tensor for name, tensor in tensors.items()}
    for families, names, component, wide in CHECKPOINTS:
        if any(name in plain for name in names):
            shape = plain[wide].shape if wide in plain else ()
            return Facts(False, families, component, shape[0] if shape else 0)
    return Facts(False, (), known=False)


def agree(path: Path, family: str, lora: bool) -> Facts:
    """The facts of the file at `path`, which must be a LoRA or none and may be of `family`. Raises ModelError."""
    facts = recognise(header(path)[0])
    if facts.lora != lora:
        what = "a LoRA" if facts.lora else "no LoRA"
        raise ModelError(f"{path.name} is {what}; import it {'with' if facts.lora else 'without'} --lora.", CHOOSE)
    if facts.known and family not in facts.families:
        others = ", ".join(facts.families) or "a family that this engine does not have"
        raise ModelError(f"{path.name} belongs to {others}, not to {family}.", CHOOSE)
    if not facts.known:
        log.warning("%s: no tensor name in it is known; taken for %s as asked", path.name, family)
    return facts


def bare(name: str) -> str:
    """The name of a tensor as the model's authors have it."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix):]
    return name


def own(names: Iterable[str]) -> list[str]:
    """Of a file that is taken for a transformer those that are its own: whole checkpoints have other parts along with it."""
    names = list(names)
    alone = [name for name in names if name.startswith(PREFIXES)] or names
    return [name for name in alone if not CONNECTORS.match(bare(name)) and not scaled.beside(name)]


def _lora_width(tensors: dict[str, Tensor], adapters: list[str]) -> int:
    """Channels of the transformer: the input of a query projection's first half, shape (rank, channels)."""
    for name in adapters:
        if re.search(r"(self_attn|attn1)[._](to_)?q\.", name) and re.search(r"lora_A|lora_down|lora\.down", name):
            return tensors[name].shape[-1]
    return 0
