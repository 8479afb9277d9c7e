"""What takes longer than a click besides shooting: installing the engine and asking its doctor.

Each is a child process that `tick` looks after; a timer calls it, and tests and scripts call it by hand. Panels read
`findings`, `doctor` and `installation`.
"""
from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..engine.errors import EngineBroken, Remedy, SoraError
from ..engine.protocol import decode
from . import child, home, places

BEAT = 0.25             # seconds between two looks
REPAIR = Remedy(action="repair_engine", label="Repair Engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's, as `python -m engine doctor --json` writes it."""

    what: str
    found: str
    well: bool
    remedy: Remedy | None = None


class Checkup:
    """A running doctor. Its answer goes to a file, so that nobody waits at a pipe."""

    def __init__(self, python: Path):
        self.answer, self.trouble = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        command = [str(python), "-X", "utf8", "-m", "engine", "doctor", "--json"]
        env = child.environment(PYTHONPATH=str(places.ROOT), PYTHONSAFEPATH="1")
        try:
            self.child = child.start(command, stdin=subprocess.DEVNULL, stdout=self.answer, stderr=self.trouble, env=env, cwd=Path.home())
        except OSError as error:
            raise EngineBroken(f"{python} does not start: {error.strerror or error}.", REPAIR) from error

    @property
    def over(self) -> bool:
        return self.child.poll() is not None

    def findings(self) -> tuple[Finding, ...]:
        """What the doctor found, or one finding that says why it could not look."""
        self.answer.seek(0)
        try:
            return tuple(decode(fields, Finding) for fields in json.loads(self.answer.read().decode("utf-8", "replace")))
        except (ValueError, SoraError):
            self.trouble.seek(0)
            last = self.trouble.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            return (Finding(what="Engine", found=last[0] if last else "It says nothing.", well=False, remedy=REPAIR),)


findings: tuple[Finding, ...] = ()
doctor: Checkup | None = None


def examine() -> None:
    """Ask the doctor, unless it is looking already. Raises EngineMissing or EngineBroken."""
    global doctor, findings
    if doctor is None:
        findings, doctor = (), Checkup(places.engine_python())
        _wake()


def tick() -> float | None:
    """Looks whether anything is over. Seconds until the next look; None when nothing is left."""
    global doctor, findings
    if doctor and doctor.over:
        findings, doctor = doctor.findings(), None
        home.redraw()
    return BEAT if doctor else None


def _wake() -> None:
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=BEAT, persistent=True)


def register():
    """Nothing runs before it is asked for."""


def unregister():
    global doctor, findings
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    if doctor:
        child.kill(doctor.child)
    doctor, findings = None, ()
