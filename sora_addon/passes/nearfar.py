"""Nearest and farthest surface in a rendered depth pass. Blender's own Python has no EXR reader, so this is a small one.

It reads what render.py writes, in both of Blender's layouts: scan lines, ZIP-compressed, one part with every channel
(4.5) or one part for each pass (5.x). Layout: "OpenEXR File Layout", openexr.com. Only blocks with depth are unpacked.
"""
from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...engine.errors import GuideError, Remedy

MAGIC, MULTIPART, ZIP, LINES = 20000630, 0x1000, 3, 16
BYTES = {0: 4, 1: 2, 2: 4}          # of a pixel: integer, half, float
BACKGROUND = 1e9                    # metres; Cycles writes 1e10 where there is nothing


@dataclass(frozen=True)
class _Part:
    channels: list[tuple[str, int]]         # name and bytes of a pixel, in the order of the file
    width: int
    top: int
    height: int

    @property
    def blocks(self) -> int:
        return -(-self.height // LINES)

    @property
    def depth(self) -> str:
        return next((name for name, size in self.channels if name.endswith("Depth.Z") and size == 4), "")

    def start(self) -> int:
        """Bytes of one scan line before the depth channel."""
        names = [name for name, _size in self.channels]
        return self.width * sum(size for _name, size in self.channels[:names.index(self.depth)])


def nearfar(path: Path) -> tuple[float, float] | None:
    """Smallest and largest finite depth (metres) of one file, None where nothing but background is seen. Raises GuideError."""
    content = path.read_bytes()
    try:
        planes = [plane[np.isfinite(plane) & (plane > 0) & (plane < BACKGROUND)] for plane in _planes(content)]
    except (struct.error, zlib.error, ValueError, IndexError, KeyError) as error:
        raise GuideError(f"The depth of {path} cannot be read back: {error}.",
                         Remedy(action="render_guides", label="Render Guides Again")) from error
    seen = np.concatenate(planes) if planes else np.empty(0, np.float32)
    return (float(seen.min()), float(seen.max())) if seen.size else None


def _planes(content: bytes):
    """Depth of each block of scan lines, as flat float32."""
    parts, at, several = _parts(content)
    if not any(part.depth for part in parts):
        raise ValueError("it has no depth")
    offsets = [(number, where) for number, part in enumerate(parts) for where in range(part.blocks)]
    for entry, (number, _block) in enumerate(offsets):
        part = parts[number]
        if part.depth:
            (where,) = struct.unpack_from("<Q", content, at + 8 * entry)
            yield _block_depth(content, where + (4 if several else 0), part)


def _block_depth(content: bytes, where: int, part: _Part) -> np.ndarray:
    line, size = struct.unpack_from("<ii", content, where)
    rows = min(LINES, part.top + part.height - line)
    stride = part.width * sum(size for _name, size in part.channels)
    raw = _unpacked(content[where + 8:where + 8 + size], rows * stride)
    lines = np.frombuffer(raw, np.uint8).reshape(rows, stride)[:, part.start():part.start() + 4 * part.width]
    return np.ascontiguousarray(lines).view("<f4").ravel()


def _unpacked(block: bytes, size: int) -> bytes:
    """ZIP of OpenEXR: deflated differences of bytes, even ones first. Blocks that would not shrink are stored as they are."""
    if len(block) == size:
        return block
    steps = np.frombuffer(zlib.decompress(block), np.uint8).copy()
    steps[1:] -= 128
    flat = np.cumsum(steps, dtype=np.uint8)
    woven, half = np.empty(size, np.uint8), (size + 1) // 2
    woven[0::2], woven[1::2] = flat[:half], flat[half:]
    return woven.tobytes()


# ---------------------------------------------------------------- headers
def _parts(content: bytes) -> tuple[list[_Part], int, bool]:
    """The parts, where the table of offsets begins, and whether the file is of the kind with several parts."""
    magic, version = struct.unpack_from("<iI", content, 0)
    if magic != MAGIC:
        raise ValueError("it is no EXR")
    at, several, parts = 8, bool(version & MULTIPART), []
    while content[at]:
        part, at = _header(content, at)
        parts.append(part)
        if not several:
            return parts, at, several
    return parts, at + 1, several


def _header(content: bytes, at: int) -> tuple[_Part, int]:
    fields = {}
    while content[at]:
        name, at = _word(content, at)
        _kind, at = _word(content, at)
        (size,) = struct.unpack_from("<i", content, at)
        fields[name] = content[at + 4:at + 4 + size]
        at += 4 + size
    if fields["compression"][0] != ZIP:
        raise ValueError("it is not ZIP-compressed")
    left, top, right, bottom = struct.unpack("<4i", fields["dataWindow"])
    return _Part(_channels(fields["channels"]), right - left + 1, top, bottom - top + 1), at + 1


def _channels(listed: bytes) -> list[tuple[str, int]]:
    found, at = [], 0
    while listed[at]:
        name, at = _word(listed, at)
        (kind,) = struct.unpack_from("<i", listed, at)
        found.append((name, BYTES[kind]))
        at += 16
    return found


def _word(content: bytes, at: int) -> tuple[str, int]:
    end = content.index(b"\0", at)
    return content[at:end].decode("utf-8", "replace"), end + 1
