"""seeds: four variations of a VACE shot by one warm engine against four calls of diffusers' own pipeline, on tiny random weights.

Both have the model loaded. The engine reads the guide from EXR files, writes PNG frames and a proxy; the plain way has its
pictures in memory and writes nothing.
"""
from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import stand

os.environ.setdefault("SORA_CACHE", "")
FRAMES, SIZE, STEPS, SEEDS, ROUNDS = 17, (96, 64), 4, 4, 3


def checkpoint(folder: Path) -> Path:
    import sys
    sys.path.insert(0, str(stand.ROOT / "tests" / "engine"))
    import tiny_families
    return tiny_families.save("vace", folder)


def plain(folder: Path, pictures) -> float:
    """Seconds of four calls."""
    import torch
    began = time.perf_counter()
    for seed in range(SEEDS):
        folder(prompt=stand.PROMPT, negative_prompt="dull", video=pictures, width=SIZE[0], height=SIZE[1], num_frames=FRAMES, num_inference_steps=STEPS,
               guidance_scale=5.0, generator=torch.Generator().manual_seed(seed), output_type="np")
    return time.perf_counter() - began


def ours(studio, where: Path, model: Path, guide, turn: str) -> float:
    """Seconds of four shots."""
    from engine import protocol, shoot
    began = time.perf_counter()
    for seed in range(SEEDS):
        shot = protocol.Shot(id=f"{turn}-{seed}", family="vace", prompt=stand.PROMPT, negative="dull", seed=seed, size=protocol.Size(*SIZE), frames=FRAMES,
                             fps=24.0, out=str(where / f"{turn}-{seed}"), model=str(model), steps=STEPS, guidance=5.0, guides=(guide,))
        shoot.roll(shot, lambda progress: None, threading.Event(), studio)
    return time.perf_counter() - began


def measure() -> None:
    import numpy as np
    import PIL.Image
    import torch
    from diffusers import WanVACEPipeline

    from engine import protocol, shoot
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with stand.folder() as scratch:
        where = Path(scratch)
        model = checkpoint(where / "model")
        found = stand.depth_guide(where / "guides", FRAMES, SIZE)
        guide = protocol.Guide(kind="depth", path=found.path, near=found.near, far=found.far)
        pipe = WanVACEPipeline.from_pretrained(model, local_files_only=True)
        pipe.set_progress_bar_config(disable=True)
        pictures = [PIL.Image.fromarray(np.full((SIZE[1], SIZE[0], 3), 10 * index, np.uint8)) for index in range(FRAMES)]
        studio, slow, fast = shoot.Studio(), [], []
        for turn in range(ROUNDS + 1):
            fast.append(ours(studio, where, model, guide, str(turn)))
            slow.append(plain(pipe, pictures))
            stand.say(f"round {turn}: ours {fast[-1]:.2f} s, plain {slow[-1]:.2f} s")
        detail = {"frames": FRAMES, "size": "x".join(map(str, SIZE)), "steps": STEPS, "seeds": SEEDS, "first_ratio": fast[0] / slow[0],
                  "ours_s": stand.median(fast[1:]), "plain_s": stand.median(slow[1:])}
        stand.report("seeds", "times", detail, ratio=stand.median(fast[1:]) / stand.median(slow[1:]))


if __name__ == "__main__":
    measure()
