"""What the tests of the open families stand on: checkpoints made once, shots for them, guides on disk, and pixels to compare."""
from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from engine import protocol, shoot
from engine.errors import Cut
from engine.protocol import Guide, Keyframe, Size
from tests.engine import tiny_families

SIZE, FRAMES = Size(64, 48), 9


@contextlib.contextmanager
def staged(folder: Path, checkpoints: Path, kind: type | None = None, models: Path | None = None):
    """A stage in `folder` that leaves the caches of this machine's user alone, and, with `models`, their models."""
    with pytest.MonkeyPatch.context() as surroundings:
        surroundings.setenv("SORA_CACHE", "")
        if models:
            surroundings.setenv("SORA_MODELS", str(models))
        yield (kind or Stage)(folder, checkpoints)


class Stage:
    """Shoots small shots with one warm studio."""

    def __init__(self, folder: Path, checkpoints: Path):
        """`checkpoints`: a folder that all stages share."""
        self.folder, self.checkpoints, self.studio, self._count = folder, checkpoints, shoot.Studio(), 0

    def model(self, name: str) -> Path:
        """A tiny checkpoint's folder, made at its first use."""
        place = self.checkpoints / name
        return place if (place / "model_index.json").exists() else tiny_families.save(name, place)

    def shot(self, family: str, model: str, **fields) -> protocol.Shot:
        self._count += 1
        known = {"id": f"take{self._count}", "family": family, "prompt": "a red car", "seed": 7, "size": SIZE, "frames": FRAMES, "fps": 24.0,
                 "out": str(self.folder / f"take{self._count}"), "model": str(self.model(model)), "steps": 2}
        return protocol.Shot(**{**known, **fields})

    def roll(self, family: str, model: str, say=lambda progress: None, cut=None, **fields) -> protocol.Take:
        return shoot.roll(self.shot(family, model, **fields), say, cut or threading.Event(), self.studio)

    def pixels(self, family: str, model: str, **fields) -> np.ndarray:
        """uint8 (frames, h, w, 3)."""
        return pixels(self.roll(family, model, **fields))

    def latent(self, family: str, model: str, **fields) -> np.ndarray:
        """float32 (latent frames, C, h, w): what was sampled, where no rounding to 8 bits hides a small difference.

        The shot is cut when its latent is there: what is compared does not depend on decoding and writing.
        """
        from safetensors.numpy import load_file
        cut, shot = threading.Event(), self.shot(family, model, **fields)

        def say(progress: protocol.Progress) -> None:
            if progress.stage == "denoise" and progress.step == progress.steps:
                cut.set()
        with contextlib.suppress(Cut):
            shoot.roll(shot, say, cut, self.studio)
        return load_file(Path(shot.out, "latents", "0000.safetensors"))["latent"][0].swapaxes(0, 1)

    # ------------------------------------------------------------ what shots are given
    def still(self, seed: int = 0, size: Size = SIZE) -> str:
        """A picture file of random colours."""
        import cv2
        path = self.folder / f"still{seed}-{size}.png"
        if not path.exists():
            cv2.imwrite(str(path), noise(seed, size)[..., ::-1].copy())
        return str(path)

    def keyframe(self, frame: int, seed: int = 0) -> Keyframe:
        return Keyframe(frame=frame, path=self.still(seed))

    def pictures(self, name: str, images) -> str:
        """A folder of numbered PNG files from uint8 (h, w, 3) or (h, w) each."""
        import cv2
        place = self.folder / name
        if not place.exists():
            place.mkdir()
            for index, image in enumerate(images, 1):
                cv2.imwrite(str(place / f"{index:04d}.png"), image[..., ::-1].copy() if image.ndim == 3 else image)
        return str(place)

    def guide(self, kind: str, seed: int = 0, frames: int = FRAMES, **fields) -> Guide:
        """Random pictures as a guide, the same for the same seed."""
        return Guide(kind=kind, path=self.pictures(f"guide{seed}-{frames}", [noise(seed * 100 + frame) for frame in range(frames)]), **fields)

    def camera(self, step: float, frames: int = FRAMES) -> Guide:
        """A camera that goes sideways, `step` metres a frame."""
        rows = []
        for frame in range(frames):
            pose = np.eye(4)
            pose[0, 3] = step * frame
            rows.append({"frame": frame + 1, "c2w": pose.ravel().tolist(), "K": [60.0, 60.0, 32.0, 24.0]})
        path = self.folder / f"camera{step}-{frames}.json"
        path.write_text(json.dumps({"frames": rows, "size": [SIZE.width, SIZE.height], "fps": 24.0}))
        return Guide(kind="camera", path=str(path))


def noise(seed: int, size: Size = SIZE) -> np.ndarray:
    """uint8 (h, w, 3), in cells of eight pixels so that scaling leaves something of it."""
    cells = np.random.default_rng(seed).integers(0, 256, (-(-size.height // 8), -(-size.width // 8), 3), dtype=np.uint8)
    return cells.repeat(8, 0).repeat(8, 1)[:size.height, :size.width]


def pixels(take: protocol.Take) -> np.ndarray:
    import cv2
    return np.stack([cv2.imread(str(Path(take.shot.out, take.files.folder, name)))[..., ::-1] for name in take.files.names()])


def differing(a: np.ndarray, b: np.ndarray) -> list[int]:
    """Frames that are not the same."""
    return [frame for frame, (one, other) in enumerate(zip(a, b, strict=True)) if (one != other).any()]
