"""Mask: how much of each pixel belongs to a collection or to the selection, as the alpha of a render.

On the stage, everything else holds out: what stands in front of the masked things cuts them off, and nothing is
switched on or off on the objects themselves.
"""
from __future__ import annotations

import bpy

from .chosen import chosen
from .render import Pass, Reel, cycles

SAMPLES = 8


def flat(stage) -> None:
    """Coverage only: no light, every sample within its own pixel."""
    cycles(stage, SAMPLES, bounces=0)
    stage.scene.cycles.filter_width = 1.0
    stage.scene.render.film_transparent = True
    stage.scene.world = None


class Mask(Pass):
    kind, reel = "mask", Reel("mask", flat)

    def __init__(self, scene, shot):
        self.names = chosen(scene, shot.landing, self.kind)

    def arrange(self, stage):
        stage.layer.use_pass_combined = True
        visible = _rendered(stage.layer.layer_collection, hidden=False, held=False)
        stage.clear()
        for inside in (True, False):
            collection = stage.own(bpy.data.collections.new("Sora Mask" if inside else "Sora Holdout"))
            for name, (thing, held) in visible.items():
                if inside == (name in self.names and not held):
                    collection.objects.link(thing)
            stage.scene.collection.children.link(collection)
            stage.layer.layer_collection.children[collection.name].holdout = not inside


def _rendered(layer_collection, hidden: bool, held: bool) -> dict:
    """name -> (object, whether the artist holds it out), of everything that renders; collections may switch it off."""
    if layer_collection.exclude:
        found = {}
    else:
        hidden, held = hidden or layer_collection.collection.hide_render, layer_collection.holdout
        objects = [] if hidden or layer_collection.indirect_only else layer_collection.collection.objects
        found = {thing.name: (thing, held) for thing in objects}
    for child in layer_collection.children:
        for name, (thing, out) in _rendered(child, hidden, False).items():
            found[name] = (thing, out or found.get(name, (thing, False))[1])
    return found
