"""The kernel that a transformer's attention runs by: of those that are installed the fastest, measured once for each device and shape.

Only kernels that compute the same are taken unasked; ones that round to 8 bits, as Sage's, have to be named. On a processor it is always
PyTorch's own. None of diffusers' that fetch their code from a hub is ever used.
"""
from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CHOOSE, FolderError, ModelError
from ..models import lock
from . import remembered

if TYPE_CHECKING:
    import torch

    from ..device import Device

log = logging.getLogger(__name__)

CHOICE = "SORA_ATTENTION"                   # environment: one of EXACT or ROUNDED, whatever is measured
NATIVE = "native"
EXACT = (NATIVE, "_native_cudnn", "_native_flash", "_native_efficient", "flash", "_flash_3", "xformers")       # diffusers' names
SLOW = ("_native_math",)                    # exact as well, and never the fastest
ROUNDED = ("sage", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90")
CLEARLY = 0.97                              # of PyTorch's own time, below which another one is worth it
ROUNDS, MOST = 3, 32768                     # measurements; tokens of one
FILE = "attention.json"
FAILURES = (RuntimeError, ValueError, ImportError, OSError)             # with which a kernel says that it cannot


@dataclass(frozen=True, slots=True)
class Shape:
    """One self-attention: tokens, heads, channels of a head, precision as torch calls it."""

    tokens: int
    heads: int
    channels: int
    dtype: str

    def kind(self) -> str:
        """The class of shapes that one measurement stands for: tokens up to the next power of two."""
        return f"{2 ** math.ceil(math.log2(max(self.tokens, 1)))}x{self.heads}x{self.channels} {self.dtype}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A kernel, and seconds by kernel where they were measured."""

    name: str
    seconds: dict[str, float]
    asked: bool = False

    def note(self) -> str:
        """For the take; "" where there was nothing to choose."""
        if self.asked:
            return f"Attention by {self.name.strip('_')}, as {CHOICE} asks" + (", which rounds to 8 bits" if self.name in ROUNDED else "")
        if self.name == NATIVE:
            return ""
        return f"Attention by {self.name.strip('_')}, {self.seconds[NATIVE] / self.seconds[self.name]:.1f} times as fast as PyTorch's choice"


def choose(place: Device, shape: Shape, folder: Path | None = None, measure: Callable[[Device, Shape], dict[str, float]] | None = None) -> Choice:
    """The kernel for `shape` on `place`: what a person asks for, what was measured before, or what is measured now. Raises ModelError."""
    asked = os.environ.get(CHOICE, "").strip().lower()
    if asked:
        return Choice(_allowed(asked), {}, True)
    if measure is None and not place.name.startswith("cuda"):
        return Choice(NATIVE, {})
    folder = folder or remembered.default_folder("kernels")
    key, known = f"{place.label}, {_versions()}, {shape.kind()}", kept(folder)
    if key not in known:
        known[key] = (measure or measured)(place, shape)
        log.info("attention on %s: %s", key, known[key])
        _keep(folder, known)
    return Choice(fastest(known[key]), known[key])


def fastest(seconds: dict[str, float]) -> str:
    """PyTorch's own, unless another is clearly faster."""
    best = min(seconds, key=seconds.get, default=NATIVE)
    return best if best == NATIVE or seconds[best] < CLEARLY * seconds.get(NATIVE, math.inf) else NATIVE


def measured(place: Device, shape: Shape, names: tuple[str, ...] = EXACT) -> dict[str, float]:
    """Kernel -> seconds, of those that work here; at most MOST tokens, which takes about a second."""
    import torch
    sizes = (1, min(shape.tokens, MOST), shape.heads, shape.channels)
    dice = torch.Generator("cpu").manual_seed(0)
    query, key, value = (torch.randn(sizes, generator=dice).to(place.name, getattr(torch, shape.dtype)) for _ in range(3))
    found = {}
    for name in names:
        try:
            found[name] = min(_timed(place, name, query, key, value) for _ in range(1 + ROUNDS))
        except FAILURES as error:
            log.info("attention by %s does not work here: %s", name, str(error)[:200])
    return found


def _timed(place: Device, name: str, *given: torch.Tensor) -> float:
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName, _check_attention_backend_requirements, dispatch_attention_fn
    backend, wait = AttentionBackendName(name), torch.cuda.synchronize if place.name.startswith("cuda") else lambda: None
    _check_attention_backend_requirements(backend)
    with torch.inference_mode():
        wait()
        began = time.perf_counter()
        dispatch_attention_fn(*given, backend=backend)
        wait()
    return time.perf_counter() - began


def put(attending: list[Any], name: str) -> None:
    """Has these transformers, or layers of them, attend by the kernel, and no other model. Raises ModelError where it is not installed."""
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry, _check_attention_backend_requirements
    try:
        _check_attention_backend_requirements(AttentionBackendName(name))       # a layer would not look
        for module in attending:
            module.set_attention_backend(name)
    except FAILURES as error:
        raise ModelError(f"Attention by {name}, which {CHOICE} asks for, is not possible here: {str(error)[:200]}.", CHOOSE) from error
    finally:
        _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)       # diffusers would have every other model follow


def _allowed(name: str) -> str:
    if name not in (*EXACT, *SLOW, *ROUNDED):
        known = ", ".join((*EXACT, *SLOW, *ROUNDED))
        raise ModelError(f"{CHOICE} asks for attention by {name!r}; there are: {known}. Kernels that fetch code are not used.", CHOOSE)
    return name


def _versions() -> str:
    from importlib.metadata import version
    return f"torch {version('torch')}, diffusers {version('diffusers')}"


def kept(folder: Path | None = None) -> dict[str, dict[str, float]]:
    """Device, versions and shape -> seconds by kernel, as they were measured before. A damaged file says nothing."""
    folder = folder or remembered.default_folder("kernels")
    if folder is None or not (folder / FILE).is_file():
        return {}
    try:
        read = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(key): {str(name): float(seconds) for name, seconds in found.items() if name in EXACT} for key, found in read.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        log.warning("%s is measured anew: %s", folder / FILE, error)
        return {}


def _keep(folder: Path | None, known: dict[str, dict[str, float]]) -> None:
    """What cannot be kept is measured again next time."""
    if folder is None:
        return
    try:
        lock.write_json(folder / FILE, known)
    except FolderError as error:
        log.warning("%s", error)
