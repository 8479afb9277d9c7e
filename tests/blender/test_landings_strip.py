"""A take as a strip: exact frames and pixels, channels, scenes, metas, undo."""
import shutil

import bpy
import numpy as np
import pytest

from sora.engine import errors
from sora.sora_addon import compat, landings
from tests.blender.landing_stage import COUNT, far_off, fresh, make_linear_take, make_take, rendered, settle

FIVE = bpy.app.version >= (5, 0)


def land(take, folder, **options):
    return landings.land(bpy.context, "strip", take, folder, options)


def strips(scene):
    return list(scene.sequence_editor.strips) if scene.sequence_editor else []


def test_each_image_lands_on_its_own_frame(tmp_path):
    scene = fresh()
    take, folder = make_take(tmp_path, start=10, count=5)
    said = land(take, folder, scene=scene.name)
    strip, = strips(scene)
    assert compat.strip_span(strip) == (10, 15) and strip.channel == 1
    assert "10 to 14" in said and "channel 1" in said
    for frame in range(10, 15):
        assert far_off(rendered(scene, frame, tmp_path), frame - 10) <= 1
    assert strip["sora"]["take"] == take.id and strip["sora"]["folder"].startswith(str(folder.resolve()))


@pytest.mark.parametrize("view", ["AgX", "Filmic", "Khronos PBR Neutral", "Filmic Log", "Raw"] + (["ACES 1.3", "ACES 2.0"] if FIVE else []))
def test_greys_look_as_made_in_every_view(tmp_path, view):
    scene = fresh(view)
    take, folder = make_take(tmp_path, start=1, count=25)
    assert view in land(take, folder)
    for frame in (12, 20) if "Khronos" in view else (1, 3, 12, 20):
        seen = rendered(scene, frame, tmp_path)
        assert abs(float(seen[-1, -1, 0]) - 10 * frame) <= 2, view


def test_linear_frames_are_light(tmp_path):
    scene = fresh()
    land(*make_linear_take(tmp_path, 0.25, start=10, count=2))
    assert strips(scene)[0].colorspace_settings.name == "Linear Rec.709"
    assert abs(float(rendered(scene, 11, tmp_path)[9, 16, 0]) - 137) <= 1


def test_a_view_without_inverse_and_a_grade_are_said(tmp_path):
    scene = fresh("False Color")
    scene.view_settings.exposure = 1.0
    said = land(*make_take(tmp_path))
    assert "False Color has no inverse" in said and "exposure" in said


@pytest.mark.parametrize("name", ["with space", "ü 汉", "{#%} ##", "{blend_name}"])
def test_any_folder_name(tmp_path, name):
    scene = fresh()
    take, folder = make_take(tmp_path / name, id="take {#%} ü汉", prompt="{#%} ü\n汉 " * 30)
    land(take, folder)
    assert far_off(rendered(scene, 12, tmp_path), 2) <= 1
    assert not set("{}#%\n") & set(strips(scene)[0].name)


def test_saved_files_point_at_takes_relatively_and_may_move(tmp_path):
    scene = fresh()
    place = tmp_path / "project ü"
    place.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(place / "shot.blend"))
    scene = bpy.context.scene
    land(*make_take(place / "takes"))
    assert strips(scene)[0].directory.startswith("//")
    bpy.ops.wm.save_mainfile()
    moved = tmp_path / f"elsewhere{next(COUNT)}"
    shutil.move(place, moved)
    bpy.ops.wm.open_mainfile(filepath=str(moved / "shot.blend"))
    scene = bpy.context.scene
    assert strips(scene)[0]["sora"]["take"]
    assert far_off(rendered(scene, 11, tmp_path), 1) <= 1


def test_the_next_channel_above_what_is_there(tmp_path):
    scene = fresh()
    land(*make_take(tmp_path))
    land(*make_take(tmp_path))
    assert sorted(strip.channel for strip in strips(scene)) == [1, 2]
    land(*make_take(tmp_path, start=100))
    assert sorted(strip.channel for strip in strips(scene)) == [1, 1, 2]


def test_a_chosen_channel_and_an_occupied_one(tmp_path):
    scene = fresh()
    land(*make_take(tmp_path), channel="3")
    assert strips(scene)[0].channel == 3
    with pytest.raises(errors.LandingError) as caught:
        land(*make_take(tmp_path), channel="3")
    assert caught.value.remedy.action == "set_channel" and caught.value.remedy.value == "4"
    with pytest.raises(errors.LandingError):
        land(*make_take(tmp_path), channel="0")
    assert len(strips(scene)) == 1


def test_locked_channels_are_left_alone(tmp_path):
    scene = fresh()
    scene.sequence_editor_create().channels[1].lock = True
    land(*make_take(tmp_path))
    assert strips(scene)[0].channel == 2


def test_the_same_take_again_is_refreshed(tmp_path):
    scene = fresh()
    take, folder = make_take(tmp_path)
    land(take, folder)
    scene.view_settings.view_transform = "AgX"
    assert "refreshed" in land(take, folder)
    strip, = strips(scene)
    assert strip.colorspace_settings.name == "AgX Base sRGB"


def test_one_landing_is_one_undo_step(tmp_path):
    fresh()
    bpy.context.scene.sequence_editor_create()
    bpy.ops.ed.undo_push(message="before")
    land(*make_take(tmp_path))
    bpy.ops.ed.undo_push(message="land")
    bpy.ops.ed.undo()
    assert not strips(bpy.context.scene)
    bpy.ops.ed.redo()
    assert len(strips(bpy.context.scene)) == 1


def test_inside_an_open_meta(tmp_path):
    scene = fresh()
    editor = scene.sequence_editor_create()
    meta = editor.strips.new_meta(name="Scene 12", channel=1, frame_start=1)
    editor.display_stack(meta)
    said = land(*make_take(tmp_path))
    assert len(editor.strips) == 1 and len(meta.strips) == 1 and "Scene 12" in said


@pytest.mark.parametrize("frame", [(64, 36), (64, 40), (64, 32)])
def test_other_resolutions_stay_registered_to_the_camera(tmp_path, frame):
    scene = fresh(width=frame[0], height=frame[1])
    said = land(*make_take(tmp_path))
    assert strips(scene)[0].transform.scale_x == strips(scene)[0].transform.scale_y == 2
    assert ("scaled" in said) == (frame != (64, 36))
    seen = rendered(scene, 10, tmp_path)
    assert abs(float(seen[frame[1] // 2, -4, 0]) - 10) <= 1


def test_missing_frames_and_folders_are_said(tmp_path):
    scene = fresh()
    take, folder = make_take(tmp_path)
    (folder / "frames" / "plate.0012.png").unlink()
    with pytest.raises(errors.FolderError, match="plate.0012.png") as caught:
        land(take, folder)
    assert caught.value.remedy.action == "shoot_again"
    shutil.rmtree(folder)
    with pytest.raises(errors.FolderError):
        land(take, folder)
    assert not strips(scene)


def test_another_frame_rate_is_said(tmp_path):
    fresh()
    assert "25 frames a second" in land(*make_take(tmp_path, fps=25.0))


def test_a_renamed_scene_is_said(tmp_path):
    scene = fresh()
    assert "“Gone” is gone" in land(*make_take(tmp_path), scene="Gone")
    assert strips(scene)


def test_a_thousand_frames(tmp_path):
    scene = fresh()
    take, folder = make_take(tmp_path, start=0, count=1000, size=(2, 2), frame=lambda i, w, h: np.full((h, w, 3), i % 256, np.uint8))
    land(take, folder)
    assert compat.strip_span(strips(scene)[0]) == (0, 1000)
    assert strips(scene)[0].elements[999].filename == "plate.0999.png"


@pytest.mark.skipif(not FIVE, reason="workspaces have a sequencer scene since 5.0")
class TestSequencerScene:
    def test_an_empty_sequencer_is_given_the_scene(self, tmp_path):
        scene = fresh()
        workspace = bpy.context.window_manager.windows[0].workspace
        assert workspace.sequencer_scene is None
        land(*make_take(tmp_path), scene=scene.name)
        assert workspace.sequencer_scene == scene and len(strips(scene)) == 1

    def test_the_strip_lands_where_the_artist_edits(self, tmp_path):
        scene = fresh()
        edit = bpy.data.scenes.new("Edit")
        settle(edit)
        bpy.context.window_manager.windows[0].workspace.sequencer_scene = edit
        said = land(*make_take(tmp_path), scene=scene.name)
        strip, = strips(edit)
        assert compat.strip_span(strip) == (10, 15) and "“Edit”" in said and not strips(scene)
        bpy.context.window_manager.windows[0].scene = edit
        assert far_off(rendered(edit, 13, tmp_path), 3) <= 1

    def test_over_the_scene_strip_that_plays_the_shot(self, tmp_path):
        scene = fresh()
        edit = bpy.data.scenes.new("Edit")
        edit.sequence_editor_create().strips.new_scene(name="S", scene=scene, channel=2, frame_start=101)
        bpy.context.window_manager.windows[0].workspace.sequencer_scene = edit
        land(*make_take(tmp_path), scene=scene.name)        # scene frame 1 plays at 101, so frame 10 at 110
        strip = next(strip for strip in strips(edit) if strip.type == "IMAGE")
        assert compat.strip_span(strip) == (110, 115) and strip.channel == 3
