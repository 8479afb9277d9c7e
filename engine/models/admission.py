"""What may lie in a model folder: plain names, safetensors and GGUF with an honest header, JSON without code in it.

Everything is judged from the bytes before any library opens them. Tensor names are compared, never made into paths.
"""
from __future__ import annotations

import functools
import json
import math
import os
import re
import struct
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..errors import CHOOSE, ModelError
from . import quantised

WEIGHTS = ".safetensors"
KEPT = (WEIGHTS, quantised.SUFFIX, ".json", ".txt", ".model")                 # weights, configurations, tokenizers
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
REFUSED = (*PICKLES, ".py", ".pyc", ".so", ".dll", ".dylib", ".zip", ".tar", ".gz", ".7z", ".sh", ".bat", ".exe", ".ps1")
HEADER_BYTES = 25_000_000               # the hub's own limit for a safetensors header
TENSORS = 50_000
TENSOR_NAME = 1_000                     # characters
JSON_BYTES = 100_000_000                # large tokenizers are about a third of this
LIBRARIES = ("diffusers", "transformers", "ltx2", "sana_wm", "wan", "skyreels_v2", "cogvideo")
BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6,
        "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+\- ()]*")
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
RECORD = "sora.json"                    # our own note in a model's folder; no part of the model


class Tensor(NamedTuple):
    dtype: str
    shape: tuple[int, ...]


def admit_name(path: str) -> PurePosixPath:
    """The relative path `path` of a model file, checked part by part. Raises ModelError."""
    pure = PurePosixPath(path)
    parts = path.split("/")
    plain = all(NAME.fullmatch(part) and not RESERVED.fullmatch(part) and not part.endswith((".", " ")) for part in parts)
    if not plain or len(path) > 400 or len(parts) > 6:
        raise ModelError(f"The file name {path[:80]!r} is not one that a model needs; nothing of it was taken.", CHOOSE)
    return pure


def is_kept(path: str) -> bool:
    """Whether a file of this name is needed to run a model."""
    return PurePosixPath(path).suffix.lower() in KEPT


def is_pickle(path: str) -> bool:
    """Whether a file of this name holds weights in a form that can run code."""
    return PurePosixPath(path).suffix.lower() in PICKLES


def is_refused(path: str) -> bool:
    """Whether a file of this name could run code when it is loaded."""
    return PurePosixPath(path).suffix.lower() in REFUSED


def files_of(folder: Path) -> list[str]:
    """Relative paths of the model's files below `folder`, sorted. Raises ModelError when one could run code."""
    kept = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            relative = path.relative_to(folder).as_posix()
            if is_refused(name):
                raise ModelError(f"{path} could run code when it is loaded; convert it to safetensors or take it out of the folder.", CHOOSE)
            if is_kept(name) and not name.startswith(".") and relative != RECORD:
                admit_name(relative)
                kept.append(relative)
    return sorted(kept)


def check_file(path: Path) -> None:
    """Raises ModelError when the model file at `path` is not what its name says or is damaged."""
    if path.suffix.lower() in (WEIGHTS, quantised.SUFFIX):
        header(path)
    elif path.suffix.lower() == ".json":
        check_json(path)


# ---------------------------------------------------------------- weights
def header(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors or GGUF file. Raises ModelError for anything that the format does not allow.

    Format of the former: https://github.com/huggingface/safetensors#format; a length of 8 bytes, JSON, then the tensors without gaps.
    A file that is as it was is not read again.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    return _header(path, facts.st_size, (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino))


@functools.lru_cache(maxsize=512)
def _header(path: Path, size: int, state: tuple[int, ...]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As `header`; `state` is what changes with the file's content."""
    try:
        if path.suffix.lower() == quantised.SUFFIX:
            tensors, said = quantised.tensors(path, size)
            return {name: Tensor(*facts) for name, facts in tensors.items()}, said
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(HEADER_BYTES, size - 8):
                raise damaged(path, "its header is cut off or too long")
            fields = json.loads(file.read(length), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its header cannot be read ({error})") from error
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    metadata = fields.pop("__metadata__", {}) if isinstance(fields, dict) else None
    if not isinstance(metadata, dict) or len(fields) > TENSORS:
        raise damaged(path, "its header is not a list of tensors, or lists too many")
    return _tensors(path, fields, size - 8 - length), {str(key): str(value) for key, value in metadata.items()}


def _tensors(path: Path, fields: dict, room: int) -> dict[str, Tensor]:
    """The tensors of a header, whose bytes must fill `room` bytes exactly. Raises ModelError."""
    tensors, spans = {}, []
    for name, facts in fields.items():
        if len(name) > TENSOR_NAME or not isinstance(facts, dict) or facts.get("dtype") not in BITS:
            raise damaged(path, f"the tensor {name[:60]!r} is of an unknown type")
        shape, offsets = facts.get("shape"), facts.get("data_offsets")
        if not _counts(shape, 16) or not _counts(offsets, 2) or len(offsets) != 2:
            raise damaged(path, f"the tensor {name[:60]!r} has no proper shape or place")
        if (offsets[1] - offsets[0]) * 8 != math.prod(shape) * BITS[facts["dtype"]]:
            raise damaged(path, f"the tensor {name[:60]!r} is not as long as its shape says")
        tensors[name] = Tensor(facts["dtype"], tuple(shape))
        spans.append(tuple(offsets))
    end = 0
    for first, last in sorted(spans):
        if first != end:
            raise damaged(path, "its tensors overlap or leave gaps")
        end = last
    if end != room:
        raise damaged(path, f"{room} bytes of tensors are there, {end} belong there")
    return tensors


def _counts(values, most: int) -> bool:
    whole = isinstance(values, list) and len(values) <= most
    return whole and all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48 for value in values)


def _once(pairs: list[tuple]) -> dict:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a name appears twice")
    return dict(pairs)


# ---------------------------------------------------------------- JSON
def check_json(path: Path) -> object:
    """The JSON in `path`, without anything in it that names code to run. Raises ModelError."""
    try:
        if path.stat().st_size > JSON_BYTES:
            raise damaged(path, "it is too large for a configuration")
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not JSON ({error})") from error
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    if isinstance(value, dict) and not isinstance(value.get("_class_name", ""), str):
        raise ModelError(f"{path} names its class by a list, which would load code from the folder; it is refused.", CHOOSE)
    if path.name == "model_index.json":
        components(value, path)
    if path.name.endswith(".index.json"):
        _check_shards(value, path)
    return value


def components(index: object, path: Path) -> dict[str, tuple[str, str]]:
    """Component -> (library, class) of a `model_index.json`. Raises ModelError for other libraries than the known ones."""
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise damaged(path, "it does not name a pipeline")
    found = {}
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        strings = len(value) == 2 and all(isinstance(part, str) for part in value)
        if not strings or value[0] not in LIBRARIES or not value[1].isidentifier():
            raise ModelError(f"{path} wants {name} from {str(value)[:60]}, which is not a library that a model may use.", CHOOSE)
        found[admit_name(name).name] = (value[0], value[1])
    return found


def _check_shards(value: object, path: Path) -> None:
    """Every shard that an index names lies beside it. Raises ModelError."""
    shards = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise damaged(path, "it does not say where its tensors are")
    for name in sorted(set(shards.values())):
        if "/" in name or not admit_name(name).name.endswith(WEIGHTS):
            raise ModelError(f"{path} points at {name[:60]!r}, which is not a safetensors file beside it.", CHOOSE)
        if not (path.parent / name).is_file():
            raise ModelError(f"{path.parent} lacks {name}, one of {len(set(shards.values()))} parts; pull or copy it again.", CHOOSE)


def check_folder(folder: Path) -> list[str]:
    """Relative paths of a diffusers model's files, every one checked and no component missing. Raises ModelError."""
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"{folder} has no model_index.json, so it is not a diffusers model folder.", CHOOSE)
    kept = files_of(folder)
    for name in kept:
        check_file(folder / name)
    wanted = components(check_json(folder / "model_index.json"), folder / "model_index.json")
    for component in wanted:
        if not any(name.startswith(f"{component}/") for name in kept):
            raise ModelError(f"{folder} lacks {component}, which its model_index.json asks for; pull or copy it again.", CHOOSE)
    return kept


def damaged(path: Path, why: str) -> ModelError:
    """The error for a file that cannot be what it claims."""
    return ModelError(f"{path} is damaged or not a model file: {why}.", CHOOSE)
