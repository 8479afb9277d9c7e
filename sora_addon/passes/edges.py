"""Edges: the engine draws them from depth, normals and which object is where, so those three are written."""
from .render import GEOMETRY, Pass


class Edges(Pass):
    kind, reel = "edges", GEOMETRY

    def arrange(self, stage):
        stage.layer.use_pass_z = stage.layer.use_pass_normal = stage.layer.use_pass_cryptomatte_object = True
        stage.layer.pass_cryptomatte_depth = 2
