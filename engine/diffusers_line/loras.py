"""LoRAs on transformers: put on, weighted anew and taken off without loading the model again."""
from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from ..errors import CHOOSE, ModelError
from ..models import admission

log = logging.getLogger(__name__)


class Wardrobe:
    """Which LoRAs the transformers wear. Weights of the model itself are never merged, so taking off is exact."""

    def __init__(self, transformers: list[Any]):
        self._transformers = transformers
        self._worn: dict[str, str] = {}             # adapter -> path, size and time of its file

    def wear(self, loras) -> tuple[str, ...]:
        """Exactly these (path, strength). Returns notes. Raises ModelError for a file that is none or fits another model."""
        wanted = {_name(Path(path)): (Path(path), strength) for path, strength in loras}
        for name in [name for name in self._worn if name not in wanted]:
            self._take_off(name)
        for name, (path, _) in wanted.items():
            if name not in self._worn:
                self._put_on(name, path)
        if wanted:
            for transformer in self._transformers:
                transformer.set_adapters(list(wanted), [strength for _, strength in wanted.values()])
        return tuple(f"LoRA {path.stem} at {strength:g}" for path, strength in wanted.values())

    def _put_on(self, name: str, path: Path) -> None:
        state = _state(path)
        self._worn[name] = str(path)
        try:
            for transformer in self._transformers:
                transformer.load_lora_adapter(state, prefix="transformer", adapter_name=name)
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            self._take_off(name)
            raise ModelError(f"The LoRA {path.name} does not fit this model: {str(error)[:200]}.", CHOOSE) from error
        if not all(name in (getattr(transformer, "peft_config", None) or {}) for transformer in self._transformers):
            self._take_off(name)
            raise ModelError(f"The LoRA {path.name} changes nothing in this model; it is made for another family.", CHOOSE)

    def _take_off(self, name: str) -> None:
        self._worn.pop(name, None)
        for transformer in self._transformers:
            there = getattr(transformer, "peft_config", None) or {}
            if name not in there:
                continue
            if len(there) == 1:
                transformer.unload_lora()           # plain layers again
            else:
                transformer.delete_adapters(name)


def _name(path: Path) -> str:
    """The adapter's name: the file and its state, because a file of the same name may be another one."""
    try:
        facts = path.stat()
    except OSError as error:
        raise ModelError(f"The LoRA {path} cannot be read: {error.strerror}.", CHOOSE) from error
    return "lora_" + hashlib.sha256(f"{path}/{facts.st_size}/{facts.st_mtime_ns}".encode()).hexdigest()[:16]


def _state(path: Path) -> dict[str, Any]:
    """The file's tensors under diffusers' names. Raises ModelError."""
    from safetensors.torch import load_file
    if path.suffix.lower() != admission.WEIGHTS:
        raise ModelError(f"{path.name} is not a safetensors file; LoRAs of other kinds could run code.", CHOOSE)
    admission.header(path)
    return _diffusers_names(load_file(path), path)


def _diffusers_names(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Kohya's, Musubi's and Wan's own names -> diffusers'. Raises ModelError."""
    from diffusers.loaders import lora_conversion_utils as conversion
    try:
        if any(name.startswith("lora_unet_") for name in state):
            state = conversion._convert_musubi_wan_lora_to_diffusers(state)
        elif any(name.startswith("diffusion_model.") for name in state):
            state = conversion._convert_non_diffusers_wan_lora_to_diffusers(state)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The LoRA {path.name} has names that are not known here: {str(error)[:200]}.", CHOOSE) from error
    if not any("lora" in name for name in state):
        raise ModelError(f"{path.name} is no LoRA.", CHOOSE)
    return state if any(name.startswith("transformer.") for name in state) else {f"transformer.{name}": tensor for name, tensor in state.items()}
