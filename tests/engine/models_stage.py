"""What the model tests stand on: tiny model folders, a hub as a process, the command line."""
from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from engine.models.commands import models_app

ROOT = Path(__file__).resolve().parents[2]
NAME, REPOSITORY = "wan2.1-t2v-1.3b", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
INDEX = {"_class_name": "WanPipeline", "_diffusers_version": "0.42.1", "scheduler": ["diffusers", "UniPCMultistepScheduler"],
         "text_encoder": ["transformers", "UMT5EncoderModel"], "tokenizer": ["transformers", "T5TokenizerFast"],
         "transformer": ["diffusers", "WanTransformer3DModel"], "transformer_2": [None, None], "vae": ["diffusers", "AutoencoderKLWan"]}


def make_model(folder: Path, size: int = 40_000) -> Path:
    """A folder laid out as diffusers' Wan repositories are, with `size` floats of transformer."""
    random = np.random.default_rng(5)
    for name, floats in (("transformer", size), ("text_encoder", 64), ("vae", 64)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps({"_class_name": INDEX[name][1]}))
        file = "model.safetensors" if name == "text_encoder" else "diffusion_pytorch_model.safetensors"
        save_file({"blocks.0.weight": random.standard_normal(floats, dtype=np.float32)}, folder / name / file)
    for name, text in (("scheduler/scheduler_config.json", "{}"), ("tokenizer/tokenizer.json", "{}"), ("tokenizer/spiece.model", "pieces"),
                       ("model_index.json", json.dumps(INDEX))):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


class Served:
    """A running hub. `behave` says how it fails from now on; `requests` is what it was asked."""

    def __init__(self, root: Path, port: int):
        self.root, self.address = root, f"http://127.0.0.1:{port}"

    def behave(self, **behaviour) -> None:
        """For instance behave(**{WEIGHTS: {"drop": 1000}})."""
        partial = self.root / "behaviour.partial"
        partial.write_text(json.dumps(behaviour))
        os.replace(partial, self.root / "behaviour.json")

    def requests(self) -> list[dict]:
        log = self.root / "requests.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@contextlib.contextmanager
def hub(root: Path):
    """A hub that serves the folder `root`, as a process on loopback."""
    root.mkdir(parents=True, exist_ok=True)
    running = subprocess.Popen([sys.executable, "-IS", str(Path(__file__).with_name("hub_server.py")), str(root)], stdout=subprocess.PIPE, text=True)
    try:
        yield Served(root, int(running.stdout.readline()))
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def environment(**more: str) -> dict[str, str]:
    """The environment of an engine without any of the user's own hub settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SORA_")) and not key.lower().endswith("_proxy")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", **more}


@dataclass(frozen=True)
class Answer:
    returncode: int
    stdout: str
    stderr: str


def models(*arguments, **more: str) -> Answer:
    """`models ARGUMENTS --json`, run in this process for speed; `command` runs the same in one of its own."""
    before, out, err = dict(os.environ), io.StringIO(), io.StringIO()
    try:
        os.environ.clear()
        os.environ.update(environment(**more))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = models_app([*map(str, arguments), "--json"], standalone_mode=False)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return Answer(code, out.getvalue(), err.getvalue())


def command(*arguments, **more: str) -> subprocess.CompletedProcess:
    """`python -m engine models ARGUMENTS --json`, as Blender runs it."""
    return subprocess.run([sys.executable, "-m", "engine", "models", *map(str, arguments), "--json"], capture_output=True, text=True,
                          env=environment(**more), timeout=300)


def last(answer: Answer | subprocess.CompletedProcess) -> dict:
    """The last line that the command wrote, as JSON."""
    return json.loads(answer.stdout.splitlines()[-1])


def failure(answer: Answer | subprocess.CompletedProcess) -> str:
    """The sentence with which the command failed; it must have failed properly."""
    assert answer.returncode in (1, 2), answer.stderr
    said = last(answer)
    assert said["type"] == "Failed" and said["remedy"], said
    return said["sentence"]
