"""What a take keeps of its sampling: the same frames again, other formats and sizes, and refusals of what does not fit."""
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from engine import shoot
from engine.errors import ShotError
from engine.protocol import Keyframe, Size
from tests.engine.open_stage import Stage
from tests.engine.test_shoot import image, pixels, write_depth


@pytest.fixture(scope="module")
def studio():
    return shoot.Studio()


def roll(shot, studio, stages=None):
    return shoot.roll(shot, (stages or []).append, threading.Event(), studio)


def test_frames_are_made_again_without_sampling(a_shot, studio, tmp_path):
    import cv2
    cv2.imwrite(str(tmp_path / "still.png"), cv2.randu(cv2.UMat(64, 96, cv2.CV_8UC3), 0, 255).get())
    first = roll(a_shot("first", frames=53, guides=(write_depth(tmp_path / "d", 53),), keyframes=(Keyframe(frame=3, path=str(tmp_path / "still.png")),)),
                 studio)
    said, asked = [], replace(first.shot, id="again", out=str(tmp_path / "again"), latents=first.shot.out)
    again = roll(asked, studio, said)
    assert pixels(again) == pixels(first) and not any(progress.stage in ("denoise", "text") for progress in said)
    assert again.seconds.get("denoise") is None and any("first had sampled" in note for note in again.notes)
    third = roll(replace(asked, id="third", out=str(tmp_path / "third"), latents=again.shot.out, format="png16"), studio)
    assert third.files.names() == first.files.names() and pixels(third) != pixels(first)
    assert abs(image(tmp_path / "third/frames/plate.0001.png") / 257.0 - image(tmp_path / "first/frames/plate.0001.png")).max() < 1


def test_frames_are_made_again_larger(a_shot, studio, tmp_path):
    first = roll(a_shot("small"), studio)
    large = roll(replace(first.shot, id="large", out=str(tmp_path / "large"), latents=first.shot.out, size=Size(192, 128)), studio)
    assert large.native == first.native and image(tmp_path / "large/frames/plate.0001.png").shape == (128, 192, 3)


@pytest.mark.parametrize(("change", "words"), [({"frames": 9}, "their frames is 5, not 9"), ({"fps": 30.0}, "their fps is 24, not 30"),
                                               ({"model": "other"}, "their model is")])
def test_latents_of_another_clip_are_refused(a_shot, studio, tmp_path, tiny_model, change, words):
    first = roll(a_shot("first"), studio)
    if "model" in change:
        change = {"model": str(shutil.copytree(tiny_model, tmp_path / "other"))}
    with pytest.raises(ShotError, match=words):
        roll(replace(first.shot, id="odd", out=str(tmp_path / "odd"), latents=first.shot.out, **change), studio)


def test_latents_that_are_gone_or_damaged_are_refused(a_shot, studio, tmp_path):
    first = roll(a_shot("first"), studio)
    file = Path(first.shot.out, "latents", "0000.safetensors")
    asked = replace(first.shot, id="odd", out=str(tmp_path / "odd"), latents=first.shot.out)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ShotError, match="cannot be read"):
        roll(asked, studio)
    shutil.rmtree(file.parent)
    with pytest.raises(ShotError, match="first kept no latents"):
        roll(asked, studio)


@pytest.mark.parametrize(("family", "model"), [("wan", "wan_text"), ("ltx2", "ltx2")])
def test_open_families_decode_again_to_the_same(tmp_path, checkpoints, family, model, monkeypatch):
    monkeypatch.setenv("SORA_CACHE", "")
    stage = Stage(tmp_path, checkpoints)
    first = stage.roll(family, model)
    again = stage.roll(family, model, latents=first.shot.out)
    assert pixels(again) == pixels(first) and again.sound == first.sound
    if first.sound:
        assert Path(again.shot.out, again.sound).read_bytes() == Path(first.shot.out, first.sound).read_bytes()
