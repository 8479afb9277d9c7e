"""Decoded frames -> numbered files: encoded in a few threads while the engine goes on, each file appearing whole or not at all.

A frame is a float32 array (height, width, 3) from 0 to 1, coded as `light` knows; what is encoded are the whole numbers that
`quantised` makes of it, once. Numpy, PyAV, OpenCV and OpenEXR; no torch.
"""
from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import light
from .ahead import Ahead
from .errors import DiskFull, FolderError, Remedy
from .protocol import Files, Shot

FOLDER, PARTIAL = "frames", ".partial"
THREADS, AHEAD = 2, 4               # writer threads; frames that may wait for them, so that memory stays flat
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
EXR_ROOM = 4 << 20                  # bytes; a disk with less free than this was full when OpenEXR failed
HIGHEST = {"png": 255, "png16": 65535, "exr": 65535}               # of the whole numbers that a kind of file is made from
REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)      # ITU-R BT.709 primaries and D65, x and y


@dataclass(frozen=True, slots=True)
class Printed:
    """One file on disk, as the take's index records it."""

    name: str
    size: int           # bytes
    sha256: str


def files(shot: Shot) -> Files:
    """Where the shot's frames will be."""
    kind = "exr" if shot.format == "exr" else "png"
    return Files(folder=FOLDER, pattern=f"plate.%04d.{kind}", first=shot.frame_start, count=shot.frames,
                 colourspace="Linear Rec.709" if shot.format == "exr" else "sRGB")


# ---------------------------------------------------------------- one frame -> bytes
def quantised(frame: np.ndarray, highest: int) -> np.ndarray:
    """(h, w, 3) 0..1 -> whole numbers 0..highest, rounded, contiguous: uint8 up to 255, otherwise uint16."""
    whole = np.multiply(frame, np.float32(highest), order="C")
    whole += np.float32(0.5)
    np.clip(whole, np.float32(0.5), np.float32(highest + 0.5), out=whole)       # in place: memory is what this takes
    return whole.astype(np.uint8 if highest < 256 else np.uint16)


def png(whole: np.ndarray, labels: dict[str, str]) -> bytes:
    """uint8 (h, w, 3) -> an 8-bit PNG. PyAV's encoder with the `up` predictor is the fastest of those at hand."""
    from fractions import Fraction

    import av
    picture = av.VideoFrame.from_ndarray(whole, format="rgb24")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "rgb24"
    encoder.time_base, encoder.thread_count = Fraction(1, 24), 1
    encoder.options = {"compression_level": "1", "pred": "up"}
    packets = [bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None))]
    return labelled(b"".join(packets), labels)


def png16(whole: np.ndarray, labels: dict[str, str]) -> bytes:
    """uint16 (h, w, 3) -> a 16-bit PNG. The low bits of 16 hardly repeat: Huffman coding alone is as small, and faster.

    Raises FolderError when OpenCV declines.
    """
    import cv2
    done, encoded = cv2.imencode(".png", cv2.cvtColor(whole, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY))
    if not done:
        raise FolderError(f"A frame of {whole.shape[1]}x{whole.shape[0]} could not be encoded as a 16-bit PNG.")
    return labelled(encoded.data, labels)


def labelled(encoded: bytes | memoryview, labels: dict[str, str]) -> bytes:
    """A PNG with `labels` as iTXt chunks right after its header (PNG 1.2, 4.2.3.3)."""
    header = 8 + 25
    chunks = [encoded[:header]]
    for key, text in labels.items():
        body = b"iTXt" + key.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8")
        chunks.append(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
    return b"".join((*chunks, encoded[header:]))


def write_exr(whole: np.ndarray, labels: dict[str, str], path: Path, coding: str = light.SRGB) -> None:
    """uint16 (h, w, 3) -> a half-float ZIP EXR of linear light. The array handed to OpenEXR must be contiguous, or it writes other pixels.

    Raises OSError; what OpenEXR says of a full disk is only text, so the disk itself is asked.
    """
    import OpenEXR
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "chromaticities": REC709, **labels}
    half = np.ascontiguousarray(np.take(light.halves(coding), whole))
    try:
        OpenEXR.File(header, {"RGB": half}).write(str(path))
    except RuntimeError as error:
        stat = os.statvfs(path.parent) if hasattr(os, "statvfs") else None
        full = "space" in str(error).lower() or "too large" in str(error).lower() or (stat is not None and stat.f_bavail * stat.f_frsize < EXR_ROOM)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


# ---------------------------------------------------------------- whole files
def replace(path: Path, fill: Callable[[Path], None]) -> None:
    """Has `fill` write a temporary file beside `path`, syncs it, and puts it in place. Raises DiskFull or FolderError."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        try:
            fill(partial)
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
    except OSError as error:
        raise told(error, path) from error


def told(error: OSError, path: Path) -> FolderError:
    """The operating system's refusal in the artist's language."""
    if error.errno in FULL:
        return DiskFull(f"The disk of {path.parent} is full; everything printed so far is kept.",
                        Remedy(action="free_disk", label="Open Folder", value=str(path.parent)))
    return FolderError(f"{path} cannot be written: {error.strerror or error}.",
                       Remedy(action="choose_folder", label="Choose a Folder"))


def developed(frame: np.ndarray, kind: str, coding: str = light.SRGB) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 3) 0..1 -> the whole numbers that a file of `kind` is made from, and uint8 as a display shows it.

    EXR keeps the codes; in other kinds, what is brighter than white is white.
    """
    whole = quantised(frame, HIGHEST[kind] if coding == light.SRGB else light.CODES - 1)
    if coding != light.SRGB:
        seen = np.take(light.display(), whole)
        small = ((seen.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return {"exr": whole, "png16": seen, "png": small}[kind], small
    return whole, whole if whole.dtype == np.uint8 else (whole >> 8).astype(np.uint8)


def write_frame(path: Path, whole: np.ndarray, kind: str, labels: dict[str, str], coding: str = light.SRGB) -> Printed:
    """Encodes whole numbers as `developed` makes them of `kind` (png, png16, exr) into `path`. Raises DiskFull or FolderError."""
    said = {}

    def fill(partial: Path) -> None:
        if kind == "exr":
            write_exr(whole, labels, partial, coding)
            encoded = partial.read_bytes()
        else:
            encoded = (png16 if kind == "png16" else png)(whole, labels)
            partial.write_bytes(encoded)
        said.update(size=len(encoded), sha256=hashlib.sha256(encoded).hexdigest())

    replace(path, fill)
    return Printed(f"{FOLDER}/{path.name}", **said)


def labels(shot: Shot, coding: str = light.SRGB) -> dict[str, str]:
    """What each frame says of itself; nothing of the take, so that the same pixels are the same file.

    Strings only: OpenEXR silently loses integers above 32 bits.
    """
    return {"Software": "Sora", "sora:family": shot.family, "sora:seed": str(shot.seed),
            "sora:prompt_sha256": hashlib.sha256(shot.prompt.encode("utf-8")).hexdigest(),
            "sora:content": f"generated, {'linearised SDR' if coding == light.SRGB else f'linear from {coding}'}" if shot.format == "exr" else "generated"}


@dataclass(frozen=True, slots=True)
class Exposed:
    """A frame that has been printed, for whoever shows it or counts the time."""

    index: int                      # from 0
    picture: np.ndarray             # uint8 (h, w, 3)
    printed: Printed
    developing: float               # seconds, of a writer thread
    writing: float


class Printer(Ahead):
    """Prints a shot's frames a few at a time, in threads that also develop them; `shown` hears of each, in order.

    `print` may raise what an earlier frame ran into: DiskFull or FolderError, or Cut.
    """

    def __init__(self, shot: Shot, cut: threading.Event, shown: Callable[[Exposed], None] = lambda frame: None, coding: str = light.SRGB):
        super().__init__(THREADS, THREADS + AHEAD, cut, "printer")
        self._shot, self._where, self._labels, self._shown, self._coding = shot, files(shot), labels(shot, coding), shown, coding
        self._folder = Path(shot.out) / FOLDER

    def __enter__(self) -> "Printer":
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise told(error, self._folder) from error
        return self

    def print(self, index: int, develop: Callable[[], np.ndarray]) -> None:
        """Takes the shot's image `index` (from 0), which `develop` makes in a writer thread; waits while too many are under way."""
        self.submit(self._expose, index, develop)

    def _expose(self, index: int, develop: Callable[[], np.ndarray]) -> Exposed:
        begun = time.perf_counter()
        frame = develop()
        ready = time.perf_counter()
        path = self._folder / (self._where.pattern % self._shot.numbered(index))
        whole, picture = developed(frame, self._shot.format, self._coding)
        printed = write_frame(path, whole, self._shot.format, self._labels, self._coding)
        return Exposed(index, picture, printed, ready - begun, time.perf_counter() - ready)

    def landed(self, exposed: Exposed) -> Printed:
        self._shown(exposed)
        return exposed.printed
