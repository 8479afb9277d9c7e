"""What every stage of training shares: processes that average their gradients, a card instead of them, checkpoints that resume, a clock.

Chance is drawn on the CPU, by one generator, so that a seed means the same on every device; what was drawn goes `onto` the model's.
Checkpoints hold the CPU's tensors: a training that began on a card goes on without one, and the other way round.
"""
from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .. import device
from ..device import Device
from .optimise import Average, rates

log = logging.getLogger(__name__)

ON_A_CARD = 8                                                  # times what a process on the CPU sees in a step: a card would wait for so little


def where(model: nn.Module) -> torch.device:
    """The device that a model's weights lie on."""
    return next(model.parameters()).device


def onto(found, place: torch.device | str):
    """The same on another device: tensors, and tuples, lists, dictionaries and dataclasses of them. What is none of these stays as it is.

    To CUDA from pinned memory, so that the copy runs beside what is computed.
    """
    place = torch.device(place)
    if torch.is_tensor(found):
        pinned = place.type == "cuda" and found.device.type == "cpu" and torch.cuda.is_available()
        return (found.pin_memory() if pinned else found).to(place, non_blocking=pinned)
    if isinstance(found, dict):
        return {name: onto(x, place) for name, x in found.items()}
    if isinstance(found, (tuple, list)):
        return type(found)(onto(x, place) for x in found)
    if is_dataclass(found):
        return replace(found, **{f.name: onto(getattr(found, f.name), place) for f in fields(found)})
    return found


def halves(place: Device) -> bool:
    """Whether a device computes products of bfloat16, where others would emulate them."""
    return device.half_products() if place.name == "cpu" else place.decoding == "bfloat16"


class Run:
    """One stage: optimisers, moving average, minutes spent, checkpoint. Every process of the stage has one."""

    def __init__(self, name: str, folder: Path, model: nn.Module, optimisers: list, minutes: float, horizon: int = 500, seed: int = 0,
                 warm: int = 50, hold: float = .5, place: Device | None = None, tokens: int = 0):
        """The model lies on `place`, the CPU unless said. tokens: latent pixels that a process sees in a step, the stage's own number where 0."""
        place = place or device.processor()
        self.warm, self.hold = warm, hold                      # steps until the full rate, and the share of the time at it
        self.name, self.folder, self.model, self.optimisers, self.minutes = name, folder, model, optimisers, minutes
        self.average, self.step, self.spent, self.base = Average(model, horizon), 0, 0.0, [[g["lr"] for g in o.param_groups] for o in optimisers]
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.random = torch.Generator().manual_seed(seed * 1000 + self.rank)
        self.losses: deque[Tensor] = deque(maxlen=100)
        self.halved = torch.autocast(place.name.partition(":")[0], torch.bfloat16) if halves(place) else contextlib.nullcontext()
        self.times, self._tokens = 1 if place.name == "cpu" else ON_A_CARD, tokens
        folder.mkdir(parents=True, exist_ok=True)
        if self.rank == 0:
            log.info("%s trains on %s, in %s", name, place.label, "bfloat16 and float32" if halves(place) else "float32")

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.pt"

    @property
    def progress(self) -> float:
        return self.spent / (60 * self.minutes)

    def tokens(self, usual: int) -> int:
        """Latent pixels that this process sees in a step: what was asked for, or `usual`, on a card so many times."""
        return self._tokens or usual * self.times

    def resume(self) -> None:
        if not self.path.exists():
            return
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        for o, s in zip(self.optimisers, state["optimisers"]):
            o.load_state_dict(s)
        self.step, self.spent = state["step"], state["spent"]
        self.random.manual_seed(self.step * 1000 + self.rank)
        log.info("%s resumes at step %d, %.1f min", self.name, self.step, self.spent / 60)

    def save(self) -> None:
        if self.rank:
            return
        state = {"model": self.model.state_dict(), "average": self.average.model.state_dict(), "step": self.step, "spent": self.spent,
                 "optimisers": [o.state_dict() for o in self.optimisers]}
        torch.save(onto(state, "cpu"), self.path.with_suffix(".part"))
        os.replace(self.path.with_suffix(".part"), self.path)

    def _agree(self, loss: Tensor, seconds: float) -> tuple[Tensor, float]:
        """Averages gradients, loss and seconds over all processes."""
        if self.world == 1:
            return loss, seconds                               # to read the loss would have a card's queue run empty in every step
        params = list(self.model.parameters())
        met = torch.tensor([p.grad is not None for p in params], dtype=torch.uint8)
        dist.all_reduce(met, dist.ReduceOp.MAX)                # a clip may have met weights here that none did there
        params = [p for p, some in zip(params, met) if some]
        for p in params:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        flat = torch.cat([*(p.grad.flatten() for p in params), torch.tensor([loss.item(), seconds])])
        dist.all_reduce(flat)
        flat /= self.world
        at = 0
        for p in params:
            p.grad.copy_(flat[at:at + p.numel()].view_as(p))
            at += p.numel()
        return flat[-2].clone(), flat[-1].item()               # not a view, which would keep all of it

    def train(self, loss_of: Callable[[nn.Module, torch.Generator], Tensor], judge: Callable[[nn.Module], dict] | None = None,
              every: int = 100, save_every: float = 120.0) -> None:
        """Steps until the minutes are spent. `judge` measures the moving average; its numbers go to the log and to <name>.jsonl."""
        began, spent, saved = time.monotonic(), self.spent, time.monotonic()
        while self.spent < 60 * self.minutes:
            self.spent = spent + self.advance(loss_of, began)
            if self.step % every == 0 and not self.rank:
                self.report(judge)
            if self.rank == 0 and time.monotonic() - saved > save_every:
                self.save()
                saved = time.monotonic()
        self.save()
        if not self.rank:
            self.report(judge)

    def advance(self, loss_of: Callable[[nn.Module, torch.Generator], Tensor], began: float) -> float:
        """One step: every process's loss, gradients and weights; the seconds since `began`, of the processes' clocks on average."""
        factor = rates(self.progress, self.step, self.warm, self.hold)
        for o, base in zip(self.optimisers, self.base):
            for group, lr in zip(o.param_groups, base):
                group["lr"] = lr * factor
            o.zero_grad(set_to_none=True)
        with self.halved:
            loss = loss_of(self.model, self.random)
        loss.backward()
        value, seconds = self._agree(loss.detach(), time.monotonic() - began)
        torch.nn.utils.clip_grad_norm_(self.optimisers[-1].param_groups[0]["params"], 1.)
        with self.halved:                                      # Muon turns matrices, for which half precision is enough (Jordan et al. 2024)
            for o in self.optimisers:
                o.step()
        self.step += 1
        self.average.follow(self.model, self.step)
        self.losses.append(value)
        return seconds

    def report(self, judge) -> None:
        loss = float(sum(self.losses)) / max(1, len(self.losses))
        line = {"step": self.step, "minutes": round(self.spent / 60, 2), "loss": round(loss, 5)}
        if judge is not None:
            with torch.no_grad():
                line |= {k: round(float(v), 4) for k, v in judge(self.average.model).items()}
        log.info("%s %s", self.name, line)
        with open(self.folder / f"{self.name}.jsonl", "a") as f:
            f.write(json.dumps(line) + "\n")


def _process(rank: int, world: int, meeting: str, stage: Callable, arguments: tuple) -> None:
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    try:
        stage(*arguments)
    finally:
        dist.destroy_process_group()


def side_by_side(processes: int, folder: Path, stage: Callable, *arguments) -> None:
    """Runs stage(*arguments) in processes of one thread each: two beat one with two threads, above all on a busy machine. On a card one is enough."""
    if processes == 1:
        return stage(*arguments)
    folder.mkdir(parents=True, exist_ok=True)
    meeting = folder.resolve() / f".meeting-{os.getpid()}-{time.time_ns()}"
    torch.multiprocessing.spawn(_process, (processes, str(meeting), stage, arguments), nprocs=processes)
    meeting.unlink(missing_ok=True)
