"""Lines from and to a child process, without waiting and without threads. Standard library only; knows nothing of bpy.

A Python thread that runs beside Blender can crash it, whatever it does: Blender lets go of Python while it renders, and says
itself that threads are not supported. So whoever starts a child looks in from time to time.
Source: Blender's Python API documentation, "Python Threads are Not Supported".
"""
from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys

from ..engine.protocol import LONGEST_LINE

log = logging.getLogger(__name__)

CHUNK = 1 << 16                 # bytes of one look
MOUTHFUL = CHUNK if sys.platform != "win32" else 1024       # bytes said at once: Windows takes nothing of what does not fit its 4,096
WIDE = 1 << 20                  # bytes: what a child may say on Linux before it has to wait for the next look


class Incoming:
    """What a child says on its stdout. Of lines longer than `longest` bytes only the beginning is kept.

    `code` is its exit code once it has ended and everything it said was handed over; `ended` is true once it says no more.
    """

    def __init__(self, child: subprocess.Popen, longest: int = LONGEST_LINE):
        self.child, self.pipe, self.longest = child, child.stdout, longest
        self.code: int | None = None
        self.ended = False
        self._held, self._skipping = bytearray(), False
        if sys.platform != "win32":
            os.set_blocking(self.pipe.fileno(), False)
        _widen(self.pipe)

    def line(self) -> bytes | None:
        """The next line with its end, or None when there is none yet; what breaks off in its middle comes last, without an end."""
        code = self.child.poll()                        # before the look: what it said last is there by then
        while (end := self._held.find(b"\n")) < 0:
            if self.ended or not self._look():
                break
        if end < 0 and not (self.ended and self._held):
            self.code = code
            return None
        line = bytes(self._held[:end + 1] if end >= 0 else self._held)
        del self._held[:len(line)]
        return line if len(line) <= self.longest + 1 else line[:self.longest + 1] + b"\n"

    def close(self) -> None:
        """Hear nothing more."""
        self.ended = True
        self._held.clear()
        self.pipe.close()

    def _look(self) -> bool:
        """Takes in what is there. False when there is nothing."""
        try:
            said = _read(self.pipe.fileno())
        except OSError as error:
            log.warning("a child cannot be heard any more: %s", error)
            said = b""
        if said is None:
            return False
        self.ended = not said
        if self._skipping:
            end = said.find(b"\n")
            said, self._skipping = (said[end:], False) if end >= 0 else (b"", True)
        self._held += said
        begun = self._held.rfind(b"\n") + 1
        if len(self._held) - begun > self.longest:
            del self._held[begun + self.longest + 1:]
            self._skipping = True
        return True


class Outgoing:
    """The end of a pipe that a child reads from."""

    def __init__(self, pipe):
        self.pipe, self._held = pipe, bytearray()
        _unblock(pipe)

    @property
    def waits(self) -> bool:
        """Is there something that the child had no room for yet?"""
        return bool(self._held)

    def put(self, said: bytes) -> None:
        """Say it now, or as soon as the child has room for it."""
        self._held += said
        self.flush()

    def flush(self) -> None:
        """Say what had to wait. A child that listens no more ends the matter: its death is told by its other pipe."""
        try:
            while self._held and (written := _write(self.pipe.fileno(), self._held[:MOUTHFUL])):
                del self._held[:written]
        except OSError as error:
            log.warning("a child no longer listens: %s", error)
            self._held.clear()

    def close(self) -> None:
        """The child's input ends, with what had to wait unsaid."""
        self._held.clear()
        try:
            self.pipe.close()
        except OSError as error:
            log.debug("the pipe was closed already: %s", error)


def _widen(pipe) -> None:
    """Linux: let the child run ahead while Blender is busy."""
    if sys.platform == "linux":
        import fcntl
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, WIDE)
        except OSError as error:
            log.debug("the pipe stays narrow: %s", error)


# ---------------------------------------------------------------- systems
def _read(pipe: int) -> bytes | None:
    """What is there: None for nothing yet, b"" at the end. Raises OSError."""
    if sys.platform == "win32":
        there = _waiting(pipe)
        return os.read(pipe, min(there, CHUNK)) if there else None if there == 0 else b""
    try:
        return os.read(pipe, CHUNK)
    except BlockingIOError:
        return None


def _write(pipe: int, said: bytes) -> int:
    """How many bytes there was room for. Raises OSError."""
    try:
        return os.write(pipe, said)
    except BlockingIOError:
        return 0
    except OSError as error:
        if sys.platform == "win32" and error.errno == errno.ENOSPC:        # its C library's word for a full pipe
            return 0
        raise


def _waiting(pipe: int) -> int:
    """Windows: bytes that can be read without waiting; below 0 when the child has closed its end. Raises OSError."""
    import ctypes
    import msvcrt
    from ctypes import wintypes
    kernel, there = ctypes.WinDLL("kernel32", use_last_error=True), wintypes.DWORD()
    kernel.PeekNamedPipe.argtypes = (wintypes.HANDLE, wintypes.LPVOID, wintypes.DWORD, wintypes.LPVOID, ctypes.POINTER(wintypes.DWORD), wintypes.LPVOID)
    if kernel.PeekNamedPipe(msvcrt.get_osfhandle(pipe), None, 0, None, ctypes.byref(there), None):
        return there.value
    if ctypes.get_last_error() == 109:                                     # ERROR_BROKEN_PIPE
        return -1
    raise ctypes.WinError(ctypes.get_last_error())


def _unblock(pipe) -> None:
    """Writing takes what there is room for, instead of waiting for room. Raises OSError."""
    if sys.platform != "win32":
        os.set_blocking(pipe.fileno(), False)
        return
    import ctypes
    import msvcrt
    from ctypes import wintypes
    kernel, mode = ctypes.WinDLL("kernel32", use_last_error=True), wintypes.DWORD(1)       # PIPE_NOWAIT
    kernel.SetNamedPipeHandleState.argtypes = (wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD), wintypes.LPVOID, wintypes.LPVOID)
    if not kernel.SetNamedPipeHandleState(msvcrt.get_osfhandle(pipe.fileno()), ctypes.byref(mode), None, None):
        raise ctypes.WinError(ctypes.get_last_error())
