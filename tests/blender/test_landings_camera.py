"""A take behind the scene in a camera's view: mapping, updates, the right camera."""
import bpy
import pytest

from sora.engine import errors
from sora.sora_addon import landings
from tests.blender.landing_stage import fresh, make_take


def land(take, folder, **options):
    return landings.land(bpy.context, "camera", take, folder, options)


def add_camera(scene, name):
    camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    scene.collection.objects.link(camera)
    return camera


def test_the_image_user_maps_scene_frames_to_files(tmp_path):
    scene = fresh("AgX")
    take, folder = make_take(tmp_path, start=10, count=5)
    said = land(take, folder)
    shown, = scene.camera.data.background_images
    user = shown.image_user
    assert (user.frame_start, user.frame_offset, user.frame_duration, user.use_auto_refresh, user.use_cyclic) == (10, 9, 5, True, False)
    assert shown.image.source == "SEQUENCE" and shown.image.colorspace_settings.name == "sRGB"
    assert scene.camera.data.show_background_images and shown.show_background_image and shown.display_depth == "BACK"
    assert "10 to 14" in said and scene.camera.name in said


def test_a_second_landing_updates_and_the_artists_image_stays(tmp_path):
    scene = fresh()
    own = scene.camera.data.background_images.new()
    own.image = bpy.data.images.new("Mine", 4, 4)
    land(*make_take(tmp_path))
    scene.camera.data.background_images[1].alpha = 0.25
    take, folder = make_take(tmp_path)
    assert "replaced" in land(take, folder)
    backgrounds = scene.camera.data.background_images
    assert len(backgrounds) == 2 and backgrounds[0].image.name == "Mine"
    assert backgrounds[1].image["sora"]["take"] == take.id and backgrounds[1].alpha == 0.25
    land(*make_take(tmp_path, start=50))
    assert len(backgrounds) == 3


def test_the_named_camera(tmp_path):
    scene = fresh()
    other = add_camera(scene, "Shot 2")
    land(*make_take(tmp_path), camera="Shot 2")
    assert len(other.data.background_images) == 1 and not scene.camera.data.background_images


def test_every_camera_that_markers_switch_to(tmp_path):
    scene = fresh()
    cameras = [add_camera(scene, name) for name in "ABC"]
    for frame, camera in zip((1, 12, 40), cameras):
        scene.timeline_markers.new(camera.name, frame=frame).camera = camera
    said = land(*make_take(tmp_path, start=10, count=5), camera="Camera")
    assert [len(camera.data.background_images) for camera in cameras] == [1, 1, 0]
    assert "“A” and “B”" in said


def test_no_camera_is_said(tmp_path):
    scene = fresh()
    scene.camera = None
    with pytest.raises(errors.LandingError) as caught:
        land(*make_take(tmp_path))
    assert caught.value.remedy.action == "add_camera"
    with pytest.raises(errors.LandingError, match="Gone"):
        land(*make_take(tmp_path), camera="Gone")


def test_negative_frames_are_said(tmp_path):
    fresh()
    with pytest.raises(errors.LandingError, match="negative"):
        land(*make_take(tmp_path, start=-3))


def test_one_landing_is_one_undo_step(tmp_path):
    fresh()
    bpy.ops.ed.undo_push(message="before")
    land(*make_take(tmp_path))
    bpy.ops.ed.undo_push(message="land")
    bpy.ops.ed.undo()
    assert not bpy.context.scene.camera.data.background_images
