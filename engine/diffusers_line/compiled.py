"""Transformers whose repeated blocks are compiled, where a person asks for it; what cannot be compiled runs as it is, and the take says so.

One block is compiled for all of its kind (PyTorch's recipe of regional compilation), and what came of it is kept on disk, so that the next
engine need not compile again.
"""
from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from typing import Any

from . import remembered

log = logging.getLogger(__name__)

FOLDER = "TORCHINDUCTOR_CACHE_DIR"          # environment: where torch keeps what it compiled
HINDRANCES = {"fp8": "this memory plan widens each layer by itself", "blocks": "this memory plan brings the model block by block"}
DRAFTED = "a draft decides from block to block"


class Compiled:
    """Whether the blocks of these transformers are compiled, and why not."""

    def __init__(self, transformers: list[Any], kinds: tuple[str, ...] = ()):
        """`kinds`: classes of the blocks, where diffusers' class of the transformer does not name them."""
        self._blocks = [module for transformer in transformers for module in transformer.modules()
                        if type(module).__name__ in (kinds or transformer._repeated_blocks)]
        self.on, self._failed, self._note = False, "", ""

    def ask(self, wanted: bool, plan: str, draft: bool) -> None:
        """Compiles at the next pass, or goes back to how the blocks were. A plan or a draft that goes into the blocks keeps them as they are."""
        hindrance = HINDRANCES.get(plan) or (DRAFTED if draft else "") or self._failed
        self._note = f"Not compiled: {hindrance}" if wanted and hindrance else ""
        if self.on == (wanted and not hindrance):
            return
        if self.on:
            self._undo()
            return
        folder = remembered.default_folder("compiled")
        if folder is not None:
            os.environ.setdefault(FOLDER, str(folder))
        try:
            for block in self._blocks:
                block.compile()
                block._compiled_call_impl = self._or_plainly(block._compiled_call_impl, block._call_impl)
        except OSError as error:                        # already now torch makes its cache's folder
            self._give_up(error)
            return
        self.on = True

    def note(self) -> str:
        """For the take; "" where nobody asked."""
        return self._note or ("Compiled: the blocks of the transformer, within rounding of how they are" if self.on else "")

    def _or_plainly(self, quick: Callable, plain: Callable) -> Callable:
        """`quick`, or `plain` where it cannot be compiled: no compiler, or one that fails, which it does before anything is computed."""
        def call(*arguments, **named):
            from torch._dynamo.exc import TorchDynamoException
            try:
                return quick(*arguments, **named) if self.on else plain(*arguments, **named)
            except (TorchDynamoException, OSError) as error:        # the latter where its cache cannot be written any more
                self._give_up(error)
                return plain(*arguments, **named)
        return call

    def _give_up(self, error: BaseException) -> None:
        self._failed = _why(error)
        log.warning("not compiled: %s", self._failed)
        forget()                # a compiler that was killed leaves half a file, which would fail for ever
        self._undo()
        self._note = f"Not compiled: {self._failed}"

    def _undo(self) -> None:
        """As the blocks were."""
        for block in self._blocks:
            block._compiled_call_impl = None
        self.on = False


def forget() -> None:
    """Deletes what was kept on disk, so that the next one compiles afresh."""
    folder = remembered.default_folder("compiled")
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _why(error: BaseException) -> str:
    """The first line of what the compiler said last."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return f"{said[:160].rstrip('.')}"
