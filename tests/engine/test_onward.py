"""Shots that join finished takes: what they show of them, where they lie, how a loop is played, and what is refused in a sentence."""
import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine import clip, commands, onward, protocol
from engine.errors import SoraError
from engine.protocol import Files, Keyframe, Loop, Shot, Size, Take, loop_of, read_take


def a_take(folder: Path, start: int = 30, count: int = 9, size: Size = Size(96, 64), kind: str = "png", **fields) -> Path:
    """A finished take of flat frames, each brighter than the one before."""
    (folder / "frames").mkdir(parents=True)
    for index in range(count):
        grey = np.full((size.height, size.width, 3), (index + 1) / 20, np.float32)
        if kind == "exr":
            import OpenEXR
            planes = {letter: np.ascontiguousarray(grey[..., 0]) for letter in "RGB"}
            OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, planes).write(str(folder / f"frames/plate.{start + index:04d}.exr"))
        else:
            cv2.imwrite(str(folder / f"frames/plate.{start + index:04d}.png"), np.rint(grey * 255).astype(np.uint8))
    shot = Shot(**{"id": folder.name, "family": "blockout", "prompt": "a red car", "seed": 1, "size": size, "frames": count, "fps": 24.0, "out": str(folder),
                   "frame_start": start, "format": kind, **fields})
    take = Take(id=folder.name, shot=shot, files=Files(folder="frames", pattern=f"plate.%04d.{kind}", first=start, count=count, colourspace="sRGB"), native=size,
                native_frames=count, device="cpu", created="2026-01-01T00:00:00Z", engine={}, seconds={}, peak_bytes=0)
    (folder / "take.json").write_text(protocol.as_json(take))
    return folder


@pytest.fixture
def take(tmp_path):
    return a_take(tmp_path / "car")


def joined(out: Path, after: Path | str | None = None, before: Path | str | None = None, **given) -> Shot:
    return commands._shot(None, given, out / "made", after and str(after), before and str(before))


def stills(shot: Shot) -> dict[int, str]:
    return {still.frame: Path(still.path).stem for still in shot.keyframes}


def test_after_a_take_a_shot_goes_on_with_its_settings(take, tmp_path):
    shot = joined(tmp_path, take)
    assert stills(shot) == {i: f"plate.{34 + i:04d}" for i in range(5)}
    assert (shot.frame_start, shot.frames, shot.prompt, shot.size, shot.out) == (34, 9, "a red car", Size(96, 64), str(tmp_path / "made"))
    other = joined(tmp_path, f"{take}@2", prompt="a blue car", frames=13, frame_start=7)
    assert (other.prompt, other.frames, other.frame_start, sorted(stills(other))) == ("a blue car", 13, 7, [0, 1])
    assert joined(tmp_path, take).seed != shot.seed, "the same noise would tempt it to do the same again"


def test_before_a_take_a_shot_leads_to_it(take, tmp_path):
    shot = joined(tmp_path, before=f"{take}@3")
    assert stills(shot) == {6 + i: f"plate.{30 + i:04d}" for i in range(3)} and shot.frame_start + 6 == 30


def test_a_link_has_as_many_new_frames_as_the_family_can_make(take, tmp_path):
    other = a_take(tmp_path / "sea", start=100, size=Size(64, 64))
    shot = joined(tmp_path, take, other)
    assert (shot.frames, shot.frame_start, shot.size) == (37, 34, Size(96, 64)) and loop_of(shot) is None
    assert stills(shot) == {i: f"plate.{34 + i:04d}" for i in range(5)} | {32 + i: f"plate.{100 + i:04d}" for i in range(5)}
    assert joined(tmp_path, f"{take}@1", f"{other}@2", frames=9).frames == 9


def test_played_with_its_take_a_loop_shows_no_picture_twice(take, tmp_path):
    shot = joined(tmp_path, f"{take}@3", f"{take}@2")
    assert loop_of(shot) == Loop(take, 3, 2)
    first, last = shot.numbered(3), shot.numbered(shot.frames - 3)
    assert first == 30 + 9, "the frame after the take's last one"
    assert {shot.numbered(frame): name for frame, name in stills(shot).items() if frame > 3} == {last + 1: "plate.0030", last + 2: "plate.0031"}
    note, = clip.loop_notes(shot)
    assert f"play car, then the frames {first} to {last} of this" in note


def test_stills_from_elsewhere_make_no_loop(take, tmp_path):
    shot = joined(tmp_path, f"{take}@1", f"{take}@1", frames=9)
    assert loop_of(shot)
    turned = dataclasses.replace(shot, keyframes=tuple(Keyframe(frame=8 - still.frame, path=still.path) for still in shot.keyframes))
    assert loop_of(turned) is None and loop_of(dataclasses.replace(shot, keyframes=shot.keyframes[:1])) is None
    shutil.rmtree(take)
    assert loop_of(shot) is None


def test_a_family_of_ends_and_a_rate_of_its_own_share_one_picture(take, tmp_path):
    for family in ("wan", "skyreels", "ltx2"):
        shot = joined(tmp_path, take, take, family=family)
        assert sorted(stills(shot)) == [0, shot.frames - 1] and shot.model == "" and shot.guidance < 0
    assert len(joined(tmp_path, take, family="vace").keyframes) == 5


def test_linear_frames_are_developed_once(tmp_path):
    take = a_take(tmp_path / "light", kind="exr")
    shot = joined(tmp_path, take, take)
    first, last = (cv2.imread(shot.keyframes[at].path, cv2.IMREAD_UNCHANGED) for at in (0, -1))
    assert first.dtype == np.uint16 and abs(int(first[0, 0, 0]) / 65535 - 0.537) < 0.001        # sRGB of 0.25, the fifth frame of nine
    assert abs(int(last[0, 0, 0]) / 65535 - 0.537) < 0.001 and loop_of(shot) == Loop(take, 5, 5)
    stamp = Path(shot.keyframes[0].path).stat().st_mtime_ns
    assert Path(joined(tmp_path, take).keyframes[0].path).stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("ends", "given", "said"), [
    ({"after": "/nowhere"}, {}, "/nowhere is no finished take"), ({"after": "{}@0"}, {}, "shares no picture"), ({"before": "{}@40"}, {}, "has 9 frames, fewer than the 40"),
    ({"after": "{}"}, {"frames": 5}, "leave none of the shot's 5"), ({"after": "{}@x"}, {}, "is no finished take")])
def test_what_cannot_be_joined_is_said(take, tmp_path, ends, given, said):
    with pytest.raises(SoraError) as caught:
        joined(tmp_path, **{name: text.format(take) for name, text in ends.items()}, **given)
    assert said in caught.value.sentence and caught.value.bad_request and caught.value.sentence.endswith(".")


def test_a_take_that_lacks_a_picture_is_named(take, tmp_path):
    (take / "frames/plate.0030.png").unlink()
    assert joined(tmp_path, take)
    with pytest.raises(SoraError, match="car lacks plate.0030.png"):
        joined(tmp_path, before=take)


def test_a_take_is_looped_by_the_command_line(engine_cli, tiny_model, tmp_path):
    flags = ["--model", tiny_model, "--size", "96x64", "--steps", "2", "--seed", "3"]
    made = engine_cli("shoot", *flags, "--frames", "9", "--prompt", "a red car", "--frame-start", "20", "--format", "exr", "--out", tmp_path / "car")
    assert made.returncode == 0, made.stderr
    looped = engine_cli("shoot", "--after", f"{tmp_path / 'car'}@5", "--before", tmp_path / "car", "--frames", "17", "--out", tmp_path / "loop")
    assert looped.returncode == 0, looped.stderr
    take = read_take(tmp_path / "loop")
    assert (take.shot.frame_start, take.shot.format, len(take.shot.keyframes)) == (24, "exr", 10)
    assert any("play car, then the frames 29 to 35 of this" in note for note in take.notes) and any("Goes on from car as the model drew it" in note for note in take.notes)
    refused = engine_cli("shoot", "--after", tmp_path / "nobody", "--out", tmp_path / "bad")
    assert refused.returncode == 2 and "is no finished take" in refused.stderr
