"""Where takes go: an explicit list. A new landing is one new file with `land` and one line here.

Landings never import each other; `images.py`, `framing.py` and `channels.py` hold what they share, `sound.py` what lies beside
a strip. They use no operators, so that one landing is one undo step of whoever calls it, and they work in the window and
without one.
"""
from __future__ import annotations

from pathlib import Path

import bpy

from ...engine.errors import LandingError
from ...engine.protocol import Take
from . import backdrop, camera, compositor, strip

LANDINGS = {"strip": strip, "compositor": compositor, "camera": camera, "backdrop": backdrop}


def land(context, name: str, take: Take, folder: Path, options: dict[str, str]) -> str:
    """Lands `take`, whose files are in `folder`, and says what was done. Raises SoraError and then has changed nothing.

    `options`: scene (the shot's; "" or missing: the current one), camera, channel, distance (metres), film ("1" makes
    the film transparent, which only the compositor asks for). "" stands for the default everywhere.
    """
    if name not in LANDINGS:
        raise LandingError(f"There is no landing called “{name}”; there are: {', '.join(LANDINGS)}.")
    wanted = options.get("scene", "")
    scene = bpy.data.scenes.get(wanted) or context.scene
    if scene.library:
        raise LandingError(f"The scene “{scene.name}” is linked from another file and cannot be changed; land in a scene of this one.")
    told = LANDINGS[name].land(context, scene, take, Path(folder), options)
    if wanted and scene.name != wanted:
        return f"The scene “{wanted}” is gone, so “{scene.name}” was used. {told}"
    return told
