"""How weights are moved: Muon for matrices, AdamW for the rest, and an exponential moving average of both."""
from __future__ import annotations

import copy

import torch
import torch.distributed as dist
from torch import Tensor, nn


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix to g, roughly: quintic Newton-Schulz iteration of Jordan et al. 2024 (Muon)."""
    x = g / (g.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised. `parts` cuts a stacked matrix (such as q, k, v) into that many to treat each alone.

    Processes that train together turn every n-th matrix each and add up what they found: it is a fifth of a step's work on a CPU.
    """

    def __init__(self, params, lr: float = .02, momentum: float = .95):
        super().__init__(params, {"lr": lr, "momentum": momentum, "parts": 1})

    @torch.no_grad()
    def step(self, closure=None):
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        moved = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        turned = [self._turned(p, group, ours=i % world == rank) for i, (p, group) in enumerate(moved)]
        if world > 1:
            flat = torch.cat([u.flatten() for u in turned])
            dist.all_reduce(flat)
            turned = flat.split([u.numel() for u in turned])
        for (p, group), update in zip(moved, turned):
            p.add_(update.view_as(p), alpha=-group["lr"])

    def _turned(self, p: Tensor, group: dict, ours: bool) -> Tensor:
        """The update of one matrix, or zeros where it is another process's turn; everybody keeps the momentum."""
        state = self.state[p]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(p)
        velocity = state["velocity"].lerp_(p.grad, 1 - group["momentum"])
        if not ours:
            return torch.zeros_like(p)
        update = p.grad.lerp(velocity, group["momentum"]).flatten(1)
        return torch.cat([orthogonal(u) * max(1, u.shape[0] / u.shape[1]) ** .5 for u in update.chunk(group["parts"])])


class Average:
    """An exponential moving average of a model; its horizon grows to `horizon` steps."""

    def __init__(self, model: nn.Module, horizon: int = 500):
        self.model, self.horizon = copy.deepcopy(model).eval().requires_grad_(False), horizon

    @torch.no_grad()
    def follow(self, model: nn.Module, step: int) -> None:
        share = max(1 / self.horizon, 1 / (step / 10 + 2))
        ours, theirs = list(self.model.parameters()), list(model.parameters())
        torch._foreach_lerp_(ours, theirs, share)


def rates(progress: float, step: int, warm: int = 50, hold: float = .5, last: float = .03) -> float:
    """Factor on the learning rate: a short rise, a plateau, then down to `last` at progress 1."""
    return min(1., (step + 1) / warm) * (1 - max(0., progress - hold) / max(1 - hold, 1e-9) * (1 - last))
