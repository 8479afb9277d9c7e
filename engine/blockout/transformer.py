"""The diffusion transformer: every spacetime patch of a clip attends to every other, to the prompt and to a portrait, as in Sora's report.

A token is one latent pixel: 4 frames of 8x8 picture pixels. Guides are embedded patch for patch and added to the tokens;
frames that are known come in clean beside a mask. Any T, H, W on the grid: places are rotary, made for the shape at hand.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sampling.draft import Memory
from . import flight
from .autoencoder import SPACE, TIME
from .guides import GIVEN, SIDE, depth_planes
from .text import TextEncoder


PORTRAIT = 4                                                   # tokens of a picture of the subject: what words would say of it, and what they could not
LOUD = 8.                                                      # few numbers beside many words: small ones are not heard
ALIKE = 24., 40.                                               # frames a second and latent pixels a frame that settings are told against


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    latent: int = 16
    width: int = 192
    depth: int = 8
    heads: int = 3
    mlp: int = 4


def patchify(latent: Tensor) -> Tensor:
    """(B, C, K, h, w) -> tokens (B, K*h*w, C)."""
    return latent.flatten(2).transpose(1, 2)


def unpatchify(tokens: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `patchify` for a latent of `shape`."""
    return tokens.transpose(1, 2).reshape(shape)


def guide_patches(guide: Tensor) -> Tensor:
    """(B, C, 1+4k, H, W) -> (B, N, C*4*8*8): what lies under each token; the first frame fills its group of four."""
    x = torch.cat([guide[:, :, :1].expand(-1, -1, TIME - 1, -1, -1), guide], 2)
    b, c, t, h, w = x.shape
    x = x.view(b, c, t // TIME, TIME, h // SPACE, SPACE, w // SPACE, SPACE).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return x.reshape(b, -1, c * TIME * SPACE * SPACE)


@lru_cache(maxsize=32)
def rotations(half: int, still: int, k: int, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (still + k*h*w, 2*half) of axial rotary places; the first `still` tokens, of text and portrait, do not turn,
    height and width count from the centre."""
    nt = max(2, half // 4)
    nh = (half - nt) // 2
    axes = torch.arange(k).float(), torch.arange(h) - (h - 1) / 2, torch.arange(w) - (w - 1) / 2
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    turn = lambda n: 100. ** (-torch.arange(n) / n)
    angle = torch.cat([grid[:, :1] * turn(nt), grid[:, 1:2] * turn(nh), grid[:, 2:] * turn(half - nt - nh)], -1)
    angle = torch.cat([torch.zeros(still, half), angle])
    return angle.cos().repeat(1, 2), torch.cat([-angle.sin(), angle.sin()], -1)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Su et al. 2021, on halves: x (B, heads, N, 2*half)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the timestep (adaLN of Peebles & Xie 2023, shared across blocks)."""

    def __init__(self, d: int, heads: int, mlp: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, mlp * d, bias=False), nn.Linear(mlp * d, d, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(d // heads), nn.RMSNorm(d // heads)
        self.shift = nn.Parameter(torch.randn(6, d) * .02)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor, time: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        b, n, d = x.shape
        m = (time + self.shift)[:, :, None]                    # (B, 6, 1, D)
        h = torch.addcmul(m[:, 0], F.layer_norm(x, (d,)), 1 + m[:, 1])
        q, k, v = self.qkv(h).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k = (rotated(norm(x.to(norm.weight.dtype)), *turns) for norm, x in ((self.q_norm, q), (self.k_norm, k)))
        y = F.scaled_dot_product_attention(q, k, v)
        x = torch.addcmul(x, 1 + m[:, 2], self.out(y.transpose(1, 2).reshape(b, n, d)))
        h = torch.addcmul(m[:, 3], F.layer_norm(x, (d,)), 1 + m[:, 4])
        return torch.addcmul(x, 1 + m[:, 5], self.down(F.gelu(self.up(h))))


class GuideEmbedding(nn.Module):
    """Patches of depth, normals, albedo and vectors, the camera's rays and the pattern of mottle.py to tokens. Depth is also given as its square
    root, in which far things differ more, and vectors as the inverse hyperbolic sine of their pixels, in which fast ones differ less."""

    def __init__(self, d: int):
        super().__init__()
        patch = TIME * SPACE * SPACE
        self.depth, self.normal = nn.Linear(2 * patch, d), nn.Linear(3 * patch, d)
        self.camera = nn.Linear(flight.WIDTH, d)
        self.mottle, self.albedo = nn.Linear(patch, d, bias=False), nn.Linear(4 * patch, d, bias=False)
        self.vector = nn.Linear(2 * patch, d, bias=False)
        self.mix = nn.Linear(d, d)
        self.given = nn.Linear(len(GIVEN), d)

    def forward(self, guides: dict[str, Tensor], given: Tensor) -> Tensor:
        """guides as in SHOWN, the camera as `flight.rays` (absent ones left out), given (B, 5) of 0 or 1 -> (B, N, D), or (B, 1, D) without guides."""
        x = self.given(given)[:, None]
        h = torch.zeros_like(x)                                # none at all is what training knows as guides that are not given
        if "depth" in guides:
            h = h + self.depth(guide_patches(depth_planes(guides["depth"]) - .3)) * given[:, :1, None]
        if "normal" in guides:
            h = h + self.normal(guide_patches(guides["normal"])) * given[:, 1:2, None]
        if "camera" in guides:
            h = h + self.camera(guides["camera"]) * given[:, 2:3, None]
        if "albedo" in guides:
            h = h + self.albedo(guide_patches(guides["albedo"])) * given[:, 3:4, None]
        if "vector" in guides:
            h = h + self.vector(guide_patches(guides["vector"].asinh())) * given[:, 4:, None]
        if "mottle" in guides:
            h = h + self.mottle(guide_patches(guides["mottle"])) * (given[:, :1] * given[:, 2:3])[..., None]
        return x + h + self.mix(F.gelu(h))


class Transformer(nn.Module):
    """Predicts the clean latent from a noisy one."""

    def __init__(self, config: TransformerConfig = TransformerConfig()):
        super().__init__()
        self.config, d = config, config.width
        self.text = TextEncoder(d)
        self.noisy, self.known = nn.Linear(config.latent, d), nn.Linear(config.latent + 1, d)
        self.guides = GuideEmbedding(d)
        self.time = nn.Sequential(nn.Linear(128, d), nn.SiLU(), nn.Linear(d, d))
        self.measures = nn.Linear(4, d, bias=False)
        self.portrait = nn.Sequential(nn.Linear(config.latent * (SIDE // SPACE) ** 2, 2 * d), nn.GELU(), nn.Linear(2 * d, PORTRAIT * d))
        self.unseen = nn.Parameter(torch.randn(PORTRAIT, d) * .02)
        self.modulation = nn.Linear(d, 6 * d)
        self.blocks = nn.ModuleList(Block(d, config.heads, config.mlp) for _ in range(config.depth))
        self.last, self.out = nn.Linear(d, 2 * d), nn.Linear(d, config.latent)
        for layer in (self.modulation, self.last, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.measures.weight)

    def portrayed(self, latent: Tensor, shown: Tensor) -> Tensor:
        """Latents (B, C, 1, SIDE/8, SIDE/8) of pictures of the subject, and which clips are shown theirs (B,) -> (B, PORTRAIT, D)."""
        return torch.where(shown.view(-1, 1, 1) > 0, self.portrait(latent.flatten(1)).unflatten(1, (PORTRAIT, -1)), self.unseen)

    def forward(self, x: Tensor, sigma: Tensor, text: Tensor, guides: dict[str, Tensor], given: Tensor, known: Tensor, mask: Tensor,
                fps: Tensor | None = None, portrait: Tensor | None = None) -> Tensor:
        """x, known (B, C, K, h, w), sigma (B,) in [0, 1] with 1 = noise, text (B, TOKENS, D), guides at picture resolution,
        given (B, 5), mask (B, 1, K, h, w) with 1 where `known` holds, fps (B,) frames a second, 0 where nobody says, portrait
        (B, PORTRAIT, D) as `portrayed` gives it -> the clean latent (B, C, K, h, w)."""
        fps = x.new_zeros(len(x)) if fps is None else fps
        return self.denoised(x, sigma, text, self.guides(guides, given), known, mask, fps, portrait)

    def measured(self, fps: Tensor, h: int, w: int) -> Tensor:
        """(B, D) of the frames a second (B,) and the size of a clip in latent pixels, as SDXL is told its pictures' (Podell et al. 2023)."""
        said = (fps > 0).to(fps)
        rate = said * torch.log2(torch.where(fps > 0, fps, ALIKE[0]) / ALIKE[0])
        area, aspect = (fps.new_full(fps.shape, math.log2(x)) for x in (h * w / ALIKE[1], w / h))
        return self.measures(torch.stack([said, rate, area, aspect], 1) * LOUD)

    def denoised(self, x: Tensor, sigma: Tensor, text: Tensor, layout: Tensor, known: Tensor, mask: Tensor, fps: Tensor,
                 portrait: Tensor | None = None, cache: Memory | None = None) -> Tensor:
        """As `forward`, with the guides' embedding `layout` (B or 1, N or 1, D), which is the same in every step of a clip. `cache`: a draft's."""
        turn = sigma[:, None] * 1000 * torch.exp(-math.log(1000) * torch.arange(64, device=x.device) / 64)
        c = F.silu(self.time(torch.cat([turn.cos(), turn.sin()], -1)) + text.mean(1) + self.measured(fps, *x.shape[3:]))
        h = self.noisy(patchify(x)) + self.known(patchify(torch.cat([known * mask, mask], 1))) + layout
        told = text if portrait is None else torch.cat([text, portrait], 1)
        h = torch.cat([told, h], 1)
        turns = tuple(t.to(h) for t in rotations(self.config.width // self.config.heads // 2, told.shape[1], *x.shape[2:]))
        time = self.modulation(c).view(len(x), 6, -1)
        through = lambda h, blocks: reduce(lambda h, block: block(h, time, turns), blocks, h)
        h = through(h, self.blocks) if cache is None else cache.through(h, lambda h: through(h, self.blocks[:1]), lambda h: through(h, self.blocks[1:]))
        shift, scale = self.last(c)[:, None].chunk(2, -1)
        h = F.layer_norm(h[:, told.shape[1]:], (h.shape[-1],)) * (1 + scale) + shift
        return unpatchify(self.out(h), x.shape)
