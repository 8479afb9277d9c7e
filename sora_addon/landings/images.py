"""A take's images as Blender loads them: are they there, under which path, in which colour space, at which frames."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import bpy

from ...engine.errors import FolderError, LandingError, Remedy
from ...engine.protocol import Take

RECORD = "sora"             # custom property of everything that a landing makes; a dict, see `record`

# Colour spaces that each view transform shows just as the file has them; see `colours`. Measured on a cube of display
# colours: ACES 2.0 gives all of them back, the others all but what UNREACHED says, in the strip and in renders alike.
SHOWN_AS_MADE = {
    "AgX": "AgX Base sRGB",
    "Filmic": "Filmic sRGB",
    "Filmic Log": "Filmic Log",
    "Khronos PBR Neutral": "Khronos PBR Neutral sRGB",
    "ACES 1.3": "ACES 1.3 sRGB",
    "ACES 2.0": "ACES 2.0 sRGB",
    "Raw": "Linear Rec.709",
}
UNREACHED = {
    "AgX": "the brightest saturated colours",
    "Filmic": "the brightest saturated colours",
    "Khronos PBR Neutral": "the deepest shadows",
}


@dataclass(frozen=True, slots=True)
class Sequence:
    """Numbered files `folder/names[i]` that are shown from scene frame `start` on; the first one's number is `first`."""

    folder: Path
    names: tuple[str, ...]
    first: int
    start: int

    @property
    def last(self) -> int:
        """Scene frame of the last image."""
        return self.start + len(self.names) - 1


# ---------------------------------------------------------------- files
def sequence(take: Take, folder: Path) -> Sequence:
    """The take's plate, every file of it there. Raises FolderError."""
    names = tuple(take.files.names())
    place = Path(os.path.abspath(folder / take.files.folder))       # not resolved: links may be what keeps a project together
    again = Remedy(action="shoot_again", label="Shoot Again")
    try:
        present = {entry.name for entry in os.scandir(place)}
    except OSError as error:
        raise FolderError(f"The images of the take “{take.id}” are not in {place}: {error.strerror or error}.", again) from error
    missing = [name for name in names if name not in present]
    if missing or not names:
        what = f"{missing[0]} and {len(missing) - 1} more" if len(missing) > 1 else "".join(missing) or "every image"
        raise FolderError(f"The take “{take.id}” lacks {what} in {place}.", again)
    return Sequence(place, names, take.files.first, take.shot.frame_start)


def numbered(place: Path, start: int, count: int, ending: str = ".exr") -> Sequence | None:
    """The sequence in `place` that has a file for each of `count` scene frames from `start`; None when it is not all there."""
    if not place.is_dir():
        return None
    found = {}
    for entry in os.scandir(place):
        digits = re.search(r"(\d+)" + re.escape(ending) + "$", entry.name)
        if digits:
            found[int(digits[1])] = entry.name
    wanted = range(start, start + count)
    return Sequence(place, tuple(found[n] for n in wanted), start, start) if all(n in found for n in wanted) else None


def stored(context, path: Path) -> str:
    """How the .blend stores `path`: relative to it once it is saved, where the preferences allow it and it is on the same drive."""
    text, blend = str(path), bpy.data.filepath
    alike = blend and os.path.splitdrive(blend)[0].lower() == os.path.splitdrive(text)[0].lower()
    return bpy.path.relpath(text) if alike and context.preferences.filepaths.use_relative_paths else text


# ---------------------------------------------------------------- colour
def colours(scene, take: Take) -> tuple[str, str]:
    """(colour space, sentence): under which the plate looks in the scene's view as the model made it.

    Display-referred files (PNG) go through the view transform's own inverse. Linear files (EXR) are light: they stay
    linear, so that they can be lit, blurred and added like a render, and a view that tone-maps does so to them, too.
    """
    view, given = scene.view_settings, take.files.colourspace
    name, told = given, ""
    if given != "sRGB":
        if view.view_transform not in ("Standard", "Raw"):
            told = f"{view.view_transform} tone-maps its linear frames like a render; in Standard, or shot as PNG, they look as they were made."
    elif view.view_transform in SHOWN_AS_MADE:
        name = SHOWN_AS_MADE[view.view_transform]
        but = f", except for {UNREACHED[view.view_transform]}, which it cannot show" if view.view_transform in UNREACHED else ""
        told = f"It is loaded as {name}, so that {view.view_transform} shows it as it was made{but}."
    elif view.view_transform != "Standard":
        told = f"{view.view_transform} has no inverse, so it changes how the frames look."
    if name not in _known():
        name, told = given, f"This colour configuration has no {name}, so {view.view_transform} changes how the frames look."
    return name, " ".join(filter(None, (told, _graded(view))))


def _known() -> set[str]:
    """Names of the colour spaces that this Blender's configuration has."""
    return set(bpy.types.ColorManagedInputColorspaceSettings.bl_rna.properties["name"].enum_items.keys())


def _graded(view) -> str:
    """What the scene's colour management does to everything it shows, the plate included."""
    graded = [word for word, changed in (("exposure", view.exposure != 0.0), ("gamma", view.gamma != 1.0), ("curves", view.use_curve_mapping),
                                         ("white balance", view.use_white_balance), ("look", view.look not in ("", "None"))) if changed]
    return f"The scene's {' and '.join(graded)} also change it." if graded else ""


# ---------------------------------------------------------------- images
def loaded(context, take: Take, plate: Sequence, colourspace: str) -> bpy.types.Image:
    """The sequence as one image in that colour space, made once for each take and space. Raises LandingError."""
    if plate.first < 0:
        raise LandingError(f"Blender cannot follow a sequence with negative numbers ({plate.names[0]}); "
                           "land the take as a strip, or start the shot at frame 0 or later.")
    path = plate.folder / plate.names[0]
    for image in bpy.data.images:
        if image.source == "SEQUENCE" and image.colorspace_settings.name == colourspace and _same(image, path):
            image.filepath = stored(context, path)
            return image
    image = bpy.data.images.load(str(path), check_existing=False)
    image.source, image.name = "SEQUENCE", f"Sora {titled(take)}"
    image.filepath = stored(context, path)
    if image.colorspace_settings.name != colourspace:
        image.colorspace_settings.name = colourspace
    image[RECORD] = record(take, plate)
    return image


def _same(image, path: Path) -> bool:
    return RECORD in image and os.path.normpath(bpy.path.abspath(image.filepath)) == os.path.normpath(path)


def forget(image) -> None:
    """Removes an image that a landing made and that nothing shows any more."""
    if image is not None and RECORD in image and image.users == 0:
        bpy.data.images.remove(image)


def follow(user, plate: Sequence) -> None:
    """Makes an image user (or a compositor's image node) show file `first + i` at scene frame `start + i`."""
    user.frame_duration = len(plate.names)
    user.frame_start = plate.start
    user.frame_offset = plate.first - 1         # Blender counts a sequence's files from 1, whatever its first file is
    user.use_cyclic = False
    user.use_auto_refresh = True


# ---------------------------------------------------------------- records
def record(take: Take, plate: Sequence, **more) -> dict:
    """What a landing writes on what it makes, so that the next one finds it by value and never by reference."""
    return {"take": take.id, "folder": str(plate.folder), "first": plate.start, "last": plate.last, **more}


def overlaps(owner, first: int, last: int) -> bool:
    """Whether `owner` was made by a landing for some of the scene frames first..last."""
    kept = owner.get(RECORD) if owner is not None else None
    return kept is not None and "first" in kept and kept["first"] <= last and first <= kept["last"]


def titled(take: Take) -> str:
    """A short name for datablocks and strips, without what Blender's paths would expand (`{}`, `#`, `%`) or break."""
    words = take.shot.name or take.shot.prompt or take.id
    return " ".join("".join(c for c in words if c.isprintable() and c not in "{}#%/\\").split())[:40].strip() or "Take"


def spoken_range(plate: Sequence) -> str:
    """`frame 7` or `frames 7 to 9`."""
    return f"frame {plate.start}" if len(plate.names) == 1 else f"frames {plate.start} to {plate.last}"
