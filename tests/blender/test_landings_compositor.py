"""A take in the compositor: under the render, frame by frame, without touching the artist's tree."""
import json
import shutil
from dataclasses import replace

import bpy
import numpy as np
import pytest

from sora.engine import protocol
from sora.sora_addon import compat, landings, passes
from tests.blender.landing_stage import far_off, fresh, make_linear_take, make_take, rendered


def land(take, folder, **options):
    return landings.land(bpy.context, "compositor", take, folder, options)


def stage(view="Standard", **size):
    """An empty scene with a camera and a transparent film."""
    scene = fresh(view, **size)
    for thing in [thing for thing in scene.objects if thing.type != "CAMERA"]:
        bpy.data.objects.remove(thing)
    scene.render.film_transparent = True
    return scene


def plates(scene):
    return [node for node in compat.compositor_tree(scene).nodes if node.type == "GROUP"]


def test_the_plate_shows_at_its_frames_and_only_there(tmp_path):
    scene = stage()
    take, folder = make_take(tmp_path, start=10, count=3)
    said = land(take, folder)
    assert "10 to 12" in said and "Sora Plate" in said
    for frame in (10, 11, 12):
        seen = rendered(scene, frame, tmp_path)
        assert far_off(seen, frame - 10) <= 1 and seen[..., 3].min() == 255
    for frame in (9, 13):
        assert rendered(scene, frame, tmp_path)[..., 3].max() == 0


@pytest.mark.parametrize("view", ["AgX", "Filmic", "Raw"] + (["ACES 2.0"] if bpy.app.version >= (5, 0) else []))
def test_greys_look_as_made_in_tone_mapped_views(tmp_path, view):
    scene = stage(view)
    land(*make_take(tmp_path, start=1, count=20))
    for frame in (3, 12, 20):
        assert abs(float(rendered(scene, frame, tmp_path)[-1, -1, 0]) - 10 * frame) <= 1


def test_the_render_lies_over_the_plate(tmp_path):
    scene = stage()
    bpy.ops.mesh.primitive_cube_add(size=4)
    take, folder = make_take(tmp_path, start=1, count=20)
    before = rendered(scene, 15, tmp_path)
    land(take, folder)
    seen = rendered(scene, 15, tmp_path)
    inside, outside = before[..., 3] == 255, before[..., 3] == 0
    assert inside.sum() > 20 and outside.sum() > 20
    assert np.abs(seen - before)[inside].max() <= 1
    assert np.abs(seen[..., 0] - 150)[outside][-50:].max() <= 1


def test_the_artists_tree_is_kept(tmp_path):
    scene = stage()
    tree = compat.compositor_tree(scene)
    tree.nodes.clear()
    layers, invert = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeInvert")
    tree.links.new(layers.outputs["Image"], invert.inputs["Color"])
    tree.links.new(invert.outputs[0], compat.compositor_output(tree))
    names = {node.name for node in tree.nodes}
    land(*make_take(tmp_path))
    plate, = plates(scene)
    assert names < {node.name for node in tree.nodes}
    assert plate.inputs["Image"].links[0].from_node == invert and invert.inputs["Color"].links[0].from_node == layers
    assert compat.compositor_output(tree).links[0].from_node == plate


def test_a_second_landing_updates(tmp_path):
    scene = stage()
    land(*make_take(tmp_path, start=10, count=5))
    groups, nodes = len(bpy.data.node_groups), len(compat.compositor_tree(scene).nodes)
    take, folder = make_take(tmp_path, start=11, count=6)
    assert "updated" in land(take, folder)
    assert len(bpy.data.node_groups) == groups and len(compat.compositor_tree(scene).nodes) == nodes
    assert far_off(rendered(scene, 12, tmp_path), 1) <= 1
    assert sum(image.source == "SEQUENCE" for image in bpy.data.images) == 1


def test_a_take_of_other_frames_gets_its_own_plate(tmp_path):
    scene = stage()
    land(*make_take(tmp_path, start=10, count=3))
    land(*make_take(tmp_path, start=20, count=3))
    assert len(plates(scene)) == 2
    assert far_off(rendered(scene, 11, tmp_path), 1) <= 1
    assert far_off(rendered(scene, 22, tmp_path), 2) <= 1
    assert "muted" in land(*make_take(tmp_path, start=5, count=30))
    assert far_off(rendered(scene, 22, tmp_path), 17) <= 1


def test_a_group_that_the_artist_took_apart_is_left_alone_and_muted(tmp_path):
    scene = stage()
    land(*make_take(tmp_path))
    group = plates(scene)[0].node_tree
    group.nodes.remove(group.nodes["Plate"])
    assert "muted" in land(*make_take(tmp_path))
    assert len(plates(scene)) == 2
    assert far_off(rendered(scene, 12, tmp_path), 2) <= 1


def test_what_hides_the_plate_is_said_and_not_changed(tmp_path):
    scene = stage()
    scene.render.film_transparent = False
    scene.render.use_compositing = False
    take, folder = make_take(tmp_path)
    said = land(take, folder)
    assert "Transparent" in said and "Compositing is off" in said
    assert not scene.render.film_transparent and not scene.render.use_compositing
    land(take, folder, film="1")
    assert scene.render.film_transparent


def shown(scene, tmp_path, frame, output):
    """An output of the plate's group as the render's value at the middle."""
    tree, plate = compat.compositor_tree(scene), plates(scene)[0]
    scale = tree.nodes.new("ShaderNodeMath")
    scale.operation = "DIVIDE"
    scale.inputs[1].default_value = 20.0
    tree.links.new(plate.outputs[output], scale.inputs[0])
    tree.links.new(scale.outputs[0], compat.compositor_output(tree))
    seen = rendered(scene, frame, tmp_path)
    tree.links.new(plate.outputs["Image"], compat.compositor_output(tree))
    tree.nodes.remove(scale)
    level = float(seen[9, 16, 0]) / 255
    return (level / 12.92 if level < 0.04045 else ((level + 0.055) / 1.055) ** 2.4) * 20


def rolled(scene, folder, start, count, *kinds, **landing):
    """A take with guides that the passes rendered, as it is after a shot."""
    take, home = make_take(folder, start=start, count=count, guides=tuple(protocol.Guide(kind=kind, path="") for kind in kinds), landing=landing)
    rolling = passes.roll(scene, take.shot)
    while True:
        try:
            next(rolling)
        except StopIteration as done:
            return replace(take, shot=replace(take.shot, guides=done.value)), home


def test_depth_comes_from_the_guides_or_the_render(tmp_path):
    scene = stage()
    scene.camera.location, scene.camera.rotation_euler = (0, 0, 10), (0, 0, 0)
    bpy.ops.mesh.primitive_plane_add(size=50, location=(0, 0, 5))
    plane = bpy.context.object
    take, folder = rolled(scene, tmp_path, 10, 3, "depth")
    plane.location.z = 2
    said = land(take, folder)
    assert "Depth comes from the take's guides" in said
    assert shown(scene, tmp_path, 11, "Depth") == pytest.approx(5, abs=0.1)
    assert shown(scene, tmp_path, 20, "Depth") == pytest.approx(0, abs=0.1)
    scene.view_layers[0].use_pass_z = True
    land(take, folder)
    assert shown(scene, tmp_path, 20, "Depth") == pytest.approx(8, abs=0.1)
    shutil.rmtree(folder / "guides")
    assert "Depth is the render's own" in land(take, folder)
    assert shown(scene, tmp_path, 11, "Depth") == pytest.approx(8, abs=0.1)


def test_guides_are_found_beside_a_take_that_was_moved(tmp_path):
    scene = stage()
    bpy.ops.mesh.primitive_cube_add(size=4)
    take, folder = rolled(scene, tmp_path, 10, 3, "depth", "mask", selection=json.dumps(["Cube"]))
    moved = folder.rename(tmp_path / "moved ü")
    assert "Depth and mask come from the take's guides" in land(take, moved)


def test_the_mask_comes_from_the_guides(tmp_path):
    scene = stage()
    scene.camera.location, scene.camera.rotation_euler = (0, 0, 10), (0, 0, 0)
    bpy.ops.mesh.primitive_cube_add(size=4)
    take, folder = rolled(scene, tmp_path, 10, 3, "mask", selection=json.dumps(["Cube"]))
    bpy.data.objects.remove(bpy.context.object)
    land(take, folder)
    assert shown(scene, tmp_path, 11, "Mask") == pytest.approx(1, abs=0.1)
    assert shown(scene, tmp_path, 20, "Mask") == pytest.approx(0, abs=0.1)


def test_the_mask_is_the_renders_alpha_without_a_guide(tmp_path):
    scene = stage()
    bpy.ops.mesh.primitive_cube_add(size=4)
    land(*make_take(tmp_path))
    assert shown(scene, tmp_path, 10, "Mask") == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["with space", "ü 汉", "{#%} ##", "{blend_name}"])
def test_any_folder_name(tmp_path, name):
    scene = stage()
    land(*make_take(tmp_path / name))
    assert far_off(rendered(scene, 12, tmp_path), 2) <= 1


@pytest.mark.parametrize("start", [0, 9998])
def test_any_first_frame(tmp_path, start):
    scene = stage()
    land(*make_take(tmp_path, start=start))
    for index in (0, 1, 4):
        assert far_off(rendered(scene, start + index, tmp_path), index) <= 1


@pytest.mark.parametrize("frame", [(64, 36), (64, 40), (64, 32)])
def test_other_resolutions_stay_registered_to_the_camera(tmp_path, frame):
    scene = stage(width=frame[0], height=frame[1])
    land(*make_take(tmp_path))
    seen = rendered(scene, 10, tmp_path)
    assert abs(float(seen[frame[1] // 2, -4, 0]) - 10) <= 1
    red = int((seen[4, :, 0] > 120).sum()) if frame[1] <= 36 else int((seen[6, :, 0] > 120).sum())
    assert red == 16


def test_half_sized_renders(tmp_path):
    scene = stage(width=64, height=36)
    scene.render.resolution_percentage = 50
    land(*make_take(tmp_path))
    assert far_off(rendered(scene, 12, tmp_path), 2) <= 1


def test_linear_frames_are_light(tmp_path):
    scene = stage()
    take, folder = make_linear_take(tmp_path, 0.25, start=10, count=2)
    land(take, folder)
    assert abs(float(rendered(scene, 11, tmp_path)[9, 16, 0]) - 137) <= 1
    scene.view_settings.view_transform = "AgX"
    assert "AgX tone-maps" in land(take, folder)
    assert compat.compositor_composes(scene) and plates(scene)[0].node_tree.nodes["Plate"].image.colorspace_settings.name == "Linear Rec.709"


def test_one_landing_is_one_undo_step(tmp_path):
    scene = stage()
    composed = compat.compositor_composes(scene)
    bpy.ops.ed.undo_push(message="before")
    land(*make_take(tmp_path))
    bpy.ops.ed.undo_push(message="land")
    bpy.ops.ed.undo()
    assert compat.compositor_composes(bpy.context.scene) == composed
    assert "Sora Plate" not in bpy.data.node_groups
    bpy.ops.ed.redo()
    assert "Sora Plate" in bpy.data.node_groups


def test_saved_and_opened_again(tmp_path):
    scene = stage()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    scene = bpy.context.scene
    take, folder = make_take(tmp_path)
    land(take, folder)
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    scene = bpy.context.scene
    assert plates(scene)[0].node_tree["sora"]["take"] == take.id
    assert plates(scene)[0].node_tree.nodes["Plate"].image.filepath.startswith("//")
    assert far_off(rendered(scene, 12, tmp_path), 2) <= 1
