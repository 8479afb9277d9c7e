"""load: a checkpoint of random weights by the engine's loader, checks included, against plain `from_pretrained`; each in its own process.

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

GB, ROUNDS = float(os.environ.get("SORA_BENCH_GB", "3")), 2
PLAIN = "from diffusers import WanPipeline; from transformers import UMT5EncoderModel; import torch; BEGIN; made = WanPipeline.from_pretrained(FOLDER, dtype=torch.float32, local_files_only=True)"
OURS = "from engine import device, families; from diffusers import WanPipeline; from transformers import UMT5EncoderModel; import torch; BEGIN; made = families.family('wan').load(families.weights('wan', FOLDER), device.chosen())"
END = "; import json, resource; print(json.dumps([time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before]))"
BEGIN = "import time, resource; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024; began = time.perf_counter()"


def checkpoint(folder: Path) -> Path:
    """A tiny Wan whose transformer is as large as asked for, in full precision."""
    sys.path.insert(0, str(stand.ROOT / "tests" / "engine"))
    import tiny_families
    from diffusers import WanTransformer3DModel
    made = tiny_families.wan_text()
    each = 12 * 1536 ** 2 * 4 / 2 ** 30             # GB of one block of this width
    made.register_modules(transformer=WanTransformer3DModel(**{**tiny_families.WAN, "num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 6144,
                                                               "num_layers": max(1, round(GB / each))}))
    made.save_pretrained(folder)
    return folder


def loaded(script: str, folder: Path) -> tuple[float, int]:
    """Seconds and bytes of memory that a load took in a process of its own."""
    text = script.replace("BEGIN", BEGIN).replace("FOLDER", repr(str(folder))) + END
    said = subprocess.run([sys.executable, "-c", text], cwd=stand.ROOT, stdout=subprocess.PIPE, text=True, check=True,
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
                stand.say(f"{name}: {found[name][-1][0]:.2f} s, {found[name][-1][1] / size:.2f} of the file")
    seconds = {name: min(one[0] for one in each) for name, each in found.items()}
    memory = max(one[1] for one in found["ours"]) / size
    stand.report("load", "times", {"gb": size / 2**30, **{f"{name}_s": value for name, value in seconds.items()}, "memory_ratio": memory},
                 ratio=seconds["ours"] / seconds["plain"])


if __name__ == "__main__":
    measure()
