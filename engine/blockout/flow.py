"""The flow-matching loss of the transformer: a clean clip is noised as rectified flow has it, partly known, partly guided, and asked for again."""
from __future__ import annotations

import torch
from torch import Tensor

from . import conditions
from .model import SHIFT
from .transformer import Transformer


def loss(model: Transformer, x0: Tensor, guides: dict[str, Tensor], ids: Tensor, g: torch.Generator, there: Tensor | float = 1.,
         fps: Tensor | None = None, portraits: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Mean squared error of clean latents x0 (B, C, K, h, w), weighted by noise. guides as in guides.py for all of the batch;
    there (B, 5): which of guides.GIVEN each clip has at all. ids (B, TOKENS) as `text.batch` gives them. fps (B,), 0 where nobody says;
    portraits: latents and which clips are shown theirs, as `Transformer.portrayed` takes them. All on the model's device; g is the CPU's."""
    b, _, k, h, w = x0.shape
    sigma, given, mask = (x.to(x0) for x in (conditions.sigmas(g, b, SHIFT), conditions.given(g, b), conditions.known_mask(g, b, k, h, w)))
    given = given * there
    known = x0 + (torch.randn(x0.shape, generator=g) * .12 * torch.rand(b, 1, 1, 1, 1, generator=g)).to(x0)      # as if it had been generated
    dropped = (torch.rand(b, generator=g) < .1).to(x0.device)
    words = model.text(ids, dropped)
    s = sigma.view(-1, 1, 1, 1, 1)
    x = (1 - s) * x0 + s * torch.randn(x0.shape, generator=g).to(x0)
    portrait = None
    if portraits is not None:                                  # what guidance goes away from has neither words nor portrait
        latents, shown = portraits
        portrait = model.portrayed(latents, shown * ~(dropped & (torch.rand(b, generator=g) < .5).to(x0.device)))
    error = (model(x, sigma, words, guides, given, known, mask, fps, portrait) - x0).square() * (1 - mask)
    each = error.flatten(1).sum(1) / ((1 - mask).flatten(1).sum(1) * x0.shape[1])
    return (each / sigma.clamp(min=.25).square()).mean()
