"""Sizes, and the lengths and sizes that a family of models can make. Standard library only, as the wire that they travel by."""
from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import ShotError


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """`832x480` -> Size. Raises ShotError."""
        parts = text.lower().replace("×", "x").split("x")
        if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
            raise ShotError(f"“{text}” is not a size; write it as 832x480.")
        return cls(int(parts[0]), int(parts[1]))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """Clip lengths that a family can make: offset, offset + stride, offset + 2 stride, ..."""

    stride: int = 4
    offset: int = 1

    def ceil(self, frames: int) -> int:
        """The shortest length on the grid that holds `frames`."""
        return self.offset + max(0, -(-(frames - self.offset) // self.stride)) * self.stride

    def floor(self, frames: int) -> int:
        """The longest length on the grid that `frames` hold."""
        return self.offset + max(0, (frames - self.offset) // self.stride) * self.stride


@dataclass(frozen=True, slots=True)
class SizeGrid:
    """Picture sizes that a family can deliver: multiples, between a shortest and a longest side (pixels)."""

    multiple: int = 8
    shortest: int = 64
    longest: int = 4096

    def nearest(self, size: Size) -> Size:
        """The size on the grid that is closest to `size`, side by side."""
        return Size(self._side(size.width), self._side(size.height))

    def _side(self, pixels: int) -> int:
        low, high = -(-self.shortest // self.multiple), self.longest // self.multiple
        return min(max(math.floor(pixels / self.multiple + 0.5), low), high) * self.multiple
