"""What takes longer than a click besides shooting: installing the engine and asking its doctor.

Each is a child process that `tick` looks after; a timer calls it, and tests and scripts call it by hand. Panels read
`findings`, `doctor` and `installation`.
"""
from __future__ import annotations

import json
from pathlib import Path

import bpy

from ..engine.errors import REPAIR, EngineBroken, EngineMissing, Remedy, SoraError
from ..engine.protocol import Finding, decode
from . import child, home, install, places, preferences, pump

BEAT = 0.25             # seconds between two looks


class Checkup:
    """A running doctor: `python -m engine doctor --json`."""

    def __init__(self, python: Path):
        command = [str(python), "-X", "utf8", "-m", "engine", "doctor", "--json"]
        env = child.environment(PYTHONPATH=str(places.ROOT), PYTHONSAFEPATH="1", **places.engine_settings())
        try:
            self.asked = child.Asked(command, env=env, cwd=Path.home())
        except OSError as error:
            raise EngineBroken(f"{python} does not start: {error.strerror or error}.", REPAIR) from error

    def findings(self) -> tuple[Finding, ...]:
        """What the doctor found, or one finding that says why it could not look."""
        answer, trouble = self.asked.said()
        try:
            return tuple(decode(fields, Finding) for fields in json.loads(answer))
        except (ValueError, SoraError):
            last = trouble.strip().splitlines()[-1:]
            return (Finding(what="Engine", found=last[0] if last else "It says nothing.", well=False, remedy=REPAIR),)


findings: tuple[Finding, ...] = ()
doctor: Checkup | None = None
installation: install.Install | None = None
step: install.Said | None = None            # what the installation said last
stopped: SoraError | None = None            # why the last one did not come to its end


def examine() -> None:
    """Ask the doctor, unless it is looking already. Raises EngineMissing or EngineBroken."""
    global doctor, findings
    if doctor is None:
        findings, doctor = (), Checkup(places.engine_python())
        _wake()


def install_engine(repair: bool = False) -> None:
    """Make the engine's environment, or take up an interrupted one; `repair` makes it anew. Raises EngineMissing."""
    global installation, step, stopped
    if installation:
        return
    if not bpy.app.online_access:
        raise EngineMissing("Blender may not go online; allow it in the preferences under System, Network, then install.",
                            Remedy(action="allow_online", label="Allow Online Access"))
    backend = preferences.of(bpy.context).backend
    pump.stop()                             # an engine that runs holds its files
    installation = install.Install(places.engine_folder(), places.ROOT, backend="" if backend == "AUTO" else backend.lower(), repair=repair)
    step = stopped = None
    installation.start()
    _wake()


def stop_installing() -> None:
    """Stop soon; what was downloaded is used next time."""
    if installation:
        installation.cancel()


def tick() -> float | None:
    """Looks whether anything is over. Seconds until the next look; None when nothing is left."""
    global doctor, findings
    if doctor and doctor.asked.over:
        findings, doctor = doctor.findings(), None
        home.redraw()
    if installation:
        _hear_installation()
    return BEAT if doctor or installation else None


def _hear_installation() -> None:
    global installation, step, stopped
    for said in installation.poll():
        match said:
            case install.Said():
                step = said
            case install.Finished():
                installation = step = None
                pump.restart()
            case install.Stopped(error=error):
                installation, step, stopped = None, None, error
        home.redraw()


def _wake() -> None:
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=BEAT, persistent=True)


def register():
    """Nothing runs before it is asked for."""


def unregister():
    global doctor, findings, installation, step, stopped
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    if doctor:
        child.kill(doctor.asked.child)
    stop_installing()
    doctor, findings, installation, step, stopped = None, (), None, None, None
