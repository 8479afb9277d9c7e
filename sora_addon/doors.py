"""What Blender does around the pump: files come and go, renders begin, the end. Each is one line to the pump."""
from __future__ import annotations

import atexit
import logging

import bpy
from bpy.app.handlers import persistent

from ..engine.errors import SoraError
from . import home, pump

log = logging.getLogger(__name__)


@persistent
def _before_load(*_file) -> None:
    pump.interrupt_guides("Interrupted: its file was closed while the guides rendered.")


@persistent
def _after_load(*_file) -> None:
    home.another_file()
    look_for_unfinished()


@persistent
def _before_render(*_scene) -> None:
    pump.make_way()


@persistent
def _at_exit(*_arguments) -> None:
    pump.leave()


# exit_pre is new in 5.2; before, atexit alone serves
DOORS = {"load_pre": _before_load, "load_post": _after_load, "render_init": _before_render, "exit_pre": _at_exit}


def look_for_unfinished() -> None:
    """Offer what a former Blender left unfinished in the folder of takes."""
    from . import shot
    try:
        pump.resume(shot.takes_folder(bpy.context))
    except SoraError as error:
        log.warning("unfinished shots were not looked for: %s", error)


def register():
    for name, door in DOORS.items():
        if hasattr(bpy.app.handlers, name):
            getattr(bpy.app.handlers, name).append(door)
    atexit.register(_at_exit)
    bpy.app.timers.register(look_for_unfinished, first_interval=0.5)    # while registering there is no context yet


def unregister():
    for name, door in DOORS.items():
        if hasattr(bpy.app.handlers, name):
            getattr(bpy.app.handlers, name).remove(door)
    atexit.unregister(_at_exit)
    if bpy.app.timers.is_registered(look_for_unfinished):
        bpy.app.timers.unregister(look_for_unfinished)
    pump.sleep()
