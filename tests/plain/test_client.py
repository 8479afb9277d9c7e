"""The engine's client against real processes that behave well and badly."""
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sora.engine import protocol
from sora.engine.errors import EngineMissing, Remedy
from sora.sora_addon import client

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("scripted_engine", Path(__file__).with_name("scripted_engine.py"))
scripted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scripted)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripted engine is a shell script")


@pytest.fixture
def start(tmp_path):
    """start("dies") -> a running client; everything is ended afterwards."""
    started = []

    def begin(behaviour, folder="ü 汉 {#%}", **more):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        engine = client.Engine(scripted.python_for(place, behaviour), ROOT, place / "engine.log", **more)
        engine.start()
        started.append(engine)
        return engine

    yield begin
    for engine in started:
        engine.stop(grace=0.0, wait=True)


def shot(folder, name="one", frames=5):
    return protocol.Shot(id=name, family="blockout", prompt="a street", seed=1, size=protocol.Size(64, 64), frames=frames, fps=24.0,
                         out=str(folder / name))


def until(engine, *kinds, events=None, seconds=20.0):
    """Everything said up to the first event of one of `kinds`."""
    events, end = [] if events is None else events, time.monotonic() + seconds
    while time.monotonic() < end:
        events += engine.poll()
        if any(isinstance(event, kinds) for event in events):
            return events
        time.sleep(0.01)
    raise AssertionError(f"no {kinds} in {seconds} s, only {events}")


def gone(pid):
    """Ended; perhaps nobody has fetched its exit code yet, where the first process of a container fetches none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_shot_from_ready_to_done(start, tmp_path):
    engine = start("prints")
    assert engine.alive
    ready = until(engine, protocol.Ready)[0]
    assert engine.ready == ready and ready.families[0].name == "blockout"
    engine.send(protocol.Shoot(shot=shot(tmp_path)))
    events = until(engine, protocol.Done)
    assert [event.step for event in events if isinstance(event, protocol.Progress)] == [1, 2, 3, 4, 5]
    assert protocol.read_take(tmp_path / "one").files.count == 5
    assert engine.shots == {}


def test_it_stays_warm_for_the_next_shot(start, tmp_path):
    engine = start("prints")
    for name in ("one", "two"):
        engine.send(protocol.Shoot(shot=shot(tmp_path, name)))
        assert until(engine, protocol.Done)[-1].shot == name
    engine.send(protocol.Unload())
    until(engine, protocol.Unloaded)


def test_failure_brings_its_remedy_and_the_engine_lives_on(start, tmp_path):
    engine = start("fails")
    engine.send(protocol.Shoot(shot=shot(tmp_path)))
    assert until(engine, protocol.Failed)[-1].remedy == Remedy(action="set_frames", label="Use 5 Frames", value="5")
    assert engine.alive


def test_death_in_the_middle_of_a_shot_says_the_last_words(start, tmp_path):
    engine = start("dies")
    engine.send(protocol.Shoot(shot=shot(tmp_path)))
    failed = until(engine, protocol.Failed)[-1]
    assert failed.shot == "one" and failed.code == "engine_died" and "the lamp broke" in failed.sentence
    assert failed.remedy == Remedy(action="shoot_again", label="Shoot Again", value="one")
    assert not engine.alive and client.frames_on_disk(shot(tmp_path)) == 2


def test_a_kill_is_called_lack_of_memory(start, tmp_path):
    engine = start("killed")
    engine.send(protocol.Shoot(shot=shot(tmp_path)))
    assert "memory" in until(engine, protocol.Failed)[-1].sentence


def test_every_sent_shot_gets_an_ending(start, tmp_path):
    engine = start("dies")
    for name in ("one", "two"):
        engine.send(protocol.Shoot(shot=shot(tmp_path, name)))
    events = []
    while len([event for event in events if isinstance(event, protocol.Failed)]) < 2:
        until(engine, protocol.Failed, events=events)
        events += engine.poll()
    assert {event.shot for event in events if isinstance(event, protocol.Failed)} == {"one", "two"}
    engine.send(protocol.Shoot(shot=shot(tmp_path, "three")))
    assert engine.poll()[-1].shot == "three"


def test_garbage_is_an_event_and_not_the_end(start, tmp_path):
    engine = start("garbage")
    engine.send(protocol.Shoot(shot=shot(tmp_path)))
    events = until(engine, protocol.Done)
    assert [event.code for event in events if isinstance(event, protocol.Failed)] == ["bad_message", "bad_message"]
    assert all(event.shot == "" for event in events if isinstance(event, protocol.Failed))


def test_an_overlong_line_is_garbage(start, tmp_path):
    engine = start("overlong")
    engine.send(protocol.Shoot(shot=shot(tmp_path)))
    events = until(engine, protocol.Done)
    assert [event.code for event in events if isinstance(event, protocol.Failed)] == ["bad_message"]


def test_a_line_that_breaks_off_is_a_death(start, tmp_path):
    engine = start("truncated")
    engine.send(protocol.Shoot(shot=shot(tmp_path)))
    failed = [event for event in until(engine, protocol.Failed) if isinstance(event, protocol.Failed)]
    assert [(event.shot, event.code) for event in failed] == [("one", "engine_died")]


def test_another_version_is_refused_with_a_remedy(start):
    engine = start("other_version")
    failed = until(engine, protocol.Failed)[-1]
    assert failed.code == "other_version" and failed.remedy.action == "update_engine"
    assert not engine.alive and engine.child.poll() is not None


def test_cut(start, tmp_path):
    engine = start("slow")
    engine.send(protocol.Shoot(shot=shot(tmp_path, frames=100)))
    until(engine, protocol.Progress)
    engine.send(protocol.Cancel(shot="one"))
    assert until(engine, protocol.Cancelled)[-1].printed >= 1
    assert engine.alive


def test_a_cut_that_is_not_heard_ends_the_engine_and_keeps_what_is_printed(start, tmp_path):
    engine = start("hangs_on_cancel", cancel_within=0.3)
    engine.send(protocol.Shoot(shot=shot(tmp_path, frames=100)))
    until(engine, protocol.Progress)
    engine.send(protocol.Cancel(shot="one"))
    cancelled = until(engine, protocol.Cancelled)[-1]
    assert cancelled.printed == client.frames_on_disk(shot(tmp_path)) >= 1
    assert not engine.alive and engine.child.poll() is not None


def test_python_that_is_not_there(tmp_path):
    with pytest.raises(EngineMissing) as caught:
        client.Engine(tmp_path / "python", ROOT, tmp_path / "log").start()
    assert caught.value.remedy.action == "install_engine"


def test_python_that_cannot_be_started(tmp_path):
    (tmp_path / "python").write_text("not a program")
    engine = client.Engine(tmp_path / "python", ROOT, tmp_path / "log")
    engine.start()
    engine.send(protocol.Shoot(shot=shot(tmp_path)))
    failed = until(engine, protocol.Failed)[-1]
    assert (failed.shot, failed.code, failed.remedy.action) == ("one", "engine_broken", "repair_engine")
    assert not engine.alive
    engine.stop(wait=True)


BLENDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import conftest
from sora.sora_addon import client
engine = client.Engine(sys.argv[2], conftest.ROOT, sys.argv[3])
engine.start()
while engine.ready is None:
    engine.poll()
    time.sleep(0.01)
print(engine.ready.pid, flush=True)
time.sleep(60)
"""


def test_a_killed_blender_leaves_no_engine_behind(tmp_path):
    python = scripted.python_for(tmp_path, "prints")
    blender = subprocess.Popen([sys.executable, "-c", BLENDER, str(ROOT / "tests"), str(python), str(tmp_path / "log")],
                               stdout=subprocess.PIPE, text=True)
    pid = int(blender.stdout.readline())
    blender.kill()
    blender.wait()
    end = time.monotonic() + 20
    while not gone(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert gone(pid)


def test_python_without_torch(start):
    failed = until(start("does_not_start"), protocol.Failed)[-1]
    assert failed.code == "engine_broken" and "No module named 'torch'" in failed.sentence
    assert failed.remedy.action == "repair_engine"


def test_an_engine_that_never_gets_ready(start):
    engine = start("silent", ready_within=0.3)
    assert until(engine, protocol.Failed)[-1].code == "engine_broken"
    assert engine.child.poll() is not None


def test_stopping_ends_the_process(start):
    engine = start("prints")
    pid = until(engine, protocol.Ready)[0].pid
    engine.stop(wait=True)
    assert not engine.alive and gone(pid)
    assert engine.poll() == []


def test_stopping_one_that_will_not_leave(start):
    engine = start("stubborn")
    pid = until(engine, protocol.Ready)[0].pid
    engine.stop(grace=0.3, wait=True)
    assert gone(pid)


def test_blenders_own_environment_is_not_passed_on(monkeypatch):
    for name in ("OCIO", "PXR_PLUGINPATH", "MATERIALX_SEARCH_PATH", "PYTHONHOME", "LD_PRELOAD"):
        monkeypatch.setenv(name, "/blender")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    from sora.sora_addon import child
    env = child.environment(PYTHONPATH="/extension")
    assert "/blender" not in env.values()
    assert env["CUDA_VISIBLE_DEVICES"] == "1" and env["PYTHONPATH"] == "/extension"


def test_a_long_log_is_put_aside(tmp_path, start):
    (tmp_path / "ü 汉 {#%}").mkdir()
    path = tmp_path / "ü 汉 {#%}" / "engine.log"
    path.write_bytes(b"x" * (client.LONGEST_LOG + 1))
    until(start("prints"), protocol.Ready)
    assert path.stat().st_size < 1000 and path.with_name("engine.log.1").stat().st_size > client.LONGEST_LOG
