"""What the benches stand on: the repository as a package, shots with guides to shoot, engines to time, medians."""
from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from conftest import as_package  # noqa: E402

as_package()
from sora.engine import protocol  # noqa: E402

MODEL = os.environ.get("SORA_MODEL", "")            # another model than the embedded one: the folder of its weights
PROMPT = "a red car passing behind a stone pillar, a street at sunset, camera pushes in, cinematic"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def report(name: str, unit: str, detail: dict, **number: float) -> None:
    """The last line on stdout."""
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in detail.items()}
    print(json.dumps({"name": name, **{key: round(value, 4) for key, value in number.items()}, "unit": unit, "detail": rounded}))


def median(values) -> float:
    return statistics.median(values)


def folder() -> tempfile.TemporaryDirectory:
    """A folder for one bench, on the disk of the repository's own output."""
    (ROOT / "out" / "bench").mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=ROOT / "out" / "bench")


def shot(out: Path, name: str, frames: int = 49, **more):
    """A shot of 832x480; `more` replaces its fields."""
    fields = dict(id=name, family="blockout", model=MODEL, prompt=PROMPT, seed=7, size=protocol.Size(832, 480), frames=frames, fps=24.0, out=str(out / name))
    return protocol.Shot(**{**fields, **more})


def depth_guide(where: Path, frames: int, size=(832, 480)):
    """A depth guide as Blender 4.5 writes it: a street-like ramp with a box that moves across it. Metres."""
    import numpy as np
    import OpenEXR
    where.mkdir(parents=True)
    width, height = size
    rows = np.linspace(60, 4, height, dtype=np.float32)[:, None].repeat(width, 1)
    for index in range(frames):
        depth, x = rows.copy(), int((width - 120) * index / max(1, frames - 1))
        depth[height // 2:height * 4 // 5, x:x + 120] = 9
        depth[:height // 3] = 1e10
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, {"ViewLayer.Depth.Z": depth}).write(str(where / f"{index + 1:04d}.exr"))
    return protocol.Guide(kind="depth", path=str(where), near=4.0, far=60.0)


@contextmanager
def engine(where: Path):
    """A running engine, as the extension runs it."""
    from sora.sora_addon.client import Engine
    running = Engine(Path(os.environ.get("SORA_ENGINE_PYTHON", sys.executable)), ROOT, where / "engine.log")
    running.start()
    try:
        yield running
    finally:
        running.stop(wait=True)


def until(running, wanted, seconds: float = 1800.0):
    """Polls until an event satisfies `wanted`, and returns it. Raises RuntimeError when the shot ends otherwise."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for event in running.poll():
            if wanted(event):
                return event
            if isinstance(event, (protocol.Failed, protocol.Cancelled)):
                raise RuntimeError(f"The shot ended with {event}")
        time.sleep(.001)
    raise RuntimeError(f"Nothing came within {math.ceil(seconds)} s")


def done(event) -> bool:
    return isinstance(event, protocol.Done)
