"""The refiner: a second, smaller diffusion model that takes Blockout's frames up to twice their size and draws what they lack.

It works in pixels, on what up-scaling along the layout's guides leaves out (cascaded diffusion of Ho et al. 2021, on residuals as Whang et al.
2022), with those guides at the doubled size and a prompt of its own. What it sees of frames and layout is worked out once; each step only looks at
that and the noise. Every look back in time is short: frames are refined as they come, in memory that does not follow the clip.
"""
from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sampling import samplers
from . import upscale
from .autoencoder import LookBack, Memory, each_frame
from .guides import PLANES, planes
from .text import tokens
from .words import KNOWN

NAME = "refiner-v0"
WEIGHTS = Path(__file__).parent / "weights"
TIMES = 2                                                      # as wide and as high
STEPS = 1                                                      # at full strength the mean of what may be there: each further step leaves grain
SPREAD = .05                                                   # about how much up-scaling is off, of colours from -1 to 1
LINES = 3                                                      # planes of `lines`
INKS = 3 * LINES                                               # those, and as wide as what up-scaling makes of them
SHARED = .8                                                    # of the noise's variance is the same in every frame: less of it comes and goes


@dataclass(frozen=True, slots=True)
class RefinerConfig:
    widths: tuple[int, int, int] = (24, 32, 48)                # channels at 1/2, 1/4 and 1/8 of the refined size
    told: int = 64                                             # numbers that carry the prompt and the noise level
    words: tuple[str, ...] = KNOWN                             # the vocabulary that it was trained with


Seen = tuple[Tensor, Tensor, Tensor, Tensor]                   # half, quarter and eighth of the size (B, T, C, ., .), strokes (B, T, INKS, H, W)


class Told(nn.Module):
    """A residual convolution, scaled and shifted by what it is told (FiLM of Perez et al. 2018), after a look back in time."""

    def __init__(self, c: int, told: int, time: bool = False):
        super().__init__()
        self.back = LookBack(c) if time else None
        self.wide, self.mix, self.tell = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 1), nn.Linear(told, 2 * c)
        for layer in (self.mix, self.tell):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, told: Tensor, memory: Memory | None) -> Tensor:
        """x (B, T, C, h, w), told (B, told)."""
        if self.back is not None:
            x = self.back(x, memory)
        scale, shift = (m.repeat_interleave(x.shape[1], 0) for m in self.tell(told)[:, :, None, None].chunk(2, 1))
        return x + each_frame(lambda y: self.mix(F.silu(torch.addcmul(shift, self.wide(y), 1 + scale))), x)


def broadened(lines: Tensor) -> Tensor:
    """(n, LINES, H, W) -> (n, INKS, H, W): lines as they are, and their means of 3x3 and 5x5. What up-scaling smeared is beside them."""
    return torch.cat([lines, *(F.avg_pool2d(lines, size, 1, size // 2) for size in (3, 5))], 1)


class Seeing(nn.Module):
    """What small frames, their up-scaling and their layout show, at three sizes."""

    def __init__(self, config: RefinerConfig):
        super().__init__()
        (a, b, c), told = config.widths, config.told
        self.into = nn.Conv2d(4 * (3 + PLANES + LINES) + 3, a, 3, padding=1)
        self.at_half = nn.ModuleList([Told(a, told), Told(a, told)])
        self.quarter, self.at_quarter = nn.Conv2d(4 * a, b, 1), nn.ModuleList([Told(b, told, time=True), Told(b, told)])
        self.eighth, self.at_eighth = nn.Conv2d(4 * b, c, 1), nn.ModuleList([Told(c, told, time=True), Told(c, told), Told(c, told)])

    def forward(self, small: Tensor, large: Tensor, layout: Tensor, words: Tensor, memory: Memory | None = None) -> Seen:
        """small (B, T, 3, H/2, W/2), large (B, T, 3, H, W), layout (B, T, PLANES + LINES, H, W), words (B, told)."""
        down = lambda layer, x: each_frame(lambda y: layer(F.pixel_unshuffle(y, 2)), x)
        half = each_frame(self.into, torch.cat([small, each_frame(lambda y: F.pixel_unshuffle(y, 2), torch.cat([large, layout], 2))], 2))
        for block in self.at_half:
            half = block(half, words, memory)
        quarter = down(self.quarter, half)
        for block in self.at_quarter:
            quarter = block(quarter, words, memory)
        eighth = down(self.eighth, quarter)
        for block in self.at_eighth:
            eighth = block(eighth, words, memory)
        return half, quarter, eighth, each_frame(broadened, layout[:, :, PLANES:])


class Refiner(nn.Module):
    """Predicts, from noise and what can be seen, how frames differ from their up-scaling, in units of SPREAD."""

    def __init__(self, config: RefinerConfig = RefinerConfig()):
        super().__init__()
        self.config, (a, b, c), told = config, config.widths, config.told
        self.word, self.nothing = nn.EmbeddingBag(len(config.words), told, mode="mean"), nn.Parameter(torch.zeros(told))
        self.time = nn.Sequential(nn.Linear(64, told), nn.SiLU(), nn.Linear(told, told))
        self.see = Seeing(config)
        self.noisy_half, self.noisy_quarter, self.noisy_eighth = nn.Conv2d(3 * 4, a, 3, padding=1), nn.Conv2d(3 * 16, b, 1), nn.Conv2d(3 * 64, c, 1)
        self.at_eighth, self.to_quarter = nn.ModuleList([Told(c, told, time=True), Told(c, told)]), nn.Conv2d(c, 4 * b, 1)
        self.at_quarter, self.to_half = nn.ModuleList([Told(b, told, time=True), Told(b, told)]), nn.Conv2d(b, 4 * a, 1)
        self.at_half, self.out = nn.ModuleList([Told(a, told), Told(a, told)]), nn.Conv2d(a, 3 * 4, 3, padding=1)
        self.ink = nn.Conv2d(a, 3 * INKS, 3, padding=1)
        for layer in (self.out, self.ink, self.noisy_half, self.noisy_quarter, self.noisy_eighth):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def words(self, prompts: list[str]) -> Tensor:
        """(B, told); words that it does not know have no effect, and a prompt of none but those is that of no prompt."""
        place = {word: i for i, word in enumerate(self.config.words)}
        known = [[place[KNOWN[i - 1]] for i in tokens(prompt).ids if KNOWN[i - 1] in place] for prompt in prompts]
        starts = torch.tensor([0] + [len(k) for k in known[:-1]], device=self.nothing.device).cumsum(0)
        found = self.word(torch.tensor(sum(known, []), dtype=torch.long, device=self.nothing.device), starts)
        return torch.where(torch.tensor([[bool(k)] for k in known], device=found.device), found, self.nothing)

    def denoised(self, x: Tensor, sigma: Tensor, words: Tensor, seen: Seen, memory: Memory | None = None) -> Tensor:
        """x (B, T, 3, H, W), sigma (B,) with 1 = noise, seen from `see` -> the clean residual (B, T, 3, H, W)."""
        turn = sigma[:, None] * 100 * torch.exp(-math.log(1000) * torch.arange(32, device=x.device, dtype=x.dtype) / 32)
        clear = (1 - sigma).view(-1, 1, 1, 1, 1)
        x = x * clear / (clear.square() + (1 - clear).square())                    # the best linear guess: what is but noise is not seen at all
        told = F.silu(self.time(torch.cat([turn.cos(), turn.sin()], -1)) + words)
        into = lambda layer, times: each_frame(lambda y: layer(F.pixel_unshuffle(y, times)), x)
        up = lambda layer, y: each_frame(lambda z: F.pixel_shuffle(layer(z), 2), y)
        half, quarter, eighth, strokes = seen
        y = eighth + into(self.noisy_eighth, 8)
        for block in self.at_eighth:
            y = block(y, told, memory)
        y = up(self.to_quarter, y) + quarter + into(self.noisy_quarter, 4)
        for block in self.at_quarter:
            y = block(y, told, memory)
        y = up(self.to_half, y) + half + into(self.noisy_half, 2)
        for block in self.at_half:
            y = block(y, told, memory)
        ink = each_frame(lambda z: F.interpolate(self.ink(z), scale_factor=2., mode="bilinear"), y).unflatten(2, (3, INKS))
        return up(self.out, y) + (ink * strokes[:, :, None]).sum(3)


def lines(guides: dict[str, Tensor]) -> Tensor:
    """(n, LINES, H, W) in [0, 1]: how much depth (n, 1, H, W), its root and normal (n, 3, H, W) differ from the pixels above and to the left.

    Half of the styles draw such lines (looks.py). At twice the size they are half as wide, and where they run the layout knows best.
    """
    step = lambda x: sum(x.diff(dim=axis, prepend=x.narrow(axis, 0, 1)).abs().sum(1, keepdim=True) for axis in (2, 3))
    some = next(iter(guides.values()))
    depth, normal = (guides.get(kind, some.new_zeros(len(some), 1, *some.shape[2:])) for kind in ("depth", "normal"))
    return torch.cat([6 * step(depth), 3 * step(depth.clamp(0, 1).sqrt()), .45 * step(normal)], 1).clamp(max=1)


def shown(guides: dict[str, Tensor], large: Tensor) -> Tensor:
    """(n, PLANES + LINES, H, W): the layout of frames (n, 3, H, W) as the refiner sees it, guides as in `lines`; zeros without any."""
    if not guides:
        return large.new_zeros(len(large), PLANES + LINES, *large.shape[2:])
    flat = planes({kind: g.transpose(0, 1)[None] for kind, g in guides.items()})[0].transpose(0, 1)
    return torch.cat([flat, lines(guides)], 1)


def enlarged(frames: Tensor, guides: dict[str, Tensor]) -> Tensor:
    """(n, 3, h, w) -> (n, 3, 2h, 2w), along depth (n, 1, 2h, 2w) and normal (n, 3, 2h, 2w); plainly without either.

    The joint bilateral up-scaling of upscale.py, where every small pixel is four large ones: all frames at once.
    """
    if not guides:
        return F.interpolate(frames, scale_factor=TIMES, mode="bicubic", align_corners=False)
    depth, normal = (guides.get(kind) for kind in ("depth", "normal"))
    large = torch.cat([*([] if depth is None else [depth.clamp(0, 1).sqrt()]), *([] if normal is None else [normal / upscale.NORMAL_REACH])], 1)
    small, reach = F.avg_pool2d(large, TIMES), torch.ones_like(large[:, :, ::TIMES, ::TIMES])
    within = F.max_pool2d(large, TIMES) + F.max_pool2d(-large, TIMES)
    if depth is not None:
        about = F.max_pool2d(small[:, :1], 3, 1, 1) + F.max_pool2d(-small[:, :1], 3, 1, 1)
        reach[:, :1] = (about * upscale.SLOPE_SHARE).clamp(min=upscale.DEPTH_REACH)
    purity = ((within / reach).square().sum(1, keepdim=True).mul(-.5).exp() + .02).log()
    crisp = torch.stack([upscale.sharpened(frame) for frame in frames])
    return _gathered(torch.cat([crisp, purity, small], 1), large, reach)


def _gathered(taps: Tensor, large: Tensor, reach: Tensor) -> Tensor:
    """(n, 3, 2h, 2w) from the nine small pixels about each large one. taps (n, 4 + C, h, w): colour, logarithm of purity, features."""
    n, (h, w) = len(large), reach.shape[2:]
    cells = lambda x: x.view(n, -1, h, TIMES, w, TIMES)
    near, wide = F.pad(taps, (1, 1, 1, 1), mode="replicate"), reach[:, :, :, None, :, None]
    t = torch.tensor([-.25, .25], device=large.device, dtype=large.dtype)                           # of a small pixel, from its middle
    spline = torch.stack([.5 * (.5 - t) ** 2, .75 - t ** 2, .5 * (.5 + t) ** 2])
    total, weights = 0., 0.
    for y in range(3):
        for x in range(3):
            tap = near[:, :, y:y + h, x:x + w][:, :, :, None, :, None]
            apart = ((tap[:, 4:] - cells(large)) / wide).square().sum(1, keepdim=True)
            weight = (tap[:, 3:4] - .5 * apart).clamp(min=upscale.LEAST).exp() + upscale.PLAIN
            weight = weight * (spline[y].view(TIMES, 1, 1) * spline[x])
            total, weights = total + tap[:, :3] * weight, weights + weight
    return (total / weights).reshape(n, 3, h * TIMES, w * TIMES)


def noise(shape: tuple[int, int, int], seed: int, frame: int, like: Tensor) -> Tensor:
    """(3, H, W) for one frame of a clip: mostly the clip's own (mixed noise of Ge et al. 2023). No matter in which stretches frames come."""
    ours, own = (samplers.noise(shape, (seed + step) % 2 ** 63, like.device, like.dtype) for step in (0, 1 + frame))
    return ours * SHARED ** .5 + own * (1 - SHARED) ** .5


class Refining:
    """One clip on its way through the refiner, a few frames after the others. The same frames come out however they are cut into stretches."""

    times = TIMES

    def __init__(self, refiner: Refiner, words: Tensor, strength: float, seed: int, steps: int = STEPS):
        """strength in (0, 1]: how much noise is laid over the up-scaled frames, and thereby how much may be drawn anew."""
        self._refiner, self._words, self._seed, self._frame = refiner, words, seed, 0
        self._sigmas = torch.linspace(strength, 0, steps + 1).tolist()
        self._memories: list[Memory] = [{} for _ in range(steps + 1)]

    @torch.no_grad()
    def __call__(self, frames: Tensor, guides: dict[str, Tensor]) -> Tensor:
        """The next frames (n, 3, h, w) in [0, 1] -> (n, 3, 2h, 2w). guides of these frames: depth (n, 1, 2h, 2w), normal (n, 3, 2h, 2w), or neither."""
        *_, last = self.steps(frames, guides)
        return last

    @torch.no_grad()
    def steps(self, frames: Tensor, guides: dict[str, Tensor]) -> Iterator[Tensor]:
        """As `__call__`, one estimate a step."""
        guides = {kind: g.to(self._words) for kind, g in guides.items()}
        small = frames.to(self._words) * 2 - 1
        large = enlarged(small, guides)
        seen = self._refiner.see(small[None], large[None], shown(guides, large)[None], self._words, self._memories[-1])
        x = torch.stack([noise(tuple(large.shape[1:]), self._seed, self._frame + i, large) for i in range(len(large))])[None] * self._sigmas[0]
        self._frame += len(frames)
        for sigma, following, memory in zip(self._sigmas, self._sigmas[1:], self._memories):
            clean = self._refiner.denoised(x, large.new_full((1,), sigma), self._words, seen, memory)
            x = clean + (x - clean) * (following / sigma)
            yield ((large + clean[0] * SPREAD + 1) / 2).clamp(0, 1).to(frames)


def save(refiner: Refiner, folder: Path) -> None:
    """<NAME>.safetensors in half precision and <NAME>.json."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().half().contiguous() for k, v in refiner.state_dict().items()}, folder / f"{NAME}.safetensors")
    (folder / f"{NAME}.json").write_text(json.dumps({"name": NAME, **asdict(refiner.config)}, indent=2) + "\n")


def load(folder: Path = WEIGHTS, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Refiner:
    """The refiner in a folder that `save` wrote. FileNotFoundError when it isn't there, ValueError when the weights don't fit."""
    from safetensors.torch import load_file

    config = json.loads((folder / f"{NAME}.json").read_text())
    refiner = Refiner(RefinerConfig(tuple(config["widths"]), config["told"], tuple(config["words"])))
    try:
        refiner.load_state_dict({k: v.float() for k, v in load_file(folder / f"{NAME}.safetensors").items()})
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder} are of another make than this engine: {error}") from error
    return refiner.to(device, dtype).eval().requires_grad_(False)
