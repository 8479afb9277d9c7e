"""Scenes as tensors on a device, and what their rays meet first: from cameras, and from the sun for shadows. Knows no colours.

Rays lie on grids of rows and columns, along which either their origin or their direction changes evenly. A grid is cut into tiles, and each
tile is tried against those solids that it may touch: first every tile's first box, then its second, and so on with every kind of solid. So
a step works on many rays of many scenes at once, on solids of one kind, and each ray is its own in all of it: what a scene looks like
does not depend on which others are cast with it.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .rays import FAR_AWAY, KINDS, distance, turned
from .world import Scene

TILE = (8, 16)                                                 # rays: rows, columns
SHADOW_MAP = 160
SUN_AWAY = 60.                                                 # metres from where shadow rays start to the middle of the world
WORLD = 22.                                                    # metres from the middle: shadows of what is farther out may be left out


def at_once(device: torch.device) -> int:
    """How many rays are worked on in one step: as many as a core's cache holds, or as keep a card busy."""
    return 1 << 16 if device.type == "cpu" else 1 << 22


class Lens:
    """A pinhole's half width `u` and half height `v` at distance 1; `fov` degrees across the longer side of h x w samples."""

    def __init__(self, h: int, w: int, fov: float):
        half = np.tan(np.radians(fov) / 2)
        self.u, self.v = half * min(1, w / h), half * min(1, h / w)


def basis(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """float32 (..., 3, 3) for angles (...): rows right, up, forward."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    rows = (sy, -cy, 0 * cy), (-cy * sp, -sy * sp, cp), (cy * cp, sy * cp, sp)
    return np.moveaxis(np.array(rows, np.float32), (0, 1), (-2, -1))


@dataclass(frozen=True, slots=True)
class Pairs:
    """P pairs of a grid of rays and a solid, rays in the solid's own frame. Vectors are (P, 3)."""
    view: Tensor                                               # (P,) which grid, ascending
    kind: Tensor                                               # (P,) into KINDS
    touched: Tensor                                            # (P, 4) first and past rows, first and past columns that may meet the solid
    still: Tensor                                              # what is the same for all rays: their origin, or direction
    start: Tensor                                              # the other one is start + down * row + right * column
    down: Tensor
    right: Tensor


class Stage:
    """Scenes with as many frames each, as tensors: B scenes, F = B * T frames, M solids, N pairs of a frame and a solid of its scene."""

    def __init__(self, scenes: list[Scene], h: int, w: int, device: torch.device):
        """h, w: of the pictures, which a lens depends on."""
        self.scenes, self.device, self.frames = scenes, device, len(scenes[0].yaw)
        put = lambda values, kind=np.float32: torch.from_numpy(np.ascontiguousarray(values, kind)).to(device)
        solids, counts = [s for scene in scenes for s in scene.solids], np.array([len(scene.solids) for scene in scenes])
        first = np.cumsum(counts) - counts
        self.scene = put(np.repeat(np.arange(len(scenes)), counts), np.int64)                                # (M,)
        self.number = put(np.arange(len(solids)) - np.repeat(first, counts), np.int64)                       # (M,) in its scene
        self.group = put([s.group for s in solids], np.int64)
        self.kind = put([KINDS.index(s.kind) for s in solids], np.int64)
        self.base, self.half = put([s.base for s in solids]), put([s.half for s in solids])                  # (M, 3)
        yaw = np.array([s.yaw for s in solids])
        self.cos, self.sin = put(np.cos(yaw)), put(np.sin(yaw))                                              # (M,)
        self.eye = put(np.concatenate([scene.eye for scene in scenes]))                                      # (F, 3)
        self.basis = put(np.concatenate([basis(scene.yaw, scene.pitch) for scene in scenes]))                # (F, 3, 3)
        self.of_frame = torch.arange(len(scenes), device=device).repeat_interleave(self.frames)              # (F,) its scene
        self.lens = put([(lens.u, lens.v) for scene in scenes for lens in [Lens(h, w, scene.fov)]])[self.of_frame]   # (F, 2)
        self.groups = 1 + max(len(scene.movers) for scene in scenes)
        moved = np.zeros((len(scenes), self.frames, self.groups, 3), np.float32)
        for mine, scene in zip(moved, scenes):
            for group, path in enumerate(scene.movers, 1):
                mine[:, group] = path
        self.moved = put(moved.reshape(-1, self.groups, 3))                                                  # (F, groups, 3)
        self.frame = put(np.repeat(np.arange(len(self.eye)), np.repeat(counts, self.frames)), np.int64)      # (N,)
        each = [np.tile(np.arange(count), self.frames) + start for count, start in zip(counts, first)]
        self.solid = put(np.concatenate(each), np.int64)                                                     # (N,)
        self.foot = self.base[self.solid] + self.moved[self.frame, self.group[self.solid]]                   # (N, 3) where a solid is in a frame

    def corners(self) -> Tensor:
        """(M, 8, 3) corners of the turned bounding boxes, metres."""
        grid = torch.tensor([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (0, 2)], dtype=torch.float32, device=self.device)
        return turned(grid * self.half[:, None], self.cos[:, None], self.sin[:, None]) + self.base[:, None]

    def inwards(self, solid: Tensor, vectors: Tensor) -> Tensor:
        """Directions (P, 3) in the frames of solids (P,)."""
        return turned(vectors, self.cos[solid], -self.sin[solid]) / self.half[solid]

    def cast(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Planar depth (F, h, w) and which pair of a frame and a solid is met (F, h, w), -1 for none, through rows (h,) and columns (w,)
        of the picture, each -1 to 1 from the upper left."""
        right, up, ahead = (self.basis[self.frame, i] for i in range(3))
        u, v = self.lens[self.frame, :, None].unbind(1)
        origin = self.inwards(self.solid, self.eye[self.frame] - self.foot)
        origin[:, 2] -= 1
        pairs = Pairs(self.frame, self.kind[self.solid], self._framed(len(rows), len(columns)), origin,
                      *(self.inwards(self.solid, each) for each in (ahead, -up * v, right * u)))
        return nearest(pairs, len(self.eye), rows, columns, turning=True)

    def from_camera(self, frames: slice, normal: Tensor) -> Tensor:
        """(3, n, ...) vectors of the world as the cameras of n frames see them: +x right, +y up, +z to the camera."""
        axes = self.basis[frames][(..., *(None,) * (normal.ndim - 2))]                                        # (n, 3, 3, 1, ...)
        right, up, ahead = (axes[:, i, 0] * normal[0] + axes[:, i, 1] * normal[1] + axes[:, i, 2] * normal[2] for i in range(3))
        return torch.stack([right, up, -ahead])

    def _framed(self, h: int, w: int) -> Tensor:
        """(N, 4) as in `Pairs`: what of a picture each solid can touch, by its corners; nothing when it is out of sight."""
        corners = self.corners()[self.solid] + (self.foot - self.base[self.solid])[:, None]
        seen = (corners - self.eye[self.frame][:, None]) @ self.basis[self.frame].mT                          # (N, 8, 3)
        z, (u, v) = seen[..., 2].clamp_min(.05), self.lens[self.frame, :, None].unbind(1)
        x, y = (seen[..., 0] / z / u + 1) * w / 2, (1 - seen[..., 1] / z / v) * h / 2
        box = torch.stack([y.amin(1).clamp(0, h), (y.amax(1) + 1).clamp(0, h), x.amin(1).clamp(0, w), (x.amax(1) + 1).clamp(0, w)], 1).long()
        whole = torch.tensor((0, h, 0, w), device=self.device)
        box = torch.where((seen[..., 2].amin(1) < .05)[:, None], whole, box)                                   # partly beside the camera
        return box * (seen[..., 2].amax(1) > .05)[:, None]


@torch.no_grad()
def nearest(pairs: Pairs, views: int, rows: Tensor, columns: Tensor, turning: bool) -> tuple[Tensor, Tensor]:
    """Distances (views, h, w), FAR_AWAY where nothing is met, and int32 which pair is met, -1 for none. `turning`: the rays of a grid
    have one origin and many directions, else the other way round."""
    (high, wide), (h, w) = TILE, (len(rows), len(columns))
    down, across = -(-h // high), -(-w // wide)
    rows = torch.cat([rows, rows[-1:].expand(down * high - h)]).view(down, high)
    columns = torch.cat([columns, columns[-1:].expand(across * wide - w)]).view(across, wide)
    depth = torch.full((views * down * across, high, wide), FAR_AWAY, device=rows.device)
    met, tiles = torch.full(depth.shape, -1, dtype=torch.int32, device=rows.device), at_once(rows.device) // (high * wide)
    for kind, which, touched in _turns(pairs, down, across):
        for pair, at in zip(which.split(tiles), touched.split(tiles)):
            y, x, still = rows[at // across % down], columns[at % across], pairs.still[pair]
            level, sideways = pairs.start[pair, :, None] + pairs.down[pair, :, None] * y[:, None], pairs.right[pair, :, None] * x[:, None]
            varied = tuple(level[:, i, :, None] + sideways[:, i, None] for i in range(3))                     # 3 * (n, high, wide)
            fixed = tuple(still[:, i, None, None] for i in range(3))
            t, before = distance(kind, *((fixed, varied) if turning else (varied, fixed))), depth.index_select(0, at)
            met.index_copy_(0, at, torch.where(t < before, pair.int()[:, None, None], met.index_select(0, at)))
            depth.index_copy_(0, at, torch.minimum(t, before))
    untiled = lambda a: a.view(views, down, across, high, wide).transpose(2, 3).reshape(views, down * high, across * wide)[:, :h, :w]
    return untiled(depth), untiled(met)


def _turns(pairs: Pairs, down: int, across: int):
    """What is tried in turn: a kind of solid, pairs (n,) and tiles (n,), none of which comes twice in one turn."""
    (high, wide), (y0, y1, x0, x1) = TILE, pairs.touched.unbind(1)
    seen = (y1 > y0) & (x1 > x0)
    y0, x0 = y0 // high, x0 // wide
    tall, long = (y1 + high - 1) // high - y0, (x1 + wide - 1) // wide - x0
    count = tall * long * seen
    pair = torch.arange(len(count), device=count.device).repeat_interleave(count)
    inside = torch.arange(len(pair), device=count.device) - (count.cumsum(0) - count)[pair]
    tile = (pairs.view[pair] * down + y0[pair] + inside // long[pair]) * across + x0[pair] + inside % long[pair]
    key, order = (pairs.kind[pair] * (int(pairs.view[-1]) + 1) * down * across + tile).sort(stable=True)
    turn = torch.arange(len(key), device=key.device) - torch.searchsorted(key, key)                            # how many a tile has had
    kind, turns = pairs.kind[pair[order]], int(turn.max()) + 1 if len(turn) else 1
    numbered = kind * turns + turn
    by_turn = numbered.argsort(stable=True)
    sizes = torch.bincount(numbered, minlength=len(KINDS) * turns).tolist()
    for n, each in enumerate(order[by_turn].split(sizes)):
        if len(each):
            yield KINDS[n // turns], pair[each], tile[each]


class Shadows:
    """Orthographic depth maps along each scene's sun, one for what stands still and one for each mover."""

    def __init__(self, stage: Stage, sun: Tensor):
        """sun (B, 3): unit directions to the sun."""
        side = torch.linalg.cross(sun, sun.new_tensor([0, 0, 1]).expand_as(sun))
        self.stage, self.sun = stage, sun
        self.u = side / side.norm(dim=1, keepdim=True)                                                       # (B, 3) both
        self.v = torch.linalg.cross(self.u, sun)
        view, order = (stage.scene * stage.groups + stage.group).sort(stable=True)
        views, mine = len(stage.scenes) * stage.groups, stage.scene[order]
        corners = stage.corners()[order]
        a, b = ((corners * axis[mine][:, None]).sum(-1) for axis in (self.u, self.v))                        # (M, 8)
        inside = corners[..., :2].abs().amax(-1) < WORLD
        self.low, self.span = self._spans(view, views, a, b, inside)
        low, span = self.low[view], self.span[view]
        reach = torch.stack([a.amin(1), a.amax(1), b.amin(1), b.amax(1)], 1).view(-1, 2, 2)
        touched = ((reach - low[..., None]) / span[..., None] * SHADOW_MAP).clamp(-2, SHADOW_MAP + 2).long() + torch.tensor([-1, 2], device=a.device)
        u, v, sun = self.u[mine], self.v[mine], self.sun[mine]
        start = stage.inwards(order, u * low[:, :1] + v * low[:, 1:] + SUN_AWAY * sun - stage.base[order])
        start[:, 2] -= 1
        pairs = Pairs(view, stage.kind[order], touched.clamp(0, SHADOW_MAP).flatten(1), stage.inwards(order, -sun), start,
                      stage.inwards(order, u * span[:, :1]), stage.inwards(order, v * span[:, 1:]))
        even = torch.linspace(0, 1, SHADOW_MAP, device=a.device)
        maps, _ = nearest(pairs, views, even, even, turning=False)
        self.maps = torch.nn.functional.pad(maps, (1, 1, 1, 1), value=FAR_AWAY).flatten()                    # beyond a map nothing is in the way

    @staticmethod
    def _spans(view: Tensor, views: int, a: Tensor, b: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Where the maps begin and how wide they are, metres (views, 2) along a and b: around the corners that are inside, or else around all."""
        def edge(values: Tensor, how: str) -> Tensor:
            none = torch.inf if how == "amin" else -torch.inf
            found = lambda some: torch.full((views,), none, device=a.device).scatter_reduce(0, view.repeat_interleave(8), some.flatten(), how)
            near = found(torch.where(inside, values, none))
            return torch.where(near.isinf(), found(values), near)
        low = torch.stack([edge(each, "amin") for each in (a, b)], 1) - .1
        high = torch.stack([edge(each, "amax") for each in (a, b)], 1) + .1
        empty = low.isinf()
        return low.masked_fill(empty, 0), (high - low).masked_fill(empty, 1)

    def lit(self, scenes: range, frame: Tensor, points: Tensor) -> Tensor:
        """(n,) 1 where the sun reaches points (3, n) of frames (n,) of some of the scenes, 0 in shadow."""
        stage = self.stage
        axes = torch.cat([self.u, self.v, self.sun], 1).T                                                    # (9, B)
        axes = axes[:, scenes.start, None] if len(scenes) == 1 else axes.index_select(1, stage.of_frame[frame])
        pa, pb, toward = (axes[i] * points[0] + axes[i + 1] * points[1] + axes[i + 2] * points[2] for i in (0, 3, 6))
        clearance = None
        for group in range(1 + max(len(stage.scenes[i].movers) for i in scenes)):
            view, off = stage.of_frame * stage.groups + group, stage.moved[:, group]                         # (F,), (F, 3)
            scale = (SHADOW_MAP - 1) / self.span[view]                                                       # (F, 2)
            along = torch.stack([(off * axis[stage.of_frame]).sum(1) for axis in (self.u, self.v, self.sun)], 1)
            shift, start = .5 - (along[:, :2] + self.low[view]) * scale, SUN_AWAY - .2 + along[:, 2:]
            ka, kb, sa, sb, limit = torch.cat([scale, shift, start], 1).T.contiguous().index_select(1, frame)
            row, column = ((p * k + s).clamp_(-1, SHADOW_MAP).int().add_(1) for p, k, s in ((pa, ka, sa), (pb, kb, sb)))
            blocker = self.maps.take((view * (SHADOW_MAP + 2) ** 2)[frame] + row * (SHADOW_MAP + 2) + column)
            beyond = blocker.add_(toward).sub_(limit)
            clearance = beyond if clearance is None else torch.minimum(clearance, beyond)
        return (clearance >= 0).float()
