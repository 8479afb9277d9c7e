"""What the person at the window does, step by step. Runs inside Blender; what was seen goes to seen.json and PNGs in $SORA_GUI.

Each step is a stretch of the generator `visit`, which a timer goes on with after as many seconds as it yields, so that
Blender handles events and draws in between. Clicks are simulated events; where Generate is, is read off the screen.
"""
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import bpy
import numpy as np

OUT, ROOT = Path(os.environ["SORA_GUI"]), Path(__file__).resolve().parents[2]
MODULE = "bl_ext.user_default.sora"
sys.path.insert(0, str(ROOT / "scripts"))
import street  # noqa: E402

MAGENTA = (1.0, 0.0, 1.0, 1.0)
seen = {"screens": [], "finished": False}


# ---------------------------------------------------------------- eyes and hands
def window():
    return bpy.context.window_manager.windows[0]


def area_of(kind):
    return next(area for area in window().screen.areas if area.type == kind)


def region_of(area, kind):
    return next(region for region in area.regions if region.type == kind)


def pixels():
    """The whole screen as (height, width, 3) uint8, first row on top."""
    tall, wide = window().height, window().width                # the window covers the screen from its top left corner
    grab = f"xwd -root -silent | convert xwd:- -crop {wide}x{tall}+0+0 -depth 8 rgb:-"
    body = subprocess.run(grab, shell=True, check=True, capture_output=True).stdout
    return np.frombuffer(body, np.uint8).reshape(tall, wide, 3)


def photograph(name):
    path = OUT / f"{name}.png"
    subprocess.run(f"xwd -root -silent | convert xwd:- '{path}'", shell=True, check=True)
    seen["screens"].append(path.name)


def click(x, y):
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=x, y=y)
    yield .3
    window().event_simulate(type="LEFTMOUSE", value="PRESS", x=x, y=y)
    yield .1
    window().event_simulate(type="LEFTMOUSE", value="RELEASE", x=x, y=y)
    yield .3


def press(key, x, y, **modifiers):
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=x, y=y)
    yield .2
    window().event_simulate(type=key, value="PRESS", x=x, y=y, **modifiers)
    window().event_simulate(type=key, value="RELEASE", x=x, y=y, **modifiers)
    yield .5


def open_tab(area):
    """Shows the sidebar's tab Sora."""
    area.spaces[0].show_region_ui = True
    yield 1.0
    region_of(area, "UI").active_panel_category = "Sora"
    area.tag_redraw()
    yield 1.0


def find_generate(area):
    """Middle of the tallest operator button in the sidebar, in window coordinates: operators are painted magenta for a moment."""
    tool = bpy.context.preferences.themes[0].user_interface.wcol_tool
    before = tuple(tool.inner)
    tool.inner = MAGENTA
    area.tag_redraw()
    yield 1.0
    region, screen = region_of(area, "UI"), pixels()
    tool.inner = before
    top = screen.shape[0] - region.y - region.height
    part = screen[top:top + region.height, region.x:region.x + region.width].astype(int)
    painted = (part[..., 0] > 180) & (part[..., 1] < 90) & (part[..., 2] > 180)
    rows = np.flatnonzero(painted.sum(1) > region.width * .4)
    seen["painted_rows"] = len(rows)
    bars = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    bar = max(bars, key=len)
    columns = np.flatnonzero(painted[bar[len(bar) // 2]])
    area.tag_redraw()
    yield .5
    return region.x + int(columns.mean()), region.y + region.height - int(bar.mean())


# ---------------------------------------------------------------- the visit
def prepare():
    scene = street.build(bpy.context.scene)
    scene.frame_end = 17
    settings, preferences = scene.sora, bpy.context.preferences.addons[MODULE].preferences
    settings.prompt = "a street with a red car passing behind a stone pillar at sunset"
    settings.size_source, settings.size_width, settings.size_height = "CUSTOM", 256, 144
    settings.model_name, settings.seed, settings.lock_seed = os.environ.get("SORA_MODEL", ""), 7, True
    settings.land_strip = settings.land_compositor = settings.land_backdrop = settings.land_camera = True
    preferences.engine_python = os.environ["SORA_GUI_PYTHON"]
    preferences.takes_place, preferences.takes_folder = "FOLDER", str(OUT / "takes")
    seen["enabled"] = MODULE in bpy.context.preferences.addons
    return scene


def strips(scene):
    """Name, type and frames (first, one past the last) of each strip."""
    span, editor = sys.modules[f"{MODULE}.sora_addon.compat"].strip_span, scene.sequence_editor
    return [{"name": strip.name, "type": strip.type, "frames": span(strip), "channel": strip.channel} for strip in (editor.strips if editor else ())]


def look_at_the_scene(area):
    area.spaces[0].region_3d.view_perspective = "CAMERA"
    area.spaces[0].shading.color_type = "MATERIAL"
    yield .5


def shoot(pump, view):
    """Clicks Generate and waits; while it rolls, the interface is used. Yields until the strip is there."""
    x, y = yield from find_generate(view)
    seen["generate_at"] = (x, y)
    photograph("view3d_before")
    yield from click(x, y)
    seen["on_the_slate"] = len(pump.slate.entries)
    status, end, middle = "", time.monotonic() + 420, (view.x + view.width // 3, view.y + view.height // 3)
    while time.monotonic() < end and pump.slate.entries:
        entry = pump.slate.entries[-1].status
        status = type(entry).__name__
        if status not in ("Queued", "Rolling"):
            break
        if getattr(entry, "stage", "") not in ("", "guides", "waiting") and "frame_while_rolling" not in seen:
            photograph("view3d_rolling")
            yield from press("RIGHT_ARROW", *middle)
            seen["frame_while_rolling"] = bpy.context.scene.frame_current
            seen["stage_then"] = getattr(pump.slate.entries[-1].status, "stage", "ended")
        yield .2
    yield 2.0
    seen["status"], seen["status_says"] = status, str(pump.slate.entries[-1].status) if pump.slate.entries else ""
    seen["longest_tick_ms"], seen["longest_landing_ms"] = pump.longest_tick * 1000, pump.longest_landing * 1000


def undo_and_redo(view):
    """The landing is one step back and one step forth."""
    middle = (view.x + view.width // 3, view.y + view.height // 3)
    yield from press("Z", *middle, ctrl=True)
    seen["strips_after_undo"] = strips(bpy.context.scene)
    yield from press("Z", *middle, ctrl=True, shift=True)
    yield 1.0
    seen["strips_after_redo"] = strips(bpy.context.scene)


def other_rooms(view):
    """The same tab in the Sequencer and in the Compositor, and the page in the Preferences."""
    big = view
    big.type = "SEQUENCE_EDITOR"
    big.spaces[0].view_type = "SEQUENCER_PREVIEW"
    yield 1.0
    yield from open_tab(big)
    bpy.context.scene.frame_set(9)
    big.tag_redraw()
    yield 2.0
    photograph("sequencer")
    big.type = "NODE_EDITOR"
    big.ui_type = "CompositorNodeTree"
    yield 1.0
    yield from open_tab(big)
    with bpy.context.temp_override(window=window(), area=big, region=region_of(big, "WINDOW")):
        if bpy.ops.node.view_all.poll():
            bpy.ops.node.view_all()
    yield 1.5
    photograph("compositor")
    big.type = "PREFERENCES"
    bpy.context.preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "Sora"
    bpy.ops.preferences.addon_expand(module=MODULE)
    big.tag_redraw()
    yield 1.5
    photograph("preferences")


def every_panel():
    """The whole tab with all that is closed at first, small enough to be seen at once, with a source clip and keyframes."""
    panels = sys.modules[f"{MODULE}.sora_addon.panels"]
    panels.unregister()
    for panel in (*panels.shot.PANELS, *panels.progress.PANELS, *panels.takes.PANELS):
        panel.bl_options = set()
    panels.register()
    settings = bpy.context.scene.sora
    settings.source_from, settings.use_keyframes = "FOLDER", True
    bpy.context.preferences.view.ui_scale = .62
    area = area_of("OUTLINER")                      # one whose sidebar has not been drawn yet: what is drawn stays as it was, closed
    area.type = "VIEW_3D"
    with bpy.context.temp_override(window=window(), area=area):
        bpy.ops.screen.screen_full_area()
    yield 1.5
    area = area_of("VIEW_3D")
    yield from open_tab(area)
    photograph("panels")


def visit():
    scene = prepare()
    pump = sys.modules[f"{MODULE}.sora_addon.pump"]
    view = area_of("VIEW_3D")
    yield 1.0
    yield from look_at_the_scene(view)
    yield from open_tab(view)
    yield from shoot(pump, view)
    seen["strips"] = strips(bpy.context.scene)
    photograph("view3d_after")
    yield from undo_and_redo(view)
    yield from other_rooms(view)
    yield from every_panel()
    seen["finished"] = True


def leave():
    (OUT / "seen.json").write_text(json.dumps(seen, indent=2, default=str))
    sys.stdout.flush()
    bpy.ops.wm.quit_blender()


def go_on():
    try:
        return next(steps)
    except StopIteration:
        leave()
    except Exception:                   # any defect ends the visit, and the test shows it
        seen["trouble"] = traceback.format_exc()
        photograph("trouble")
        leave()
    return None


bpy.context.preferences.view.show_splash = False
steps = visit()
bpy.app.timers.register(go_on, first_interval=3.0)
