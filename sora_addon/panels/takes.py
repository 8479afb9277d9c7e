"""The list of takes, and what can be done with the chosen one."""
from __future__ import annotations

import bpy

from .. import takes
from .spaces import Sidebar, write_wrapped

PICTURE_SCALE = 6.0         # of the chosen take's picture, in lines


class SORA_UL_takes(bpy.types.UIList):
    """Takes, newest first; the search looks into prompts, too."""

    def draw_item(self, _context, layout, _session, row, _icon, _active, _property, _index=0, _flag=0):
        line = layout.row(align=True)
        picture = takes.picture(row.name)
        if row.broken:
            line.label(text=row.title, icon="ERROR")
        elif picture:
            line.label(text=row.title, icon_value=picture)
        else:
            line.label(text=row.title, icon="IMAGE_PLANE")
        seed = line.row(align=True)
        seed.active, seed.alignment = False, "RIGHT"
        seed.label(text=row.seed)
        star = line.row(align=True)
        star.emboss = "NONE"
        star.operator("sora.star", text="", icon="SOLO_ON" if row.starred else "SOLO_OFF").take = row.name

    def filter_items(self, _context, session, name):
        words, rows = self.filter_name.casefold().split(), getattr(session, name)
        shown = [self.bitflag_filter_item if matches(row, words) else 0 for row in rows]
        return shown, []


def matches(row, words: list[str]) -> bool:
    """Whether every word is in the take's title, prompt or id."""
    text = f"{row.title} {row.prompt} {row.name}".casefold()
    return all(word in text for word in words)


class Takes(Sidebar):
    """Everything that was printed into this folder."""

    key, bl_label = "takes", "Takes"

    def draw_header_preset(self, _context):
        self.layout.emboss = "NONE"
        self.layout.operator("sora.refresh", text="", icon="FILE_REFRESH")

    def draw(self, context):
        layout, session = self.layout, context.window_manager.sora
        if not session.takes:
            write_wrapped(layout, context, "No takes yet. They are listed here once they are printed.")
            return
        layout.template_list("SORA_UL_takes", "", session, "takes", session, "take_index", rows=4)
        row = takes.chosen(context)
        if row:
            _draw_chosen(layout, context, row)


def _draw_chosen(layout, context, row) -> None:
    if takes.picture(row.name):
        layout.template_icon(takes.picture(row.name), scale=PICTURE_SCALE)
    if row.broken:
        write_wrapped(layout, context, row.broken, icon="ERROR")
    buttons = layout.column(align=True)
    buttons.operator_menu_enum("sora.land", "place", text="Land", icon="IMPORT")
    again = buttons.row(align=True)
    again.operator("sora.shoot_again", icon="FILE_REFRESH").vary = False
    again.operator("sora.shoot_again", text="Vary", icon="RNDCURVE").vary = True
    buttons.operator_menu_enum("sora.develop", "format", text="Develop As", icon="IMAGE_RGB")
    onward = buttons.row(align=True)
    onward.operator("sora.remix", icon="SHADERFX")
    onward.operator("sora.extend", icon="TRACKING_FORWARDS_SINGLE")
    joining = buttons.row(align=True)
    joining.operator("sora.loop", icon="LOOP_FORWARDS")
    joining.operator_menu_enum("sora.blend", "take", text="Blend Into", icon="ARROW_LEFTRIGHT")
    buttons.operator("sora.restore_settings", icon="LOOP_BACK")
    files = layout.row(align=True)
    files.operator("sora.reveal", icon="FILE_FOLDER").folder = row.folder
    files.operator("sora.delete_take", text="Delete", icon="TRASH")


class TakeFacts(Sidebar):
    """How the chosen take was made."""

    key, inside, bl_label, bl_options = "facts", "takes", "Details", {"DEFAULT_CLOSED"}

    @classmethod
    def wanted(cls, context):
        row = takes.chosen(context)
        return row is not None and bool(row.facts)

    def draw(self, context):
        row = takes.chosen(context)
        for text in (row.prompt, row.facts, *row.notes.splitlines()):
            write_wrapped(self.layout, context, text)


PANELS = (Takes, TakeFacts)
LISTS = (SORA_UL_takes,)
