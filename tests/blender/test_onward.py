"""Where a take leads: Remix, Extend, Loop and Blend set the panel, and what they set is frozen into the shot that was meant."""
from pathlib import Path

import bpy
import pytest

from sora.engine import protocol
from sora.sora_addon import compat, families, landings, onward, shot, takes
from tests.blender.landing_stage import make_linear_take, make_take, pixels_of
from tests.blender.vace_stage import scene  # noqa: F401  a fixture


def test_remix_begins_from_the_chosen_take(scene, tmp_path):
    _take, folder = make_take(tmp_path / "takes", start=30, count=9)
    bpy.ops.sora.refresh()
    bpy.ops.sora.remix()
    frozen = shot.frozen(bpy.context)
    assert (frozen.frame_start, frozen.frames, frozen.family, frozen.source.path) == (30, 9, "vace", str(folder / "frames"))
    assert frozen.prompt == "a stone arch"
    scene.sora.family = "skyreels"
    with pytest.raises(RuntimeError, match="does not begin from a clip; choose Blockout or Wan or Wan VACE"):
        bpy.ops.sora.remix()


@pytest.mark.parametrize("shared", [1, 3])
def test_extend_goes_on_from_the_last_pictures(scene, tmp_path, shared):
    _take, folder = make_take(tmp_path / "takes", start=30, count=9, size=(64, 64))
    bpy.ops.sora.refresh()
    scene.sora.prompt = "something else"
    bpy.ops.sora.extend(shared=shared)
    frozen = shot.frozen(bpy.context)
    assert (frozen.frame_start, frozen.frames, frozen.family, frozen.prompt) == (39 - shared, 9, "blockout", "a red car")
    assert [(still.frame, Path(still.path)) for still in frozen.keyframes] == [
        (index, folder / "frames" / f"plate.{39 - shared + index:04d}.png") for index in range(shared)]
    with pytest.raises(RuntimeError, match="fewer than the 12"):
        bpy.ops.sora.extend(shared=12)


def test_extend_of_linear_frames_develops_a_still(scene, tmp_path):
    take, folder = make_linear_take(tmp_path / "takes", 0.25, start=10, count=2, size=(64, 64))
    (folder / "take.json").write_text(protocol.as_json(take))
    bpy.ops.sora.refresh()
    bpy.ops.sora.extend()
    still, = shot.frozen(bpy.context).keyframes
    assert still.path.endswith(".png") and abs(float(pixels_of(still.path)[9, 16, 0]) - 137) <= 1


def test_extend_needs_a_family_with_stills(scene, tmp_path):
    make_take(tmp_path / "takes", family="cogvideox")
    bpy.ops.sora.refresh()
    with pytest.raises(RuntimeError, match="takes no stills"):
        bpy.ops.sora.extend()
    assert scene.sora.family == "vace" and takes.chosen(bpy.context) and families.spec("vace")


def stills_of(frozen) -> dict[int, Path]:
    return {still.frame: Path(still.path) for still in frozen.keyframes}


def chosen(take) -> None:
    session = bpy.context.window_manager.sora
    session.take_index = session.takes.find(take.id)


@pytest.mark.parametrize(("shared", "new", "frames"), [(0, 24, 37), (2, 6, 13), (1, 3, 5)])
def test_a_loop_leads_from_the_last_pictures_back_to_the_first(scene, tmp_path, shared, new, frames):
    _take, folder = make_take(tmp_path / "takes", start=30, count=9, size=(64, 64))
    bpy.ops.sora.refresh()
    scene.sora.use_guides = True
    said = onward.loop(scene, takes.opened(takes.chosen(bpy.context)), folder, shared, new)
    assert bpy.ops.sora.loop(shared=shared, new=new) == {"FINISHED"}
    frozen, count = shot.frozen(bpy.context), shared or 5
    assert (frozen.frame_start, frozen.frames, frozen.family, frozen.prompt, frozen.guides) == (39 - count, frames, "blockout", "a red car", ())
    names = [folder / "frames" / f"plate.{number:04d}.png" for number in range(30, 39)]
    assert stills_of(frozen) == dict(enumerate(names[-count:])) | dict(enumerate(names[:count], frames - count))
    assert protocol.loop_of(frozen) == protocol.Loop(folder, count, count)
    assert f"Play 30 to {39 - count + frames - 1 - count} over and over" in said


def test_a_loops_strip_ends_before_the_take_begins_again(scene, tmp_path):
    """The take's strip and the loop's show every frame once: the first pictures of the take are not shown a second time."""
    _take, _folder = make_take(tmp_path / "takes", start=30, count=9, size=(64, 64))
    bpy.ops.sora.refresh()
    bpy.ops.sora.loop(shared=2, new=6)
    asked = shot.frozen(bpy.context)
    made, home = make_take(tmp_path / "takes", start=asked.frame_start, count=asked.frames, size=(64, 64), keyframes=asked.keyframes)
    said = landings.land(bpy.context, "strip", made, home, {})
    strip, = scene.sequence_editor.strips
    assert compat.strip_span(strip) == (37, 48) and "before its last 2 images" in said and len(strip.elements) == 13      # played are 39 to 47 of it
    assert "refreshed" in landings.land(bpy.context, "strip", made, home, {}) and len(scene.sequence_editor.strips) == 1


def test_a_loop_of_a_short_take_shares_what_there_is(scene, tmp_path):
    make_take(tmp_path / "takes", start=30, count=2, size=(64, 64))
    bpy.ops.sora.refresh()
    bpy.ops.sora.loop()
    assert len(shot.frozen(bpy.context).keyframes) == 4
    with pytest.raises(RuntimeError, match="fewer than the 3"):
        bpy.ops.sora.loop(shared=3)


def test_a_family_of_ends_shares_one_picture(scene, tmp_path):
    make_take(tmp_path / "takes", start=30, count=9, size=(64, 64), family="skyreels")
    bpy.ops.sora.refresh()
    bpy.ops.sora.loop()
    frozen = shot.frozen(bpy.context)
    assert frozen.family == "skyreels" and sorted(stills_of(frozen)) == [0, frozen.frames - 1]


def test_blend_leads_into_another_take(scene, tmp_path):
    one, folder = make_take(tmp_path / "takes", start=30, count=9, size=(64, 64))
    other, there = make_take(tmp_path / "takes", start=100, count=7, size=(96, 64), name="the sea")
    bpy.ops.sora.refresh()
    chosen(one)
    said = onward.blend(scene, one, folder, other, there, 3, 7)
    assert bpy.ops.sora.blend(take=other.id, shared=3, new=7) == {"FINISHED"}
    frozen = shot.frozen(bpy.context)
    assert (frozen.frame_start, frozen.frames, frozen.size, frozen.guides) == (36, 13, one.shot.size, ())
    name = "plate.{:04d}.png".format
    assert stills_of(frozen) == {i: folder / "frames" / name(36 + i) for i in range(3)} | {10 + i: there / "frames" / name(100 + i) for i in range(3)}
    assert "“the sea”, without guides, which then begins at frame 46." in said and "96x64" in said and protocol.loop_of(frozen) is None
    with pytest.raises(TypeError, match="not found"):
        bpy.ops.sora.blend(take=one.id)


def test_loop_and_blend_are_refused_in_a_sentence(scene, tmp_path):
    make_take(tmp_path / "takes", family="cogvideox")
    bpy.ops.sora.refresh()
    with pytest.raises(RuntimeError, match="takes no stills"):
        bpy.ops.sora.loop()
    with pytest.raises(RuntimeError, match="no other take to lead into"):
        bpy.ops.sora.blend()
    assert scene.sora.family == "vace"
