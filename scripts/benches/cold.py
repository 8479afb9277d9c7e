"""cold: from the button to the first denoising step, over a bare `import torch` plus loading the weights. Warm: the same, engine running."""
from __future__ import annotations

import subprocess
import sys
import time

import stand

ROUNDS = 5
PLAIN = """
import sys, torch
from safetensors.torch import load_file
tensors = [load_file(path) for path in sys.argv[1:]]
print("loaded", flush=True)
"""


def denoises(event) -> bool:
    return isinstance(event, stand.protocol.Progress) and event.stage == "denoise"


def shot(where: stand.Path, name: str):
    """One short shot from a prompt alone: guides are rendered before the engine hears of the shot."""
    return stand.shot(where, name, frames=17, size=stand.protocol.Size(256, 144), steps=2)


def bare(files: list[str]) -> float:
    """Seconds of a Python that imports torch and loads the weights, from its start until they are there."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", PLAIN, *files], cwd=stand.ROOT, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        return time.perf_counter() - began


def cold_and_warm(where: stand.Path, turn: int) -> tuple[float, float]:
    """Seconds to the first denoising step of an engine that starts, and of the same engine's second shot."""
    began = time.perf_counter()
    with stand.engine(where) as running:
        running.send(stand.protocol.Shoot(shot=shot(where, f"cold {turn}")))
        stand.until(running, denoises)
        cold = time.perf_counter() - began
        stand.until(running, stand.done)
        began = time.perf_counter()
        running.send(stand.protocol.Shoot(shot=shot(where, f"warm {turn}")))
        stand.until(running, denoises)
        warm = time.perf_counter() - began
        stand.until(running, stand.done)
    return cold, warm


def measure() -> None:
    from engine.families import weights
    bares, colds, warms = [], [], []
    files = [str(path) for path in weights("blockout", stand.MODEL).glob("*.safetensors")]
    with stand.folder() as where:
        bare(files)                                 # the disk's cache is warm for both
        for turn in range(ROUNDS):
            bares.append(bare(files))
            cold, warm = cold_and_warm(stand.Path(where), turn)
            colds.append(cold)
            warms.append(warm)
            stand.say(f"bare {bares[-1]:.2f} s, cold {cold:.2f} s, warm {warm * 1000:.0f} ms")
    stand.report("cold", "x", {"bare_s": stand.median(bares), "cold_s": stand.median(colds), "warm_ms": stand.median(warms) * 1000, "rounds": ROUNDS},
                 ratio=stand.median(colds) / stand.median(bares))


if __name__ == "__main__":
    measure()
