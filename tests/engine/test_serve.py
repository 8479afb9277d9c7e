"""The engine as a process, over its real wire."""
import hashlib
import json
import os
import signal
from pathlib import Path

import pytest

from engine import presets, protocol
from engine.protocol import Cancel, Cancelled, Done, Failed, Progress, Quit, Ready, Shoot, Size, Unload, Unloaded


def hashes(folder: str) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(folder, "frames").glob("plate.*"))]


@pytest.fixture
def engine(engines):
    one = engines()
    assert isinstance(one.hear(), Ready)
    return one


def test_ready_comes_first_and_says_what_there_is(engines):
    one = engines()
    ready = one.hear()
    assert isinstance(ready, Ready) and ready.pid == one.child.pid and ready.device
    assert [family.name for family in ready.families][:3] == ["blockout", "wan", "vace"]


def test_a_shot_becomes_a_take(engine, a_shot):
    shot = a_shot("ü 汉 {#%}", frames=7, frame_start=12)
    engine.say(Shoot(shot=shot))
    said = engine.until(lambda event: isinstance(event, protocol.ENDINGS))
    assert isinstance(said[-1], Done) and said[-1].take == shot.out
    stages = [event.stage for event in said if isinstance(event, Progress)]
    assert [stage for stage in ("load", "text", "denoise", "decode", "write", "proxy") if stage not in stages] == []
    take = protocol.read_take(shot.out)
    assert take.files.names() == [f"plate.{number:04d}.png" for number in range(12, 19)] == sorted(os.listdir(Path(shot.out, "frames")))
    assert take.native == Size(96, 64) and take.native_frames == 9 and any("trimmed" in note for note in take.notes)
    assert take.seconds["denoise"] > 0 and take.peak_bytes > 0 and take.shot == presets.applied(shot)
    assert not list(Path(shot.out).glob(".*"))
    assert sorted(os.listdir(shot.out)) == ["frames", "latents", "proxy.mp4", "shot.json", "take.json", "take.sequence.json"]


def test_the_index_holds_every_file_as_it_is(engine, a_shot):
    shot = a_shot()
    engine.say(Shoot(shot=shot))
    engine.ending(shot.id)
    index = json.loads(Path(shot.out, "take.sequence.json").read_text())
    assert [entry["sha256"] for entry in index["files"]] == hashes(shot.out)
    assert all(Path(shot.out, entry["name"]).stat().st_size == entry["size"] for entry in index["files"])


def test_same_seed_same_pixels_warm_cold_and_after_a_cut(engines, engine, a_shot):
    engine.say(Shoot(shot=a_shot("cold")))
    assert isinstance(engine.ending("cold"), Done)
    engine.say(Shoot(shot=a_shot("cut", frames=97)))
    engine.stage("cut", "decode")
    engine.say(Cancel(shot="cut"))
    assert isinstance(engine.ending("cut"), Cancelled)
    engine.say(Shoot(shot=a_shot("warm")))
    engine.ending("warm")
    engine.say(Unload())
    engine.until(lambda event: isinstance(event, Unloaded))
    engine.say(Shoot(shot=a_shot("again")))
    engine.ending("again")
    engine.say(Shoot(shot=a_shot("other", seed=8)))
    engine.ending("other")
    shot = {name: hashes(a_shot(name).out) for name in ("cold", "warm", "again", "other")}
    assert shot["cold"] == shot["warm"] == shot["again"] and len(shot["cold"]) == 5
    assert not set(shot["cold"]) & set(shot["other"])


@pytest.mark.parametrize("stage", ["load", "text", "guides", "denoise", "decode"])
def test_cancel_ends_a_shot_in_every_stage_and_the_engine_goes_on(engine, a_shot, stage):
    long = a_shot("long", frames=1440)
    engine.say(Shoot(shot=long))
    assert isinstance(engine.stage("long", stage), Progress)
    engine.say(Cancel(shot="long"))
    ending = engine.ending("long")
    assert isinstance(ending, Cancelled) and ending.printed == len(hashes(long.out)) < 300
    assert not Path(long.out, "take.json").exists() and not list(Path(long.out).rglob(".*"))
    engine.say(Shoot(shot=a_shot("next", frames=1)))
    assert isinstance(engine.ending("next"), Done)


def test_a_shot_in_line_is_cancelled_at_once(engine, a_shot):
    engine.say(Shoot(shot=a_shot("first", frames=1440)))
    engine.say(Shoot(shot=a_shot("second")))
    engine.say(Cancel(shot="second"))
    ending = engine.until(lambda event: isinstance(event, protocol.ENDINGS))[-1]
    assert ending == Cancelled(shot="second") and not Path(a_shot("second").out).exists()
    engine.say(Cancel(shot="first"))
    assert isinstance(engine.ending("first"), Cancelled)


def test_what_is_not_a_message_is_answered_and_survived(engine, a_shot):
    shoot = protocol.write(Shoot(shot=a_shot()))
    for line, code in ((b"garbage", "bad_message"), (b"\xff\xfe\x00", "bad_message"), (shoot[:60].encode(), "bad_message"), (b'{"v":1,"type":"Dance"}', "bad_message"),
                       (b'{"v":2,"type":"Quit"}', "other_version"), (b"[" * 100_000, "bad_message"), (b'{"v":1,"type":"Shoot","shot":{}}', "bad_message"),
                       (b"x" * (protocol.LONGEST_LINE + 70_000), "bad_message")):
        engine.raw(line + b"\n")
        failed = engine.hear()
        assert isinstance(failed, Failed) and (failed.shot, failed.code) == ("", code), line[:40]
    engine.raw(b"\n" + shoot.encode())
    assert isinstance(engine.ending("take"), Done)


@pytest.mark.parametrize(("fields", "code", "remedy"), [
    ({"prompt": " \n"}, "bad_shot", "write_prompt"), ({"frames": 0}, "bad_shot", "set_frames"), ({"frames": 5000}, "bad_shot", "set_frames"),
    ({"size": Size(97, 64)}, "bad_shot", "set_size"), ({"fps": 0.0}, "bad_shot", None), ({"format": "tiff"}, "bad_shot", None),
    ({"family": "nobody"}, "bad_model", "choose_model"), ({"model": "nothing"}, "bad_model", "choose_model"), ({"out": "here"}, "bad_shot", "choose_folder"),
    ({"guides": (protocol.Guide(kind="vector", path="/x"),)}, "bad_guide", "drop_guide"), ({"seed": -1}, "bad_shot", None),
    ({"keyframes": (protocol.Keyframe(frame=5, path="/x"),)}, "bad_keyframe", "leave_out"), ({"keyframes": (protocol.Keyframe(frame=0, path="/x"),)}, "bad_keyframe", "leave_out")])
def test_a_shot_that_cannot_be_gets_a_sentence(fields, code, remedy, a_shot):
    from engine import check, errors
    with pytest.raises(errors.SoraError) as refused:
        check.shot(a_shot(**fields))
    error = refused.value
    assert error.code == code and error.sentence.endswith(".") and (error.remedy.action if error.remedy else None) == remedy and error.bad_request


def test_a_refused_shot_ends_once_and_touches_nothing(engine, a_shot):
    engine.say(Shoot(shot=a_shot(prompt="")))
    failed = engine.ending("take")
    assert (failed.code, failed.remedy.action) == ("bad_shot", "write_prompt") and not Path(a_shot().out).exists()
    engine.say(Quit())
    assert engine.rest() == [] and engine.child.wait(60) == 0


def test_the_end_of_stdin_cancels_and_leaves(engine, a_shot):
    engine.say(Shoot(shot=a_shot("rolling", frames=1440)))
    engine.say(Shoot(shot=a_shot("waiting")))
    engine.stage("rolling", "denoise")
    engine.child.stdin.close()
    endings = [event for event in engine.rest() if isinstance(event, protocol.ENDINGS)]
    assert sorted(ending.shot for ending in endings) == ["rolling", "waiting"] and all(isinstance(ending, Cancelled) for ending in endings)
    assert engine.child.wait(60) == 0
    engine.child.stdin = open(os.devnull)


def test_a_killed_engine_keeps_what_was_printed_and_another_finishes(engines, engine, a_shot):
    shot = a_shot(frames=200)
    engine.say(Shoot(shot=shot))
    engine.until(lambda event: isinstance(event, Progress) and event.stage == "decode" and event.step > 12)
    engine.child.send_signal(signal.SIGKILL)
    engine.child.wait()
    kept = {path.name: path.read_bytes() for path in Path(shot.out, "frames").glob("plate.*")}
    assert kept and all(content.endswith(b"IEND\xaeB`\x82") for content in kept.values())
    other = engines()
    other.say(Shoot(shot=shot))
    assert isinstance(other.ending(shot.id), Done)
    assert all(Path(shot.out, "frames", name).read_bytes() == content for name, content in kept.items())


def test_two_engines_on_one_device_take_turns(engines, a_shot, tmp_path):
    first, second = engines(SORA_LOCKS=str(tmp_path)), engines(SORA_LOCKS=str(tmp_path))
    first.say(Shoot(shot=a_shot("first", frames=1440)))
    first.stage("first", "denoise")
    second.say(Shoot(shot=a_shot("second")))
    waiting = second.stage("second", "waiting")
    assert isinstance(waiting, Progress) and "Another engine" in waiting.note
    second.say(Shoot(shot=a_shot("third")))
    second.say(Cancel(shot="second"))
    assert second.ending("second") == Cancelled(shot="second")
    first.child.send_signal(signal.SIGKILL)
    assert isinstance(second.ending("third"), Done)


def test_nothing_a_library_prints_reaches_the_wire(engine, a_shot):
    engine.say(Shoot(shot=a_shot()))
    engine.ending("take")
    assert os.readlink(f"/proc/{engine.child.pid}/fd/1") == os.readlink(f"/proc/{engine.child.pid}/fd/2")
