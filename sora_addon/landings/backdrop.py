"""A take as a backdrop: a plane that fills the camera's view at a distance and that only the camera sees.

It follows the camera by a constraint and its lens, sensor and shift by drivers, so that animated ones keep fitting; its
custom property `distance` may be slid. It shows at the take's frames only. Backdrops live in a collection of their own.
One camera has one backdrop at any frame: a landing over the same frames updates it.
"""
from __future__ import annotations

from pathlib import Path

import bpy
from mathutils import Vector

from ...engine.errors import LandingError, Remedy
from ...engine.protocol import Take
from .. import compat
from . import framing, images

NAME = "Sora Backdrop"
COLLECTION = "Sora Backdrops"
ALONE = 10.0                # metres, where the scene has nothing to stand behind
BEYOND = 1.05               # times the furthest thing
BLEED = 2                   # plate pixels beyond the frame, so that a render's pixel filter meets no edge
SIZED = ("MESH", "CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD", "VOLUME")


def land(context, scene, take: Take, folder: Path, options: dict[str, str]) -> str:
    """Puts the take behind the scene, one plane for each camera that its frames are seen through. Raises FolderError or LandingError."""
    plate = images.sequence(take, folder)
    colourspace, told = images.colours(scene, take)
    spans = framing.spans(scene, plate.start, plate.last, options.get("camera", ""))
    far = [_distance(scene, span.camera, take, options.get("distance", "")) for span in spans]
    image = images.loaded(context, take, plate, colourspace)
    said = [_placed(scene, take, plate, image, span, metres) for span, metres in zip(spans, far)]
    blurred = any(span.camera.data.dof.use_dof for span in spans)
    notes = (*said, told, framing.told(scene, spans[0].camera, take.shot.size),
             "The camera's depth of field blurs it." if blurred else "")
    return " ".join(filter(None, notes))


def _placed(scene, take: Take, plate: images.Sequence, image, span: framing.Span, metres: float) -> str:
    """Makes or updates one backdrop and says so."""
    home = _collection(scene)
    present = [o for o in home.objects if images.overlaps(o, span.first, span.last) and _tied(o) == span.camera]
    plane = present[0] if present else _plane(home)
    formers = {_screen(other).image for other in present} - {image}
    for other in present[1:]:
        bpy.data.meshes.remove(other.data)          # and with it the object
    _shape(plane.data, take.shot.size)
    _screen(plane).image = image
    images.follow(_screen(plane).image_user, plate)
    plane["distance"] = metres
    plane.id_properties_ui("distance").update(min=0.001, subtype="DISTANCE", description="Metres from the camera to the backdrop")
    _follow(plane, span.camera, scene, take.shot.size)
    _only_at(plane, span.first, span.last)
    plane[images.RECORD] = images.record(take, plate, landing="backdrop") | {"first": span.first, "last": span.last}
    for former in formers:
        images.forget(former)
    how = ", in place of the take that was there" if present else ""
    return f"Backdrop {metres:.4g} m behind “{span.camera.name}” at frames {span.first} to {span.last}{how}."


def _collection(scene):
    """The scene's collection of backdrops, so that guides and artists can leave them out together."""
    home = next((c for c in scene.collection.children if images.RECORD in c), None)
    if home is None:
        home = bpy.data.collections.new(COLLECTION)
        home[images.RECORD] = {"landing": "backdrop"}
        scene.collection.children.link(home)
    return home


# ---------------------------------------------------------------- the plane
def _plane(home):
    """A plane with an emission material that camera rays alone meet."""
    plane = bpy.data.objects.new(NAME, bpy.data.meshes.new(NAME))
    home.objects.link(plane)
    for name in plane.bl_rna.properties.keys():
        if name.startswith("visible_") and name != "visible_camera":
            setattr(plane, name, False)
    plane.data.materials.append(_material())
    return plane


def _material():
    material = bpy.data.materials.new(NAME)
    tree = compat.shader_nodes(material)
    tree.nodes.clear()
    screen, light = tree.nodes.new("ShaderNodeTexImage"), tree.nodes.new("ShaderNodeEmission")
    result = tree.nodes.new("ShaderNodeOutputMaterial")
    screen.name, screen.extension = "Plate", "EXTEND"
    screen.location, light.location = (-320, 0), (-20, 0)
    result.location = (180, 0)
    tree.links.new(screen.outputs["Color"], light.inputs["Color"])
    tree.links.new(light.outputs[0], result.inputs["Surface"])
    return material


def _screen(plane):
    """The image node of the backdrop's material; a new material where the artist took it away."""
    for slot in plane.material_slots:
        node = slot.material.node_tree.nodes.get("Plate") if slot.material and slot.material.node_tree else None
        if node is not None and node.bl_idname == "ShaderNodeTexImage":
            return node
    material = _material()
    plane.data.materials.clear()
    plane.data.materials.append(material)
    return material.node_tree.nodes["Plate"]


def _shape(mesh, size) -> None:
    """A quad over -1..1 with the picture in it, and BLEED pixels more on every side that repeat the picture's edge."""
    x, y = 1 + 2 * BLEED / size.width, 1 + 2 * BLEED / size.height
    corners = [(-x, -y), (x, -y), (x, y), (-x, y)]
    mesh.clear_geometry()
    mesh.from_pydata([(a, b, 0.0) for a, b in corners], [], [(0, 1, 2, 3)])
    layer = mesh.uv_layers.new(name="Plate")
    for loop, (a, b) in zip(layer.data, corners):
        loop.uv = (0.5 + a / 2, 0.5 + b / 2)
    mesh.update()


# ---------------------------------------------------------------- how it keeps filling the view
def _tied(plane):
    """The camera that a backdrop follows, or None."""
    tie = plane.constraints.get(NAME)
    return tie.target if tie else None


def _follow(plane, camera, scene, size) -> None:
    """Constrains the plane to the camera and drives its size and place by distance, lens, sensor and shift."""
    tie = plane.constraints.get(NAME) or plane.constraints.new("CHILD_OF")
    tie.name, tie.target, tie.set_inverse_pending = NAME, camera, False
    tie.inverse_matrix.identity()
    tie.use_scale_x = tie.use_scale_y = tie.use_scale_z = False         # a scaled camera sees no less
    width, height = size.width * scene.render.pixel_aspect_x, size.height * scene.render.pixel_aspect_y
    side = framing.fitted(camera, width, height)
    sensor = "sensor_height" if camera.data.sensor_fit == "VERTICAL" else "sensor_width"
    half = "(o / 2 if t == 1 else d * s / (2 * f))"                     # of the fitted side, in metres; t: 0 perspective, 1 orthographic
    lens = {"f": "lens", "s": sensor, "o": "ortho_scale", "t": "type"}
    _drive(plane, "scale", 0, f"{width / side:.9g} * {half}", camera, lens)
    _drive(plane, "scale", 1, f"{height / side:.9g} * {half}", camera, lens)
    _drive(plane, "location", 0, f"2 * h * {half}", camera, lens | {"h": "shift_x"})
    _drive(plane, "location", 1, f"2 * h * {half}", camera, lens | {"h": "shift_y"})
    _drive(plane, "location", 2, "-d", camera, {})
    plane.rotation_euler = (0.0, 0.0, 0.0)


def _drive(plane, path: str, index: int, expression: str, camera, lens: dict[str, str]) -> None:
    """A driver in Blender's simple expressions, which run without permission for scripts."""
    plane.driver_remove(path, index)
    driver = plane.driver_add(path, index).driver
    driver.type = "SCRIPTED"
    for name, owner, kind, source in [("d", plane, "OBJECT", '["distance"]')] + [(n, camera.data, "CAMERA", p) for n, p in lens.items()]:
        variable = driver.variables.new()
        variable.name, variable.targets[0].id_type, variable.targets[0].id, variable.targets[0].data_path = name, kind, owner, source
    driver.expression = expression


def _only_at(plane, first: int, last: int) -> None:
    """Hides the plane outside first..last, so that no frame freezes silently."""
    for path in ("hide_render", "hide_viewport"):
        plane.driver_remove(path)
        driver = plane.driver_add(path).driver
        driver.type, driver.expression = "SCRIPTED", f"frame < {first - 0.5} or frame > {last + 0.5}"


# ---------------------------------------------------------------- how far away
def _distance(scene, camera, take: Take, chosen: str) -> float:
    """Metres from the camera: as chosen, otherwise behind everything that is in view. Raises LandingError."""
    lens = camera.data
    if lens.type not in ("PERSP", "ORTHO"):
        raise LandingError(f"A backdrop needs a perspective or orthographic camera; “{camera.name}” is neither.")
    deepest = 0.999 * lens.clip_end
    if not chosen:
        return min(max(_furthest(scene, camera, take) * BEYOND, 2 * lens.clip_start), deepest)
    try:
        metres = float(chosen)
    except ValueError:
        metres = -1.0
    if not lens.clip_start < metres < lens.clip_end:
        raise LandingError(f"“{camera.name}” sees from {lens.clip_start:g} to {lens.clip_end:g} m, so a backdrop at {chosen} m is not in view.",
                           Remedy(action="set_distance", label=f"Use {deepest:.4g} m", value=f"{deepest:.6g}"))
    return metres


def _furthest(scene, camera, take: Take) -> float:
    """Camera-space depth of the furthest thing: as the depth guide saw it over the whole shot, or by bounding boxes at this frame."""
    seen = [guide.far for guide in take.shot.guides if guide.kind == "depth" and guide.far]
    eye = camera.matrix_world.normalized().inverted()     # a camera's scale means nothing to its view
    for thing in scene.objects:
        if thing.type in SIZED and not thing.hide_render and images.RECORD not in thing:
            seen += [-(eye @ thing.matrix_world @ Vector(corner)).z for corner in thing.bound_box]
    return max(max(seen, default=0.0), 0.0) or ALONE
