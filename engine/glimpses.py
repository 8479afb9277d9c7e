"""What is looked at while a shot rolls: a few small frames of the window that is being made, written over with every look."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from .frames import quantised, told
from .protocol import Reel

FOLDER, PATTERN = "preview", "%02d.png"
LONGEST, PLEASANT = 256, 192         # pixels of a side: never more, and what tiny pictures come near


class Screening:
    """The files of one shot's previews, in a folder of the take that is gone afterwards. Nothing is synced: they are worth nothing later."""

    def __init__(self, take: str):
        self._folder = Path(take, FOLDER)

    def __enter__(self) -> "Screening":
        return self

    def __exit__(self, *_error) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def show(self, pictures: np.ndarray, seconds: float) -> Reel:
        """Writes float32 (n, h, w, 3), sRGB 0..1, that stand for `seconds` of the clip. Raises DiskFull or FolderError."""
        reel = Reel(folder=str(self._folder), pattern=PATTERN, count=len(pictures), fps=round(len(pictures) / seconds, 3))
        try:
            self._folder.mkdir(exist_ok=True)
            for name, picture in zip(reel.names(), pictures, strict=True):
                partial = self._folder / f".{name}"
                partial.write_bytes(_png(_sized(picture)))
                os.replace(partial, self._folder / name)
        except OSError as error:
            raise told(error, self._folder) from error
        return reel


def _sized(picture: np.ndarray) -> np.ndarray:
    """Latents are tiny: several times as large, up to PLEASANT; what is larger than LONGEST shrinks to that."""
    import cv2
    longest = max(picture.shape[:2])
    scale = max(1, PLEASANT // longest) if longest <= LONGEST else LONGEST / longest
    if scale == 1:
        return picture
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _png(picture: np.ndarray) -> bytes:
    """8 bits, RGB, rows without predictors: Blender's side reads it with numpy alone."""
    import cv2
    return cv2.imencode(".png", np.ascontiguousarray(quantised(picture, 255)[..., ::-1]), (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE))[1].tobytes()
