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


def sides(size: str) -> list[int]:
    """`832x480` as numbers."""
    return [int(side) for side in size.split("x")]


def scene_of(wish: dict):
    """The street, or the scene of the given file. Saved at once in the output folder: takes go beside it."""
    if wish["blend"]:
        bpy.ops.wm.open_mainfile(filepath=wish["blend"])
    else:
        street.build(bpy.context.scene)
        if wish["size"]:
            bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = sides(wish["size"])
    bpy.context.preferences.filepaths.save_version = 0          # no shot.blend1 beside it
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(wish["out"]) / "shot.blend"), relative_remap=True)
    return bpy.context.scene


def ask(scene, wish: dict) -> None:
    """Fills in the panel."""
    settings = scene.sora
    settings.prompt, settings.negative = wish["prompt"], wish["negative"]
    settings.model_name, settings.seed, settings.lock_seed = wish["model"], wish["seed"], True
    settings.guide_depth = settings.guide_normal = settings.guide_albedo = True
    for landing in LANDINGS:
        setattr(settings, landing, True)
    settings.film = True                            # so that the plate shows behind the scene when it is rendered
    if wish["size"] and wish["blend"]:
        settings.size_source = "CUSTOM"
        settings.size_width, settings.size_height = sides(wish["size"])


def shoot(pump, slate) -> tuple:
    """Presses Generate and beats the pump until the take has landed. Returns how it ended and the seconds on this side."""
    known = {entry.shot.id for entry in pump.slate.entries}
    try:
        bpy.ops.sora.generate()
    except RuntimeError as refused:                 # an operator's report of an error, raised because this is a script
        return slate.Failed(code="refused", sentence=str(refused).removeprefix("Error: ").strip()), {}
    shot = next(entry.shot.id for entry in pump.slate.entries if entry.shot.id not in known)
    seconds, heard, began = {"guides": 0.0, "waiting": 0.0}, None, time.monotonic()
    while True:
        pause, status = pump.tick(), pump.slate.find(shot).status
        if not isinstance(status, (slate.Queued, slate.Rolling)):
            pump.run_until_idle()
            return pump.slate.find(shot).status, {"render the guides": seconds["guides"], "start the engine": seconds["waiting"]}
        now = (status.stage, status.step, status.steps, status.note) if isinstance(status, slate.Rolling) else None
        if now and now != heard:
            heard = now
            say(stage=now[0], step=now[1], steps=now[2], note=now[3])
        if now and now[0] in seconds and not ("guides" in now[0] and seconds["waiting"]):       # the engine reads guides later on
            seconds[now[0]], began = seconds[now[0]] + time.monotonic() - began, time.monotonic()
        else:
            began = time.monotonic()
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
    status, here = shoot(pump, slate)
    if not isinstance(status, slate.Printed):
        say(failed=getattr(status, "sentence", f"The shot ended as {type(status).__name__}."))
        return
    began = time.monotonic()
    for backdrops in (c for c in bpy.data.collections if c.name.startswith("Sora Backdrops")):
        backdrops.hide_render = True                # seen in the viewport; a render has the plate in its compositor already
    bpy.ops.wm.save_mainfile()
    engine = protocol.read_take(status.take).seconds
    seconds |= here | {"read the guides" if stage == "guides" else stage: spent for stage, spent in engine.items() if stage != "total"}
    seconds |= {"land": pump.longest_landing, "save the scene": time.monotonic() - began}
    say(take=status.take, seconds=seconds, notes=list(status.notes))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    sys.stdout.flush()
    from sora.sora_addon import pump as running
    running.stop(wait=True)
    os._exit(0)                                     # Blender 4.5 can hang while it cleans up
