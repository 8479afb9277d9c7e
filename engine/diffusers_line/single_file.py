"""A transformer whose weights lie in one file under their authors' names: safetensors as they are, GGUF widened layer by layer as it is used."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CHOOSE, ModelError
from ..models import quantised
from ..models.recognise import bare

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
    state = {bare(name): weights for name, weights in load_gguf_checkpoint(str(path)).items()}
    for name, weights in state.items():
        if isinstance(weights, GGUFParameter) and (len(weights.quant_shape) != 2 or not name.endswith(".weight")):
            state[name] = dequantize_gguf_tensor(weights).float()
    _fitting(kind, path, {name: tuple(getattr(weights, "quant_shape", weights.shape)) for name, weights in _renamed(kind, state).items()})
    return kind.from_single_file(state, config=str(path.parent), local_files_only=True, dtype=dtype,
                                 quantization_config=GGUFQuantizationConfig(compute_dtype=dtype))


def _plain(kind: type, path: Path, dtype: torch.dtype) -> Any:
    """Safetensors, with what the class keeps in full precision in full precision, as `from_pretrained` does."""
    import torch
    from safetensors.torch import load_file
    state = _renamed(kind, load_file(path))
    _fitting(kind, path, {name: tuple(weights.shape) for name, weights in state.items()})
    whole = set(kind._keep_in_fp32_modules or ())
    for name, weights in state.items():
        state[name] = weights.to(torch.float32 if whole & set(name.split(".")) else dtype)
    made = _empty(kind, path)
    made.load_state_dict(state, strict=False, assign=True)
    return made


def _renamed(kind: type, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names -> diffusers'."""
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES, _get_single_file_loadable_mapping_class
    found = {bare(name): weights for name, weights in state.items()}
    return SINGLE_FILE_LOADABLE_CLASSES[_get_single_file_loadable_mapping_class(kind)]["checkpoint_mapping_fn"](found)


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
