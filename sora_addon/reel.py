"""The reel: the moving preview of the rolling shot, in the panel and in an Image Editor. Nothing of it is saved or outlives the shot.

The engine writes its few small frames over again and again; a timer reads one file a turn, and shows the one whose time it is.
The timer rests while nobody looks.
"""
from __future__ import annotations

import logging
import struct
import time
import zlib
from collections import deque
from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np

from ..engine import protocol
from . import home

log = logging.getLogger(__name__)
NAME = "Sora Preview"           # of the image in the Image Editor
GLANCE = 1.0                    # seconds after it was drawn last that a panel counts as looked at
READING, RESTING = 0.02, 0.5    # seconds between turns

_icons = None                   # bpy.utils.previews collection with one icon
_shot = ""                      # id of the shot that is seen
_paths: list[Path] = []
_fps = 1.0
_unread: deque[Path] = deque()  # of the newest frames; they are shown when all are read
_read: list[np.ndarray] = []
_frames: list[np.ndarray] = []  # uint8 (h, w, 4), last row on top
_shown = -1                     # index of the frame
_drawn = -GLANCE                # when the panel was drawn last
_watching = ""                  # name of the image in Image Editors
_before: dict[int, str] = {}    # Image Editor -> the image that it showed


# ---------------------------------------------------------------- what the pump says
def hear(event: protocol.Event) -> None:
    """A new reel of a shot, or the end of the one that is seen."""
    if isinstance(event, protocol.ENDINGS) and event.shot == _shot:
        close()
    if isinstance(event, protocol.Progress) and event.reel is not None:
        _open(event.shot, event.reel)


def _open(shot: str, reel: protocol.Reel) -> None:
    global _shot, _fps
    _shot, _fps = shot, max(reel.fps, 0.1)
    _paths[:] = [Path(reel.folder, name) for name in reel.names()]
    _unread.clear()
    _unread.extend(_paths)
    _read.clear()
    if not bpy.app.timers.is_registered(beat):
        bpy.app.timers.register(beat, persistent=True)


def close() -> None:
    """Forget the reel; Image Editors show again what they did before."""
    global _shot, _shown, _drawn
    unwatch()
    _shot, _shown, _drawn = "", -1, -GLANCE
    for kept in (_paths, _unread, _read, _frames):
        kept.clear()
    if _icons is not None:
        _icons.clear()
    if bpy.app.timers.is_registered(beat):
        bpy.app.timers.unregister(beat)


# ---------------------------------------------------------------- the panel
def there() -> bool:
    """Whether the rolling shot can be looked at."""
    return bool(_paths)


def icon() -> int:
    """The frame whose time it is, for the panel that draws it; 0 before the first is read."""
    global _drawn
    _drawn = time.monotonic()
    return _icons[NAME].icon_id if _icons is not None and NAME in _icons else 0


# ---------------------------------------------------------------- the turn
def beat() -> float:
    """Read a file, show a frame. Seconds until the next turn."""
    if not watched() and time.monotonic() - _drawn > GLANCE:
        return RESTING
    fresh = bool(_unread) and _read_one()
    count = len(_frames) or len(_paths)
    at = time.monotonic() * _fps
    if count and (fresh or int(at) % count != _shown):
        _show(int(at) % count)
    return READING if _unread else (1 - at % 1) / _fps


def _read_one() -> bool:
    """Whether that was the last: then the new frames take the place of the old ones."""
    path = _unread.popleft()
    try:
        _read.append(pixels(path.read_bytes()))
    except (OSError, ValueError, zlib.error, struct.error) as error:
        log.info("the preview %s is not shown: %s", path, error)        # the engine may have ended meanwhile
        _unread.clear()
        return False
    if not _unread:
        _frames[:] = _read
    return not _unread


def _show(index: int) -> None:
    global _shown
    _shown = index
    if _icons is not None and index < len(_frames):
        picture = _icons[NAME] if NAME in _icons else _icons.new(NAME)
        size = _frames[index].shape[1], _frames[index].shape[0]
        if tuple(picture.image_size) != size:
            picture.image_size = size
        picture.image_pixels.foreach_set(np.ascontiguousarray(_frames[index]).view(np.int32).ravel())
        home.redraw()
    image = _image()
    if image is not None and index < len(_paths) and _paths[index].is_file():
        image.filepath = str(_paths[index])         # reads it anew, also under the same name


def pixels(png: bytes) -> np.ndarray:
    """An 8-bit RGB PNG without predictors -> uint8 (h, w, 4), last row on top. ValueError for any other."""
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("it is no PNG")
    width, height, *kind = struct.unpack(">IIBBBBB", png[16:29])
    body, at = b"", 8
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at:at + 8])
        body += png[at + 8:at + 8 + length] if name == b"IDAT" else b""
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(body), np.uint8)
    if kind != [8, 2, 0, 0, 0] or len(rows) != height * (1 + 3 * width) or rows[::1 + 3 * width].any():
        raise ValueError("it is another kind of PNG than the engine's previews")
    picture = np.full((height, width, 4), 255, np.uint8)
    picture[..., :3] = rows.reshape(height, -1)[::-1, 1:].reshape(height, width, 3)
    return picture


# ---------------------------------------------------------------- the Image Editor
def editors(context) -> list:
    """Image Editors that are open, empty ones first, those of the window at hand before others."""
    windows = sorted(context.window_manager.windows, key=lambda window: window != context.window)
    areas = [area for window in windows for area in window.screen.areas if area.ui_type == "IMAGE_EDITOR"]
    return sorted((area.spaces.active for area in areas), key=lambda space: space.image is not None)


def watched() -> bool:
    """Whether the preview was put into an Image Editor."""
    return _image() is not None


def watch(space) -> None:
    """Show the reel in an Image Editor until the shot is done."""
    global _shown, _watching
    image = _image() or bpy.data.images.load(str(_paths[0]))
    image.name, image.is_runtime_data = NAME, True          # runtime: it is not saved with the file
    _watching = image.name
    _before[space.as_pointer()] = space.image.name_full if space.image else ""
    space.image = image
    _shown = -1


def unwatch() -> None:
    """Put back what Image Editors showed, and leave no image behind."""
    global _watching
    image = _image()
    if image is not None:
        for screen in bpy.data.screens:
            for space in (space for area in screen.areas for space in area.spaces if space.type == "IMAGE_EDITOR" and space.image == image):
                space.image = _named(_before.get(space.as_pointer(), ""))
        bpy.data.images.remove(image)
    _watching = ""
    _before.clear()


def _image():
    """Found by name each time: references die with undo and with the file."""
    image = bpy.data.images.get(_watching) if _watching else None
    return image if image is not None and image.is_runtime_data else None


def _named(full: str):
    return next((image for image in bpy.data.images if image.name_full == full), None)


def register():
    global _icons
    _icons = bpy.utils.previews.new()


def unregister():
    global _icons
    close()
    bpy.utils.previews.remove(_icons)
    _icons = None
