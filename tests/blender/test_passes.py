"""Every pass against scenes whose depth, normals, motion and coverage are known in closed form, through real renders."""
import dataclasses
import json
import math

import bpy
import numpy as np
import OpenEXR
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Matrix, Vector

from sora.engine import camera as viewing
from sora.engine import guides as reading
from sora.engine.errors import FolderError, GuideError, ShotError
from sora.engine.protocol import Guide, Shot, Size
from sora.sora_addon import passes

SIZE = Size(96, 64)


@pytest.fixture
def scene():
    """An empty scene with a 50 mm camera at the origin that looks along +y (the world's depth axis), z up."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    lens = bpy.data.cameras.new("Lens")
    lens.clip_end = 1000
    camera = bpy.data.objects.new("Camera", lens)
    camera.rotation_euler = (math.pi / 2, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return scene


def mesh(scene, name, corners, collection=None):
    shape = bpy.data.meshes.new(name)
    shape.from_pydata(corners, [], [list(range(len(corners)))])
    thing = bpy.data.objects.new(name, shape)
    (collection or scene.collection).objects.link(thing)
    return thing


def wall(scene, y, left=-100.0, right=100.0, name="Wall", collection=None):
    """A wall across the view at the distance `y` (metres), facing the camera."""
    return mesh(scene, name, [(left, y, -100), (right, y, -100), (right, y, 100), (left, y, 100)], collection)


def shot(folder, *kinds, frames=1, start=1, size=SIZE, **landing):
    return Shot(id="t", family="blockout", prompt="p", seed=1, size=size, frames=frames, fps=24, out=str(folder), frame_start=start,
                guides=tuple(Guide(kind=kind, path="") for kind in kinds), landing=landing)


def rolled(scene, asked):
    roll = passes.roll(scene, asked)
    while True:
        try:
            next(roll)
        except StopIteration as stop:
            return {guide.kind: guide for guide in stop.value}


def layers(path):
    """suffix of the channel's name -> array (h, w); both layouts."""
    found = {}
    with OpenEXR.File(str(path), separate_channels=True) as file:
        for part in file.parts:
            found |= {name.split(".", 1)[1]: channel.pixels.copy() for name, channel in part.channels.items()}
    return found


def first(guide, frame=1):
    return layers(f"{guide.path}/{frame:04d}.exr")


def rays(size=SIZE, focal=50.0, sensor=36.0):
    """x/z and y/z (y up) of the centre of each pixel of a camera without shift."""
    per_pixel = sensor / focal / max(size.width, size.height)
    x = (np.arange(size.width) + 0.5 - size.width / 2) * per_pixel
    y = (size.height / 2 - np.arange(size.height) - 0.5) * per_pixel
    return np.broadcast_to(x, (size.height, size.width)), np.broadcast_to(y[:, None], (size.height, size.width))


# ---------------------------------------------------------------- depth and normals
def test_a_wall_has_one_depth_everywhere(scene, tmp_path):
    wall(scene, 7.5)
    guide = rolled(scene, shot(tmp_path, "depth"))["depth"]
    assert np.abs(first(guide)["Depth.Z"] - 7.5).max() < 1e-3       # along the axis, not along the ray
    assert guide.near == pytest.approx(7.5, abs=1e-3) and guide.far == pytest.approx(7.5, abs=1e-3)


def test_a_ground_has_the_depth_and_normal_of_its_equation(scene, tmp_path):
    mesh(scene, "Ground", [(-500, -500, -2), (500, -500, -2), (500, 500, -2), (-500, 500, -2)])
    guides = rolled(scene, shot(tmp_path, "depth", "normal"))
    seen, (_x, y) = first(guides["depth"]), rays()
    hit = (y < 0) & (-2 / y < 499)
    exact = -2 / np.where(hit, y, -1)
    assert np.abs(seen["Depth.Z"][hit] / exact[hit] - 1).max() < 2e-2
    assert np.median(np.abs(seen["Depth.Z"][hit] / exact[hit] - 1)) < 2e-3
    assert (seen["Depth.Z"][~hit] > 1e9).all()
    assert np.abs(seen["Normal.Z"][hit] - 1).max() < 1e-3 and np.abs(seen["Normal.X"][hit]).max() < 1e-3
    assert guides["depth"].near == pytest.approx(seen["Depth.Z"].min()) and guides["depth"].far < 500


def test_a_sphere_has_the_depth_and_normal_of_its_equation(scene, tmp_path):
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=6, radius=1.5, location=(0, 6, 0))
    bpy.ops.object.shade_smooth()
    seen, (x, z) = first(rolled(scene, shot(tmp_path, "depth", "normal"))["depth"]), rays()
    ray = np.stack([x, np.ones_like(x), z], -1)
    a, b, c = (ray ** 2).sum(-1), -2 * 6.0, 36 - 1.5 ** 2
    root = b * b - 4 * a * c
    hit = root > 3                          # off the silhouette, where a pixel's width decides
    depth = (-b - np.sqrt(np.where(hit, root, 0))) / (2 * a)
    assert hit.sum() > 500 and np.abs(seen["Depth.Z"] - depth)[hit].max() < 0.01
    normal = (ray * depth[..., None] - (0, 6, 0)) / 1.5
    found = np.stack([seen["Normal.X"], seen["Normal.Y"], seen["Normal.Z"]], -1)
    assert np.abs(found - normal)[hit].max() < 0.02


def test_near_and_far_are_those_of_the_whole_shot(scene, tmp_path):
    moving = wall(scene, 0)
    for frame, y in ((1, 5.0), (3, 9.0)):
        moving.location.y = y
        moving.keyframe_insert("location", frame=frame)
    guide = rolled(scene, shot(tmp_path, "depth", frames=3))["depth"]
    assert (guide.near, guide.far) == (pytest.approx(5, abs=1e-3), pytest.approx(9, abs=1e-3))


def test_a_shot_of_nothing_has_no_near_and_far(scene, tmp_path):
    guide = rolled(scene, shot(tmp_path, "depth"))["depth"]
    assert guide.near is None and guide.far is None


def test_depth_of_field_blurs_no_depth(scene, tmp_path):
    wall(scene, 7.5, name="Back")
    wall(scene, 3.0, right=0.0, name="Front")
    scene.camera.data.dof.use_dof, scene.camera.data.dof.focus_distance, scene.camera.data.dof.aperture_fstop = True, 1.0, 0.1
    scene.camera.location.x = 0.5
    depth = first(rolled(scene, shot(tmp_path, "depth"))["depth"])["Depth.Z"]
    assert (np.abs(depth[:, :20] - 3) < 1e-3).all() and (np.abs(depth[:, -20:] - 7.5) < 1e-3).all()
    assert scene.camera.data.dof.use_dof


# ---------------------------------------------------------------- mask, beauty, edges, vector
def test_a_mask_is_the_visible_part_of_its_collection(scene, tmp_path):
    hero = bpy.data.collections.new("Hero")
    scene.collection.children.link(hero)
    wall(scene, 8, name="Masked", collection=hero)
    wall(scene, 4, left=0.0, name="InFront")
    guide = rolled(scene, shot(tmp_path, "mask", mask="Hero"))["mask"]
    alpha = first(guide)["Combined.A"]
    assert alpha[:, :47].min() > 0.999 and alpha[:, 49:].max() < 0.001


def test_a_mask_of_the_selection_and_of_written_names(scene, tmp_path):
    left, right = wall(scene, 8, right=0.0, name="Left"), wall(scene, 8, left=0.0, name="Right")
    left.select_set(True), right.select_set(False)
    assert first(rolled(scene, shot(tmp_path, "mask"))["mask"])["Combined.A"][:, :47].min() > 0.999
    named = first(rolled(scene, shot(tmp_path, "mask", selection=json.dumps(["Right"])))["mask"])["Combined.A"]
    assert named[:, :47].max() < 0.001 and named[:, 49:].min() > 0.999


def test_hidden_and_excluded_collections_are_in_no_guide(scene, tmp_path):
    for name, distance in (("Excluded", 2), ("Unrendered", 3), ("Shown", 8)):
        collection = bpy.data.collections.new(name)
        scene.collection.children.link(collection)
        wall(scene, distance, name=name + "Wall", collection=collection)
    scene.view_layers[0].layer_collection.children["Excluded"].exclude = True
    bpy.data.collections["Unrendered"].hide_render = True
    guides = rolled(scene, shot(tmp_path, "depth", "mask", mask="Shown"))
    assert np.abs(first(guides["depth"])["Depth.Z"] - 8).max() < 1e-3
    assert first(guides["mask"])["Combined.A"].min() > 0.999


def test_a_backdrop_of_a_former_take_is_in_no_guide(scene, tmp_path):
    wall(scene, 10.0)
    backdrops = bpy.data.collections.new("Backdrops of mine")
    backdrops["sora"] = {"landing": "backdrop"}
    scene.collection.children.link(backdrops)
    wall(scene, 5.0, name="Plane", collection=backdrops)
    guide = rolled(scene, shot(tmp_path, "depth"))["depth"]
    assert np.abs(first(guide)["Depth.Z"] - 10.0).max() < 1e-3
    assert not bpy.context.view_layer.layer_collection.children[backdrops.name].exclude


def test_beauty_has_the_colour_of_the_materials(scene, tmp_path):
    thing, paint = wall(scene, 5), bpy.data.materials.new("Paint")
    paint.use_nodes = True
    nodes = paint.node_tree.nodes
    nodes.clear()
    glow, out = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    glow.inputs["Color"].default_value = (0.8, 0.2, 0.05, 1)
    paint.node_tree.links.new(glow.outputs[0], out.inputs["Surface"])
    thing.data.materials.append(paint)
    seen = first(rolled(scene, shot(tmp_path, "beauty"))["beauty"])
    for channel, value in zip("RGB", (0.8, 0.2, 0.05)):
        assert np.abs(seen[f"Combined.{channel}"] - value).max() < 0.01


def test_edges_bring_depth_normals_and_objects(scene, tmp_path):
    wall(scene, 8, right=0.0, name="Left"), wall(scene, 8, left=0.0, name="Right")
    seen = first(rolled(scene, shot(tmp_path, "edges"))["edges"])
    objects = seen["CryptoObject00.r"]
    assert {"Depth.Z", "Normal.X"} <= set(seen) and len(np.unique(objects)) == 2


def material(thing, **inputs):
    made = bpy.data.materials.new(thing.name)
    made.use_nodes = True
    for name, value in inputs.items():
        made.node_tree.nodes["Principled BSDF"].inputs[name.replace("_", " ")].default_value = value
    thing.data.materials.append(made)


@pytest.mark.parametrize("inputs", [{}, {"Metallic": 1.0}, {"Emission_Color": (.8, .05, .05, 1), "Emission_Strength": 3.0}], ids=["plain", "metal", "light"])
def test_albedo_is_the_colour_that_was_painted_whatever_it_is_made_of(scene, tmp_path, inputs):
    """Red fills the left half, a new material's grey the right one's lower half, and the sky is above that."""
    material(wall(scene, 8, right=0.0, name="Red"), Base_Color=(.8, .05, .05, 1), **inputs)
    material(mesh(scene, "Grey", [(0, 8, -100), (100, 8, -100), (100, 8, 0), (0, 8, 0)]))
    world = bpy.data.worlds.new("Bright")
    world.color = (1, .5, .2)
    scene.world = world
    asked = shot(tmp_path, "albedo", "depth")
    guides = rolled(scene, asked)
    seen = reading.Reader(guides["albedo"], asked).read(0, 1)[0]
    red, grey, sky = seen[40, 20], seen[50, 70], seen[10, 70]
    assert red[3] == 1 and red[0] > .85 and red[1:3].max() < .5 and red[0] - red[1:3].max() > .45
    assert not grey.any() and not sky.any()


@pytest.mark.parametrize("colours", ["MATERIAL", "OBJECT"])
def test_albedo_of_a_workbench_scene_is_what_the_viewport_shows(scene, tmp_path, colours):
    scene.render.engine, scene.display.shading.color_type = "BLENDER_WORKBENCH", colours
    red = wall(scene, 8, right=0.0, name="Red")
    material(red)
    red.data.materials[0].diffuse_color = red.color = (.8, .05, .05, 1)
    asked = shot(tmp_path, "albedo", "depth")
    guides = rolled(scene, asked)
    seen = reading.Reader(guides["albedo"], asked).read(0, 1)[0]
    assert seen[40, 20] == pytest.approx([.906, .247, .247, 1], abs=.01) and not seen[10, 70].any()      # sRGB of what was painted; the sky
    assert scene.display.shading.light == "STUDIO" and first(guides["depth"])["Depth.Z"][40, 20] == pytest.approx(8, abs=1e-3)


def test_vectors_are_the_motion_in_pixels(scene, tmp_path):
    """A wall 10 m away moves 0.3 m a frame to the right and 0.15 m up; a 50 mm lens on 36 mm has 133 px per metre of slope."""
    moving = wall(scene, 10)
    for frame in (0, 4):
        moving.location = (0.3 * frame, 0, 0.15 * frame)
        moving.keyframe_insert("location", frame=frame)
    linear(moving)
    seen = first(rolled(scene, shot(tmp_path, "vector", start=2))["vector"], 2)
    pixels = 96 * 50 / 36 / 10
    before = [float(np.median(seen[f"Vector.{axis}"])) for axis in "XY"]
    after = [float(np.median(seen[f"Vector.{axis}"])) for axis in "ZW"]
    assert before == pytest.approx([-0.3 * pixels, -0.15 * pixels], abs=0.01)       # where it was, from where it is; y up
    assert after == pytest.approx([-0.3 * pixels, -0.15 * pixels], abs=0.01)        # from where it will be to where it is


def linear(thing):
    action = thing.animation_data.action
    curves = action.fcurves if hasattr(action, "fcurves") else action.layers[0].strips[0].channelbags[0].fcurves
    for curve in curves:
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"


# ---------------------------------------------------------------- camera.json
LENSES = {
    "plain": {}, "shifted": {"shift_x": 0.2, "shift_y": -0.15}, "vertical": {"sensor_fit": "VERTICAL", "sensor_height": 20},
    "horizontal": {"sensor_fit": "HORIZONTAL"}, "long": {"lens": 135}, "shifted vertical": {"sensor_fit": "VERTICAL", "shift_y": 0.3},
    "flat": {"type": "ORTHO", "ortho_scale": 9, "shift_x": 0.1},
}


@pytest.mark.parametrize("size", [Size(96, 64), Size(64, 120)], ids=str)
@pytest.mark.parametrize("aspect", [(1, 1), (2, 1), (1, 1.5)], ids=str)
@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_camera_json_projects_as_blender_does(scene, tmp_path, lens, aspect, size):
    camera, render = scene.camera, scene.render
    camera.matrix_world = Matrix.LocRotScale((1, -6, 2), (Matrix.Rotation(1.3, 3, "X") @ Matrix.Rotation(0.2, 3, "Z")), (2, 2, 2))
    for name, value in lens.items():
        setattr(camera.data, name, value)
    render.pixel_aspect_x, render.pixel_aspect_y = aspect
    guide = rolled(scene, shot(tmp_path, "camera", size=size))["camera"]
    seen = json.loads(open(guide.path).read())["frames"][0]
    render.resolution_x, render.resolution_y, render.resolution_percentage = size.width, size.height, 100
    bpy.context.view_layer.update()
    for point in ((0, 0, 0), (1.5, 2, 3), (-2, 5, 1)):
        wanted = world_to_camera_view(scene, camera, Vector(point))
        found = project(seen, point)
        assert abs(found[0] - wanted.x * size.width) < 0.1 and abs(found[1] - (1 - wanted.y) * size.height) < 0.1
        assert found[2] == pytest.approx(wanted.z, abs=1e-4)


def project(seen, point):
    x, y, z, _ = np.linalg.inv(np.array(seen["c2w"]).reshape(4, 4)) @ (*point, 1)
    fx, fy, cx, cy = seen["K"]
    by = 1 if seen["projection"] == "orthographic" else z
    return fx * x / by + cx, fy * y / by + cy, z


MARKS = ((0.2, 0.3), (0.5, 0.6), (0.85, 0.75))      # shares of the picture's sides, from its lower left
ASIDE = 0.1                                             # pixels


def marks(scene, frame: int = 1, depth: float = 8.0) -> list[Vector]:
    """A red, a green and a blue square at MARKS of the picture that `frame` shows, `depth` metres away. They face the camera, so that
    the middle of what is seen of each is its middle. Where they stand comes from Blender; returned in the world."""
    scene.frame_set(frame)
    camera, middles = scene.camera, []
    seen = camera.matrix_world.normalized()
    upper, lower, origin, _ = camera.data.view_frame(scene=scene)
    for colour, (across, up) in enumerate(MARKS):
        place = origin + (lower - origin) * across + (upper - lower) * up
        away = depth / -place.z if camera.data.type == "PERSP" else 1.0
        middle = Vector((place.x * away, place.y * away, -depth))
        x, y = (lower - origin).x * away / 20, (upper - lower).y * away / 20
        square = mesh(scene, "Mark", [seen @ (middle + Vector((a * x, b * y, 0))) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
        square.data.materials.append(glowing(colour))
        middles.append(seen @ middle)
    return middles


def glowing(colour: int):
    """A material that sends 1 in one of red, green and blue, whatever the light."""
    made = bpy.data.materials.new("Glow")
    made.use_nodes = True
    nodes = made.node_tree.nodes
    nodes.clear()
    glow, out = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    glow.inputs["Color"].default_value = [float(channel == colour) for channel in range(3)] + [1.0]
    made.node_tree.links.new(glow.outputs[0], out.inputs["Surface"])
    return made


def middles_of(picture) -> list[tuple[float, float]]:
    """Where each colour lies, in pixels from the upper left corner, weighted by how much of a pixel it covers."""
    found = []
    for channel in "RGB":
        cover = picture[f"Combined.{channel}"].astype(np.float64)
        rows, columns = np.indices(cover.shape) + 0.5
        found.append(((cover * columns).sum() / cover.sum(), (cover * rows).sum() / cover.sum()))
    return found


def by_the_engine(scene, size: Size, points) -> list:
    """What the engine's own conversion makes of Blender's camera, in pixels: the way of a camera that the engine is told, not shown."""
    camera, render = scene.camera, scene.render
    lens = viewing.Lens(focal=camera.data.lens, size=size, sensor_width=camera.data.sensor_width, sensor_height=camera.data.sensor_height,
                        sensor_fit=camera.data.sensor_fit, shift_x=camera.data.shift_x, shift_y=camera.data.shift_y,
                        pixel_aspect=(render.pixel_aspect_x, render.pixel_aspect_y))
    return viewing.project(np.array(points), viewing.c2w(camera.matrix_world), viewing.intrinsics(lens))[:, :2]


def framed(scene, size: Size, aspect=(1, 1), **lens) -> None:
    """A camera that stands askew, with that lens, in front of a black world."""
    scene.camera.matrix_world = Matrix.LocRotScale((1, -6, 2), (Matrix.Rotation(1.3, 3, "X") @ Matrix.Rotation(0.2, 3, "Z")), (2, 2, 2))
    for name, value in lens.items():
        setattr(scene.camera.data, name, value)
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = size.width, size.height, 100
    render.pixel_aspect_x, render.pixel_aspect_y = aspect
    bpy.context.view_layer.update()


@pytest.mark.parametrize(("size", "aspect"), [(Size(96, 64), (1, 1)), (Size(64, 120), (2, 1)), (Size(96, 64), (1, 1.5)), (Size(64, 120), (1, 1))], ids=str)
@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_what_is_rendered_lies_where_camera_json_and_the_engine_say(scene, tmp_path, lens, aspect, size):
    framed(scene, size, aspect, **lens)
    points = marks(scene)
    guides = rolled(scene, shot(tmp_path, "beauty", "camera", size=size))
    rendered = np.array(middles_of(first(guides["beauty"])))
    view = json.loads(open(guides["camera"].path).read())["frames"][0]
    assert np.abs(rendered - [project(view, point)[:2] for point in points]).max() < ASIDE
    if scene.camera.data.type == "PERSP":
        assert np.abs(rendered - by_the_engine(scene, size, points)).max() < ASIDE
        read = viewing.read(guides["camera"].path)
        assert np.abs(rendered - viewing.project(np.array(points), read.c2w[0], read.K[0])[:, :2]).max() < ASIDE


def test_a_lens_that_zooms_and_shifts_is_followed_in_every_frame(scene, tmp_path):
    framed(scene, SIZE, lens=35)
    lens = scene.camera.data
    for frame, focal, shift in ((1, 35, 0.0), (3, 85, 0.3)):
        lens.lens, lens.shift_x = focal, shift
        lens.keyframe_insert("lens", frame=frame), lens.keyframe_insert("shift_x", frame=frame)
    points = marks(scene, frame=2, depth=9.0)
    guides = rolled(scene, shot(tmp_path, "beauty", "camera", frames=3))
    views = json.loads(open(guides["camera"].path).read())["frames"]
    seen = [middles_of(first(guides["beauty"], frame)) for frame in (1, 2, 3)]
    for frame, view in enumerate(views):
        inside = [index for index, point in enumerate(points) if 8 < project(view, point)[0] < 88 and 6 < project(view, point)[1] < 58]
        assert inside and max(np.abs(np.subtract(seen[frame][index], project(view, points[index])[:2])).max() for index in inside) < ASIDE
    assert views[0]["focal"] < views[1]["focal"] < views[2]["focal"] and np.abs(np.subtract(seen[0], seen[1])).max() > 5


def test_animated_lens_and_markers_switch_the_camera(scene, tmp_path):
    wall(scene, 10)
    other = bpy.data.objects.new("Other", bpy.data.cameras.new("Other"))
    other.rotation_euler, other.location = (math.pi / 2, 0, 0), (0, 4, 0)
    scene.collection.objects.link(other)
    for frame, focal in ((1, 35), (3, 85)):
        other.data.lens = focal
        other.data.keyframe_insert("lens", frame=frame)
    for frame, camera in ((-5, scene.camera), (2, other)):
        scene.timeline_markers.new(camera.name, frame=frame).camera = camera
    guides = rolled(scene, shot(tmp_path, "depth", "camera", frames=3))
    frames = json.loads(open(guides["camera"].path).read())["frames"]
    assert [each["camera"] for each in frames] == ["Camera", "Other", "Other"]
    assert frames[2]["focal"] == pytest.approx(85) and frames[1]["focal"] < 84
    assert [float(np.median(first(guides["depth"], n)["Depth.Z"])) for n in (1, 2, 3)] == pytest.approx([10, 6, 6], abs=1e-3)


def test_the_camera_that_the_shot_names_is_used(scene, tmp_path):
    wall(scene, 10)
    other = bpy.data.objects.new("Other", scene.camera.data)
    other.rotation_euler, other.location = (math.pi / 2, 0, 0), (0, 3, 0)
    scene.collection.objects.link(other)
    depth = first(rolled(scene, shot(tmp_path, "depth", camera="Other"))["depth"])["Depth.Z"]
    assert np.median(depth) == pytest.approx(7, abs=1e-3)


# ---------------------------------------------------------------- as the engine reads them
def test_the_engine_reads_what_was_rolled(scene, tmp_path):
    """Seen by a camera that looks elsewhere: normals face it all the same, depth is 1 near and 0 far, objects have edges."""
    scene.camera.matrix_world = Matrix.Rotation(0.7, 4, "Z") @ scene.camera.matrix_world @ Matrix.Rotation(0.2, 4, "Z")
    here = scene.camera.matrix_world
    for name, distance, left in (("Far", 9.0, -50.0), ("Near", 3.0, 0.0)):
        corners = [(left, -50, -distance), (50, -50, -distance), (50, 50, -distance), (left, 50, -distance)]
        mesh(scene, name, [here @ Vector(corner) for corner in corners])
    asked = shot(tmp_path, "depth", "normal", "edges", "vector", "camera")
    asked = dataclasses.replace(asked, guides=tuple(rolled(scene, asked).values()))
    reading.check(asked)
    depth, normal, edges, vector = (reading.Reader(guide, asked).read(0, 1)[0] for guide in asked.guides[:4])
    assert np.abs(depth[:, :47]).max() < 1e-3 and np.abs(depth[:, 49:] - 1).max() < 1e-3
    assert np.abs(normal - (0, 0, 1)).max() < 1e-3
    assert edges[:, 47:49].max(1).min() == 1 and edges[:, :46].max() == 0 == edges[:, 50:].max()
    assert np.abs(vector).max() < 1e-3


# ---------------------------------------------------------------- folders, names, bad input
@pytest.mark.parametrize("name", ["plain", "with space", "ü汉", "{blend_name}", "{nope} #### 100%d"])
def test_any_folder_name_works(scene, tmp_path, name):
    wall(scene, 5)
    guides = rolled(scene, shot(tmp_path / name, "depth", frames=2))
    assert sorted(path.name for path in (tmp_path / name / "guides").iterdir()) == ["0001.exr", "0002.exr", "camera.json"]
    assert guides["depth"].near == pytest.approx(5, abs=1e-3)


def test_a_second_roll_replaces_the_frames_of_the_first(scene, tmp_path):
    wall(scene, 5)
    rolled(scene, shot(tmp_path, "depth", frames=3))
    rolled(scene, shot(tmp_path, "depth", frames=2, start=2))
    assert sorted(path.name for path in (tmp_path / "guides").glob("*.exr")) == ["0002.exr", "0003.exr"]


def refusal(scene, asked, kind):
    with pytest.raises(kind) as raised:
        rolled(scene, asked)
    assert raised.value.sentence.endswith(".")
    return raised.value


def test_what_cannot_be_rolled_is_said_with_a_way_out(scene, tmp_path):
    assert refusal(scene, shot(tmp_path, "mask", mask="Nobody"), ShotError).remedy.value == "mask"
    bpy.ops.object.select_all(action="DESELECT")
    assert "selected" in refusal(scene, shot(tmp_path, "mask"), ShotError).sentence
    wall(scene, 5).select_set(True)
    refusal(scene, shot(tmp_path, "mask", selection="[]"), ShotError)       # nothing was selected when Generate was pressed
    assert "-3" in refusal(scene, shot(tmp_path, "depth", start=-3), ShotError).sentence
    refusal(scene, shot(tmp_path, "smell"), GuideError)
    scene.camera.data.type = "PANO"
    assert "panoramic" in refusal(scene, shot(tmp_path, "depth"), ShotError).sentence
    scene.camera = None
    assert refusal(scene, shot(tmp_path, "depth"), ShotError).remedy.action == "add_camera"


def test_a_folder_that_cannot_be_written_is_said(scene, tmp_path):
    (tmp_path / "guides").write_text("a file where the folder should be")
    assert refusal(scene, shot(tmp_path, "depth"), FolderError).remedy.action == "choose_folder"


def test_a_scene_that_went_away_is_said(scene, tmp_path):
    other = bpy.data.scenes.new("Other")
    roll = passes.roll(scene, shot(tmp_path, "depth", frames=2))
    next(roll)
    bpy.data.scenes.remove(scene)
    with pytest.raises(GuideError, match="not in the file"):
        next(roll)
    assert list(bpy.data.scenes) == [other]


def test_the_shot_keeps_its_own_numbers(scene, tmp_path):
    asked = dataclasses.replace(shot(tmp_path, "depth", "camera", frames=2, start=1001), fps=25.0)
    wall(scene, 5)
    guides = rolled(scene, asked)
    assert (tmp_path / "guides" / "1002.exr").exists()
    written = json.loads(open(guides["camera"].path).read())
    assert written["fps"] == 25 and [each["frame"] for each in written["frames"]] == [1001, 1002]
    assert first(guides["depth"], 1001)["Depth.Z"].shape == (64, 96)
