"""Modules none of whose weights are zero: layers that start at zero would make every picture grey, and every test pass."""
import torch


def roused(module: torch.nn.Module, by: float = .1) -> torch.nn.Module:
    """The module itself, for use; torch's seed says what becomes of its zeros."""
    for weights in module.parameters():
        if not weights.any():
            torch.nn.init.normal_(weights, std=by)
    return module.eval().requires_grad_(False)
