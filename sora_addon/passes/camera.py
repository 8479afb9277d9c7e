"""The camera's matrices and intrinsics for each frame, as `camera.json`. Every roll writes it: normals need it."""
from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from ...engine.protocol import Shot
from .render import Pass, writing

NAME = "camera.json"


class Camera(Pass):
    kind, reel = "camera", None

    def guide(self, asked, folder):
        return replace(asked, path=str(folder / NAME))


def write(views: list[dict], shot: Shot, folder: Path) -> None:
    """Writes one entry per frame (lens.view) atomically. Raises FolderError or DiskFull."""
    written = {"size": [shot.size.width, shot.size.height], "fps": shot.fps, "frames": views}
    partial = folder / (NAME + ".partial")
    with writing(folder):
        partial.write_text(json.dumps(written, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        os.replace(partial, folder / NAME)
