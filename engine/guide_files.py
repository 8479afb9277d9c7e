"""The files of one guide: which there are, whether they are all there, and their pixels as stored. Knows no kind of guide."""
from __future__ import annotations

import re
import struct
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from . import conform, exr
from .errors import GuideError, Remedy
from .protocol import Guide, Shot, Size

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
NUMBER = re.compile(r"(\d+)$")


def way_out(guide: Guide, shot: Shot) -> Remedy:
    """Guides that Blender rendered can be rendered again; a source clip or a folder of the asker's own can only be left out."""
    if guide is shot.source:
        return Remedy(action="leave_out", label="Begin from Nothing", value="source")
    if conform.rendered(guide.path, shot):
        return Remedy(action="render_guides", label="Render Guides Again")
    return Remedy(action="drop_guide", label=f"Leave {guide.kind.title()} Out", value=guide.kind)


@contextmanager
def remedied(guide: Guide, shot: Shot):
    """Gives every GuideError the guide's way out, where it has none yet."""
    try:
        yield
    except GuideError as error:
        error.remedy = error.remedy or way_out(guide, shot)
        raise


def sequence(guide: Guide, shot: Shot) -> tuple[list[Path], str]:
    """One file for each of the shot's frames, in order, and what is to be said where the guide is longer or shorter.

    Files are numbered at the end of their names. Any first number will do, if the rest follow without a gap. Raises GuideError.
    """
    folder, remedy, what = Path(guide.path), way_out(guide, shot), conform.named(guide, shot)
    files = numbered(folder, f"The {what}", remedy)
    numbers = sorted(files)
    if not numbers:
        raise GuideError(f"The {what}'s folder {folder} has no numbered EXR, PNG or JPEG files.", remedy)
    run = conform.run(numbers, shot, what, folder, remedy)
    return [files[numbers[row]] for row in run.rows], run.note


def numbered(folder: Path, what: str, remedy: Remedy | None = None) -> dict[int, Path]:
    """Number -> picture, of the files of a folder that end in a number. Raises GuideError, in which `what` is what the folder holds."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise GuideError(f"{what}'s folder {folder} cannot be read: {error.strerror or error}.", remedy) from error
    found: dict[int, Path] = {}
    for path in entries:
        number = NUMBER.search(path.stem)
        if path.suffix.lower() not in (".exr", *PICTURES) or path.name.startswith(".") or number is None:
            continue
        if int(number[1]) in found:
            raise GuideError(f"{what} has two files of one number, {found[int(number[1])].name} and {path.name}.", remedy)
        found[int(number[1])] = path
    return found


def check_sizes(files: list[Path], guide: Guide, shot: Shot) -> Size:
    """The size of all files. Raises GuideError that names the first file of another size or that cannot be read."""
    first = size(files[0])
    for path in dict.fromkeys(files[1:]):
        if size(path) != first:
            raise GuideError(f"{path.name} of the {conform.named(guide, shot)} is {size(path)}, while {files[0].name} is {first}.", way_out(guide, shot))
    return first


def size(path: Path) -> Size:
    """Width and height in pixels. Raises GuideError."""
    if path.suffix.lower() == ".exr":
        return exr.size(path)
    with _reading(path), path.open("rb") as file:
        head = file.read(24)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Size(*struct.unpack(">II", head[16:24]))
    height, width = picture(path).shape[:2]
    return Size(width, height)


@contextmanager
def _reading(path: Path):
    try:
        yield
    except OSError as error:
        raise GuideError(f"{path} cannot be read: {error.strerror or error}.") from error


def picture(path: Path) -> np.ndarray:
    """A PNG, JPEG or TIFF as float32 (h, w, 3) between 0 and 1, as stored; grey is repeated. Raises GuideError."""
    import cv2
    with _reading(path):
        packed = np.frombuffer(path.read_bytes(), np.uint8)         # cv2.imread knows no Unicode paths on Windows
    stored = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED) if packed.size else None
    if stored is None:
        raise GuideError(f"{path} cannot be read: it is damaged or no picture.")
    scale = {"uint8": 255.0, "uint16": 65535.0}.get(stored.dtype.name, 1.0)
    planes = stored.reshape(*stored.shape[:2], -1).astype(np.float32) / scale
    return np.repeat(planes[..., :1], 3, -1) if planes.shape[-1] < 3 else np.ascontiguousarray(planes[..., 2::-1])


def resized(image: np.ndarray, to: Size | None) -> np.ndarray:
    """(h, w, C) at another size: the average of what each pixel covers, or linear where it grows."""
    if to is None or image.shape[:2] == (to.height, to.width):
        return image
    import cv2
    shrinks = to.width < image.shape[1] or to.height < image.shape[0]
    scaled = cv2.resize(np.ascontiguousarray(image), (to.width, to.height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return scaled.reshape(to.height, to.width, -1)
