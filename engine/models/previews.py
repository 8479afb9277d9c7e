"""TAEHV's tiny decoders (Ollin Boer Bohan) by their published names: which latents each one draws, and whether a file is one. Names and shapes only."""
from __future__ import annotations

from pathlib import Path

from ..errors import CHOOSE, ModelError
from .admission import Tensor
from .store import Store

PUBLISHED = "https://github.com/madebyollin/taehv"      # its folder `safetensors` has what its pickles have
KIND = "preview"
# name -> whose latents, their channels, pixels of a side that the last layer makes of each of its own
KNOWN = {"taew2_1": ("wan", 16, 1), "taew2_2": ("wan", 48, 2), "taeltx_2": ("ltx2", 128, 4), "taeltx2_3": ("ltx2", 128, 4)}
STAGES = (3, 9, 15)             # where the three stages begin in the published numbering: three blocks, an enlargement, two convolutions
LAYERS = ("decoder.1.weight", *(f"decoder.{stage + block}.conv.{layer}.weight" for stage in STAGES for block in range(3) for layer in (0, 2, 4)),
          *(f"decoder.{stage + 4}.conv.weight" for stage in STAGES), *(f"decoder.{stage + 5}.weight" for stage in STAGES), "decoder.22.weight")


def is_one(tensors: dict[str, Tensor]) -> bool:
    """Whether these are a tiny decoder's tensors, of whatever width."""
    return {"decoder.1.weight", "decoder.3.conv.0.weight"} <= set(tensors)


def called(source: Path, tensors: dict[str, Tensor], name: str = "", family: str = "") -> str:
    """Which of KNOWN the file at `source` is, by its own name, or as it was given one. Raises ModelError."""
    lacking = next((layer for layer in LAYERS if layer not in tensors), "")
    if lacking:
        raise ModelError(f"{source.name} is a tiny decoder of another make, without {lacking}; previews are drawn by {', '.join(KNOWN)}.", CHOOSE)
    channels, made = tensors["decoder.1.weight"].shape[1], tensors["decoder.22.weight"].shape[0]
    fitting = [each for each, (_, has, side) in KNOWN.items() if (has, 3 * side ** 2) == (channels, made)]
    asked = name or source.stem.lower()
    if asked not in fitting:
        choice = f"give it the --name {' or '.join(fitting)} if it is that" if fitting else f"previews are drawn by {', '.join(KNOWN)}"
        raise ModelError(f"{source.name} is a tiny decoder of {channels} channels, which “{asked}” is not known for; {choice}.", CHOOSE)
    if family not in ("", KNOWN[asked][0]):
        raise ModelError(f"{source.name} draws previews of {KNOWN[asked][0]}, not of {family}.", CHOOSE)
    return asked


def file(name: str, folder: Path) -> Path | None:
    """The decoder `name` of the models folder, imported and as it was then; None where there is none. Raises ModelError, FolderError."""
    store = Store(folder)
    found = next((model for model in store.installed() if (model.name, model.kind) == (name, KIND)), None)
    if found is None:
        return None
    store.check(found)
    return found.path
