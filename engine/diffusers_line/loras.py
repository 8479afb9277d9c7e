"""LoRAs on transformers: put on, weighted anew and taken off without loading the model again."""
from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import CHOOSE, ModelError
from ..models import admission
from ..protocol import EXPERTS

log = logging.getLogger(__name__)

FLAT, HALVES = "lora_unet__", {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}       # in VideoX-Fun's files


class Wardrobe:
    """Which LoRAs the transformers wear. Weights of the model itself are never merged, so taking off is exact."""

    def __init__(self, transformers: list[Any], connectors: Any = None):
        """`connectors`: what brings a text to the transformer, where LoRAs may have a part for it."""
        self._transformers, self._connectors = transformers, connectors
        self._there: set[str] = set()               # adapters that are loaded, worn or not

    def wear(self, loras, later=(), experts: Sequence[int] = ()) -> tuple[str, ...]:
        """Exactly these (path, strength), and `later` ready for `change`; `experts` says of each for which one of two transformers it is, counted
        from 1, or 0 for all. The same file may be there once for each, at two strengths. Returns notes. Raises ModelError for a file that is
        none or fits another model."""
        whose = tuple(experts) or (0,) * len(loras)
        worn = [(Path(path), strength, expert) for (path, strength), expert in zip(loras, whose, strict=True)]
        ready = [(path, expert) for path, _, expert in worn] + [(Path(path), 0) for path, _ in later]
        wanted = {_name(path, expert): (path, expert) for path, expert in ready}
        for name in self._there - set(wanted):
            self._take_off(name)
        for name, (path, expert) in wanted.items():
            if name not in self._there:
                self._put_on(name, path, expert)
        self._go_over({_name(path, expert): strength for path, strength, expert in worn})
        return tuple(f"LoRA {path.stem} at {strength:g}{f' for {EXPERTS[expert]} noise' if expert else ''}" for path, strength, expert in worn)

    def change(self, loras) -> None:
        """Goes over to exactly these of the (path, strength) that are ready and for all transformers, without loading anything."""
        self._go_over({_name(Path(path)): strength for path, strength in loras})

    def _go_over(self, wanted: dict[str, float]) -> None:
        """To these adapters, which are there, at their strengths."""
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

    def _wearing(self, path: Path, expert: int) -> list[Any]:
        """The transformers that a LoRA is for. Raises ModelError."""
        if not expert:
            return self._transformers
        if len(self._transformers) < 2:
            raise ModelError(f"The LoRA {path.name} is for one of two transformers, and this model has one.", CHOOSE)
        return [self._transformers[expert - 1]]

    def _put_on(self, name: str, path: Path, expert: int) -> None:
        wearing = self._wearing(path, expert)
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


def _name(path: Path, expert: int = 0) -> str:
    """The adapter's name: the file and its state, because a file of the same name may be another one, and whose it is."""
    try:
        facts = path.stat()
    except OSError as error:
        raise ModelError(f"The LoRA {path} cannot be read: {error.strerror}.", CHOOSE) from error
    return f"lora_{hashlib.sha256(f'{path}/{facts.st_size}/{facts.st_mtime_ns}'.encode()).hexdigest()[:16]}_{expert}"


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
