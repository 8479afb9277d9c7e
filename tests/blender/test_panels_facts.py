"""What the panels say before a shot: how many frames the model really makes, whether it makes sound, and what the weights in the menu are."""
import sys
from pathlib import Path

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import layouts  # noqa: E402

from sora.engine.pace import Pace  # noqa: E402
from sora.engine.protocol import Guide, Shot, Size  # noqa: E402
from sora.sora_addon import catalogue, families, stock  # noqa: E402

LICENCE = catalogue.Licence(id="apache-2.0", label="Apache License 2.0", text="https://www.apache.org/licenses/LICENSE-2.0")


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setenv("SORA_ENGINE_PYTHON", sys.executable)
    with layouts.registered(tmp_path / "takes") as scene:
        scene.frame_start, scene.frame_end, scene.render.fps = 1, 49, 24
        yield scene
    stock.listing = None


def told(key: str) -> str:
    with layouts.editor("VIEW_3D") as context:
        return layouts.drawn(getattr(bpy.types, f"SORA_PT_view3d_{key}"), context).text.replace("\n", " ")


# ---------------------------------------------------------------- frames and sound
def test_a_model_of_another_rate_says_how_many_frames_it_makes(scene):
    scene.sora.family = "wan"
    assert "49 frames" in told("frames") and "Made as 33 frames at the model's 16 fps" in told("frames")
    scene.sora.model = "wan2.2-ti2v-5b"
    assert "at the model's" not in told("frames"), "its own rate is the shot's"
    scene.render.fps = 16
    assert "Made as 73 frames at the model's 24 fps" in told("frames")


def test_motion_that_the_scene_tells_is_made_frame_by_frame(scene):
    scene.sora.family, scene.sora.source_from = "wan", "FOLDER"
    assert "at the model's" not in told("frames")
    scene.frame_end = 50
    assert "Made as 53 frames, then trimmed" in told("frames")


def test_sound_is_said_where_there_is_some(scene):
    scene.sora.family = "ltx2"
    assert "With sound" in told("frames")
    scene.sora.family = "vace"
    assert "With sound" not in told("frames")


@pytest.mark.parametrize("frames", [1, 9, 24, 49, 121])
@pytest.mark.parametrize("fps", [12.0, 15.0, 16.0, 23.976, 24.0, 25.0, 30.0, 60.0])
def test_it_is_what_the_engine_will_make(fps, frames):
    for spec in families.specs():
        for guides in ((), (Guide(kind="camera", path=""),), (Guide(kind="depth", path=""),)):
            shot = Shot(id="a", family=spec.name, prompt="a", seed=1, size=Size(64, 64), frames=frames, fps=fps, out="", guides=guides)
            pace = Pace(shot, spec.native_fps)
            moving = any(guide.kind != "camera" for guide in guides)
            assert families.made(spec, "", frames, fps, moving) == (spec.frames.ceil(pace.made), pace.fps if pace.own else 0.0)


# ---------------------------------------------------------------- the menu of weights
def model(name: str, label: str, state: str, *does: str) -> catalogue.Model:
    return catalogue.Model(name=name, family="ltx2", kind="diffusers", label=label, state=state, size=0, licence=LICENCE, repository="a/b", does=does)


def test_weights_are_called_by_their_label_and_say_what_they_do_and_whether_they_are_here(scene):
    scene.sora.family = "ltx2"
    assert "ltx-2" in told("shot"), "by its name until the engine has told its list"
    stock.listing = catalogue.Listing(folder="/models", free=1, models=(
        model("ltx-2", "LTX-2 19B with sound", "installed", "text", "keyframes", "audio"),
        model("ltx-2.3-distilled", "LTX-2.3 22B distilled", "absent", "text", "few steps")))
    shown = told("shot")
    assert "LTX-2 19B with sound" in shown and "(not here)" not in shown and "Text, keyframes, audio" in shown
    scene.sora.model = "ltx-2.3-distilled"
    shown = told("shot")
    assert "LTX-2.3 22B distilled (not here)" in shown and "Text, few steps" in shown and "is not on this machine" in shown


def test_the_engines_own_list_brings_what_a_model_does():
    row = {"name": "ltx-2", "family": "ltx2", "kind": "diffusers", "label": "LTX-2", "state": "absent", "wrong": "", "partial": 0, "accepted": [],
           "installed": None, "catalogue": {"does": ["text", "audio"], "repository": "a/b", "licence": {"id": "a", "label": "A", "text": "https://a"}}}
    listed = catalogue.listing({"folder": "/models", "free": 1, "trash": 0, "problems": [], "models": [row]})
    assert listed.named("ltx-2").does == ("text", "audio")
