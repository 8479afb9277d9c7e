"""Runs inside Blender: twenty small blocked-out scenes whose colours and shapes are known, rendered through the add-on's own passes.

    .venv/blender-5.0/bin/python scripts/blockouts.py FOLDER [COUNT]

FOLDER/00 ... get depth, normal, mask, beauty and camera guides, `shot.json` with the prompt, and `truth.json` with what a clip must show.
"""
from __future__ import annotations

import json
import math
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import bpy  # first: the other two come with it
import bmesh
from mathutils import Euler, Vector

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
import street  # noqa: E402
from conftest import as_package  # noqa: E402

COUNT, FRAMES, SIZE = 20, 17, (192, 112)
KINDS = ("depth", "normal", "albedo", "vector", "mask", "beauty", "camera")
COLOURS = {"red": (.62, .02, .02), "orange": (.85, .20, .01), "yellow": (.85, .65, .02), "green": (.02, .30, .03), "blue": (.02, .06, .65),
           "purple": (.25, .03, .45), "white": (.85, .85, .85), "black": (.01, .01, .01)}      # scene-linear
GROUNDS = {"grass": (.07, .24, .03), "sand": (.70, .45, .16), "snow": (.85, .90, .95), "asphalt": (.06, .06, .07)}
SKIES = {"noon": (.35, .60, .95), "sunset": (.95, .35, .12), "night": (.01, .02, .06), "overcast": (.60, .62, .65)}
SAID = {"sphere": "ball", "cube": "cube", "cylinder": "cylinder", "cone": "cone", "noon": "at noon", "sunset": "at sunset", "night": "at night",
        "overcast": "under an overcast sky", "grass": "on grass", "sand": "on sand", "snow": "on snow", "asphalt": "on asphalt",
        "static": "static shot", "crane up": "camera rises"}
MOVES = ("static", "dolly in", "pan left", "orbit right", "truck left", "crane up", "dolly out", "pan right")
PROPS = ("", "arch", "pillars", "monkey", "wall")


# ---------------------------------------------------------------- things
def solid(collection, name, make, at, colour, turn=0.0):
    """An object whose mesh `make(bmesh)` builds about its own base."""
    shape = bmesh.new()
    make(shape)
    mesh = bpy.data.meshes.new(name)
    shape.to_mesh(mesh)
    shape.free()
    material = bpy.data.materials.new(name)
    material.diffuse_color = (*colour, 1)
    mesh.materials.append(material)
    object_ = bpy.data.objects.new(name, mesh)
    object_.location, object_.rotation_euler = at, (0, 0, turn)
    collection.objects.link(object_)
    return object_


def shape(word: str, size: float):
    """What builds a sphere, cube, cylinder, cone or monkey of about that half height, metres."""
    def make(mesh):
        if word == "cube":
            bmesh.ops.create_cube(mesh, size=1.8 * size)
        elif word == "sphere":
            bmesh.ops.create_uvsphere(mesh, u_segments=32, v_segments=16, radius=size)
        elif word == "monkey":
            bmesh.ops.create_monkey(mesh)
            bmesh.ops.scale(mesh, vec=(size, size, size), verts=mesh.verts)
        else:
            bottom, top, tall = (size * .75, size * .75, 2 * size) if word == "cylinder" else (size, 0, 2.2 * size)
            bmesh.ops.create_cone(mesh, cap_ends=True, segments=32, radius1=bottom, radius2=top, depth=tall)
    return make


HALF = {"cube": .9, "sphere": 1., "cylinder": 1., "cone": 1.1, "monkey": .95}


def prop(collection, kind: str, rng) -> str:
    """Something behind the subject; returns what the caption says of it."""
    stone = (.50, .42, .28)
    if kind == "arch":
        street.COLOURS["stone"] = stone
        arch = street.add(collection, "Arch", [street.prism(street.gate(1.5, 2.2, 4.4, .8), 3.0, 4.0)], "stone")
        arch.location.x = rng.uniform(-1, 1)
        return " before a stone arch"
    if kind == "pillars":
        street.COLOURS["stone"] = stone
        street.add(collection, "Pillars", [street.column(x, 2.6, 0, 3.6, .28) for x in (-4.2, -2.1, 2.1, 4.2)], "stone")
        return " before stone pillars"
    if kind == "monkey":
        solid(collection, "Monkey", shape("monkey", .9), (rng.choice((-2.4, 2.4)), 1.8, .9), (.3, .3, .3), rng.uniform(-.6, .6))
        return ""
    if kind == "wall":
        street.COLOURS["brick"] = (.30, .06, .03)
        street.add(collection, "Wall", [street.box(-7, 7, 4.5, 4.9, 0, 1.8)], "brick")
        return " before a brick wall"
    return ""


# ---------------------------------------------------------------- the camera
def film(scene, move: str, rng) -> None:
    """The camera about or towards the subject, one key a frame."""
    lens = bpy.data.cameras.new("Camera")
    lens.angle, lens.clip_end = math.radians(rng.uniform(48, 60)), 1000
    camera = bpy.data.objects.new("Camera", lens)
    scene.collection.objects.link(camera)
    scene.camera = camera
    eye, focus = Vector((rng.uniform(-1.2, 1.2), -rng.uniform(5.2, 6.4), rng.uniform(1.3, 2.3))), Vector((0, 0, .8))
    for frame in range(1, FRAMES + 1):
        at, aim = moved(move, (frame - 1) / (FRAMES - 1), eye, focus)
        camera.location, camera.rotation_euler = at, aim.to_track_quat("-Z", "Y").to_euler()
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_euler", frame=frame)


def moved(move: str, u: float, eye: Vector, focus: Vector) -> tuple[Vector, Vector]:
    """Where the camera is and which way it looks at the share `u` of the shot."""
    aim, sign = focus - eye, 1 if move.split()[-1] in ("left", "in", "up") else -1
    flat = Vector((aim.x, aim.y, 0))
    side = Vector((flat.y, -flat.x, 0)).normalized()
    if move.startswith("dolly"):
        return eye + flat * .36 * (u if sign > 0 else 1 - u), aim
    if move.startswith("truck"):
        return eye - side * sign * .4 * flat.length * (u - .5), aim
    if move.startswith("crane"):
        high = Vector((eye.x, eye.y, eye.z * .6 + 2.2 * u))
        return high, Vector((aim.x, aim.y, focus.z - high.z))
    if move.startswith("orbit"):
        aim.rotate(Euler((0, 0, -sign * .75 * (u - .5))))
        return focus - aim, aim
    if move.startswith("pan"):
        aim.rotate(Euler((0, 0, sign * .38 * (u - .5))))
    return eye, aim


# ---------------------------------------------------------------- a scene
def build(scene, number: int) -> dict:
    """Scene `number` in place of whatever there was; returns what a clip of it must show."""
    rng = random.Random(number)
    for object_ in list(bpy.data.objects):
        bpy.data.objects.remove(object_)
    for collection in list(bpy.data.collections):
        bpy.data.collections.remove(collection)
    things, subject = street.group(scene, "Layout"), street.group(scene, "Subject")
    word, colour = tuple(HALF)[number % 4], list(COLOURS)[number * 3 % 8]
    ground, sky = list(GROUNDS)[number % 4], list(SKIES)[(number // 4 + number) % 4]
    move, size = MOVES[number % len(MOVES)], rng.uniform(.7, 1.0)
    solid(things, "Ground", lambda mesh: bmesh.ops.create_grid(mesh, x_segments=1, y_segments=1, size=150), (0, 0, 0), GROUNDS[ground])
    solid(subject, "Subject", shape(word, size), (rng.uniform(-.4, .4), 0, HALF[word] * size), COLOURS[colour], rng.uniform(0, 6.28))
    said = prop(things, PROPS[number % len(PROPS)], rng)
    film(scene, move, rng)
    look(scene, sky)
    prompt = f"a {colour} {SAID[word]}{said} {SAID[ground]} {SAID[sky]}, {SAID.get(move, move)}, realistic"
    return {"prompt": prompt, "colour": colour, "shape": word, "sky": sky, "ground": ground, "camera": move, "style": "photo"}


def look(scene, sky: str) -> None:
    """A flat, quick, noiseless picture of the layout with shadows, for the autoencoder to be tried on."""
    street.frame_up(scene)
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.frame_start, scene.frame_end = 1, FRAMES
    scene.render.film_transparent = False
    scene.world = scene.world or bpy.data.worlds.new("World")
    scene.world.color = SKIES[sky]
    scene.display.shading.background_type = "WORLD"


def rolled(package, scene, number: int, folder: Path) -> None:
    """Builds and renders a scene unless it lies there whole; `truth.json` is written last."""
    from sora.engine import protocol
    from sora.sora_addon import passes
    out = folder / f"{number:02d}"
    if (out / "truth.json").exists() and {guide.kind for guide in protocol.read_shot(out).guides} == set(KINDS):
        return
    (out / "truth.json").unlink(missing_ok=True)
    truth = build(scene, number)
    out.mkdir(parents=True, exist_ok=True)
    shot = protocol.Shot(id=out.name, family="blockout", prompt=truth["prompt"], seed=number, size=protocol.Size(*SIZE), frames=FRAMES, fps=24.,
                         out=str(out), guides=tuple(protocol.Guide(kind=kind, path="") for kind in KINDS),
                         landing={"scene": scene.name, "camera": scene.camera.name, "mask": "Subject"})
    roll = passes.roll(scene, shot)
    while True:
        try:
            next(roll)
        except StopIteration as end:
            shot = replace(shot, guides=end.value)
            break
    (out / protocol.SHOT_FILE).write_text(protocol.as_json(shot))
    (out / "truth.json").write_text(json.dumps(truth))
    print(f"{number}: {truth['prompt']}", flush=True)


def main() -> None:
    package, folder = as_package(), Path(sys.argv[1]).resolve()
    package.register()
    for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else COUNT):
        rolled(package, bpy.context.scene, number, folder)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)                                     # Blender 4.5 can hang while it cleans up
