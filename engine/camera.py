"""Cameras for models that are steered by them: Blender's camera -> OpenCV's, its rays, and the `camera.json` of a shot.

OpenCV's camera looks along +z with +x right and +y down; Blender's looks along -z with +y up. Pixels are measured from the
upper left corner of the picture, so the middle of the first pixel is (0.5, 0.5). Lengths are metres. numpy only.
"""
from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import conform
from .errors import GuideError, Remedy
from .protocol import Shot, Size

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])      # Blender's camera axes <-> OpenCV's; its own inverse
SKEW = 1e-3                                 # how far a rotation in a file may be from orthonormal
AGAIN = Remedy(action="render_guides", label="Render Guides Again")


class Orthographic(GuideError):
    """The camera has no point that its rays meet in; models learned from those that have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """What Blender's camera and render settings say of the picture's geometry. Millimetres; `size` after the render percentage."""

    focal: float
    size: Size
    sensor_width: float = 36.0
    sensor_height: float = 24.0
    sensor_fit: str = "AUTO"                # AUTO | HORIZONTAL | VERTICAL
    shift_x: float = 0.0                    # in widths of the fitted side
    shift_y: float = 0.0
    pixel_aspect: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cameras:
    """A camera for each frame. c2w (F, 4, 4) in OpenCV's axes, K (F, 4) = fx, fy, cx, cy in pixels of `size`."""

    frames: np.ndarray                      # (F,) scene frames
    c2w: np.ndarray
    K: np.ndarray
    size: Size
    fps: float

    def resized(self, size: Size) -> "Cameras":
        """The same cameras for pictures scaled to `size`, each side for itself."""
        return replace(self, K=resized(self.K, self.size, size), size=size)

    def fitted(self, size: Size) -> "Cameras":
        """The same cameras for pictures scaled until they cover `size`, then cropped around the middle."""
        return replace(self, K=fitted(self.K, self.size, size), size=size)

    def relative(self) -> "Cameras":
        """The same path seen from its first camera, which becomes the identity."""
        return replace(self, c2w=relative(self.c2w))

    @property
    def lens(self) -> np.ndarray:
        """(F, 4): K in widths and heights of the picture."""
        return self.K / ((self.size.width, self.size.height) * 2)

    def at(self, positions: np.ndarray) -> "Cameras":
        """Cameras at `positions` (N,), counted from 0 and also between frames, for a model with another frame rate."""
        return _at(self, np.asarray(positions, np.float64))


# ---------------------------------------------------------------- from Blender
def c2w(matrix_world) -> np.ndarray:
    """Camera-to-world (4, 4) in OpenCV's axes from `matrix_world` (4, 4). Like Blender's renderers, it ignores scale."""
    matrix = np.array(matrix_world, np.float64)
    matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
    return matrix @ FLIP


def intrinsics(lens: Lens) -> np.ndarray:
    """fx, fy, cx, cy in pixels (4,). Source: BKE_camera_params_compute_viewplane in Blender's `blenkernel/intern/camera.cc`."""
    width, height, (aspect_x, aspect_y) = lens.size.width, lens.size.height, lens.pixel_aspect
    tall = aspect_y / aspect_x              # a pixel's height over its width
    fit = lens.sensor_fit
    if fit == "AUTO":
        fit = "HORIZONTAL" if width * aspect_x >= height * aspect_y else "VERTICAL"
    sensor = lens.sensor_height if lens.sensor_fit == "VERTICAL" else lens.sensor_width     # AUTO measures by the width, whatever it fits
    fitted_side = width if fit == "HORIZONTAL" else height * tall                           # in widths of a pixel
    focal = lens.focal / sensor * fitted_side
    return np.array([focal, focal / tall, width / 2 - lens.shift_x * fitted_side, height / 2 + lens.shift_y * fitted_side / tall])


# ---------------------------------------------------------------- intrinsics
def matrix(K: np.ndarray) -> np.ndarray:
    """(..., 4) -> (..., 3, 3)."""
    K = np.asarray(K, np.float64)
    made = np.zeros((*K.shape[:-1], 3, 3))
    made[..., 0, 0], made[..., 1, 1], made[..., 0, 2], made[..., 1, 2], made[..., 2, 2] = (*np.moveaxis(K, -1, 0), 1.0)
    return made


def resized(K: np.ndarray, size: Size, to: Size) -> np.ndarray:
    """Intrinsics (..., 4) of pictures of `size` after scaling to `to`, each side for itself."""
    x, y = to.width / size.width, to.height / size.height
    return np.asarray(K, np.float64) * np.array([x, y, x, y])


def cropped(K: np.ndarray, left: float, top: float) -> np.ndarray:
    """Intrinsics after `left` and `top` pixels were cut away; negative where pixels were added."""
    return np.asarray(K, np.float64) - np.array([0.0, 0.0, left, top])


def fitted(K: np.ndarray, size: Size, to: Size) -> np.ndarray:
    """Intrinsics after scaling by one factor until `to` is covered, then cropping around the middle."""
    scale = max(to.width / size.width, to.height / size.height)
    scaled = np.asarray(K, np.float64) * scale
    return cropped(scaled, (size.width * scale - to.width) / 2, (size.height * scale - to.height) / 2)


# ---------------------------------------------------------------- poses and rays
def relative(poses: np.ndarray) -> np.ndarray:
    """Camera-to-world (F, 4, 4) -> camera-to-first-camera; the first is exactly the identity."""
    seen = _inverse(np.asarray(poses, np.float64)[0]) @ poses
    seen[0] = np.eye(4)
    return seen


def project(points: np.ndarray, pose: np.ndarray, K: np.ndarray) -> np.ndarray:
    """World points (N, 3) -> pixels and depth (N, 3): x right, y down, z in metres along the view."""
    inside = np.asarray(points, np.float64) @ _inverse(pose)[:3, :3].T + _inverse(pose)[:3, 3]
    fx, fy, cx, cy = K
    return np.stack([inside[:, 0] / inside[:, 2] * fx + cx, inside[:, 1] / inside[:, 2] * fy + cy, inside[:, 2]], axis=1)


def towards(pose: np.ndarray, K: np.ndarray, size: Size) -> np.ndarray:
    """Directions (..., H, W, 3) in the world through the middles of the pixels, one metre along the view: times a planar depth they
    lead from the camera to what is seen. For poses (..., 4, 4) and intrinsics (..., 4)."""
    fx, fy, cx, cy = np.moveaxis(np.asarray(K, np.float64), -1, 0)[..., None, None]
    x, y = (np.arange(size.width) + 0.5 - cx) / fx, (np.arange(size.height)[:, None] + 0.5 - cy) / fy
    x, y = np.broadcast_arrays(x, y)
    return np.stack([x, y, np.ones_like(x)], axis=-1) @ np.swapaxes(pose[..., None, :3, :3], -1, -2)


def rays(pose: np.ndarray, K: np.ndarray, size: Size) -> np.ndarray:
    """Pluecker rays (..., H, W, 6) through the middles of the pixels, for poses (..., 4, 4) and intrinsics (..., 4): moment o x d, then
    unit direction d, both in the world.

    The order is that of CameraCtrl (He et al. 2024, https://arxiv.org/abs/2404.02101) and of the models that follow it.
    """
    directions = towards(pose, K, size)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.concatenate([np.cross(np.broadcast_to(pose[..., None, None, :3, 3], directions.shape), directions), directions], axis=-1)


def _inverse(pose: np.ndarray) -> np.ndarray:
    """The inverse of a rotation and translation (4, 4)."""
    turned = np.eye(4)
    turned[:3, :3] = pose[:3, :3].T
    turned[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return turned


def _at(cameras: Cameras, positions: np.ndarray) -> Cameras:
    last = len(cameras.c2w) - 1
    if positions.min(initial=0) < 0 or positions.max(initial=0) > last:
        raise GuideError(f"The camera is known from frame 0 to {last}; positions outside were asked for.", AGAIN)
    before = np.minimum(positions.astype(int), max(last - 1, 0))
    after, part = np.minimum(before + 1, last), positions - before
    poses = np.stack([_between(cameras.c2w[a], cameras.c2w[b], t) for a, b, t in zip(before, after, part)])
    mix = part[:, None]
    return replace(cameras, c2w=poses, K=(1 - mix) * cameras.K[before] + mix * cameras.K[after],
                   frames=(1 - part) * cameras.frames[before] + part * cameras.frames[after])


def _between(a: np.ndarray, b: np.ndarray, part: float) -> np.ndarray:
    """The pose `part` of the way from a to b: a straight line, and one turn at constant speed."""
    turn = a[:3, :3].T @ b[:3, :3]
    made = np.eye(4)
    made[:3, :3] = a[:3, :3] @ _turned(turn, part)
    made[:3, 3] = (1 - part) * a[:3, 3] + part * b[:3, 3]
    return made


def _turned(turn: np.ndarray, part: float) -> np.ndarray:
    """`turn` (3, 3) to the power `part`, by Rodrigues' formula. Half turns have no unique axis; any of them is right."""
    angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0))
    if angle < 1e-9:
        return np.eye(3)
    values, vectors = np.linalg.eigh((turn + turn.T) / 2)
    axis = vectors[:, np.argmax(values)]
    skew = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    axis = -axis if axis @ skew < 0 else axis
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(part * angle) * cross + (1 - np.cos(part * angle)) * cross @ cross


# ---------------------------------------------------------------- camera.json
def read(path: Path | str, frames: int | None = None) -> Cameras:
    """The `camera.json` at `path`; `frames` is how many it must have. Raises GuideError, and Orthographic where it cannot be followed."""
    try:
        written = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = written["frames"]
        made = Cameras(frames=np.array([row["frame"] for row in rows], np.float64), size=Size(*map(int, written["size"])), fps=float(written["fps"]),
                       c2w=np.array([row["c2w"] for row in rows], np.float64).reshape(-1, 4, 4),
                       K=np.array([row["K"] for row in rows], np.float64).reshape(-1, 4))
    except OSError as error:
        raise GuideError(f"{path} cannot be read: {error.strerror or error}.", AGAIN) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise GuideError(f"{path} is not a list of cameras ({type(error).__name__}: {error}).", AGAIN) from error
    flat = next((row.get("frame") for row in rows if row.get("projection", "perspective") != "perspective"), None)
    if flat is not None:
        raise Orthographic(f"At frame {flat} the camera is not a perspective one; models that follow a camera need one.", AGAIN)
    _check(made, path, frames)
    return made


def along(path: Path | str, shot: Shot) -> tuple[Cameras, tuple[str, ...]]:
    """The cameras of the shot's frames, for pictures of its size, and what was made to fit. Raises GuideError, Orthographic."""
    found = read(path)
    run = conform.run(found.frames.astype(int).tolist(), shot, "camera guide", path, AGAIN)
    rows = list(run.rows)
    shown = replace(found, frames=found.frames[rows], c2w=found.c2w[rows], K=found.K[rows])
    return shown.fitted(shot.size), tuple(filter(None, (run.note, conform.shape_note(found.size, shot, "camera guide"))))


def as_json(cameras: Cameras) -> str:
    """The text of a `camera.json`."""
    rows = [{"frame": int(frame), "c2w": pose.ravel().tolist(), "K": K.tolist()} for frame, pose, K in zip(cameras.frames, cameras.c2w, cameras.K)]
    return json.dumps({"frames": rows, "size": [cameras.size.width, cameras.size.height], "fps": cameras.fps}, allow_nan=False) + "\n"


def _check(cameras: Cameras, path: Path | str, frames: int | None) -> None:
    count = len(cameras.frames)
    if not count or len(cameras.c2w) != count or len(cameras.K) != count or frames is not None and count != frames:
        raise GuideError(f"{path} has {count} cameras where the shot has {frames if frames is not None else 'at least one'} frames.", AGAIN)
    finite = np.isfinite(cameras.c2w).all() and np.isfinite(cameras.K).all() and np.isfinite(cameras.fps)
    if not finite or (cameras.K[:, :2] <= 0).any() or min(cameras.size.width, cameras.size.height) < 1:
        raise GuideError(f"{path} holds a camera without a proper lens or place.", AGAIN)
    rotation = cameras.c2w[:, :3, :3]
    skew = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max()
    if skew > SKEW or (np.linalg.det(rotation) < 0).any() or (cameras.c2w[:, 3] != (0, 0, 0, 1)).any():
        raise GuideError(f"{path} holds a camera that is scaled, skewed or mirrored.", AGAIN)
