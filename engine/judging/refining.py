"""What the refiner is worth: frames it took to twice their size beside the same ones up-scaled, plainly and along the guides.

Blockout's own frames differ from the truth in colour and light, which no refiner can mend: decibels are of what its autoencoder gave back.
"""
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..blockout import upscale
from ..blockout.refiner import Refiner, Refining, enlarged
from ..blockout.train_autoencoder import as_video, psnr
from ..blockout.train_refiner import glance
from . import exam as exams
from . import pixels, scores
from .scores import Line
from .studio import Studio, Wish

FIRST = 9_750_000                                              # seed of the first scene
SIZE = (256, 144)                                              # of what is refined
WAYS = ("refined", "enlarged", "guided", "plain")              # "enlarged": where the refiner begins, its strength 0


def larger(native: Tensor, guides: dict[str, Tensor], second: Refiner, prompt: str) -> dict[str, Tensor]:
    """A native clip (1, 3, T, h, w) in [-1, 1] at the size of its guides (1, C, T, H, W), in each of WAYS."""
    frames, along = native[0].transpose(0, 1), {kind: g[0].transpose(0, 1) for kind, g in guides.items()}
    found = {"refined": Refining(second, second.words([prompt]), 1., 0)((frames + 1) / 2, along) * 2 - 1,
             "enlarged": enlarged(frames, along), "guided": upscale.upscale(frames, SIZE, along["depth"], along["normal"]), "plain": upscale.upscale(frames, SIZE)}
    return {way: x.transpose(0, 1)[None] for way, x in found.items()}


def _halved(guides: dict[str, Tensor]) -> dict[str, Tensor]:
    return {kind: F.avg_pool3d(g, (1, 2, 2)) for kind, g in guides.items()}


@torch.inference_mode()
def lines(studio: Studio, second: Refiner | None, count: int) -> dict[str, Line]:
    """refine_gain: decibels to the truth that refining has over up-scaling along the guides, of frames that the autoencoder gave back
    (chance: plain up-scaling's). refine_edges: how well the strongest edges of Blockout's own clips then lie on the layout's, as F1."""
    if second is None:
        return {name: scores.left_out("the family has no refiner") for name in ("refine_gain", "refine_edges")}
    near, edges, flicker = {way: [] for way in WAYS}, *({way: [] for way in (*WAYS, "truth")} for _ in range(2))
    for i in range(count):
        scene = glance(FIRST + i, *SIZE[::-1])
        truth, guides = as_video(scene.rgb[None]), exams.guides_of([scene])
        small, layout = _halved(guides), pixels.depth_edges(guides["depth"])
        for way, x in larger(studio.returned(F.avg_pool3d(truth, (1, 2, 2)), small), guides, second, scene.caption).items():
            near[way].append(float(psnr(x, truth)))
        made = studio.clip(Wish(prompt=scene.caption, seed=i, guides=small, frames=len(scene.rgb), size=(SIZE[0] // 2, SIZE[1] // 2)))
        for way, x in (larger(made, guides, second, scene.caption) | {"truth": truth}).items():
            edges[way].append(pixels.edge_f1(x, layout)[0])
            flicker[way].append(pixels.flicker(x)[0])
    gain = {way: np.array(near[way]) - np.array(near["guided"]) for way in WAYS}
    level = ", ".join(f"{scores.mean(near[way]):.1f} {way}" for way in WAYS)
    comes = ", ".join(f"{scores.mean(x):.4f} {way}" for way, x in flicker.items())
    return {"refine_gain": scores.plain(gain["refined"], gain["plain"], gain["enlarged"], note=f"dB: {level}; codec: enlarged"),
            "refine_edges": scores.share(edges["refined"], edges["truth"], edges["plain"], edges["guided"], note=f"codec: up-scaled along guides; flicker: {comes}")}
