"""Motion: where each pixel was in the previous frame and will be in the next, in pixels of the shot."""
from .render import GEOMETRY, Pass


class Vector(Pass):
    kind, reel = "vector", GEOMETRY

    def arrange(self, stage):
        stage.layer.use_pass_vector = True
