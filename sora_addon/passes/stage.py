"""The stage: a temporary copy of the scene from which one guide frame is rendered, gone before the tick ends.

A copy of a scene shares its objects and owns its settings and view layers, and takes a tenth of a millisecond. So
nothing of the artist's is touched, and nothing temporary is there between two ticks: saving, undoing and cutting
need no care.
"""
from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field

import bpy

from ...engine.errors import GuideError
from ...engine.protocol import Shot

TAG = "sora_stage"          # custom property of everything temporary
NAME = "Sora Guides"


@dataclass
class Stage:
    """The copied scene, its only view layer, and what was made for it."""

    scene: bpy.types.Scene
    layer: bpy.types.ViewLayer
    shot: Shot
    frame: int
    made: list = field(default_factory=list)

    def own(self, block):
        """Marks a datablock as temporary: it goes when the stage goes."""
        block[TAG] = True
        self.made.append(block)
        return block

    def camera(self, camera, sharp: bool) -> None:
        """Look through `camera`; `sharp` without its depth of field, by a double with the same lens and motion."""
        if not sharp or not camera.data.dof.use_dof:
            self.scene.camera = camera
            return
        lens = self.own(camera.data.copy())
        lens.dof.use_dof = False
        double = self.own(bpy.data.objects.new(NAME, lens))
        double.constraints.new("COPY_TRANSFORMS").target = camera
        self.scene.collection.objects.link(double)
        self.scene.camera = double

    def clear(self) -> None:
        """Takes every object off the stage."""
        root = self.scene.collection
        for collection in list(root.children):
            root.children.unlink(collection)
        for thing in list(root.objects):
            root.objects.unlink(thing)


@contextmanager
def staged(scene, shot: Shot, frame: int):
    """A Stage for the scene frame `frame`. It is struck on leaving, whatever happens."""
    had_result = "Render Result" in bpy.data.images
    copy = scene.copy()
    copy[TAG] = True
    copy.name = NAME
    stage = Stage(copy, _only_layer(copy, shot), shot, frame)
    try:
        _frame(stage)
        yield stage
    finally:
        for block in (copy, *reversed(stage.made)):
            _remove(block)
        if not had_result and "Render Result" in bpy.data.images:
            bpy.data.images.remove(bpy.data.images["Render Result"])


def purge() -> int:
    """Removes what a crashed or interrupted roll left in this file; returns how much that was."""
    homes = (bpy.data.scenes, bpy.data.objects, bpy.data.cameras, bpy.data.collections)
    left = [block for home in homes for block in home if TAG in block and not block.library]
    for block in left:
        _remove(block)
    return len(left)


def _remove(block) -> None:
    homes = {bpy.types.Scene: bpy.data.scenes, bpy.types.Object: bpy.data.objects, bpy.types.Collection: bpy.data.collections}
    next((home for kind, home in homes.items() if isinstance(block, kind)), bpy.data.cameras).remove(block)


def _only_layer(copy, shot: Shot):
    """The view layer that the shot names, or the first that renders; the copy's others are removed."""
    name = shot.landing.get("view_layer", "")
    if name and name not in copy.view_layers:
        bpy.data.scenes.remove(copy)
        raise GuideError(f"The scene has no view layer “{name}” any more.")
    layer = copy.view_layers[name] if name else next((each for each in copy.view_layers if each.use), copy.view_layers[0])
    for other in list(copy.view_layers):
        if other != layer:
            copy.view_layers.remove(other)
    layer = copy.view_layers[0]
    layer.use = True
    _hide_backdrops(layer.layer_collection)
    return layer


def _hide_backdrops(branch) -> None:
    """A former take that stands in the scene is not layout: the next shot's guides must not see it."""
    if dict(branch.collection.get("sora", {})).get("landing") == "backdrop":       # landings mark what they make
        branch.exclude = True
    for child in branch.children:
        _hide_backdrops(child)


def _frame(stage: Stage) -> None:
    """The shot's size and frame, and nothing that draws over, crops or post-processes the picture."""
    scene, render, shot = stage.scene, stage.scene.render, stage.shot
    render.resolution_x, render.resolution_y, render.resolution_percentage = shot.size.width, shot.size.height, 100
    for name in ("use_border", "use_crop_to_border", "use_compositing", "use_sequencer", "use_multiview", "use_stamp",
                 "use_motion_blur", "use_freestyle", "use_persistent_data", "use_placeholder", "film_transparent",
                 "use_render_cache", "use_single_layer"):
        setattr(render, name, False)
    render.use_overwrite = render.use_file_extension = True
    render.dither_intensity = 0.0
    scene.timeline_markers.clear()          # lens.camera_at has read them
    scene.frame_current = stage.frame
    scene.frame_subframe = 0.0
