"""A shot on a CUDA or ROCm device: it runs there, its memory is the device's, and the same seed gives the same pixels."""
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from engine import protocol  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA or ROCm device")


def shoot(out, *more):
    """Runs the command line; returns the take."""
    command = [sys.executable, "-m", "engine", "shoot", "--prompt", "a red car in a street at sunset", "--seed", "11", "--size", "416x240",
               "--frames", "17", "--out", str(out), *more]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return protocol.read_take(out)


def pixels(out, take):
    return [hashlib.sha256((out / take.files.folder / name).read_bytes()).hexdigest() for name in take.files.names()]


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    home = tmp_path_factory.mktemp("takes")
    return [(home / name, shoot(home / name)) for name in ("one", "two")]


def test_the_take_was_made_on_the_device(takes):
    for _out, take in takes:
        assert torch.cuda.get_device_name(0) in take.device
        assert 0 < take.peak_bytes < torch.cuda.get_device_properties(0).total_memory


def test_the_same_seed_gives_the_same_pixels(takes):
    assert pixels(*takes[0]) == pixels(*takes[1])


def test_another_seed_gives_other_pixels(takes, tmp_path):
    other = shoot(tmp_path / "other", "--seed", "12")
    assert pixels(tmp_path / "other", other) != pixels(*takes[0])
