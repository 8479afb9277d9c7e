"""What NVIDIA's driver says of the GPU, asked without torch; and why a GPU that is here is not used."""
from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass

LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"


@dataclass(frozen=True, slots=True)
class Card:
    """The first GPU."""

    name: str
    cuda: tuple[int, int]           # the newest version that the driver can serve


@functools.cache
def card() -> Card | None:
    """None where there is no driver, or no GPU that answers it. Asked once: nobody exchanges a driver below a running program.

    CUDA's driver interface: https://docs.nvidia.com/cuda/cuda-driver-api
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    name, device, version = ctypes.create_string_buffer(100), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, 100, device):
        return None
    if driver.cuDriverGetVersion(ctypes.byref(version)):
        return None
    return Card(name.value.decode("utf-8", "replace"), (version.value // 1000, version.value % 1000 // 10))


def too_old(found: Card, wanted: str) -> bool:
    """Whether torch for the CUDA version `wanted`, such as "13.0", cannot run by the driver: within one major version all go together."""
    return found.cuda[0] < int(wanted.partition(".")[0])


def passed_over(found: Card | None, wanted: str) -> str:
    """Why the GPU is not used, as a sentence, by torch for the CUDA version `wanted`, "" for torch without it; "" where there is no GPU."""
    if found is None:
        return ""
    if not wanted:
        return f"{found.name} is not used: this engine's torch is made for processors alone; repair the engine with its backend set to CUDA."
    if too_old(found, wanted):
        has = ".".join(map(str, found.cuda))
        return f"{found.name} is not used: its driver serves CUDA {has} at most, and this engine's torch is made for {wanted}; update the driver."
    return (f"{found.name} is not used: torch for CUDA {wanted} does not reach it, although its driver answers; restart the machine, "
            "or update the driver.")
