"""Normals, as Blender writes them: in world space. The engine turns them into camera space with `camera.json`."""
from .render import GEOMETRY, Pass


class Normal(Pass):
    kind, reel = "normal", GEOMETRY

    def arrange(self, stage):
        stage.layer.use_pass_normal = True
