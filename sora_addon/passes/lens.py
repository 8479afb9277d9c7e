"""Which camera sees a frame, and its matrices as Blender's own projection has them. OpenCV convention."""
from __future__ import annotations

from mathutils import Matrix

from ...engine.errors import Remedy, ShotError
from ...engine.protocol import Shot
from .stage import staged

TO_OPENCV = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))     # Blender's camera looks along -z with y up
PROJECTIONS = {"PERSP": "perspective", "ORTHO": "orthographic"}


def camera_at(scene, shot: Shot, frame: int):
    """The camera of a scene frame: a marker's where markers switch cameras, else the shot's, else the scene's.

    Raises ShotError when there is none or when it is panoramic.
    """
    camera = _by_marker(scene, frame) or _named(scene, shot) or scene.camera
    if camera is None or camera.type != "CAMERA":
        raise ShotError("Guides are seen through a camera, and the scene has none.", Remedy(action="add_camera", label="Add Camera from View"))
    if camera.data.type not in PROJECTIONS:
        raise ShotError(f"The camera “{camera.name}” is panoramic; guides need a perspective or an orthographic one.",
                        Remedy(action="add_camera", label="Add Camera from View"))
    return camera


def _named(scene, shot: Shot):
    return scene.objects.get(shot.landing.get("camera", ""))


def _by_marker(scene, frame: int):
    """As Blender switches: the last marker up to the frame, before the first one the first."""
    bound = [marker for marker in scene.timeline_markers if marker.camera and not marker.camera.hide_render]
    if not bound:
        return None
    past = [marker for marker in bound if marker.frame <= frame]
    return max(past, key=lambda marker: marker.frame).camera if past else min(bound, key=lambda marker: marker.frame).camera


def view(scene, shot: Shot, frame: int) -> dict:
    """One entry of `camera.json`: where the camera of `frame` stands and how it projects.

    `c2w` (16, row-major) takes camera space (x right, y down, z forward, metres) to the world; `K` is fx, fy, cx, cy
    in pixels of the shot's size, with (0, 0) at the top left corner of the picture. In an orthographic view fx and fy
    are pixels per metre. `focal`, `sensor` and `clip` are millimetres, millimetres and metres.
    """
    camera = camera_at(scene, shot, frame)
    with staged(scene, shot, frame) as stage:
        stage.clear()
        stage.scene.collection.objects.link(camera)     # what it hangs on comes along by itself
        stage.scene.frame_set(frame)
        graph = stage.layer.depsgraph
        seen, render = camera.evaluated_get(graph), stage.scene.render
        projection = seen.calc_matrix_camera(graph, x=shot.size.width, y=shot.size.height,
                                             scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y)
        lens = seen.data
        return {
            "frame": frame, "camera": camera.name, "projection": PROJECTIONS[lens.type],
            "c2w": [number for row in seen.matrix_world.normalized() @ TO_OPENCV for number in row],
            "K": _intrinsics(projection, shot.size.width, shot.size.height, lens.type == "ORTHO"),
            "focal": lens.lens, "sensor": [lens.sensor_width, lens.sensor_height], "sensor_fit": lens.sensor_fit,
            "shift": [lens.shift_x, lens.shift_y], "clip": [lens.clip_start, lens.clip_end],
        }


def _intrinsics(projection, width: int, height: int, flat: bool) -> list[float]:
    """fx, fy, cx, cy of an OpenGL projection matrix, in pixels."""
    right, up = (projection[0][3], projection[1][3]) if flat else (-projection[0][2], -projection[1][2])
    return [projection[0][0] * width / 2, projection[1][1] * height / 2, (1 + right) * width / 2, (1 - up) * height / 2]
