"""Operators, run against a scripted engine that is a real process speaking the real wire."""
import importlib.util
import sys
import time
from pathlib import Path

import bpy
import pytest

import sora
from sora.engine import protocol
from sora.engine.errors import ACTIONS
from sora.sora_addon import errands, lines, operators, pump, reel, slate, takes
from sora.sora_addon.operators import remedies

sys.path.insert(0, str(Path(__file__).parent))
import layouts  # noqa: E402

_spec = importlib.util.spec_from_file_location("scripted_engine", Path(__file__).parents[1] / "plain" / "scripted_engine.py")
scripted_engine = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scripted_engine)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripted engine is a shell script")


@pytest.fixture
def press(tmp_path, monkeypatch):
    """A scene ready to shoot without guides; `press(behaviour)` names the engine's behaviour."""
    bpy.ops.wm.read_factory_settings()
    addon = bpy.context.preferences.addons.new()
    addon.module = "sora"
    sora.register()
    bpy.context.preferences.addons["sora"].preferences.takes_folder = str(tmp_path / "takes")
    monkeypatch.setenv("SORA_ENGINE_LOG", str(tmp_path / "engine.log"))
    settings, scene = bpy.context.scene.sora, bpy.context.scene
    settings.prompt, settings.use_guides, settings.land_strip = "a stone arch", False, False
    scene.frame_end, scene.render.resolution_x, scene.render.resolution_y = 5, 64, 64

    def behave(behaviour):
        monkeypatch.setenv("SORA_ENGINE_PYTHON", str(scripted_engine.python_for(tmp_path, behaviour)))
        return settings
    yield behave
    sora.unregister()
    bpy.context.preferences.addons.remove(bpy.context.preferences.addons["sora"])


def shoot() -> slate.Entry:
    bpy.ops.sora.generate()
    pump.run_until_idle(60)
    return pump.slate.entries[-1]


def test_every_remedy_has_its_branch():
    assert set(remedies.BRANCHES) == set(ACTIONS)


def test_operators_say_what_they_do():
    for kind in operators.classes():
        if not issubclass(kind, bpy.types.Operator):
            continue
        assert kind.__doc__ and not kind.__doc__.endswith("."), kind
        assert kind.bl_idname.startswith("sora.")


def test_generate_prints_a_take_that_is_listed(press):
    press("prints")
    entry = shoot()
    assert isinstance(entry.status, slate.Printed)
    row = takes.chosen(bpy.context)
    assert row.name == entry.shot.id and "a stone arch" in row.prompt and not row.broken
    assert (Path(row.folder) / protocol.TAKE_FILE).exists()


def test_the_rolling_shot_can_be_looked_at(press):
    press("poses")
    bpy.ops.sora.generate()
    panel, editor, steps = {}, {}, set()
    area = bpy.context.window_manager.windows[0].screen.areas[0]
    area.type = "IMAGE_EDITOR"
    mine = area.spaces.active.image = bpy.data.images.new("mine", 4, 4)
    bpy.data.images.new("Sora Preview", 4, 4)                # the artist's own, of this very name
    while pump.slate.rolling or pump.slate.following:
        pump.tick()
        status = pump.slate.entries[-1].status
        if not reel.there() or getattr(status, "step", 0) in steps:
            continue
        steps.add(status.step)
        with layouts.editor("VIEW_3D") as context:
            assert "Watch" in layouts.drawn(bpy.types.SORA_PT_view3d_shot, context).text
        if not reel.watched():
            bpy.ops.sora.watch()
        panel[status.step], editor[status.step] = looked_at(area.spaces.active.image)
        scripted_engine.seen(Path(pump.slate.entries[-1].shot.out) / "preview", status.step).touch()
    assert steps == {1, 2, 3, 4, 5}
    assert all(shades == {10 * step - 10, 10 * step + 90, 10 * step + 190} for step, shades in (*panel.items(), *editor.items()))
    assert area.spaces.active.image == mine and not reel.there() and not reel.watched()
    assert sorted(image.name for image in bpy.data.images if image.source != "VIEWER") == ["Sora Preview", "mine"]


def looked_at(image) -> tuple[set[int], set[int]]:
    """The grey values that the panel and an image show until three of each were seen."""
    panel, editor, until = set(), set(), time.monotonic() + 20
    while min(len(panel), len(editor)) < 3 and time.monotonic() < until:
        time.sleep(min(reel.beat(), .01))
        if reel._unread or reel._shown < 0:
            continue
        panel.add(reel._icons[reel.NAME].image_pixels[0] & 255)         # icons have no number without a window
        editor.add(round(image.pixels[0] * 255))
    return panel, editor


def test_a_watched_preview_is_not_saved(press, tmp_path):
    press("poses")
    bpy.ops.sora.generate()
    while not reel.there():
        pump.tick()
    area = bpy.context.window_manager.windows[0].screen.areas[0]
    area.type = "IMAGE_EDITOR"
    assert bpy.ops.sora.watch() == {"FINISHED"} and area.spaces.active.image.name == "Sora Preview"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "watched.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "watched.blend"))
    assert "Sora Preview" not in bpy.data.images and not reel.watched() and reel.there()               # the shot rolls on
    reel.beat()
    pump.stop(wait=True)
    assert not reel.there()


def test_a_preview_rests_while_nobody_looks(press):
    press("poses")
    bpy.ops.sora.generate()
    while not reel.there():
        pump.tick()
    assert reel.beat() == reel.RESTING and len(reel._unread) == 3
    assert not bpy.ops.sora.watch.poll()                     # no Image Editor is open
    reel.icon()
    while reel._unread:
        reel.beat()
    assert len(reel._frames) == 3
    pump.stop(wait=True)


def test_takes_are_found_again_after_a_reload(press, tmp_path):
    press("prints")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    entry = shoot()
    bpy.ops.wm.save_mainfile()
    bpy.context.window_manager.sora.takes.clear()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert entry.shot.id in bpy.context.window_manager.sora.takes


def test_takes_stay_listed_when_saving_changes_the_folder(press, tmp_path):
    press("prints")
    entry = shoot()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert entry.shot.id in bpy.context.window_manager.sora.takes


def test_from_scene_writes_a_prompt_and_keeps_it_for_an_empty_scene(press):
    settings = press("prints")
    bpy.ops.sora.from_scene()
    assert settings.prompt not in ("", "a stone arch")
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    settings.prompt = "kept"
    if bpy.ops.sora.from_scene() == {"CANCELLED"}:
        assert settings.prompt == "kept"


def test_shoot_again_star_restore_and_delete(press):
    settings = press("prints")
    first = shoot()
    bpy.ops.sora.shoot_again()
    pump.run_until_idle(60)
    second = pump.slate.entries[-1]
    assert second.shot.id != first.shot.id and second.shot.seed == first.shot.seed
    bpy.ops.sora.shoot_again(vary=True)
    pump.run_until_idle(60)
    assert pump.slate.entries[-1].shot.seed != first.shot.seed
    settings.prompt, settings.seed = "something else", 3
    bpy.ops.sora.restore_settings()
    assert settings.prompt == "a stone arch" and settings.lock_seed
    chosen = takes.chosen(bpy.context).name         # as text: lines of the list are made anew by refreshing
    bpy.ops.sora.star()
    assert takes.chosen(bpy.context).starred
    bpy.ops.sora.refresh()
    session = bpy.context.window_manager.sora
    assert session.takes[chosen].starred and len(session.takes) == 3
    folder = Path(takes.chosen(bpy.context).folder)
    bpy.ops.sora.delete_take()
    assert len(session.takes) == 2 and not folder.exists() and (folder.parent / ".trash" / folder.name).exists()


def test_a_take_is_developed_in_another_format(press):
    press("prints")
    first = shoot()
    with pytest.raises(RuntimeError, match="kept no latents"):
        bpy.ops.sora.develop(format="exr")
    assert bpy.context.window_manager.sora.remedy_action == "shoot_again"
    (Path(first.shot.out) / "latents").mkdir()
    bpy.ops.sora.develop(format="exr")
    pump.run_until_idle(60)
    second = pump.slate.entries[-1]
    assert (second.shot.latents, second.shot.format, second.shot.seed) == (first.shot.out, "exr", first.shot.seed)
    bpy.ops.sora.shoot_again()
    pump.run_until_idle(60)
    assert (pump.slate.entries[-1].shot.latents, pump.slate.entries[-1].shot.format) == ("", "exr")


def test_a_failure_can_be_tried_again(press):
    press("fails")
    entry = shoot()
    assert isinstance(entry.status, slate.Failed)
    pump.stop(wait=True)
    press("prints")
    bpy.ops.sora.remedy(action="shoot_again", shot=entry.shot.id)
    pump.run_until_idle(60)
    assert isinstance(pump.slate.find(entry.shot.id).status, slate.Printed)


def test_cut(press):
    press("slow")
    bpy.ops.sora.generate()
    while not (pump.slate.rolling and pump.engine_ready):
        pump.tick()
    bpy.ops.sora.cut()
    pump.run_until_idle(60)
    assert isinstance(pump.slate.entries[-1].status, slate.Cut)
    assert not bpy.ops.sora.cut.poll()
    bpy.ops.sora.clear_slate()
    assert not pump.slate.entries


def test_without_an_engine_nothing_is_left_behind(press, monkeypatch, tmp_path):
    monkeypatch.setenv("SORA_ENGINE_PYTHON", str(tmp_path / "none"))
    with pytest.raises(RuntimeError, match="not at"):
        bpy.ops.sora.generate()
    assert bpy.context.window_manager.sora.remedy_action == "install_engine"
    assert not pump.slate.entries and not (tmp_path / "takes").exists()


def test_installing_needs_permission_to_go_online(press):
    if bpy.app.online_access:
        pytest.skip("this Blender may go online")
    with pytest.raises(RuntimeError, match="may not go online"):
        bpy.ops.sora.install_engine()
    assert errands.installation is None


def test_the_doctor_says_why_it_cannot_look(press):
    press("does_not_start")
    bpy.ops.sora.doctor()
    assert not bpy.ops.sora.doctor.poll()
    errands.doctor.asked.child.wait(30)
    errands.tick()
    assert [finding.well for finding in errands.findings] == [False] and "torch" in errands.findings[0].found


@pytest.mark.parametrize("action, value", [("drop_guide", "depth"), ("set_channel", "4"), ("set_distance", "7.5"), ("set_size", "640x360"),
                                           ("set_frames", "25"), ("choose_folder", ""), ("free_disk", "/tmp"), ("unload", ""), ("write_prompt", "")])
def test_remedies_change_what_they_say(press, action, value):
    settings = press("prints")
    bpy.context.window_manager.sora.refusal = "trouble"
    assert bpy.ops.sora.remedy(action=action, value=value) == {"FINISHED"}
    assert bpy.context.window_manager.sora.refusal == ""
    now = {"drop_guide": not settings.guide_depth, "set_channel": settings.strip_channel == 4, "set_distance": settings.backdrop_distance == 7.5,
           "set_size": (settings.size_source, settings.size_width) == ("CUSTOM", 640), "set_frames": settings.frame_end == 25}
    assert now.get(action, True)


def test_remedies_that_the_families_offer_do_what_they_say(press):
    """Those of the refusals in tests/engine/test_families_open.py."""
    settings = press("prints")

    def pressed(action: str, value: str) -> None:
        assert bpy.ops.sora.remedy(action=action, value=value) == {"FINISHED"}
    pressed("use_guide", "edges")
    assert settings.use_guides and settings.guide_edges
    settings.first_image, settings.last_image, settings.use_keyframes = "//first.png", "//last.png", True
    for frame in (1, 3, 5):
        lines.add(settings, "stills", frame=frame, image="//still.png")
    pressed("leave_out", "stills_at 3 5 last_image")
    assert [row.on for row in settings.stills] == [True, False, False] and (settings.first_image, settings.last_image) == ("//first.png", "")
    pressed("leave_out", "use_keyframes")
    assert not settings.use_keyframes
    pressed("add_still", "1")
    assert settings.use_keyframes
    for index in range(2):
        lines.add(settings, "references", image=f"//{index}.png")
        lines.add(settings, "loras", lora=f"//{index}.safetensors")
    pressed("leave_out", "loras 1")
    pressed("leave_out", "references")
    assert [row.on for row in settings.loras] == [True, False] and not any(row.on for row in settings.references)
    settings.family, several = "sana_wm", []
    several.append(remedies.menu(bpy.context, "weights"))       # it has but one
    pressed("use_family", "wan")
    assert settings.family == "wan" and [*several, remedies.menu(bpy.context, "weights"), remedies.menu(bpy.context, "")] == ["family", "model", "family"]


def test_the_log_opens_as_text(press, tmp_path):
    press("prints")
    with pytest.raises(RuntimeError, match="no log yet"):
        bpy.ops.sora.remedy(action="show_log")
    shoot()
    (tmp_path / "engine.log").write_text("a line\n")
    bpy.ops.sora.remedy(action="show_log")
    bpy.ops.sora.remedy(action="show_log")
    assert [text.lines[0].body for text in bpy.data.texts] == ["a line"]


def test_the_camera_sees_what_the_viewport_sees(press):
    press("prints")
    bpy.context.scene.camera = None
    with layouts.editor("VIEW_3D") as context:
        region = context.space_data.region_3d
        bpy.ops.sora.remedy(action="add_camera")
        camera = bpy.context.scene.camera
        focus = camera.matrix_world.inverted() @ region.view_location
        assert tuple(focus) == pytest.approx((0, 0, -region.view_distance), abs=1e-4)
        assert camera.matrix_world.to_quaternion().dot(region.view_rotation) ** 2 == pytest.approx(1, abs=1e-4)


def test_polls_give_reasons(press):
    press("prints")
    for name in ("land", "shoot_again", "restore_settings", "delete_take", "star", "cut", "unload", "stop_installing"):
        assert not getattr(bpy.ops.sora, name).poll(), name
    with pytest.raises(RuntimeError, match="Choose a take"):
        bpy.ops.sora.land()


def test_a_prompt_in_the_text_editor_and_back(press):
    settings = press("prints")
    bpy.ops.sora.edit_prompt()
    settings.prompt_text.write(" at dusk")
    bpy.ops.sora.unlink_prompt()
    assert settings.prompt == "a stone arch at dusk" and settings.prompt_text is None


def test_presets_keep_the_look_and_not_the_prompt(press):
    settings = press("prints")
    settings.guidance, settings.negative, settings.land_backdrop = 5.5, "fog", True
    assert bpy.ops.sora.preset_add(name="sora test preset") == {"FINISHED"}
    folder = bpy.utils.preset_paths("sora")[0]
    settings.prompt, settings.guidance, settings.negative, settings.land_backdrop = "other words", 1.0, "", False
    try:
        bpy.ops.script.execute_preset(filepath=str(Path(folder) / "sora_test_preset.py"), menu_idname="SORA_PT_presets")
        assert (settings.guidance, settings.negative, settings.land_backdrop, settings.prompt) == (5.5, "fog", True, "other words")
    finally:
        bpy.ops.sora.preset_add(name="sora_test_preset", remove_name=True)
