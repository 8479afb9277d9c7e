"""Which Blender a queued shot belongs to, when several share one folder of takes. Knows nothing of bpy.

Each Blender keeps one small file locked for as long as it lives. The system drops the lock when the process ends,
however it ends, so a lock that can be had is a Blender that is gone.
"""
from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

from ..engine.errors import FolderError, Remedy, ShotError
from ..engine.protocol import Shot

FOLDER = ".blenders"


class Claim:
    """Held until `release` or the end of this process. `name` goes into each shot's state. Raises OSError."""

    def __init__(self, takes: Path):
        self.name = uuid.uuid4().hex[:12]
        self.path = Path(takes) / FOLDER / self.name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("w")
        lock(self.file)

    def release(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)


class Claims:
    """The claims of this Blender: one for each folder of takes in which it has queued a shot."""

    def __init__(self):
        self._held: dict[Path, Claim] = {}

    def take(self, shot: Shot, owner: str) -> None:
        """Look after this shot, which `owner` looked after before. Raises ShotError when another Blender does, FolderError when its folder is read-only."""
        takes = Path(shot.out).parent
        try:
            if takes not in self._held:
                self._held[takes] = Claim(takes)
        except OSError as error:
            raise FolderError(f"{takes} cannot be written: {error.strerror or error}.",
                              Remedy(action="choose_folder", label="Choose a Folder")) from error
        if owner != self.name(shot) and alive(takes, owner):
            raise ShotError("Another Blender is making this shot.")

    def name(self, shot: Shot) -> str:
        """The claim that goes into the shot's state; "" when it is not looked after."""
        claim = self._held.get(Path(shot.out).parent)
        return claim.name if claim else ""

    def release(self) -> None:
        """Let go of all."""
        while self._held:
            self._held.popitem()[1].release()


def alive(takes: Path, name: str) -> bool:
    """Whether the Blender that made this claim still runs."""
    path = Path(takes) / FOLDER / name
    if not name or not path.is_file():
        return False
    try:
        with path.open("r+") as file:
            lock(file)
    except OSError:
        return True
    path.unlink(missing_ok=True)
    return False


def lock(file) -> None:
    """Take the exclusive lock now. Raises OSError when another process holds it."""
    if sys.platform == "win32":
        import msvcrt
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
