"""How a take's picture lies in the camera's frame: which camera, at which frames, and which side fits which.

A guide rendered at another aspect than the scene's shows more or less of the world on one side only: the side that
the sensor is fitted to is the same in both. Plates are scaled by that side, so that they stay registered to the scene.
"""
from __future__ import annotations

from dataclasses import dataclass

import bpy

from ...engine.errors import LandingError, Remedy
from ...engine.protocol import Size


@dataclass(frozen=True, slots=True)
class Span:
    """Scene frames first..last, seen through `camera` (an object)."""

    camera: bpy.types.Object
    first: int
    last: int


def spans(scene, first: int, last: int, chosen: str) -> list[Span]:
    """Through which cameras the frames are seen: camera markers rule as they do in a render, then `chosen`, then the scene's.

    Raises LandingError when there is none.
    """
    cuts = sorted(((marker.frame, marker.camera) for marker in scene.timeline_markers if marker.camera), key=lambda cut: cut[0])
    if not cuts:
        return [Span(_camera(scene, chosen), first, last)]
    started = [cut for cut in cuts if cut[0] <= first][-1:] or cuts[:1]     # before its first marker Blender uses that one
    seen = [(first, started[0][1])] + [cut for cut in cuts if first < cut[0] <= last and cut != started[0]]
    ends = [start - 1 for start, _ in seen[1:]] + [last]
    return [Span(camera, start, end) for (start, camera), end in zip(seen, ends) if start <= end]


def _camera(scene, chosen: str) -> bpy.types.Object:
    camera = scene.objects.get(chosen) if chosen else scene.camera
    if camera is None and chosen:
        raise LandingError(f"The camera “{chosen}” is no longer in the scene “{scene.name}”; choose another one and land again.")
    if camera is None or camera.type != "CAMERA":
        raise LandingError(f"The scene “{scene.name}” has no camera.", Remedy(action="add_camera", label="Add Camera from View"))
    return camera


def fitted(camera, width: float, height: float) -> float:
    """The side (of width and height) that the camera's sensor is fitted to."""
    fit = camera.data.sensor_fit if camera else "AUTO"
    return {"HORIZONTAL": width, "VERTICAL": height}.get(fit, max(width, height))


def scale(scene, camera, size: Size) -> float:
    """Pixels of the scene's frame per pixel of the plate, so that both show the same part of the world."""
    render = scene.render
    return fitted(camera, render.resolution_x, render.resolution_y) / fitted(camera, size.width, size.height)


def method(scene, camera, size: Size) -> str:
    """`STRETCH` (same aspect), `CROP` (the plate is cut off) or `FIT` (it leaves bars): how Blender gets to that scale."""
    width, height = _over(scene, camera, size)
    if abs(width) < 0.5 and abs(height) < 0.5:
        return "STRETCH"
    return "CROP" if width > -0.5 and height > -0.5 else "FIT"


def _over(scene, camera, size: Size) -> tuple[float, float]:
    """By how many pixels the registered plate is wider and higher than the scene's frame."""
    factor, render = scale(scene, camera, size), scene.render
    return size.width * factor - render.resolution_x, size.height * factor - render.resolution_y


def told(scene, camera, size: Size) -> str:
    """A sentence when the plate's aspect is not the scene's, otherwise nothing."""
    frame = Size(scene.render.resolution_x, scene.render.resolution_y)
    turned = min(_over(scene, camera, size)) < -0.5 and max(_over(scene, camera, size)) > 0.5
    if turned:
        return f"The take is {size} and the scene {frame}: only strips and backdrops line up with the camera then, other plates fit inside the frame."
    how = {"CROP": "cut off at two edges", "FIT": "with bars at two edges"}.get(method(scene, camera, size))
    return f"The take is {size} and the scene {frame}: it is scaled to match the camera, {how}." if how else ""
