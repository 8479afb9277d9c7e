"""What belongs to the machine and not to a file: folders and the engine. Drawn by Blender's Preferences."""
from __future__ import annotations

from types import SimpleNamespace

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

ROOT = __package__.rpartition(".")[0]
DEFAULTS = {
    "takes_place": "BESIDE", "takes_folder": "~/Sora/takes", "models_folder": "",
    "engine_folder": "~/Sora/engine", "engine_python": "", "backend": "AUTO", "free_for_render": True,
}


def _look_again(_self, _context) -> None:
    from . import takes
    takes.look_again()


def _stock_again(_self, _context) -> None:
    from . import stock
    stock.elsewhere()


class SoraPreferences(bpy.types.AddonPreferences):
    """The extension's page in the preferences."""

    bl_idname = ROOT

    takes_place: EnumProperty(name="Takes Go", update=_look_again, default=DEFAULTS["takes_place"], items=(
        ("BESIDE", "Beside the .blend", "Into the folder “sora” beside the saved file; for an unsaved file, into the folder below"),
        ("FOLDER", "Into One Folder", "Always into the folder below")))
    takes_folder: StringProperty(
        name="Takes", subtype="DIR_PATH", update=_look_again, default=DEFAULTS["takes_folder"],
        description="Folder of the takes of files that are not saved")
    models_folder: StringProperty(
        name="Models", subtype="DIR_PATH", update=_stock_again, default=DEFAULTS["models_folder"],
        description="Folder of models that are not part of the extension. Empty: the engine's own, which its command line uses, too")
    engine_folder: StringProperty(
        name="Engine", subtype="DIR_PATH", default=DEFAULTS["engine_folder"],
        description="Where the engine's own Python and its packages are kept; outlives updates of the extension")
    engine_python: StringProperty(
        name="Use This Python", subtype="FILE_PATH", default=DEFAULTS["engine_python"],
        description="A Python that already has the engine's packages, used in place of the installed one. Empty: the installed one")
    backend: EnumProperty(name="Device", default=DEFAULTS["backend"], description="What the engine is installed for", items=(
        ("AUTO", "Automatic", "The best that this machine has"),
        ("CPU", "CPU", "Runs anywhere"),
        ("CUDA", "NVIDIA (CUDA)", "NVIDIA graphics cards"),
        ("ROCM", "AMD (ROCm)", "AMD graphics cards, on Linux"),
        ("MPS", "Apple (Metal)", "Macs with Apple silicon")))

    free_for_render: BoolProperty(
        name="Free Memory While Blender Renders", default=DEFAULTS["free_for_render"],
        description="When Blender begins to render, the engine gives back the memory that its model holds; the next shot loads it again")

    def draw(self, context):
        from .panels import preferences
        preferences.draw(self.layout, context, self)


def of(context):
    """The extension's preferences; their defaults where a script registered it without enabling it."""
    addon = context.preferences.addons.get(ROOT)
    return addon.preferences if addon and addon.preferences else SimpleNamespace(**DEFAULTS)


def register():
    bpy.utils.register_class(SoraPreferences)


def unregister():
    bpy.utils.unregister_class(SoraPreferences)
