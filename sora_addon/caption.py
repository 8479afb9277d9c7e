"""What the scene itself says, as a sentence for the prompt: things and their colours, ground, camera move, lens, light.

Reads and changes nothing. It is a beginning that an artist edits, so it leaves out what it cannot tell.
"""
from __future__ import annotations

import colorsys
import math
import re
from collections import Counter

from mathutils import Vector

from . import compat

SOLID = {"MESH", "CURVE", "SURFACE", "META", "FONT", "CURVES", "VOLUME", "GREASEPENCIL", "POINTCLOUD"}
NUMBERS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
FEW = 4                         # groups of things that one sentence names
SHAPES = {"cube": "box", "icosphere": "sphere", "uvsphere": "sphere", "ball": "sphere"}
NAMELESS = {"plane", "mesh", "curve", "object", "group", "empty", "axis", "null", "parent"}
SURFACES = ("asphalt", "road", "street", "concrete", "sand", "grass", "snow", "water", "stone", "wood", "tiles", "gravel", "mud", "dirt", "ice",
            "cobblestones", "pavement", "marble", "earth", "field", "desert", "floor", "ground")
MOVING = 3.0                    # a thing that moves by itself matters this much more
FLAT, LARGE = 0.05, 4.0         # height over width of a ground; its width over that of the largest other thing
TRAVEL, TURN, ZOOM = 0.02, 4.0, 1.08    # metres (over distance), degrees, factor of the focal length: less is standing still
LOW_SUN, WARM = 25.0, 1.25      # degrees over the horizon; red over blue


def of(scene, first: int | None = None, last: int | None = None) -> str:
    """One sentence about the scene between two frames (the scene's own range without them); "" for an empty scene."""
    things = [thing for thing in scene.objects if thing.type in SOLID and _renders(scene, thing)]
    grounds = _grounds(things)
    named = _listed(_weighed(scene.camera, [thing for thing in things if thing not in grounds]))
    under = next((word for word in map(_ground_word, grounds) if word), "")
    first, last = scene.frame_start if first is None else first, scene.frame_end if last is None else last
    start = named or under
    if named and under:
        start = f"{named} on {under}"
    parts = [start, _camera(scene, first, last), _lens(scene), _light(scene)]
    return ", ".join(part for part in parts if part)


def _renders(scene, thing) -> bool:
    layer = next((each for each in scene.view_layers if each.use), scene.view_layers[0])
    return not thing.hide_render and thing.name in layer.objects


# ---------------------------------------------------------------- things
def _plain(name: str) -> str:
    """`Left_Pillar.003` -> `left pillar`; shapes that Blender names get their everyday word, and the rest stays as it is written."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"\.\d+$", "", name))
    words = [word for word in re.split(r"[\s_\-.]+", spaced.lower()) if word and not word.isdecimal()]
    words = [SHAPES.get(word, word) for word in words if word not in NAMELESS]
    return " ".join(words)[:40].strip()


def _weighed(camera, things) -> list[tuple[str, str, float]]:
    """What is in sight, each with the word for its colour and its weight; the parts of one thing, which have a named parent in common, count as one."""
    wholes: dict[object, list] = {}
    for thing in things:
        wholes.setdefault(_whole(thing), []).append((_weight(camera, thing), thing))
    found = []
    for whole, parts in wholes.items():
        weight, main = max(parts, key=lambda part: part[0])
        if weight > 0:
            found.append((_plain(whole.name) or "shape", _colour_word(_colour(main)), weight))
    return found


def _whole(thing):
    """The topmost parent, unless that is a nameless empty or no thing at all."""
    top = thing
    while top.parent is not None:
        top = top.parent
    return top if top.type in SOLID or (top.type == "EMPTY" and _plain(top.name)) else thing


def _weight(camera, thing) -> float:
    """How much a thing matters in the picture: its upright size over its distance, more when it moves; 0 out of sight."""
    centre = thing.matrix_world @ (sum((Vector(corner) for corner in thing.bound_box), Vector()) / 8)
    wide, tall = max(thing.dimensions.x, thing.dimensions.y), thing.dimensions.z
    size, radius, matters = math.sqrt(wide * tall), max(thing.dimensions.length / 2, 1e-6), MOVING if _moves(thing) else 1.0
    if camera is None:
        return (size or radius) * matters
    seen = camera.matrix_world.normalized().inverted() @ centre
    angle = camera.data.angle if camera.type == "CAMERA" and camera.data.type == "PERSP" else math.pi / 2
    if -seen.z < -radius or Vector((seen.x, seen.y)).length - radius > max(-seen.z, radius) * math.tan(angle / 2):
        return 0.0
    return matters * min(1.0, (size or radius) / max(seen.length, radius))


def _moves(thing) -> bool:
    while thing is not None:
        if compat.animation_curves(thing):
            return True
        thing = thing.parent
    return False


def _listed(weighed: list[tuple[str, str, float]]) -> str:
    """`a red box and two grey pillars`, what matters most first; things of one name in several colours go without."""
    counts, weights, colours = Counter(name for name, _colour, _weight in weighed), {}, {}
    for name, colour, weight in weighed:
        weights[name] = max(weight, weights.get(name, 0.0))
        colours.setdefault(name, set()).add("" if colour in name.split() else colour)
    order = sorted(counts, key=lambda name: -weights[name])
    groups = [_several(" ".join([*(colours[name] if len(colours[name]) == 1 else ()), name]).strip(), counts[name]) for name in order[:FEW]]
    return f"{', '.join(groups[:-1])} and {groups[-1]}" if len(groups) > 1 else "".join(groups)


def _several(name: str, count: int) -> str:
    if count == 1:
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    plural = name if name.endswith("s") else name + ("es" if name.endswith(("x", "ch", "sh")) else "s")
    return f"{NUMBERS[count] if count < len(NUMBERS) else 'many'} {plural}"


def _grounds(things) -> list:
    """Flat things that are much wider than everything else, or that are called a ground."""
    wide = {thing: max(thing.dimensions.x, thing.dimensions.y) for thing in things}
    flat = [thing for thing in things if wide[thing] > 0 and thing.dimensions.z <= FLAT * wide[thing]]
    others = max((wide[thing] for thing in things if thing not in flat), default=0.0)
    return [thing for thing in flat if wide[thing] >= LARGE * others or _surface(thing)]


def _surface(thing) -> str:
    """What its name or its material says that it is made of."""
    written = " ".join([*(slot.material.name for slot in thing.material_slots if slot.material), thing.name]).lower()
    return next((word for word in SURFACES if re.search(rf"(?<![a-z]){word}", written)), "")


def _ground_word(thing) -> str:
    word, colour = _surface(thing), _colour_word(_colour(thing))
    if word and word not in ("ground", "floor"):
        return word
    return f"{_a(colour)} {word or 'ground'}" if colour else f"a {word or 'ground'}"


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


# ---------------------------------------------------------------- colours
def _colour(thing) -> tuple[float, float, float] | None:
    """Linear RGB of its first material: the shader's own colour, else the viewport's; None without a material."""
    material = next((slot.material for slot in thing.material_slots if slot.material), None)
    if material is None:
        return None
    for node in material.node_tree.nodes if material.node_tree else ():
        for name in ("Base Color", "Color"):
            socket = node.inputs.get(name) if node.type.startswith(("BSDF", "EMISSION")) else None
            if socket is not None:
                return None if socket.is_linked else tuple(socket.default_value[:3])
    return tuple(material.diffuse_color[:3])


HUES = ((15, "red"), (42, "orange"), (70, "yellow"), (165, "green"), (195, "turquoise"), (255, "blue"), (290, "purple"), (340, "pink"), (361, "red"))


def _colour_word(linear) -> str:
    if linear is None:
        return ""
    hue, saturation, value = colorsys.rgb_to_hsv(*(min(1.0, max(0.0, part)) ** (1 / 2.2) for part in linear))
    if value < 0.2:
        return "black"
    if saturation < 0.18:
        return "white" if value > 0.92 else "grey"
    word = next(name for limit, name in HUES if hue * 360 < limit)
    return "brown" if word == "orange" and (value < 0.65 or saturation < 0.5) else word


# ---------------------------------------------------------------- camera
def _at(block, name: str, frame: int):
    """An animated property at a frame, without going there."""
    value = getattr(block, name)
    values = list(value) if hasattr(value, "__len__") else [value]
    for curve in compat.animation_curves(block):
        if curve.data_path == name:
            values[curve.array_index] = curve.evaluate(frame)
    return values


def _camera(scene, first: int, last: int) -> str:
    """How it moves between two frames, from its own keyframes: dolly, truck, crane, pan, tilt, zoom. "" without any."""
    if len({marker.camera for marker in scene.timeline_markers if marker.camera and first <= marker.frame <= last}) > 1:
        return "with a cut between cameras"
    camera = scene.camera
    if camera is None:
        return ""
    zoom = _at(camera.data, "lens", last)[0] / max(1e-6, _at(camera.data, "lens", first)[0]) if camera.type == "CAMERA" else 1.0
    if not ZOOM > zoom > 1 / ZOOM:
        return "camera zooms in" if zoom > 1 else "camera zooms out"
    travel = _travel(camera, first, last)
    return travel or _turn(camera, first, last) or "static camera"


def _travel(camera, first: int, last: int) -> str:
    moved = Vector(_at(camera, "location", last)) - Vector(_at(camera, "location", first))
    local = camera.matrix_world.to_quaternion().inverted() @ moved
    if moved.length < max(TRAVEL, 0.005 * camera.location.length):
        return ""
    sizes = {"side": abs(local.x), "up": abs(local.y), "in": abs(local.z)}
    way = max(sizes, key=sizes.get)
    if way == "in":
        return "camera dollies in" if local.z < 0 else "camera dollies out"
    if way == "side":
        return "camera trucks right" if local.x > 0 else "camera trucks left"
    return "camera cranes up" if local.y > 0 else "camera cranes down"


def _turn(camera, first: int, last: int) -> str:
    if camera.rotation_mode in ("QUATERNION", "AXIS_ANGLE"):
        return ""
    start, end = _at(camera, "rotation_euler", first), _at(camera, "rotation_euler", last)
    tilt, _roll, pan = (math.degrees(b - a) for a, b in zip(start, end))
    if max(abs(tilt), abs(pan)) < TURN:
        return ""
    if abs(pan) >= abs(tilt):
        return "camera pans left" if pan > 0 else "camera pans right"
    return "camera tilts up" if tilt > 0 else "camera tilts down"


def _lens(scene) -> str:
    camera = scene.camera
    if camera is None or camera.type != "CAMERA" or camera.data.type != "PERSP":
        return ""
    angle = math.degrees(camera.data.angle)
    return "wide-angle lens" if angle > 70 else "telephoto lens" if angle < 20 else ""


# ---------------------------------------------------------------- light
def _light(scene) -> str:
    """By the strongest sun: its height and warmth; without a sun, by lamps and the world's brightness."""
    lamps = [thing for thing in scene.objects if thing.type == "LIGHT" and _renders(scene, thing)]
    sun = max((lamp for lamp in lamps if lamp.data.type == "SUN"), key=lambda lamp: lamp.data.energy, default=None)
    if sun:
        height = math.degrees(math.asin(max(-1.0, min(1.0, (sun.matrix_world.to_quaternion() @ Vector((0, 0, 1))).z))))
        red, _green, blue = sun.data.color
        warm, cold = red > WARM * max(blue, 1e-6), blue > WARM * max(red, 1e-6)
        if height < LOW_SUN:
            return "at sunset" if warm else "at golden hour"
        return "by moonlight" if cold and sun.data.energy < 1 else "in warm daylight" if warm else "in daylight"
    world = _world(scene.world)
    if world is not None and world < 0.02:
        return "at night" if lamps else ""
    return "under an overcast sky" if world is not None and world > 0.5 and not lamps else ""


def _world(world) -> float | None:
    """Brightness of a plain world background, None when a picture or a sky texture says it."""
    if world is None:
        return None
    for node in world.node_tree.nodes if world.node_tree else ():
        if node.type == "BACKGROUND":
            colour = node.inputs["Color"]
            return None if colour.is_linked else max(colour.default_value[:3]) * node.inputs["Strength"].default_value
    return max(world.color)
