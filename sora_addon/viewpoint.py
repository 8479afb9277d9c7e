"""A camera that sees what the viewport sees."""
from __future__ import annotations

import bpy
from mathutils import Euler, Matrix

VIEWPORT_ZOOM = 2.0                     # Blender draws a viewport's lens on a sensor twice as wide as a camera's
START = Matrix.LocRotScale((7.36, -6.93, 4.96), Euler((1.109, 0.0, 0.815)), None)    # of a fresh file's camera


def add_camera(context) -> bpy.types.Object:
    """A new camera of the scene, standing where the 3D View looks from, or where a fresh file has one."""
    scene, optics = context.scene, bpy.data.cameras.new("Camera")
    camera = bpy.data.objects.new("Camera", optics)
    scene.collection.objects.link(camera)
    view = _viewport(context)
    if view is None:
        camera.matrix_world = START
    else:
        camera.matrix_world = _eye(view.region_3d)
        optics.lens = view.lens / VIEWPORT_ZOOM
        optics.clip_end = view.clip_end
        if view.region_3d.view_perspective == "ORTHO":
            optics.type, optics.ortho_scale = "ORTHO", view.region_3d.view_distance * optics.sensor_width / optics.lens
    scene.camera = camera
    return camera


def _eye(region) -> Matrix:
    """Where a 3D View looks from. Its own view matrix is empty until it was drawn once."""
    back = Matrix.Translation((0.0, 0.0, region.view_distance))
    return Matrix.Translation(region.view_location) @ region.view_rotation.to_matrix().to_4x4() @ back


def _viewport(context):
    """The 3D View that the artist is in, or the first of the screen."""
    if context.space_data and context.space_data.type == "VIEW_3D":
        return context.space_data
    areas = context.screen.areas if context.screen else ()
    return next((area.spaces.active for area in areas if area.type == "VIEW_3D"), None)
