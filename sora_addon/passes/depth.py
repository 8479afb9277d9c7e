"""Depth: metres along the camera's axis, with the nearest and the farthest surface of the whole shot."""
from __future__ import annotations

from dataclasses import replace

from .nearfar import nearfar
from .render import GEOMETRY, Pass


class Depth(Pass):
    """Near and far are what the shot really sees: a ground that runs under the camera would ruin a bounding box's."""

    kind, reel = "depth", GEOMETRY

    def __init__(self, scene, shot):
        self.nearest, self.farthest = float("inf"), 0.0

    def arrange(self, stage):
        stage.layer.use_pass_z = True

    def printed(self, path):
        seen = nearfar(path)
        if seen:
            self.nearest, self.farthest = min(self.nearest, seen[0]), max(self.farthest, seen[1])

    def guide(self, asked, folder):
        """Without any surface in the whole shot, near and far stay None."""
        found = self.farthest > 0
        near, far = (self.nearest, self.farthest) if found else (None, None)
        return replace(super().guide(asked, folder), near=near, far=far)
