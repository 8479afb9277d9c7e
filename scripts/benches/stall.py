"""stall: the longest time that the pump holds Blender's main thread during a 49-frame shot, guide frames aside; and landing 1000 frames.

Runs in Blender with the real engine. Every tick is timed from outside; a tick that rendered a guide frame counts with what
the pump itself measures beside that frame, and ticks that landed are told apart.
"""
from __future__ import annotations

import os
import time

import bpy
import stand

stand.sys.path.insert(0, str(stand.ROOT / "scripts"))
import street  # noqa: E402

FRAMES, LANDED, ROUNDS = 49, 1000, 5


def prepared(where: stand.Path):
    """The demo's street with its panel filled in, saved in the bench's folder."""
    scene = street.build(bpy.context.scene)
    bpy.ops.wm.save_as_mainfile(filepath=str(where / "stall.blend"))
    settings = scene.sora
    settings.model_name, settings.prompt, settings.seed, settings.lock_seed = stand.MODEL, stand.PROMPT, 7, True
    scene.render.resolution_x, scene.render.resolution_y = 416, 240
    return scene


def rolled(pump, slate) -> tuple[float, int]:
    """Shoots once. Longest time in ms, and the number of ticks that were timed from outside."""
    bpy.ops.sora.generate()
    shot, ticks, rendering = pump.slate.entries[-1].shot.id, [], False
    while True:
        landed, began = pump.longest_landing, time.perf_counter()
        pause = pump.tick()
        spent, status = time.perf_counter() - began, pump.slate.find(shot).status
        rendered, rendering = rendering, getattr(status, "stage", "") == "guides"
        if not (rendered or rendering) and pump.longest_landing == landed:
            ticks.append(spent)
        if not isinstance(status, (slate.Queued, slate.Rolling)):
            if not isinstance(status, slate.Printed):
                raise RuntimeError(f"The shot ended as {status}")
            return max(pump.longest_tick, *ticks) * 1000, len(ticks)
        time.sleep(min(pause or 0.0, .05))


def thousand(where: stand.Path):
    """A take of 1000 frames, each a hard link to one small picture."""
    from sora.engine import protocol
    folder = where / "sora" / "thousand"
    (folder / "frames").mkdir(parents=True)
    size = protocol.Size(64, 64)
    image = bpy.data.images.new("grey", 64, 64)
    image.file_format, image.filepath_raw = "PNG", str(folder / "frames" / "plate.0001.png")
    image.save()
    for number in range(2, LANDED + 1):
        os.link(folder / "frames" / "plate.0001.png", folder / "frames" / f"plate.{number:04d}.png")
    shot = stand.shot(where / "sora", "thousand", frames=LANDED, size=size)
    files = protocol.Files(folder="frames", pattern="plate.%04d.png", first=1, count=LANDED, colourspace="sRGB")
    take = protocol.Take(id=shot.id, shot=shot, files=files, native=size, native_frames=LANDED, device="none", created="2026-01-01T00:00:00+00:00",
                         engine={}, seconds={}, peak_bytes=0)
    (folder / protocol.TAKE_FILE).write_text(protocol.as_json(take))
    return take, folder


def landings(scene, where: stand.Path) -> dict[str, float]:
    """Milliseconds of each landing of 1000 frames, the median of a few."""
    from sora.sora_addon import landings as places
    take, folder = thousand(where)
    spent = {name: [] for name in places.LANDINGS}
    for _ in range(ROUNDS):
        for name, times in spent.items():
            began = time.perf_counter()
            places.land(bpy.context, name, take, folder, {"scene": scene.name, "camera": scene.camera.name})
            times.append((time.perf_counter() - began) * 1000)
    return {name: stand.median(times) for name, times in spent.items()}


def measure() -> None:
    stand.as_package().register()
    from sora.sora_addon import pump, slate
    with stand.folder() as where:
        where = stand.Path(where)
        os.environ["SORA_ENGINE_LOG"] = str(where / "engine.log")
        scene = prepared(where)
        longest, ticks = rolled(pump, slate)
        stand.say(f"longest tick {longest:.2f} ms of {ticks}; while landing {pump.longest_landing * 1000:.1f} ms")
        each = landings(scene, where)
        pump.stop(wait=True)
    stand.report("stall", "ms", {"landing_ms": each["strip"], **{f"{name}_ms": spent for name, spent in each.items()}, "ticks": ticks,
                                 "frames": FRAMES, "landed_frames": LANDED, "blender": bpy.app.version_string}, value=longest)
    stand.sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    measure()
