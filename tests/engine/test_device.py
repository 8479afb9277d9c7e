"""The device: chosen, described, shared in turns."""
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine import device, driver
from engine.errors import Cut, ModelError

ROOT = Path(__file__).resolve().parents[2]


def test_the_choice_is_taken_from_the_environment(monkeypatch):
    monkeypatch.setenv(device.CHOICE, "cpu")
    place = device.chosen()
    assert (place.name, place.dtype) == ("cpu", "float32") and place.memory >= place.free > 0 and place.label.startswith("CPU")
    monkeypatch.setenv(device.CHOICE, "abacus")
    with pytest.raises(ModelError, match="abacus"):
        device.chosen()


def test_announcing_needs_no_torch():
    code = "import sys; from engine import device; assert device.announced(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


DRIVER = """
#include <string.h>
extern "C" int cuInit(unsigned) { return 0; }
extern "C" int cuDeviceGet(int *device, int) { *device = 0; return 0; }
extern "C" int cuDeviceGetName(char *name, int, int) { strcpy(name, "A Card 9000"); return 0; }
extern "C" int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
"""


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("g++"), reason="no driver can be made here")
def test_a_gpu_that_is_here_and_not_used_is_told(tmp_path):
    """A driver as a library of its own, which answers as NVIDIA's; torch is made for processors alone, or says so."""
    (tmp_path / "driver.cpp").write_text(DRIVER)
    subprocess.run(["g++", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "driver.cpp"], check=True)
    found = json.loads(_with(tmp_path, """
import json
from engine import device, driver
card, place = driver.card(), device.Device("cpu", "CPU", "float32", 1, 1)
idle, slow = device.idle_card(place), device.slow()
print(json.dumps([card.name, card.cuda, device.announced(), device.passed_over(place), device.passed_over(device.Device("cuda", "a", "b", 1, 1)),
                  idle and idle.remedy and idle.remedy.action, slow and [slow.found, slow.remedy and slow.remedy.action]]))
"""))
    assert found[:2] == ["A Card 9000", [12, 4]] and found[4] == ""
    build = subprocess.run([sys.executable, "-c", "import torch; print(torch.version.cuda or '')"], capture_output=True, text=True, check=True).stdout.strip()
    if not build:
        assert found[2].endswith(", not A Card 9000") and "made for processors alone" in found[3] and found[5] == "repair_engine"
        assert found[6] == [found[3], "repair_engine"]
    assert "" == _with(tmp_path, "from engine import device; print(device.passed_over(device.Device('cpu', 'CPU', 'float32', 1, 1)))", SORA_DEVICE="cpu")


def test_without_a_card_large_models_are_slow_and_that_is_said(tmp_path):
    if driver.card() or device.announced().endswith("GPU"):
        pytest.skip("this machine has a GPU")
    assert _with(tmp_path, "from engine import device; print(device.slow().found, device.slow().remedy)") == "No graphics card was found. None"
    assert _with(tmp_path, "from engine import device; print(device.slow().found)", SORA_DEVICE="cpu") == "SORA_DEVICE asks for the processor."
    assert _with(tmp_path, "from engine import device; print(device.slow())", SORA_DEVICE="cuda") == "None"


def _with(folder: Path, code: str, **more: str) -> str:
    """What a process says that finds the driver in `folder`."""
    environment = {name: said for name, said in os.environ.items() if name != device.CHOICE} | {"LD_LIBRARY_PATH": str(folder), **more}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(("wanted", "said"), [("13.0", "its driver serves CUDA 12.4 at most"), ("12.8", "does not reach it"), ("", "processors alone")])
def test_why_a_gpu_is_not_used(wanted, said):
    card = driver.Card("A Card 9000", (12, 4))
    assert said in driver.passed_over(card, wanted) and driver.passed_over(card, wanted).endswith(".") and driver.passed_over(None, wanted) == ""
    assert driver.too_old(card, "13.0") and not driver.too_old(card, "12.8")


HOLD = """
import sys, threading
from engine import device
with device.turn(device.chosen(), threading.Event(), print):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_another_process_has_its_turn_first(monkeypatch, tmp_path):
    monkeypatch.setenv("SORA_LOCKS", str(tmp_path))
    other = subprocess.Popen([sys.executable, "-c", HOLD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    notes = []

    def told(note: str) -> None:
        notes.append(note)
        if len(notes) == 1:
            other.communicate("go\n")

    with device.turn(device.chosen(), threading.Event(), told):
        assert notes and "Another engine" in notes[0]
    assert other.returncode == 0


def test_waiting_can_be_cut():
    cut = threading.Event()
    cut.set()
    with pytest.raises(Cut), device.turn(device.chosen(), cut, lambda note: None):
        pass


def test_exhausted_memory_is_known_however_it_is_said():
    import torch
    assert device.exhausted(MemoryError()) and device.exhausted(torch.OutOfMemoryError("x"))
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60)
    assert device.exhausted(refused.value) and not device.exhausted(RuntimeError("shape"))
    error = device.out_of_memory(device.chosen(), "97 frames at 832x480", 97)
    assert error.remedy.action == "set_frames" and error.remedy.value == "48"


def test_peak_memory_is_that_of_the_process():
    assert device.peak_bytes(device.chosen()) > 50e6


@pytest.mark.skipif(not device.CLEAR_REFS.exists(), reason="only Linux forgets a process's peak")
def test_a_shot_answers_for_its_own_peak_alone():
    place = device.chosen()
    large = bytearray(b"x" * 400_000_000)
    high = device.peak_bytes(place)
    del large
    device.forget_peak(place)
    assert device.peak_bytes(place) < high - 200e6
