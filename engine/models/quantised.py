"""GGUF files: what their header says of the tensors, judged from the bytes before any library opens them.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; little endian, versions 2 and 3: counts, key-value pairs, names with
shapes, then the tensors one after the other, each at a multiple of the alignment.
"""
from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

from ..errors import CHOOSE, ModelError

SUFFIX = ".gguf"
VERSIONS = (2, 3)
HEADER_BYTES = 25_000_000               # as for safetensors: nothing honest is longer
TENSORS, TENSOR_NAME, SIDES = 50_000, 1_000, 8
# type -> its name, weights in one of its blocks, bytes of that block; those that diffusers can widen (quantizers/gguf/utils.py)
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
         8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
         20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136)}
SIMPLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}       # kinds of values; 8 is text, 9 a list
SIZES = {name: (together, held) for name, together, held in TYPES.values()}


def stored(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor of the type called `dtype`, whose last side is whole blocks."""
    together, held = SIZES[dtype]
    return math.prod(shape) // together * held


def tensors(path: Path, size: int) -> tuple[dict[str, tuple[str, tuple[int, ...]]], dict[str, str]]:
    """Tensor -> (type, shape as torch has it), and the simple values, of a file of `size` bytes. Raises ModelError, OSError."""
    with path.open("rb") as file:
        read = _Reading(path, file)
        magic, version = read.exactly(4), read.number("I")
        if magic != b"GGUF" or version not in VERSIONS:
            raise read.damaged("it is not a GGUF file of version 2 or 3")
        count, pairs = read.number("Q"), read.number("Q")
        if count > TENSORS or pairs > TENSORS:
            raise read.damaged("it lists too many tensors")
        said = dict(read.pair() for _ in range(pairs))
        listed = [read.tensor() for _ in range(count)]
        begins = read.at
    alignment = said.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**20 or alignment % 8:
        raise read.damaged("its alignment is none")
    begins += -begins % alignment
    _filled(read, listed, alignment, size - begins)
    found = {name: (dtype, shape) for name, dtype, shape, _ in listed}
    if len(found) != len(listed):
        raise read.damaged("a name appears twice")
    return found, {key: str(value) for key, value in said.items()}


def _filled(read: _Reading, listed: list[tuple], alignment: int, room: int) -> None:
    """Whether the tensors fill `room` bytes without overlaps; writers may pad the last one. Raises ModelError."""
    end = 0
    for name, dtype, shape, offset in sorted(listed, key=lambda one: one[3]):
        if offset != end + -end % alignment:
            raise read.damaged("its tensors overlap or leave gaps")
        end = offset + stored(dtype, shape)
    if not end <= room <= end + -end % alignment:
        raise read.damaged(f"{max(room, 0)} bytes of tensors are there, {end} belong there")


class _Reading:
    """The header, read value by value; never more of it than HEADER_BYTES."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path, self._file, self.at = path, file, 0

    def damaged(self, why: str) -> ModelError:
        return ModelError(f"{self._path} is damaged or not a model file: {why}.", CHOOSE)

    def exactly(self, count: int) -> bytes:
        self.at += count
        found = self._file.read(count) if self.at <= HEADER_BYTES else b""
        if len(found) != count:
            raise self.damaged("its header is cut off or too long")
        return found

    def number(self, kind: str):
        return struct.unpack(f"<{kind}", self.exactly(struct.calcsize(f"<{kind}")))[0]

    def text(self) -> str:
        """Raises ModelError for what is no UTF-8."""
        try:
            return self.exactly(self.number("Q")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"its header cannot be read ({error})") from error

    def pair(self) -> tuple[str, object]:
        """A key and its value; of a list only how long it is."""
        return self.text(), self._value(self.number("I"))

    def _value(self, kind: int):
        if kind in SIMPLE:
            return self.number(SIMPLE[kind])
        if kind == 8:
            return self.text()
        if kind != 9:
            raise self.damaged("its header has a value of an unknown kind")
        each, count = self.number("I"), self.number("Q")
        if each in SIMPLE:
            self.exactly(count * struct.calcsize(SIMPLE[each]))
        elif each == 8:
            for _ in range(count):          # reading ends where the header would be too long
                self.text()
        else:
            raise self.damaged("its header has a list of something unknown")
        return count

    def tensor(self) -> tuple[str, str, tuple[int, ...], int]:
        """Name, type, shape and place of the next tensor; the file has its sides the other way round."""
        name, sides = self.text(), self.number("I")
        if not name or len(name) > TENSOR_NAME or sides > SIDES:
            raise self.damaged(f"the tensor {name[:60]!r} has no proper name or shape")
        shape = tuple(self.number("Q") for _ in range(sides))[::-1]
        kind, offset = self.number("I"), self.number("Q")
        if kind not in TYPES:
            raise self.damaged(f"the tensor {name[:60]!r} is of the type {kind}, which this engine cannot read")
        dtype, together, _ = TYPES[kind]
        if any(side >= 2**48 for side in shape) or math.prod(shape) >= 2**48 or (shape and shape[-1] % together):
            raise self.damaged(f"the tensor {name[:60]!r} has no proper shape")
        return name, dtype, shape, offset
