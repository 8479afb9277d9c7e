"""What can be done with a take that is there: land, star, restore, reveal, delete."""
from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from .. import library, onward, pump, shot, takes
from ..settings import FORMAT_ITEMS
from .refusals import forget, refusing
from .shooting import take_chosen

PLACES = (
    ("strip", "As Strip", "On the timeline, over the frames that it was shot for", "SEQ_STRIP_DUPLICATE", 0),
    ("compositor", "In Compositor", "As a plate under the render", "NODE_COMPOSITING", 1),
    ("camera", "As Camera Background", "Behind the scene when looking through the camera", "CAMERA_DATA", 2),
    ("backdrop", "As Backdrop", "A plane that fills the camera", "IMAGE_PLANE", 3),
)


class Land(bpy.types.Operator):
    """Bring the chosen take into the scene"""

    bl_idname, bl_label, bl_options = "sora.land", "Land", {"REGISTER", "UNDO"}
    place: EnumProperty(name="Place", items=PLACES, default="strip")

    @classmethod
    def poll(cls, context):
        return take_chosen(cls, context)

    @classmethod
    def description(cls, _context, properties):
        return next(note for name, _label, note, *_ in PLACES if name == properties.place)

    @refusing
    def execute(self, context):
        from .. import landings
        row = takes.chosen(context)
        done = landings.land(context, self.place, takes.opened(row), Path(row.folder), shot.landing(context))
        self.report({"INFO"}, done)
        return {"FINISHED"}


class RestoreSettings(bpy.types.Operator):
    """Put the prompt, seed, size and guides of the chosen take back into the panel"""

    bl_idname, bl_label, bl_options = "sora.restore_settings", "Restore Settings", {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return take_chosen(cls, context)

    @refusing
    def execute(self, context):
        shot.restore(context.scene, takes.opened(takes.chosen(context)).shot)
        return {"FINISHED"}


class Develop(bpy.types.Operator):
    """Make the frames of the chosen take once more from what was sampled, in another format: quick, and the same picture"""

    bl_idname, bl_label = "sora.develop", "Develop As"
    format: EnumProperty(name="Format", items=FORMAT_ITEMS)

    @classmethod
    def poll(cls, context):
        return take_chosen(cls, context)

    @refusing
    def execute(self, context):
        pump.submit(context, shot.developed(Path(takes.chosen(context).folder), shot.takes_folder(context), self.format))
        forget(context)
        return {"FINISHED"}


class Onward:
    """Sets the panel for a shot that the chosen take leads to, as `lead` says."""

    @classmethod
    def poll(cls, context):
        return take_chosen(cls, context)

    @refusing
    def execute(self, context):
        row = takes.chosen(context)
        done = self.lead(context.scene, takes.opened(row), Path(row.folder))
        forget(context)
        self.report({"INFO"}, done)
        return {"FINISHED"}


class Remix(Onward, bpy.types.Operator):
    """Begin the next shot from the pictures of the chosen take: prompt and Change say what becomes of them"""

    bl_idname, bl_label, bl_options = "sora.remix", "Remix", {"REGISTER", "UNDO"}

    def lead(self, scene, take, folder):
        return onward.remix(scene, take, folder)


class Extend(Onward, bpy.types.Operator):
    """Set the panel to go on from the end of the chosen take: its settings, its last picture as the first frame, the frames that follow"""

    bl_idname, bl_label, bl_options = "sora.extend", "Extend", {"REGISTER", "UNDO"}
    shared: IntProperty(name="Shared Frames", default=1, min=1, soft_max=8, max=32, options={"SKIP_SAVE"},
                        description="How many of the take's last pictures begin the next shot. More carry its motion on; some models take one alone")

    def lead(self, scene, take, folder):
        return onward.extend(scene, take, folder, self.shared)


_others: list = []          # Blender keeps no reference to the strings of dynamic items


def _other_takes(_operator, context):
    """The takes that the chosen one can lead into."""
    here, rows = takes.chosen(context), context.window_manager.sora.takes
    fresh = [(row.name, row.title, row.prompt) for row in rows if not row.broken and here is not None and row.name != here.name]
    if _others != fresh:
        _others[:] = fresh
    return _others


SHARED = {"name": "Shared Frames", "default": 0, "min": 0, "soft_max": 8, "max": 32, "options": {"SKIP_SAVE"},
          "description": "How many pictures the shot shares with either end. More carry motion on; some models take one alone. 0: as many as suit the model"}
NEW = {"name": "New Frames", "default": 24, "min": 1, "soft_max": 120, "options": {"SKIP_SAVE"},
       "description": "How many frames lie between the pictures that are shared; a few more where the model can make no such number"}


class Loop(Onward, bpy.types.Operator):
    """Set the panel to lead from the end of the chosen take back to its beginning, so that both can be played one after the other, again and again"""

    bl_idname, bl_label, bl_options = "sora.loop", "Loop", {"REGISTER", "UNDO"}
    shared: IntProperty(**SHARED)
    new: IntProperty(**NEW)

    def lead(self, scene, take, folder):
        return onward.loop(scene, take, folder, self.shared, self.new)


class Blend(Onward, bpy.types.Operator):
    """Set the panel to lead from the end of the chosen take to the beginning of another one"""

    bl_idname, bl_label, bl_options = "sora.blend", "Blend Into", {"REGISTER", "UNDO"}
    take: EnumProperty(name="Take", description="The take that it leads to", items=_other_takes, options={"SKIP_SAVE"})
    shared: IntProperty(**SHARED)
    new: IntProperty(**NEW)

    @classmethod
    def poll(cls, context):
        if not super().poll(context):
            return False
        cls.poll_message_set("There is no other take to lead into")
        return bool(_other_takes(None, context))

    def lead(self, scene, take, folder):
        other = bpy.context.window_manager.sora.takes[self.take]
        return onward.blend(scene, take, folder, takes.opened(other), Path(other.folder), self.shared, self.new)


class Star(bpy.types.Operator):
    """Mark this take as a good one, or take the mark away"""

    bl_idname, bl_label = "sora.star", "Star"
    take: StringProperty(name="Take", description="Id of the take; empty: the chosen one", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context):
        cls.poll_message_set("There are no takes yet")
        return bool(context.window_manager.sora.takes)

    @refusing
    def execute(self, context):
        row = context.window_manager.sora.takes.get(self.take) or takes.chosen(context)
        library.mark(Path(row.folder), star=not row.starred)
        row.starred = not row.starred
        return {"FINISHED"}


class Reveal(bpy.types.Operator):
    """Show the folder in the file browser of your system"""

    bl_idname, bl_label = "sora.reveal", "Reveal"
    folder: StringProperty(name="Folder", subtype="DIR_PATH", description="Empty: that of the chosen take", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context):
        cls.poll_message_set("Blender runs without a window")
        return not bpy.app.background

    def execute(self, context):
        row = takes.chosen(context)
        folder = self.folder or (row.folder if row else str(shot.takes_folder(context)))
        if not Path(folder).is_dir():
            self.report({"ERROR"}, f"{folder} is not there")
            return {"CANCELLED"}
        return bpy.ops.wm.path_open(filepath=folder)


class DeleteTake(bpy.types.Operator):
    """Move the chosen take to the trash of the takes folder; strips and plates that show it lose their images"""

    bl_idname, bl_label = "sora.delete_take", "Delete Take"

    @classmethod
    def poll(cls, context):
        cls.poll_message_set("Choose a take in the list")
        return takes.chosen(context) is not None

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(
            self, event, title="Delete Take", icon="WARNING", confirm_text="Delete",
            message=f"“{takes.chosen(context).title}” goes to the trash of the takes folder.")

    @refusing
    def execute(self, context):
        row = takes.chosen(context)
        library.throw_away(Path(row.folder).parent, Path(row.folder))
        takes.refresh(context)
        return {"FINISHED"}


class Refresh(bpy.types.Operator):
    """Read the takes folder again"""

    bl_idname, bl_label = "sora.refresh", "Refresh"

    @refusing
    def execute(self, context):
        takes.refresh(context)
        forget(context)
        return {"FINISHED"}


CLASSES = (Land, RestoreSettings, Develop, Remix, Extend, Loop, Blend, Star, Reveal, DeleteTake, Refresh)
