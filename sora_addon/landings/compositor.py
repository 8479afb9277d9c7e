"""A take in the compositor: one node group, `Sora Plate`, between what feeds the scene's output and the output.

Inside, the plate lies under the render through the render's alpha; outside the take's frames the plate is transparent,
so that no frame freezes silently. Depth and Mask come from the take's guides, or else are the render's own depth and
alpha. A landing over the same frames updates the group in place; other frames get a group of their own.
"""
from __future__ import annotations

from pathlib import Path

import bpy

from ...engine.errors import LandingError
from ...engine.protocol import Take
from .. import compat
from . import framing, images

GROUP = "Sora Plate"
NEEDED = {"Plate", "Plate Size", "Since", "Until", "Depth", "Depth Gate", "Mask", "Mask Gate"}     # nodes that an update sets
GUIDES = {"depth": ("depth", "z", "image"), "mask": ("mask", "alpha")}      # outputs of an image node that hold the guide, best first


def land(context, scene, take: Take, folder: Path, options: dict[str, str]) -> str:
    """Puts the take under the scene's render. Raises FolderError or LandingError."""
    plate = images.sequence(take, folder)
    colourspace, told = images.colours(scene, take)
    camera = scene.objects.get(options.get("camera", "")) or scene.camera
    image = images.loaded(context, take, plate, colourspace)
    composed = compat.compositor_composes(scene)
    tree = compat.compositor_tree(scene)
    if tree.library:
        images.forget(image)
        raise LandingError(f"The compositor of “{scene.name}” is linked from another file; make it local and land again.")
    node, stale = _present(tree, plate)
    updated = node is not None
    node = node or _inserted(scene, tree)
    group, former = node.node_tree, node.node_tree.nodes["Plate"].image
    group.nodes["Plate"].image = image
    _fill(group, plate, framing.method(scene, camera, take.shot.size))
    kept = _guides(context, group, take, folder, plate)
    _own_depth(scene, tree, node)
    group[images.RECORD] = images.record(take, plate, landing="compositor")
    node.label, node.mute = f"{GROUP}: {images.titled(take)}", False
    if former != image:
        images.forget(former)
    if options.get("film") == "1":
        scene.render.film_transparent = True
    said = f"Plate under the render at {images.spoken_range(plate)}, in the node group “{group.name}”" + (", which was updated." if updated else ".")
    notes = (said, told, framing.told(scene, camera, take.shot.size), _sources(kept, node), _silenced(stale), _unseen(scene, composed))
    return " ".join(filter(None, notes))


# ---------------------------------------------------------------- the artist's own tree
def _present(tree, plate: images.Sequence):
    """(the node of an earlier landing over these frames that can be updated or None, its others), the others muted."""
    over = [node for node in tree.nodes if node.type == "GROUP" and images.overlaps(node.node_tree, plate.start, plate.last)]
    whole = next((node for node in over if NEEDED <= set(node.node_tree.nodes.keys())), None)
    stale = [node for node in over if node != whole]
    for node in stale:
        node.mute = True
    return whole, stale


def _inserted(scene, tree):
    """A new group node between what feeds the output and the output; everything else of the tree stays as it is."""
    output = compat.compositor_output(tree)
    node = tree.nodes.new("CompositorNodeGroup")
    node.node_tree = _group()
    node.name, node.width = GROUP, 220
    if output.is_linked:
        source = output.links[0].from_socket
    else:
        layers = next((n for n in tree.nodes if n.bl_idname == "CompositorNodeRLayers" and n.scene in (scene, None)), None)
        source = (layers or tree.nodes.new("CompositorNodeRLayers")).outputs["Image"]
    target, left = output.node, source.node
    if target.location.x - left.location.x < left.width + node.width + 80:
        target.location.x = left.location.x + left.width + node.width + 80
    node.location = (target.location.x - node.width - 40, target.location.y)
    tree.links.new(source, node.inputs["Image"])
    tree.links.new(node.outputs["Image"], output)
    return node


def _own_depth(scene, tree, node) -> None:
    """The render's depth goes into the plate's node where the view layer has that pass and nothing else goes in."""
    for layers in [n for n in tree.nodes if n.bl_idname == "CompositorNodeRLayers" and n.scene in (scene, None)]:
        depth = layers.outputs.get("Depth")
        if depth is not None and depth.enabled and not node.inputs["Depth"].is_linked:
            tree.links.new(depth, node.inputs["Depth"])


# ---------------------------------------------------------------- the group
def _group():
    """The node group, not yet filled: Image and Depth of a render -> Image, Plate, Depth, Mask."""
    tree = bpy.data.node_groups.new(GROUP, "CompositorNodeTree")
    for name, kind in (("Image", "NodeSocketColor"), ("Depth", "NodeSocketFloat")):
        tree.interface.new_socket(name, in_out="INPUT", socket_type=kind)
    for name, kind in (("Image", "NodeSocketColor"), ("Plate", "NodeSocketColor"), ("Depth", "NodeSocketFloat"), ("Mask", "NodeSocketFloat")):
        tree.interface.new_socket(name, in_out="OUTPUT", socket_type=kind)
    render, result = _node(tree, "NodeGroupInput", "Render", -640, -260), _node(tree, "NodeGroupOutput", "Result", 640, 0)
    plate, size = _node(tree, "CompositorNodeImage", "Plate", -640, 260), _node(tree, "CompositorNodeScale", "Plate Size", -420, 260)
    masked, inside = _node(tree, "CompositorNodeSetAlpha", "Plate Alpha", -40, 260), _inside(tree)
    compat.mask_by_alpha(masked)
    over, background, foreground = compat.over(tree, "Render over Plate")
    over.location = (260, 200)
    render_alpha = _node(tree, "CompositorNodeSeparateColor", "Render Alpha", -200, -200)
    for source, target in ((plate.outputs["Image"], size.inputs["Image"]), (size.outputs[0], masked.inputs["Image"]),
                           (inside, masked.inputs["Alpha"]), (masked.outputs[0], background), (render.outputs["Image"], foreground),
                           (over.outputs[0], result.inputs["Image"]), (masked.outputs[0], result.inputs["Plate"]),
                           (render.outputs["Image"], render_alpha.inputs[0])):
        tree.links.new(source, target)
    _choose(tree, "Depth", render.outputs["Depth"], result.inputs["Depth"], inside, -260)
    _choose(tree, "Mask", render_alpha.outputs["Alpha"], result.inputs["Mask"], inside, -480)
    return tree


def _node(tree, kind: str, name: str, x: float, y: float):
    node = tree.nodes.new(kind)
    node.name = node.label = name
    node.location = (x, y)
    return node


def _inside(tree):
    """A socket that is 1 at the take's frames and 0 at all others."""
    clock = _node(tree, "CompositorNodeSceneTime", "Frame", -860, 20)
    since, until = _node(tree, "ShaderNodeMath", "Since", -640, 60), _node(tree, "ShaderNodeMath", "Until", -640, -100)
    both = _node(tree, "ShaderNodeMath", "Inside", -420, 20)
    since.operation, until.operation, both.operation = "GREATER_THAN", "LESS_THAN", "MULTIPLY"
    tree.links.new(clock.outputs["Frame"], since.inputs[0])
    tree.links.new(clock.outputs["Frame"], until.inputs[0])
    tree.links.new(since.outputs[0], both.inputs[0])
    tree.links.new(until.outputs[0], both.inputs[1])
    return both.outputs[0]


def _choose(tree, name: str, rendered, result, inside, y: float) -> None:
    """The render's own value, or, where `… Gate` lets it, the guide's."""
    gate, choice = _node(tree, "ShaderNodeMath", f"{name} Gate", 40, y - 40), _node(tree, "ShaderNodeMix", name, 260, y)
    gate.operation, choice.data_type, choice.clamp_factor = "MULTIPLY", "FLOAT", False
    gate.inputs[1].default_value = 0.0
    tree.links.new(inside, gate.inputs[0])
    tree.links.new(gate.outputs[0], _float(choice, "Factor_Float"))
    tree.links.new(rendered, _float(choice, "A_Float"))
    tree.links.new(next(o for o in choice.outputs if o.identifier == "Result_Float"), result)


def _float(node, identifier: str):
    return next(socket for socket in node.inputs if socket.identifier == identifier)


def _fill(group, plate: images.Sequence, method: str) -> None:
    """Sets the frames that the plate is shown at and how it fills the frame."""
    images.follow(group.nodes["Plate"], plate)
    compat.scale_to_render(group.nodes["Plate Size"], method, smooth=True)
    group.nodes["Since"].inputs[1].default_value = plate.start - 0.5
    group.nodes["Until"].inputs[1].default_value = plate.last + 0.5


# ---------------------------------------------------------------- guides
def _guides(context, group, take: Take, folder: Path, plate: images.Sequence) -> list[str]:
    """Depth and Mask from the take's guide files where they are all there; the kinds that are."""
    wanted = {guide.kind: guide for guide in take.shot.guides}
    return [kind for kind in GUIDES if _guide(context, group, kind, wanted.get(kind), folder, plate)]


def _guide(context, group, kind: str, guide, folder: Path, plate: images.Sequence) -> bool:
    name = kind.capitalize()
    for former in [node for node in group.nodes if node.name in (f"{name} Guide", f"{name} Size")]:
        image = getattr(former, "image", None)
        group.nodes.remove(former)
        images.forget(image)
    group.nodes[f"{name} Gate"].inputs[1].default_value = 0.0
    files = _files(guide, folder, plate) if guide else None
    if files is None:
        return False
    node, size = _node(group, "CompositorNodeImage", f"{name} Guide", -420, -320), _node(group, "CompositorNodeScale", f"{name} Size", -200, -400)
    node.image = bpy.data.images.load(str(files.folder / files.names[0]), check_existing=False)
    node.image.source, node.image.name = "SEQUENCE", f"Sora {name} Guide"
    node.image.filepath = images.stored(context, files.folder / files.names[0])
    node.image[images.RECORD] = {"guide": kind}
    images.follow(node, files)
    compat.scale_to_render(size, "STRETCH", smooth=False)
    named = {socket.name.lower().split(".")[-1]: socket for socket in node.outputs}
    socket = next((named[choice] for choice in GUIDES[kind] if choice in named), None)
    if socket is None:
        return False
    group.links.new(socket, size.inputs["Image"])
    group.links.new(size.outputs[0], _float(group.nodes[name], "B_Float"))
    group.nodes[f"{name} Gate"].inputs[1].default_value = 1.0
    return True


def _files(guide, folder: Path, plate: images.Sequence) -> images.Sequence | None:
    """The guide's files: where the shot put them, or beside the take when that has moved."""
    path = Path(guide.path)
    for place in (folder / path, folder / "guides" / path.name, folder / "guides"):
        for ending in (".exr", ".png"):
            found = images.numbered(place, plate.start, len(plate.names), ending)
            if found:
                return found
    return None


# ---------------------------------------------------------------- what to say
def _sources(kinds: list[str], node) -> str:
    """Where Depth and Mask come from."""
    given = f"{' and '.join(kinds).capitalize()} {'come' if len(kinds) > 1 else 'comes'} from the take's guides." if kinds else ""
    depth = "Depth is the render's own." if node.inputs["Depth"].is_linked else "Depth is empty until the view layer's Depth pass is on."
    mask = "Mask is the render's alpha."
    return " ".join(filter(None, (given, "" if "depth" in kinds else depth, "" if "mask" in kinds else mask)))


def _silenced(nodes) -> str:
    return f"Older plates at these frames were muted: {', '.join(node.label for node in nodes)}." if nodes else ""


def _unseen(scene, composed: bool) -> str:
    """What keeps the plate from being seen in a render, said and not changed."""
    render, editor = scene.render, scene.sequence_editor
    notes = []
    if not composed:
        notes.append("The compositor was not in use and is now.")
    if not render.film_transparent:
        notes.append("The render hides it until Film → Transparent is on in the render properties.")
    if not render.use_compositing:
        notes.append("Output → Post Processing → Compositing is off, so a render leaves it out.")
    if editor is not None and len(editor.strips) and render.use_sequencer:
        notes.append("The scene has strips, so a render shows its sequencer instead while Output → Post Processing → Sequencer is on.")
    return " ".join(notes)
