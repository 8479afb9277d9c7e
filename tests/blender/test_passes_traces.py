"""A roll leaves the file exactly as it was: to the end, cut in the middle, after an error. Everything that RNA shows is compared."""
import math

import bpy
import pytest

from sora.engine.errors import FolderError, GuideError
from sora.engine.protocol import Guide, Shot, Size
from sora.sora_addon import passes
from sora.sora_addon.passes import stage

KINDS = ("depth", "normal", "albedo", "beauty", "mask", "edges", "layout", "vector", "camera")
INTERFACE = {"screens", "workspaces", "window_managers", "brushes", "palettes"}     # large, and no render touches them
SKIPPED = {"rna_type", "depsgraph", "original", "bl_rna", "id_data", "session_uid", "name_full"}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")       # every property is read, old ones too


@pytest.fixture
def scene():
    """A scene with something in every corner that a render could disturb."""
    bpy.ops.wm.read_factory_settings()
    scene = bpy.context.scene
    cube = bpy.data.objects["Cube"]
    for frame, x in ((1, 0.0), (10, 4.0)):
        cube.location.x = x
        cube.keyframe_insert("location", frame=frame)
        scene.camera.data.lens = 30 + frame
        scene.camera.data.keyframe_insert("lens", frame=frame)
    scene.camera.data.dof.use_dof = True
    extra, hidden = bpy.data.collections.new("Extra"), bpy.data.collections.new("Hidden")
    for collection in (extra, hidden):
        scene.collection.children.link(collection)
    twin = cube.copy()
    extra.objects.link(twin)
    cube.constraints.new("COPY_ROTATION").target = twin
    scene.view_layers[0].layer_collection.children["Hidden"].exclude = True
    second = scene.view_layers.new("Second")
    second.use, second.layer_collection.children["Extra"].holdout = False, True
    other = bpy.data.objects.new("Other", bpy.data.cameras.new("Other"))
    other.location, other.rotation_euler = (0, -9, 0), (math.pi / 2, 0, 0)
    extra.objects.link(other)
    scene.timeline_markers.new("cut", frame=3).camera = other
    scene.render.engine, scene.render.filepath, scene.render.use_border = "BLENDER_WORKBENCH", "//mine", True
    scene.render.resolution_percentage, scene.render.use_stamp = 37, True
    scene["mine"] = 3
    editor = scene.sequence_editor_create()
    editor.strips.new_effect(name="C", type="COLOR", channel=1, frame_start=1, **({"length": 9} if bpy.app.version >= (5, 0) else {"frame_end": 9}))
    composite(scene)
    scene.frame_set(7)
    bpy.context.view_layer.objects.active = twin
    cube.select_set(True), twin.select_set(False)
    return scene


def composite(scene):
    if bpy.app.version < (5, 0):
        scene.use_nodes = True
    else:
        scene.compositing_node_group = bpy.data.node_groups.new("Mine", "CompositorNodeTree")
        scene.compositing_node_group.nodes.new("CompositorNodeRLayers")


# ---------------------------------------------------------------- everything RNA shows
def everything():
    """path -> value of every readable property of every datablock."""
    found = {}
    for home in dir(bpy.data):
        blocks = getattr(bpy.data, home)
        if isinstance(blocks, bpy.types.bpy_prop_collection) and home not in INTERFACE:
            found[home] = sorted(block.name_full for block in blocks)
            for block in blocks:
                note(found, f"{home}[{block.name_full}]", block, set())
                found[f"{home}[{block.name_full}] own"] = sorted(map(str, block.items()))
    found["context"] = (bpy.context.scene.name, bpy.context.view_layer.name, sorted(thing.name for thing in bpy.context.selected_objects),
                        bpy.context.object and bpy.context.object.name, bpy.data.is_dirty)
    return found


def note(found, where, struct, above):
    if struct.as_pointer() in above:
        return
    for name in struct.bl_rna.properties.keys():
        if name in SKIPPED:
            continue
        value = getattr(struct, name, None)
        path = f"{where}.{name}"
        if isinstance(value, bpy.types.ID):
            found[path] = value.name_full
        elif isinstance(value, bpy.types.bpy_struct):
            note(found, path, value, above | {struct.as_pointer()})
        elif isinstance(value, bpy.types.bpy_prop_collection):
            found[path] = len(value)
            for index, item in enumerate(value[:50]):
                if isinstance(item, bpy.types.ID):
                    found[f"{path}[{index}]"] = item.name_full
                elif isinstance(item, bpy.types.bpy_struct):
                    note(found, f"{path}[{index}]", item, above | {struct.as_pointer()})
        else:
            found[path] = tuple(map(tuple_of, value)) if hasattr(value, "__len__") and not isinstance(value, str) else value


def tuple_of(value):
    return tuple(map(tuple_of, value)) if hasattr(value, "__len__") and not isinstance(value, str) else value


def unchanged(before):
    after = everything()
    return {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys() if repr(before.get(path)) != repr(after.get(path))}


def shot(folder, *kinds, frames=3, **landing):
    return Shot(id="t", family="blockout", prompt="p", seed=1, size=Size(48, 32), frames=frames, fps=24, out=str(folder), frame_start=2,
                guides=tuple(Guide(kind=kind, path="") for kind in kinds), landing=landing)


# ---------------------------------------------------------------- no trace
def test_the_comparison_sees_small_changes(scene):
    before = everything()
    assert len(before) > 1000 and not unchanged(before)
    scene.render.dither_intensity += 0.5
    bpy.data.objects["Cube"].select_set(False)
    assert len(unchanged(before)) >= 2


@pytest.mark.parametrize("kinds", [KINDS, ("depth",), ("mask",), ("beauty",), ("camera",)], ids=",".join)
def test_a_whole_roll_leaves_everything_as_it_was(scene, tmp_path, kinds):
    before = everything()
    asked = shot(tmp_path, *kinds, mask="Extra")
    assert [done for done, _total in passes.roll(scene, asked)] == [1, 2, 3]
    assert not unchanged(before)


def test_nothing_is_there_between_two_ticks(scene, tmp_path):
    """So that saving, undoing or closing Blender in the middle of a roll keeps nothing of it."""
    before = everything()
    roll = passes.roll(scene, shot(tmp_path, *KINDS, mask="Extra"))
    assert not unchanged(before)
    next(roll)
    assert not unchanged(before)
    roll.close()
    assert not unchanged(before)
    assert [path.name for path in (tmp_path / "guides").glob("*.exr")] == ["0002.exr"]


def test_an_error_leaves_everything_as_it_was(scene, tmp_path):
    before = everything()
    with pytest.raises(GuideError, match="Lost"):
        next(passes.roll(scene, shot(tmp_path, *KINDS, mask="Extra", view_layer="Lost")))
    assert not unchanged(before)
    roll = passes.roll(scene, shot(tmp_path, "depth"))
    next(roll)
    (tmp_path / "guides").rename(tmp_path / "elsewhere")
    (tmp_path / "guides").write_text("in the way")
    with pytest.raises(FolderError):
        next(roll)
    assert not unchanged(before)


def test_undo_in_the_middle_of_a_roll_is_no_harm(scene, tmp_path):
    bpy.ops.ed.undo_push(message="before")
    roll = passes.roll(scene, shot(tmp_path, "depth", "mask", mask="Extra"))
    next(roll)
    bpy.data.objects["Cube"].location.z = 5
    bpy.ops.ed.undo_push(message="moved")
    next(roll)
    bpy.ops.ed.undo()
    next(roll)
    with pytest.raises(StopIteration) as stop:
        next(roll)
    assert len(stop.value.value) == 2
    bpy.ops.ed.redo()
    assert [each.name for each in bpy.data.scenes] == ["Scene"]


def test_purge_removes_what_a_crash_left(scene):
    before = everything()
    for block in (scene.copy(), bpy.data.collections.new("left"), bpy.data.cameras.new("left"), bpy.data.objects.new("left", None)):
        block[stage.TAG] = True
    assert passes.purge() == 4
    assert not unchanged(before)
