"""A clip in time: the windows it is sampled in, the guides and stills of each, and how well the windows join."""
from __future__ import annotations

import dataclasses
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .ahead import Ahead
from .errors import KeyframeError, Remedy
from .protocol import FrameGrid, Guide, Shot, Size, loop_of

if TYPE_CHECKING:
    from .camera import Cameras

SEEN = 2 / 255                      # a jump in mean colour that an eye may see
READERS = 2                         # threads
FOR_REFINING = ("depth", "normal")  # guides that a refiner draws along
FOR_DELIVERY = (*FOR_REFINING, "albedo")    # and that up-scaling follows


@dataclass(frozen=True, slots=True)
class Stretch:
    """The shot's frames start .. start + frames - 1, sampled at once; those before `fresh` are shared with the one before."""

    index: int
    start: int
    frames: int         # on the family's grid; may reach past the shot's end
    fresh: int


def stretches(frames: int, window: int, overlap: int, grid: FrameGrid) -> tuple[Stretch, ...]:
    """Windows that cover `frames`, each beginning with the last `overlap` frames of the one before."""
    first = Stretch(0, 0, grid.ceil(min(frames, window)), 0)
    found = [first]
    while (end := found[-1].start + found[-1].frames) < frames:
        start = end - overlap
        found.append(Stretch(len(found), start, grid.ceil(min(frames - start, window)), end))
    return tuple(found)


def seed(shot_seed: int, index: int) -> int:
    """The seed of a window's noise: 63 bits, unrelated for neighbouring seeds and windows."""
    return int.from_bytes(hashlib.sha256(f"{shot_seed}/{index}".encode()).digest()[:8], "big") >> 1


# ---------------------------------------------------------------- guides
class Guides:
    """The shot's guides, read as far as a window needs; past the shot's end the last frame stands still."""

    def __init__(self, shot: Shot):
        self._frames = shot.frames
        self._readers = {guide.kind: _reader(guide, shot) for guide in shot.guides if guide.kind != "camera"}

    def window(self, start: int, count: int, size: Size, cut: threading.Event) -> dict[str, np.ndarray]:
        """kind -> float32 (count, height, width, C) from the shot's frame `start`, which counts from 0; read by two threads. Raises Cut."""
        there = min(count, self._frames - start)
        with Ahead(READERS, 2 * READERS, cut, "reader") as ahead:
            for frame in range(start, start + there if self._readers else start):
                ahead.submit(self.frame, frame, size, tuple(self._readers))
            found = ahead.finish()
        return {kind: _held(np.concatenate([one[kind] for one in found]), count) for kind in self._readers}

    def frame(self, index: int, size: Size, kinds: tuple[str, ...]) -> dict[str, np.ndarray]:
        """kind -> float32 (1, height, width, C) of one frame, for those of `kinds` that the shot has."""
        return {kind: self._readers[kind].read(index, 1, size) for kind in kinds if kind in self._readers}

    def notes(self) -> tuple[str, ...]:
        """What the readers found odd, once each."""
        return tuple(dict.fromkeys(note for reader in self._readers.values() for note in reader.notes))


class Beside:
    """What a shot has beside its guides: a source clip, reference pictures and cameras."""

    def __init__(self, shot: Shot, cameras: bool):
        """`cameras`: whether the family follows them. An orthographic one cannot be followed, which `notes` says. Raises GuideError."""
        self._shot = shot
        self._source = Guides(dataclasses.replace(shot, guides=(shot.source,))) if shot.source else None
        self._references = tuple(map(subject, shot.references))
        paths = [guide.path for guide in shot.guides if cameras and guide.kind == "camera"]
        self._cameras, self._notes = _cameras(paths[0], shot) if paths else (None, ())
        self._near, self._far = next(((guide.near or 0.0, guide.far or 0.0) for guide in shot.guides if guide.kind == "depth"), (0.0, 0.0))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd or made to fit, as far as it was read."""
        return (*self._notes, *(self._source.notes() if self._source else ()))

    def window(self, stretch: Stretch, size: Size, cut: threading.Event) -> dict:
        """The fields of a families.Window. Raises Cut, GuideError."""
        found = {"references": self._references}
        if self._source is not None:
            found |= {"source": self._source.window(stretch.start, stretch.frames, size, cut)["beauty"], "change": self._shot.source.strength}
        if self._cameras is not None:
            positions = np.minimum(np.arange(stretch.start, stretch.start + stretch.frames), self._shot.frames - 1)
            found |= {"cameras": self._cameras.at(positions).resized(size), "near": self._near, "far": self._far}
        return found

    def kept(self, made: np.ndarray, index: int, guides: Guides) -> np.ndarray:
        """A frame (height, width, 3) where the mask has it made anew, and the source's own picture elsewhere."""
        size = Size(made.shape[1], made.shape[0])
        anew = guides.frame(index, size, ("mask",)).get("mask") if self._source else None
        if anew is None:
            return made
        return anew[0] * made + (1 - anew[0]) * self._source.frame(index, size, ("beauty",))["beauty"][0]


def _cameras(path: str, shot: Shot) -> tuple[Cameras | None, tuple[str, ...]]:
    """The cameras of a shot, or why they are not followed. Raises GuideError."""
    from . import camera
    try:
        return camera.along(path, shot)
    except camera.Orthographic:
        return None, ("The camera is orthographic, at least in some frames: its path was not followed, only what it sees",)


def spans(shot: Shot, stretch: Stretch) -> dict[str, np.ndarray]:
    """kind -> float32 (frames,): strengths in the frames of a window, for guides whose strength changes; the last one holds."""
    found = {}
    for guide in [guide for guide in shot.guides if guide.spans]:
        each = np.full(shot.frames, guide.strength, np.float32)
        for span in guide.spans:
            each[span.first:span.last + 1] = span.strength
        found[guide.kind] = each[np.minimum(np.arange(stretch.start, stretch.start + stretch.frames), shot.frames - 1)]
    return found


def _reader(guide: Guide, shot: Shot):
    from . import guides        # brings OpenEXR, which a shot without guides need not wait for
    return guides.Reader(guide, shot)


def _held(images: np.ndarray, count: int) -> np.ndarray:
    missing = count - len(images)
    return np.concatenate([images, np.repeat(images[-1:], missing, 0)]) if missing else images


# ---------------------------------------------------------------- keyframes
@dataclass(frozen=True, slots=True)
class Still:
    image: np.ndarray       # float32 (h, w, 3), sRGB 0..1, at the native size
    original: Size


def stills(shot: Shot, native: Size) -> dict[int, Still]:
    """The shot's keyframes by frame, conformed to the shot's picture and then scaled to the native size, each side for itself: as guides
    and cameras are, and as frames are scaled back when they are delivered."""
    found = {}
    for keyframe in shot.keyframes:
        image = picture(keyframe.path)
        found[keyframe.frame] = Still(scaled(conformed(image, shot.size), native), Size(image.shape[1], image.shape[0]))
    return found


def within(found: dict[int, Still], stretch: Stretch) -> dict[int, np.ndarray]:
    """The keyframes of a window, counted from its first frame; those in the shared part are already in the tail."""
    return {frame - stretch.start: still.image for frame, still in found.items() if stretch.fresh <= frame < stretch.start + stretch.frames}


def still_notes(shot: Shot, native: Size, found: dict[int, Still]) -> tuple[str, ...]:
    return tuple(f"The keyframe at frame {frame} was conformed from {still.original} to {native}"
                 for frame, still in sorted(found.items()) if still.original != native)


def loop_notes(shot: Shot) -> tuple[str, ...]:
    """How a shot that leads a take back to its beginning is played, so that no picture comes twice."""
    loop = loop_of(shot)
    if loop is None:
        return ()
    first, last = shot.numbered(loop.head), shot.numbered(shot.frames - 1 - loop.tail)
    return (f"A loop: play {loop.take.name}, then the frames {first} to {last} of this, and so on; those around them are the take's own",)


def picture(path: str, what: str = "keyframe", remedy: Remedy | None = None) -> np.ndarray:
    """An image file as float32 (h, w, 3), sRGB 0..1; transparency is dropped. Raises KeyframeError, in which it is `what`."""
    import cv2
    return _decoded(path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH, what, remedy)


def _decoded(path: str, flags: int, what: str, remedy: Remedy | None = None) -> np.ndarray:
    """What OpenCV reads with `flags`, as float32 between 0 and 1. Raises KeyframeError."""
    import cv2
    try:
        encoded = np.frombuffer(Path(path).read_bytes(), np.uint8)
    except (OSError, ValueError) as error:
        raise KeyframeError(f"The {what} {path} cannot be read: {getattr(error, 'strerror', None) or error}.", remedy) from error
    image = cv2.imdecode(encoded, flags) if encoded.size else None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise KeyframeError(f"The {what} {path} is not an image that can be read; use PNG, JPEG, TIFF or WebP.", remedy)
    return image.astype(np.float32) / np.iinfo(image.dtype).max


def subject(path: str) -> np.ndarray:
    """A picture of a subject as `picture` reads it; one that is cut out stands on white. Raises KeyframeError."""
    import cv2
    stored = _decoded(path, cv2.IMREAD_UNCHANGED, "picture of the subject")
    if stored.ndim < 3 or stored.shape[2] < 4:
        return picture(path, "picture of the subject")         # which turns photographs as they say
    return np.ascontiguousarray(stored[..., 2::-1] * stored[..., 3:] + (1 - stored[..., 3:]))


def conformed(image: np.ndarray, size: Size) -> np.ndarray:
    """(h, w, 3) -> (size.height, size.width, 3): scaled to cover, the rest cropped evenly."""
    import cv2
    height, width = image.shape[:2]
    scale = max(size.width / width, size.height / height)
    covering = Size(max(size.width, round(width * scale)), max(size.height, round(height * scale)))
    resized = cv2.resize(image, (covering.width, covering.height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    x, y = (covering.width - size.width) // 2, (covering.height - size.height) // 2
    return np.ascontiguousarray(np.clip(resized[y:y + size.height, x:x + size.width], 0, 1))


def scaled(image: np.ndarray, size: Size) -> np.ndarray:
    """(h, w, 3) -> (size.height, size.width, 3): the whole picture, each side for itself."""
    import cv2
    if image.shape[1::-1] == (size.width, size.height):
        return image
    smaller = size.width <= image.shape[1] and size.height <= image.shape[0]
    return np.clip(cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC), 0, 1)


# ---------------------------------------------------------------- joins
class Tail:
    """The last `length` frames of what is added: a Tensor (length, 3, h, w), or None while nothing was added."""

    def __init__(self, length: int):
        self._length, self.frames = length, None

    def add(self, chunk) -> None:
        import torch
        joined = chunk if self.frames is None else torch.cat([self.frames, chunk])
        self.frames = joined[-self._length:].clone()        # a view would keep the whole chunk alive


class Joins:
    """How far a window's shared frames drift in mean colour from those of the window before."""

    def __init__(self):
        self._before, self.worst = None, 0.0

    def remember(self, tail) -> None:
        self._before = None if tail is None else tail.mean((2, 3))          # (overlap, 3)

    def compare(self, stretch: Stretch, at: int, chunk) -> None:
        """`chunk` begins at the shot's frame `at`."""
        shared = min(stretch.fresh - at, len(chunk))
        if self._before is None or shared <= 0:
            return
        before = self._before[at - stretch.start:at - stretch.start + shared]
        self.worst = max(self.worst, float((chunk[:shared].mean((2, 3)) - before).abs().max()))

    def notes(self) -> tuple[str, ...]:
        return (f"Mean colour jumps by up to {self.worst * 255:.1f} of 255 where windows join",) if self.worst > SEEN else ()
