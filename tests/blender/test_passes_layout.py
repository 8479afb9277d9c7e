"""The layout pass against boxes that are known in closed form, and what an artist chooses for it."""
import dataclasses
import json
import math
import sys
from pathlib import Path

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import layouts  # noqa: E402

import sora  # noqa: E402
from sora.engine.errors import ShotError  # noqa: E402
from sora.engine.protocol import Guide, Shot, Size  # noqa: E402
from sora.sora_addon import passes  # noqa: E402
from sora.sora_addon import shot as freezing  # noqa: E402

SIZE = Size(96, 64)
FOCAL = 96 * 50 / 36            # pixels: 50 mm on a 36 mm sensor


@pytest.fixture
def scene():
    """An empty scene with a 50 mm camera at the origin that looks along +y, z up."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Lens"))
    camera.rotation_euler = (math.pi / 2, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return scene


def cube(scene, x=0.0, y=10.0, z=0.0, name="Cube"):
    """Two metres wide."""
    shape = bpy.data.meshes.new(name)
    corners = [(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
    shape.from_pydata(corners, [], [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    thing = bpy.data.objects.new(name, shape)
    thing.location = (x, y, z)
    scene.collection.objects.link(thing)
    return thing


def boxes(scene, folder, *names, frames=1, size=SIZE):
    """Of each frame, as the pass writes them."""
    asked = Shot(id="t", family="vace", prompt="p", seed=1, size=size, frames=frames, fps=24, out=str(folder), frame_start=1,
                 guides=(Guide(kind="layout", path=""),), landing={"selection": json.dumps(names)})
    roll, scenes = passes.roll(scene, asked), len(bpy.data.scenes)
    while True:
        try:
            next(roll)
        except StopIteration as stop:
            written = json.loads(Path(stop.value[0].path).read_text())
            assert written["size"] == [size.width, size.height] and len(bpy.data.scenes) == scenes
            return [frame["boxes"] for frame in written["frames"]]


def test_a_cube_is_as_wide_as_its_nearest_face(scene, tmp_path):
    cube(scene)
    half = FOCAL / 9
    assert boxes(scene, tmp_path, "Cube") == [[pytest.approx([48 - half, 32 - half, 48 + half, 32 + half], abs=1e-3)]]


def test_each_object_has_its_box_in_each_frame(scene, tmp_path):
    cube(scene)
    moving = cube(scene, x=-2, y=21, name="Moving")
    moving.keyframe_insert("location", frame=1)
    moving.location.x = 2
    moving.keyframe_insert("location", frame=3)
    found = boxes(scene, tmp_path, "Moving", "Cube", frames=3)
    assert [len(frame) for frame in found] == [2, 2, 2]
    for x, frame in zip((-2, 0, 2), found, strict=True):
        left, right = min((x - 1) / 20, (x - 1) / 22), max((x + 1) / 20, (x + 1) / 22)         # of the nearer face, or of the farther
        assert frame[1] == pytest.approx([48 + left * FOCAL, 32 - FOCAL / 20, 48 + right * FOCAL, 32 + FOCAL / 20], abs=1e-3)
    assert scene.frame_current == 1 and moving.location.x == 2


def test_boxes_end_at_the_picture_and_what_is_outside_has_none(scene, tmp_path):
    cube(scene, x=3.0, name="Half")
    cube(scene, x=50.0, name="Outside")
    cube(scene, y=-10, name="Behind")
    ((box,),) = boxes(scene, tmp_path, "Half", "Outside", "Behind")
    assert box[2] == 96 and box[0] == pytest.approx(48 + 2 * FOCAL / 11, abs=1e-3), "its farther edge is the left one"


def test_what_reaches_behind_the_camera_ends_at_its_near_plane(scene, tmp_path):
    scene.camera.data.clip_start = 0.5
    cube(scene, y=0.0, z=-0.3).scale = (0.1, 2.0, 0.1)
    ((box,),) = boxes(scene, tmp_path, "Cube")
    assert box[3] == 64 and box[1] == pytest.approx(32 + 0.2 * FOCAL / 2, abs=1e-3)
    scene.camera.data.clip_start = 1.9
    ((box,),) = boxes(scene, tmp_path, "Cube")
    assert box[3] == pytest.approx(32 + 0.4 * FOCAL / 1.9, abs=1e-3)


def test_an_orthographic_camera(scene, tmp_path):
    scene.camera.data.type, scene.camera.data.ortho_scale = "ORTHO", 12.0
    cube(scene, x=1.0)
    assert boxes(scene, tmp_path, "Cube") == [[pytest.approx([48, 24, 64, 40], abs=1e-3)]]


def test_modifiers_copies_and_what_is_not_rendered(scene, tmp_path):
    thing = cube(scene, y=20)
    array = thing.modifiers.new("Array", "ARRAY")
    array.count, array.relative_offset_displace = 2, (1.5, 0, 0)
    ((box,),) = boxes(scene, tmp_path, "Cube")
    assert box[2] - box[0] == pytest.approx(5 * FOCAL / 19, abs=1e-2)
    thing.hide_render = True
    lamp = bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "POINT"))
    lamp.location = (0, 10, 0)
    scene.collection.objects.link(lamp)
    assert boxes(scene, tmp_path, "Cube", "Lamp") == [[]]


def test_nothing_chosen_is_refused(scene, tmp_path):
    with pytest.raises(ShotError, match="Nothing is selected for the layout") as refused:
        boxes(scene, tmp_path)
    assert refused.value.remedy.value == "layout"


def test_the_artist_chooses_what_boxes_are_around(tmp_path):
    bpy.ops.wm.read_factory_settings()
    addon = bpy.context.preferences.addons.new()
    addon.module = "sora"
    sora.register()
    try:
        bpy.context.preferences.addons["sora"].preferences.takes_folder = str(tmp_path / "takes")
        scene, settings = bpy.context.scene, bpy.context.scene.sora
        settings.prompt, settings.family, settings.guide_layout, scene.frame_end = "a box", "vace", True, 5
        with layouts.editor("VIEW_3D") as context:
            assert "Boxes around" in layouts.drawn(bpy.types.SORA_PT_view3d_guides, context).text
        made = freezing.frozen(bpy.context)
        assert "layout" in [guide.kind for guide in made.guides] and json.loads(made.landing["selection"]) == ["Cube"] and not made.landing["layout"]
        settings.layout_collection = bpy.data.collections["Collection"]
        made = freezing.frozen(bpy.context)
        settings.layout_collection = None
        freezing.restore(scene, dataclasses.replace(made))
        assert made.landing["layout"] == "Collection" == settings.layout_collection.name and settings.guide_layout
    finally:
        sora.unregister()
        bpy.context.preferences.addons.remove(bpy.context.preferences.addons["sora"])
