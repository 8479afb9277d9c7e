"""What need not be computed twice: encoded pictures by their content, and prompt embeddings in a folder on disk."""
from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
ENVIRONMENT = "SORA_CACHE"          # folder; "" keeps nothing on disk
ENCODED_BYTES = 2**30               # of encoded pictures in the processor's memory; likewise
KEPT_BYTES = 2 * 2**30              # of embeddings on disk; the longest unused go first


class Encoded:
    """The latents of recent pictures, on the CPU, found by what was in them. A new seed needs no encoding."""

    def __init__(self, most: int = ENCODED_BYTES):
        self._most, self._held, self._watch = most, OrderedDict(), contextlib.nullcontext
        self.hits = 0

    @contextlib.contextmanager
    def watched(self, watch: Callable[[], AbstractContextManager]) -> Iterator[None]:
        """Meanwhile whatever has to be encoded is encoded within a context `watch()`, which may refuse by an error of its own."""
        self._watch = watch
        try:
            yield
        finally:
            self._watch = contextlib.nullcontext

    def latent(self, what: str, pictures: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """`encode(pictures)`, or what it gave for the same bytes. `what` names the encoder and its settings."""
        import torch
        key = (what, tuple(pictures.shape), hashlib.sha256(pictures.contiguous().cpu().flatten().view(torch.uint8).numpy()).digest())
        if key in self._held:
            self.hits += 1
            self._held.move_to_end(key)
            return self._held[key]
        with self._watch():
            self._held[key] = made = encode(pictures).cpu()
        while len(self._held) > 1 and sum(one.nbytes for one in self._held.values()) > self._most:
            self._held.popitem(last=False)
        return made

    def clear(self) -> None:
        self._held.clear()

    def stand_before(self, vae) -> None:
        """What `vae` has encoded before, its pipeline is given without asking it: pipelines encode guides and stills anew for each seed."""
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
        from diffusers.models.modeling_outputs import AutoencoderKLOutput
        own = vae.encode

        def encode(pictures: Tensor, return_dict: bool = True):
            settings = f"{pictures.dtype}, {vae.dtype}, {getattr(vae, 'use_tiling', False)}"
            told = self.latent(settings, pictures, lambda given: own(given).latent_dist.parameters).to(pictures.device)
            known = DiagonalGaussianDistribution(told)
            return AutoencoderKLOutput(latent_dist=known) if return_dict else (known,)
        vae.encode = encode


class Embeddings:
    """Prompt embeddings on disk as safetensors. A damaged or foreign file is computed again."""

    def __init__(self, encoder: str, folder: Path | None = None):
        """`encoder` says which weights, precision and length made them."""
        self._encoder, self._folder = encoder, folder if folder is not None else default_folder()
        self.hits = 0

    def embedding(self, prompt: str, encode: Callable[[str], Tensor]) -> Tensor:
        if self._folder is None:
            return encode(prompt)
        key = hashlib.sha256("\0".join((self._encoder, prompt)).encode()).hexdigest()
        path = self._folder / f"{key}.safetensors"
        found = _read(path)
        if found is not None:
            self.hits += 1
            return found
        made = encode(prompt)
        self._write(path, made)
        return made

    def _write(self, path: Path, made: Tensor) -> None:
        """A cache that cannot be written costs time, not the shot."""
        from safetensors.torch import save_file
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            save_file({"embedding": made.contiguous().cpu()}, partial)
            os.replace(partial, path)
            _trim(self._folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            log.warning("%s is not kept: %s", path, error)


def default_folder(kind: str = "prompts") -> Path | None:
    """SORA_CACHE, or the user's folder for caches, and in it the one for `kind`; None where the environment switches it off."""
    if ENVIRONMENT in os.environ:
        return Path(os.environ[ENVIRONMENT]).expanduser() / kind if os.environ[ENVIRONMENT] else None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sora" / kind


def _read(path: Path) -> Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    if not path.is_file():
        return None
    try:
        found = load_file(path)["embedding"]
        os.utime(path)
        return found
    except (OSError, KeyError, SafetensorError) as error:
        log.warning("%s is read no more: %s", path, error)
        return None


def _trim(folder: Path) -> None:
    files = sorted(((path.stat(), path) for path in folder.glob("*.safetensors")), key=lambda found: found[0].st_mtime)
    room = sum(facts.st_size for facts, _ in files) - KEPT_BYTES
    for facts, path in files:
        if room <= 0:
            return
        path.unlink(missing_ok=True)
        room -= facts.st_size
