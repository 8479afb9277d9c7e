"""Every Blender version difference, phrased as intent, each with the condition under which it can go."""
from __future__ import annotations

import bpy


# ---------------------------------------------------------------- rendering of guides
def write_all_layers(image_settings) -> None:
    """Render results are written as multi-layer EXR. The media type came in 5.0; drop with 4.5 LTS."""
    if hasattr(image_settings, "media_type"):
        image_settings.media_type = "MULTI_LAYER_IMAGE"
    image_settings.file_format = "OPEN_EXR_MULTILAYER"


def write_one_part(image_settings) -> None:
    """Every layer in one part of the EXR, as before 5.0: of non-square pixels 5.x cannot write several. Drop when it can."""
    if hasattr(image_settings, "use_exr_interleave"):
        image_settings.use_exr_interleave = True


def render_still(context, scene, frame: int) -> set[str]:
    """Renders one frame of `scene` to its file path, whatever scene the window shows. Raises RuntimeError.

    In every version so far the operator renders the context's frame, and ends by evaluating the context's scene there, which
    writes animation into the very objects. So the context gets an empty scene at that frame. Timers have no window either.
    """
    empty = bpy.data.scenes.new("Sora Empty")
    empty.frame_current = frame
    window = None if context.window or bpy.app.background else next(iter(context.window_manager.windows), None)
    try:
        with context.temp_override(**({"window": window} if window else {})):       # one override of both ends at the window's scene
            with context.temp_override(scene=empty, view_layer=empty.view_layers[0]):
                return bpy.ops.render.render(write_still=True, scene=scene.name)
    finally:
        bpy.data.scenes.remove(empty)


# ---------------------------------------------------------------- animation
def animation_curves(block) -> list:
    """The animation curves of a datablock. Actions have layers and slots since 4.4, and nothing else since 5.0; drop with 4.5 LTS."""
    action = block.animation_data.action if block.animation_data else None
    if action is None:
        return []
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    return [curve for layer in action.layers for strip in layer.strips for bag in strip.channelbags
            if bag.slot == block.animation_data.action_slot for curve in bag.fcurves]


# ---------------------------------------------------------------- landings: the sequencer
def strip_span(strip) -> tuple[int, int]:
    """First frame of a strip and the frame after its last one. Renamed in 5.2, the old names go in 6.0; drop with 5.1."""
    if hasattr(strip, "left_handle"):
        return round(strip.left_handle), round(strip.right_handle)
    return round(strip.frame_final_start), round(strip.frame_final_end)


def set_strip_span(strip, first: int, after: int) -> None:
    """Shows a strip from `first` until before `after`, its content where it was. Renamed in 5.2; drop with 5.1."""
    start, end = ("left_handle", "right_handle") if hasattr(strip, "left_handle") else ("frame_final_start", "frame_final_end")
    setattr(strip, end, after)
    setattr(strip, start, first)


def strip_content_start(strip) -> int:
    """Frame at which a strip's content begins, handles aside. Renamed in 5.2; drop with 5.1."""
    return round(strip.content_start if hasattr(strip, "content_start") else strip.frame_start)


def strip_trimmed(strip) -> int:
    """Images of a strip's content that are cut off before its beginning. Renamed in 5.2; drop with 5.1."""
    return strip.content_trim_start if hasattr(strip, "content_trim_start") else strip.animation_offset_start


def edited_scene(context, scene):
    """The scene whose sequencer the artist edits. A workspace has its own since 5.0; `scene` itself before. Drop with 4.5 LTS."""
    edited = (getattr(workspace, "sequencer_scene", None) for workspace in _sequencing(context))
    return next((found for found in edited if found is not None), scene)


def show_sequencer(context, scene) -> None:
    """Workspaces whose sequencer would be empty show `scene`. They start without a scene since 5.0; drop with 4.5 LTS."""
    for workspace in _sequencing(context):
        if hasattr(workspace, "sequencer_scene") and workspace.sequencer_scene is None:
            workspace.sequencer_scene = scene


def _sequencing(context) -> list:
    """Workspaces in which the artist may look for a strip, likeliest first: open with a sequencer, open, with a sequencer."""
    windows = sorted(context.window_manager.windows, key=lambda window: window != context.window)
    opened = [window.workspace for window in windows]
    able = [workspace for workspace in bpy.data.workspaces
            if any(area.type == "SEQUENCE_EDITOR" for screen in workspace.screens for area in screen.areas)]
    ranked = [workspace for workspace in opened if workspace in able] + opened + able
    return list(dict.fromkeys(ranked))


# ---------------------------------------------------------------- landings: the compositor
def compositor_tree(scene):
    """The scene's compositor tree, made with what every render shows when there is none. A node group since 5.0; drop with 4.5 LTS."""
    if hasattr(scene, "compositing_node_group"):
        if scene.compositing_node_group is None:
            tree = bpy.data.node_groups.new("Compositor", "CompositorNodeTree")
            scene.compositing_node_group = tree
        return scene.compositing_node_group
    scene.use_nodes = True
    return scene.node_tree


def compositor_composes(scene) -> bool:
    """Whether the scene's tree is in use already. `use_nodes` means nothing since 5.0; drop with 4.5 LTS."""
    return scene.compositing_node_group is not None if hasattr(scene, "compositing_node_group") else scene.use_nodes


def compositor_output(tree):
    """The input socket that becomes the render, made where the tree has none. A group output since 5.0; drop with 4.5 LTS."""
    if not hasattr(bpy.types, "CompositorNodeComposite"):
        if not any(item.item_type == "SOCKET" and item.in_out == "OUTPUT" for item in tree.interface.items_tree):
            tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        kind = "NodeGroupOutput"
    else:
        kind = "CompositorNodeComposite"
    outputs = [node for node in tree.nodes if node.bl_idname == kind] or [tree.nodes.new(kind)]
    node = next((node for node in outputs if getattr(node, "is_active_output", node == tree.nodes.active)), outputs[0])
    return node.inputs[0]


def over(tree, name: str):
    """An Alpha Over node and its sockets (node, background, foreground). Sockets got names in 5.0; drop with 4.5 LTS."""
    node = tree.nodes.new("CompositorNodeAlphaOver")
    node.name = name
    named = "Background" in node.inputs
    return node, node.inputs["Background" if named else 1], node.inputs["Foreground" if named else 2]


def scale_to_render(node, method: str, smooth: bool) -> None:
    """Sets a Scale node to the render's size, `method` being STRETCH, FIT or CROP. Its options are sockets since 5.0; drop with 4.5 LTS."""
    if "Frame Type" in node.inputs:
        node.inputs["Type"].default_value = "Render Size"
        node.inputs["Frame Type"].default_value = method.capitalize()
        node.inputs["Interpolation"].default_value = "Bilinear" if smooth else "Nearest"
        return
    node.space, node.frame_method, node.interpolation = "RENDER_SIZE", method, "BILINEAR" if smooth else "NEAREST"


def mask_by_alpha(node) -> None:
    """Sets a Set Alpha node to multiply its image by the mask. Its option is a socket since 5.0; drop with 4.5 LTS."""
    if "Type" in node.inputs:
        node.inputs["Type"].default_value = "Apply Mask"
    else:
        node.mode = "APPLY"


# ---------------------------------------------------------------- landings: materials
def shader_nodes(material):
    """The material's node tree. Every material has one since 5.0, where `use_nodes` warns; drop with 4.5 LTS."""
    if material.node_tree is None:
        material.use_nodes = True
    return material.node_tree
