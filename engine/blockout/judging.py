"""How well clips do what they were asked: a small classifier trained on rendered clips, and edges against the layout's.

Scores mean something only beside the ground truth's (the ceiling) and other clips' (chance); `scripts/evaluate.py` prints all three.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import conditions, data, world
from .looks import COLOURS, GROUNDS, SKIES, STYLES
from .text import tokens
from .train_autoencoder import as_video
from .words import KNOWN

CHOICES = {"colour": tuple(COLOURS), "shape": world.SHAPES, "sky": tuple(SKIES), "ground": tuple(GROUNDS), "camera": world.MOVES, "style": STYLES}
SEEN = (0, 4, 8, 12, 16)                                       # frames of 17 that the judge looks at
COLOURLESS = ("noir", "blueprint", "clay")                     # styles in which an object's colour can't be read
JUDGE_SEEDS, HELD_OUT_SEEDS = 7_000_000, 9_500_000


def attributes(scene: world.Scene) -> list[int]:
    """Index into each of CHOICES, of the first thing for colour and shape; -1 where it can't be told."""
    thing = scene.things[0]
    given = (thing.finish if scene.style not in COLOURLESS else "", thing.word, scene.sky, scene.ground, scene.move, scene.style)
    found = [names.index(value) if value in names else -1 for names, value in zip(CHOICES.values(), given)]
    if scene.style == "blueprint":
        found[2] = found[3] = -1
    return found


class Verifier(nn.Module):
    """Attributes of a clip from five of its frames."""

    def __init__(self, c: int = 32):
        super().__init__()
        cut = lambda a, b, stride: (nn.Conv2d(a, b, 3, stride, 1), nn.BatchNorm2d(b), nn.GELU())
        widths = ((3 * len(SEEN), c, 2), (c, 2 * c, 1), (2 * c, 3 * c, 2), (3 * c, 4 * c, 1), (4 * c, 4 * c, 2))
        self.eye = nn.Sequential(*(layer for w in widths for layer in cut(*w)), nn.Flatten())
        self.mind = nn.Sequential(nn.Linear(4 * c * 5 * 8, 256), nn.GELU(), nn.Dropout(.2))
        self.heads = nn.ModuleList(nn.Linear(256, len(names)) for names in CHOICES.values())

    def forward(self, frames: Tensor) -> list[Tensor]:
        """frames (B, 3, 5, 40, 64) in [-1, 1] -> logits of each of CHOICES."""
        mind = self.mind(self.eye(frames.transpose(1, 2).flatten(1, 2)))
        return [head(mind) for head in self.heads]


def glimpse(seed: int) -> tuple[np.ndarray, list[int]]:
    """Five frames (5, 40, 64, 3) of a clip of one or two objects, and its attributes."""
    rng = np.random.default_rng(seed)
    scene = world.drawn(rng, 17, 1.6, kind="objects", count=1 + seed % 2)
    for name in ("eye", "yaw", "pitch"):
        setattr(scene, name, getattr(scene, name)[list(SEEN)])
    scene.movers = [m[list(SEEN)] for m in scene.movers]
    return data.render(scene, 40, 64, seed)[0], attributes(scene)


def trained_verifier(frames: np.ndarray, truth: np.ndarray, steps: int = 500, batch: int = 64, seed: int = 0) -> Verifier:
    """A verifier trained on glimpses: uint8 frames (N, 5, 40, 64, 3), truth (N, 6)."""
    torch.manual_seed(seed)
    g, model = torch.Generator().manual_seed(seed), Verifier().train()
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(frames), (batch,), generator=g)
        x, want = as_video(frames[rows.numpy()]), torch.from_numpy(truth)[rows]
        x = x + torch.randn(x.shape, generator=g) * .08 * torch.rand(batch, 1, 1, 1, 1, generator=g)
        loss = sum(F.cross_entropy(out, want[:, i], ignore_index=-1, label_smoothing=.02) for i, out in enumerate(model(x)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


@dataclass(slots=True)
class Exam:
    """Held-out clips of one or two objects with what was asked of them."""
    clips: list[data.Clip]
    video: Tensor                                              # (N, 3, 17, 40, 64)
    guides: dict[str, Tensor]
    truth: Tensor                                              # (N, 6)
    asked: Tensor                                              # (N, 6) bool: named in the caption and visible in the style

    @classmethod
    def rendered(cls, count: int) -> Exam:
        clips = [data.clip(HELD_OUT_SEEDS + i, kind="objects", count=1 + i % 2) for i in range(count)]
        guides = conditions.guides(np.stack([c.inverse_depth for c in clips]), np.stack([c.normal for c in clips]), torch.Generator(), rough=False)
        truth = torch.tensor([attributes(c.scene) for c in clips])
        return cls(clips, as_video(np.stack([c.rgb for c in clips])), guides, truth, torch.stack([asked(c) for c in clips]) & (truth >= 0))


def asked(clip: data.Clip) -> Tensor:
    """(6,) which attributes the caption names."""
    scene = clip.scene
    said = {KNOWN[i - 1] for i in tokens(clip.caption).ids}
    wanted = (scene.things[0].finish, scene.things[0].word, scene.sky, scene.ground, scene.move.split()[0], scene.style)
    return torch.tensor([word in said for word in wanted])


@torch.no_grad()
def adherence(verifier: Verifier, video: Tensor, exam: Exam, order: Tensor | None = None) -> dict[str, float]:
    """Share of right attributes among those asked for, by name."""
    out = verifier(video[:, :, list(SEEN)] if order is None else video[order][:, :, list(SEEN)])
    right = torch.stack([o.argmax(1) == exam.truth[:, i] for i, o in enumerate(out)], 1)
    return {name: right[exam.asked[:, i], i].float().mean().item() for i, name in enumerate(CHOICES)}


def _slopes(x: Tensor) -> Tensor:
    """(..., H, W) sum of absolute central differences."""
    out = torch.zeros_like(x)
    out[..., :, 1:-1] += (x[..., :, 2:] - x[..., :, :-2]).abs() / 2
    out[..., 1:-1, :] += (x[..., 2:, :] - x[..., :-2, :]).abs() / 2
    return out


def edge_f1(video: Tensor, depth: Tensor, threshold: float = .06, least: int = 30) -> float:
    """Do the picture's strongest edges lie on the layout's? video (B, 3, T, H, W), depth (B, 1, T, H, W); one pixel of tolerance."""
    layout = (_slopes(depth[:, 0]) > threshold).float()
    strength = torch.stack([_slopes(video[:, c]) for c in range(3)]).amax(0)
    near = lambda m: F.max_pool2d(m[:, None], 3, 1, 1)[:, 0]
    scores = []
    for edges, slope in zip(layout, strength):
        count = int(edges.sum())
        if count < least:
            continue
        drawn = (slope >= slope.flatten().topk(count).values[-1]).float()
        precision, recall = (drawn * near(edges)).sum() / drawn.sum(), (edges * near(drawn)).sum() / edges.sum()
        scores.append((2 * precision * recall / (precision + recall + 1e-6)).item())
    return float(np.mean(scores)) if scores else float("nan")
