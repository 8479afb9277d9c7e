"""A take that the real engine made lands: shot by the pump, in a process of its own, by a family that makes sound."""
import os
import subprocess
from pathlib import Path

import bpy
import pytest

from sora.engine import protocol
from sora.sora_addon import compat, pump, slate
from tests.blender.landing_stage import fresh

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / ".venv" / "engine" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
START, FRAMES, SIZE = 10, 9, protocol.Size(64, 64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny LTX-2 with random weights, saved by the engine's own environment: this one has no torch."""
    if not ENGINE.exists():
        pytest.skip("no engine is installed here")
    folder = tmp_path_factory.mktemp("tiny") / "ltx2"
    save = "import sys; from pathlib import Path; from tests.engine import tiny_families; tiny_families.save('ltx2', Path(sys.argv[1]))"
    subprocess.run([str(ENGINE), "-c", save, str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def engine(tmp_path, monkeypatch):
    for name, value in (("SORA_ENGINE_PYTHON", ENGINE), ("SORA_ENGINE_LOG", tmp_path / "engine.log"), ("SORA_CACHE", ""), ("OMP_NUM_THREADS", "1")):
        monkeypatch.setenv(name, str(value))
    yield
    pump.sleep()
    pump.error = None


def test_a_clip_and_its_sound_land_over_the_frames_that_were_asked_for(checkpoint, engine, tmp_path):
    scene = fresh(width=SIZE.width, height=SIZE.height)
    asked = protocol.Shot(id="one", family="ltx2", model=str(checkpoint), prompt="rain on a tin roof", seed=3, size=SIZE, frames=FRAMES, fps=24.0, steps=2,
                          frame_start=START, out=str(tmp_path / "one"), landings=("strip",))
    pump.submit(bpy.context, asked)
    pump.run_until_idle(300)
    status = pump.slate.find("one").status
    assert isinstance(status, slate.Printed), status
    strips = scene.sequence_editor.strips
    picture, = (strip for strip in strips if strip.type == "IMAGE")
    sound, = (strip for strip in strips if strip.type == "SOUND")
    assert compat.strip_span(picture) == compat.strip_span(sound) == (START, START + FRAMES)
    made = protocol.read_take(tmp_path / "one")
    assert [element.filename for element in picture.elements] == made.files.names() and made.files.count == FRAMES
    assert Path(bpy.path.abspath(sound.sound.filepath)) == tmp_path / "one" / made.sound and picture["sora"]["take"] == "one"
