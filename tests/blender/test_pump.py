"""The pump in a real Blender with an engine that is a real process: shots roll, land, fail, are cut, and nothing is lost."""
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import bpy
import pytest

from sora.engine import protocol
from sora.engine.errors import ShotError
from sora.sora_addon import doors, home, pump, slate

spec = importlib.util.spec_from_file_location("scripted_engine", Path(__file__).parents[1] / "plain" / "scripted_engine.py")
scripted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scripted)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """engine("prints") chooses the engine that the pump will start."""
    bpy.ops.wm.read_homefile(use_empty=False, use_factory_startup=True)
    monkeypatch.setenv("SORA_ENGINE_LOG", str(tmp_path / "engine.log"))

    def choose(behaviour):
        monkeypatch.setenv("SORA_ENGINE_PYTHON", str(scripted.python_for(tmp_path, behaviour)))

    choose("prints")
    yield choose
    pump.sleep()
    pump.error = None


def shot(takes, name="one", **more):
    fields = {"id": name, "family": "blockout", "prompt": "a street", "seed": 1, "size": protocol.Size(64, 64), "frames": 3, "fps": 24.0,
              "out": str(takes / name)}
    return protocol.Shot(**{**fields, **more})


def status(name="one"):
    return pump.slate.find(name).status


def tick_until(claim, seconds=30):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, pump.slate
        pump.tick()
        time.sleep(0.01)


def strips():
    editor = bpy.context.scene.sequence_editor
    if editor is None:
        return []
    return list(editor.strips if hasattr(editor, "strips") else editor.sequences)


def test_a_shot_rolls_its_guides_prints_and_lands(engine, tmp_path):
    asked = shot(tmp_path, guides=(protocol.Guide(kind="depth", path=""),), landings=("strip",))
    pump.submit(bpy.context, asked)
    pump.run_until_idle(120)
    assert isinstance(status(), slate.Printed), status()
    assert pump.engine_ready.device == "cpu" and pump.error is None
    sent = protocol.read_shot(tmp_path / "one")
    assert sent.guides[0].near and Path(sent.guides[0].path).is_dir()
    assert [strip.type for strip in strips()] == ["IMAGE"] and strips()[0].frame_final_duration == 3
    assert status().notes[0] == "Scripted." and len(status().notes) == 2
    assert 0 < pump.longest_tick and 0 < pump.longest_landing


def test_shots_roll_in_their_order_with_one_engine(engine, tmp_path):
    for name in ("one", "two", "three"):
        pump.submit(bpy.context, shot(tmp_path, name))
    pump.move("three", -1)
    tick_until(lambda: pump.engine_ready)
    pid = pump.engine.child.pid
    pump.run_until_idle(60)
    assert [entry.shot.id for entry in pump.slate.entries] == ["one", "three", "two"]
    assert all(isinstance(entry.status, slate.Printed) for entry in pump.slate.entries)
    assert pump.engine.child.pid == pid


def test_the_same_shot_twice_is_refused(engine, tmp_path):
    pump.submit(bpy.context, shot(tmp_path))
    with pytest.raises(ShotError):
        pump.submit(bpy.context, shot(tmp_path))


def test_a_death_fails_its_shot_and_the_next_gets_a_new_engine(engine, tmp_path):
    engine("dies")
    pump.submit(bpy.context, shot(tmp_path))
    pump.run_until_idle(60)
    assert status().code == "engine_died" and status().remedy.action == "shoot_again"
    assert slate.saved(tmp_path / "one")[0] == status(), "the queue on disk knows it too"
    engine("prints")
    pump.retry("one")
    pump.run_until_idle(60)
    assert isinstance(status(), slate.Printed)


def test_without_an_engine_the_queue_waits(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("SORA_ENGINE_PYTHON", str(tmp_path / "nowhere"))
    for name in ("one", "two"):
        pump.submit(bpy.context, shot(tmp_path, name))
    pump.run_until_idle(60)
    assert status("one").code == "engine_missing" and status("one").remedy.action == "install_engine"
    assert pump.error.code == "engine_missing" and "nowhere" in status("two").held
    engine("prints")
    pump.retry("two")
    pump.retry("one")
    pump.run_until_idle(60)
    assert isinstance(status("one"), slate.Printed) and isinstance(status("two"), slate.Printed) and pump.error is None


@pytest.mark.parametrize("behaviour, action", [("does_not_start", "repair_engine"), ("other_version", "update_engine")])
def test_an_engine_that_cannot_be_used_says_what_to_do(engine, tmp_path, behaviour, action):
    engine(behaviour)
    pump.submit(bpy.context, shot(tmp_path))
    pump.run_until_idle(60)
    assert pump.error.remedy.action == action and status().remedy.action == action


def test_cutting_while_the_guides_roll_leaves_the_scene_as_it_was(engine, tmp_path):
    before = bpy.context.scene.frame_current, bpy.context.scene.render.engine, len(bpy.data.scenes)
    pump.submit(bpy.context, shot(tmp_path, frames=30, guides=(protocol.Guide(kind="depth", path=""),)))
    tick_until(lambda: getattr(status(), "step", 0) >= 1)
    assert status().stage == "guides"
    pump.cut("one")
    assert status() == slate.Cut()
    assert (bpy.context.scene.frame_current, bpy.context.scene.render.engine, len(bpy.data.scenes)) == before
    pump.retry("one")
    tick_until(lambda: getattr(status(), "step", 0) >= 1)


def test_cutting_while_the_engine_rolls(engine, tmp_path):
    engine("slow")
    pump.submit(bpy.context, shot(tmp_path, frames=200))
    tick_until(lambda: getattr(status(), "stage", "") == "denoise")
    pump.cut("one")
    assert status().cutting
    pump.run_until_idle(60)
    assert status().printed >= 1


def test_an_engine_that_was_stopped_and_stays_is_seen_out(engine, tmp_path):
    engine("stubborn")
    pump.warm()
    tick_until(lambda: pump.engine_ready)
    left = pump.engine.child
    pump.stop()
    assert pump.engine is None and left.poll() is None
    tick_until(lambda: left.poll() is not None)
    pump.tick()
    assert pump.tick() is None


def test_a_scene_deleted_while_its_guides_roll(engine, tmp_path):
    scene = bpy.data.scenes.new("street")
    scene.camera = bpy.context.scene.camera
    scene.collection.objects.link(scene.camera)
    asked = shot(tmp_path, frames=30, guides=(protocol.Guide(kind="depth", path=""),), landing={"scene": "street"})
    pump.submit(bpy.context, asked)
    tick_until(lambda: getattr(status(), "step", 0) >= 1)
    bpy.data.scenes.remove(scene)
    pump.run_until_idle(60)
    assert isinstance(status(), slate.Failed) and "street" in status().sentence


def test_a_file_opened_in_between_prints_but_does_not_land(engine, tmp_path):
    doors.register()
    try:
        engine("slow")
        pump.submit(bpy.context, shot(tmp_path, landings=("strip",)))
        tick_until(lambda: getattr(status(), "stage", "") == "denoise")
        bpy.ops.wm.read_homefile(use_empty=False, use_factory_startup=True)
        pump.run_until_idle(60)
        assert isinstance(status(), slate.Printed) and "not landed" in status().notes[-1]
        assert strips() == [] and protocol.read_take(tmp_path / "one").files.count == 3
    finally:
        doors.unregister()


def test_a_saved_file_that_was_opened_again_is_home(engine, tmp_path):
    engine("slow")
    file = str(tmp_path / "ü 汉.blend")
    bpy.ops.wm.save_as_mainfile(filepath=file)
    pump.submit(bpy.context, shot(tmp_path, landings=("strip",)))
    tick_until(lambda: getattr(status(), "stage", "") == "denoise")
    bpy.ops.wm.open_mainfile(filepath=file)
    home.another_file()
    pump.run_until_idle(60)
    assert len(strips()) == 1


def test_a_shot_of_a_file_that_closed_while_its_guides_rolled_waits(engine, tmp_path):
    doors.register()
    try:
        pump.submit(bpy.context, shot(tmp_path, frames=30, guides=(protocol.Guide(kind="depth", path=""),)))
        tick_until(lambda: getattr(status(), "step", 0) >= 1)
        bpy.ops.wm.read_homefile(use_empty=False, use_factory_startup=True)
        assert "closed" in status().held
        pump.retry("one")
        pump.run_until_idle(60)
        assert "not open" in status().sentence
    finally:
        doors.unregister()


def test_what_was_interrupted_is_offered_and_can_be_shot(engine, tmp_path):
    engine("slow")
    pump.submit(bpy.context, shot(tmp_path, frames=100))
    tick_until(lambda: getattr(status(), "stage", "") == "denoise")
    pump.sleep()
    assert pump.slate == slate.Slate() and pump.engine is None
    pump.resume(tmp_path)
    assert status().held and pump.slate.following is None
    engine("prints")
    pump.retry("one")
    pump.run_until_idle(60)
    assert isinstance(status(), slate.Printed)
    pump.clear()
    pump.resume(tmp_path)
    assert pump.slate.entries == ()


def test_a_deleted_take_folder_is_a_sentence(engine, tmp_path):
    engine("slow")
    pump.submit(bpy.context, shot(tmp_path, landings=("strip",)))
    tick_until(lambda: getattr(status(), "stage", "") == "denoise")
    end = time.monotonic() + 60
    while not (tmp_path / "one" / protocol.TAKE_FILE).exists() and time.monotonic() < end:
        time.sleep(.01)                             # no tick may hear that it is done before the file is gone
    (tmp_path / "one" / protocol.TAKE_FILE).unlink()
    pump.run_until_idle(60)
    assert "not landed" in status().notes[-1]


def test_an_unwritable_folder_is_said_before_anything_rolls(engine, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception) as caught:
        pump.submit(bpy.context, shot(tmp_path / "file"))
    assert caught.value.code == "bad_folder" and pump.slate.entries == ()


def test_blender_rendering_frees_the_model_but_our_guides_do_not(engine, tmp_path):
    doors.register()
    try:
        pump.submit(bpy.context, shot(tmp_path, frames=1, guides=(protocol.Guide(kind="depth", path=""),)))
        pump.run_until_idle(60)
        heard = []
        pump.make_way()
        end = time.monotonic() + 20
        while not any(isinstance(event, protocol.Unloaded) for event in heard) and time.monotonic() < end:
            heard += pump.engine.poll()
            time.sleep(0.01)
        assert [type(event) for event in heard] == [protocol.Unloaded]
    finally:
        doors.unregister()


def test_disabling_ends_the_engine_and_leaves_no_handlers(engine):
    before = {name: len(getattr(bpy.app.handlers, name)) for name in ("load_pre", "load_post", "render_init")}
    doors.register()
    pump.warm()
    tick_until(lambda: pump.engine_ready)
    child = pump.engine.child
    doors.unregister()
    assert child.wait(20) is not None and pump.engine is None
    assert {name: len(getattr(bpy.app.handlers, name)) for name in before} == before


OTHER_BLENDER = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import conftest, bpy
from sora.engine import protocol
from sora.sora_addon import pump
takes = sys.argv[2]
pump.submit(bpy.context, protocol.Shot(id="one", family="blockout", prompt="a street", seed=1, size=protocol.Size(64, 64), frames=500,
                                       fps=24.0, out=os.path.join(takes, "one")))
while not os.path.exists(os.path.join(takes, "one", "frames", "plate.0003.png")):
    pump.tick()
    time.sleep(0.01)
print("rolling", pump.engine.child.pid, flush=True)
time.sleep(120)
"""


def test_a_killed_blender_keeps_what_was_printed_and_its_shot_is_offered(engine, tmp_path):
    engine("slow")
    tests = Path(__file__).resolve().parents[1]
    other = subprocess.Popen([sys.executable, "-c", OTHER_BLENDER, str(tests), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        while not (line := other.stdout.readline()).startswith("rolling"):
            assert line, "the other Blender ended"
        pump.resume(tmp_path)
        assert pump.slate.entries == (), "the other one is still making it"
    finally:
        other.kill()
        other.wait()
    assert len(list((tmp_path / "one" / "frames").iterdir())) >= 3
    pump.resume(tmp_path)
    assert "Interrupted" in status().held
