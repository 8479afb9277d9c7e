"""Generate, cut, queue."""
from __future__ import annotations

import bpy
from bpy.props import BoolProperty, IntProperty, StringProperty

from .. import places, pump, shot, takes
from .refusals import forget, refusing


class Generate(bpy.types.Operator):
    """Shoot the prompt with the scene's guides; it joins the queue when another shot is rolling"""

    bl_idname, bl_label = "sora.generate", "Generate"

    @refusing
    def execute(self, context):
        places.engine_python()
        pump.submit(context, shot.frozen(context))
        forget(context)
        return {"FINISHED"}


class Cut(bpy.types.Operator):
    """Stop this shot; frames that are printed are kept"""

    bl_idname, bl_label = "sora.cut", "Cut"
    shot: StringProperty(name="Shot", description="Id of the shot; empty: the one that is rolling", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, _context):
        cls.poll_message_set("Nothing is rolling or queued")
        return bool(pump.slate.rolling or pump.slate.following)

    def execute(self, _context):
        standing = pump.slate.rolling or pump.slate.following
        pump.cut(self.shot or standing.shot.id)
        return {"FINISHED"}


class ShootAgain(bpy.types.Operator):
    """Shoot the chosen take once more, just as it was"""

    bl_idname, bl_label = "sora.shoot_again", "Shoot Again"
    vary: BoolProperty(name="New Seed", description="The same shot with another seed", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context):
        return take_chosen(cls, context)

    @classmethod
    def description(cls, _context, properties):
        return "Shoot the chosen take once more with another seed" if properties.vary else cls.__doc__

    @refusing
    def execute(self, context):
        folder = takes.chosen(context).folder
        pump.submit(context, shot.again(folder, shot.takes_folder(context), vary=self.vary))
        return {"FINISHED"}


class Retry(bpy.types.Operator):
    """Queue this shot once more"""

    bl_idname, bl_label = "sora.retry", "Try Again"
    shot: StringProperty(name="Shot", options={"SKIP_SAVE"})

    @refusing
    def execute(self, context):
        pump.retry(self.shot)
        return {"FINISHED"}


class MoveInQueue(bpy.types.Operator):
    """Move this shot in the queue"""

    bl_idname, bl_label = "sora.move", "Move in Queue"
    shot: StringProperty(name="Shot", options={"SKIP_SAVE"})
    by: IntProperty(name="By", default=-1, description="Places, negative towards the front", options={"SKIP_SAVE"})

    def execute(self, _context):
        pump.move(self.shot, self.by)
        return {"FINISHED"}


class ClearSlate(bpy.types.Operator):
    """Take off the slate what has ended; takes stay"""

    bl_idname, bl_label = "sora.clear_slate", "Clear Ended"

    def execute(self, context):
        pump.clear()
        forget(context)
        return {"FINISHED"}


def take_chosen(operator, context) -> bool:
    """Whether a whole take is chosen; says why not."""
    row = takes.chosen(context)
    operator.poll_message_set("Choose a take in the list" if row is None else row.broken)
    return row is not None and not row.broken


CLASSES = (Generate, Cut, ShootAgain, Retry, MoveInQueue, ClearSlate)
