"""A diffusers model folder -> its components, each by a class that the family names; nothing in the folder chooses code."""
from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from ..errors import CHOOSE, ModelError
from ..models import admission, assembling
from . import single_file

log = logging.getLogger(__name__)

FLOW_SCHEDULERS = ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler", "FlowUniPCMultistepScheduler")
UMT5 = {"tokenizer": ("T5TokenizerFast", "T5Tokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"),
        "text_encoder": ("UMT5EncoderModel", "T5EncoderModel")}
GEMMA_TOKENIZERS = ("GemmaTokenizer", "GemmaTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend")


def index(folder: Path) -> dict[str, Any]:
    """The folder's `model_index.json`. Raises ModelError."""
    return admission.check_json(folder / "model_index.json")


def configuration(folder: Path, component: str) -> dict[str, Any]:
    """The `config.json` of a component; {} when it has none. Raises ModelError."""
    path = folder / component / "config.json"
    return admission.check_json(path) if path.is_file() else {}


def components(folder: Path, allowed: dict[str, tuple[str, ...]], dtypes: dict[str, Any], optional: tuple[str, ...] = (),
               own: dict[str, type] | None = None) -> dict[str, Any]:
    """Component -> object, on the CPU, in evaluation mode. `own` are classes of this engine that stand in for diffusers'.

    Raises ModelError for a class that is not allowed, a missing component and anything that cannot be read.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")        # read when the libraries are imported: a folder is all there is
    admission.check_folder(folder)
    named = admission.components(index(folder), folder / "model_index.json")
    found: dict[str, Any] = dict.fromkeys(optional)
    for component, classes in allowed.items():
        if component not in named:
            if component in optional:
                continue
            raise ModelError(f"{folder} has no {component}; it is not a model of this family.", CHOOSE)
        library, name = named[component]
        if name not in classes:
            raise ModelError(f"{folder} wants {component} to be a {name}; this family takes {' or '.join(classes)}.", CHOOSE)
        kind = (own or {}).get(name) or _class(name, component)
        found[component] = _opened(kind, folder / component, dtypes.get(component))
    return found


def aside(folder: Path, allowed: dict[str, tuple[str, ...]], dtypes: dict[str, Any]) -> dict[str, Any]:
    """As `components`, of those folders that no pipeline's index names but that are there; their own configurations name the class."""
    found = {}
    for component, classes in allowed.items():
        name = configuration(folder, component).get("_class_name")
        if name is None:
            continue
        if name not in classes:
            raise ModelError(f"{folder} wants {component} to be {str(name)[:60]!r}; this family takes {' or '.join(classes)}.", CHOOSE)
        found[component] = _opened(_class(name, component), folder / component, dtypes.get(component))
    return found


def _class(name: str, component: str) -> type:
    """The class called `name` in the one library that makes such components. Raises ModelError."""
    import diffusers
    import transformers
    kind = getattr(diffusers, name, None) or getattr(transformers, name, None) or _elsewhere(name)
    if kind is None:
        raise ModelError(f"This engine's libraries have no class called {name} for {component}.", CHOOSE)
    return kind


def _elsewhere(name: str) -> type | None:
    """Classes that diffusers keeps below its own top."""
    from diffusers.pipelines import ltx2
    there = ("LTX2TextConnectors", "LTX2Vocoder", "LTX2VocoderWithBWE", "LTX2LatentUpsamplerModel")
    return getattr(ltx2, name, None) if name in there else None


def _opened(kind: type, folder: Path, dtype) -> Any:
    """`kind.from_pretrained`, from this folder alone, or the one file with its weights. Raises ModelError."""
    from safetensors import SafetensorError
    weights = {} if dtype is None else {"dtype": dtype, "use_safetensors": True}
    alone = assembling.single(folder)
    try:
        made = single_file.opened(kind, alone, dtype) if alone else kind.from_pretrained(str(folder), local_files_only=True, **weights)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
        raise ModelError(f"{folder} cannot be loaded: {type(error).__name__}: {str(error)[:300]}.", CHOOSE) from error
    return made.eval().requires_grad_(False) if hasattr(made, "eval") else made
