"""The remedy button: one branch for each of errors.ACTIONS."""
from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ...engine.errors import SoraError
from ...engine.protocol import Size
from .. import families, lines, places, preferences, pump, stock, viewpoint
from ..settings import AUTOMATIC
from .refusals import forget, refusing


def set_frames(context, count: str, _shot: str) -> None:
    scene = context.scene
    settings = scene.sora
    start = settings.frame_start if settings.frame_source == "CUSTOM" else scene.frame_start
    if settings.frame_source == "PREVIEW" and scene.use_preview_range:
        start = scene.frame_preview_start
    settings.frame_source, settings.frame_start = "CUSTOM", max(0, start)
    settings.frame_end = settings.frame_start + int(count) - 1


def set_size(context, size: str, _shot: str) -> None:
    settings, asked = context.scene.sora, Size.parse(size)
    settings.size_source, settings.size_width, settings.size_height = "CUSTOM", asked.width, asked.height


def write_prompt(_context, _value: str, _shot: str) -> None:
    bpy.ops.sora.write_prompt("INVOKE_DEFAULT")


def add_camera(context, _value: str, _shot: str) -> None:
    viewpoint.add_camera(context)


def drop_guide(context, kind: str, _shot: str) -> None:
    setattr(context.scene.sora, f"guide_{kind}", False)


def use_guide(context, kind: str, _shot: str) -> None:
    settings = context.scene.sora
    settings.use_guides = True
    setattr(settings, f"guide_{kind}", True)


def add_still(context, frame: str, _shot: str) -> None:
    context.scene.sora.use_keyframes = True
    if not bpy.app.background:
        bpy.ops.sora.add_still("INVOKE_DEFAULT", frame=int(frame))


def render_guides(_context, _value: str, about: str) -> None:
    pump.retry(about, render_guides=True)


def choose_folder(_context, _value: str, _shot: str) -> None:
    if not bpy.app.background:
        bpy.ops.preferences.addon_show(module=preferences.ROOT)


def free_disk(_context, folder: str, _shot: str) -> None:
    if not bpy.app.background:
        there = next((each for each in (Path(folder), *Path(folder).parents) if each.is_dir()), folder)     # it may not be made yet
        bpy.ops.sora.reveal(folder=str(there))


def install_engine(_context, _value: str, _shot: str) -> None:
    bpy.ops.sora.install_engine()


def repair_engine(_context, _value: str, _shot: str) -> None:
    bpy.ops.sora.repair_engine()


def restart_engine(_context, _value: str, _shot: str) -> None:
    pump.restart()


def unload(_context, _value: str, _shot: str) -> None:
    pump.unload()


def shoot_again(_context, value: str, about: str) -> None:
    pump.retry(value or about)


def show_log(_context, _value: str, _shot: str) -> None:
    path = places.log_path()
    if not path.is_file():
        raise SoraError(f"There is no log yet at {path}.")
    from .writing import show_text
    known = next((text for text in bpy.data.texts if text.filepath and Path(text.filepath) == path), None)
    if known:
        bpy.data.texts.remove(known)        # read anew: the engine goes on writing
    show_text(bpy.context, bpy.data.texts.load(str(path)))


def choose_model(context, value: str, _shot: str) -> None:
    if families.chosen(context) is None:
        context.scene.sora.family = families.specs()[0].name
    if not bpy.app.background:
        bpy.ops.wm.context_menu_enum(data_path=f"scene.sora.{menu(context, value)}")


def menu(context, value: str) -> str:
    """Which of the settings is chosen: `model`, where `weights` are asked for and the family has several, else `family`."""
    spec = families.chosen(context)
    several = spec is not None and (len(spec.models) > 1 or stock.imported(spec.name))
    return "model" if value == "weights" and several else "family"


def use_family(context, name: str, _shot: str) -> None:
    context.scene.sora.family = name


def get_model(_context, name: str, _shot: str) -> None:
    bpy.ops.sora.get_model("EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT", model=name)


def allow_online(_context, _value: str, _shot: str) -> None:
    if not bpy.app.background:
        bpy.ops.screen.userpref_show(section="SYSTEM")


def set_plan(context, plan: str, _shot: str) -> None:
    context.scene.sora.plan = plan or AUTOMATIC


def leave_out(context, line: str, _shot: str) -> None:
    lines.leave_out(context.scene.sora, line)


def set_channel(context, channel: str, _shot: str) -> None:
    context.scene.sora.strip_channel = int(channel)


def set_distance(context, metres: str, _shot: str) -> None:
    context.scene.sora.backdrop_distance = float(metres)


BRANCHES = {
    "set_frames": set_frames, "set_size": set_size, "write_prompt": write_prompt, "add_camera": add_camera, "drop_guide": drop_guide,
    "use_guide": use_guide, "add_still": add_still, "use_family": use_family,
    "render_guides": render_guides, "choose_folder": choose_folder, "free_disk": free_disk, "install_engine": install_engine,
    "repair_engine": repair_engine, "restart_engine": restart_engine, "update_engine": repair_engine, "unload": unload,
    "shoot_again": shoot_again, "show_log": show_log, "choose_model": choose_model, "get_model": get_model,
    "allow_online": allow_online, "set_plan": set_plan, "leave_out": leave_out,
    "set_channel": set_channel, "set_distance": set_distance,
}
CHANGES_SCENE = {"set_frames", "set_size", "set_plan", "add_camera", "drop_guide", "use_guide", "use_family", "leave_out", "set_channel", "set_distance"}


class TakeRemedy(bpy.types.Operator):
    """Do what the sentence suggests"""

    bl_idname, bl_label = "sora.remedy", "Remedy"
    action: StringProperty(name="Action", options={"SKIP_SAVE"})
    value: StringProperty(name="Value", options={"SKIP_SAVE"})
    shot: StringProperty(name="Shot", options={"SKIP_SAVE"})

    @refusing
    def execute(self, context):
        BRANCHES[self.action](context, self.value, self.shot)
        forget(context)
        if self.action in CHANGES_SCENE and bpy.ops.ed.undo_push.poll():
            bpy.ops.ed.undo_push(message=f"Sora: {self.action.replace('_', ' ')}")
        return {"FINISHED"}


CLASSES = (TakeRemedy,)
