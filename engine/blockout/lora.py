"""LoRAs of the transformer: low-rank additions to its blocks' matrices (Hu et al. 2021), trained, written, put on and taken off.

A file holds `transformer.blocks.<n>.<qkv|out|up|down>.lora_A.weight` (rank, in) and `lora_B.weight` (out, rank), named as peft names
them; B A is added to the matrix. peft itself is not used: to import it takes longer than a shot, and this is all that is needed of it.
"""
from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import CHOOSE, ModelError
from ..models import admission
from .model import NAME
from .transformer import Transformer

FAMILY, RANK = "blockout", 8
MATRICES = ("qkv", "out", "up", "down")
NAMES = re.compile(r"transformer\.(blocks\.\d+\.(?:qkv|out|up|down))\.lora_([AB])\.weight")


def layers(transformer: Transformer) -> dict[str, nn.Linear]:
    """The layers that a LoRA adds to, by their names within the transformer."""
    return {f"blocks.{n}.{name}": getattr(block, name) for n, block in enumerate(transformer.blocks) for name in MATRICES}


# ---------------------------------------------------------------- trained
class LowRank(nn.Module):
    """weight (out, in) -> weight + B A, which is the weight itself until something is learned."""

    def __init__(self, weight: Tensor, rank: int):
        super().__init__()
        out, into = weight.shape
        self.A, self.B = nn.Parameter(torch.randn(rank, into) * into ** -.5), nn.Parameter(torch.zeros(out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.B @ self.A


def sewn(transformer: Transformer, rank: int) -> Transformer:
    """The transformer itself with a LoRA that can be trained, and nothing else that can."""
    transformer.requires_grad_(False)
    for layer in layers(transformer).values():
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))
    return transformer


def save(transformer: Transformer, path: Path, facts: dict[str, str]) -> None:
    """The LoRA that was sewn onto the transformer, in half precision, with `facts` about it."""
    from safetensors.torch import save_file

    state = {}
    for name, layer in layers(transformer).items():
        added = layer.parametrizations.weight[0]
        state |= {f"transformer.{name}.lora_{m}.weight": getattr(added, m).detach().half().contiguous() for m in "AB"}
    save_file(state, path, {"family": FAMILY, "base": NAME, **facts})


# ---------------------------------------------------------------- worn
@dataclass(frozen=True, slots=True)
class Lora:
    pairs: dict[str, tuple[Tensor, Tensor]]                    # layer -> A (rank, in), B (out, rank)
    facts: dict[str, str]


def read(path: Path, wanted: dict[str, nn.Linear]) -> Lora:
    """The LoRA in a file, every matrix of which fits the layers `wanted`. Raises ModelError."""
    from safetensors.torch import load_file

    if path.suffix.lower() != admission.WEIGHTS:
        raise ModelError(f"{path.name} is not a safetensors file; LoRAs of other kinds could run code.", CHOOSE)
    facts = admission.header(path)[1]
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(path).items():
        known = NAMES.fullmatch(name)
        if known is None:
            raise ModelError(f"The LoRA {path.name} is made for another family: Blockout has no {name[:80]}.", CHOOSE)
        found.setdefault(known[1], {})[known[2]] = tensor
    for name, pair in found.items():
        _check(path, name, pair, wanted)
    return Lora({name: (pair["A"], pair["B"]) for name, pair in found.items()}, facts)


def _check(path: Path, name: str, pair: dict[str, Tensor], wanted: dict[str, nn.Linear]) -> None:
    """Whether a pair makes a matrix of the layer's shape. Raises ModelError."""
    if name not in wanted:
        raise ModelError(f"The LoRA {path.name} is for a larger Blockout: this one has no {name}.", CHOOSE)
    out, into = wanted[name].weight.shape
    a, b = (tuple(pair[m].shape) if m in pair else () for m in "AB")
    if len(a) != 2 or len(b) != 2 or (b[0], a[1]) != (out, into) or a[0] != b[1]:
        raise ModelError(f"The LoRA {path.name} does not fit this Blockout: at {name} it has {b} and {a}, where {(out, into)} is needed.", CHOOSE)


class Wardrobe:
    """Which LoRAs a transformer wears. They are added to copies; its own matrices are put back as they were."""

    def __init__(self, transformer: Transformer, folder: Path):
        """`folder` is where the transformer's weights came from."""
        self._layers, self._folder = layers(transformer), folder
        self._bare = {name: layer.weight for name, layer in self._layers.items()}
        self._worn: tuple = ()
        self._notes: tuple[str, ...] = ()

    def wear(self, loras) -> tuple[str, ...]:
        """Exactly these (path, strength). Returns notes. Raises ModelError, and then wears what it wore."""
        wanted = tuple((path, _state(Path(path)), strength) for path, strength in loras)
        if wanted != self._worn:
            read_ones = [(Path(path), read(Path(path), self._layers), strength) for path, _, strength in wanted]
            self._put_on([(one, strength) for _, one, strength in read_ones])
            self._worn, self._notes = wanted, tuple(note for path, one, strength in read_ones for note in self._said(path, one, strength))
        return self._notes

    def _put_on(self, loras: list[tuple[Lora, float]]) -> None:
        for name, layer in self._layers.items():
            bare = self._bare[name]
            added = [strength * (b.float() @ a.float()) for one, strength in loras if strength and name in one.pairs for a, b in (one.pairs[name],)]
            layer.weight = bare if not added else nn.Parameter((bare.float() + sum(added).to(bare.device)).to(bare.dtype), requires_grad=False)

    def _said(self, path: Path, one: Lora, strength: float) -> tuple[str, ...]:
        said = (f"LoRA {path.stem} at {strength:g}",)
        base = one.facts.get("base_sha256", "")
        return said if base in ("", digest(self._folder)) else (*said, f"LoRA {path.stem} was trained on other weights of Blockout than these")


def digest(folder: Path) -> str:
    """The sha256 of the weights in a folder."""
    with (folder / f"{NAME}.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: Path) -> tuple[int, int]:
    """Size and time: a file of the same name may be another one. Raises ModelError."""
    try:
        facts = path.stat()
    except OSError as error:
        raise ModelError(f"The LoRA {path} cannot be read: {error.strerror}.", CHOOSE) from error
    return facts.st_size, facts.st_mtime_ns
