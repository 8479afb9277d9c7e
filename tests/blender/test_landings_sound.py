"""A take's sound lands beside its strip: the same frames, one undo step, never twice."""
import wave
from dataclasses import replace
from pathlib import Path

import bpy
import pytest

from sora.sora_addon import compat, landings
from tests.blender.landing_stage import far_off, fresh, make_take, rendered


def make_sounding_take(folder, seconds=None, **more):
    """A take with a WAV file as long as its frames, or of so many seconds."""
    take, home = make_take(folder, **more)
    length = round((take.shot.frames / take.shot.fps if seconds is None else seconds) * 48000)
    with wave.open(str(home / "sound.wav"), "wb") as file:
        file.setparams((2, 2, 48000, length, "NONE", ""))
        file.writeframes(bytes(4 * length))
    return replace(take, sound="sound.wav"), home


def land(take, folder, **options):
    return landings.land(bpy.context, "strip", take, folder, options)


def pair(scene):
    """The picture strip and the sound strip, when there is one of each."""
    strips = scene.sequence_editor.strips
    picture, = (strip for strip in strips if strip.type == "IMAGE")
    sound, = (strip for strip in strips if strip.type == "SOUND")
    return picture, sound


@pytest.mark.parametrize("count", [1, 5, 49])
def test_sound_lies_under_the_strip_over_the_same_frames(tmp_path, count):
    scene = fresh()
    said = land(*make_sounding_take(tmp_path, start=10, count=count))
    picture, sound = pair(scene)
    assert compat.strip_span(picture) == compat.strip_span(sound) == (10, 10 + count)
    assert sound.channel == picture.channel - 1 and "Its sound is on channel 1." in said
    assert sound["sora"]["take"] == picture["sora"]["take"]
    assert far_off(rendered(scene, 10, tmp_path), 0) <= 1


def test_landing_again_refreshes_both(tmp_path):
    scene = fresh()
    take, home = make_sounding_take(tmp_path)
    land(take, home)
    assert "refreshed" in land(take, home)
    pair(scene)
    scene.sequence_editor.strips.remove(pair(scene)[1])
    land(take, home)
    picture, sound = pair(scene)
    assert compat.strip_span(sound) == compat.strip_span(picture)


def test_takes_lie_above_each_other_with_their_sounds(tmp_path):
    scene = fresh()
    land(*make_sounding_take(tmp_path))
    land(*make_sounding_take(tmp_path))
    assert sorted((strip.channel, strip.type) for strip in scene.sequence_editor.strips) == [(1, "SOUND"), (2, "IMAGE"), (3, "SOUND"), (4, "IMAGE")]


def test_on_the_first_channel_sound_lies_above(tmp_path):
    scene = fresh()
    land(*make_sounding_take(tmp_path), channel="1")
    picture, sound = pair(scene)
    assert (picture.channel, sound.channel) == (1, 2)


def test_locked_channels_get_no_sound(tmp_path):
    scene = fresh()
    scene.sequence_editor_create().channels[2].lock = True
    land(*make_sounding_take(tmp_path), channel="3")
    assert pair(scene)[1].channel == 4


@pytest.mark.parametrize("fps", [12, 48])
def test_another_frame_rate_keeps_the_frames_and_is_said(tmp_path, fps):
    scene = fresh()
    said = land(*make_sounding_take(tmp_path, count=9, fps=float(fps)))
    picture, sound = pair(scene)
    assert compat.strip_span(sound) == compat.strip_span(picture) == (10, 19) and "out of step" in said


def test_both_are_one_undo_step(tmp_path):
    fresh()
    bpy.context.scene.sequence_editor_create()
    bpy.ops.ed.undo_push(message="before")
    land(*make_sounding_take(tmp_path))
    bpy.ops.ed.undo_push(message="land")
    bpy.ops.ed.undo()
    assert not len(bpy.context.scene.sequence_editor.strips)
    bpy.ops.ed.redo()
    pair(bpy.context.scene)


def test_a_sound_that_is_gone_is_said_and_the_pictures_land(tmp_path):
    scene = fresh()
    take, home = make_sounding_take(tmp_path)
    Path(home, "sound.wav").unlink()
    assert "sound.wav" in land(take, home)
    assert [strip.type for strip in scene.sequence_editor.strips] == ["IMAGE"]


def test_saved_files_point_at_the_sound_relatively(tmp_path):
    fresh()
    place = tmp_path / "project"
    place.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(place / "shot.blend"))
    land(*make_sounding_take(place / "takes"))
    assert pair(bpy.context.scene)[1].sound.filepath.startswith("//")
