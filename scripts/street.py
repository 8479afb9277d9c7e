"""A blocked-out street, built by script inside Blender: what an artist would rough in before the first shot. Metres, +z up.

The street runs along +y between house fronts, through a round arch; pillars stand on both kerbs, a vehicle crosses behind
them, and the camera pushes in at eye height. 49 frames at 24 fps. Runs in Blender 4.5 and later; nothing else is needed.
"""
from __future__ import annotations

import math

import bpy

FRAMES, FPS, SIZE = 49, 24, (832, 480)
EYE = 1.65                                          # metres
COLOURS = {"ground": (.30, .30, .31), "kerb": (.45, .45, .44), "house": (.62, .40, .32), "house 2": (.66, .55, .44), "roof": (.35, .28, .27),
           "stone": (.72, .66, .55), "paint": (.75, .10, .08), "glass": (.25, .35, .42), "rubber": (.04, .04, .04), "far": (.52, .56, .62)}

# x of the street side, y from, y to, height, colour; deep enough that no back is seen
HOUSES = (
    (-7.0, -14.0, -5.5, 5.6, "house"), (-7.0, -5.5, 0.0, 6.6, "house 2"), (-7.0, 7.2, 13.0, 4.8, "house"), (-7.0, 13.0, 22.0, 6.2, "house 2"),
    (7.0, -14.0, -4.0, 5.4, "house 2"), (7.0, -4.0, 0.0, 4.4, "house"), (7.0, 7.2, 12.0, 6.4, "house 2"), (7.0, 12.0, 22.0, 4.9, "house"))
FAR = ((-19, 58, 5, 17), (-34, 80, 9, 12), (15, 62, 6, 21), (31, 84, 9, 13))     # x, y, half width, height of the skyline


# ---------------------------------------------------------------- solids: (vertices, faces)
def box(x0, x1, y0, y1, z0, z1, taper=0.0):
    """An axis-aligned box; its top is `taper` metres narrower at both ends of x."""
    points = [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0),
              (x0 + taper, y0, z1), (x1 - taper, y0, z1), (x1 - taper, y1, z1), (x0 + taper, y1, z1)]
    return points, [(3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]


def prism(outline, y0, y1):
    """A closed outline of (x, z), anticlockwise as seen from -y, drawn out from y0 to y1."""
    count = len(outline)
    points = [(x, y0, z) for x, z in outline] + [(x, y1, z) for x, z in outline]
    sides = [(i, i + count, (i + 1) % count + count, (i + 1) % count) for i in range(count)]
    return points, [tuple(range(count)), tuple(reversed(range(count, 2 * count))), *sides]


def column(x, y, z0, z1, radius, corners=24):
    """An upright round column."""
    ring = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in (2 * math.pi * i / corners for i in range(corners))]
    points = [(*at, z0) for at in ring] + [(*at, z1) for at in ring]
    sides = [(i, (i + 1) % corners, (i + 1) % corners + corners, i + corners) for i in range(corners)]
    return points, [tuple(reversed(range(corners))), tuple(range(corners, 2 * corners)), *sides]


def gate(half, spring, top, leg, bend=20):
    """The outline of a round arch: `half` its clear half width, `spring` where its round begins, `top` its height, `leg` its legs' width."""
    round_ = [(half * math.cos(a), spring + half * math.sin(a)) for a in (math.pi * i / bend for i in range(bend + 1))]
    return [(half + leg, 0), (half + leg, top), (-half - leg, top), (-half - leg, 0), (-half, 0), *reversed(round_), (half, 0)]


# ---------------------------------------------------------------- objects
def add(collection, name, solids, colour):
    """One object made of several solids, in one colour."""
    points, faces = [], []
    for more_points, more_faces in solids:
        faces += [tuple(index + len(points) for index in face) for face in more_faces]
        points += more_points
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, [], faces)
    mesh.materials.append(painted(colour))
    mesh.update()
    object_ = bpy.data.objects.new(name, mesh)
    collection.objects.link(object_)
    return object_


def painted(colour):
    """The plain material of that name in COLOURS."""
    material = bpy.data.materials.get(colour)
    if material is None:
        material = bpy.data.materials.new(colour)
        material.use_nodes = True
        material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*COLOURS[colour], 1)
        material.node_tree.nodes["Principled BSDF"].inputs["Roughness"].default_value = .8
        material.diffuse_color = (*COLOURS[colour], 1)
    return material


def group(scene, name):
    collection = bpy.data.collections.new(name)
    scene.collection.children.link(collection)
    return collection


def lay_ground(street):
    add(street, "Ground", [box(-900, 900, -60, 1800, -.2, 0)], "ground")
    for side in (-1, 1):
        for y0, y1 in ((-20, 1.2), (6.0, 22)):
            add(street, "Kerb", [box(*sorted((side * 4.7, side * 7.2)), y0, y1, 0, .16)], "kerb")


def raise_houses(street):
    for number, (x, y0, y1, height, colour) in enumerate(HOUSES, 1):
        x0, x1 = sorted((x, math.copysign(abs(x) + 8, x)))
        front = sorted((x, x - math.copysign(.18, x)))
        add(street, f"House {number}", [box(x0, x1, y0, y1, 0, height)], colour)
        add(street, f"Cornice {number}", [box(*front, y0, y1, height - .55, height + .12)], "roof")
        bays = [box(*front, y, y + .35, 0, height - .55) for y in _steps(y0 + .8, y1 - .8, 2.4)]
        add(street, f"Bays {number}", bays, colour)
    for number, (x, y, half, height) in enumerate(FAR, 1):
        add(street, f"Tower {number}", [box(x - half, x + half, y, y + 2 * half, 0, height)], "far")


def _steps(start, stop, step):
    return [start + step * i for i in range(int((stop - start) / step) + 1)]


def set_stones(street):
    """The arch across the street and the pillars on its kerbs."""
    add(street, "Arch", [prism(gate(2.9, 2.7, 6.6, 1.1), 15.0, 17.0)], "stone")
    add(street, "Arch Top", [box(-4.3, 4.3, 14.75, 17.25, 6.6, 7.1)], "stone")
    for x, ys in ((-4.4, (-1.2, 6.9, 10.6)), (2.15, (.4,)), (4.6, (6.9, 10.6))):
        for y in ys:
            thick, tall = (.42, 5.2) if x == 2.15 else (.26, 3.4)
            solids = [column(x, y, .25, tall, thick), box(x - thick * 1.5, x + thick * 1.5, y - thick * 1.5, y + thick * 1.5, 0, .3),
                      box(x - thick * 1.4, x + thick * 1.4, y - thick * 1.4, y + thick * 1.4, tall, tall + .3)]
            add(street, "Pillar", solids, "stone")


def park_vehicle(hero, scene):
    """A car that crosses from the left at 25 km/h and is behind the great pillar at about two thirds of the shot."""
    axle = bpy.data.objects.new("Vehicle", None)
    hero.objects.link(axle)
    parts = [add(hero, "Body", [box(-2.15, 2.15, -.9, .9, .38, 1.0, .08)], "paint"),
             add(hero, "Cabin", [box(-1.35, 1.0, -.78, .78, 1.0, 1.58, .42)], "glass"),
             add(hero, "Wheels", [_wheel(x, y) for x in (-1.35, 1.4) for y in (-.82, .82)], "rubber")]
    for part in parts:
        part.parent = axle
    for frame, x in ((-23, -12.0), (73, 11.5)):
        axle.location = (x, 3.9, 0)
        axle.keyframe_insert("location", frame=frame)
    return axle


def _wheel(x, y, radius=.38, corners=20):
    ring = [(x + radius * math.cos(a), radius + radius * math.sin(a)) for a in (2 * math.pi * i / corners for i in range(corners))]
    return prism(ring, y - .13, y + .13)


def push_in(scene):
    """The camera: eye height, 30 mm, one slow push towards the arch."""
    lens = bpy.data.cameras.new("Camera")
    lens.lens, lens.clip_end = 30, 2000
    camera = bpy.data.objects.new("Camera", lens)
    scene.collection.objects.link(camera)
    for frame, at in ((-11, (-1.2, -10.6, EYE)), (61, (-.6, -7.4, EYE))):
        camera.location = at
        camera.rotation_euler = (math.radians(93.2), 0, math.radians(-3.6))
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_euler", frame=frame)
    scene.camera = camera
    return camera


def light(scene):
    sun = bpy.data.lights.new("Sun", "SUN")
    sun.energy, sun.angle, sun.color = 3.5, math.radians(2), (1, .86, .7)
    lamp = bpy.data.objects.new("Sun", sun)
    lamp.rotation_euler = (math.radians(52), math.radians(8), math.radians(-58))
    scene.collection.objects.link(lamp)
    scene.world = scene.world or bpy.data.worlds.new("World")
    scene.world.color = (.55, .68, .82)


def frame_up(scene):
    """Range, rate and size of the shot, and a renderer that shows a blockout as one: quick, solid, with shadows."""
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = *SIZE, 100
    render.fps, render.fps_base = FPS, 1
    render.engine, render.film_transparent = "BLENDER_WORKBENCH", True
    shading = scene.display.shading
    shading.light, shading.color_type = "STUDIO", "MATERIAL"
    shading.show_shadows = shading.show_cavity = True
    render.use_sequencer = False                    # a render shows the scene through its compositor, also when strips lie in it
    scene.frame_start, scene.frame_end = 1, FRAMES
    scene.frame_set(1)


def build(scene):
    """Builds the street into `scene`, whose own objects are taken away first. Returns the scene."""
    for object_ in list(scene.objects):
        bpy.data.objects.remove(object_)
    street, hero = group(scene, "Street"), group(scene, "Hero")
    lay_ground(street)
    raise_houses(street)
    set_stones(street)
    park_vehicle(hero, scene)
    push_in(scene)
    light(scene)
    frame_up(scene)
    return scene
