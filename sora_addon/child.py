"""Child processes that die with Blender and see nothing of its environment. Standard library only; knows nothing of bpy.

Blender exports OCIO, MATERIALX_*, PXR_* and more, which would point the engine's libraries at Blender's own files, so
only what is listed here is passed on.
"""
from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

PASSED_ON = {
    "HOME", "USER", "LOGNAME", "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP",
    "SYSTEMROOT", "WINDIR", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "USERPROFILE", "USERNAME", "APPDATA", "LOCALAPPDATA",
    "PROGRAMDATA", "PROGRAMFILES", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS",
}
PASSED_ON_PREFIXES = ("LC_", "XDG_", "SORA_", "CUDA_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "ROCM_", "PYTORCH_")
NETWORK = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
HUB = {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "DBUS_SESSION_BUS_ADDRESS"}      # a mirror, a token, and the way to the keyring
OFFLINE = {"SORA_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}


def environment(network: bool = False, hub: bool = False, **more: str) -> dict[str, str]:
    """The whitelisted environment of a child, with `more`, in which no model can be downloaded.

    `network` adds proxies, certificates and pip's settings, `hub` the hub's in place of pip's; neither is told to stay offline.
    """
    passed = {name: value for name, value in os.environ.items() if _passes(name.upper(), network, hub)}
    return {**passed, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", **({} if network or hub else OFFLINE), **more}


def _passes(name: str, network: bool, hub: bool) -> bool:
    if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES):
        return True
    return (network or hub) and name in NETWORK or network and name.startswith("PIP_") or hub and name in HUB


def start(command: list[str], *, stdin, stdout, stderr, env: dict[str, str], cwd: Path) -> subprocess.Popen:
    """Start `command` in its own session (POSIX) or its own kill-on-close job (Windows). Raises OSError."""
    if sys.platform != "win32":
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd,
                                start_new_session=True)
    flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    child = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd,
                             creationflags=flags)
    child.job = _job(child)                 # closed with the last handle: when Blender ends, however it ends
    return child


class Asked:
    """A child whose answer is read when it is over. It goes to files, so that nobody waits at a pipe. Raises OSError."""

    def __init__(self, command: list[str], *, env: dict[str, str], cwd: Path):
        self._files = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        output, errors = self._files
        self.child = start(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=env, cwd=cwd)

    @property
    def over(self) -> bool:
        return self.child.poll() is not None

    def said(self) -> tuple[str, str]:
        """Its output and its errors."""
        for file in self._files:
            file.seek(0)
        output, errors = (file.read().decode("utf-8", "replace") for file in self._files)
        return output, errors


def kill(child: subprocess.Popen) -> None:
    """End the child and all that it started, at once."""
    if child.poll() is not None:
        return
    if sys.platform == "win32":
        import ctypes
        ctypes.WinDLL("kernel32").TerminateJobObject(ctypes.c_void_p(child.job), 1)
        child.kill()                        # the job may not have been made
        return
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("%s had already ended", child.pid)


def _job(child):
    """A Windows job object that kills its processes when its last handle closes."""
    import ctypes
    from ctypes import wintypes

    class Basic(ctypes.Structure):          # JOBOBJECT_BASIC_LIMIT_INFORMATION
        _fields_ = [("PerProcessUserTimeLimit", ctypes.c_int64), ("PerJobUserTimeLimit", ctypes.c_int64),
                    ("LimitFlags", wintypes.DWORD), ("MinimumWorkingSetSize", ctypes.c_size_t),
                    ("MaximumWorkingSetSize", ctypes.c_size_t), ("ActiveProcessLimit", wintypes.DWORD),
                    ("Affinity", ctypes.c_size_t), ("PriorityClass", wintypes.DWORD), ("SchedulingClass", wintypes.DWORD)]

    class Extended(ctypes.Structure):       # JOBOBJECT_EXTENDED_LIMIT_INFORMATION
        _fields_ = [("Basic", Basic), ("Io", ctypes.c_uint64 * 6), ("ProcessMemoryLimit", ctypes.c_size_t),
                    ("JobMemoryLimit", ctypes.c_size_t), ("PeakProcessMemoryUsed", ctypes.c_size_t),
                    ("PeakJobMemoryUsed", ctypes.c_size_t)]

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateJobObjectW.restype = wintypes.HANDLE
    kernel.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
    kernel.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD)
    kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
    job, limits = kernel.CreateJobObjectW(None, None), Extended()
    limits.Basic.LimitFlags = 0x2000        # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    made = job and kernel.SetInformationJobObject(job, 9, ctypes.byref(limits), ctypes.sizeof(limits))
    if not (made and kernel.AssignProcessToJobObject(job, int(child._handle))):
        log.warning("the engine is outside a job object (error %s); it ends when its input closes", ctypes.get_last_error())
    return job
