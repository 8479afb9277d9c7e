"""The judges' schooling: each learns its own part from the same glimpses."""
from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import glimpses
from .attributes import BACKWARDS, MIRRORED
from .glimpses import Glimpses
from .judges import LEAST, Judges, boxes, crops, flow, in_a_mirror

log = logging.getLogger(__name__)

STEPS = {"look": 700, "motion": 500, "setting": 450, "finder": 250}
BATCH = 64
Draw = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]     # rows -> input, and what is wanted of each output (-1: not told)


def worn(x: Tensor, g: torch.Generator) -> Tensor:
    """Pictures as small models make them: some noisy, some soft. (N, C, H, W)"""
    u = torch.rand(len(x), 1, 1, 1, generator=g)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = torch.lerp(x, soft, (torch.rand(len(x), 1, 1, 1, generator=g) * 2 - 1).clamp(min=0))
    return x + torch.randn(x.shape, generator=g) * .1 * (u * 2 - 1).clamp(min=0)


def mirrored(g: torch.Generator, x: Tensor) -> Tensor:
    """Pictures (N, C, h, w), half of them with left and right exchanged."""
    turned = torch.rand(len(x), 1, 1, 1, generator=g) < .5
    return torch.where(turned, x.flip(-1), x)


def _frames(rgb: np.ndarray) -> Tensor:
    """uint8 (N, h, w, 3) -> (N, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 127.5 - 1


def _settings(g: Glimpses, r: torch.Generator) -> Draw:
    def draw(rows: Tensor):
        at = torch.randint(len(g.rgb[0]), (len(rows),), generator=r)
        told = torch.from_numpy(g.scene)[rows]
        return worn(mirrored(r, _frames(g.rgb[rows.numpy(), at.numpy()])), r), {"sky": told[:, 0], "ground": told[:, 1], "style": told[:, 3]}
    return draw


def _motions(g: Glimpses, r: torch.Generator) -> Draw:
    """Each clip as it is and backwards, and both in a mirror."""
    clips = (torch.from_numpy(rgb).permute(0, 4, 1, 2, 3).float() / 127.5 - 1 for rgb in np.array_split(g.rgb, len(g.rgb) // 64 + 1))
    x = torch.cat([torch.stack([flow(clip), flow(clip.flip(2))], 1) for clip in clips])
    x, told = torch.cat([x, in_a_mirror(x)], 1), torch.from_numpy(g.scene)[:, 2]
    moves = torch.stack([told, BACKWARDS[told], MIRRORED[told], MIRRORED[BACKWARDS[told]]], 1)

    def draw(rows: Tensor):
        way = torch.randint(x.shape[1], (len(rows),), generator=r)
        noise = torch.randn(len(rows), *x.shape[2:], generator=r) * .04
        return x[rows, way] + noise, {"camera": moves[rows, way]}
    return draw


def _places(g: Glimpses, r: torch.Generator) -> Draw:
    def draw(rows: Tensor):
        at = torch.randint(len(g.rgb[0]), (len(rows),), generator=r).numpy()
        part = torch.from_numpy(g.parts[rows.numpy(), at]).long()[:, ::2, ::2].clamp(min=-1) + 1
        return worn(_frames(g.rgb[rows.numpy(), at]), r), {"place": part}      # the first is on the left: not so in a mirror
    return draw


def _looks(g: Glimpses, r: torch.Generator) -> Draw:
    places = [torch.from_numpy(g.parts == which) for which in (0, 1)]
    told = torch.from_numpy(g.things)
    able = torch.stack([p.flatten(2).sum(2) >= LEAST for p in places], 1).nonzero()      # (K, 3): glimpse, which, frame

    def draw(rows: Tensor):
        clip, which, frame = able[rows % len(able)].T
        mask = torch.stack([places[w][c, f] for c, w, f in zip(clip, which, frame)])
        centre, half, _ = boxes(mask.float())
        jitter = torch.randn(len(rows), 3, generator=r)
        centre, half = centre + jitter[:, :2] * .12 * half[:, None], half * (1 + .15 * jitter[:, 2])
        want = told[clip, which]
        frames = worn(_frames(g.rgb[clip.numpy(), frame.numpy()]), r)
        return mirrored(r, crops(frames, centre, half)), {"colour": want[:, 0], "shape": want[:, 1]}
    return draw


def _taught(name: str, model: nn.Module, draw: Draw, steps: int, count: int, g: torch.Generator) -> None:
    """Cross entropy on random batches, one cycle of the learning rate."""
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=.05)
    schedule, began = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps), time.monotonic()
    model.to(memory_format=torch.channels_last).train()
    for step in range(1, steps + 1):
        x, want = draw(torch.randint(count, (BATCH,), generator=g))
        out = model(x.contiguous(memory_format=torch.channels_last))
        out = out if isinstance(out, dict) else {"place": out}
        loss = sum(F.cross_entropy(out[k], w, ignore_index=-1, label_smoothing=.02) for k, w in want.items() if (w >= 0).any())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            log.info("judge of %s: step %d of %d, loss %.3f, %.0f s", name, step, steps, loss.item(), time.monotonic() - began)
    model.eval()


def taught(learnt: Glimpses, share: float = 1.0, seed: int = 0) -> Judges:
    """Judges that learnt from the glimpses; `share` of the usual number of steps."""
    torch.manual_seed(seed)
    g, judges = torch.Generator().manual_seed(seed), Judges()
    for name, lessons in (("look", _looks), ("motion", _motions), ("setting", _settings), ("finder", _places)):
        count = len(learnt.rgb) * (10 if name == "look" else 1)
        _taught(name, getattr(judges, name), lessons(learnt, g), max(2, round(STEPS[name] * share)), count, g)
    return judges.eval()


def judges(folder: Path, count: int, share: float = 1.0, jobs: int = 2) -> Judges:
    """Those kept in `folder`; rendered for and taught first where there are none for so many glimpses."""
    path = folder / f"judges-{count}.pt"
    made = Judges()
    if path.exists():
        made.load_state_dict(torch.load(path, weights_only=True))
        return made.eval()
    made = taught(glimpses.rendered(folder, count, jobs), share)
    torch.save(made.state_dict(), path)
    return made
