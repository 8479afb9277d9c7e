"""load: a checkpoint of random weights by the engine's loader, checks included, against plain `from_pretrained`; each in its own process,
until every page of the weights is there. On a machine with other work the seconds of a processor say more than those of the clock.

    SORA_BENCH_GB=3     size of the checkpoint
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import stand

GB, ROUNDS = float(os.environ.get("SORA_BENCH_GB", "3")), 3
BEFORE = """
import json, time, torch
from diffusers import WanPipeline
from transformers import UMT5EncoderModel
from engine import device, families
from engine.diffusers_line import loading, wan, wan_footage
place = device.chosen()
device.forget_peak(place)
held, began, worked = device.held(place), time.perf_counter(), time.process_time()
"""
PLAIN = "made = WanPipeline.from_pretrained(FOLDER, dtype=torch.float32, local_files_only=True).transformer"
OURS = "made = families.family('wan').load(families.weights('wan', FOLDER), place).parts['transformer']"
AFTER = """
touched = sum(float(weights.flatten()[::1024].sum()) for weights in made.parameters())      # every page is there, not only promised
print(json.dumps([time.perf_counter() - began, time.process_time() - worked, device.peak_bytes(place) - held]))
"""


def checkpoint(folder: Path) -> Path:
    """A tiny Wan whose transformer is as large as asked for, in full precision."""
    sys.path.insert(0, str(stand.ROOT / "tests" / "engine"))
    import tiny_families
    import torch
    from diffusers import WanTransformer3DModel
    made = tiny_families.wan_text()
    each = 16 * 1536 ** 2 * 4 / 2 ** 30             # GB of one block of this width
    with torch.device("meta"):
        large = WanTransformer3DModel(**{**tiny_families.WAN, "num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 6144,
                                         "num_layers": max(1, round(GB / each))})
    large.to_empty(device="cpu")
    large.load_state_dict({name: torch.empty_like(weights).uniform_(-.02, .02) for name, weights in large.state_dict().items()}, assign=True)
    made.register_modules(transformer=large)
    made.save_pretrained(folder)
    return folder


def loaded(script: str, folder: Path) -> tuple[float, float, int]:
    """Seconds, seconds of a processor, and bytes of memory that a load took in a process of its own."""
    text = "\n".join((BEFORE, script.replace("FOLDER", repr(str(folder))), AFTER))
    said = subprocess.run([sys.executable, "-c", text], cwd=stand.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
                          env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(stand.ROOT)}).stdout
    return tuple(json.loads(said.strip().splitlines()[-1]))


def measure() -> None:
    began = time.perf_counter()
    with stand.folder() as scratch:
        folder = checkpoint(Path(scratch) / "model")
        size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        stand.say(f"{size / 2**30:.2f} GB made in {time.perf_counter() - began:.0f} s")
        found = {"plain": [], "ours": []}
        for _ in range(ROUNDS):
            for name, script in (("plain", PLAIN), ("ours", OURS)):
                found[name].append(loaded(script, folder))
                seconds, worked, held = found[name][-1]
                stand.say(f"{name}: {seconds:.2f} s, {worked:.2f} s of a processor, {held / size:.3f} of the file")
    best = {f"{name}_{what}": min(one[at] for one in each) for name, each in found.items() for at, what in enumerate(("s", "cpu_s"))}
    memory = {f"{name}_memory": max(one[2] for one in each) / size for name, each in found.items()}
    stand.report("load", "times", {"gb": size / 2**30, **best, "cpu_ratio": best["ours_cpu_s"] / best["plain_cpu_s"], **memory,
                                   "memory_ratio": memory["ours_memory"]}, ratio=best["ours_s"] / best["plain_s"])


if __name__ == "__main__":
    measure()
