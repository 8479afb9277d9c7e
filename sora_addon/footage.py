"""Clips on disk as the source of a shot: which file is shown at which of its frames. Knows nothing of bpy."""
from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ..engine.errors import FolderError, GuideError, Remedy

PICTURES = (".exr", ".png", ".jpg", ".jpeg", ".tif", ".tiff")       # what the engine reads frame by frame
NUMBER = re.compile(r"(\d+)$")
FOLDER = "source"               # within the shot's own


def numbered(folder: Path, leave: Remedy) -> dict[int, Path]:
    """Number -> picture, of the files that end in a number, lowest first. Raises GuideError with the way out `leave`."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise GuideError(f"The source clip's folder {folder} cannot be read: {error.strerror or error}.", leave) from error
    found: dict[int, Path] = {}
    for path in entries:
        number = NUMBER.search(path.stem)
        if path.suffix.lower() not in PICTURES or path.name.startswith(".") or number is None:
            continue
        if int(number[1]) in found:
            raise GuideError(f"The source clip has two files of one number, {found[int(number[1])].name} and {path.name}.", leave)
        found[int(number[1])] = path
    if not found:
        raise GuideError(f"The folder {folder} has no numbered EXR, PNG, JPEG or TIFF files to begin from.", leave)
    return dict(sorted(found.items()))


def covering(files: dict[int, Path], start: int, count: int, leave: Remedy) -> list[Path]:
    """The pictures of the shot's frames: by their numbers where those are scene frames, otherwise from the first one on.

    A clip that covers a part of the frames, or is too short, is refused. Raises GuideError.
    """
    wanted = range(start, start + count)
    if all(number in files for number in wanted):
        return [files[number] for number in wanted]
    first, last = next(iter(files)), next(reversed(files))
    if len(files) != last - first + 1:
        gap = next(number for number in range(first, last) if number not in files)
        raise GuideError(f"The source clip lacks the picture {gap} of {first} to {last}.", leave)
    met = [number for number in wanted if number in files]
    if len(files) == count or len(files) > count and not met:
        return list(files.values())[:count]
    there = len(met) if met and met[0] == start else 0 if met else len(files)
    raise GuideError(f"The source clip has the pictures {first} to {last}; the shot has the frames {start} to {start + count - 1}.",
                     shorter(there) if there else leave)


def shorter(count: int) -> Remedy:
    """The way out of a clip that is shorter than the shot."""
    return Remedy(action="set_frames", label=f"Use {count:,} Frames", value=str(count))


def only(files: list[Path], leave: Remedy) -> bool:
    """Whether the files are all that their folder has, in order: then the engine can read the folder as it is. Raises GuideError."""
    return len({path.parent for path in files}) == 1 and list(numbered(files[0].parent, leave).values()) == files


def linked(files: list[Path], start: int, place: Path) -> Path:
    """A folder at `place` that shows exactly these files, numbered from `start`, without copying where that can be. Raises FolderError."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(files, start):
            _link(path, place / f"source.{number:04d}{path.suffix.lower()}")
    except OSError as error:
        raise FolderError(f"The source clip cannot be laid into {place}: {error.strerror or error}.",
                          Remedy(action="choose_folder", label="Choose a Folder")) from error
    return place


def _link(path: Path, to: Path) -> None:
    """A second name of the file; a copy where the two places are on different drives, or the drive knows no links."""
    to.unlink(missing_ok=True)
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)
