"""Training clips: a scene ray-cast to colour, inverse depth and camera-space normals. Numpy only, the same clip for the same seed."""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from . import captions, looks, mottle, world
from .rays import FAR_AWAY, Solid, distance, facing
from .world import Scene

SUPER = 2                      # rays per pixel and axis
SHADOW_MAP = 160
GROUND, SKY = -1, -2           # ids beside finish numbers


@dataclass(frozen=True, slots=True)
class Clip:
    rgb: np.ndarray            # uint8 (T, H, W, 3)
    inverse_depth: np.ndarray  # float16 (T, H, W), 1/metres of planar depth, 0 = background
    normal: np.ndarray         # int8 (T, H, W, 3), camera space * 127: +x right, +y up, +z to the camera; 0 = background
    caption: str
    scene: Scene


def _basis(yaw: float, pitch: float) -> np.ndarray:
    """(3, 3) rows: right, up, forward."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[sy, -cy, 0], [-cy * sp, -sy * sp, cp], [cy * cp, sy * cp, sp]], np.float32)


class Lens:
    """A pinhole of h x w samples; `fov` degrees across the longer side."""

    def __init__(self, h: int, w: int, fov: float):
        half = np.tan(np.radians(fov) / 2)
        self.h, self.w = h, w
        self.u, self.v = half * min(1, w / h), half * min(1, h / w)
        self.across = (((np.arange(w) + .5) / w * 2 - 1) * self.u).astype(np.float32)
        self.upward = (-((np.arange(h) + .5) / h * 2 - 1) * self.v).astype(np.float32)

    def rays(self, basis: np.ndarray) -> np.ndarray:
        """(3, h, w) directions whose component along the view is 1, so that distances are planar depths."""
        right, up, ahead = basis
        return ahead[:, None, None] + right[:, None, None] * self.across[None, None] + up[:, None, None] * self.upward[None, :, None]

    def boxes(self, corners: np.ndarray, eye, basis) -> list[tuple[slice, slice] | None]:
        """Rows and columns that each solid can touch, from its corners (S, 8, 3); None when it is out of sight."""
        seen = (corners - eye) @ basis.T
        z = np.maximum(seen[..., 2], .05)
        x, y = (seen[..., 0] / z / self.u + 1) * self.w / 2, (1 - seen[..., 1] / z / self.v) * self.h / 2
        x0, x1 = np.maximum(x.min(1), 0).astype(int), np.minimum(x.max(1) + 1, self.w).astype(int)
        y0, y1 = np.maximum(y.min(1), 0).astype(int), np.minimum(y.max(1) + 1, self.h).astype(int)
        ahead, beside = seen[..., 2].max(1) > .05, seen[..., 2].min(1) < .05
        whole = (slice(0, self.h), slice(0, self.w))
        seen = ahead & (beside | (x1 > x0) & (y1 > y0))
        return [(whole if beside[i] else (slice(y0[i], y1[i]), slice(x0[i], x1[i]))) if seen[i] else None for i in range(len(corners))]


class Shadows:
    """Orthographic depth maps along the sun, one for what stands still and one for each mover."""

    def __init__(self, scene: Scene, sun: np.ndarray):
        side = np.cross(sun, [0, 0, 1.])
        self.u = (side / np.linalg.norm(side)).astype(np.float32)
        self.v, self.sun = np.cross(self.u, sun).astype(np.float32), sun.astype(np.float32)
        self.maps = []
        for group in range(len(scene.movers) + 1):
            solids = [s for s in scene.solids if s.group == group]
            if solids:
                self.maps.append((group, *self._map(solids)))

    def _map(self, solids: list[Solid]):
        corners = np.concatenate([s.corners() for s in solids])
        corners = corners[np.abs(corners[:, :2]).max(1) < 22] if (np.abs(corners[:, :2]).max(1) < 22).any() else corners
        a, b = corners @ self.u, corners @ self.v
        span = (a.min() - .1, a.max() + .1, b.min() - .1, b.max() + .1)
        ga, gb = np.meshgrid(*(np.linspace(low, high, SHADOW_MAP, dtype=np.float32) for low, high in (span[:2], span[2:])), indexing="ij")
        start = ga[None] * self.u[:, None, None] + gb[None] * self.v[:, None, None] + 60 * self.sun[:, None, None]
        nearest = np.full(ga.shape, FAR_AWAY, np.float32)
        for s in solids:
            reach = s.corners()
            pa, pb = reach @ self.u, reach @ self.v
            ia = np.clip(((np.array([pa.min(), pa.max()]) - span[0]) / (span[1] - span[0]) * SHADOW_MAP).astype(int) + (-1, 2), 0, SHADOW_MAP)
            ib = np.clip(((np.array([pb.min(), pb.max()]) - span[2]) / (span[3] - span[2]) * SHADOW_MAP).astype(int) + (-1, 2), 0, SHADOW_MAP)
            if ia[1] > ia[0] and ib[1] > ib[0]:
                at = np.s_[ia[0]:ia[1], ib[0]:ib[1]]
                t, _, _ = distance(s, tuple(p[at] for p in start), tuple(-self.sun))
                nearest[at] = np.minimum(nearest[at], t)
        return span, nearest

    def lit(self, points: np.ndarray, moved: list[np.ndarray]) -> np.ndarray:
        """(N,) 1 where the sun reaches points (N, 3), 0 in shadow."""
        light = np.ones(len(points), np.float32)
        for group, (a0, a1, b0, b1), nearest in self.maps:
            p = points - moved[group - 1] if group else points
            ia = ((p @ self.u - a0) / (a1 - a0) * (SHADOW_MAP - 1) + .5).astype(np.int32)
            ib = ((p @ self.v - b0) / (b1 - b0) * (SHADOW_MAP - 1) + .5).astype(np.int32)
            inside = (ia >= 0) & (ia < SHADOW_MAP) & (ib >= 0) & (ib < SHADOW_MAP)
            blocker = nearest[np.clip(ia, 0, SHADOW_MAP - 1), np.clip(ib, 0, SHADOW_MAP - 1)]
            light[inside & (blocker < 60 - p @ self.sun - .2)] = 0
        return light


def _traced(scene: Scene, lens: Lens, corners, eye, basis, moved):
    """Planar depth (h, w), normal (h, w, 3), finish id (h, w) and window mark (h, w: 0 none, 1 dark, 2 lit) of one frame."""
    d = lens.rays(basis)
    depth = np.where(d[2] < -1e-4, -eye[2] / np.minimum(d[2], -1e-4), FAR_AWAY).astype(np.float32)
    away = (depth * d[0] + eye[0]) ** 2 + (depth * d[1] + eye[1]) ** 2 > scene.reach ** 2
    depth[away] = FAR_AWAY
    normal, window = np.zeros((lens.h, lens.w, 3), np.float32), np.zeros((lens.h, lens.w), np.int8)
    normal[..., 2] = 1
    ids = np.where(depth < FAR_AWAY, GROUND, SKY).astype(np.int8)
    offsets = np.stack([moved[s.group - 1] if s.group else np.zeros(3, np.float32) for s in scene.solids])
    for n, (s, off, at) in enumerate(zip(scene.solids, offsets, lens.boxes(corners + offsets[:, None], eye, basis))):
        if at is None:
            continue
        t, o, towards = distance(s, tuple(map(float, eye)), (d[0][at], d[1][at], d[2][at]), tuple(map(float, off)))
        nearer = t < depth[at]
        if not nearer.any():
            continue
        t = t[nearer]
        p = tuple(oi + t * di[nearer] for oi, di in zip(o, towards))
        depth[at][nearer], normal[at][nearer], ids[at][nearer] = t, facing(s, p), s.finish
        window[at][nearer] = _windows(s, p, n) if s.windows else 0
    return d, depth, normal, ids, window


def _windows(s: Solid, p, seed: int) -> np.ndarray:
    """Rows of windows on a house front; which of them are lit comes from where they are."""
    x, y, z = (q * h for q, h in zip(p, s.half))
    along = np.where(np.abs(p[0]) > np.abs(p[1]), y, x) / 1.5 + seed * .37
    up = (z + s.half[2]) / 1.9
    column, row = np.floor(along), np.floor(up)
    pane = (np.abs(along - column - .5) < .24) & (np.abs(up - row - .55) < .24) & (np.abs(p[2]) < .97)
    lit = np.mod(np.sin(column * 12.9898 + row * 78.233 + seed * 3.1) * 43758.5453, 1) < .45
    return pane * np.where(lit, 2, 1).astype(np.int8)


def _ground_colour(scene: Scene, x, y, depth) -> np.ndarray:
    """(N, 3) albedo of the ground at metres x, y."""
    mottled = mottle.pattern(x + scene.phase[0], y + scene.phase[1], depth)
    albedo = np.array(looks.GROUNDS[scene.ground], np.float32) * (1 + (.12 if scene.ground != "snow" else .03) * scene.mottled * mottled)[:, None]
    if scene.road and scene.ground == "asphalt":
        lane = (np.abs(x) < .09) & (np.mod(y, 3.) < 1.7)
        albedo[lane] = .75
        albedo[np.abs(x) > 3.1] = (.50, .49, .47)
    return albedo.astype(np.float32)


def _sky_colour(scene: Scene, d: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """(N, 3) for unit directions d (N, 3): a gradient, a glow about the sun, drifting cloud shapes."""
    horizon, zenith, glow = (np.array(c, np.float32) for c in looks.SKIES[scene.sky][:3])
    up = np.clip(d[:, 2:3], 0, 1)
    colour = horizon + (zenith - horizon) * np.clip(up * 1.9, 0, 1)
    if scene.sky in ("noon", "sunset"):
        near = np.clip(d @ sun, 0, 1)[:, None]
        colour = colour + glow * (.35 * near ** 12 + .6 * near ** 200)
    if scene.sky != "night":
        px, py = (d[:, :2] / np.maximum(d[:, 2:3], .08) * .9).T
        cloud = np.sin(px * 1.3 + scene.phase[0]) * np.sin(py * 1.7 + scene.phase[1]) + .5 * np.sin(px * 2.9 + py * 2.3 + scene.phase[0])
        amount = np.clip(cloud * .9 - .15, 0, 1)[:, None] * np.clip(up * 6, 0, 1) * (.35 if scene.sky == "noon" else .2)
        colour = colour + amount * ((1. if scene.sky == "noon" else horizon) - colour)
    return colour


def _shaded(scene: Scene, eye, sun, shadows: Shadows, moved, frame):
    """Lit colour and flat albedo, both (h, w, 3), of a traced frame."""
    d, depth, normal, ids, window = (a.reshape(3, -1).T if i == 0 else a.reshape(-1, *a.shape[2:]) for i, a in enumerate(frame))
    horizon, _, glow, strength, ambient, _ = (np.array(c, np.float32) for c in looks.SKIES[scene.sky])
    colour = np.empty((len(depth), 3), np.float32)
    solid = np.flatnonzero(ids != SKY)
    empty = np.flatnonzero(ids == SKY)
    z, which, n = depth[solid], ids[solid], normal[solid]
    points = eye + z[:, None] * d[solid]
    albedo = scene.albedo[np.maximum(which, 0)]
    floor = which == GROUND
    albedo[floor] = _ground_colour(scene, points[floor, 0], points[floor, 1], z[floor]) * (.6 if scene.wet else 1)
    if scene.style == "clay":
        albedo[:] = (.74, .70, .66)
    flat = np.full((len(depth), 3), .02, np.float32)
    flat[solid] = np.where(floor[:, None], albedo * .25, albedo)
    panes = window[solid]
    if scene.style != "clay":
        albedo[panes > 0] = albedo[panes > 0] * .25 + np.array([.03, .05, .08], np.float32)
    light = np.maximum(n @ sun, 0)
    if strength > .3:
        light = light * shadows.lit(points + n * .15, moved)
    contact = np.where(floor, 1, .72 + .28 * np.clip(points[:, 2] / .9, 0, 1))
    tint = np.array([.75, .8, 1.2], np.float32) if scene.sky == "night" else np.float32(1)
    seen = points - eye
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    shade = albedo * (ambient * ((.72 + .28 * n[:, 2]) * contact)[:, None] + strength * light[:, None] * glow) * tint
    if scene.style != "clay":
        shiny = np.isin(which, scene.gloss)
        half = sun - seen[shiny]
        bright = np.clip((n[shiny] * half / np.linalg.norm(half, axis=1, keepdims=True)).sum(1), 0, 1) ** 40
        shade[shiny] += (strength * .8 * bright[:, None] + .05) * glow
        shade[np.isin(which, scene.glow)] = scene.albedo[which[np.isin(which, scene.glow)]]
    if scene.wet:
        mirrored = seen[floor] * np.array([1, 1, -1], np.float32)
        fresnel = (.12 + .6 * (1 - mirrored[:, 2]) ** 4)[:, None]
        shade[floor] = shade[floor] * (1 - fresnel) + _sky_colour(scene, mirrored, sun) * fresnel
    if scene.sky in ("night", "sunset") and scene.style != "clay":
        shade[panes == 2] = np.array([1., .78, .38], np.float32) * (.9 if scene.sky == "night" else .7)
    haze = np.array([.74, .76, .79], np.float32) * horizon.mean() ** .5 * .5 + horizon * .5 if scene.weather == "fog" else horizon
    thin = np.exp(-np.minimum(z, 200) * {"fog": .075, "rain": .03}.get(scene.weather, .012))[:, None]
    colour[solid] = shade * thin + haze * (1 - thin)
    colour[empty] = _sky_colour(scene, d[empty] / np.linalg.norm(d[empty], axis=1, keepdims=True), sun)
    if scene.weather == "fog":
        colour[empty] = colour[empty] * .3 + haze * .7
    return colour, flat


def _pooled(a: np.ndarray, h: int, w: int) -> np.ndarray:
    a = a.reshape(h * SUPER, w * SUPER, -1)
    return sum(a[i::SUPER, j::SUPER] for i in range(SUPER) for j in range(SUPER)) * np.float32(1 / SUPER ** 2)


def _snowfall(rgb: np.ndarray, rng) -> np.ndarray:
    frames, h, w, _ = rgb.shape
    flakes = max(12, h * w // 45)
    x, y, fall = rng.uniform(0, w, flakes), rng.uniform(0, h, flakes), rng.uniform(.5, 1.4, flakes) * h / 40
    for f in range(frames):
        iy, ix = np.mod(y + fall * f, h).astype(int), np.mod(x + .25 * np.sin(f * .3 + y) * 3, w).astype(int)
        rgb[f, iy, ix] = rgb[f, iy, ix] * .35 + .65
    return rgb


def _rain(rgb: np.ndarray, rng) -> np.ndarray:
    """Slanting streaks that are somewhere else in every frame, and less colour."""
    frames, h, w, _ = rgb.shape
    rgb = rgb.mean(-1, keepdims=True) * .45 + rgb * .5
    drops, long = max(16, h * w // 60), max(3, h // 10)
    for f in range(frames):
        x, y = rng.integers(0, w, drops), rng.integers(-long, h, drops)
        for i in range(long):
            at = (y + i >= 0) & (y + i < h)
            rgb[f, (y + i)[at], np.mod(x + i // 3, w)[at]] = rgb[f, (y + i)[at], np.mod(x + i // 3, w)[at]] * .72 + .22
    return rgb


def render(scene: Scene, h: int, w: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rgb, inverse depth and normal as in `Clip`, for as many frames as the scene's camera has."""
    lens, frames = Lens(h * SUPER, w * SUPER, scene.fov), len(scene.yaw)
    sun = np.array(looks.SKIES[scene.sky][5], np.float64)
    c, s = np.cos(scene.sun_turn), np.sin(scene.sun_turn)
    sun = np.array([c * sun[0] - s * sun[1], s * sun[0] + c * sun[1], sun[2]]) / np.linalg.norm(sun)
    shadows, sun = Shadows(scene, sun), sun.astype(np.float32)
    corners = np.stack([s.corners() for s in scene.solids])
    rgb, flat, normal = (np.zeros((frames, h, w, 3), np.float32) for _ in range(3))
    inverse = np.zeros((frames, h, w), np.float32)
    for f in range(frames):
        basis, eye, moved = _basis(scene.yaw[f], scene.pitch[f]), scene.eye[f], [m[f] for m in scene.movers]
        frame = _traced(scene, lens, corners, eye, basis, moved)
        colour, plain = _shaded(scene, eye, sun, shadows, moved, frame)
        _, depth, n, ids, _ = frame
        there = ids != SKY
        rgb[f], flat[f] = _pooled(np.clip(colour, 0, 1), h, w), _pooled(plain, h, w)
        inverse[f] = _pooled(np.where(there, 1 / np.maximum(depth, .05), 0), h, w)[..., 0]
        seen = n @ basis.T
        seen[..., 2] *= -1
        normal[f] = _pooled(seen * there[..., None], h, w)
    rgb = rgb ** (1 / 1.25)
    if scene.weather == "snowfall":
        rgb = _snowfall(rgb, np.random.default_rng(seed))
    if scene.weather == "rain":
        rgb = _rain(rgb, np.random.default_rng(seed))
    rgb = looks.stylised(scene.style, rgb, inverse, normal, flat)
    return (rgb * 255 + .5).astype(np.uint8), inverse.astype(np.float16), np.round(normal * 127).astype(np.int8)


def _unlit(scene: Scene, h: int, w: int, numbers: list[int] | None = None):
    """Frames as `_traced` gives them, one ray a pixel, with its solid's of `numbers`, or its thing's, for a finish; and each frame's basis."""
    numbers = [s.part for s in scene.solids] if numbers is None else numbers
    named = replace(scene, solids=[replace(s, finish=n, windows=False) for s, n in zip(scene.solids, numbers)])
    lens, corners = Lens(h, w, scene.fov), np.stack([s.corners() for s in scene.solids])
    for f in range(len(scene.yaw)):
        basis = _basis(scene.yaw[f], scene.pitch[f])
        yield _traced(named, lens, corners, scene.eye[f], basis, [m[f] for m in scene.movers]), basis


def parts(scene: Scene, h: int, w: int) -> np.ndarray:
    """int8 (T, H, W): which of the scene's things is seen at the middle of each pixel; GROUND and SKY where none is."""
    return np.stack([ids for (_, _, _, ids, _), _ in _unlit(scene, h, w)])


def paints(scene: Scene, h: int, w: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What paint is seen where, without light: int8 (T, H, W) numbers of paints, GROUND and SKY; float32 (P + 1, 3) their colours, the
    ground's last; int (P,) which of the scene's things each is on."""
    worn = sorted({(s.part, s.finish) for s in scene.solids})
    seen = np.stack([ids for (_, _, _, ids, _), _ in _unlit(scene, h, w, [worn.index((s.part, s.finish)) for s in scene.solids])])
    colours = np.array([*(scene.albedo[finish] for _, finish in worn), looks.GROUNDS[scene.ground]], np.float32)
    return seen, colours, np.array([part for part, _ in worn])


def painted(clips: list[Clip]) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """`paints` of clips of one shape, as `conditions.albedos` takes them."""
    seen, colours, parts = zip(*(paints(c.scene, *c.inverse_depth.shape[1:3]) for c in clips))
    return np.stack(seen), list(colours), list(parts)


def geometry(scene: Scene, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depth and normals as in `Clip`, through the middle of each pixel: what Blender's passes would be."""
    inverse, normal = [], []
    for (_, depth, n, ids, _), basis in _unlit(scene, h, w):
        there = ids != SKY
        inverse.append(np.where(there, 1 / np.maximum(depth, .05), 0).astype(np.float16))
        seen = (n @ basis.T) * (1, 1, -1) * there[..., None]
        normal.append(np.round(seen * 127).astype(np.int8))
    return np.stack(inverse), np.stack(normal)


def cameras(scene: Scene, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Camera to world (T, 4, 4) in OpenCV's axes and metres, and the lens (4,) as fx, fy, cx, cy in widths and heights of the picture."""
    c2w = np.tile(np.eye(4, dtype=np.float32), (len(scene.yaw), 1, 1))
    for f, pose in enumerate(c2w):
        right, up, ahead = _basis(scene.yaw[f], scene.pitch[f])
        pose[:3, :3], pose[:3, 3] = np.stack([right, -up, ahead], 1), scene.eye[f]
    lens = Lens(h, w, scene.fov)
    return c2w, np.array([.5 / lens.u, .5 / lens.v, .5, .5], np.float32)


def clip(seed: int, frames: int = 17, h: int = 40, w: int = 64, drawn=world.drawn, **fixed) -> Clip:
    """The clip of a seed; `fixed` as `drawn` takes it, which draws the scene."""
    rng = np.random.default_rng(seed)
    scene = drawn(rng, frames, w / h, **fixed)
    return Clip(*render(scene, h, w, seed), captions.caption(scene, rng), scene)
