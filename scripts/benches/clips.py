"""clips: training clips that are rendered in a minute, 17 frames and stills of 64x40, on one core and on a graphics card where there is one"""
from __future__ import annotations

import time

import stand

SHAPES, ROUNDS = {"clips": (17, 40, 64), "stills": (1, 40, 64)}, 3
COUNTS = {"cpu": {"clips": 6, "stills": 64}, "cuda": {"clips": 256, "stills": 2048}}


def rate(scenes: list, h: int, w: int, device: str) -> float:
    """Clips a minute, by the fastest of a few rounds: what else the machine does only ever adds."""
    from engine.blockout import data
    seeds, taken = list(range(len(scenes))), []
    for _ in range(1 + ROUNDS):                                # the first one warms up
        began = time.perf_counter()
        for made in data.render_all(scenes, h, w, seeds, device):
            made.cpu()
        taken.append(time.perf_counter() - began)
    return 60 * len(scenes) / min(taken[1:])


def measure() -> None:
    import numpy as np
    import torch
    from engine.blockout import varied, world
    torch.set_num_threads(1)
    found = {}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for name, (frames, h, w) in SHAPES.items():
            drawn = [(world.drawn, varied.drawn)[seed % 2](np.random.default_rng(seed), frames, w / h) for seed in range(COUNTS[device][name])]
            found[f"{device}_{name}"] = rate(drawn, h, w, device)
            stand.say(f"{device}: {found[f'{device}_{name}']:.0f} {name} a minute")
    if torch.cuda.is_available():
        found["card"] = torch.cuda.get_device_name()
    stand.report("clips", "clips a minute", {**found, "shapes": SHAPES, "rounds": ROUNDS}, value=found["cpu_clips"])


if __name__ == "__main__":
    measure()
