"""The first moments of an engine that will need torch: torch's largest library is mapped while Python still imports the rest."""
from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import threading
from pathlib import Path

LIBRARY = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}         # Windows' loader wants torch's own order


def environment() -> None:
    """Settings that libraries read once, when they are loaded; what is set already stays."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")     # cuBLAS is repeatable only with this
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")                # idle OpenMP threads soon leave the cores to writers, Blender and others


def torch_ahead() -> threading.Thread | None:
    """Begins to load torch's library in a thread; None where there is nothing to load.

    `import torch` holds the interpreter's lock while the dynamic linker works; dlopen called as a foreign function does not.
    Whatever fails here is not said: the import that follows meets the same and says it.
    """
    environment()
    found = importlib.util.find_spec("torch") if sys.platform in LIBRARY else None
    if found is None or not found.origin:
        return None
    path = Path(found.origin).parent / "lib" / LIBRARY[sys.platform]
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    thread = threading.Thread(target=dlopen, args=(os.fsencode(path), os.RTLD_NOW), name="torch ahead", daemon=True)
    thread.start()
    return thread
