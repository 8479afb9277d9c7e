"""Beauty: the scene as it looks, scene-linear. Its own materials, lights, world and depth of field, cheaply.

Cycles, because it draws any node material and light without window or GPU; EEVEE takes a GPU and half a minute for its
first frame, and Workbench knows no lights. Only a scene that is itself set to Workbench is drawn with it: such a scene
often has no lights at all, and would be black.
"""
from __future__ import annotations

from .render import WORKBENCH, Pass, Reel, cycles

SAMPLES, BOUNCES = 16, 3


def lit(stage) -> None:
    """As the artist has lit it, at the exposure of the scene's view."""
    if stage.scene.render.engine != WORKBENCH:
        cycles(stage, SAMPLES, BOUNCES)
        stage.scene.cycles.filter_width = 1.0
        stage.scene.cycles.film_exposure *= 2.0 ** stage.scene.view_settings.exposure


class Beauty(Pass):
    kind, reel = "beauty", Reel("beauty", lit, sharp=False)

    def arrange(self, stage):
        stage.layer.use_pass_combined = True
