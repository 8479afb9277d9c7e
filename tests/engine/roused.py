"""Modules none of whose weights are zero: layers that start at zero would make every picture grey, and every test pass."""
import torch

from engine.blockout import model
from engine.blockout.autoencoder import AutoencoderConfig
from engine.blockout.transformer import TransformerConfig

TINY = AutoencoderConfig(encoder=(8, 8, 12, 16), decoder=(16, 12, 8, 8), deep=1)


def roused(module: torch.nn.Module, by: float = .1) -> torch.nn.Module:
    """The module itself, for use; torch's seed says what becomes of its zeros."""
    for weights in module.parameters():
        if not weights.any():
            torch.nn.init.normal_(weights, std=by)
    return module.eval().requires_grad_(False)


def small_blockout() -> model.Blockout:
    """A Blockout of random weights that multiplies in float32, so that what is computed by hand is what comes out."""
    torch.manual_seed(0)
    made = roused(model.Blockout(TINY, TransformerConfig(width=48, depth=2, heads=2)))
    made.halves = False
    return made
