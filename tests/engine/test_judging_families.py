"""The evaluation of families other than Blockout: whole shots with tiny random weights, few clips and few lines."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.judging.studio import Shots, Wish
from tests.engine.open_stage import staged

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("judging"), checkpoints) as made:
        yield made


def test_a_family_is_asked_for_what_its_model_takes(stage, tmp_path):
    found = {name: Shots(family, str(stage.model(name)), tmp_path / name, longer=64, steps=1)
             for family, name in (("wan", "wan_text"), ("wan", "wan_grown"), ("vace", "vace"), ("ltx2", "ltx2"))}
    assert {name: shots.keyframes for name, shots in found.items()} == {"wan_text": False, "wan_grown": True, "vace": True, "ltx2": True}
    assert {name: shots.shows(0, 16) for name, shots in found.items()} == {"wan_text": False, "wan_grown": False, "vace": True, "ltx2": True}
    assert {name: (shots.sources, shots.changes) for name, shots in found.items()} == {
        "wan_text": (True, True), "wan_grown": (True, True), "vace": (True, False), "ltx2": (False, False)}
    assert "depth" in found["vace"].spec.guides and not {"depth", "normal"} & {*found["wan_text"].spec.guides, *found["ltx2"].spec.guides}
    depth = {"depth": torch.rand(1, 1, 5, 40, 64)}
    for name, stills in (("vace", {0: torch.zeros(1, 3, 40, 64)}), ("wan_text", {})):
        made = found[name].clip(Wish(prompt="a red ball", seed=1, guides=depth, stills=stills, frames=5))
        assert made.shape == (1, 3, 5, 40, 64) and made.abs().max() <= 1 and made.std() > 0
    found["vace"].clip(Wish(prompt="a red ball", seed=1, guides={"depth": 1 - depth["depth"]}, stills={0: torch.zeros(1, 3, 40, 64)}, frames=5))
    one, other = (load_file(tmp_path / "vace" / name / "latents/0000.safetensors")["latent"] for name in ("0001", "0002"))
    assert not torch.equal(one, other), "guides on disk count"


def test_the_script_judges_vace(stage, tmp_path):
    command = [sys.executable, ROOT / "scripts/evaluate.py", "--family", "vace", "--model", stage.model("vace"), "--clips", "3", "--steps", "1", "--longer", "64",
               "--glimpses", "8", "--schooling", ".005", "--jobs", "1", "--keep", tmp_path, "--json", tmp_path / "scores.json",
               "--only", "sky", "depth_edges", "seed_hash"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = json.loads((tmp_path / "scores.json").read_text())["lines"]
    assert set(lines) == {"sky", "depth_edges", "seed_hash"} and lines["seed_hash"]["value"] == 1
