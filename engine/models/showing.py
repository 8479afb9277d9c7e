"""Progress of a download or check: a bar on a terminal, a line now and then elsewhere, JSON lines for a program."""
from __future__ import annotations

import dataclasses
import json
import sys
import time

EVERY = 0.2         # seconds between two JSON lines or redraws
SELDOM = 10.0       # seconds between two plain lines


class Shown:
    """Called with each step. A context manager, so that the bar is taken away."""

    def __init__(self, as_json: bool):
        self._json, self._bar, self._task, self._next = as_json, None, None, 0.0

    def __enter__(self) -> "Shown":
        if not self._json and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

            self._bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
                                 console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, step) -> None:
        """Shows a step: a dict as it is, a Progress not too often."""
        if isinstance(step, dict):
            self._say(step)
        elif self._bar:
            self._task = self._bar.add_task(step.model, total=step.total) if self._task is None else self._task
            self._bar.update(self._task, completed=step.done, description=step.file or step.model)
        elif time.monotonic() >= self._next or step.done == step.total:
            self._next = time.monotonic() + (EVERY if self._json else SELDOM)
            self._say({"type": "Progress", **dataclasses.asdict(step)})

    def _say(self, facts: dict) -> None:
        if self._json:
            sys.stdout.write(json.dumps(facts) + "\n")
            sys.stdout.flush()
        elif facts["type"] == "Plan":
            sys.stderr.write(f"{facts['model']}: {facts['repository']} at {facts['revision'][:12]}, {facts['size'] / 1e9:.2f} GB, "
                             f"{facts['missing'] / 1e9:.2f} GB to come, {facts['free'] / 1e9:.1f} GB free; licence {facts['licence']}\n")
        elif facts["total"]:
            sys.stderr.write(f"{facts['model']}: {100 * facts['done'] // facts['total']}%  {facts['file']}\n")
