"""Models that are already on a disk: a diffusers folder, one of Blockout's, a safetensors or GGUF file, a LoRA, a decoder of previews. Copied or
linked, never run."""
from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import shutil
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import CHOOSE, DiskFull, ModelError, Remedy
from . import assembling, catalogue, links, previews, quantised, recognise
from .admission import REFUSED, WEIGHTS, admit_name, check_file, check_folder, check_json, files_of, header
from .assembling import Assembly
from .lock import unwritable
from .progress import Progress
from .pull import RESERVE, free_space
from .store import Installed, Kept, Store, digest

log = logging.getLogger(__name__)

CLASSES = {"WanPipeline": "wan", "WanImageToVideoPipeline": "wan", "WanVideoToVideoPipeline": "wan", "WanVACEPipeline": "vace",
           "LTX2Pipeline": "ltx2", "LTX2ImageToVideoPipeline": "ltx2", "LTX2ConditionPipeline": "ltx2", "LTX2InContextPipeline": "ltx2",
           "LTX2HDRPipeline": "ltx2", "SanaWMPipeline": "sana_wm",
           "SkyReelsV2DiffusionForcingPipeline": "skyreels", "SkyReelsV2Pipeline": "skyreels", "CogVideoXFunControlPipeline": "cogvideox"}

PARTS = {"vae": "is an autoencoder alone", "checkpoint": "holds an autoencoder without its transformer", "transformer": "is a transformer alone"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a person says of the files; "" is found out from them where that can be."""

    name: str = ""
    family: str = ""
    licence: str = ""
    link: bool = False
    lora: bool = False
    triggers: tuple[str, ...] = ()
    strength: float = 1.0
    base: str = ""              # of a transformer in one file: the model that has the rest
    component: str = ""         # which of that model's transformers it stands for


def bring(source: Path, store: Store, given: Given) -> Generator[Progress, None, Installed]:
    """Imports the folder or file at `source`; yields progress, returns what is installed. Raises ModelError, FolderError, DiskFull."""
    source = Path(os.path.abspath(source))
    if not source.exists():
        raise ModelError(f"{source} is not there.", CHOOSE)
    if not math.isfinite(given.strength) or abs(given.strength) > 10:
        raise ModelError(f"A LoRA's strength of {given.strength} is not between -10 and 10.", CHOOSE)
    model, files = _folder(source, given) if source.is_dir() else _file(source, given, store)
    root = source if source.is_dir() else source.parent
    whole = bool(files.shared)                                  # it lies in a folder of its own, whatever is linked
    staging = store.staging(model.name).with_name(f"{model.name}.import")
    try:
        staging.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(staging.with_name(f"{model.name}.lock"), timeout=0):
            shutil.rmtree(staging, ignore_errors=True)          # half of an earlier import
            staging.mkdir()
            kept = yield from (_linked(files, model.name) if given.link and not whole else _copied(files, staging, model.name, given.link))
            where = links.written(root, store.folder) if given.link and not whole else {}
            return store.adopt(replace(model, files=kept, **where), staging)
    except Timeout as error:
        raise ModelError(f"{model.name} is already being imported or pulled by another process.", CHOOSE) from error
    except OSError as error:
        raise unwritable(staging, error) from error


def _folder(source: Path, given: Given) -> tuple[Installed, Assembly]:
    """A diffusers folder, every file looked into; its files by the names that they keep."""
    if not (source / "model_index.json").is_file():
        return _native(source, given)
    names = check_folder(source)
    pipeline = check_json(source / "model_index.json")["_class_name"]
    family = given.family or CLASSES.get(pipeline, "")
    if not family:
        raise ModelError(f"{source} is a {pipeline}, which no family here loads; say --family when one does.", CHOOSE)
    if CLASSES.get(pipeline, family) != family:
        raise ModelError(f"{source} is a {pipeline}, which belongs to {CLASSES[pipeline]}, not to {family}.", CHOOSE)
    return _installed(given, source.name, family, "diffusers"), Assembly({name: source / name for name in names})


def _native(source: Path, given: Given) -> tuple[Installed, Assembly]:
    """A folder of the embedded family's own make, as training and `finetune` write it, every file looked into."""
    names, families = files_of(source), set()
    for name in names:
        check_file(source / name)
        if name.endswith(WEIGHTS):
            families |= {*recognise.recognise(header(source / name)[0]).families}
    if families != {"blockout"} or given.lora:
        raise ModelError(f"{source} has no model_index.json and holds no weights of Blockout, so it is no model that can be imported.", CHOOSE)
    if given.family not in ("", "blockout"):
        raise ModelError(f"{source} belongs to blockout, not to {given.family}.", CHOOSE)
    return _installed(given, source.name, "blockout", "native"), Assembly({name: source / name for name in names})


def _file(source: Path, given: Given, store: Store) -> tuple[Installed, Assembly]:
    """One safetensors or GGUF file: a LoRA, a decoder of previews, or a transformer to be made a whole model. Raises ModelError for what nothing
    could open."""
    if source.suffix.lower() not in (WEIGHTS, quantised.SUFFIX):
        what = "could run code when it is loaded" if source.suffix.lower() in REFUSED else "is not a safetensors file"
        other = f"take {source.stem}{WEIGHTS} from the folder safetensors of {previews.PUBLISHED}" if source.stem.lower() in previews.KNOWN else ""
        raise ModelError(f"{source} {what}; {other or 'convert it to safetensors first'}.", CHOOSE)
    tensors, said = header(source)
    if previews.is_one(tensors) and not given.lora:
        return _decoder(source, given, previews.called(source, tensors, given.name, given.family))
    facts = recognise.recognise(tensors)
    family = given.family or (facts.families[0] if len(facts.families) == 1 or facts.component == "transformer" and facts.families else "")
    if not family:
        raise ModelError(f"{source.name} does not say whose it is ({', '.join(facts.families) or 'no known tensor names'}); say --family.", CHOOSE)
    if facts.component == "model":
        raise ModelError(f"{source.name} is one file of a model; import its folder, {source.parent}.", CHOOSE)
    facts = recognise.agree(source, family, given.lora)
    if given.lora and not given.triggers and said.get("trigger"):           # as `scripts/train_blockout.py lora` writes them
        given = replace(given, triggers=tuple(said["trigger"].split(", ")))
    if facts.component == "transformer" and family in assembling.FAMILIES:
        return (_installed(given, source.stem, family, "diffusers", facts), assembling.assembly(source, family, store, given.base, given.component))
    if source.suffix.lower() != WEIGHTS:
        raise ModelError(f"{source.name} is of {family}; GGUF files are read for {' and '.join(assembling.FAMILIES)}.", CHOOSE)
    if not given.lora:
        raise ModelError(f"{source.name} {PARTS.get(facts.component, 'holds nothing that is known here')}, which is no model by itself; import the "
                         "whole model's folder, or its transformer's file, which takes the other parts of a model that is here.", CHOOSE)
    model = _installed(given, source.stem, family, "lora", facts)
    return model, Assembly({str(admit_name(source.name)) if given.link else f"{model.name}{WEIGHTS}": source})


def _decoder(source: Path, given: Given, name: str) -> tuple[Installed, Assembly]:
    """A tiny decoder of previews, which is found by its published name."""
    model = replace(_installed(replace(given, name=name), name, previews.KNOWN[name][0], previews.KIND), label=f"Sharper previews: TAEHV's {name}")
    return model, Assembly({str(admit_name(source.name)) if given.link else f"{name}{WEIGHTS}": source})


def _installed(given: Given, called: str, family: str, kind: str, facts: recognise.Facts | None = None) -> Installed:
    known = {entry.name: entry for entry in catalogue.entries()}
    name = given.name or re.sub(r"[^a-z0-9._-]+", "-", called.lower()).strip("._-")[:64]
    if name in known and known[name].family != family:
        raise ModelError(f"{name} is the name of a model of {known[name].family}; give this one another --name.", CHOOSE)
    return Installed(name=name, family=family, kind=kind, label=known[name].label if name in known else called, licence=given.licence or "unverified",
                     files={}, triggers=given.triggers, strength=given.strength,
                     component=facts.component if facts else "", width=facts.width if facts else 0)


def _linked(files: Assembly, model: str) -> Generator[Progress, None, dict[str, Kept]]:
    kept, total = {}, sum(path.stat().st_size for path in files.copied.values())
    for name, path in files.copied.items():
        kept[name] = digest(path)
        yield Progress(model=model, file=name, done=sum(file.size for file in kept.values()), total=total)
    return kept


def _copied(files: Assembly, staging: Path, model: str, link: bool = False) -> Generator[Progress, None, dict[str, Kept]]:
    """Everything in the folder `staging`; what can be shared with another model on the same disk is, and with `link` the source as well."""
    kept = {}
    for name, content in files.written.items():
        kept[name] = _written(staging / name, content)
    shared = {name: path for name, (path, _) in files.shared.items()} | (files.copied if link else {})
    alone = files.copied | shared
    for name, path in shared.items():
        if _hard(path, staging / name):
            kept[name] = files.shared[name][1] if name in files.shared else digest(staging / name)
            alone.pop(name)
        elif name in files.copied:
            raise ModelError(f"{path} cannot be linked from {staging.parent}: the disks differ, or cannot. Import it without linking.", CHOOSE)
    return kept | (yield from _bytes_of(alone, staging, model))


def _hard(path: Path, target: Path) -> bool:
    """Another name for the same bytes, where the disk can have one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError as error:
        log.info("%s is copied, not linked: %s", path, error)
        return False
    return True


def _written(target: Path, content: bytes) -> Kept:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return digest(target)


def _bytes_of(files: dict[str, Path], staging: Path, model: str) -> Generator[Progress, None, dict[str, Kept]]:
    total, free = sum(path.stat().st_size for path in files.values()), free_space(staging)
    if total + RESERVE > free:
        raise DiskFull(f"{model} needs {total / 1e9:.1f} GB, {free / 1e9:.1f} GB are free at {staging.parent}; it can be linked instead.",
                       Remedy(action="free_disk", label="Show Folder", value=str(staging.parent)))
    kept, done = {}, 0
    for name, path in files.items():
        target, sha256, size = staging / name, hashlib.sha256(), 0
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source, target.open("xb") as copy:
            while block := source.read(1 << 20):
                copy.write(block)
                sha256.update(block)
                size += len(block)
                yield Progress(model=model, file=name, done=done + size, total=total)
            copy.flush()
            os.fsync(copy.fileno())
        kept[name] = Kept(size, sha256.hexdigest(), target.stat().st_mtime_ns)
        done += size
    return kept
