"""Ways of writing the prompt: from the scene, in a wide window, in the Text Editor."""
from __future__ import annotations

import bpy

from .. import shot
from .refusals import refusing

WIDTH = 720                 # pixels of the dialog at interface scale 1
TEXT_NAME = "Sora Prompt"


class FromScene(bpy.types.Operator):
    """Describe what the scene shows: objects, materials, lens, camera move and light"""

    bl_idname, bl_label, bl_options = "sora.from_scene", "From Scene", {"REGISTER", "UNDO"}

    @refusing
    def execute(self, context):
        from .. import caption
        settings = context.scene.sora
        words = caption.of(context.scene, *shot.asked_range(context.scene))
        if not words:
            self.report({"WARNING"}, "The scene has nothing to say yet: add objects first")
            return {"CANCELLED"}
        settings.prompt_text, settings.prompt = None, words
        return {"FINISHED"}


class WritePrompt(bpy.types.Operator):
    """Write the prompt in a wide window"""

    bl_idname, bl_label = "sora.write_prompt", "Write Prompt"

    def invoke(self, context, _event):
        return context.window_manager.invoke_props_dialog(self, width=WIDTH, title="Prompt", confirm_text="Done")

    def draw(self, context):
        from ..panels.prompt import draw_dialog
        draw_dialog(self.layout, context)

    def execute(self, _context):
        return {"FINISHED"}


class EditPrompt(bpy.types.Operator):
    """Write the prompt as a text, over many lines, in the Text Editor; it is read when you press Generate"""

    bl_idname, bl_label, bl_options = "sora.edit_prompt", "Edit in Text Editor", {"REGISTER", "UNDO"}

    def execute(self, context):
        settings = context.scene.sora
        if settings.prompt_text is None:
            settings.prompt_text = bpy.data.texts.new(TEXT_NAME)
            settings.prompt_text.write(settings.prompt)
        show_text(context, settings.prompt_text)
        return {"FINISHED"}


class UnlinkPrompt(bpy.types.Operator):
    """Put the text back into the prompt's own field; the text itself stays in the file"""

    bl_idname, bl_label, bl_options = "sora.unlink_prompt", "Use the Field", {"REGISTER", "UNDO"}

    def execute(self, context):
        settings = context.scene.sora
        settings.prompt, settings.prompt_text = shot.spoken(settings), None
        return {"FINISHED"}


def show_text(context, text) -> None:
    """Opens the text in a Text Editor of this screen, otherwise in a window of its own; nothing in background."""
    areas = [area for area in context.screen.areas if area.type == "TEXT_EDITOR"] if context.screen else []
    if not areas and not bpy.app.background:
        bpy.ops.wm.window_new()
        areas = [context.window_manager.windows[-1].screen.areas[0]]
        areas[0].type = "TEXT_EDITOR"
    for area in areas[:1]:
        area.spaces.active.text, area.spaces.active.show_word_wrap = text, True


CLASSES = (FromScene, WritePrompt, EditPrompt, UnlinkPrompt)
