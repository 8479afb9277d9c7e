"""Transformers whose repeated blocks are compiled, where a person asks for it; what cannot be compiled runs as it is, and the take says so.

One block is compiled for all of its kind (PyTorch's recipe of regional compilation), and what came of it is kept on disk, so that the next
engine need not compile again.
"""
from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

from . import remembered

log = logging.getLogger(__name__)

FOLDER = "TORCHINDUCTOR_CACHE_DIR"          # environment: where torch keeps what it compiled
HINDRANCES = {"fp8": "this memory plan widens each layer by itself", "blocks": "this memory plan brings the model block by block"}
DRAFTED = "a draft decides from block to block"
Given = TypeVar("Given")


class Compiled:
    """Whether the blocks of these transformers are compiled, and why not."""

    def __init__(self, transformers: list[Any]):
        self._transformers, self.on, self._failed, self._note = transformers, False, "", ""

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
        for transformer in self._transformers:
            transformer.compile_repeated_blocks()
        self.on = True

    def attempt(self, run: Callable[[], Given]) -> Given:
        """`run()`, without compiled blocks where they cannot be compiled: no compiler, or one that fails."""
        if not self.on:
            return run()
        from torch._dynamo.exc import TorchDynamoException
        try:
            return run()
        except TorchDynamoException as error:
            self._failed = _why(error)
        log.warning("not compiled: %s", self._failed)
        forget()                # a compiler that was killed leaves half a file, which would fail for ever
        self._undo()
        self._note = f"Not compiled: {self._failed}"
        return run()

    def note(self) -> str:
        """For the take; "" where nobody asked."""
        return self._note or ("Compiled: the blocks of the transformer, within rounding of how they are" if self.on else "")

    def _undo(self) -> None:
        """As the blocks were."""
        for transformer in self._transformers:
            for module in transformer.modules():
                module._compiled_call_impl = None
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
