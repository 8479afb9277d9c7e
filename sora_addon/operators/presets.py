"""Presets of the shot's settings, kept by Blender like those of its own panels. The prompt and the frames are not part of them."""
from __future__ import annotations

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

from ...engine.protocol import GUIDE_KINDS, LANDINGS
from .. import strengths

FOLDER = "sora"
KEPT = ("negative", "family_name", "model_name", "preset_name", "size_source", "size_width", "size_height", "steps", "guidance", "split_guidance", "guidance_low",
        "format", "plan",
        "use_guides", *(f"guide_{kind}" for kind in GUIDE_KINDS), *map(strengths.field, strengths.KINDS), "source_change",
        *(f"land_{name}" for name in LANDINGS), "strip_channel", "film", "backdrop_distance")


class AddPreset(AddPresetBase, bpy.types.Operator):
    """Keep these settings as a preset, or forget the chosen one"""

    bl_idname, bl_label = "sora.preset_add", "Add Shot Preset"
    preset_menu = "SORA_PT_presets"
    preset_subdir = FOLDER
    preset_defines = ["settings = bpy.context.scene.sora"]
    preset_values = [f"settings.{name}" for name in KEPT]


class SORA_PT_presets(PresetPanel, bpy.types.Panel):
    """The list that opens from the header of the shot's panel."""

    bl_label = "Shot Presets"
    preset_subdir = FOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = "sora.preset_add"


CLASSES = (AddPreset, SORA_PT_presets)
