"""Layout: boxes around chosen objects in the picture, as `layout.json`. Their geometry is projected; nothing is rendered.

A box is around what of an object lies before the camera and within the picture, whether something hides it or not; copies that an
object makes of others are in its box.
"""
from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np

from .chosen import chosen
from .render import Pass, writing
from .stage import staged

NAME = "layout.json"


class Layout(Pass):
    kind, reel = "layout", None

    def __init__(self, scene, shot):
        self.shot, self.names, self.frames = shot, chosen(scene, shot.landing, self.kind), []

    def look(self, scene, view):
        with staged(scene, self.shot, view["frame"]) as stage:
            stage.clear()
            for name in sorted(self.names):
                thing = scene.objects.get(name)
                if thing is not None and not thing.hide_render:
                    stage.scene.collection.objects.link(thing)
            stage.scene.frame_set(view["frame"])
            found = _boxes(stage.layer.depsgraph, view, self.shot.size)
        self.frames.append({"frame": view["frame"], "boxes": [found[name] for name in sorted(found)]})

    def guide(self, asked, folder):
        written = {"size": [self.shot.size.width, self.shot.size.height], "frames": self.frames}
        partial = folder / (NAME + ".partial")
        with writing(folder):
            partial.write_text(json.dumps(written, allow_nan=False), encoding="utf-8")
            os.replace(partial, folder / NAME)
        return replace(asked, path=str(folder / NAME))


def _boxes(graph, view: dict, size) -> dict[str, list[float]]:
    """Object's name -> left, top, right, bottom in pixels, for those that the camera sees something of."""
    seen: dict[str, list[np.ndarray]] = {}
    for instance in graph.object_instances:
        maker = instance.parent if instance.is_instance else instance.object
        points = _projected(instance, view)
        if len(points):
            seen.setdefault(maker.original.name, []).append(points)
    found = {}
    for name, parts in seen.items():
        points = np.concatenate(parts)
        low, high = points.min(0).clip(0, (size.width, size.height)), points.max(0).clip(0, (size.width, size.height))
        if (high > low).all():
            found[name] = [round(float(number), 3) for number in (*low, *high)]
    return found


def _projected(instance, view: dict) -> np.ndarray:
    """(n, 2): where the corners of an object's geometry are in the picture, and where its edges come out of the near plane."""
    points, edges = _geometry(instance.object)
    if not len(points):
        return np.zeros((0, 2))
    turn = np.linalg.inv(np.array(view["c2w"]).reshape(4, 4)) @ np.array(instance.matrix_world)
    points, near = points @ turn[:3, :3].T + turn[:3, 3], view["clip"][0]
    depth = points[:, 2]
    ends = points[edges[(depth[edges] < near).sum(1) == 1]]            # (k, 2, 3): edges with one end behind the near plane
    part = (near - ends[:, 0, 2:]) / (ends[:, 1, 2:] - ends[:, 0, 2:])
    points = np.concatenate([points[depth >= near], ends[:, 0] + part * (ends[:, 1] - ends[:, 0])])
    fx, fy, cx, cy = view["K"]
    scale = 1.0 if view["projection"] == "orthographic" else points[:, 2:]
    return points[:, :2] / scale * (fx, fy) + (cx, cy)


def _geometry(thing) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 3) and edges (m, 2) of an evaluated object, none where it has no surface."""
    try:
        mesh = thing.to_mesh()
    except RuntimeError:                    # Blender: the object does not have geometry data
        mesh = None
    if mesh is None:
        return np.zeros((0, 3)), np.zeros((0, 2), int)
    points, edges = np.empty(3 * len(mesh.vertices), np.float32), np.empty(2 * len(mesh.edges), np.int32)
    mesh.vertices.foreach_get("co", points)
    mesh.edges.foreach_get("vertices", edges)
    thing.to_mesh_clear()
    return points.reshape(-1, 3).astype(float), edges.reshape(-1, 2)
