"""Runs inside Blender for the demo: builds or opens the scene, presses Generate, waits, and saves `shot.blend`.

Says what happens on stdout, one line of JSON behind an `@` each: {"stage", "step", "steps", "note"} while it goes on,
and at the end {"take", "seconds", "notes"} or {"failed"}.
"""
from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import bpy

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
import street  # noqa: E402
from conftest import as_package  # noqa: E402

LANDINGS = ("land_strip", "land_compositor", "land_camera", "land_backdrop")


def say(**word) -> None:
    print("@" + json.dumps(word), flush=True)


def scene_of(wish: dict):
    """The street, or the scene of the given file. Saved at once in the output folder: takes go beside it."""
    if wish["blend"]:
        bpy.ops.wm.open_mainfile(filepath=wish["blend"])
    else:
        street.build(bpy.context.scene)
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(wish["out"]) / "shot.blend"), relative_remap=True)
    return bpy.context.scene


def ask(scene, wish: dict) -> None:
    """Fills in the panel."""
    settings = scene.sora
    settings.prompt, settings.negative = wish["prompt"], wish["negative"]
    settings.model_name, settings.seed, settings.lock_seed = wish["model"], wish["seed"], True
    settings.guide_depth = settings.guide_normal = True
    for landing in LANDINGS:
        setattr(settings, landing, True)
    settings.film = True                            # so that the plate shows behind the scene when it is rendered
    if wish["size"]:
        settings.size_source = "CUSTOM"
        settings.size_width, settings.size_height = (int(side) for side in wish["size"].split("x"))


def shoot(scene, pump, slate) -> tuple:
    """Presses Generate and beats the pump until the take has landed. Returns the slate's entry and the seconds of the guides."""
    known = {entry.shot.id for entry in pump.slate.entries}
    try:
        bpy.ops.sora.generate()
    except RuntimeError as refused:                 # an operator's report of an error, raised because this is a script
        return str(refused).removeprefix("Error: ").strip(), 0.0
    shot = next(entry.shot.id for entry in pump.slate.entries if entry.shot.id not in known)
    began, guides, heard = time.monotonic(), 0.0, None
    while True:
        pause = pump.tick()
        status = pump.slate.find(shot).status
        if not isinstance(status, (slate.Queued, slate.Rolling)):
            pump.run_until_idle()
            return pump.slate.find(shot), guides
        if isinstance(status, slate.Rolling) and heard != (status.stage, status.step):
            heard = (status.stage, status.step)
            guides = time.monotonic() - began if status.stage == "guides" and not status.note else guides
            say(stage=status.stage, step=status.step, steps=status.steps, note=status.note)
        time.sleep(min(pause or 0.0, 0.05))


def main(wish: dict) -> None:
    package = as_package()
    package.register()
    from sora.engine import protocol
    from sora.sora_addon import pump, slate
    began = time.monotonic()
    scene = scene_of(wish)
    ask(scene, wish)
    seconds = {"open or build the scene": time.monotonic() - began}
    entry, seconds["guides"] = shoot(scene, pump, slate)
    if not isinstance(getattr(entry, "status", None), slate.Printed):
        say(failed=entry if isinstance(entry, str) else getattr(entry.status, "sentence", str(entry.status)))
        return
    take, began = protocol.read_take(entry.status.take), time.monotonic()
    seconds |= take.seconds
    seconds["land"] = pump.longest_landing
    bpy.ops.wm.save_mainfile()
    seconds["save the scene"] = time.monotonic() - began
    say(take=entry.status.take, seconds=seconds, notes=list(entry.status.notes))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    sys.stdout.flush()
    from sora.sora_addon import pump as running
    running.stop(wait=True)
    os._exit(0)                                     # Blender 4.5 can hang while it cleans up
