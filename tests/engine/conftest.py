"""A model folder with random weights, shots for it, and an engine process to speak with. Nothing is patched."""
from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import select                                   # noqa: E402
import subprocess                               # noqa: E402
import sys                                      # noqa: E402
import time                                     # noqa: E402
from pathlib import Path                        # noqa: E402

import pytest                                   # noqa: E402

from engine import protocol                     # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120          # seconds; generous, because machines that run tests are busy


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A model folder made by the same code that saves real weights."""
    import torch

    from engine.blockout import model
    from engine.blockout.autoencoder import AutoencoderConfig
    from engine.blockout.transformer import TransformerConfig
    from tests.engine.roused import roused
    torch.manual_seed(0)
    made = model.Blockout(AutoencoderConfig(encoder=(4, 4, 8, 8), decoder=(8, 8, 8, 8), deep=1), TransformerConfig(width=48, depth=1, heads=1))
    folder = tmp_path_factory.mktemp("model")
    model.save(roused(made), folder)
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    """Where the open families' tiny checkpoints are made, each at its first use; nobody writes to one that is there."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture
def a_shot(tiny_model, tmp_path):
    """shot(id, **fields) -> a small protocol.Shot into its own folder."""
    def shot(name: str = "take", **fields) -> protocol.Shot:
        known = {"id": name, "family": "blockout", "prompt": "a red car at noon", "seed": 7, "size": protocol.Size(96, 64), "frames": 5, "fps": 24.0,
                 "out": str(tmp_path / name), "model": str(tiny_model), "steps": 2}
        return protocol.Shot(**{**known, **fields})
    return shot


class Engine:
    """`python -m engine serve`, spoken to over its own pipes."""

    def __init__(self, **environment: str):
        self.child = subprocess.Popen([sys.executable, "-X", "utf8", "-m", "engine", "serve"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      env={**os.environ, "OMP_NUM_THREADS": "1", **environment})
        self._held = b""

    def say(self, request) -> None:
        self.raw(protocol.write(request).encode())

    def raw(self, text: bytes) -> None:
        self.child.stdin.write(text)
        self.child.stdin.flush()

    def hear(self):
        """The next event; None when the engine has closed the wire."""
        until = time.monotonic() + PATIENCE
        while b"\n" not in self._held:
            readable, _, _ = select.select([self.child.stdout], [], [], max(0, until - time.monotonic()))
            assert readable, "the engine says nothing"
            block = os.read(self.child.stdout.fileno(), 1 << 16)
            if not block:
                return None
            self._held += block
        line, _, self._held = self._held.partition(b"\n")
        return protocol.read(line.decode(), protocol.EVENTS)

    def until(self, wanted) -> list:
        """Events up to the first of which `wanted` is true."""
        events = []
        while True:
            event = self.hear()
            assert event is not None, f"the engine left; it had said {events[-3:]}"
            events.append(event)
            if wanted(event):
                return events

    def ending(self, shot: str):
        return self.until(lambda event: isinstance(event, protocol.ENDINGS) and event.shot == shot)[-1]

    def stage(self, shot: str, stage: str):
        return self.until(lambda event: isinstance(event, protocol.ENDINGS + (protocol.Progress,)) and event.shot == shot
                          and (isinstance(event, protocol.ENDINGS) or event.stage == stage))[-1]

    def rest(self) -> list:
        """Everything until the wire closes."""
        events = []
        while (event := self.hear()) is not None:
            events.append(event)
        return events


@pytest.fixture
def engines():
    """start(**environment) -> Engine; all of them are ended with the test."""
    started = []

    def start(**environment: str) -> Engine:
        started.append(Engine(**environment))
        return started[-1]

    yield start
    for one in started:
        one.child.kill()
        one.child.wait()
        one.child.stdin.close()
        one.child.stdout.close()


@pytest.fixture
def engine_cli():
    """run(*arguments) -> the finished `python -m engine ...`, with text output."""
    def run(*arguments, **options) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-X", "utf8", "-m", "engine", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
                              timeout=PATIENCE, env={**os.environ, "OMP_NUM_THREADS": "1"}, **options)
    return run


def events(text: str) -> list:
    """Lines of a wire as events."""
    return [protocol.read(line, protocol.EVENTS) for line in text.splitlines() if line]


