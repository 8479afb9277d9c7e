"""The device: chosen, described, shared in turns."""
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine import device
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
