"""Models as the artist handles them: get, stop, verify, import, remove."""
from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, StringProperty

from ...engine.errors import ModelError, Remedy, SoraError
from .. import families, pump, stock
from .refusals import forget, refuse, refusing

WIDTH = 480                 # pixels of the dialog at interface scale 1
_families: list = []        # Blender keeps no reference to the strings of dynamic items


class GetModel(bpy.types.Operator):
    """Download this model, or go on with it, once its licence is accepted. Nothing is downloaded before"""

    bl_idname, bl_label = "sora.get_model", "Get Model"
    model: StringProperty(name="Model", options={"SKIP_SAVE"})
    accept: BoolProperty(name="I have read the licence and accept it", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, _context):
        return idle(cls)

    def invoke(self, context, _event):
        try:
            plan = stock.plans.get(self.model)
            if plan is None or stock.listing is None:
                stock.ask(self.model)       # the dialog opens with the hub's answer
                return {"FINISHED"}
            self.accept = plan.licence in named(self.model).accepted
        except SoraError as error:
            return refuse(self, context, error)
        return context.window_manager.invoke_props_dialog(self, width=WIDTH, title="Get Model", confirm_text="Get")

    def draw(self, _context):
        from ..panels.models import draw_licence
        draw_licence(self.layout, named(self.model), stock.plans.get(self.model), self)

    @refusing
    def execute(self, context):
        stock.get(self.model, accepted(self.model, self.accept))
        forget(context)
        return {"FINISHED"}


class StopModels(bpy.types.Operator):
    """Stop; what was downloaded stays, and Resume goes on from there"""

    bl_idname, bl_label = "sora.stop_models", "Stop"

    @classmethod
    def poll(cls, _context):
        cls.poll_message_set("Nothing is being done to a model")
        return stock.errand is not None

    def execute(self, _context):
        stock.stop()
        return {"FINISHED"}


class VerifyModel(bpy.types.Operator):
    """Read every byte of the model and compare it with what was promised"""

    bl_idname, bl_label = "sora.verify_model", "Verify Model"
    model: StringProperty(name="Model", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, _context):
        return idle(cls)

    @refusing
    def execute(self, context):
        stock.verify(self.model)
        return {"FINISHED"}


def _family_items(_self, _context):
    fresh = [("FOUND", "Find Out", "From the files themselves"), *((spec.name, spec.label, spec.note) for spec in families.specs())]
    if _families != fresh:
        _families[:] = fresh
    return _families


class ImportModel(bpy.types.Operator):
    """Take in a model that is on this machine: a diffusers folder, a folder that Blockout was trained further into, a safetensors or a GGUF file"""

    bl_idname, bl_label = "sora.import_model", "Import"
    filepath: StringProperty(name="Folder or File", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.safetensors;*.gguf", options={"HIDDEN"})
    family: EnumProperty(name="Family", description="Whose it is", items=_family_items)
    called: StringProperty(name="Name", description="What it will be called. Empty: as the file or folder is", options={"SKIP_SAVE"})
    base: StringProperty(name="Rest From", options={"SKIP_SAVE"}, description="For a transformer in one file: the model here that has the text encoder and "
                         "the autoencoder. Empty: the first one that fits")
    second: BoolProperty(name="Second Expert", options={"SKIP_SAVE"}, description="For a transformer in one file: it is the one for little noise (Wan 2.2 A14B)")
    link: BoolProperty(name="Leave Where It Is", description="Remember the place instead of copying the files")
    lora: BoolProperty(name="LoRA", description="The file is a LoRA")
    triggers: StringProperty(name="Trigger Words", description="Words that call the LoRA up, with commas between", options={"SKIP_SAVE"})
    strength: FloatProperty(name="Strength", description="How strongly the LoRA is meant to be used", default=1.0, min=-4.0, max=4.0)

    @classmethod
    def poll(cls, _context):
        return idle(cls)

    def invoke(self, context, _event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    @refusing
    def execute(self, context):
        stock.bring(bpy.path.abspath(self.filepath), *self._options())
        return {"FINISHED"}

    def _options(self) -> list[str]:
        given = [*(("--family", self.family) if self.family != "FOUND" else ()), *(("--name", self.called) if self.called else ())]
        if self.lora:
            words = [word.strip() for word in self.triggers.split(",") if word.strip()]
            given += ["--lora", f"--strength={self.strength:g}", *(f"--trigger={word}" for word in words)]
        given += [*(("--base", self.base) if self.base else ()), *(("--component", "transformer_2") if self.second else ())]
        return [*given, *(("--link",) if self.link else ())]


class RemoveModel(bpy.types.Operator):
    """Move the model to the trash of the models folder, or delete what a download left of it. Files that were left where they are stay there"""

    bl_idname, bl_label = "sora.remove_model", "Remove Model"
    model: StringProperty(name="Model", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, _context):
        if pump.slate.rolling:
            cls.poll_message_set("A shot is rolling")
            return False
        return idle(cls)

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(
            self, event, title="Remove Model", icon="WARNING", confirm_text="Remove",
            message=f"What is here of “{self.model}” goes away: whole models to the trash of the models folder.")

    @refusing
    def execute(self, context):
        stock.remove(self.model)
        return {"FINISHED"}


class EmptyModelsTrash(bpy.types.Operator):
    """Delete the models that were removed, so that the disk has their space again"""

    bl_idname, bl_label = "sora.empty_models_trash", "Empty Trash"

    @classmethod
    def poll(cls, _context):
        return idle(cls)

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(
            self, event, title="Empty Trash", icon="WARNING", confirm_text="Delete", message="Models in the trash of the models folder are deleted for good.")

    @refusing
    def execute(self, context):
        stock.empty_trash()
        return {"FINISHED"}


class ListModels(bpy.types.Operator):
    """Read the models folder again"""

    bl_idname, bl_label = "sora.list_models", "List Models"

    @refusing
    def execute(self, context):
        stock.refresh()
        return {"FINISHED"}


def idle(operator) -> bool:
    """Whether nothing else is being done to a model; says why not."""
    operator.poll_message_set("Another model is being worked on")
    return stock.errand is None


def named(name: str):
    """The model called `name`. Raises ModelError."""
    model = stock.listing.named(name) if stock.listing else None
    if model is None:
        raise ModelError(f"There is no model called “{name}” in the list.")
    return model


def accepted(name: str, accept: bool) -> str:
    """The short name of the licence that was accepted, now or before. Raises ModelError."""
    model, plan = named(name), stock.plans.get(name)
    licence = plan.licence if plan else model.licence.id
    if accept or licence in model.accepted:
        return licence
    raise ModelError(f"The licence of {model.label}, {model.licence.label}, is not accepted yet.",
                     Remedy(action="get_model", label="Read the Licence", value=name))


CLASSES = (GetModel, StopModels, VerifyModel, ImportModel, RemoveModel, EmptyModelsTrash, ListModels)
