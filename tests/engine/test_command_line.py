"""The commands that people type, run as they would."""
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine import commands, protocol
from engine.protocol import Cancelled, Done, Failed, Guide, Progress, Size, read_take

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def flags(tiny_model, tmp_path):
    return ["--model", tiny_model, "--size", "96x64", "--frames", "3", "--steps", "2", "--prompt", "a red car", "--out", tmp_path / "ü 汉 {#%}"]


def events(text: str) -> list:
    return [protocol.read(line, protocol.EVENTS) for line in text.splitlines()]


def test_shoot_from_flags_and_again_from_the_take(engine_cli, flags, tmp_path):
    done = engine_cli("shoot", *flags, "--negative", "fog", "--seed", "5", "--fps", "12.5", "--guidance", "2", "--frame-start", "100", "--format", "png16")
    assert done.returncode == 0, done.stderr
    take = read_take(tmp_path / "ü 汉 {#%}")
    assert (take.shot.seed, take.shot.fps, take.shot.guidance, take.shot.negative, take.shot.size) == (5, 12.5, 2.0, "fog", Size(96, 64))
    assert done.stdout.strip() == take.shot.out and take.files.names()[0] == "plate.0100.png" and "\x1b" not in done.stderr
    again = engine_cli("shoot", Path(take.shot.out, "take.json"), "--out", tmp_path / "again", "--json")
    assert again.returncode == 0, again.stderr
    said = events(again.stdout)
    assert isinstance(said[-1], Done) and all(isinstance(event, Progress) for event in said[:-1])
    for name in take.files.names():
        assert (tmp_path / "again/frames" / name).read_bytes() == Path(take.shot.out, "frames", name).read_bytes()
    refused = engine_cli("shoot", Path(take.shot.out, "shot.json"))
    assert refused.returncode == 2 and "never overwritten" in refused.stderr


@pytest.mark.parametrize(("extra", "code"), [(["--prompt", " "], "bad_shot"), (["--frames", "0"], "bad_shot"), (["--frames", "5000"], "bad_shot"),
                                             (["--size", "97x64"], "bad_shot"), (["--size", "big"], "bad_shot"), (["--guide", "depth"], "bad_shot"),
                                             (["--guide", "depth=/nowhere"], "bad_guide"), (["--keyframe", "0=/nowhere.png"], "bad_keyframe"),
                                             (["--subject", "/nowhere.png"], "bad_keyframe"),
                                             (["--keyframe", "first=/x"], "bad_shot"), (["--family", "nobody"], "bad_model"), (["--format", "gif"], "bad_shot")])
def test_a_bad_request_leaves_with_2_and_a_sentence(engine_cli, flags, extra, code):
    bad = engine_cli("shoot", *flags, *extra, "--json")
    assert bad.returncode == 2
    failed = events(bad.stdout)[-1]
    assert isinstance(failed, Failed) and failed.code == code and failed.sentence.endswith(".")


@pytest.mark.parametrize(("lora", "said"), [("a=0.8@high", "a is for one of two experts"), ("/b/c.safetensors@low", "/b/c.safetensors is for one of two"),
                                            ("a=9@both", "cannot have the strength 9"), ("a=0.8@middle", "add @high or @low")])
def test_a_lora_says_its_strength_and_its_expert(engine_cli, flags, lora, said):
    bad = engine_cli("shoot", *flags, "--lora", lora)
    assert bad.returncode == 2 and said in " ".join(bad.stderr.split())


@pytest.mark.parametrize(("text", "guide"), [
    ("depth=/a:0.1:100", Guide(kind="depth", path="/a", near=0.1, far=100.0)), ("edges=/a@0.6", Guide(kind="edges", path="/a", strength=0.6)),
    ("depth=/a:0.1:100@0.5", Guide(kind="depth", path="/a", near=0.1, far=100.0, strength=0.5)), ("edges=/me@home/a", Guide(kind="edges", path="/me@home/a"))])
def test_a_guide_says_its_distances_and_its_strength(text, guide):
    assert commands._guide(text) == replace(guide, path=str(Path(guide.path).resolve()))


def test_a_clip_to_begin_from_says_how_much_of_it_changes():
    assert commands._source("/a@0.4") == Guide(kind="beauty", path=str(Path("/a").resolve()), strength=0.4)
    assert commands._source("/a").strength == 1.0


@pytest.mark.parametrize(("extra", "said"), [(["--preset", "magic"], "has no preset called 'magic'"), (["--plan", "magic"], "no memory plan called 'magic'"),
                                             (["--compiled"], "is not compiled here"), (["--source", "/nowhere"], "/nowhere"),
                                             (["--guidance-low", "3"], "one transformer")])
def test_what_a_family_cannot_be_asked_for_is_said(engine_cli, flags, extra, said):
    bad = engine_cli("shoot", *flags, *extra)
    assert bad.returncode == 2 and said in " ".join(bad.stderr.split())


def test_flags_that_are_no_flags_leave_with_2(engine_cli):
    assert engine_cli("shoot", "--frames", "many").returncode == 2
    assert engine_cli("shoot", "--prompt", "a red car").returncode == 2
    assert engine_cli("dance").returncode == 2
    assert engine_cli("shoot", "/nowhere/shot.json").returncode == 1


def test_a_broken_folder_leaves_with_1(engine_cli, flags, tmp_path):
    (tmp_path / "file").write_text("in the way")
    failed = engine_cli("shoot", *flags[:-1], tmp_path / "file" / "take")
    assert failed.returncode == 1 and "cannot be" in failed.stderr


def test_interrupting_cuts_and_leaves_with_130(flags):
    child = subprocess.Popen([sys.executable, "-m", "engine", "shoot", *map(str, flags), "--frames", "1440", "--json"], cwd=ROOT,
                             stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    for line in child.stdout:
        if '"denoise"' in line:
            break
    child.send_signal(signal.SIGINT)
    last = events(child.stdout.read())[-1]
    assert child.wait(60) == 130 and isinstance(last, Cancelled)


def test_the_doctor_finds_what_is_well_and_what_is_not(engine_cli):
    said = engine_cli("doctor", "--json")
    findings = {one["what"]: one for one in json.loads(said.stdout)}
    assert {"Engine", "torch", "Device", "Memory", "Working folder", "Model blockout-v0"} <= set(findings)
    assert said.returncode == (0 if all(one["well"] for one in findings.values()) else 1)
    assert all(one["well"] or one["remedy"] for one in findings.values())
    assert findings["torch"]["well"] and "Device" in engine_cli("doctor").stdout


def test_families_are_listed_for_the_panel(engine_cli):
    listed = json.loads(engine_cli("families", "--json").stdout)
    assert [protocol.decode(one, protocol.FamilySpec).name for one in listed][:3] == ["blockout", "wan", "vace"]


def test_serving_and_listing_wait_for_nothing_heavy():
    code = "import sys; import engine.serve, engine.families; sys.exit(bool({'torch', 'numpy', 'typer', 'cv2', 'av', 'OpenEXR'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
