"""A transformer whose weights lie in one file under their authors' names: safetensors as they are, GGUF widened layer by layer as it is used."""
from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CHOOSE, ModelError
from ..models import admission, quantised, scaled
from ..models.recognise import CONNECTORS, bare, own

# what diffusers' mappings of one file (loaders/single_file_utils.py) leave out, as its scripts convert_skyreelsv2_to_diffusers.py and
# convert_ltx2_to_diffusers.py have it
LEFT_OUT = {"SkyReelsV2Transformer3DModel": ((r"^fps_projection\.0\.", "fps_projection.net.0.proj."),
                                             (r"^fps_projection\.2\.", "fps_projection.net.2.")),
            "LTX2VideoTransformer3DModel": ((r"^(audio_)?prompt_adaln_single\.", r"\1prompt_adaln."),)}
CONNECTED = (("video_embeddings_connector", "video_connector"), ("audio_embeddings_connector", "audio_connector"),
             ("transformer_1d_blocks", "transformer_blocks"), ("text_embedding_projection.aggregate_embed", "text_proj_in"),
             ("text_embedding_projection.video_aggregate_embed", "video_text_proj_in"),
             ("text_embedding_projection.audio_aggregate_embed", "audio_text_proj_in"),
             ("q_norm", "norm_q"), ("k_norm", "norm_k"))

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def opened(kind: type, path: Path, dtype: torch.dtype) -> Any:
    """A `kind` as the `config.json` beside `path` describes it, with the weights of `path`, on the CPU. Raises ModelError; others as torch does."""
    made = _quantised(kind, path, dtype) if path.suffix == quantised.SUFFIX else _plain(kind, path, dtype)
    lacking = sorted(name for name, weights in made.named_parameters() if weights.is_meta)
    if lacking:
        raise ModelError(f"{path} is not the whole transformer: {lacking[0]} and {len(lacking) - 1} others are missing.", CHOOSE)
    return made


def _quantised(kind: type, path: Path, dtype: torch.dtype) -> Any:
    """GGUF: matrices stay as they are stored, everything else is widened at once."""
    from diffusers import GGUFQuantizationConfig
    from diffusers.models.model_loading_utils import load_gguf_checkpoint
    from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor
    state = _own(kind, load_gguf_checkpoint(str(path)))
    for name, weights in state.items():
        matrix = name.endswith(".weight") and not name.startswith("fps_embedding.")
        if isinstance(weights, GGUFParameter) and (len(weights.quant_shape) != 2 or not matrix):
            state[name] = dequantize_gguf_tensor(weights).float()
    _fitting(kind, path, {name: tuple(getattr(weights, "quant_shape", weights.shape)) for name, weights in _renamed(kind, state).items()})
    return kind.from_single_file(state, config=str(path.parent), local_files_only=True, dtype=dtype,
                                 quantization_config=GGUFQuantizationConfig(compute_dtype=dtype))


def _plain(kind: type, path: Path, dtype: torch.dtype) -> Any:
    """Safetensors, with what the class keeps in full precision in full precision, as `from_pretrained` does.

    Weights that have a scale are multiplied by it, each as it is widened: the file is mapped, so that never more than one is there twice.
    """
    import torch
    from safetensors.torch import load_file
    read = load_file(path)
    mine = _own(kind, read)
    scales = {id(read[name]): read[scale] for name, scale in scaled.scales(path, admission.header(path)[0]).items() if bare(name) in mine}
    state = _renamed(kind, mine)
    _fitting(kind, path, {name: tuple(weights.shape) for name, weights in state.items()})
    whole = set(kind._keep_in_fp32_modules or ())
    for name, weights in state.items():
        state[name] = _widened(weights, scales.pop(id(weights), None)).to(torch.float32 if whole & set(name.split(".")) else dtype)
    if scales:          # diffusers' mapping made another tensor of one
        raise ModelError(f"{path} has scales for weights of 8 bits that are not where they were; take the same model as GGUF or in 16 bits.", CHOOSE)
    made = _empty(kind, path)
    made.load_state_dict(state, strict=False, assign=True)
    return made


def _widened(weights: Tensor, scale: Tensor | None) -> Tensor:
    """Times its scale, one number or one for each row, in full precision."""
    return weights if scale is None else weights.float() * scale.float().reshape(-1, *[1] * (weights.ndim - 1))


def _renamed(kind: type, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names -> diffusers'."""
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES, _get_single_file_loadable_mapping_class
    return SINGLE_FILE_LOADABLE_CLASSES[_get_single_file_loadable_mapping_class(kind)]["checkpoint_mapping_fn"](_own(kind, state))


def _own(kind: type, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the transformer alone, under their authors' names but for those that diffusers' own mapping leaves out."""
    found = {bare(name): state[name] for name in own(state)}
    for old, renamed in LEFT_OUT.get(kind.__name__, ()):
        found = {re.sub(old, renamed, name): weights for name, weights in found.items()}
    return found


def connectors(part: Any, path: Path) -> None:
    """Puts LTX-2's text connectors, which some files bring along with their transformer, in the place of `part`'s weights: of its two connectors
    and what stands before them each that is there, which has to be whole. Raises ModelError."""
    found = _connectors(path)
    brought = {name.partition(".")[0] for name in found}
    places = {name: tuple(weights.shape) for name, weights in part.state_dict().items() if name.partition(".")[0] in brought}
    odd = sorted(name for name in found.keys() | places.keys() if name not in found or places.get(name) != tuple(found[name].shape))
    if odd:
        raise ModelError(f"{path} brings text connectors that do not fit the model that it was imported for: {odd[0]} is another one.", CHOOSE)
    part.load_state_dict({name: weights.to(part.dtype) for name, weights in found.items()}, strict=False)


def _connectors(path: Path) -> dict[str, Tensor]:
    """The text connectors' tensors in a file, under diffusers' names."""
    if path.suffix == quantised.SUFFIX:
        from diffusers.models.model_loading_utils import load_gguf_checkpoint
        from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor
        state = {name: dequantize_gguf_tensor(weights) if isinstance(weights, GGUFParameter) else weights
                 for name, weights in load_gguf_checkpoint(str(path)).items() if CONNECTORS.match(bare(name))}
    else:
        from safetensors import safe_open
        scales = scaled.scales(path, admission.header(path)[0])
        with safe_open(path, "pt") as file:
            state = {name: _widened(file.get_tensor(name), file.get_tensor(scales[name]) if name in scales else None)
                     for name in file.keys() if CONNECTORS.match(bare(name)) and not scaled.beside(name)}
    found = {}
    for name, weights in state.items():
        renamed = bare(name)
        for old, new in CONNECTED:
            renamed = renamed.replace(old, new)
        found[renamed] = weights
    return found


def _fitting(kind: type, path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Every tensor has its place in the model, of its shape. Raises ModelError."""
    places = {name: tuple(weights.shape) for name, weights in _empty(kind, path).state_dict().items()}
    odd = sorted(name for name, shape in shapes.items() if places.get(name) != shape)
    if odd:
        found, wanted = _sides(shapes[odd[0]]), _sides(places.get(odd[0]))
        raise ModelError(f"{path} does not fit the model that it was imported for: {odd[0]} is {found}, not {wanted}.", CHOOSE)


def _sides(shape: tuple[int, ...] | None) -> str:
    return "x".join(map(str, shape)) if shape is not None else "known"


def _empty(kind: type, path: Path) -> Any:
    """The model without weights."""
    from accelerate import init_empty_weights
    with init_empty_weights():
        return kind.from_config(kind.load_config(str(path.parent), local_files_only=True))
