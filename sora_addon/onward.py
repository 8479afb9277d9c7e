"""Where a take leads: Remix begins from its pictures, Extend goes on from its last ones. Both only set the panel; the artist shoots."""
from __future__ import annotations

import os
from pathlib import Path

import bpy
import numpy as np

from ..engine.errors import CHOOSE, FolderError, Remedy, ShotError
from ..engine.protocol import Take
from . import beside, families, lines, shot



def remix(scene, take: Take, folder: Path) -> str:
    """The settings as they are, over the take's frames, beginning from its pictures; a sentence. Raises ShotError or ModelError."""
    settings, made = scene.sora, take.shot
    spec = families.spec(settings.family_name)
    if not spec.source:
        others = " or ".join(each.label for each in families.specs() if each.source)
        raise ShotError(f"{spec.label} does not begin from a clip; choose {others or 'a family that does'}.", CHOOSE)
    _frames(settings, made.frame_start, made.frames)
    settings.source_from, settings.source_take = "TAKE", folder.name
    settings.prompt = settings.prompt or made.prompt
    return "The next shot begins from this take; say in the prompt what it shows now"


def extend(scene, take: Take, folder: Path, shared: int) -> str:
    """The take's settings, its last `shared` pictures as stills of a shot that begins with them; a sentence. Raises SoraError."""
    made = take.shot
    spec = families.spec(made.family)
    if not spec.keyframes:
        raise ShotError(f"{spec.label} takes no stills, so it cannot go on from a take; choose another model and Remix.", CHOOSE)
    if shared > made.frames:
        raise ShotError(f"The take has {made.frames} frames, fewer than the {shared} to go on from.")
    names = take.files.names()[-shared:]
    pictures = [_still(folder / take.files.folder / name, folder) for name in names]
    shot.restore(scene, made)
    settings, start = scene.sora, made.numbered(made.frames - shared)
    _frames(settings, start, made.frames)
    settings.lock_seed, settings.source_from, settings.use_keyframes = False, "NONE", True
    settings.first_image, settings.last_image = str(pictures[0]), ""
    settings.stills.clear()
    for index, path in enumerate(pictures[1:], 1):
        lines.add(settings, "stills", frame=start + index, image=str(path))
    return f"The next shot goes on from frame {start} to {start + made.frames - 1}"


def _frames(settings, start: int, count: int) -> None:
    settings.frame_source, settings.frame_start, settings.frame_end = "CUSTOM", start, start + count - 1


def _still(path: Path, folder: Path) -> Path:
    """A picture of a take as a file that can be a still: itself, or a PNG of a linear one in the take's folder. Raises FolderError."""
    if not path.is_file():
        raise FolderError(f"The take {folder.name} lacks {path.name}.", Remedy(action="shoot_again", label="Shoot Again"))
    if path.suffix.lower() in beside.PICTURES:
        return path
    still = folder / "stills" / f"{path.stem}.png"
    if not still.is_file():
        _develop(path, still)
    return still


def _develop(path: Path, still: Path) -> None:
    """Scene-linear Rec.709 -> a PNG in sRGB (IEC 61966-2-1), as the engine made the pixels. Raises FolderError."""
    light = bpy.data.images.load(str(path), check_existing=False)
    try:
        width, height = light.size
        linear = np.empty(width * height * 4, np.float32)
        light.pixels.foreach_get(linear)
    finally:
        bpy.data.images.remove(light)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055).clip(0, 1)
    shown.reshape(-1, 4)[:, 3] = 1
    image = bpy.data.images.new(path.stem, width, height)
    partial = still.with_name(f".{still.name}")
    try:
        still.parent.mkdir(exist_ok=True)
        image.pixels.foreach_set(shown.astype(np.float32))
        image.file_format = "PNG"
        image.save(filepath=str(partial))
        os.replace(partial, still)
    except (OSError, RuntimeError) as error:
        raise FolderError(f"{still} cannot be written: {error}.",
                          Remedy(action="free_disk", label="Show Folder", value=str(still.parents[1]))) from error
    finally:
        bpy.data.images.remove(image)
