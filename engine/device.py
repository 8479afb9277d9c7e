"""The device that shoots: which one, in what precision, how much memory, and whose turn it is."""
from __future__ import annotations

import contextlib
import ctypes
import gc
import getpass
import importlib.util
import logging
import os
import platform
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import driver
from .ahead import heed
from .errors import REPAIR, EngineBroken, FolderError, ModelError, OutOfMemory, Remedy
from .protocol import Finding

CHOICE = "SORA_DEVICE"          # environment: cpu, cuda, cuda:1, xpu, mps; otherwise the best that answers
PATIENCE = 0.1                  # seconds between two tries for a device's lock
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")      # Linux; man 5 proc

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    name: str                   # as torch calls it
    label: str                  # as a person calls it
    dtype: str                  # torch's name of the precision for weights and latents
    memory: int                 # bytes altogether
    free: int                   # bytes right now
    decoding: str = "float32"   # precision for autoencoders that are as good in 16 bits: "bfloat16" only where that is computed, not emulated

    @property
    def shares(self) -> bool:
        """Whether its memory is the processor's."""
        return self.name in ("cpu", "mps")


def chosen() -> Device:
    """The device of this process. Imports torch. Raises EngineBroken or ModelError."""
    torch = torch_module()
    asked = os.environ.get(CHOICE, "").strip().lower()
    return answering(asked or next(kind for kind in ("cuda", "xpu", "mps", "cpu") if _answers(torch, kind)), CHOICE)


def answering(name: str, asker: str) -> Device:
    """The device of a name, such as cpu, cuda:1 or mps, for which `asker` asks. Imports torch. Raises EngineBroken or ModelError."""
    torch, kind = torch_module(), name.partition(":")[0]
    if kind not in ("cuda", "xpu", "mps", "cpu") or not _answers(torch, kind):
        why = driver.passed_over(driver.card(), _torch_build()[1]) if kind == "cuda" else ""
        raise ModelError(f"{asker} asks for the device {name!r}, which does not answer here.{why and ' '}{why}", REPAIR)
    return _described(torch, name, kind)


@contextlib.contextmanager
def _unswept() -> Iterator[None]:
    """Nobody looks for garbage among what is imported meanwhile, then or later: it stays. For torch that is a fourteenth of the import."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()


def torch_module():
    """torch, imported. Raises EngineBroken."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")     # cuBLAS is repeatable only with this, set before it starts
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")                # idle OpenMP threads soon leave the cores to writers, Blender and others
    try:
        with contextlib.nullcontext() if "torch" in sys.modules else _unswept():
            import torch
    except (ImportError, OSError) as error:
        raise EngineBroken(f"The engine's environment lacks a working torch: {error}.",
                           REPAIR) from error
    return torch


def _answers(torch, kind: str) -> bool:
    if kind == "cpu":
        return True
    module = torch.backends.mps if kind == "mps" else getattr(torch, kind)
    return bool(module.is_available())


def _described(torch, name: str, kind: str) -> Device:
    import psutil
    memory = psutil.virtual_memory()
    if kind in ("cuda", "xpu"):
        module = getattr(torch, kind)
        where = torch.device(name)
        free, total = module.mem_get_info(where)
        dtype = "bfloat16" if kind == "xpu" or module.is_bf16_supported() else "float16"
        return Device(name, module.get_device_name(where), dtype, total, free, _decoding(module, where))
    if kind == "mps":
        return Device(name, f"Apple {platform.machine()} GPU", "float32", memory.total, memory.available)
    return Device(name, f"CPU ({torch.get_num_threads()} threads)", "float32", memory.total, memory.available)


def anew(place: Device) -> Device:
    """The same device, with what of its memory is free now."""
    return _described(torch_module(), place.name, place.name.partition(":")[0])


def processor() -> Device:
    """The processor, whichever device shoots. Imports torch. Raises EngineBroken."""
    return _described(torch_module(), "cpu", "cpu")


def half_products() -> bool:
    """Whether the processor has units for products of bfloat16 (AMX), which make them several times as fast as those of float32."""
    return bool(torch_module().cpu.get_capabilities().get("amx_bf16"))


def _decoding(module, where) -> str:
    """By the device's own word: torch says that every card supports bfloat16, for it emulates it."""
    with module.device(where):
        return "bfloat16" if module.is_bf16_supported(including_emulation=False) else "float32"


def announced() -> str:
    """The device's label without importing torch, so that Ready comes at once; a take records the one that really shot."""
    if os.environ.get(CHOICE):
        return os.environ[CHOICE]
    built, version = _torch_build()
    if built in ("hip", "xpu"):
        return "AMD GPU" if built == "hip" else "Intel GPU"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "Apple GPU"
    here = driver.card()
    if here is not None and built and not driver.too_old(here, version):
        return here.name
    return f"CPU ({os.cpu_count()} cores)" + (f", not {here.name}" if here else "")


def _torch_build() -> tuple[str, str]:
    """cuda, hip, xpu or "", and its version: what torch's own version.py says, read without importing it."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.origin:
        return "", ""
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return "", ""
    said = re.search(r"^(cuda|hip|xpu)\s*(?::[^=]*)?=\s*['\"]([^'\"]+)", text, re.M)
    return (said[1], said[2]) if said else ("", "")


def passed_over(place: Device) -> str:
    """Why a GPU that is here is not the one that shoots, as a sentence; "" where there is none, a person chose, or it answers and was left alone."""
    build, version = _torch_build()
    if place.name != "cpu" or os.environ.get(CHOICE) or build not in ("cuda", "") or (build and _answers(torch_module(), "cuda")):
        return ""
    return driver.passed_over(driver.card(), version)


def idle_card(place: Device) -> Finding | None:
    """The same as the doctor says it: torch without CUDA is mended by the engine's repair, a driver only by a person."""
    idle = passed_over(place)
    return Finding(what="GPU", found=idle, well=False, remedy=None if _torch_build()[0] else REPAIR) if idle else None


def slow() -> Finding | None:
    """Why a large model takes hours here, without importing torch; None where a GPU will shoot, as far as that can be told."""
    asked, (built, version) = os.environ.get(CHOICE, "").strip().lower(), _torch_build()
    if asked:
        return Finding(what="GPU", found=f"{CHOICE} asks for the processor.", well=False) if asked == "cpu" else None
    if built in ("hip", "xpu") or (sys.platform == "darwin" and platform.machine() == "arm64"):
        return None
    here = driver.card()
    if here is None:
        return Finding(what="GPU", found="No graphics card was found.", well=False)
    if built and not driver.too_old(here, version):
        return None
    return Finding(what="GPU", found=driver.passed_over(here, version), well=False, remedy=None if built else REPAIR)


# ---------------------------------------------------------------- whose turn it is
def lock_path(name: str) -> Path:
    """The lock file of a device, shared by all of a user's engines."""
    owner = re.sub(r"\W", "_", getpass.getuser())
    folder = Path(os.environ.get("SORA_LOCKS") or tempfile.gettempdir())
    return folder / f"sora-{owner}-{name.replace(':', '')}.lock"


@contextlib.contextmanager
def turn(device: Device, cut: threading.Event, waiting: Callable[[str], None]) -> Iterator[None]:
    """Holds the device: one shot at a time, across processes. `waiting` is told, once a second, while another has it.

    The operating system frees the lock of a process that dies. Raises Cut while waiting, FolderError.
    """
    import filelock
    path, told = lock_path(device.name), 0.0
    lock = filelock.FileLock(path)
    while True:
        heed(cut)
        try:
            lock.acquire(timeout=0)
            break
        except filelock.Timeout:
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                waiting(f"Another engine is using {device.label}; this shot starts when it is free")
        except OSError as error:
            raise FolderError(f"The lock {path} cannot be made: {error.strerror or error}.",
                              Remedy(action="free_disk", label="Show Folder", value=str(path.parent))) from error
        cut.wait(PATIENCE)
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------- memory
def forget_peak(device: Device) -> None:
    """Has `peak_bytes` count from now, so that a shot answers for itself alone: on CUDA, XPU and Linux. Elsewhere the process's peak stays."""
    if device.name.startswith(("cuda", "xpu")):
        getattr(torch_module(), device.name.partition(":")[0]).reset_peak_memory_stats()
    elif CLEAR_REFS.exists():
        try:
            CLEAR_REFS.write_text("5")
        except OSError as error:        # a container may forbid it
            log.info("the peak of memory counts from the process's start: %s", error)


def peak_bytes(device: Device) -> int:
    """The most memory held since `forget_peak`: the process's on a CPU, the device's on a GPU."""
    if device.name.startswith(("cuda", "xpu")):
        return int(getattr(torch_module(), device.name.partition(":")[0]).max_memory_allocated())
    if STATUS.exists():
        return int(STATUS.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    if os.name == "nt":
        import psutil
        return int(psutil.Process().memory_info().peak_wset)
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def held(device: Device) -> int:
    """Bytes of the device's memory that this process has now; of the machine's, where the device has none of its own."""
    if device.name.startswith(("cuda", "xpu")):
        return int(getattr(torch_module(), device.name.partition(":")[0]).memory_reserved())
    import psutil
    return int(psutil.Process().memory_info().rss)


def exhausted(error: BaseException) -> bool:
    """Whether `error` says that memory did not suffice; torch's CPU allocator says so in words only."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def out_of_memory(device: Device, what: str, frames: int) -> OutOfMemory:
    """`what` was being done when memory ran out; suggests half as many `frames`."""
    remedy = Remedy(action="set_frames", label=f"Use {frames // 2} Frames", value=str(frames // 2)) if frames > 8 else Remedy(action="unload", label="Free Memory")
    return OutOfMemory(f"The memory of {device.label} ({device.memory / 2**30:.1f} GB) did not suffice for {what}.", remedy)


def release(device: Device) -> None:
    """Gives freed memory back to the device and the operating system."""
    gc.collect()
    if device.name.startswith(("cuda", "xpu")):
        getattr(torch_module(), device.name.partition(":")[0]).empty_cache()
    elif sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):      # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)
