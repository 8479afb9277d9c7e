"""What training shows the transformer beside noise: guides as Blender will deliver them, dropped and roughened, and known frames.

What is made of stored clips is made where they lie, on a card or not. Chance is drawn on the CPU, so that it is the same for a seed everywhere.
"""
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import data, flight, mottle
from .autoencoder import SPACE, TIME

GIVEN = ((0, 0, 0), (0, 0, 1), (1, 1, 1), (1, 0, 1), (1, 1, 0), (1, 0, 0), (0, 1, 0), (0, 1, 1))           # as guides.GIVEN but for the last
GIVEN_SHARE = (.40, .08, .16, .18, .06, .07, .025, .025)       # what a prompt alone can bring (moves, shapes) is learned slowest
PAINTED, MOVED = (.04, .5), (.04, .25)                         # how often colours and vectors are told without a layout, and with one
Stored = np.ndarray | Tensor                                   # as in a shard's files; what is given together lies on one device
NOISY = .8                                                     # and it is decided while there is little but noise


def uniform(g: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=g)


def normalised_depth(inverse: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """inverse depth (B, T, H, W) in 1/m, near and far (B,) in m -> (1/z - 1/far) / (1/near - 1/far) in [0, 1]; background 0."""
    low, high = (1 / far).view(-1, 1, 1, 1), (1 / near).view(-1, 1, 1, 1)
    return ((inverse - low) / (high - low).clamp(min=1e-4)).clamp(0, 1)


def span(inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest and farthest finite depth (B,), metres, of inverse depths (B, T, H, W)."""
    flat = inverse.flatten(1)
    farthest = torch.where(flat > 0, flat, torch.inf).amin(1)
    return 1 / flat.amax(1).clamp(min=1e-3), 1 / farthest.clamp(1e-3, 1e3)


def blurred(x: Tensor) -> Tensor:
    """A 3x3 mean of each frame of (B, C, T, H, W)."""
    return F.avg_pool2d(F.pad(x.flatten(0, 2)[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1).view(x.shape)


def guides(inverse: Stored, normal: Stored, g: torch.Generator, rough: bool = True) -> dict[str, Tensor]:
    """Stored inverse depth (B, T, H, W) and normal (B, T, H, W, 3) as the engine's guides; `rough` varies range and sharpness."""
    iz = torch.as_tensor(inverse).float()
    near, far = span(iz)
    b = len(iz)
    if rough:
        near, far = near * uniform(g, .6, 1.1, b).to(near), far * uniform(g, .6, 1.6, b).to(far)
    depth = normalised_depth(iz, near, torch.maximum(far, near * 1.5))[:, None]
    facing = torch.as_tensor(normal).permute(0, 4, 1, 2, 3).float() / 127
    if rough and torch.rand((), generator=g) < .25:
        depth, facing = blurred(depth), blurred(facing)
    return {"depth": depth, "normal": facing}


def flights(c2w: Stored, lens: Stored, inverse: Stored, g: torch.Generator, rough: bool = True) -> Tensor:
    """`flight.rays` (B, N, WIDTH) of clips: c2w (B, T, 4, 4), lens (B, 4), stored inverse depth (B, T, H, W); `rough` varies what counts as near."""
    c2w, lens, inverse = map(torch.as_tensor, (c2w, lens, inverse))
    near, _ = span(inverse.float())
    near = near * torch.exp(uniform(g, -.4, .4, len(near))).to(near) if rough else near
    _, t, h, w = inverse.shape
    return flight.rays(c2w, lens, near, 1 + (t - 1) // TIME, h // SPACE, w // SPACE)


def mottles(c2w: Stored, lens: Stored, inverse: Stored, ground: Stored) -> Tensor:
    """`mottle.seen` (B, 1, T, H, W) of clips as in `flights`, as strong as in their ground: (B, 3) phase and strength."""
    c2w, lens, inverse, ground = map(torch.as_tensor, (c2w, lens, inverse, ground))
    return (mottle.seen(inverse, c2w, lens, ground[:, :2].to(c2w)) * ground[:, 2].to(c2w).view(-1, 1, 1, 1))[:, None].float()


def albedos(seen: Stored, colours: list[np.ndarray], parts: list[np.ndarray], g: torch.Generator, rough: bool = True) -> Tensor:
    """guides.py's albedo (B, 4, T, H, W) of clips whose paints are as `data.paints` has them; `rough` leaves some things, or all but one, to
    the words, and shifts colours a little."""
    tables = torch.zeros(len(seen), max(map(len, colours)) + 1, 4)             # a clip's paints, its ground and, of which nothing is said, its sky
    for table, colour, part in zip(tables, colours, parts):
        things = int(part.max()) + 1
        said = torch.ones(things + 1)                          # the ground's is the last
        if rough:
            said = (torch.rand(things + 1, generator=g) < (.95, .55, .2)[int(torch.randint(3, (), generator=g))]).float()
            said[:things] = torch.maximum(said[:things], torch.zeros(things).index_fill(0, torch.randint(things, (1,), generator=g), 1.))
        each = torch.cat([torch.from_numpy(colour) ** data.DEVELOPED, said[[*part.tolist(), things]][:, None]], 1)
        if rough:
            each[:, :3] = (each[:, :3] + .015 * torch.randn(len(each), 3, generator=g)).clamp(0, 1)
        each[:, :3] *= each[:, 3:]
        table[:len(each)] = each
    at = torch.as_tensor(seen).long()
    many = torch.tensor(list(map(len, colours)), device=at.device).view(-1, 1, 1, 1)
    at = torch.where(at >= 0, at, torch.where(at == data.GROUND, many - 1, many))
    clip = torch.arange(len(at), device=at.device).view(-1, 1, 1, 1)
    found = tables.to(at.device)[clip, at].permute(0, 4, 1, 2, 3)
    return blurred(found) if rough and torch.rand((), generator=g) < .25 else found


def vectors(stored: Stored, g: torch.Generator, rough: bool = True) -> Tensor:
    """guides.py's vector (B, 2, T, H, W) of stored ones (B, T, H, W, 2)."""
    came = torch.as_tensor(stored).float().permute(0, 4, 1, 2, 3)
    return blurred(came) if rough and torch.rand((), generator=g) < .25 else came


def given(g: torch.Generator, batch: int) -> Tensor:
    """(B, 5): which of depth, normal, camera, albedo and vector each clip is shown."""
    first = torch.tensor(GIVEN, dtype=torch.float)[torch.multinomial(torch.tensor(GIVEN_SHARE), batch, True, generator=g)]
    laid = first[:, :2].amax(1) > 0
    more = [torch.rand(batch, generator=g) < torch.where(laid, along, alone) for alone, along in (PAINTED, MOVED)]
    return torch.cat([first, torch.stack(more, 1).float()], 1)


def region(g: torch.Generator, k: int, h: int, w: int) -> Tensor:
    """(K, h, w) 1 but for a box that is to be made anew, in every frame or from some frame on; or 1 in such a box alone."""
    mask = torch.ones(k, h, w)
    (top, high), (left, wide) = ((int(uniform(g, 0, n - size + 1)), size) for n in (h, w) for size in (max(1, round(n * float(uniform(g, .25, .8)))),))
    mask[int(uniform(g, 0, k / 2)):, top:top + high, left:left + wide] = 0
    return mask if torch.rand((), generator=g) < .7 else 1 - mask


def known_mask(g: torch.Generator, batch: int, k: int, h: int, w: int) -> Tensor:
    """(B, 1, K, h, w): what is known: often nothing, else as windows chain and keyframes pin, or all but a region."""
    mask = torch.zeros(batch, k)
    choice = torch.multinomial(torch.tensor([.54, .16, .10, .05, .05, .04, .06]), batch, True, generator=g)
    for i, c in enumerate(choice.tolist()):
        if c in (1, 2, 3, 4):
            mask[i, :min(k - 1, {1: 1, 2: 2, 3: 1, 4: 3}[c])] = 1
        if c == 3:
            mask[i, -1] = 1
        if c == 5:
            mask[i] = (torch.rand(k, generator=g) < .35).float()
    mask[mask.mean(1) == 1] = 0
    whole = mask.view(batch, 1, k, 1, 1).repeat(1, 1, 1, h, w)
    for i in (choice == 6).nonzero().flatten().tolist():
        whole[i, 0] = region(g, k, h, w)
    return whole


def sigmas(g: torch.Generator, batch: int, shift: float) -> Tensor:
    """(B,) noise levels: logit-normal about NOISY with a tenth uniform (Esser et al. 2024), then shifted towards noise."""
    u = torch.sigmoid(torch.randn(batch, generator=g) + NOISY)
    u = torch.where(torch.rand(batch, generator=g) < .1, torch.rand(batch, generator=g), u)
    return (shift * u / (1 + (shift - 1) * u)).clamp(1e-3, 1)
