"""Where Sora's panels stand: the sidebars of the 3D View, the Sequencer and the Compositor, under one tab."""
from __future__ import annotations

import textwrap

import bpy

from .. import families

TAB = "Sora"
SPACES = (("view3d", "VIEW_3D"), ("sequencer", "SEQUENCE_EDITOR"), ("compositor", "NODE_EDITOR"))
LETTER = 6.6            # mean width of a letter of Blender's interface font at scale 1, in pixels
NARROWEST = 28          # letters; a sidebar that is narrower cuts labels anyway


class Sidebar:
    """A panel before it stands anywhere. `key` names it; `inside` is the key of the panel that it is part of.

    `takes` is a field of the family's spec without which there is nothing to draw.
    """

    key = inside = takes = ""
    bl_options: set[str] = set()

    @classmethod
    def poll(cls, context):
        return _edits_the_compositor(context) and cls.wanted(context)

    @classmethod
    def wanted(cls, context) -> bool:
        """Whether there is something to draw."""
        return not cls.takes or bool(getattr(families.chosen(context), cls.takes, False))

    def rows(self):
        """The layout in the shape of Blender's own property editors: names on the left, nothing to animate."""
        self.layout.use_property_split = True
        self.layout.use_property_decorate = False
        return self.layout


def _edits_the_compositor(context) -> bool:
    space = context.space_data
    return space is None or space.type != "NODE_EDITOR" or space.tree_type == "CompositorNodeTree"


def everywhere(panel: type[Sidebar]) -> tuple[type, ...]:
    """The panel as one Blender class for each space."""
    return tuple(_standing(panel, name, space_type) for name, space_type in SPACES)


def _standing(panel: type[Sidebar], name: str, space_type: str) -> type:
    facts = {
        "bl_idname": f"SORA_PT_{name}_{panel.key}", "bl_label": panel.bl_label, "bl_space_type": space_type, "bl_region_type": "UI",
        "bl_category": TAB, "bl_options": panel.bl_options, "__doc__": panel.__doc__, "__module__": panel.__module__,
    }
    if panel.inside:
        facts["bl_parent_id"] = f"SORA_PT_{name}_{panel.inside}"
    return type(facts["bl_idname"], (panel, bpy.types.Panel), facts)


def write_wrapped(layout, context, text: str, icon: str = "NONE") -> None:
    """A sentence over as many lines as the sidebar's width asks for."""
    scale = context.preferences.system.ui_scale or 1.0           # 0 without a window
    width = context.region.width if context.region else 0
    letters = max(NARROWEST, int((width / scale - 45) / LETTER))
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, letters) or [""]):
        column.label(text=line, icon=icon if number == 0 else ("BLANK1" if icon != "NONE" else "NONE"))
