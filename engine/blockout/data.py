"""Training clips: a scene ray-cast to colour, inverse depth and camera-space normals, on the processor or a card; the same clip for the
same seed, but for a card's own rounding."""
from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import captions, looks, weather, world
from .cast import Lens, Stage, at_once, basis
from .shade import GROUND, SKY, Light, Seen, Surfaces, seen
from .world import Scene

SUPER = 2                      # rays per pixel and axis
DEVELOPED = 1 / 1.25           # the exponent by which light becomes the picture's values: softer than sRGB, which would bleach what is lit


@dataclass(frozen=True, slots=True)
class Clip:
    rgb: np.ndarray            # uint8 (T, H, W, 3)
    inverse_depth: np.ndarray  # float16 (T, H, W), 1/metres of planar depth, 0 = background
    normal: np.ndarray         # int8 (T, H, W, 3), camera space * 127: +x right, +y up, +z to the camera; 0 = background
    caption: str
    scene: Scene


def _even(n: int, device: torch.device) -> Tensor:
    """(n,) the middles of n samples between -1 and 1."""
    return ((torch.arange(n, dtype=torch.float64, device=device) + .5) / n * 2 - 1).float()


def render_all(scenes: list[Scene], h: int, w: int, seeds: list[int], device: str | torch.device = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """rgb, inverse depth and normal as in `Clip`, on the device, for scenes with as many frames each: (B, T, H, W, 3), (B, T, H, W) and
    (B, T, H, W, 3). Seeds are for rain and snow. A scene looks the same whichever others are rendered with it."""
    device = torch.device(device)
    share = max(1, (1 << 19 if device.type == "cpu" else 1 << 25) // (len(scenes[0].yaw) * h * w * SUPER ** 2))
    done = [_rendered(scenes[i:i + share], h, w, seeds[i:i + share], device) for i in range(0, len(scenes), share)]
    return tuple(map(torch.cat, zip(*done)))


@torch.no_grad()
def _rendered(scenes: list[Scene], h: int, w: int, seeds: list[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    stage = Stage(scenes, h, w, device)
    light, rows, columns = Light(stage), _even(h * SUPER, device), _even(w * SUPER, device)
    # the rays of a pixel lie a plane apart, so that they are pooled by adding planes
    depth, pair = (a.view(-1, h, SUPER, w, SUPER).permute(0, 2, 4, 1, 3).flatten(1) for a in stage.cast(rows, columns))
    rows, columns = rows.view(h, SUPER).T[:, None, :, None], columns.view(w, SUPER).T[:, None]
    pooled = lambda a: a.unflatten(-1, (-1, SUPER ** 2, h, w)).mean(-3)
    shown, plain = [], any(s.style in looks.UNLIT for s in scenes)
    for frames in _steps(len(scenes), stage.frames, max(1, at_once(device) // depth.shape[1])):
        met = seen(stage, frames, rows, columns, depth[frames], pair[frames])
        colour, flat, normal = light.on(frames, met, plain)
        inverse = (met.pair != SKY) / met.depth.clamp_min(.05)
        planes = pooled(colour.clamp_(0, 1)), pooled(flat if plain else colour), pooled(normal), pooled(inverse)
        shown.append((*planes[:2], stage.from_camera(frames, planes[2]), planes[3]))
    rgb, flat, normal, inverse = (torch.cat(each, -3).unflatten(-3, (len(scenes), -1)) for each in zip(*shown))
    rgb, flat, normal = (a.permute(1, 2, 3, 4, 0) for a in (rgb, flat, normal))                              # (B, T, H, W, 3)
    rgb = looks.stylised([s.style for s in scenes], weather.fallen([s.weather for s in scenes], rgb ** DEVELOPED, seeds), inverse, normal, flat)
    return (rgb * 255 + .5).byte(), inverse.half(), (normal * 127).round().char()


def _steps(clips: int, frames: int, most: int) -> list[slice]:
    """Frames of clips that are lit in one step, `most` at a time: whole clips, or parts of one, which need not ask which clip they are of."""
    step = most // frames * frames or most
    whole = max(frames, step)
    return [slice(at, min(at + step, first + whole, clips * frames)) for first in range(0, clips * frames, whole)
            for at in range(first, min(first + whole, clips * frames), step)]


def render(scene: Scene, h: int, w: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rgb, inverse depth and normal as in `Clip`, for as many frames as the scene's camera has."""
    return tuple(a[0].numpy() for a in render_all([scene], h, w, [seed]))


def _unlit(scene: Scene, h: int, w: int) -> tuple[Stage, Seen]:
    """What is met by one ray through the middle of each pixel, T * h * w of them."""
    stage, rows, columns = Stage([scene], h, w, torch.device("cpu")), _even(h, torch.device("cpu")), _even(w, torch.device("cpu"))
    depth, pair = stage.cast(rows, columns)
    return stage, seen(stage, slice(None), rows[:, None], columns, depth, pair)


def _numbered(scene: Scene, h: int, w: int, numbers: list[int]) -> np.ndarray:
    """int8 (T, H, W): the number of the solid that is seen at the middle of each pixel; GROUND and SKY where none is."""
    stage, met = _unlit(scene, h, w)
    each = torch.tensor(numbers, dtype=torch.int8)[stage.solid]
    return torch.where(met.pair >= 0, each[met.pair.clamp_min(0)], met.pair.char()).view(-1, h, w).numpy()


def parts(scene: Scene, h: int, w: int) -> np.ndarray:
    """int8 (T, H, W): which of the scene's things is seen at the middle of each pixel; GROUND and SKY where none is."""
    return _numbered(scene, h, w, [s.part for s in scene.solids])


def paints(scene: Scene, h: int, w: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What paint is seen where, without light: int8 (T, H, W) numbers of paints, GROUND and SKY; float32 (P + 1, 3) their colours, the
    ground's last; int (P,) which of the scene's things each is on."""
    worn = sorted({(s.part, s.finish) for s in scene.solids})
    shown = _numbered(scene, h, w, [worn.index((s.part, s.finish)) for s in scene.solids])
    colours = np.array([*(scene.albedo[finish] for _, finish in worn), looks.GROUNDS[scene.ground]], np.float32)
    return shown, colours, np.array([part for part, _ in worn])


def painted(clips: list[Clip]) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """`paints` of clips of one shape, as `conditions.albedos` takes them."""
    seen, colours, parts = zip(*(paints(c.scene, *c.inverse_depth.shape[1:3]) for c in clips))
    return np.stack(seen), list(colours), list(parts)


def geometry(scene: Scene, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depth and normals as in `Clip`, through the middle of each pixel: what Blender's passes would be."""
    stage, met = _unlit(scene, h, w)
    solid, normal = (met.pair >= 0).nonzero()[:, 0], torch.zeros_like(met.towards)
    points = stage.eye.T[:, solid // (h * w)] + met.towards[:, solid] * met.depth[solid]
    normal[2] = (met.pair == GROUND).float()
    normal[:, solid] = Surfaces(stage).facing(points, met.pair[solid])[0]
    normal = stage.from_camera(slice(None), normal.view(3, -1, h, w))
    inverse = (met.pair != SKY) / met.depth.clamp_min(.05)
    return inverse.view(-1, h, w).half().numpy(), (normal * 127).round().char().permute(1, 2, 3, 0).contiguous().numpy()


def vectors(scene: Scene, h: int, w: int) -> np.ndarray:
    """float16 (T, H, W, 2): where what is seen was one frame before, less where it is, in pixels, x right, y down; 0 in the sky.

    Nothing is known from before the first frame: there it goes on as in the second.
    """
    stage, met = _unlit(scene, h, w)
    frame = torch.arange(stage.frames).repeat_interleave(h * w)
    before, solid = (frame - 1).clamp_min(0), met.pair >= 0
    points = stage.eye.T[:, frame] + met.towards * met.depth
    group = stage.group[stage.solid[met.pair[solid]]]
    points[:, solid] += (stage.moved[before[solid], group] - stage.moved[frame[solid], group]).T
    right, up, ahead = torch.einsum("nij,jn->in", stage.basis[before], points - stage.eye.T[:, before])
    u, v = stage.lens[before].T
    y, x = torch.meshgrid(_even(h, points.device), _even(w, points.device), indexing="ij")
    came = torch.stack([(right / ahead / u - x.flatten().repeat(stage.frames)) * w / 2, (-up / ahead / v - y.flatten().repeat(stage.frames)) * h / 2], -1)
    came = torch.where((met.pair != SKY)[:, None], came, 0.).view(-1, h, w, 2)
    came[0] = came[min(1, stage.frames - 1)]
    return came.clamp_(-1000, 1000).half().numpy()


def renderers(jobs: int) -> ProcessPoolExecutor:
    """Processes of one thread each, which beat one with several; begun anew, for one that has torch's threads cannot be forked."""
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))


def cameras(scene: Scene, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Camera to world (T, 4, 4) in OpenCV's axes and metres, and the lens (4,) as fx, fy, cx, cy in widths and heights of the picture."""
    c2w = np.tile(np.eye(4, dtype=np.float32), (len(scene.yaw), 1, 1))
    for f, pose in enumerate(c2w):
        right, up, ahead = basis(scene.yaw[f], scene.pitch[f])
        pose[:3, :3], pose[:3, 3] = np.stack([right, -up, ahead], 1), scene.eye[f]
    lens = Lens(h, w, scene.fov)
    return c2w, np.array([.5 / lens.u, .5 / lens.v, .5, .5], np.float32)


def told(seed: int, frames: int = 17, aspect: float = 1.6, drawn=world.drawn, **fixed) -> tuple[Scene, str]:
    """The scene of a seed and its caption; `fixed` as `drawn` takes it, which draws the scene."""
    rng = np.random.default_rng(seed)
    scene = drawn(rng, frames, aspect, **fixed)
    return scene, captions.caption(scene, rng)


def clip(seed: int, frames: int = 17, h: int = 40, w: int = 64, drawn=world.drawn, **fixed) -> Clip:
    """The clip of a seed, as `told` draws it."""
    scene, caption = told(seed, frames, w / h, drawn, **fixed)
    return Clip(*render(scene, h, w, seed), caption, scene)
