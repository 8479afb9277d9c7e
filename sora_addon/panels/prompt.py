"""The wide dialog in which a prompt is written."""
from __future__ import annotations

import textwrap

from .. import shot

LETTERS = 104           # of a line in the dialog


def draw_dialog(layout, context) -> None:
    """Both fields over the whole width, and below them the prompt as it will be read."""
    settings = context.scene.sora
    layout.label(text="What the clip shows")
    field = layout.row()
    field.scale_y = 1.3
    field.activate_init = True
    if settings.prompt_text:
        field.prop(settings, "prompt_text", text="")
    else:
        field.prop(settings, "prompt", text="", placeholder="A stone arch in a narrow street at dusk, wet cobbles, the camera glides forward")
    layout.label(text="What it avoids")
    layout.prop(settings, "negative", text="", placeholder="blurry, text, people")
    lines = textwrap.wrap(shot.spoken(settings), LETTERS)
    if len(lines) > 1:
        column = layout.column(align=True)
        column.active = False
        for line in lines:
            column.label(text=line)
