"""The shot: what is asked for, from the words to where it lands, and the button that shoots it."""
from __future__ import annotations

from ...engine.errors import SoraError
from .. import defaults, families, shot, stock
from . import models, progress, steering
from .spaces import Sidebar, write_wrapped

SHORT_PROMPT = 30           # letters that the field shows in a sidebar of the usual width


class Shot(Sidebar):
    """Words, model, Generate."""

    key, bl_label = "shot", "Shot"

    def draw_header_preset(self, _context):
        self.layout.emboss = "NONE"
        self.layout.popover(panel="SORA_PT_presets", icon="PRESET", text="")

    def draw(self, context):
        layout, settings, spec = self.layout, context.scene.sora, families.chosen(context)
        _draw_prompt(layout, context, settings)
        column = self.rows().column()
        if spec is None or spec.negative:
            column.prop(settings, "negative", placeholder="What to avoid")
        column.prop(settings, "family")
        if spec is None:
            write_wrapped(layout, context, f"This engine has no family called “{settings.family_name}”.", icon="ERROR")
            return
        if len(spec.models) > 1 or stock.imported(spec.name):
            column.prop(settings, "model")
            models.draw_chosen(layout, context, spec)
        progress.draw_setup(layout, context)
        models.draw_missing(layout, context, spec)
        progress.draw_generate(layout, context, spec)
        models.draw_needs(layout, context, spec)
        progress.draw_trouble(layout, context)
        progress.draw_rolling(layout, context)


def _draw_prompt(layout, context, settings) -> None:
    """A roomy field with its ways of editing; a linked text shows what will be read."""
    if settings.prompt_text:
        row = layout.row(align=True)
        row.prop(settings, "prompt_text", text="")
        row.operator("sora.edit_prompt", text="", icon="WINDOW")
        row.operator("sora.unlink_prompt", text="", icon="X")
        write_wrapped(layout, context, shot.spoken(settings) or "The text is empty.")
        return
    field = layout.column(align=True)
    words = field.row(align=True)
    words.scale_y = 1.5
    words.prop(settings, "prompt", text="", placeholder="Describe the clip")
    tools = field.row(align=True)
    tools.operator("sora.from_scene", icon="SCENE_DATA")
    tools.operator("sora.write_prompt", text="", icon="GREASEPENCIL")
    tools.operator("sora.edit_prompt", text="", icon="TEXT")
    if len(settings.prompt) > SHORT_PROMPT:
        whole = layout.column()
        whole.active = False
        write_wrapped(whole, context, shot.spoken(settings))


class FramesAndSize(Sidebar):
    """Which frames and how large."""

    key, inside, bl_label = "frames", "shot", "Frames and Size"

    def draw(self, context):
        layout, scene, spec = self.rows(), context.scene, families.chosen(context)
        settings = scene.sora
        layout.prop(settings, "frame_source")
        if settings.frame_source == "CUSTOM":
            column = layout.column(align=True)
            column.prop(settings, "frame_start")
            column.prop(settings, "frame_end", text="End")
        layout.prop(settings, "size_source")
        if settings.size_source == "CUSTOM":
            column = layout.column(align=True)
            column.prop(settings, "size_width")
            column.prop(settings, "size_height", text="Height")
        if spec:
            _draw_outcome(layout, context, spec)


def _draw_outcome(layout, context, spec) -> None:
    """What the settings come to: frames, seconds and size, and what the model itself draws."""
    scene = context.scene
    try:
        (start, count), size = shot.frame_range(scene, spec), shot.delivered(scene, spec)
    except SoraError as error:
        write_wrapped(layout, context, error.sentence, icon="ERROR")
        progress.draw_remedy(layout, error.remedy)
        return
    fps = scene.render.fps / scene.render.fps_base
    made, rate = families.made(spec, stock.meant(spec, scene.sora.model_name), count, fps, shot.told(scene.sora, spec))
    native = families.native_size(spec, size, shot.two_stages(scene.sora, spec))
    write_wrapped(layout, context, f"{start} to {start + count - 1}: {count} frames, {count / fps:.1f} s at {fps:g} fps")
    if rate:
        write_wrapped(layout, context, f"Made as {made} frames at the model's {rate:g} fps; those between follow the motion")
    elif made != count:
        write_wrapped(layout, context, f"Made as {made} frames, then trimmed")
    if spec.audio:
        write_wrapped(layout, context, "With sound")
    write_wrapped(layout, context, f"{size}" + (f", up-scaled from about {native}" if native != size else ""))


class Seed(Sidebar):
    """What makes one take differ from the next."""

    key, inside, bl_label, bl_options = "seed", "shot", "Seed and Quality", {"DEFAULT_CLOSED"}

    def draw(self, context):
        layout, settings, spec = self.rows(), context.scene.sora, families.chosen(context)
        row = layout.row(align=True)
        row.prop(settings, "seed")
        row.prop(settings, "lock_seed", text="", icon="LOCKED" if settings.lock_seed else "UNLOCKED")
        if spec and families.presets(spec, settings.model_name):
            layout.prop(settings, "preset")
            models.draw_missing_loras(layout, context, families.preset(spec, settings.model_name, settings.preset_name))
        layout.prop(settings, "steps")
        layout.prop(settings, "guidance")
        if spec and stock.two_experts(spec, settings.model_name):
            layout.prop(settings, "split_guidance")
            if settings.split_guidance:
                layout.prop(settings, "guidance_low")
        own = defaults.note(settings, spec) if spec else ""
        if own:
            write_wrapped(layout, context, own)
        if spec and spec.limits and shot.is_guided(settings, spec):
            layout.prop(settings, "limit_guidance")
            if settings.limit_guidance:
                column = layout.column(align=True)
                column.prop(settings, "guided_from")
                column.prop(settings, "guided_until")
        if spec and spec.drafts:
            layout.prop(settings, "draft")
            if settings.draft and spec.magnitudes:
                layout.prop(settings, "draft_by")
        if spec and spec.compiles:
            layout.prop(settings, "compiled")
        if spec and spec.refines:
            layout.prop(settings, "refine_strength")
            if settings.refine_strength:
                layout.prop(settings, "refine_prompt")
        if spec and spec.second:
            layout.prop(settings, "two_stages")
        row = layout.row()
        row.active = spec is not None and spec.plans
        row.prop(settings, "plan")
        layout.prop(settings, "format")


class Landing(Sidebar):
    """Where the take goes when it is there."""

    key, inside, bl_label, bl_options = "landing", "shot", "Landing", {"DEFAULT_CLOSED"}

    def draw(self, context):
        layout, settings = self.rows(), context.scene.sora
        column = layout.column(heading="Land As")
        for name in ("strip", "compositor", "camera", "backdrop"):
            column.prop(settings, f"land_{name}")
        options = layout.column(align=True)
        row = options.row()
        row.active = settings.land_strip
        row.prop(settings, "strip_channel", text="Strip Channel")
        row = options.row()
        row.active = settings.land_compositor
        row.prop(settings, "film")
        row = options.row()
        row.active = settings.land_backdrop
        row.prop(settings, "backdrop_distance", text="Backdrop Distance")


PANELS = (Shot, FramesAndSize, *steering.PANELS, Seed, Landing)
