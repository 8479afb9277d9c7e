"""What is seen where rays meet a scene: which way it faces there, its paint and how the light falls on it. On torch.

Rays that met the same sort of thing are brought together: solids first, then ground, and sky apart. Numbers of n rays are (n,), colours and
vectors (3, n), so that every step is one plain operation on whole rows.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import looks, mottle
from .cast import Shadows, Stage
from .rays import FAR_AWAY, KINDS
from .world import Scene

GROUND, SKY = -1, -2           # numbers beside those of solids
CLAY = (.74, .70, .66)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(...) of vectors (3, ...)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@dataclass(frozen=True, slots=True)
class Seen:
    """What n rays meet, those of some frames in order."""
    depth: Tensor              # (n,) metres of planar depth, FAR_AWAY in the sky
    pair: Tensor               # int32 (n,) pairs of a frame and a solid, GROUND, SKY
    towards: Tensor            # (3, n) rays whose component along the view is 1


def seen(stage: Stage, frames: slice, rows: Tensor, columns: Tensor, depth: Tensor, pair: Tensor) -> Seen:
    """What rays through rows and columns of some frames' pictures meet: solids at a depth, as `Stage.cast` has them, or the ground.

    rows and columns, -1 to 1 from the upper left, broadcast to the rays of one frame; depth and pair are (frames, rays of one).
    """
    rays = torch.broadcast_shapes(rows.shape, columns.shape)
    wide = lambda values: values.view(-1, *(1,) * len(rays))
    across, down = wide(stage.lens[frames, 0]) * columns, wide(stage.lens[frames, 1]) * -rows
    axes, (x, y, z) = stage.basis[frames], stage.eye[frames].T
    towards = torch.empty((3, len(axes), *rays), device=depth.device)
    for i in range(3):
        right, up, ahead = map(wide, axes[:, :, i].T)
        torch.add(ahead + up * down, right * across, out=towards[i])
    steep = wide(axes[:, 2, 2]) + wide(axes[:, 1, 2]) * down                                                  # a level camera's: the same along a row
    floor = torch.where(steep < -1e-4, -wide(z) / steep.clamp_max(-1e-4), FAR_AWAY)
    reach = wide(towards.new_tensor([scene.reach ** 2 for scene in stage.scenes])[stage.of_frame[frames]])
    gone = (floor * towards[0] + wide(x)) ** 2 + (floor * towards[1] + wide(y)) ** 2 > reach
    floor = torch.where(gone, FAR_AWAY, floor).flatten()
    depth, pair = depth.flatten(), pair.flatten()
    pair = torch.where(depth < floor, pair, torch.where(floor < FAR_AWAY, GROUND, SKY))
    return Seen(torch.minimum(depth, floor), pair, towards.flatten(1))


class Surfaces:
    """What must be known of each pair of a frame and a solid to say how a point on it looks."""

    def __init__(self, stage: Stage):
        solids = [(scene, s) for scene in stage.scenes for s in scene.solids]
        put = lambda values: torch.tensor(values, dtype=torch.float32, device=stage.device)
        is_kind = lambda name: (stage.kind == KINDS.index(name)).float()
        # how a normal rises in its solid's frame: a ball's as z does, a cone's as z falls; boxes and tops of cylinders are told apart below
        slope, rise = is_kind("ellipsoid") - is_kind("cone") / 4, is_kind("cone") / 4
        facts = torch.stack([stage.cos, stage.sin, *(1 / stage.half).T, is_kind("box"), is_kind("cylinder"), slope, rise])
        self.shape = torch.cat([stage.foot.T, facts[:, stage.solid]])                                       # (12, N)
        own = lambda scene: scene.style != "clay"
        self.paint = put([scene.albedo[s.finish].tolist() if own(scene) else CLAY for scene, s in solids]).T[:, stage.solid]  # (3, N)
        told = lambda which: put([float(own(scene) and which(scene, s)) for scene, s in solids])[stage.solid]                # (N,)
        self.shiny, self.glowing = told(lambda scene, s: s.finish in scene.gloss), told(lambda scene, s: s.finish in scene.glow)
        self.windows = told(lambda scene, s: s.windows)
        number = stage.number.double()
        self.front = torch.stack([*stage.half.T, (number * .37).float(), (number * 3.1).float()])[:, stage.solid]  # (5, N)
        marks = {"shiny": self.shiny, "glowing": self.glowing, "windows": self.windows}
        self.any = {name: bool(values.any()) for name, values in marks.items()}

    def facing(self, points: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """Unit normals in the world, and points in the solids' own frames, of points (3, n) on the solids of pairs (n,)."""
        fx, fy, fz, cos, sin, ix, iy, iz, box, cylinder, slope, rise = self.shape.index_select(1, pair)
        x, y, z = points[0] - fx, points[1] - fy, points[2] - fz
        own = torch.stack([(x * cos + y * sin) * ix, (y * cos - x * sin) * iy, z * iz - 1])
        side = own.abs()
        most = side.amax(0)
        first = side[0] >= most
        second = (side[1] >= most) & ~first
        flat = torch.stack([first, second, ~(first | second)]) * own.sign()
        top = (own[2] > .999) * cylinder
        wall = 1 - top
        curved = torch.stack([own[0] * wall, own[1] * wall, own[2] * slope + rise + top])
        nx, ny, nz = torch.where(box > 0, flat, curved).mul_(torch.stack([ix, iy, iz]))
        short = 1 / (nx * nx + ny * ny + nz * nz).sqrt_().clamp_min_(1e-6)
        return torch.stack([cos * nx - sin * ny, sin * nx + cos * ny, nz]).mul_(short), own

    def panes(self, own: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """Where windows are on house fronts, and which of them are lit: that comes from where they are. Claims (n,)."""
        hx, hy, hz, along, lamps = self.front.index_select(1, pair)
        along = torch.where(own[0].abs() > own[1].abs(), own[1] * hy, own[0] * hx) / 1.5 + along
        up = (own[2] * hz + hz) / 1.9
        column, row = along.floor(), up.floor()
        pane = ((along - column - .5).abs() < .24) & ((up - row - .55).abs() < .24) & (own[2].abs() < .97) & (self.windows[pair] > 0)
        lit = torch.remainder((column * 12.9898 + row * 78.233 + lamps).sin() * 43758.5453, 1) < .45
        return pane, pane & lit


def sun_of(scene: Scene) -> tuple[float, float, float]:
    """Unit direction to the sun."""
    direction = torch.tensor(looks.SKIES[scene.sky][5], dtype=torch.float64)
    turn = torch.tensor(scene.sun_turn, dtype=torch.float64)
    x, y, z = direction / direction.norm()
    return float(turn.cos() * x - turn.sin() * y), float(turn.sin() * x + turn.cos() * y), float(z)


def _told(scene: Scene) -> dict[str, float | tuple]:
    """What a scene says of light, ground and air, as numbers."""
    horizon, zenith, glow, strength, ambient, _ = looks.SKIES[scene.sky]
    clay, night = scene.style == "clay", scene.sky == "night"
    tint = (.75, .8, 1.2) if night else (1., 1., 1.)
    foggy = scene.weather == "fog"
    bright = (sum(horizon) / 3) ** .5 * .5
    return {"sun": sun_of(scene), "horizon": horizon, "zenith": zenith, "glow": glow, "strength": strength,
            "direct": tuple(strength * g * t for g, t in zip(glow, tint)), "ambient": tuple(ambient * t for t in tint),
            "shadows": float(strength > .3),
            "halo": glow if scene.sky in ("noon", "sunset") else (0., 0., 0.), "clouds": {"noon": .35, "night": 0.}.get(scene.sky, .2),
            "cloud": (1., 1., 1.) if scene.sky == "noon" else horizon, "phase": scene.phase,
            "ground": CLAY if clay else looks.GROUNDS[scene.ground],
            "mottled": 0. if clay else scene.mottled * (.03 if scene.ground == "snow" else .12),
            "road": float(scene.road and scene.ground == "asphalt" and not clay), "damp": .6 if scene.wet and not clay else 1.,
            "wet": float(scene.wet),
            "lamps": tuple(c * (.9 if night else .7) for c in (1., .78, .38)), "lit": float(scene.sky in ("night", "sunset")),
            "haze": tuple(c * bright + h * .5 for c, h in zip((.74, .76, .79), horizon)) if foggy else horizon,
            "density": {"fog": .075, "rain": .03}.get(scene.weather, .012), "fog": .7 * foggy}


class Light:
    """What scenes say of light, ground and air, and what rays see by it."""

    def __init__(self, stage: Stage):
        each = [_told(scene) for scene in stage.scenes]
        self.stage, self.surfaces, self.rows, rows = stage, Surfaces(stage), {}, []
        for name, value in each[0].items():
            self.rows[name] = slice(len(rows), len(rows) + 3) if isinstance(value, tuple) else len(rows)
            rows += zip(*((*one[name], 0.)[:3] if isinstance(value, tuple) else (one[name],) for one in each))
        self.told = torch.tensor(rows, dtype=torch.float32, device=stage.device)                             # (K, B)
        self.any = {name: any(one[name] for one in each) for name in ("shadows", "road", "wet", "lit", "fog")}
        self.shadows = Shadows(stage, self.told[self.rows["sun"]].T.contiguous()) if self.any["shadows"] else None

    def of(self, scenes: range, frame: Tensor) -> dict[str, Tensor]:
        """(n,) or (3, n) for rays of frames (n,); what a single scene says is said once, for any number of rays."""
        told = self.told[:, scenes.start, None] if len(scenes) == 1 else self.told.index_select(1, self.stage.of_frame[frame])
        return {name: told[row] for name, row in self.rows.items()}

    def on(self, frames: slice, seen: Seen, plain: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(3, n) of what rays of some frames meet: lit colour, unlit colour (None unless `plain`), unit normal in the world, 0 in the sky."""
        solid, floor, sky = (which.nonzero()[:, 0] for which in (seen.pair >= 0, seen.pair == GROUND, seen.pair == SKY))
        surface, n = torch.cat([solid, floor]), len(solid)
        first, past = frames.start, min(frames.stop, len(self.stage.eye))
        scenes = range(first // self.stage.frames, (past - 1) // self.stage.frames + 1)
        frame = surface // (len(seen.depth) // (past - first)) + first
        shade, albedo, normal = self._surface(scenes, solid, floor, frame, seen)
        colour, facing = torch.empty_like(seen.towards), torch.zeros_like(seen.towards)
        colour.index_copy_(1, surface, shade)
        facing.index_copy_(1, surface, normal)
        flat = None
        if plain:
            albedo[:, n:] *= .25
            flat = torch.full_like(colour, .02).index_copy_(1, surface, albedo)
        said, up = self.of(scenes, sky // (len(seen.depth) // (past - first)) + first), seen.towards.index_select(1, sky)
        above = self._sky(said, up / dot(up, up).sqrt_())
        colour.index_copy_(1, sky, above + (said["haze"] - above) * said["fog"])
        return colour, flat, facing

    def _surface(self, scenes: range, solid: Tensor, floor: Tensor, frame: Tensor, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        """(3, n) lit colour, paint and normal where rays meet solids, and then where they meet the ground. frame (n,) is that of each."""
        surface, n, surfaces = torch.cat([solid, floor]), len(solid), self.surfaces
        said, within, ground = (self.of(scenes, each) for each in (frame, frame[:n], frame[n:]))
        z, pair, towards = seen.depth[surface], seen.pair[solid], seen.towards.index_select(1, surface)
        points = self.stage.eye.T.contiguous().index_select(1, frame).addcmul_(towards, z)
        unit, normal = towards.div_(dot(towards, towards).sqrt_()), torch.zeros_like(towards)
        normal[:, :n], own = surfaces.facing(points[:, :n], pair)
        normal[2, n:] = 1
        paint = torch.cat([surfaces.paint.index_select(1, pair), self._ground(ground, points[:, n:], z[n:])], 1)
        albedo = paint
        if surfaces.any["windows"]:
            pane, lit = surfaces.panes(own, pair)
            albedo = paint.clone()
            albedo[:, :n] = torch.where(pane, paint[:, :n] * .25 + paint.new_tensor([[.03], [.05], [.08]]), paint[:, :n])
        direct = dot(normal, said["sun"]).clamp_min_(0)
        if self.shadows:
            direct *= torch.maximum(self.shadows.lit(scenes, frame, points + normal * .15), 1 - said["shadows"])
        contact = (points[2, :n] / .9).clamp_(0, 1).mul_(.28).add_(.72)
        around = normal[2] * .28 + .72
        around[:n] *= contact
        shade = (said["ambient"] * around + said["direct"] * direct).mul_(albedo)
        if surfaces.any["shiny"]:
            shade[:, :n] += self._gloss(within, unit[:, :n], normal[:, :n]) * surfaces.shiny[pair]
        if surfaces.any["glowing"]:
            shade[:, :n] = torch.where(surfaces.glowing[pair] > 0, paint[:, :n], shade[:, :n])
        if self.any["wet"]:                                    # wet ground mirrors the sky
            mirrored = unit[:, n:] * unit.new_tensor([[1], [1], [-1]])
            share = (.12 + .6 * (1 - mirrored[2]) ** 4) * ground["wet"]
            shade[:, n:] += (self._sky(ground, mirrored) - shade[:, n:]) * share
        if surfaces.any["windows"] and self.any["lit"]:
            shade[:, :n] = torch.where(lit & (within["lit"] > 0), within["lamps"], shade[:, :n])
        thin = (z.clamp_max(200.) * -said["density"]).exp_()
        return (shade - said["haze"]).mul_(thin).add_(said["haze"]), paint, normal

    def _ground(self, told, points: Tensor, depth: Tensor) -> Tensor:
        """(3, n) albedo of the ground at points (3, n)."""
        x, y, _ = points
        phase = told["phase"]
        albedo = told["ground"] * (1 + told["mottled"] * mottle.pattern(x + phase[0], y + phase[1], depth))
        if self.any["road"]:
            lane = (x.abs() < .09) & (torch.remainder(y, 3.) < 1.7) & (told["road"] > 0)
            beside = (x.abs() > 3.1) & (told["road"] > 0)
            albedo = torch.where(lane, .75, torch.where(beside, albedo.new_tensor([[.50], [.49], [.47]]), albedo))
        return albedo * told["damp"]

    def _gloss(self, told, unit: Tensor, normal: Tensor) -> Tensor:
        """(3, n): what a glossy surface adds, a highlight of the sun."""
        half = told["sun"] - unit
        bright = (dot(normal, half) / dot(half, half).sqrt_()).clamp_(0, 1)
        bright = ((bright ** 2) ** 2 * bright) ** 2                                                         # ... to the 10th
        return (told["strength"] * .8 * (bright ** 2) ** 2 + .05) * told["glow"]

    def _sky(self, told, unit: Tensor) -> Tensor:
        """(3, n) for unit directions: a gradient, a glow about the sun, drifting cloud shapes."""
        up, phase = unit[2].clamp(0, 1), told["phase"]
        colour = told["horizon"] + (told["zenith"] - told["horizon"]) * (up * 1.9).clamp_max(1)
        near = dot(unit, told["sun"]).clamp_(0, 1)
        fourth = (near ** 2) ** 2
        eighth = fourth ** 2
        sixty_fourth = ((eighth ** 2) ** 2) ** 2
        colour = colour + told["halo"] * (.35 * eighth * fourth + .6 * sixty_fourth ** 2 * sixty_fourth * eighth)      # to the 12th and to the 200th
        px, py = unit[:2] / (unit[2].clamp_min(.08) / .9)
        cloud = (px * 1.3 + phase[0]).sin() * (py * 1.7 + phase[1]).sin() + .5 * (px * 2.9 + py * 2.3 + phase[0]).sin()
        amount = (cloud * .9 - .15).clamp(0, 1) * (up * 6).clamp_max(1) * told["clouds"]
        return colour + amount * (told["cloud"] - colour)
