"""A take as a camera's background image: behind the scene in the viewport, through that camera, frame by frame.

Viewports draw background images as they are, without the view transform, so the plate keeps its own colour space here
whatever the scene's view is. Blender itself shows nothing outside the sequence's frames.
"""
from __future__ import annotations

from pathlib import Path

from ...engine.errors import LandingError
from ...engine.protocol import Take
from . import framing, images


def land(context, scene, take: Take, folder: Path, options: dict[str, str]) -> str:
    """Shows the take behind every camera that its frames are seen through. Raises FolderError or LandingError."""
    plate = images.sequence(take, folder)
    cameras = list(dict.fromkeys(span.camera for span in framing.spans(scene, plate.start, plate.last, options.get("camera", ""))))
    for camera in cameras:
        if camera.data.library:
            raise LandingError(f"The camera “{camera.name}” is linked from another file; make it local and land again.")
    image = images.loaded(context, take, plate, take.files.colourspace)
    updated = [_shown(scene, camera, image, take, plate) for camera in cameras]
    names = " and ".join(f"“{camera.name}”" for camera in cameras)
    how = " It replaced the take that was there." if any(updated) else ""
    return f"Background of {names} at {images.spoken_range(plate)}.{how} {framing.told(scene, cameras[0], take.shot.size)}".rstrip()


def _shown(scene, camera, image, take: Take, plate: images.Sequence) -> bool:
    """Gives the camera the background; True when an earlier landing's was taken over."""
    backgrounds = camera.data.background_images
    present = [shown for shown in backgrounds if images.overlaps(shown.image, plate.start, plate.last)]
    shown = present[0] if present else backgrounds.new()
    formers = {other.image for other in present} - {image}
    for other in present[1:]:
        backgrounds.remove(other)
    shown.source, shown.image = "IMAGE", image
    images.follow(shown.image_user, plate)
    shown.frame_method = framing.method(scene, camera, take.shot.size)
    if not present:
        shown.display_depth, shown.alpha = "BACK", 1.0
    shown.show_background_image = camera.data.show_background_images = True
    for former in formers:
        images.forget(former)
    return bool(present)
