"""What steers the clip beside the words: guides, stills, a clip to begin from, pictures of the subject, LoRAs.

Each panel stands where the family's spec says that it takes such a thing.
"""
from __future__ import annotations

from pathlib import Path

import bpy

from ...engine.protocol import GUIDE_KINDS
from .. import beside, compat, families, lines, stock, strengths
from .spaces import Sidebar, write_wrapped


OF_OBJECTS = (("mask", "Mask of"), ("layout", "Boxes around"))         # guides that are of some objects only


# ---------------------------------------------------------------- guides
class Guides(Sidebar):
    """What of the scene steers the clip."""

    key, inside, bl_label, bl_options = "guides", "shot", "Guides", {"DEFAULT_CLOSED"}

    def draw_header(self, context):
        self.layout.prop(context.scene.sora, "use_guides", text="")

    def draw(self, context):
        layout, settings, spec = self.rows(), context.scene.sora, families.chosen(context)
        layout.active = settings.use_guides
        taken = spec.guides if spec else ()
        for kind in GUIDE_KINDS:
            if kind in taken:
                _draw_guide(layout, settings, kind, spec.spans)
        for kind, of in OF_OBJECTS:
            if kind in taken:
                row = layout.row()
                row.active = getattr(settings, f"guide_{kind}")
                row.prop(settings, f"{kind}_collection", text=of, placeholder="Selection")
        if any(kind in strengths.KINDS for kind in taken):
            _draw_moving(layout, context, spec)
        _draw_not_taken(layout, context, settings, spec, [kind for kind in GUIDE_KINDS if kind not in taken])


def _draw_guide(layout, settings, kind: str, moves: bool) -> None:
    """A guide's name, its box, beside it how strictly it is kept to, and a diamond for a keyframe where that may change."""
    on = f"guide_{kind}"
    row = layout.column(heading=settings.bl_rna.properties[on].name).row(align=True)
    row.prop(settings, on, text="")
    strength = row.row(align=True)
    strength.active = getattr(settings, on)
    if kind not in strengths.KINDS:
        strength.label(text="")
        return
    strength.prop(settings, strengths.field(kind), text="")
    if moves:
        row.prop_decorator(settings, strengths.field(kind))


def _draw_moving(layout, context, spec) -> None:
    """What becomes of strengths that are keyframed."""
    moving = any(strengths.animated(context.scene, kind) for kind in spec.guides)
    if moving and not spec.spans:
        write_wrapped(layout, context, f"{spec.label} keeps one strength throughout: keyframed ones count as at the shot's first frame.", icon="INFO")
    elif spec.spans:
        write_wrapped(layout, context, "Strengths follow their keyframes, frame by frame." if moving else "Keyframe a strength to limit it to some frames.")


def _draw_not_taken(layout, context, settings, spec, kinds) -> None:
    if not kinds or spec is None:
        return
    column = layout.column(heading="Not Taken")
    column.enabled = False
    for kind in kinds:
        column.prop(settings, f"guide_{kind}")
    write_wrapped(layout, context, f"{spec.label} does not take these.")


# ---------------------------------------------------------------- stills
class Keyframes(Sidebar):
    """Stills that the clip must show."""

    key, inside, bl_label, bl_options = "keyframes", "shot", "Keyframes", {"DEFAULT_CLOSED"}
    takes = "keyframes"

    def draw_header(self, context):
        self.layout.prop(context.scene.sora, "use_keyframes", text="")

    def draw(self, context):
        layout, settings = self.rows(), context.scene.sora
        layout.active = settings.use_keyframes
        layout.prop(settings, "first_image")
        layout.prop(settings, "last_image")
        row = _draw_list(layout, settings, "stills", "sora.add_still")
        if row:
            layout.prop(row, "frame")
            layout.prop(row, "image")


class SORA_UL_stills(bpy.types.UIList):
    """Stills: their frame and their file."""

    def draw_item(self, _context, layout, _settings, row, _icon, _active, _property, _index=0, _flag=0):
        line = layout.split(factor=0.25)
        line.prop(row, "frame", text="", emboss=False)
        _draw_file(line.row(align=True), row)


# ---------------------------------------------------------------- the source clip
class Source(Sidebar):
    """A clip that the new one begins from."""

    key, inside, bl_label, bl_options = "source", "shot", "Source Clip", {"DEFAULT_CLOSED"}
    takes = "source"

    def draw(self, context):
        layout, settings = self.rows(), context.scene.sora
        layout.prop(settings, "source_from")
        if settings.source_from == "NONE":
            return
        if settings.source_from == "TAKE":
            layout.prop_search(settings, "source_take", context.window_manager.sora, "takes", text="Take")
        elif settings.source_from == "FOLDER":
            layout.prop(settings, "source_folder")
        else:
            _draw_strip(layout, context)
        if families.chosen(context).changes:
            layout.prop(settings, "source_change")


def _draw_strip(layout, context) -> None:
    """The strip that would be read now, or why none can be."""
    sequenced = compat.edited_scene(context, context.scene)
    strip = sequenced.sequence_editor.active_strip if sequenced.sequence_editor else None
    trouble = beside.unreadable(strip)
    write_wrapped(layout, context, trouble or f"{strip.name}, channel {strip.channel}", icon="ERROR" if trouble else "SEQ_SEQUENCER")


# ---------------------------------------------------------------- pictures of the subject
class References(Sidebar):
    """Pictures of what the clip shows."""

    key, inside, bl_label, bl_options = "references", "shot", "Subject", {"DEFAULT_CLOSED"}
    takes = "references"

    def draw(self, context):
        layout, settings, spec = self.rows(), context.scene.sora, families.chosen(context)
        row = _draw_list(layout, settings, "references", "sora.add_references")
        if row:
            layout.prop(row, "image")
        write_wrapped(layout, context, f"Up to {spec.references} picture{'s' if spec.references > 1 else ''}")


class SORA_UL_references(bpy.types.UIList):
    """Pictures of the subject by their files."""

    def draw_item(self, _context, layout, _settings, row, _icon, _active, _property, _index=0, _flag=0):
        _draw_file(layout.row(align=True), row)


# ---------------------------------------------------------------- LoRAs
class Loras(Sidebar):
    """Small additions to the model."""

    key, inside, bl_label, bl_options = "loras", "shot", "LoRAs", {"DEFAULT_CLOSED"}
    takes = "loras"

    def draw(self, context):
        layout, settings = self.rows(), context.scene.sora
        row = _draw_list(layout, settings, "loras", "SORA_MT_loras")
        if row is None:
            return
        layout.prop(row, "lora")
        layout.prop(row, "strength")
        if stock.two_experts(families.chosen(context), settings.model_name):
            layout.prop(row, "expert")
        if row.triggers:
            write_wrapped(layout, context, f"Trigger words: {row.triggers}")
            layout.operator("sora.say_triggers", icon="ADD")


class SORA_UL_loras(bpy.types.UIList):
    """LoRAs and their strengths."""

    def draw_item(self, context, layout, settings, row, _icon, _active, _property, _index=0, _flag=0):
        line = layout.split(factor=0.6)
        called = (Path(row.lora).stem if beside.is_file(row.lora) else row.lora) or "Not chosen"
        alone = stock.two_experts(families.chosen(context), settings.model_name) and row.expert != "both"
        line.label(text=f"{called}, {row.bl_rna.properties['expert'].enum_items[row.expert].name.lower()}" if alone else called)
        worn = line.row(align=True)
        worn.prop(row, "strength", text="", emboss=False)
        worn.prop(row, "on", text="")


# ---------------------------------------------------------------- lists
def _draw_list(layout, settings, name: str, add: str):
    """A list with its buttons on the right, as Blender's own; the chosen line, or None. `add` is an operator or a menu."""
    row = layout.row()
    row.template_list(f"SORA_UL_{name}", "", settings, name, settings, f"{name}_index", rows=2, maxrows=6)
    buttons = row.column(align=True)
    if "_MT_" in add:
        buttons.menu(add, text="", icon="ADD")
    else:
        buttons.operator(add, text="", icon="ADD")
    if getattr(settings, name):
        buttons.operator("sora.remove_line", text="", icon="REMOVE").kind = name
    return lines.chosen(settings, name)


def _draw_file(line, row) -> None:
    line.label(text=Path(row.image.replace("\\", "/")).name or "No picture", icon="IMAGE_DATA")
    line.prop(row, "on", text="")


PANELS = (Guides, Keyframes, Source, References, Loras)
LISTS = (SORA_UL_stills, SORA_UL_references, SORA_UL_loras)
