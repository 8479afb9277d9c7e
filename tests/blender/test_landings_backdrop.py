"""A take as a backdrop: fills the camera at any lens, only for the camera, at its frames."""
import math

import bpy
import numpy as np
import pytest
from mathutils import Vector

from sora.engine import errors, protocol
from sora.sora_addon import landings
from tests.blender.landing_stage import far_off, fresh, make_take, rendered


def land(take, folder, **options):
    return landings.land(bpy.context, "backdrop", take, folder, options)


def stage(view="Standard", **size):
    """An empty scene whose camera is anywhere, turned, and scaled."""
    scene = fresh(view, **size)
    for thing in [thing for thing in scene.objects if thing.type != "CAMERA"]:
        bpy.data.objects.remove(thing)
    scene.camera.scale = (2, 2, 3)
    scene.camera.data.clip_end = 100
    return scene


def backdrops(scene):
    return [thing for thing in scene.objects if thing.name.startswith("Sora Backdrop")]


def away_from_edges(seen, index, size=(32, 18)):
    """Largest difference where a pixel filter mixes neither the frame's corner mark nor its edge."""
    from tests.blender.landing_stage import picture
    wanted = picture(index, *size).astype(float)
    off = np.abs(seen[..., :3] - wanted).max(axis=2)
    off[size[1] // 3 - 1: size[1] // 3 + 1, : size[0] // 4 + 1] = 0
    off[: size[1] // 3 + 1, size[0] // 4 - 1: size[0] // 4 + 1] = 0
    return float(off.max())


def lenses():
    yield "wide", dict(lens=18.0)
    yield "shifted", dict(lens=50.0, shift_x=0.25, shift_y=-0.1)
    yield "vertical", dict(lens=35.0, sensor_fit="VERTICAL", sensor_height=20.0)
    yield "horizontal", dict(lens=35.0, sensor_fit="HORIZONTAL", sensor_width=22.0)
    yield "orthographic", dict(type="ORTHO", ortho_scale=7.0, shift_x=0.1)


@pytest.mark.parametrize("name, lens", list(lenses()))
def test_it_fills_the_view_pixel_by_pixel(tmp_path, name, lens):
    scene = stage()
    for attribute, value in lens.items():
        setattr(scene.camera.data, attribute, value)
    land(*make_take(tmp_path, start=10, count=5))
    for frame in (10, 13):
        assert away_from_edges(rendered(scene, frame, tmp_path), frame - 10) <= 1, name


def test_it_is_hidden_outside_its_frames(tmp_path):
    scene = stage()
    scene.render.film_transparent = True
    land(*make_take(tmp_path, start=10, count=3))
    assert rendered(scene, 9, tmp_path)[..., 3].max() == 0
    assert rendered(scene, 10, tmp_path)[..., 3].min() == 255
    assert rendered(scene, 13, tmp_path)[..., 3].max() == 0
    assert rendered(scene, 12, tmp_path)[..., 3].min() == 255


def test_it_follows_an_animated_camera_and_lens(tmp_path):
    scene = stage()
    camera = scene.camera
    for frame, place, lens in ((10, (0, 0, 0), 20.0), (14, (5, -3, 9), 90.0)):
        camera.location, camera.data.lens = place, lens
        camera.keyframe_insert("location", frame=frame)
        camera.data.keyframe_insert("lens", frame=frame)
    land(*make_take(tmp_path, start=10, count=5))
    for frame in (10, 12, 14):
        assert away_from_edges(rendered(scene, frame, tmp_path), frame - 10) <= 1


@pytest.mark.parametrize("view", ["AgX", "Filmic", "Raw"])
def test_greys_look_as_made_in_tone_mapped_views(tmp_path, view):
    scene = stage(view)
    said = land(*make_take(tmp_path, start=1, count=20))
    assert view in said
    for frame in (3, 12, 20):
        assert abs(float(rendered(scene, frame, tmp_path)[-2, -2, 0]) - 10 * frame) <= 1


def test_portrait_takes_and_other_aspects(tmp_path):
    scene = stage(width=18, height=32)
    land(*make_take(tmp_path, size=(18, 32)))
    assert away_from_edges(rendered(scene, 12, tmp_path), 2, (18, 32)) <= 1
    scene = stage(width=64, height=40)
    assert "scaled" in land(*make_take(tmp_path))
    seen = rendered(scene, 12, tmp_path)
    assert np.abs(seen[4:36, 20:, 0] - 30).max() <= 1 and abs(float(seen[20, 60, 0]) - 30) <= 1


def test_it_stands_behind_everything_within_the_cameras_reach(tmp_path):
    scene = stage()
    scene.camera.location, scene.camera.rotation_euler = (0, 0, 0), (0, 0, 0)
    bpy.ops.mesh.primitive_cube_add(size=2, location=(0, 0, -20))
    bpy.context.view_layer.update()
    land(*make_take(tmp_path))
    assert backdrops(scene)[0]["distance"] == pytest.approx(21 * 1.05)
    land(*make_take(tmp_path, guides=(protocol.Guide(kind="depth", path="", near=1.0, far=40.0),)))
    assert backdrops(scene)[0]["distance"] == pytest.approx(42)
    bpy.context.object.location.z = -500
    bpy.context.view_layer.update()
    land(*make_take(tmp_path))
    assert backdrops(scene)[0]["distance"] < 100


def test_a_chosen_distance_and_one_out_of_reach(tmp_path):
    scene = stage()
    land(*make_take(tmp_path), distance="7.5")
    plane, = backdrops(scene)
    scene.frame_set(12)
    eye = scene.camera.matrix_world.normalized().inverted()
    assert (eye @ plane.matrix_world @ Vector()).z == pytest.approx(-7.5, abs=1e-5)
    for wrong in ("500", "0", "near"):
        with pytest.raises(errors.LandingError) as caught:
            land(*make_take(tmp_path), distance=wrong)
        assert caught.value.remedy.action == "set_distance"


def test_it_lights_nothing_and_shades_nothing(tmp_path):
    scene = stage()
    land(*make_take(tmp_path))
    plane, = backdrops(scene)
    assert plane.visible_camera
    assert not any((plane.visible_diffuse, plane.visible_glossy, plane.visible_transmission, plane.visible_volume_scatter, plane.visible_shadow))


def test_a_second_landing_updates(tmp_path):
    scene = stage()
    land(*make_take(tmp_path, start=10))
    take, folder = make_take(tmp_path, start=12)
    assert "in place of" in land(take, folder)
    plane, = backdrops(scene)
    assert plane["sora"]["take"] == take.id and sum(material.name.startswith("Sora") for material in bpy.data.materials) == 1
    assert sum(image.source == "SEQUENCE" for image in bpy.data.images) == 1
    assert away_from_edges(rendered(scene, 14, tmp_path), 2) <= 1
    land(*make_take(tmp_path, start=30))
    assert len(backdrops(scene)) == 2


def test_each_camera_of_a_cut_has_its_own(tmp_path):
    scene = stage()
    other = bpy.data.objects.new("B", bpy.data.cameras.new("B"))
    other.data.lens, other.location, other.rotation_euler = 80.0, (3, 4, 5), (1, 0, math.pi)
    scene.collection.objects.link(other)
    scene.timeline_markers.new("A", frame=1).camera = scene.camera
    scene.timeline_markers.new("B", frame=12).camera = other
    land(*make_take(tmp_path, start=10, count=5))
    assert len(backdrops(scene)) == 2
    for frame in range(10, 15):
        assert away_from_edges(rendered(scene, frame, tmp_path), frame - 10) <= 1


@pytest.mark.parametrize("name", ["with space", "ü 汉", "{#%} ##", "{blend_name}"])
def test_any_folder_name(tmp_path, name):
    scene = stage()
    land(*make_take(tmp_path / name))
    assert away_from_edges(rendered(scene, 12, tmp_path), 2) <= 1


def test_projects_may_move(tmp_path):
    stage()
    place = tmp_path / "project ü"
    place.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(place / "shot.blend"))
    land(*make_take(place / "takes"))
    bpy.ops.wm.save_mainfile()
    moved = place.rename(tmp_path / "moved {#}")
    bpy.ops.wm.open_mainfile(filepath=str(moved / "shot.blend"))
    assert away_from_edges(rendered(bpy.context.scene, 12, tmp_path), 2) <= 1
    take, folder = make_take(moved / "takes")
    assert "in place of" in land(take, folder)
    assert away_from_edges(rendered(bpy.context.scene, 13, tmp_path), 3) <= 1


def test_a_panoramic_camera_is_said(tmp_path):
    scene = stage()
    scene.camera.data.type = "PANO"
    with pytest.raises(errors.LandingError, match="perspective"):
        land(*make_take(tmp_path))


def test_one_landing_is_one_undo_step(tmp_path):
    stage()
    bpy.ops.ed.undo_push(message="before")
    land(*make_take(tmp_path))
    bpy.ops.ed.undo_push(message="land")
    bpy.ops.ed.undo()
    assert not backdrops(bpy.context.scene)
    bpy.ops.ed.redo()
    assert len(backdrops(bpy.context.scene)) == 1


def test_all_landings_share_one_scene(tmp_path):
    scene = stage()
    take, folder = make_take(tmp_path)
    told = [landings.land(bpy.context, name, take, folder, {"scene": scene.name}) for name in landings.LANDINGS]
    assert all(told) and set(landings.LANDINGS) == set(protocol.LANDINGS)
    assert far_off(rendered(scene, 12, tmp_path), 2) <= 1
    scene.render.use_sequencer = False
    assert away_from_edges(rendered(scene, 12, tmp_path), 2) <= 1
