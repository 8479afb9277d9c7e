"""Scenes that Blender rendered through the add-on's own passes (`scripts/blockouts.py`), as the engine reads them, and their lines."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import camera, protocol
from ..blockout.train_autoencoder import psnr
from ..guides import Reader
from . import pixels, scores
from .attributes import CHOICES
from .judges import Judges
from .scores import Line
from .studio import Studio, Wish, takes


@dataclass(frozen=True, slots=True)
class Scene:
    """Tensors at the judged size `size` (width, height), and `full` guides at the size that Blender rendered."""
    prompt: str
    truth: dict[str, str]                                      # by attribute
    guides: dict[str, Tensor]                                  # depth (1, 1, T, h, w), normal (1, 3, ...), albedo (1, 4, ...), vector (1, 2, ...)
    full: dict[str, Tensor]
    mask: Tensor                                               # (T, h, w) bool: the subject
    beauty: Tensor                                             # (1, 3, T, h, w) in [-1, 1]
    size: tuple[int, int]
    cameras: camera.Cameras
    near: float                                                # metres
    far: float

    def wish(self, seed: int, prompt: str = "", more: tuple[str, ...] = ()) -> Wish:
        """The scene's own shot along depth and normals, or another prompt over the same layout; with `more` guides, such as its materials' colours."""
        guides = {kind: self.guides[kind] for kind in ("depth", "normal", *more)}
        return Wish(prompt=prompt or self.prompt, seed=seed, guides=guides, size=self.size, frames=self.beauty.shape[2], cameras=self.cameras,
                    near=self.near, far=self.far)

    def edges(self) -> Tensor:
        """(T, h, w) bool: the layout's, the horizon's among them."""
        depth, normal = self.guides["depth"][0, 0].numpy(), self.guides["normal"][0].permute(1, 2, 3, 0).numpy()
        return torch.from_numpy(np.stack([pixels.layout_edges(d, n) for d, n in zip(depth, normal)]))


def read(folder: Path) -> Scene:
    """The scene in a folder; judged at half the size it was rendered at. Raises SoraError where it is damaged."""
    shot, truth = protocol.read_shot(folder), json.loads((folder / "truth.json").read_text())
    small = protocol.Size(shot.size.width // 16 * 8, shot.size.height // 16 * 8)
    by_kind = {guide.kind: guide for guide in shot.guides}

    def planes(kind: str, size: protocol.Size | None) -> Tensor:
        return torch.from_numpy(Reader(by_kind[kind], shot).read(0, shot.frames, size)).permute(3, 0, 1, 2)[None]

    at = lambda size: {kind: planes(kind, size) for kind in ("depth", "normal", "albedo", "vector")}
    return Scene(truth.pop("prompt"), truth, at(small), at(None), planes("mask", small)[0, 0] > .5, planes("beauty", small) * 2 - 1,
                 (small.width, small.height), camera.read(by_kind["camera"].path, shot.frames).resized(small), by_kind["depth"].near, by_kind["depth"].far)


def scenes(folder: Path) -> list[Scene]:
    """All whole scenes below a folder, in order."""
    return [read(path.parent) for path in sorted(folder.glob("*/truth.json"))]


def _asked(judges: Judges, found: list[Scene], clips: list[Tensor], ceiling: float) -> Line:
    """How much of what was asked of each scene the judges read off its clip."""
    right = {name: np.full(len(found), np.nan) for name in CHOICES}
    for i, (scene, made) in enumerate(zip(found, clips)):
        for name, p in judges.read(made, scene.mask[None]).items():
            if scene.truth[name] in CHOICES[name]:
                right[name][i] = CHOICES[name][int(p[0].nan_to_num(-99).argmax())] == scene.truth[name]
    note = ", ".join(f"{name} {np.nanmean(x):.2f}" for name, x in right.items())
    return scores.share(np.nanmean(np.stack(list(right.values())), 0), np.full(len(found), ceiling), note=note)


def lines(studio: Studio, judges: Judges, found: list[Scene], own: dict[str, dict]) -> dict[str, Line]:
    """What was asked and where it is, along Blender's depth and normals. The ceiling is what the judges read off the ground truth (`own`)."""
    if not found:
        missing = scores.left_out("left out: no scenes rendered by Blender")
        return dict.fromkeys(("blender", "blender_told", "blender_moved", "blender_edges", "codec_psnr_blender"), missing)
    edges, drawn, coded = ([] for _ in range(3))
    clips = [studio.clip(scene.wish(i)) for i, scene in enumerate(found)]
    for scene, made in zip(found, clips):
        edges.append(pixels.edge_f1(made, scene.edges()[None])[0])
        drawn.append(pixels.edge_f1(scene.beauty, scene.edges()[None])[0])
        back = studio.returned(scene.beauty, scene.guides)
        coded.append(np.nan if back is None else [psnr(v, scene.beauty).item() for v in (studio.returned(scene.beauty), back)])
    ceiling = np.mean([own["truth"][name] for name in CHOICES if own["truth"][name] is not None])
    also = lambda kind: _asked(judges, found, [studio.clip(scene.wish(i, more=(kind,))) for i, scene in enumerate(found)], ceiling) \
        if takes(studio, kind) else scores.left_out(f"the family takes no {kind}")
    result = {"blender": _asked(judges, found, clips, ceiling), "blender_told": also("albedo"), "blender_moved": also("vector"),
              "blender_edges": scores.share(edges, drawn, note="edge F1 as a share of that of Blender's own picture")}
    if np.ndim(coded) == 1:
        return result | {"codec_psnr_blender": scores.left_out("the family's autoencoder is asked only through whole shots")}
    plain, along = np.array(coded).T
    return result | {"codec_psnr_blender": scores.plain(plain, note=f"along guides {along.mean():.1f} dB")}
