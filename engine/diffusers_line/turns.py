"""Memory plans for families that run diffusers' own pipelines: these call their components themselves, so each comes when it is called."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from accelerate.utils import send_to_device

from .placing import Placing


class Turns(Placing):
    """As Placing; a component that is called comes to the device, and the one that was there leaves it."""

    def __init__(self, parts: dict[str, Any], device: torch.device):
        super().__init__(parts, device)
        self._there: torch.nn.Module | None = None

    def apply(self, plan: str) -> None:
        if plan == self.plan or self.lasting:
            return
        for part in self._parts.values():
            remove_hook_from_module(part)
        self._there = None
        super().apply(plan)
        for name, part in self._parts.items():
            if plan == "blocks" and name in self._dtypes or name in self.layered:
                part.register_forward_pre_hook(lambda *_: self.enter(None))     # its blocks or layers come and go by themselves
            elif plan != "full":
                add_hook_to_module(part, _Turn(self))

    def enter(self, part: torch.nn.Module | None) -> None:
        """`part` is on the device, alone."""
        if self._there is part:
            return
        if self._there is not None:
            self._there.to("cpu")
        self._there = part
        if part is not None:
            part.to(self.device)

    def bring(self, transformer: str) -> None:
        """It comes when it is called."""

    def rest(self) -> None:
        self.enter(None)

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[None]:
        if self.plan not in ("", "full"):
            self.enter(None if name in self.layered else self._parts[name])
        yield


class _Turn(ModelHook):
    """Stands before a component's `forward`, and before an autoencoder's `encode` and `decode`; pipelines ask it for their device."""

    def __init__(self, turns: Turns):
        self.execution_device, self._turns = turns.device, turns

    def pre_forward(self, module: torch.nn.Module, *arguments, **named):
        self._turns.enter(module)
        return send_to_device(arguments, self.execution_device), send_to_device(named, self.execution_device)
