"""An artist's own clips, as training takes them: films, folders of numbered images and takes, each with its caption; conformed, and said so.

    FOLDER/rain.mp4 (or .mov, .webm, ...)   FOLDER/rain.txt       what the clip shows
    FOLDER/ink/0001.png ... (or EXR, JPEG)  FOLDER/ink.txt
    FOLDER/street/take.json, frames/, ...   [FOLDER/street.txt]   a take has its prompt, and its depth and normals are guides
"""
from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import guide_files
from ..errors import SoraError
from ..guides import Reader
from ..protocol import TAKE_FILE, FrameGrid, Guide, Shot, Size, Take, read_take
from .autoencoder import TIME
from .guides import PICTURES
from .model import WINDOW_FRAMES

log = logging.getLogger(__name__)

FILMS = (".mp4", ".mov", ".webm", ".mkv", ".m4v", ".avi")
GRID = FrameGrid(stride=TIME, offset=1)
SHORTEST = 5                                                   # frames: the first latent frame alone would be a still
Sized = Callable[[int, int], tuple[int, int]]                  # (width, height) -> the size that Blockout draws for it


class ClipsError(SoraError):
    """The clips cannot be trained on: none, without captions, too short, unreadable."""

    code, bad_request = "bad_clips", True


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip as it lies on disk. `images` are its files in order, none for a film."""
    path: Path
    caption: str
    images: tuple[Path, ...] = ()
    take: Take | None = None

    def key(self) -> str:
        """Changes with the clip's files."""
        files = [self.path, *self.images] if self.take is None else [self.path / TAKE_FILE, *self.images]
        facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some frames of a clip on Blockout's grid."""
    rgb: np.ndarray                                            # uint8 (T, h, w, 3)
    guides: dict[str, np.ndarray]                              # float32 (T, h, w, C), as engine.guides reads them


# ---------------------------------------------------------------- which
def found(folder: Path) -> list[Clip]:
    """The folder's clips by name. Raises ClipsError, FolderError."""
    if not folder.is_dir():
        raise ClipsError(f"{folder} is not a folder; name the one that holds your clips.")
    entries = [folder] if (folder / TAKE_FILE).is_file() else sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    clips = [clip for path in entries if (clip := _clip(path)) is not None]
    if not clips:
        raise ClipsError(f"{folder} holds no clips; put films (mp4, mov, webm) or folders of numbered images into it, "
                         "each with what it shows in a .txt file of the same name beside it.")
    bare = [clip for clip in clips if not clip.caption]
    if bare:
        first, more = bare[0].path, f" ({len(bare)} clips have none)" if len(bare) > 1 else ""
        raise ClipsError(f"{first.name} has no caption{more}; write what it shows into {_captioned(first).name} beside it.")
    known = {path for clip in clips for path in (clip.path, _captioned(clip.path))}
    rest = [path.name for path in entries if path not in known]
    if rest:
        log.warning("left out, neither clip nor caption: %s", ", ".join(rest[:12]))
    return clips


def _clip(path: Path) -> Clip | None:
    caption = _captioned(path)
    said = caption.read_text(encoding="utf-8-sig", errors="replace").strip() if caption.is_file() else ""
    if path.is_file():
        return Clip(path, said) if path.suffix.lower() in FILMS else None
    if (path / TAKE_FILE).is_file():
        take = read_take(path)
        frames = tuple(path / take.files.folder / name for name in take.files.names())
        gone = next((frame for frame in frames if not frame.is_file()), None)
        if gone:
            raise ClipsError(f"The take {path.name} lacks {gone.name}; shoot it again, or take it out.")
        return Clip(path, said or take.shot.prompt, frames, take)
    images = _images(path)
    return Clip(path, said, images) if images else None


def _captioned(path: Path) -> Path:
    """Where the caption of a clip is; a folder's name may have a dot in it."""
    return path.with_name(f"{path.name if path.is_dir() else path.stem}.txt")


def _images(folder: Path) -> tuple[Path, ...]:
    """A folder's numbered images in order. Raises ClipsError when one is missing between them, GuideError when there are two of one number."""
    numbered = guide_files.numbered(folder, f"The clip {folder.name}")
    for number in range(min(numbered, default=0), max(numbered, default=-1)):
        if number not in numbered:
            raise ClipsError(f"{folder.name} has no image number {number}, but later ones; render it again, or make two clips of the folder.")
    return tuple(numbered[number] for number in sorted(numbered))


# ---------------------------------------------------------------- frames
def pieces(clip: Clip, sized: Sized) -> Iterator[Piece]:
    """The clip cut into up to WINDOW_FRAMES frames each, at Blockout's size for it; says how. Raises ClipsError, GuideError."""
    buffer, count, made, size = [], 0, [], None
    readers = _readers(clip)
    for image in _frames(clip):
        if size is None:
            here = image.shape[1], image.shape[0]
            size = Size(*sized(*here))
        buffer.append(_byte(guide_files.resized(image, size)))
        count += 1
        if len(buffer) == WINDOW_FRAMES:
            yield _piece(buffer, readers, count - len(buffer), size)
            made.append(len(buffer))
            buffer = []
    if count < SHORTEST:
        raise ClipsError(f"{clip.path.name} has {count} frame{'s' if count != 1 else ''}; a clip needs at least {SHORTEST}. Take a longer one, or take it out.")
    if len(buffer) >= SHORTEST:
        made.append(GRID.floor(len(buffer)))
        yield _piece(buffer[:made[-1]], readers, count - len(buffer), size)
    left, guided = count - sum(made), f", with {' and '.join(readers)}" if readers else ""
    log.info("%s: %d frames of %dx%d become %s at %s%s%s", clip.path.name, count, *here, " + ".join(map(str, made)), size, guided,
             f"; the last {left} left out" if left else "")


def _piece(frames: list[np.ndarray], readers: dict[str, Reader], start: int, size: Size) -> Piece:
    return Piece(np.stack(frames), {kind: reader.read(start, len(frames), size) for kind, reader in readers.items()})


def _byte(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else (image.clip(0, 1) * 255 + .5).astype(np.uint8)


def _frames(clip: Clip) -> Iterator[np.ndarray]:
    """Every frame (h, w, 3): bytes of a film, 0..1 of images, display-referred sRGB."""
    if not clip.images:
        yield from _film(clip.path)
        return
    shot = clip.take.shot if clip.take else _shot(clip)
    reader = Reader(Guide(kind="beauty", path=str(clip.images[0].parent)), shot)
    for index in range(len(clip.images)):
        yield reader.read(index, 1)[0]


def _shot(clip: Clip) -> Shot:
    """What a reader must know of a folder of images."""
    return Shot(id=clip.path.name, family="blockout", prompt=clip.caption, seed=0, size=Size(64, 64), frames=len(clip.images), fps=24., out=str(clip.path))


def _film(path: Path) -> Iterator[np.ndarray]:
    """Frames as a player shows them: turned as the film says. Raises ClipsError."""
    import av
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise ClipsError(f"{path.name} has no pictures in it; take it out of the folder.")
            for frame in film.decode(video=0):
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def rate(clip: Clip) -> float:
    """Frames a second of a film or a take; 0 of images, which do not say. Raises ClipsError."""
    if clip.images:
        return clip.take.shot.fps if clip.take else 0.
    import av
    try:
        with av.open(str(clip.path)) as film:
            return float(film.streams.video[0].average_rate or 0) if film.streams.video else 0.
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(clip.path, error) from error


def _unreadable(path: Path, error: Exception) -> ClipsError:
    return ClipsError(f"{path.name} cannot be read as a film ({error}); export it as H.264 mp4, or as numbered images.")


def _readers(clip: Clip) -> dict[str, Reader]:
    """Readers of a take's guides that Blockout takes, where they still are: a take may have moved, or been thinned out."""
    if clip.take is None:
        return {}
    readers, shot = {}, clip.take.shot
    for guide in shot.guides:
        path = Path(guide.path)
        inside = clip.path / path.relative_to(shot.out) if path.is_relative_to(shot.out) else path
        if guide.kind in PICTURES and inside.is_dir():
            readers[guide.kind] = Reader(replace(guide, path=str(inside)), replace(shot, out=str(clip.path)))
        elif guide.kind in PICTURES:
            log.warning("%s: its %s guide is no longer at %s; trained on without it", clip.path.name, guide.kind, inside)
    return readers
