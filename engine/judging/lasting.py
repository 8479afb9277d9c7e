"""The lines of a long shot of a place where nothing moves: how its end differs from its beginning."""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..blockout import world
from . import exam as exams
from . import pixels, scores, tasks
from .scores import Line
from .studio import Studio, Wish

SEEDS = 9_910_000
RATE, FRAMES = 8., 481                                         # a minute, in as few frames as a clip of it may have
LINES = ("drift", "drift_contrast", "drift_sharpness")
CELL = 8                                                       # pixels of the places whose colours are compared
CODED = 49                                                     # frames from which the autoencoder's own drift is taken


@dataclass(frozen=True, slots=True)
class Drift:
    """From the first second of a clip to its last. Units of L*a*b* place by place and of L* altogether; the others are ratios."""
    colour: float
    brightness: float
    contrast: float
    sharpness: float


def _seen(frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames (3, n, H, W) in [-1, 1] as one: mean L*a*b* of each cell (K, 3); their mean L*, how far L* spreads, and how it changes per pixel."""
    pictures = ((frames.transpose(0, 1) + 1) / 2).clamp(0, 1)
    cells = pixels.lab(F.avg_pool2d(pictures.mean(0)[None], CELL)[0].permute(1, 2, 0)).flatten(0, 1)
    light = pixels.lab(pictures.permute(0, 2, 3, 1))[..., 0]
    return cells, light.mean(), light.flatten(1).std(1).mean(), pixels.slopes(light).mean()


def drift(begins: Tensor, ends: Tensor) -> Drift:
    """Between a clip's first frames (3, n, H, W) in [-1, 1] and its last."""
    (cells, light, spread, slope), (late, late_light, late_spread, late_slope) = _seen(begins), _seen(ends)
    return Drift(float((late - cells).norm(dim=1).mean()), float(late_light - light), float(late_spread / spread.clamp(min=1e-3)),
                 float(late_slope / slope.clamp(min=1e-3)))


def standing(seed: int, frames: int) -> tuple[world.Scene, str]:
    """Two things, a camera that stands still, and a sentence that says so."""
    scene, prompt = tasks.pair(seed)
    still = exams.at_frame(scene, exams.FRAMES // 2)
    still.eye, still.yaw, still.pitch = (np.repeat(x, frames, 0) for x in (still.eye, still.yaw, still.pitch))
    still.movers, still.move = [np.repeat(m, frames, 0) for m in still.movers], "static"
    return still, f"{prompt}, static shot"


def lines(studio: Studio, count: int, frames: int = FRAMES) -> dict[str, Line]:
    """`drift`: units of L*a*b* between a minute's first second and its last, place by place; drift_contrast and drift_sharpness: how many times
    as far lightness spreads at the end, and changes from pixel to pixel. Along depth, normals and camera. Chance: another clip's last second."""
    longest = studio.spec.longest if hasattr(studio, "spec") else frames
    if longest < frames:
        return {name: scores.left_out(f"the family makes {longest} frames at most") for name in LINES}
    second, found = round(RATE), {"made": [], "truth": [], "codec": [], "chance": []}
    late = None
    for i in range(count):
        scene, prompt = standing(SEEDS + i, 2)
        exam = exams.Exam.of([tasks.rendered(scene, prompt, i)])
        throughout = lambda x: x[:, :, :1].expand(-1, -1, frames, -1, -1)
        guides, flown = {kind: throughout(g) for kind, g in exam.one(0, "depth", "normal").items()}, exam.flown(0)
        flown["cameras"] = replace(flown["cameras"].at(np.zeros(frames)), frames=np.arange(frames))
        clip = studio.clip(Wish(prompt=prompt, seed=i, guides=guides, frames=frames, fps=RATE, **flown))[0]
        begins, ends = clip[:, :second], clip[:, -second:]
        found["made"].append(drift(begins, ends))
        found["truth"].append(drift(exam.video[0, :, :1], exam.video[0, :, 1:]))
        back = studio.returned(throughout(exam.video)[:, :, :CODED], {kind: g[:, :, :CODED] for kind, g in guides.items()})
        found["codec"] += [] if back is None else [drift(back[0, :, :second], back[0, :, -second:])]
        found["chance"] += [] if late is None else [drift(begins, late)]
        late = ends
    of = lambda row, name: [getattr(each, name) for each in found[row]]
    line = lambda name, note="": scores.plain(*(of(row, name) for row in ("made", "chance", "codec", "truth")), note=note)
    brighter = scores.mean(of("made", "brightness"))
    return {"drift": line("colour", f"after {(frames - 1) / RATE:.0f} s; lightness {brighter:+.1f}"), "drift_contrast": line("contrast"),
            "drift_sharpness": line("sharpness")}
