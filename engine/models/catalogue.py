"""What can be had, from public documentation: repositories, licences, sizes, each with its source.

`catalogue.json` is the only data; what could not be looked up is named in `unverified`. Revisions and hashes are not
here: the hub itself says them at the first pull, and `models.lock.json` keeps them.
"""
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import CHOOSE, ModelError
from ..protocol import Weights

FILE = Path(__file__).with_name("catalogue.json")
WHOLE = ("diffusers", "native")         # kinds that are a model by themselves, opened as a folder; native: of the embedded family's own make
KINDS = (*WHOLE, "lora", "preview")     # preview: a tiny decoder that draws them, see previews.py
BYTES = 2                               # of a parameter in 16 bits
SHARDS = re.compile(r"#{5}-of-(\d{5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """The licence of the weights. `id` is what a person accepts; `text` and `source` are addresses."""

    id: str
    label: str
    text: str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One set of weights that can be pulled."""

    name: str
    family: str
    label: str
    repository: str                         # owner/name on the hub
    source: str                             # where the repository is documented
    licence: Licence
    pipeline: str                           # the diffusers class that its documentation loads it with
    kind: str = "diffusers"
    billions: float = 0.0                   # parameters of its transformer, of one where it has two: by its name, SANA-WM's counted; 0: not known
    does: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()           # components that the pipeline registers; anything else in the repository is left there
    skip: tuple[str, ...] = ()              # beginnings of paths that no loader opens: transformers never reads diffusion_pytorch_model*
    files: tuple[str, ...] = ()             # file names, where documented; shards written out
    files_source: str = ""
    size: int = 0                           # bytes, 0: not documented
    size_source: str = ""
    size_note: str = ""
    unverified: tuple[str, ...] = ()        # what could not be looked up

    def wants(self, path: str) -> bool:
        """Whether the file `path` of the repository belongs to this model."""
        if not self.folders:
            return path in self.files
        if path.startswith(self.skip):
            return False
        return path == "model_index.json" or path.partition("/")[0] in self.folders and "/" in path


@cache
def entries() -> tuple[Entry, ...]:
    """Everything in the catalogue, in its order."""
    written = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(_entry(fields, written) for fields in written["models"])


def entry(name: str) -> Entry:
    """The entry called `name`. Raises ModelError."""
    for candidate in entries():
        if candidate.name == name:
            return candidate
    raise ModelError(f"The catalogue has no model called {name!r}; there are: {', '.join(known.name for known in entries())}.", CHOOSE)


def weights(family: str) -> tuple[Weights, ...]:
    """What the catalogue knows of the room that a family's models take, for its SPEC."""
    return tuple(Weights(model=one.name, disk=one.size, memory=round(one.billions * 10**9) * BYTES, note=one.size_note)
                 for one in entries() if one.family == family and one.kind == "diffusers")


def _entry(fields: dict, written: dict) -> Entry:
    sources, licence = written["sources"], written["licences"][fields["licence"]]
    size, files = fields.get("size", {}), fields.get("files", {})
    return Entry(
        **{key: fields[key] for key in ("name", "family", "label", "repository", "pipeline")},
        source=sources[fields["source"]], kind=fields.get("kind", "diffusers"),
        licence=Licence(**{**licence, "text": sources[licence["text"]], "source": sources[licence["source"]]}),
        billions=fields.get("billions", 0.0), does=tuple(fields["does"]), folders=tuple(fields["folders"]),
        skip=tuple(fields.get("skip", ())),
        files=tuple(name for written_name in files.get("names", ()) for name in _shards(written_name)),
        files_source=sources[files["source"]] if files else "",
        size=size.get("bytes", 0), size_source=sources[size["source"]] if size else "", size_note=size.get("note", ""),
        unverified=tuple(fields["unverified"]))


def _shards(name: str) -> list[str]:
    """`model-#####-of-00003.safetensors` -> its three names; any other name alone."""
    match = SHARDS.search(name)
    if not match:
        return [name]
    return [name.replace("#####", f"{shard:05d}") for shard in range(1, int(match[1]) + 1)]
