"""The engine as the artist handles it: install, repair, ask its doctor, free its memory, start it anew."""
from __future__ import annotations

import bpy

from .. import errands, pump
from .refusals import refusing


class InstallEngine(bpy.types.Operator):
    """Install the engine's own Python packages into its folder; an interrupted installation is taken up where it was"""

    bl_idname, bl_label = "sora.install_engine", "Install Engine"

    @classmethod
    def poll(cls, _context):
        return installable(cls)

    @refusing
    def execute(self, context):
        errands.install_engine()
        return {"FINISHED"}


class RepairEngine(bpy.types.Operator):
    """Install the engine anew from the beginning; takes and models stay"""

    bl_idname, bl_label = "sora.repair_engine", "Repair Engine"

    @classmethod
    def poll(cls, _context):
        return installable(cls)

    @refusing
    def execute(self, context):
        errands.install_engine(repair=True)
        return {"FINISHED"}


class StopInstalling(bpy.types.Operator):
    """Stop the installation; what was downloaded is used next time"""

    bl_idname, bl_label = "sora.stop_installing", "Stop"

    @classmethod
    def poll(cls, _context):
        cls.poll_message_set("Nothing is being installed")
        return errands.installation is not None

    def execute(self, _context):
        errands.stop_installing()
        return {"FINISHED"}


class Doctor(bpy.types.Operator):
    """Check the engine's device, memory, packages and folders, each with a remedy where something is wrong"""

    bl_idname, bl_label = "sora.doctor", "Doctor"

    @classmethod
    def poll(cls, _context):
        cls.poll_message_set("The doctor is looking already")
        return errands.doctor is None

    @refusing
    def execute(self, context):
        errands.examine()
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


def installable(operator) -> bool:
    """Whether an installation may begin; says why not."""
    operator.poll_message_set("The engine is being installed" if errands.installation else "A shot is rolling")
    return errands.installation is None and pump.slate.rolling is None


CLASSES = (InstallEngine, RepairEngine, StopInstalling, Doctor, Unload, Restart)
