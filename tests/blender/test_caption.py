"""The sentence that a scene says of itself, and that asking for it changes nothing."""
import math

import bpy
import pytest

from sora.sora_addon.caption import of as caption


@pytest.fixture
def scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


def box(name, colour=None, size=1.0, at=(0, 0, 0), shape="box", collection=None):
    bpy.ops.mesh.primitive_cube_add(size=1, location=at)
    thing = bpy.context.object
    thing.name, thing.scale = name, (size, size, size) if shape == "box" else (size, size, 0.01)
    if colour:
        paint = bpy.data.materials.new(name)
        paint.use_nodes = True
        paint.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*colour, 1)
        thing.data.materials.append(paint)
    bpy.context.view_layer.update()
    return thing


def camera(scene, at=(0, -10, 2)):
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.camera.location, scene.camera.rotation_euler = at, (math.pi / 2, 0, 0)
    scene.collection.objects.link(scene.camera)
    bpy.context.view_layer.update()
    return scene.camera


def sun(scene, height, colour, energy=3.0):
    lamp = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    lamp.data.color, lamp.data.energy, lamp.rotation_euler = colour, energy, (math.radians(90 - height), 0, 0)
    scene.collection.objects.link(lamp)
    bpy.context.view_layer.update()


def keyed(block, name, *frames):
    for frame, value in frames:
        setattr(block, name, value)
        block.keyframe_insert(name, frame=frame)


def test_things_ground_move_and_light_in_one_sentence(scene):
    box("Box", (0.8, 0.02, 0.02), size=2)
    for index in (1, 2):
        box(f"Pillar.{index:03d}", (0.2, 0.2, 0.2), at=(index * 4 - 6, 0, 1))
    box("Asphalt", (0.03, 0.03, 0.03), size=60, shape="ground")
    keyed(camera(scene), "location", (1, (0, -20, 2)), (250, (0, -10, 2)))
    sun(scene, 10, (1, 0.6, 0.3))
    assert caption(scene) == "a red box and two grey pillars on asphalt, camera dollies in, at sunset"


@pytest.mark.parametrize("move, said", [
    (("location", (0, -10, 2), (0, -20, 2)), "camera dollies out"), (("location", (0, -10, 2), (5, -10, 2)), "camera trucks right"),
    (("location", (0, -10, 2), (0, -10, 6)), "camera cranes up"), (("rotation_euler", (1.57, 0, 0), (1.57, 0, -0.5)), "camera pans right"),
    (("rotation_euler", (1.57, 0, 0), (1.9, 0, 0)), "camera tilts up"), (("location", (0, -10, 2), (0, -10, 2)), "static camera")])
def test_camera_moves(scene, move, said):
    name, start, end = move
    keyed(camera(scene), name, (1, start), (250, end))
    scene.frame_set(1)
    assert caption(scene).split(", ")[0] == said


def test_zooms_lenses_and_cuts(scene):
    seen = camera(scene)
    keyed(seen.data, "lens", (1, 35), (250, 85))
    assert "camera zooms in" in caption(scene)
    seen.data.animation_data_clear()
    seen.data.lens = 18
    assert "wide-angle lens" in caption(scene)
    seen.data.lens = 200
    assert "telephoto lens" in caption(scene)
    other = bpy.data.objects.new("Other", seen.data)
    for frame, bound in ((1, seen), (9, other)):
        scene.timeline_markers.new("m", frame=frame).camera = bound
    assert "cut between cameras" in caption(scene)


def test_light(scene):
    sun(scene, 60, (1, 1, 1))
    assert caption(scene) == "in daylight"
    bpy.data.lights["Sun"].color, bpy.data.lights["Sun"].energy = (0.4, 0.6, 1), 0.2
    assert caption(scene) == "by moonlight"


def test_hidden_things_are_left_out_and_many_are_summed_up(scene):
    box("Ghost").hide_render = True
    assert caption(scene) == ""
    for name in ("Arch", "Bus", "Car", "Dog", "Elk", "Fox"):
        box(name)
    assert caption(scene) == "an arch, a bus, a car and a dog"


def test_what_moves_and_what_is_near_comes_first(scene):
    camera(scene)
    box("Near", at=(0, -6, 2)), box("Far", at=(1, 20, 2)), box("Behind", at=(0, -30, 2))
    keyed(box("Runner", at=(-1, 0, 2)), "location", (1, (-1, 0, 2)), (250, (1, 0, 2)))
    scene.frame_set(1)
    assert caption(scene).startswith("a runner, a near and a far, ")


def test_parts_of_one_thing_are_one_thing(scene):
    vehicle = bpy.data.objects.new("Vehicle", None)
    scene.collection.objects.link(vehicle)
    for name, size, colour in (("Wheel", 0.3, (0, 0, 0)), ("Body", 2, (0.8, 0.02, 0.02)), ("Glass", 0.5, (0.1, 0.1, 0.8))):
        box(name, colour, size).parent = vehicle
    assert caption(scene) == "a red vehicle"


def test_an_empty_scene_says_nothing(scene):
    assert caption(scene) == ""


def test_reading_changes_nothing(scene):
    keyed(camera(scene), "location", (1, (0, -20, 2)), (250, (0, -10, 2)))
    scene.frame_set(40)
    before = [tuple(map(tuple, thing.matrix_world)) for thing in scene.objects], scene.frame_current
    caption(scene, 1, 250)
    assert before == ([tuple(map(tuple, thing.matrix_world)) for thing in scene.objects], scene.frame_current)
