"""How fast a model's transformers are run: by which kernel they attend, and whether their blocks are compiled. Settled before each window."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import attention
from .attention import NATIVE, Choice, Shape
from .compiled import Compiled

if TYPE_CHECKING:
    from ..device import Device
    from ..families import Window

FIXED = f"Attention as PyTorch computes it, whatever {attention.CHOICE} asks for: this family's transformer has no choice of kernels"


class Tuning:
    """Of transformers alike; what attends are modules of diffusers whose kernel can be chosen, whole transformers or layers of them."""

    def __init__(self, place: Device, transformers: list[Any], attending: list[Any], kinds: tuple[str, ...] = ()):
        """`kinds`: classes of the blocks that are compiled, where diffusers' own class does not name them."""
        self._place, self._config, self._attending = place, transformers[0].config, attending
        self._choice, self.compiled = Choice(NATIVE, {}), Compiled(transformers, kinds)
        self._fixed = ""

    def ask(self, window: Window, plan: str, tokens: int) -> None:
        """Goes over to the kernel that is best for so many tokens, and compiles where the shot asks for it. Raises ModelError."""
        self.compiled.ask(window.compiled, plan, window.draft is not None)
        if not self._attending:
            self._fixed = FIXED if os.environ.get(attention.CHOICE, "").strip() else ""
            return
        shape = Shape(tokens, self._config.num_attention_heads, self._config.attention_head_dim, self._place.dtype)
        before, self._choice = self._choice.name, attention.choose(self._place, shape)
        if self._choice.name != before:
            attention.put(self._attending, self._choice.name)

    def remarks(self) -> tuple[str, ...]:
        """What was chosen for the window before, for the take."""
        return tuple(filter(None, (self._choice.note(), self._fixed, self.compiled.note())))
