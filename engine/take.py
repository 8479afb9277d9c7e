"""A take on disk: claimed before the first frame, complete once `take.json` is there, which is written last and whole."""
from __future__ import annotations

import datetime
import functools
import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .errors import FolderError, Remedy, ShotError
from .frames import Printed, replace, told
from .protocol import SHOT_FILE, TAKE_FILE, VERSION, Shot, Take, as_json
from .release import ENGINE_VERSION

INDEX_FILE = "take.sequence.json"
SOUND = "sound.wav"
PACKAGES = ("torch", "diffusers", "transformers", "peft", "numpy", "av", "OpenEXR", "opencv-python-headless", "safetensors")


def claim(shot: Shot) -> Path:
    """The shot's folder, made and proven writable. An unfinished take is resumed, a finished one never overwritten.

    Raises ShotError or FolderError.
    """
    folder = Path(shot.out)
    if not folder.is_absolute():
        raise ShotError(f"The take's folder “{shot.out}” is not an absolute path.", Remedy(action="choose_folder", label="Choose a Folder"))
    if (folder / TAKE_FILE).exists():
        raise ShotError(f"{folder} already holds a finished take; takes are never overwritten.", Remedy(action="shoot_again", label="Shoot Again"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise told(error, folder) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FolderError(f"{folder} cannot be written.", Remedy(action="choose_folder", label="Choose a Folder"))
    if not (folder / SHOT_FILE).exists():
        write_text(folder / SHOT_FILE, as_json(shot))
    return folder


def finish(take: Take, printed: tuple[Printed, ...]) -> Path:
    """Writes the index of the frames, then `take.json`. Returns the folder. Raises DiskFull or FolderError."""
    folder = Path(take.shot.out)
    index = {"version": VERSION, "take": take.id, "files": [{"name": one.name, "size": one.size, "sha256": one.sha256} for one in printed]}
    write_text(folder / INDEX_FILE, json.dumps(index, indent=1) + "\n")
    write_text(folder / TAKE_FILE, as_json(take))
    return folder


def keep_sound(shot: Shot, samples, rate: int) -> str:
    """Writes float32 samples (channels, n), -1..1, as 16-bit WAV beside the frames; its name. Raises DiskFull or FolderError."""
    import wave
    whole = (samples.T * 32767).round().astype("<i2")

    def write(partial: Path) -> None:
        with wave.open(str(partial), "wb") as file:
            file.setparams((whole.shape[1], 2, rate, len(whole), "NONE", ""))
            file.writeframes(whole.tobytes())
    replace(Path(shot.out, SOUND), write)
    return SOUND


def same_sound(shot: Shot) -> str:
    """The name of the sound that came with the shot's latents, copied; "" where there was none. Raises DiskFull or FolderError."""
    kept = Path(shot.latents, SOUND)
    if not kept.is_file():
        return ""
    replace(Path(shot.out, SOUND), lambda partial: shutil.copyfile(kept, partial))
    return SOUND


def write_text(path: Path, text: str) -> None:
    """Atomically, as UTF-8."""
    replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def now() -> str:
    """ISO 8601, UTC, whole seconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """What made a take: the engine, its Python, and the packages that touch pixels ("" where one is missing)."""
    return {"engine": ENGINE_VERSION, "python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


@functools.cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
