"""Who makes the clips that are judged: Blockout in this very program, or any family by whole shots with guides as files."""
from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import camera, families, protocol, shoot
from ..blockout import timed
from ..blockout.footage import Footage
from ..blockout.model import GUIDANCE, STEPS, WEIGHTS, Blockout
from ..clip import Still, Stretch, seed, stretches, within
from ..errors import GuideError, KeyframeError
from ..families import blockout

log = logging.getLogger(__name__)
NONE: dict[str, Tensor] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One clip to be made. guides (1, C, T, H, W) as in `exam`, stills (1, 3, H, W) by the frame that is to show them.

    head (1, 3, n, H, W): frames of a clip that it goes on from, its own first ones. source (1, 3, T, H, W): the clip that it begins from, of
    which as much is made anew as `change` says, or what a guide `mask` (1, 1, T, H, W) marks. All pictures are in [-1, 1].
    cameras: those that are to be followed; near and far: metres to the nearest and the farthest thing they see."""
    prompt: str
    seed: int
    guides: dict[str, Tensor] = field(default_factory=dict)
    negative: str = ""
    stills: dict[int, Tensor] = field(default_factory=dict)
    head: Tensor | None = None
    source: Tensor | None = None
    change: float = 1.
    reference: Tensor | None = None                            # (1, 3, h, w): the subject alone
    fps: float = 0.                                            # 0: as many as clips of this length had in training
    cameras: camera.Cameras | None = None
    near: float = 0.
    far: float = 0.
    frames: int = 17
    size: tuple[int, int] = (64, 40)                           # width, height


class Studio(Protocol):
    keyframes: bool
    negative: bool
    references: bool                                           # whether it takes a picture of the subject
    rates: bool                                                # whether it is told how many frames a second has
    sources: bool                                              # whether it begins from a clip
    changes: bool                                              # and keeps as much of that as it is asked to

    def shows(self, *frames: int) -> bool:
        """Whether it takes stills at all of these frames of a clip of 17 together."""

    def clip(self, wish: Wish) -> Tensor:
        """(1, 3, T, H, W) in [-1, 1] at the wish's size."""

    def returned(self, video: Tensor, guides: dict[str, Tensor] = NONE) -> Tensor | None:
        """What the family's autoencoder gives back of videos (B, 3, T, H, W); None where it can't be asked."""


def takes(studio: Studio, kind: str) -> bool:
    """Whether a guide of this kind can be shown to whoever makes the clips."""
    spec = getattr(studio, "spec", None)
    return spec is None or kind in spec.guides


class Native:
    """Blockout itself, window by window as a shot is made, at the judged size. Where a mask keeps what is outside, a shot would show the
    source itself there; here its frames are the model's own."""
    keyframes = negative = references = rates = sources = changes = True

    def __init__(self, model: Blockout, steps: int = STEPS, guidance: float = GUIDANCE):
        self.blockout, self.footage, self.steps, self.guidance = model, Footage(model, WEIGHTS), steps, guidance

    def shows(self, *frames: int) -> bool:
        return True

    @torch.inference_mode()
    def clip(self, wish: Wish) -> Tensor:
        tail, made = None if wish.head is None else wish.head[0].transpose(0, 1) / 2 + .5, []
        for stretch in stretches(wish.frames, self.footage.window, self.footage.overlap, blockout.SPEC.frames):
            window = self._window(wish, stretch, tail)
            *_, latent = self.footage.sample(window)
            frames = torch.cat(list(self.footage.decode(latent, window)))
            tail = frames[-self.footage.overlap:]
            made.append(frames[stretch.fresh - stretch.start:])
        return (torch.cat(made)[:wish.frames] * 2 - 1).transpose(0, 1)[None].clone()

    def _window(self, wish: Wish, stretch: Stretch, tail: Tensor | None) -> families.Window:
        """One window of the wish as a shot; what is given is held past its end."""
        at = np.minimum(np.arange(stretch.start, stretch.start + stretch.frames), wish.frames - 1)
        images = lambda x: np.ascontiguousarray(x[0][:, at].permute(1, 2, 3, 0).numpy())
        stills = {frame: Still(_shown(picture), protocol.Size(*wish.size)) for frame, picture in wish.stills.items()}
        more = {"references": () if wish.reference is None else (_shown(wish.reference),), "fps": _rate(wish),
                "source": None if wish.source is None else images(wish.source / 2 + .5), "change": wish.change}
        return families.Window(frames=stretch.frames, size=protocol.Size(*wish.size), seed=seed(wish.seed, stretch.index) if stretch.index else wish.seed,
                               index=stretch.index, steps=self.steps, guidance=self.guidance, text=self.footage.text(wish.prompt),
                               negative=self.footage.text(wish.negative), stills=within(stills, stretch), tail=tail,
                               guides={kind: images(guide) for kind, guide in wish.guides.items()},
                               cameras=wish.cameras and wish.cameras.at(at), near=wish.near, far=wish.far, **more)

    @torch.inference_mode()
    def returned(self, video: Tensor, guides: dict[str, Tensor] = NONE) -> Tensor:
        coder = self.blockout.autoencoder
        one = lambda i: coder.decode(coder.encode(video[i:i + 1]), {k: g[i:i + 1] for k, g in guides.items()})
        return torch.cat([one(i) for i in range(len(video))]).clone()


class Shots:
    """Any family as artists use it: a shot frozen with its guides on disk, rolled, and its plates read back. `folder` keeps the takes."""

    def __init__(self, family: str, model: str, folder: Path, longer: int = 832, steps: int = 0):
        """`longer`: pixels of the longer side of the shots. Raises ModelError."""
        self.family, self.model, self.folder, self.longer, self.steps = family, model, folder, longer, steps
        self.studio, self.count, spec = shoot.Studio(), 0, families.family(family).SPEC
        able = tuple(kind for kind in spec.guides if self._takes(guides=(protocol.Guide(kind=kind, path=""),)))
        self.spec, self.references, self.rates = replace(spec, guides=able), bool(spec.references), not spec.native_fps
        self.keyframes, self.negative, self.changes = self.shows(0), spec.negative, spec.changes
        self.sources = spec.source and self._takes(source=protocol.Guide(kind="beauty", path=""))

    def shows(self, *frames: int) -> bool:
        return self.spec.keyframes and self._takes(keyframes=tuple(protocol.Keyframe(frame=frame, path="") for frame in frames))

    def _takes(self, **given) -> bool:
        """Whether this one model takes what its family does: some are for text alone, some follow guides with a LoRA only. Raises ModelError."""
        shot = protocol.Shot(id="", family=self.family, model=self.model, prompt="asked", seed=0, size=protocol.Size(64, 64), frames=17, fps=24., out="", **given)
        folder, check = families.weights(self.family, self.model), getattr(families.family(self.family), "check", None)
        try:
            if check:
                check(shot, folder)
        except (GuideError, KeyframeError) as refused:
            log.info("%s", refused.sentence)
            return False
        return True

    def returned(self, video: Tensor, guides: dict[str, Tensor] = NONE) -> None:
        return None

    def clip(self, wish: Wish) -> Tensor:
        """Raises the SoraError that stopped the shot."""
        shot = self._frozen(wish)
        take = shoot.roll(shot, lambda progress: None, threading.Event(), self.studio)
        read = (torch.from_numpy(_read(Path(shot.out, take.files.folder, name)).copy()).permute(2, 0, 1)[None] * 2 - 1 for name in take.files.names())
        return torch.cat([F.interpolate(frame, wish.size[::-1], mode="area") for frame in read]).transpose(0, 1)[None]      # one large one in memory

    def _frozen(self, wish: Wish) -> protocol.Shot:
        self.count += 1
        out, (width, height) = self.folder / f"{self.count:04d}", wish.size
        asked = protocol.Size(self.longer * width // max(wish.size), self.longer * height // max(wish.size))
        reach = {"near": wish.near, "far": wish.far} if wish.near else {}
        guides = tuple(_written(out / "guides" / kind, kind, g, **(reach if kind == "depth" else {})) for kind, g in wish.guides.items()
                       if kind in self.spec.guides)
        if wish.cameras and "camera" in self.spec.guides:
            (out / "camera.json").write_text(camera.as_json(wish.cameras))
            guides += (protocol.Guide(kind="camera", path=str(out / "camera.json")),)
        head = {} if wish.head is None else {frame: wish.head[:, :, frame] for frame in range(wish.head.shape[2])}
        stills = tuple(_still(out, frame, picture) for frame, picture in sorted((head | wish.stills).items()))
        source = None if wish.source is None else replace(_written(out / "source", "beauty", wish.source / 2 + .5), strength=wish.change)
        if wish.reference is not None:
            _picture(out / "reference.png", _shown(wish.reference))
        return protocol.Shot(id=out.name, family=self.family, model=self.model, prompt=wish.prompt, negative=wish.negative, seed=wish.seed,
                             size=self.spec.sizes.nearest(asked), frames=wish.frames, fps=_rate(wish), out=str(out), steps=self.steps,
                             guides=guides, keyframes=stills, source=source,
                             references=() if wish.reference is None else (str(out / "reference.png"),))


def _rate(wish: Wish) -> float:
    """Frames a second at which what the caption says takes the clip's whole length."""
    return wish.fps or max((wish.frames - 1) / timed.SECONDS, timed.RATES[0])


def _written(folder: Path, kind: str, guide: Tensor, **reach: float) -> protocol.Guide:
    """Normals as EXRs of camera space, vectors as EXRs in which y is up, as Blender has them; all else as 16-bit pictures."""
    import OpenEXR

    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(guide[0].permute(1, 2, 3, 0).numpy(), 1):
        if kind not in ("normal", "vector"):
            _picture(folder / f"{index:04d}.png", np.repeat(frame, 3, -1) if frame.shape[-1] == 1 else frame[..., :3], np.uint16)
        else:
            stored = frame * np.float32([1, -1]) if kind == "vector" else frame
            planes = {letter: np.ascontiguousarray(stored[..., i], np.float32) for i, letter in enumerate("RGB"[:stored.shape[-1]])}
            OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, planes).write(str(folder / f"{index:04d}.exr"))
    return protocol.Guide(kind=kind, path=str(folder), **reach)


def _shown(picture: Tensor) -> np.ndarray:
    """(1, 3, h, w) in [-1, 1] -> (h, w, 3) in [0, 1]."""
    return picture[0].permute(1, 2, 0).numpy() / 2 + .5


def _still(folder: Path, frame: int, picture: Tensor) -> protocol.Keyframe:
    path = folder / f"still.{frame:04d}.png"
    _picture(path, _shown(picture))
    return protocol.Keyframe(frame=frame, path=str(path))


def _picture(path: Path, rgb: np.ndarray, depth=np.uint8) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", (rgb.clip(0, 1)[..., ::-1] * np.iinfo(depth).max + .5).astype(depth))[1].tobytes())


def _read(path: Path) -> np.ndarray:
    """float32 (h, w, 3) in [0, 1]."""
    import cv2

    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
