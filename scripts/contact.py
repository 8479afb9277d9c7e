"""A contact sheet of a take: its guides above its result, a few frames side by side. Runs in the engine's environment.

    .venv/engine/bin/python scripts/contact.py TAKE_FOLDER contact.png
"""
from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from engine import protocol  # noqa: E402
from engine.guides import Reader  # noqa: E402

COLUMNS, CELL, GAP, MARGIN = 6, 360, 6, 104             # frames; pixels: width of a frame, between frames, of the labels
INK, PAPER, FAINT = (235, 235, 235), (24, 24, 24), (150, 150, 150)       # BGR
FACE = cv2.FontFace("sans")


def sheet(folder: Path, columns: int = COLUMNS) -> np.ndarray:
    """The sheet of the take in `folder` as (h, w, 3) uint8, BGR. Raises FolderError, WireError or GuideError."""
    take = protocol.read_take(folder)
    shot = take.shot
    picked = sorted({round(i * (shot.frames - 1) / max(1, columns - 1)) for i in range(columns)})
    height = round(CELL * shot.size.height / shot.size.width)
    rows = [(guide.kind, [_guide(guide, shot, index, height) for index in picked]) for guide in shot.guides if guide.kind != "camera"]
    rows.append(("result", [_result(folder, take, index, height) for index in picked]))
    numbers = [shot.numbered(index) for index in picked]
    return np.vstack([_heading(take, len(picked)), _numbers(numbers), *[_row(label, cells) for label, cells in rows]])


def _guide(guide, shot, index: int, height: int) -> np.ndarray:
    """One frame of a guide as the model reads it, as a picture."""
    values = Reader(guide, shot).read(index, 1, protocol.Size(CELL, height))[0]
    if guide.kind == "depth":
        values = np.sqrt(values)                                    # inverse depth; the root lifts what is far out of the black
    elif guide.kind == "normal":
        values = np.where(np.any(values != 0, axis=-1, keepdims=True), values * .5 + .5, 0)
    elif guide.kind == "vector":
        values = np.concatenate([values / 32 + .5, np.full_like(values[..., :1], .5)], -1)      # 32 pixels to either side
    elif guide.kind == "albedo":
        values = values[..., :3] + .12 * (1 - values[..., 3:])          # what is left to the words is dark grey
    picture = np.repeat(values, 3, -1) if values.shape[-1] == 1 else values
    return (np.clip(picture, 0, 1)[..., ::-1] * 255 + .5).astype(np.uint8)


def _result(folder: Path, take, index: int, height: int) -> np.ndarray:
    path = folder / take.files.folder / take.files.names()[index]
    picture = _exr(path) if path.suffix == ".exr" else cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    return cv2.resize(picture, (CELL, height), interpolation=cv2.INTER_AREA)


def _exr(path: Path) -> np.ndarray:
    """A scene-linear EXR as sRGB (h, w, 3) uint8, BGR."""
    import OpenEXR
    with OpenEXR.File(str(path)) as file:
        linear = np.clip(np.asarray(file.channels()["RGB"].pixels, np.float32), 0, 1)
    encoded = np.where(linear <= .0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - .055)
    return (encoded[..., ::-1] * 255 + .5).astype(np.uint8)


def _row(label: str, cells: list[np.ndarray]) -> np.ndarray:
    """A labelled row; the label stands at its left, turned upright for nobody: it is short."""
    strip = np.full((cells[0].shape[0] + GAP, _width(len(cells)), 3), PAPER, np.uint8)
    _write(strip, label, 14, strip.shape[0] // 2 + 8, 21)
    for column, cell in enumerate(cells):
        x = MARGIN + column * (CELL + GAP)
        strip[:cell.shape[0], x:x + CELL] = cell
    return strip


def _numbers(numbers: list[int]) -> np.ndarray:
    strip = np.full((30, _width(len(numbers)), 3), PAPER, np.uint8)
    _write(strip, "frame", 14, 21, 17, FAINT)
    for column, number in enumerate(numbers):
        _write(strip, str(number), MARGIN + column * (CELL + GAP) + 2, 21, 17, FAINT)
    return strip


def _heading(take, columns: int) -> np.ndarray:
    shot, width = take.shot, _width(columns)
    prompt = textwrap.wrap(shot.prompt, max(20, (width - 40) // 13))[:2]
    facts = (f"{shot.family} {shot.model}".strip(), f"seed {shot.seed}", f"{shot.frames} frames at {shot.fps:g} fps",
             f"{shot.size} from {take.native}", f"{take.elapsed:.0f} s on {take.device}")
    strip = np.full((52 + 32 * len(prompt), width, 3), PAPER, np.uint8)
    for number, line in enumerate(prompt):
        _write(strip, line, 14, 40 + 32 * number, 26)
    _write(strip, "  ·  ".join(facts), 14, 36 + 32 * len(prompt), 17, FAINT)
    return strip


def _write(picture: np.ndarray, text: str, x: int, y: int, size: int, ink=INK) -> None:
    cv2.putText(picture, text, (x, y), ink, FACE, size, 400)


def _width(columns: int) -> int:
    return MARGIN + columns * (CELL + GAP)


def save(folder: Path, to: Path) -> Path:
    """Writes the sheet as PNG; a name with any letters works."""
    to.write_bytes(cv2.imencode(".png", sheet(folder))[1].tobytes())
    return to


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(save(Path(sys.argv[1]), Path(sys.argv[2])))
