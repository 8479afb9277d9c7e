"""The engine as the artist handles it: install, repair, ask its doctor, free its memory, start it anew."""
from __future__ import annotations

import bpy

from ...engine.errors import SoraError
from .. import errands, pump
from .refusals import refuse


class Doctor(bpy.types.Operator):
    """Check the engine's device, memory, packages and folders, each with a remedy where something is wrong"""

    bl_idname, bl_label = "sora.doctor", "Doctor"

    @classmethod
    def poll(cls, _context):
        cls.poll_message_set("The doctor is looking already")
        return errands.doctor is None

    def execute(self, context):
        try:
            errands.examine()
        except SoraError as error:
            return refuse(self, context, error)
        return {"FINISHED"}


class Unload(bpy.types.Operator):
    """Free the memory that the model holds; the next shot loads it again"""

    bl_idname, bl_label = "sora.unload", "Free Memory"

    @classmethod
    def poll(cls, _context):
        cls.poll_message_set("The engine is not running" if pump.engine is None else "A shot is rolling")
        return pump.engine is not None and pump.slate.rolling is None

    def execute(self, _context):
        pump.unload()
        return {"FINISHED"}


class Restart(bpy.types.Operator):
    """Stop the engine and start another; a rolling shot is interrupted and stays on the slate"""

    bl_idname, bl_label = "sora.restart_engine", "Restart Engine"

    def execute(self, _context):
        pump.restart()
        return {"FINISHED"}


CLASSES = (Doctor, Unload, Restart)
