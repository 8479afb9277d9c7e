"""A transformer in one file becomes a whole model: what else a shot needs is taken from a model of its family that is here.

Its configuration is read off the shapes of its tensors, under the names by which the authors of Wan, SkyReels and LTX-2 publish them; what shapes
cannot say is as in that other model. Files of the other model are shared by hard links where the disk can, so that they take no room twice.
"""
from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CHOOSE, ModelError, Remedy
from . import quantised, scaled
from .admission import Tensor, check_json, header
from .recognise import bare
from .store import Installed, Kept, Store

COMPONENTS = ("transformer", "transformer_2")
FAMILIES = {"wan": "WanTransformer3DModel", "vace": "WanVACETransformer3DModel", "skyreels": "SkyReelsV2Transformer3DModel",
            "ltx2": "LTX2VideoTransformer3DModel"}       # families whose transformer may come in one file
SINGLE = "single_file"          # the safetensors file's name in the component's folder; a GGUF says by its ending what it is
# what is missing beside a file -> the catalogue's smallest model that has it
OFFERS = {("vace", 16, False): "wan2.1-vace-1.3b", ("wan", 16, False): "wan2.1-t2v-1.3b", ("wan", 16, True): "wan2.1-i2v-14b-480p",
          ("wan", 48, False): "wan2.2-ti2v-5b", ("skyreels", 16, False): "skyreels-v2-df-1.3b-540p", ("ltx2", 128, False): "ltx-2"}


@dataclass(frozen=True, slots=True)
class Assembly:
    """The files of the model that comes of it, by their names in its folder."""

    copied: dict[str, Path]
    shared: dict[str, tuple[Path, Kept]] = field(default_factory=dict)
    written: dict[str, bytes] = field(default_factory=dict)


def assembly(source: Path, family: str, store: Store, base: str = "", component: str = "") -> Assembly:
    """The transformer in the file `source`, as the `component` of a model that has the rest from `base`. Raises ModelError, FolderError.

    Without a `base` it is the first one that fits; one with two transformers has to be named, because their files look alike.
    """
    told = header(source)[0]
    scaled.scales(source, told)         # raises
    tensors = {bare(name): tensor for name, tensor in told.items() if not scaled.beside(name)}
    other, config = _beside(source, tensors, family, store, base)
    place = component or COMPONENTS[0]
    if place not in COMPONENTS or not (other.root / place).is_dir():
        raise ModelError(f"{other.name} has no {place} that {source.name} could stand for.", CHOOSE)
    called = f"{place}/{SINGLE}{source.suffix.lower()}"
    shared = {name: (other.root / name, kept) for name, kept in other.files.items() if not name.startswith(f"{place}/")}
    return Assembly({called: source}, shared, {f"{place}/config.json": (json.dumps(config, indent=2) + "\n").encode()})


def _beside(source: Path, tensors: dict[str, Tensor], family: str, store: Store, base: str) -> tuple[Installed, dict]:
    """The installed model whose other components fit, and the transformer's configuration beside it."""
    if base:
        other = store.find(family, base)
        store.check(other)
        if other.kind != "diffusers":
            raise ModelError(f"{base} is no whole model; name one that is.", CHOOSE)
        return other, configuration(source, tensors, family, other.root)
    for other in store.installed():
        if (other.family, other.kind) == (family, "diffusers") and not (other.root / "transformer_2").is_dir():
            try:
                store.check(other)
                return other, configuration(source, tensors, family, other.root)
            except ModelError:          # damaged, or its autoencoder is another one: the next may fit
                continue
    facts = {"out_channels": _ltx2(source, tensors)["out_channels"]} if family == "ltx2" else _facts(source, tensors)
    offer = OFFERS.get((family, facts["out_channels"], bool(facts.get("image_dim"))), "")
    raise ModelError(f"{source.name} is a transformer alone; it takes its text encoder and autoencoder from a {family} model, and none that fits "
                     f"is here. {'Get ' + offer if offer else 'Import one'} first.",
                     Remedy(action="get_model", label="Get This Model", value=offer) if offer else CHOOSE)


def configuration(source: Path, tensors: dict[str, Tensor], family: str, base: Path) -> dict:
    """The transformer's `config.json`, for a place in the model folder `base`. Raises ModelError where the two do not go together."""
    known = next((check_json(path) for name in COMPONENTS if (path := base / name / "config.json").is_file()), {})
    if family == "ltx2":
        return _alike(source, _ltx2(source, tensors), known, base)
    facts = _facts(source, tensors)
    index = check_json(base / "model_index.json")
    head = known.get("attention_head_dim", 128)
    wants = {"text_dim": known.get("text_dim"), "out_channels": known.get("out_channels")}
    if known.get("_class_name") != FAMILIES[family] or facts["width"] % head or any(facts[key] != wanted for key, wanted in wants.items()):
        raise ModelError(f"{source.name} does not go with the text encoder and the autoencoder of {base.name}.", CHOOSE)
    if facts["image_dim"] and not isinstance(index.get("image_encoder"), list) or facts["image_dim"] and index["image_encoder"] == [None, None]:
        raise ModelError(f"{source.name} looks at pictures through an image encoder, which {base.name} does not have.", CHOOSE)
    width = facts.pop("width")
    added = {"added_kv_proj_dim": width if "blocks.0.cross_attn.k_img.weight" in tensors else None}
    if family == "skyreels":
        added["inject_sample_info"] = "fps_embedding.weight" in tensors
    return {**known, **facts, **added, "num_attention_heads": width // head, **_control(source, tensors, facts["num_layers"], family)}


def _ltx2(source: Path, tensors: dict[str, Tensor]) -> dict:
    """What the shapes of LTX-2's tensors say, under diffusers' names, and both widths. Raises ModelError."""
    try:
        (width, channels), (audio, _) = tensors["patchify_proj.weight"].shape, tensors["audio_patchify_proj.weight"].shape
        return {"width": width, "audio width": audio, "in_channels": channels, "out_channels": tensors["proj_out.weight"].shape[0],
                "num_layers": _blocks(source, tensors, "transformer_blocks"),
                "cross_attn_mod": tensors["adaln_single.linear.weight"].shape[0] == 9 * width,
                "gated_attn": "transformer_blocks.0.attn1.to_gate_logits.weight" in tensors,
                "use_prompt_embeddings": "caption_projection.linear_1.weight" in tensors}
    except (KeyError, ValueError) as error:
        raise ModelError(f"{source.name} is not a whole transformer: {error} is missing in it.", CHOOSE) from error


def _alike(source: Path, facts: dict, known: dict, base: Path) -> dict:
    """The configuration `known`: LTX-2's versions differ in more than shapes say, so that only one of the same build fits. Raises ModelError."""
    heads = {"width": ("num_attention_heads", "attention_head_dim"), "audio width": ("audio_num_attention_heads", "audio_attention_head_dim")}
    wanted = {name: known.get(name, name == "use_prompt_embeddings") for name in facts}
    wanted |= {name: math.prod(known.get(part, 0) for part in parts) for name, parts in heads.items()}
    odd = [name for name, fact in facts.items() if wanted[name] != fact]
    if known.get("_class_name") != FAMILIES["ltx2"] or odd:
        found = ", ".join(odd) or "another family"
        raise ModelError(f"{source.name} is built otherwise than {base.name} ({found}); it takes its other parts from a model of the same version.", CHOOSE)
    return known


def _facts(source: Path, tensors: dict[str, Tensor]) -> dict:
    """What the shapes of Wan's tensors say, under diffusers' names, and `width`. Raises ModelError."""
    try:
        first = tensors["patch_embedding.weight"].shape
        width, channels, *patch = first
        if len(patch) != 3:
            raise ModelError(f"{source.name} has its first layer folded into {len(first)} sides; take a file that keeps all five.", CHOOSE)
        pictures, places = tensors.get("img_emb.proj.0.weight"), tensors.get("img_emb.emb_pos")
        return {"width": width, "in_channels": channels, "patch_size": patch, "num_layers": _blocks(source, tensors, "blocks"),
                "ffn_dim": tensors["blocks.0.ffn.0.weight"].shape[0], "text_dim": tensors["text_embedding.0.weight"].shape[1],
                "freq_dim": tensors["time_embedding.0.weight"].shape[1], "out_channels": tensors["head.head.weight"].shape[0] // math.prod(patch),
                "cross_attn_norm": "blocks.0.norm3.weight" in tensors, "image_dim": pictures.shape[0] if pictures else None,
                "pos_embed_seq_len": places.shape[1] if places else None}
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(f"{source.name} is not a whole transformer: {error} is missing in it.", CHOOSE) from error


def _control(source: Path, tensors: dict[str, Tensor], layers: int, family: str) -> dict:
    """Where VACE's control blocks stand: at equal distances, as in both of its published sizes."""
    if family != "vace":
        return {}
    count = _blocks(source, tensors, "vace_blocks")
    if layers % count:
        raise ModelError(f"{source.name} has {count} control blocks beside {layers}; where they belong is not known.", CHOOSE)
    return {"vace_layers": list(range(0, layers, layers // count)), "vace_in_channels": tensors["vace_patch_embedding.weight"].shape[1]}


def _blocks(source: Path, tensors: dict[str, Tensor], kind: str) -> int:
    """How many blocks there are, numbered without a gap. Raises ModelError."""
    numbers = {int(found[1]) for name in tensors if (found := re.match(rf"{kind}\.(\d+)\.", name))}
    if not numbers or numbers != set(range(len(numbers))):
        raise ModelError(f"{source.name} lacks blocks of its transformer.", CHOOSE)
    return len(numbers)


def single(folder: Path) -> Path | None:
    """The one file with a component's weights under their authors' names, where the `folder` has one."""
    return next((path for ending in (quantised.SUFFIX, ".safetensors") if (path := folder / f"{SINGLE}{ending}").is_file()), None)
