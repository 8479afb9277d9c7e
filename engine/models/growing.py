"""A file that arrives piece by piece: kept through kills, its digest known at every length."""
from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .hub import Remote


def agrees(path: Path, remote: Remote) -> bool:
    """Whether the whole file at `path` has the bytes that the hub promised. False when it cannot be read."""
    try:
        if path.stat().st_size != remote.size:
            return False
        digest = _begun(remote)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == (remote.sha256 or remote.blob)


def _begun(remote: Remote):
    """An empty digest of the kind that the hub named: sha256, or for a small file git's name of it."""
    return hashlib.sha256() if remote.sha256 else hashlib.sha1(b"blob %d\0" % remote.size, usedforsecurity=False)


class Growing:
    """A partial file and its digest so far. A context manager; on leaving, what arrived is on the disk."""

    def __init__(self, path: Path, remote: Remote):
        self.size, self.length, self._remote = remote.size, 0, remote
        self._file = path.open("a+b")
        if os.fstat(self._file.fileno()).st_size > self.size:
            self._file.truncate(0)
        self._begin()
        self._file.seek(0)
        while block := self._file.read(1 << 20):
            self._count(block)

    def __enter__(self) -> "Growing":
        return self

    def __exit__(self, *_) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())

    def add(self, block: bytes) -> None:
        """Appends `block`; a kill from now on leaves it there."""
        self._file.write(block)
        self._file.flush()
        self._count(block)

    def restart(self) -> None:
        """Back to nothing."""
        self._file.truncate(0)
        self._begin()

    def agrees(self) -> bool:
        """Whether these are the bytes that the hub promised."""
        return self.length == self.size and self._digest.hexdigest() == (self._remote.sha256 or self._remote.blob)

    def _begin(self) -> None:
        self.length, self._digest = 0, _begun(self._remote)

    def _count(self, block: bytes) -> None:
        self._digest.update(block)
        self.length += len(block)
