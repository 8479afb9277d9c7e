"""The panel's lists: a still at the current frame, pictures of the subject, LoRAs; and taking a line away."""
from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, IntProperty, StringProperty

from .. import families, lines

KINDS = (("stills", "Stills", ""), ("references", "Subject", ""), ("loras", "LoRAs", ""))


def _browse(operator, context):
    context.window_manager.fileselect_add(operator)
    return {"RUNNING_MODAL"}


class AddStill(bpy.types.Operator):
    """Choose a picture that the clip must show at the current frame, or at the one that was asked for"""

    bl_idname, bl_label, bl_options = "sora.add_still", "Add Still", {"REGISTER", "UNDO"}
    filepath: StringProperty(name="Picture", subtype="FILE_PATH", options={"SKIP_SAVE"})
    frame: IntProperty(name="Frame", description="Scene frame; below 0: the current one", default=-1, options={"SKIP_SAVE", "HIDDEN"})
    filter_image: BoolProperty(default=True, options={"HIDDEN"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context, _event):
        return _browse(self, context)

    def execute(self, context):
        lines.add(context.scene.sora, "stills", frame=self.frame if self.frame >= 0 else context.scene.frame_current, image=self.filepath)
        context.scene.sora.use_keyframes = True
        return {"FINISHED"}


class AddReferences(bpy.types.Operator):
    """Choose pictures of the subject"""

    bl_idname, bl_label, bl_options = "sora.add_references", "Add Pictures", {"REGISTER", "UNDO"}
    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE"})
    filter_image: BoolProperty(default=True, options={"HIDDEN"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    @classmethod
    def poll(cls, context):
        spec = families.chosen(context)
        most = spec.references if spec else 0
        cls.poll_message_set(f"{spec.label if spec else 'This family'} takes {most or 'no'} pictures of the subject")
        return len(context.scene.sora.references) < most

    def invoke(self, context, _event):
        return _browse(self, context)

    def execute(self, context):
        for file in self.files:
            lines.add(context.scene.sora, "references", image=str(Path(self.directory, file.name)))
        return {"FINISHED"}


class AddLora(bpy.types.Operator):
    """Put this LoRA on the model"""

    bl_idname, bl_label, bl_options = "sora.add_lora", "Add LoRA", {"REGISTER", "UNDO"}
    lora: StringProperty(name="LoRA", description="Its name in the models folder; empty: a line to fill in", options={"SKIP_SAVE"})

    def execute(self, context):
        settings = context.scene.sora
        known = next((one for one in lines.installed(settings.family_name) if one.name == self.lora), None)
        lines.add(settings, "loras", lora=self.lora, strength=known.strength if known else 1.0)
        return {"FINISHED"}


class OpenLora(bpy.types.Operator):
    """Choose a LoRA's file"""

    bl_idname, bl_label, bl_options = "sora.open_lora", "Open LoRA", {"REGISTER", "UNDO"}
    filepath: StringProperty(name="LoRA", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.safetensors", options={"HIDDEN"})

    def invoke(self, context, _event):
        return _browse(self, context)

    def execute(self, context):
        lines.add(context.scene.sora, "loras", lora=self.filepath)
        return {"FINISHED"}


class SayTriggers(bpy.types.Operator):
    """Write the words that call this LoRA up at the beginning of the prompt"""

    bl_idname, bl_label, bl_options = "sora.say_triggers", "Add to Prompt", {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        row = lines.chosen(context.scene.sora, "loras")
        cls.poll_message_set("A text is linked as the prompt; write them there" if context.scene.sora.prompt_text else "No trigger words are known")
        return row is not None and bool(row.triggers) and context.scene.sora.prompt_text is None

    def execute(self, context):
        settings = context.scene.sora
        words = lines.chosen(settings, "loras").triggers
        settings.prompt = f"{words}, {settings.prompt}" if settings.prompt else words
        return {"FINISHED"}


class RemoveLine(bpy.types.Operator):
    """Take the chosen line out of the list; its file stays"""

    bl_idname, bl_label, bl_options = "sora.remove_line", "Remove", {"REGISTER", "UNDO"}
    kind: EnumProperty(name="List", items=KINDS, options={"SKIP_SAVE"})

    def execute(self, context):
        if lines.chosen(context.scene.sora, self.kind) is None:
            self.report({"WARNING"}, "No line is chosen")
            return {"CANCELLED"}
        lines.remove(context.scene.sora, self.kind)
        return {"FINISHED"}


class SORA_MT_loras(bpy.types.Menu):
    """LoRAs that can be put on: those of the models folder, or a file."""

    bl_label = "Add LoRA"

    def draw(self, context):
        for one in lines.installed(context.scene.sora.family_name):
            self.layout.operator("sora.add_lora", text=one.label).lora = one.name
        self.layout.separator()
        self.layout.operator("sora.open_lora", text="From File…", icon="FILE_FOLDER")
        self.layout.operator("sora.add_lora", text="By Name", icon="FONT_DATA").lora = ""


CLASSES = (AddStill, AddReferences, AddLora, OpenLora, SayTriggers, RemoveLine, SORA_MT_loras)
