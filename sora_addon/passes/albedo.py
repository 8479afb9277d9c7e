"""Albedo: the colour of each thing without any light, as the scene is set to show it.

Cycles hands it to denoisers: the diffuse colour alone would leave metal, glass and lights black. A scene that is set to Workbench shows
the viewport's colours instead, which no node tree knows of, so Workbench draws it, flat.
"""
from .render import GEOMETRY, WORKBENCH, Pass, Reel


def flat(stage) -> None:
    """The viewport's colours as they are, each pixel one thing's."""
    shading = stage.scene.display.shading
    shading.light = "FLAT"
    for name in ("show_shadows", "show_cavity", "show_object_outline", "show_xray", "show_specular_highlight"):
        setattr(shading, name, False)
    stage.scene.display.render_aa, stage.scene.render.film_transparent = "OFF", True


class Albedo(Pass):
    kind, reel = "albedo", GEOMETRY

    def __init__(self, scene, shot):
        if scene.render.engine == WORKBENCH:
            self.reel = Reel("albedo", flat)

    def arrange(self, stage):
        if self.reel is GEOMETRY:
            stage.layer.cycles.denoising_store_passes = True
        else:
            stage.layer.use_pass_combined = True
