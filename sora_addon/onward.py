"""Where a take leads: Remix begins from its pictures, Extend goes on from its last ones, Loop leads from them back to its first ones, Blend to
those of another take. All only set the panel; the artist shoots."""
from __future__ import annotations

import os
from pathlib import Path

import bpy
import numpy as np

from ..engine.errors import CHOOSE, FolderError, Remedy, ShotError
from ..engine.protocol import FamilySpec, Shot, Take
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
    _takes_stills(made)
    head = _pictures(take, folder, slice(-shared, None), shared)
    shot.restore(scene, made)
    start = made.numbered(made.frames - shared)
    _known(scene.sora, start, made.frames, head)
    return f"The next shot goes on from frame {start} to {start + made.frames - 1}"


def loop(scene, take: Take, folder: Path, shared: int, new: int) -> str:
    """As `blend`, back into the take itself; a sentence that says what to play, so that no picture comes twice. Raises SoraError."""
    count, start, last = _link(scene, take, folder, take, folder, shared, new)
    return (f"The next shot leads back to the take's beginning, without guides. Play {take.shot.frame_start} to {last - count} over and over: "
            f"its strip ends there, for {_counted(count, 'last')} the take's first again")


def blend(scene, take: Take, folder: Path, other: Take, other_folder: Path, shared: int, new: int) -> str:
    """The take's settings, its last pictures as the first stills of a shot over the frames that follow it, and the first of the `other` as its last
    ones; at least `new` frames between them, until the family can make as many. `shared`: 0 for as many as suit it. A sentence. Raises SoraError.
    """
    count, _start, last = _link(scene, take, folder, other, other_folder, shared, new)
    size, theirs = take.shot.size, other.shot.size
    fitted = f" Its pictures are {theirs}; those that are shared are fitted into {size}, cropped where the shape is another" if theirs != size else ""
    return f"The next shot leads into “{other.shot.name or other.id}”, without guides, which then begins at frame {last - count + 1}.{fitted}".rstrip(".")


def _link(scene, take: Take, folder: Path, other: Take, other_folder: Path, shared: int, new: int) -> tuple[int, int, int]:
    """Sets the panel; how many pictures are shared, and the shot's first and last frame. Guides are off: the scene does not lead there by itself."""
    made, fps = take.shot, scene.render.fps / scene.render.fps_base
    spec = _takes_stills(made)
    apart = families.made(spec, made.model, made.frames, fps, told=False)[1] == 0      # else neighbouring stills fall on one of the model's frames
    count = shared or min(spec.shared if apart else 1, take.files.count, other.files.count)
    head = _pictures(take, folder, slice(-count, None), count)
    tail = _pictures(other, other_folder, slice(count), count)
    frames = 2 * count + new
    shot.restore(scene, made)
    start, frames = made.numbered(made.frames - count), spec.frames.ceil(frames) if apart else frames
    _known(scene.sora, start, frames, head, tail)
    scene.sora.use_guides = False
    return count, start, start + frames - 1


def _takes_stills(made: Shot) -> FamilySpec:
    """The family of a take, when stills can join it. Raises ShotError or ModelError."""
    spec = families.spec(made.family)
    if not spec.keyframes:
        raise ShotError(f"{spec.label} takes no stills, so it cannot go on from a take; choose another model and Remix.", CHOOSE)
    return spec


def _known(settings, start: int, count: int, head: list[Path], tail: list[Path] | None = None) -> None:
    """A new shot of `count` frames that begins with some pictures and ends with others."""
    _frames(settings, start, count)
    settings.lock_seed, settings.source_from, settings.use_keyframes = False, "NONE", True
    settings.first_image, settings.last_image = str(head[0]), str(tail[-1]) if tail else ""
    settings.stills.clear()
    inner = [*enumerate(head[1:], start + 1), *enumerate(tail[:-1] if tail else (), start + count - len(tail or ()))]
    for frame, path in inner:
        lines.add(settings, "stills", frame=frame, image=str(path))


def _frames(settings, start: int, count: int) -> None:
    settings.frame_source, settings.frame_start, settings.frame_end = "CUSTOM", start, start + count - 1


def _counted(count: int, which: str) -> str:
    return f"its {which} {count} pictures are" if count > 1 else f"its {which} picture is"


def _pictures(take: Take, folder: Path, which: slice, shared: int) -> list[Path]:
    """Some of a take's pictures as stills. Raises ShotError where it has fewer than are `shared`, FolderError."""
    if shared > take.files.count:
        raise ShotError(f"The take “{take.shot.name or take.id}” has {take.files.count} frames, fewer than the {shared} to go on from.")
    return [_still(folder / take.files.folder / name, folder) for name in take.files.names()[which]]


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
