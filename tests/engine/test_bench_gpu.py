"""The bench of real shapes, tried with a tiny one on the processor; where no card is at hand it says so."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benches" / "gpu.py"


def run(*options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=600)


def test_every_plan_is_measured_beside_the_stock_pipeline():
    said = run("--device", "cpu", "--family", "wan", "--model", "tiny", "--shape", "32x32x5", "--steps", "3")
    assert said.returncode == 0, said.stderr
    result = json.loads(said.stdout.splitlines()[-1])
    detail = result["detail"]
    assert result["name"] == "gpu" and result["ratio"] > 0 and detail["share"] > 0 and detail["tflops"] > 0
    for plan in ("full", "turns", "int8", "blocks", "fp8"):
        found = detail[plan]
        assert found["share"] > 0 and found["step_s"] > 0 and found["decode_s"] > 0 and found["peak_bytes"] >= found["sampling_bytes"] > 0
        assert found["distance"] < (0.1 if plan in ("int8", "fp8") else 1e-5), plan
    assert detail["fp8"]["distance"] > detail["full"]["distance"] and detail["stock"]["step_s"] > 0 and detail["stock"]["share"] > 0


def test_without_a_card_it_is_one_sentence():
    import torch
    if torch.cuda.is_available():
        pytest.skip("a card is at hand")
    said = run()
    assert said.returncode == 1 and said.stdout == "" and said.stderr.strip().splitlines()[-1].startswith("No graphics card") and "Traceback" not in said.stderr
