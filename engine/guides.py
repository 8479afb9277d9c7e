"""Guides as a model takes them: numbered files of any layout -> float arrays of one meaning for each kind.

    depth   (h, w, 1)  inverse depth between the shot's near and far: 1 nearest, 0 farthest and background
    normal  (h, w, 3)  camera space, x right, y up, z towards the camera, -1..1; background 0
    albedo  (h, w, 4)  colours of things in full light, display-referred sRGB, 0..1, times the last channel: how much of the pixel has a
                       colour of its own, 0..1. The background has none, nor what is in the default grey of a new material
    beauty  (h, w, 3)  display-referred sRGB, 0..1
    mask    (h, w, 1)  how much of the pixel is inside, 0..1
    edges   (h, w, 1)  1 on an edge
    layout  (h, w, 1)  1 on the outline of a box
    vector  (h, w, 2)  where the pixel was one frame before, less where it is: pixels, x right, y down
"""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import conform, exr, guide_files, layout
from .errors import GuideError
from .outlines import outlines
from .protocol import Guide, Shot, Size

BACKGROUND = 1e9                # metres; Blender writes 1e10 where there is nothing
UNPAINTED = .765, .815          # linear: a new material's grey of .8, and what Cycles makes of it
CAMERA_FILE = "camera.json"
TO_VIEW = np.diag([1.0, -1.0, -1.0])    # OpenCV's camera axes -> x right, y up, z towards the camera

# Channels by kind, the first set that a file has is read; lower case, without the view layer's name.
LAYERS = {
    "depth": (("depth.z",), ("depth.v",), ("depth.r",), ("z",), ("y",), ("v",), ("r",)),
    "normal": (("normal.x", "normal.y", "normal.z"), ("x", "y", "z"), ("r", "g", "b")),
    "albedo": (("denoising albedo.r", "denoising albedo.g", "denoising albedo.b"), ("albedo.r", "albedo.g", "albedo.b"),
               ("diffcol.r", "diffcol.g", "diffcol.b"), ("diffuse color.r", "diffuse color.g", "diffuse color.b"),
               ("combined.r", "combined.g", "combined.b"), ("r", "g", "b")),
    "beauty": (("combined.r", "combined.g", "combined.b"), ("r", "g", "b"), ("y", "y", "y")),
    "mask": (("combined.a",), ("mask.v",), ("y",), ("v",), ("r",), ("a",)),
    "edges": (("depth.z", "normal.x", "normal.y", "normal.z", "cryptoobject00.r"), ("depth.z", "normal.x", "normal.y", "normal.z"),
              ("y",), ("v",), ("r",)),
    "vector": (("vector.x", "vector.y"), ("x", "y"), ("r", "g")),
}


def check(shot: Shot) -> None:
    """Whether every guide has readable files of one size, without a gap. Raises GuideError."""
    for guide in shot.guides:
        with guide_files.remedied(guide, shot):
            _check(guide, shot)


def _check(guide: Guide, shot: Shot) -> None:
    if guide.kind == "camera":
        views(Path(guide.path), shot, guide)
        return
    if guide.kind == "layout":
        layout.read(guide, shot)
        return
    if guide.kind not in LAYERS:
        raise GuideError(f"There is no guide called {guide.kind!r}; there are: camera, layout, {', '.join(LAYERS)}.")
    files, _note = guide_files.sequence(guide, shot)
    guide_files.check_sizes(files, guide, shot)
    if files[0].suffix.lower() == ".exr":
        layers = _layers(files[0], guide.kind)
        if guide.kind == "normal" and _in_world(layers):
            views(_camera_file(guide, shot), shot, guide)


class Reader:
    """One guide of a shot. `near` and `far` are metres (depth only); `notes` says what was odd in the frames read so far."""

    def __init__(self, guide: Guide, shot: Shot):
        """Lists the files. Raises GuideError."""
        self.guide, self.shot = guide, shot
        self._boxes = layout.read(guide, shot) if guide.kind == "layout" else None
        self.files, fitted = ([], "") if self._boxes else guide_files.sequence(guide, shot)
        self._fitted = self._boxes.notes if self._boxes else tuple(filter(None, (fitted,)))
        self._of: Size | None = None                # of the pictures read so far
        self.near, self.far = guide.near, guide.far
        self._views: tuple[list[dict], str] | None = None
        self._odd: dict[Path, int] = {}             # file -> pixels that are no distance
        self._flat = False
        self._painted: set[bool] = set()            # whether anything had a colour of its own, of the frames read so far
        self._decode: Callable[[int], np.ndarray] | None = getattr(self, f"_{guide.kind}", None)

    @property
    def notes(self) -> tuple[str, ...]:
        notes = [*self._fitted, *filter(None, (self._of and conform.note(self._of, self.shot, conform.named(self.guide, self.shot)),
                                               self._views and self._views[1]))]
        if self._odd:
            notes.append(f"{sum(self._odd.values())} pixels of the depth guide in {len(self._odd)} frames, the first in "
                         f"{min(self._odd, key=self.files.index).name}, are no distance and count as background")
        if self._flat:
            notes.append(f"The {self.guide.kind} guide's pictures are taken as "
                         + ("inverse depth already between near and far, white nearest" if self.guide.kind == "depth" else "camera space"))
        if self._painted == {False}:
            notes.append("Nothing has a colour of its own: all materials are a new one's grey, so the prompt alone colours the clip")
        return tuple(notes)

    def read(self, start: int, count: int, size: Size | None = None) -> np.ndarray:
        """float32 (count, h, w, C) of the frames from `start`, which counts from 0; `size` None keeps the files' own.

        Pictures of another shape than the shot's are cropped to it before they are scaled.
        """
        frames = []
        for index in range(start, start + count):
            with guide_files.remedied(self.guide, self.shot):
                image = self._decode(index) if self._decode else self._drawn(index, size)
            if size and self._decode:
                self._of = Size(image.shape[1], image.shape[0])
                image = conform.cropped(image, self.shot.size)
            if self.guide.kind == "vector" and size:
                image = image * np.float32([size.width / image.shape[1], size.height / image.shape[0]])
            frames.append(guide_files.resized(image, size))
        return np.stack(frames)

    # ------------------------------------------------------------ kinds
    def _depth(self, index: int) -> np.ndarray:
        path = self.files[index]
        if path.suffix.lower() != ".exr":
            self._flat = True
            return guide_files.picture(path)[..., :1]
        metres = self._metres(index)
        if self.near is None or self.far is None:
            self.near, self.far = self._extent()
        inverse = _inverse(metres)
        span = 1 / self.near - 1 / self.far
        normal = (inverse - 1 / self.far) / span if span > 0 else np.ones_like(inverse)
        return np.where(inverse > 0, normal, 0).clip(0, 1)[..., None].astype(np.float32)

    def _metres(self, index: int) -> np.ndarray:
        metres = exr.channels(self.files[index], _layers(self.files[index], "depth"))[..., 0]
        odd = int(np.count_nonzero(~np.isfinite(metres) | (metres <= 0)))
        if odd:
            self._odd[self.files[index]] = odd
        return metres

    def _extent(self) -> tuple[float, float]:
        """Nearest and farthest surface of all frames, one frame in memory at a time; 1 m and 2 m of an empty shot."""
        near, far = np.inf, 0.0
        for index in range(len(set(self.files))):       # a last one that holds is read once
            inverse = _inverse(self._metres(index))
            if inverse.any():
                near, far = min(near, float(1 / inverse.max())), max(far, float(1 / inverse[inverse > 0].min()))
        return (near, far) if far > 0 else (1.0, 2.0)

    def _normal(self, index: int) -> np.ndarray:
        path = self.files[index]
        if path.suffix.lower() != ".exr":
            self._flat = True
            stored = guide_files.picture(path)
            return np.where(stored.any(-1, keepdims=True), stored * 2 - 1, 0).astype(np.float32)
        layers = _layers(path, "normal")
        found = exr.channels(path, layers)
        found[~np.isfinite(found)] = 0
        if not _in_world(layers):
            self._flat = True
            return found.clip(-1, 1)
        return (found @ self._turn(index).T).clip(-1, 1).astype(np.float32)

    def _turn(self, index: int) -> np.ndarray:
        """Rotation (3, 3) from world to camera space: Blender writes its normals in world space."""
        if self._views is None:
            self._views = views(_camera_file(self.guide, self.shot), self.shot, self.guide)
        rotation = np.array(self._views[0][index]["c2w"], np.float64).reshape(4, 4)[:3, :3]
        return (TO_VIEW @ rotation.T).astype(np.float32)

    def _beauty(self, index: int) -> np.ndarray:
        path = self.files[index]
        return _display(self._stored(index)) if path.suffix.lower() == ".exr" else guide_files.picture(path)

    def _albedo(self, index: int) -> np.ndarray:
        path = self.files[index]
        linear = self._stored(index)
        if path.suffix.lower() != ".exr":
            said = linear.any(-1, keepdims=True)                    # black is where there is nothing
            self._painted.add(bool(said.any()))
            return np.concatenate([linear, said], -1).astype(np.float32) * said
        linear = np.nan_to_num(linear, nan=0.0, posinf=0.0, neginf=0.0)
        most, least = linear.max(-1, keepdims=True), linear.min(-1, keepdims=True)
        said = (most > 0) & ((least < UNPAINTED[0]) | (most > UNPAINTED[1]))
        self._painted.add(bool(said.any()))
        return np.concatenate([_display(linear / np.maximum(most, 1)), np.ones_like(most)], -1) * said      # lights are brighter than 1

    def _mask(self, index: int) -> np.ndarray:
        return self._stored(index)[..., :1].clip(0, 1)

    def _edges(self, index: int) -> np.ndarray:
        stored = self._stored(index)
        if stored.shape[-1] < 4:                    # drawn already, by someone else
            return stored[..., :1].clip(0, 1)
        objects = stored[..., 4].view(np.uint32) if stored.shape[-1] > 4 else None
        return outlines(_inverse(stored[..., 0]), stored[..., 1:4], objects)[..., None]

    def _drawn(self, index: int, size: Size | None) -> np.ndarray:
        """Lines are as wide at any size: they are drawn at the size that is asked for."""
        of = self._boxes.size
        return layout.drawn(self._boxes.frames[index], of, size or of)

    def _vector(self, index: int) -> np.ndarray:
        if self.files[index].suffix.lower() != ".exr":
            raise GuideError(f"The vector guide must be EXR files, not {self.files[index].name}.", guide_files.way_out(self.guide, self.shot))
        return np.nan_to_num(self._stored(index), nan=0.0, posinf=0.0, neginf=0.0) * np.float32([1, -1])

    def _stored(self, index: int) -> np.ndarray:
        path = self.files[index]
        return exr.channels(path, _layers(path, self.guide.kind)) if path.suffix.lower() == ".exr" else guide_files.picture(path)


# ---------------------------------------------------------------- pieces
def _layers(path: Path, kind: str) -> list[str]:
    """The file's names of the channels of a kind, those of a view layer first. Raises GuideError."""
    names = exr.names(path)
    for wanted in LAYERS[kind]:
        found = [next((name for name in names if _is(name, channel)), "") for channel in wanted]
        if all(found):
            return found
    raise GuideError(f"{path} has no channels for a {kind} guide; it has {', '.join(sorted(names)[:12]) or 'none'}.")


def _is(name: str, channel: str) -> bool:
    """`ViewLayer.Depth.Z` is `depth.z`; only a bare `Z` is `z`, or the only layer's."""
    lower = name.lower()
    return lower == channel or ("." in channel and lower.endswith("." + channel))


def _in_world(layers: list[str]) -> bool:
    """Blender's own normal layer is in world space; plain channels are taken as camera space."""
    return layers[0].lower().endswith("normal.x")


def _inverse(metres: np.ndarray) -> np.ndarray:
    """1/metres, 0 where there is no surface."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(metres) & (metres > 0) & (metres < BACKGROUND), 1 / metres, 0).astype(np.float32)


def _display(linear: np.ndarray) -> np.ndarray:
    """Scene-linear Rec.709 -> sRGB (IEC 61966-2-1), 0..1."""
    light = np.nan_to_num(linear, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055).astype(np.float32)


def _camera_file(guide: Guide, shot: Shot) -> Path:
    """The shot's own `camera.json`, or the one that lies beside the guide's files or above them. Raises GuideError."""
    named = [Path(other.path) for other in shot.guides if other.kind == "camera"]
    beside = [Path(guide.path) / CAMERA_FILE, Path(guide.path).parent / CAMERA_FILE]
    for path in (*named, *beside):
        if path.is_file():
            return path
    raise GuideError(f"The normals in {guide.path} are in world space, and there is no {CAMERA_FILE} to turn them by.",
                     guide_files.way_out(guide, shot))


def views(path: Path, shot: Shot, guide: Guide) -> tuple[list[dict], str]:
    """The camera of each of the shot's frames: `c2w`, 16 numbers, row-major, OpenCV axes, and `K`; and what is to be said where there are
    more or fewer of them. Raises GuideError."""
    remedy = guide_files.way_out(guide, shot)
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
        numbers = [int(view["frame"]) for view in frames]
        lacking = [view["frame"] for view in frames if not _finite(view["c2w"], 16) or not _finite(view["K"], 4)]
    except OSError as error:
        raise GuideError(f"{path} cannot be read: {error.strerror or error}.", remedy) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise GuideError(f"{path} is damaged: {error}.", remedy) from error
    if lacking:
        raise GuideError(f"{path} has no whole matrices for frame {lacking[0]}.", remedy)
    run = conform.run(numbers, shot, "camera guide" if guide.kind == "camera" else f"camera of the {guide.kind} guide", path, remedy)
    return [frames[row] for row in run.rows], run.note


def _finite(numbers, count: int) -> bool:
    return len(numbers) == count and bool(np.isfinite(np.array(numbers, np.float64)).all())
