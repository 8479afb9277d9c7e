"""Reads EXR files as plain arrays, whichever way Blender or another program laid them out: one part, or one for each pass."""
from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from .errors import GuideError
from .protocol import Size

_last = threading.local()       # what `_planes` read last


def size(path: Path) -> Size:
    """Width and height without reading the pixels. Raises GuideError."""
    low, high = _open(path, header_only=True).parts[0].header["dataWindow"]
    return Size(int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1)


def names(path: Path) -> list[str]:
    """The channels of every part by their full names, as `ViewLayer.Depth.Z` or plain `R`. Raises GuideError."""
    return [_full(part, channel.name) for part in _open(path, header_only=True).parts for channel in part.header["channels"]]


def channels(path: Path, wanted: list[str]) -> np.ndarray:
    """float32 (h, w, len(wanted)), contiguous. Raises GuideError when the file or a channel cannot be read.

    The reader leaves out what it cannot decode and says so on stdout only: a channel that is listed and not there is damaged.
    """
    planes = _planes(path)
    for name in wanted:
        if planes.get(name) is None:
            listed = name in names(path)
            raise GuideError(f"{path} is damaged: its channel “{name}” cannot be read." if listed else f"{path} has no channel “{name}”.")
    return np.ascontiguousarray(np.stack([planes[name] for name in wanted], -1), np.float32)


def _planes(path: Path) -> dict[str, np.ndarray]:
    """Every channel of a file by its full name; a thread keeps those of the file it read last, because several guides share their files."""
    try:
        found = path.stat()
    except OSError as error:
        raise GuideError(f"{path} cannot be read: {error.strerror or error}.") from error
    stamp = path, found.st_mtime_ns, found.st_size, found.st_ino
    if getattr(_last, "stamp", None) != stamp:
        _last.stamp, _last.planes = None, {}
        _last.planes = {_full(part, name): channel.pixels for part in _open(path, header_only=False).parts for name, channel in part.channels.items()}
        _last.stamp = stamp
    return _last.planes


def _full(part, name: str) -> str:
    """A part's own name is put in front of channels that lack it."""
    layer = part.header.get("name", "")
    return name if "." in name or not layer else f"{layer}.{name}"


def _open(path: Path, header_only: bool):
    import OpenEXR
    try:
        return OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise GuideError(f"{path} cannot be read as EXR: {' '.join(str(error).split())}.") from error
