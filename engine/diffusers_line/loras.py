"""LoRAs on transformers: put on, weighted anew and taken off without loading the model again."""
from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from ..errors import CHOOSE, ModelError
from ..models import admission

log = logging.getLogger(__name__)

FLAT, HALVES = "lora_unet__", {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}       # in VideoX-Fun's files


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
        wearing = self._wearing(path)
        state = _state(path, wearing[0])
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


def _state(path: Path, transformer: Any) -> dict[str, Any]:
    """The file's tensors under diffusers' names, for this transformer. Raises ModelError."""
    from safetensors.torch import load_file
    if path.suffix.lower() != admission.WEIGHTS:
        raise ModelError(f"{path.name} is not a safetensors file; LoRAs of other kinds could run code.", CHOOSE)
    admission.header(path)
    return _diffusers_names(load_file(path), path, transformer)


def _spelled(state: dict[str, Any], transformer: Any) -> dict[str, Any]:
    """VideoX-Fun's names, in which underscores stand for dots too, -> diffusers', by the layers that there are. Raises KeyError.

    https://github.com/aigc-apps/VideoX-Fun, videox_fun/utils/lora_utils.py: what a layer adds is up(down(x)) * alpha / rank.
    """
    layers, found = {name.replace(".", "_"): name for name, _ in transformer.named_modules()}, {}
    for name, tensor in state.items():
        layer, _, part = name.removeprefix(FLAT).partition(".")
        if part == "lora_up.weight":
            tensor = tensor * (float(state.get(f"{FLAT}{layer}.alpha", tensor.shape[1])) / tensor.shape[1])
        if part != "alpha":
            found[f"transformer.{layers[layer]}.{HALVES[part]}"] = tensor
    return found


def _diffusers_names(state: dict[str, Any], path: Path, transformer: Any) -> dict[str, Any]:
    """Kohya's, Musubi's, VideoX-Fun's, Wan's and LTX-2's own names -> diffusers'. Raises ModelError."""
    from diffusers.loaders import lora_conversion_utils as conversion
    try:
        if any(name.startswith(f"{FLAT}transformer_blocks_") for name in state):
            state = _spelled(state, transformer)
        elif any(name.startswith("lora_unet_") for name in state):
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
