"""The wire: everything written reads back, and whatever else arrives is refused in words."""
import dataclasses
import json
import random

import pytest
from sora.engine import protocol
from sora.engine.errors import ACTIONS, FolderError, Remedy, SoraError, VersionError, WireError
from sora.engine.protocol import (Cancel, Cancelled, Done, Estimate, Estimated, Failed, Files, Guide, Keyframe, Progress, Quit, Ready, Reel,
                                  Shoot, Shot, Size, Take, Unload, Unloaded)

SHOT = Shot(id="ü 汉 {#%}", family="blockout", prompt="a red\ncar \u2028 “quoted”", seed=2 ** 62, size=Size(832, 480), frames=49, fps=23.976, out="/takes/ü 汉 {#%}",
            guides=(Guide(kind="depth", path="/g", near=0.1, far=100.0), Guide(kind="camera", path="/g/camera.json")),
            keyframes=(Keyframe(frame=0, path="/k.png"),), landings=("strip",), landing={"scene": "Szene"})
TAKE = Take(id="t", shot=SHOT, files=Files(folder="frames", pattern="plate.%04d.png", first=98, count=3, colourspace="sRGB"), native=Size(96, 56), native_frames=49,
            device="CPU", created="2026-01-01T00:00:00+00:00", engine={"torch": "2"}, seconds={"denoise": 1.5}, peak_bytes=2 ** 40, notes=("Up-scaled",))
SPEC = protocol.FamilySpec(name="b", label="B", note="", licence="MIT", guides=("depth",))
MESSAGES = [Shoot(shot=SHOT), Cancel(shot="a"), Unload(), Quit(), Ready(engine="1", device="CPU", families=(SPEC,), pid=3,
            slow=protocol.Finding(what="GPU", found="No.", well=False, remedy=Remedy(action="repair_engine", label="Repair"))),
            Progress(shot="a", stage="denoise", step=1, steps=8, eta=2.5, preview="/p.png", note="n",
                     reel=Reel(folder="/t/preview", pattern="%02d.png", count=16, fps=6.5)), Done(shot="a", take="/t", notes=("x",)),
            Failed(shot="", code="bad_message", sentence="No.", remedy=Remedy(action="show_log", label="Log")), Failed(shot="a", code="c", sentence="s"),
            Cancelled(shot="a", printed=3), Unloaded(), Estimate(shot=SHOT),
            Estimated(shot="a", plan="fp8", bytes=2 ** 34, free=2 ** 33, fits=False, note="No.", remedy=Remedy(action="set_frames", label="Use 9", value="9"))]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_reads_back_as_it_was_on_one_plain_line(message):
    line = protocol.write(message)
    assert line.endswith("\n") and line.count("\n") == 1 and line.isascii() and len(line.splitlines()) == 1
    assert protocol.read(line) == message


def test_every_kind_of_message_is_tried():
    assert {type(message) for message in MESSAGES} == set(protocol.REQUESTS + protocol.EVENTS)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_a_newer_side_adds_is_ignored(message):
    fields = {**json.loads(protocol.write(message)), "mood": {"deep": [1]}}
    assert protocol.read(json.dumps(fields)) == message


def test_another_version_is_refused_with_a_remedy():
    for version in (0, 2, "1", None):
        with pytest.raises(VersionError) as refused:
            protocol.read(json.dumps({"v": version, "type": "Quit"}))
        assert refused.value.remedy.action == "update_engine" and refused.value.code == "other_version"


def test_requests_and_events_are_kept_apart():
    with pytest.raises(WireError, match="Quit"):
        protocol.read(protocol.write(Quit()), protocol.EVENTS)


@pytest.mark.parametrize("line", ["", "null", "[]", "7", '"Quit"', "{}", '{"v":1}', '{"v":1,"type":7}', '{"v":1,"type":"Cancel"}', '{"v":1,"type":"Cancel","shot":7}',
                                  '{"v":1,"type":"Cancel","shot":null}', '{"v":1,"type":["Cancel"],"shot":"a"}', "[" * 50_000, "{\x00}", '{"v":' + "1" * 5000 + "}", "x" * (protocol.LONGEST_LINE + 1)])
def test_what_is_no_message_is_refused(line):
    with pytest.raises(WireError) as refused:
        protocol.read(line)
    assert len(refused.value.sentence) < 500


@pytest.mark.parametrize(("field", "value"), [("frames", "49"), ("frames", 4.5), ("frames", True), ("fps", "24"), ("fps", float("nan")), ("size", [832, 480]),
                                              ("size", {"width": 832}), ("guides", {"kind": "depth"}), ("guides", ["depth"]), ("prompt", None), ("landing", [])])
def test_a_field_of_another_make_is_named(field, value):
    fields = json.loads(protocol.write(Shoot(shot=SHOT)))
    fields["shot"][field] = value
    with pytest.raises(WireError) as refused:
        protocol.read(json.dumps(fields))
    assert refused.value.sentence.endswith(".")


def test_numbers_that_are_none_are_never_written():
    with pytest.raises(ValueError, match="JSON"):
        protocol.write(Progress(shot="a", stage="denoise", eta=float("inf")))


def test_truncated_and_shuffled_messages_never_raise_anything_else():
    draw, line = random.Random(0), protocol.write(Shoot(shot=SHOT))
    for _ in range(2000):
        letters = list(line[:draw.randrange(len(line))] if draw.random() < 0.5 else line)
        for _ in range(draw.randrange(4)):
            if letters:
                letters[draw.randrange(len(letters))] = draw.choice('{}[]",:0x-e\\ ')
        try:
            protocol.read("".join(letters))
        except WireError:
            continue


def test_takes_and_shots_read_back_from_their_files(tmp_path):
    (tmp_path / "take.json").write_text(protocol.as_json(TAKE), encoding="utf-8")
    (tmp_path / "shot.json").write_text(protocol.as_json(SHOT), encoding="utf-8")
    assert protocol.read_take(tmp_path) == TAKE and protocol.read_shot(tmp_path) == SHOT
    assert TAKE.files.names() == ["plate.0098.png", "plate.0099.png", "plate.0100.png"]


def test_a_missing_or_damaged_take_is_said(tmp_path):
    with pytest.raises(FolderError):
        protocol.read_take(tmp_path)
    for text in ("", "{", "[]", "{}", protocol.as_json(TAKE)[:200], "[" * 50_000):
        (tmp_path / "take.json").write_text(text)
        with pytest.raises(WireError):
            protocol.read_take(tmp_path)
    (tmp_path / "take.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(WireError):
        protocol.read_take(tmp_path)


def test_every_error_has_a_code_and_becomes_a_failure():
    kinds = [SoraError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        failed = Failed.of("a", kind("A sentence.", Remedy(action="show_log", label="Show Log")))
        assert protocol.read(protocol.write(failed)) == failed and failed.code == kind.code
    assert len(set(ACTIONS)) == len(ACTIONS)


def test_messages_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SHOT.frames = 3
