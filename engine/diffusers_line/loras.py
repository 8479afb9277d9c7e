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

    def __init__(self, transformers: list[Any], connectors: Any = None):
        """`connectors`: what brings a text to the transformer, where LoRAs may have a part for it."""
        self._transformers, self._connectors = transformers, connectors
        self._there: set[str] = set()               # adapters that are loaded, worn or not
        self._experts: dict[str, int] = {}          # path -> the one transformer that it is for, counted from 1

    def wear(self, loras, later=(), experts: dict[str, int] | None = None) -> tuple[str, ...]:
        """Exactly these (path, strength), and `later` ready for `change`; `experts` says which are for one transformer alone. Returns notes.
        Raises ModelError for a file that is none or fits another model."""
        self._experts = experts or {}
        wanted = {self._name(path): Path(path) for path, _ in (*loras, *later)}
        for name in self._there - set(wanted):
            self._take_off(name)
        for name, path in wanted.items():
            if name not in self._there:
                self._put_on(name, path)
        self.change(loras)
        return tuple(f"LoRA {Path(path).stem} at {strength:g}" for path, strength in loras)

    def change(self, loras) -> None:
        """Goes over to exactly these of the (path, strength) that are ready, without loading anything."""
        wanted = {self._name(path): strength for path, strength in loras}
        for part in self._parts():
            own = {name: strength for name, strength in wanted.items() if name in part.peft_config}
            if own:
                part.enable_adapters()
                part.set_adapters(list(own), list(own.values()))
            else:
                part.disable_adapters()

    def _parts(self) -> list[Any]:
        """What has adapters."""
        return [part for part in (*self._transformers, self._connectors) if getattr(part, "peft_config", None)]

    def _name(self, path) -> str:
        """The adapter's name; the same file for one expert and for both are two."""
        return f"{_name(Path(path))}_{self._experts.get(str(path), 0)}"

    def _wearing(self, path: Path) -> list[Any]:
        """The transformers that a LoRA is for. Raises ModelError."""
        expert = self._experts.get(str(path), 0)
        if not expert:
            return self._transformers
        if len(self._transformers) < 2:
            raise ModelError(f"The LoRA {path.name} is for one of two transformers, and this model has one.", CHOOSE)
        return [self._transformers[expert - 1]]

    def _put_on(self, name: str, path: Path) -> None:
        state, wearing = _state(path), self._wearing(path)
        self._there.add(name)
        try:
            for transformer in wearing:
                transformer.load_lora_adapter(state, prefix="transformer", adapter_name=name)
            if self._connectors is not None and any(key.startswith("connectors.") for key in state):
                self._connectors.load_lora_adapter(state, prefix="connectors", adapter_name=name)
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            self._take_off(name)
            raise ModelError(f"The LoRA {path.name} does not fit this model: {str(error)[:200]}.", CHOOSE) from error
        if not all(name in (getattr(transformer, "peft_config", None) or {}) for transformer in wearing):
            self._take_off(name)
            raise ModelError(f"The LoRA {path.name} changes nothing in this model; it is made for another family.", CHOOSE)

    def _take_off(self, name: str) -> None:
        self._there.discard(name)
        for part in self._parts():
            if name not in part.peft_config:
                continue
            if len(part.peft_config) == 1:
                part.unload_lora()                  # plain layers again
            else:
                part.delete_adapters(name)


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
    """Kohya's, Musubi's, Wan's and LTX-2's own names -> diffusers'. Raises ModelError."""
    from diffusers.loaders import lora_conversion_utils as conversion
    try:
        if any(name.startswith("lora_unet_") for name in state):
            state = conversion._convert_musubi_wan_lora_to_diffusers(state)
        elif any(name.startswith("diffusion_model.") and ".transformer_blocks." in name for name in state):
            text = conversion._convert_non_diffusers_ltx2_lora_to_diffusers(state, "text_embedding_projection")
            state = conversion._convert_non_diffusers_ltx2_lora_to_diffusers(state) | text
        elif any(name.startswith("diffusion_model.") for name in state):
            state = conversion._convert_non_diffusers_wan_lora_to_diffusers(state)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The LoRA {path.name} has names that are not known here: {str(error)[:200]}.", CHOOSE) from error
    if not any("lora" in name for name in state):
        raise ModelError(f"{path.name} is no LoRA.", CHOOSE)
    return state if any(name.startswith("transformer.") for name in state) else {f"transformer.{name}": tensor for name, tensor in state.items()}
