"""Renders one frame of a reel: some passes that share a render and a folder of numbered multi-layer EXRs."""
from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import bpy

from .. import compat
from ...engine.errors import DiskFull, FolderError, GuideError, Remedy
from ...engine.protocol import Guide, Shot
from .lens import camera_at
from .stage import Stage, staged

WORKBENCH = "BLENDER_WORKBENCH"
UNSAFE = "{}#%"                 # Blender reads these in a path as a template or a frame number


@dataclass(frozen=True)
class Reel:
    """One render per frame. `folder` lies in the shot's `guides`; `sharp` ignores depth of field."""

    folder: str
    light: Callable[[Stage], None]
    sharp: bool = True


class Pass:
    """One kind of guide. A new pass is a subclass in its own file, and one line of the registry."""

    kind = ""
    reel: Reel | None = None            # None: nothing is rendered for it

    def __init__(self, scene, shot: Shot):
        """Checks that the shot can have this guide. Raises ShotError or GuideError."""

    def arrange(self, stage: Stage) -> None:
        """Switches on what the pass needs, on the stage only."""

    def look(self, scene, view: dict) -> None:
        """Told of every frame before it is rendered, by its entry of `camera.json` (lens.view)."""

    def printed(self, path: Path) -> None:
        """Told of every frame that was written."""

    def guide(self, asked: Guide, folder: Path) -> Guide:
        """The guide as the engine will read it; `folder` is the shot's folder of guides."""
        return replace(asked, path=str(folder / self.reel.folder) if self.reel.folder else str(folder))


# ---------------------------------------------------------------- engines
def cycles(stage: Stage, samples: int, bounces: int) -> None:
    """Cycles on the processor: the one renderer with every pass that needs neither a window nor a GPU. Raises GuideError."""
    try:
        stage.scene.render.engine = "CYCLES"
    except TypeError as error:
        raise GuideError("Guides are rendered with Cycles, and the Cycles add-on is switched off.") from error
    settings = stage.scene.cycles
    settings.device, settings.samples, settings.time_limit = "CPU", samples, 0.0
    settings.use_adaptive_sampling = settings.use_denoising = settings.use_animated_seed = False
    settings.pixel_filter_type = "BOX"
    for name in ("max_bounces", "diffuse_bounces", "glossy_bounces", "transmission_bounces", "volume_bounces"):
        setattr(settings, name, min(bounces, getattr(settings, name)))
    stage.layer.samples = 0             # otherwise it overrides the scene's


def geometry(stage: Stage) -> None:
    """One sample through the centre of each pixel, no light: what a surface is and where, not how it is lit."""
    cycles(stage, samples=1, bounces=0)
    stage.scene.cycles.filter_width = 0.01
    stage.scene.cycles.film_exposure = 0.0      # Blender writes the colours in any case; black they take no room and no time to read
    stage.scene.world = None


GEOMETRY = Reel("", geometry)


# ---------------------------------------------------------------- one frame
def printed(scene, shot: Shot, frame: int, reel: Reel, passes: list[Pass], scratch: Path, folder: Path) -> Path:
    """Renders `frame` for `passes` into `folder`/####.exr, which appears whole or not at all. Raises SoraError."""
    camera = camera_at(scene, shot, frame)
    drawn = scratch / "guide.exr"
    drawn.unlink(missing_ok=True)
    with staged(scene, shot, frame) as stage:
        _silence(stage)
        reel.light(stage)
        for each in passes:
            each.arrange(stage)
        stage.camera(camera, reel.sharp)
        _render(stage, drawn)
    target = folder / f"{frame:04d}.exr"
    _move(drawn, target, folder)
    for each in passes:
        each.printed(target)
    return target


def _silence(stage: Stage) -> None:
    """No pass but those that are asked for, written as 32-bit EXR."""
    layer = stage.layer
    for owner in (layer, getattr(layer, "cycles", None)):
        for name in [] if owner is None else owner.bl_rna.properties.keys():
            if name.startswith(("use_pass_", "pass_debug_", "denoising_store")):
                setattr(owner, name, False)
    while layer.aovs:
        layer.aovs.remove(layer.aovs[0])
    written = stage.scene.render.image_settings
    compat.write_all_layers(written)
    written.color_depth, written.exr_codec = "32", "ZIP"
    if stage.scene.render.pixel_aspect_x != stage.scene.render.pixel_aspect_y:
        compat.write_one_part(written)


def _render(stage: Stage, drawn: Path) -> None:
    stage.scene.render.filepath = str(drawn)
    try:
        result = compat.render_still(bpy.context, stage.scene, stage.frame)
    except RuntimeError as error:
        raise GuideError(f"The guides of frame {stage.frame} could not be rendered: {' '.join(str(error).split())}",
                         Remedy(action="render_guides", label="Render Guides Again")) from error
    if "FINISHED" not in result or not drawn.exists():
        raise GuideError(f"The render of the guides stopped at frame {stage.frame}.", Remedy(action="render_guides", label="Render Guides Again"))


def scratch_is_safe(scratch: Path) -> None:
    """Raises FolderError where Blender would read the temporary folder's name as a template."""
    if any(letter in str(scratch) for letter in UNSAFE):
        raise FolderError(f"The temporary folder {scratch} has one of {UNSAFE} in its name; Blender cannot render into it.")


def _move(drawn: Path, target: Path, folder: Path) -> None:
    """Blender cannot write into every folder (`{#%}`), and never atomically; so it is moved there afterwards."""
    partial = target.with_suffix(".partial")
    with writing(folder):
        try:
            shutil.copyfile(drawn, partial)
            os.replace(partial, target)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


class writing:
    """A context in which the system's errors become FolderError or DiskFull, each with its way out."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> "writing":
        return self

    def __exit__(self, kind, error, _trace) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"The disk of {self.folder} is full; the guides that were rendered are kept.",
                           Remedy(action="free_disk", label="Show Folder", value=str(self.folder))) from error
        raise FolderError(f"Guides cannot be written to {self.folder}: {error.strerror or error}.",
                          Remedy(action="choose_folder", label="Choose a Folder")) from error
