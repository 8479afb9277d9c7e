"""Every panel, in every space and every state, drawn into a real layout: it says what it should and Blender has no complaint."""
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import layouts  # noqa: E402

import sora  # noqa: E402
from sora.engine import protocol  # noqa: E402
from sora.engine.errors import Remedy  # noqa: E402
from sora.sora_addon import families, lines, panels, pump, slate, takes  # noqa: E402
from sora.sora_addon.panels import preferences as page  # noqa: E402
from sora.sora_addon.panels.spaces import SPACES  # noqa: E402

SPACE_TYPES = dict(SPACES)
NOISE = ("no icon for icon ID", "ALSA")         # a background Blender has no icons


@pytest.fixture
def scene(tmp_path, monkeypatch):
    bpy.ops.wm.read_factory_settings()
    monkeypatch.setenv("SORA_ENGINE_PYTHON", sys.executable)
    addon = bpy.context.preferences.addons.new()
    addon.module = "sora"
    sora.register()
    bpy.context.preferences.addons["sora"].preferences.takes_folder = str(tmp_path / "takes ü 汉")
    yield bpy.context.scene
    sora.unregister()
    bpy.context.preferences.addons.remove(bpy.context.preferences.addons["sora"])


def page_of(space: str, key: str) -> layouts.Page:
    with layouts.editor(SPACE_TYPES[space]) as context:
        return layouts.drawn(getattr(bpy.types, f"SORA_PT_{space}_{key}"), context)


def everything() -> str:
    """All panels in all spaces, drawn; the text of the 3D View's. Fails on any complaint of Blender's."""
    text = []
    with layouts.complaints() as lines:
        for space, space_type in SPACES:
            with layouts.editor(space_type) as context:
                for panel in panels.classes():
                    if not issubclass(panel, bpy.types.Panel) or not panel.__name__.startswith(f"SORA_PT_{space}_"):
                        continue
                    if panel.poll(context):
                        text.append(layouts.drawn(panel, context).text)
        with layouts.editor("PREFERENCES") as context:
            layouts.drawn_by(lambda layout: page.draw(layout, context, context.preferences.addons["sora"].preferences), context)
    complaints = [line for line in lines if not any(noise in line for noise in NOISE)]
    assert complaints == []
    return "\n".join(text)


def a_shot(**more) -> protocol.Shot:
    fields = dict(id="one", family="blockout", prompt="a street", seed=7, size=protocol.Size(832, 480), frames=49, fps=24.0, out="/tmp/one", name="a street")
    return protocol.Shot(**{**fields, **more})


@pytest.fixture
def slated():
    """Puts entries on the slate, and takes them off again."""
    yield lambda *entries: setattr(pump, "slate", slate.Slate(entries))
    pump.slate = slate.Slate()
    pump.error = None


def make_take(scene, name="20261120-120000-street-abcd", **more) -> Path:
    """A printed take in the folder of the takes."""
    from sora.sora_addon import shot
    folder = shot.takes_folder(bpy.context) / name
    (folder / "frames").mkdir(parents=True)
    files = protocol.Files(folder="frames", pattern="plate.%04d.png", first=1, count=2, colourspace="sRGB")
    made = a_shot(id=name, frames=2, out=str(folder), **more)
    take = protocol.Take(id=name, shot=made, files=files, native=protocol.Size(112, 64), native_frames=5, device="cpu", created="2026-11-20T12:00:00Z",
                         engine={}, seconds={"denoise": 12.0}, peak_bytes=1_200_000_000, notes=("Up-scaled from 112x64.",))
    image = bpy.data.images.new("plate", 16, 9)
    for number in (1, 2):
        image.save(filepath=str(folder / "frames" / (files.pattern % number)))
    bpy.data.images.remove(image)
    (folder / protocol.SHOT_FILE).write_text(protocol.as_json(made), encoding="utf-8")
    (folder / protocol.TAKE_FILE).write_text(json.dumps(asdict(take)), encoding="utf-8")
    return folder


def test_a_fresh_file(scene):
    text = everything()
    assert "Generate" in text and "Not measured yet" in text and "No takes yet" in text


@pytest.mark.parametrize("space", SPACE_TYPES)
def test_the_main_panel_has_what_an_artist_needs(scene, space):
    page = page_of(space, "shot")
    assert {"prompt[0]", "negative[0]", "family[0]"} <= set(page.properties)
    assert any("sora.generate" in each for each in page.operators) and any("sora.from_scene" in each for each in page.operators)


def test_size_says_what_is_delivered_and_what_is_native(scene):
    scene.render.resolution_x, scene.render.resolution_y = 1000, 563
    with layouts.editor("VIEW_3D") as context:
        text = layouts.drawn(bpy.types.SORA_PT_view3d_frames, context).text.replace("\n", " ")
    assert "1000x560" in text and "up-scaled from about" in text


def test_guides_come_from_the_spec(scene):
    page = page_of("view3d", "guides")
    assert {"guide_depth[0]", "guide_normal[0]", "guide_mask[0]"} <= set(page.properties)
    assert "does not" in page.text
    spec = families.specs()[0]
    families.adopt((replace(spec, guides=("mask",), keyframes=False),))
    try:
        assert "mask_collection[0]" in page_of("view3d", "guides").properties
        with layouts.editor("VIEW_3D") as context:
            assert not bpy.types.SORA_PT_view3d_keyframes.poll(context)
        everything()
    finally:
        families.adopt((spec,))


def test_a_new_family_needs_no_new_panel(scene):
    spec = families.specs()[0]
    families.adopt((spec, replace(spec, name="other", label="Other", steps=30, guidance=5.0, models=("a", "b"), guides=("beauty", "camera"))))
    try:
        scene.sora.family = "other"
        assert (scene.sora.steps, scene.sora.guidance) == (30, 5.0)
        scene.sora.model = "b"
        assert "model[0]" in page_of("view3d", "shot").properties
        everything()
    finally:
        families.adopt((spec,))
    assert "(not installed)" in page_of("view3d", "shot").text
    everything()


BESIDE = {"keyframes": "keyframes", "source": "source", "references": "references", "loras": "loras"}


@pytest.mark.parametrize("name", ["blockout", "wan", "vace", "ltx2", "sana_wm", "skyreels", "cogvideox"])
def test_each_family_is_asked_for_what_it_takes(scene, name):
    scene.sora.family = name
    spec = families.spec(name)
    with layouts.editor("VIEW_3D") as context:
        stands = {key: getattr(bpy.types, f"SORA_PT_view3d_{key}").poll(context) for key in BESIDE}
    assert stands == {key: bool(getattr(spec, field)) for key, field in BESIDE.items()}
    shown = page_of("view3d", "guides").properties
    assert {f"strength_{kind}[0]" for kind in spec.guides if kind not in ("mask", "camera")} == {each for each in shown if each.startswith("strength_")}
    everything()


def test_lists_show_their_lines_and_the_chosen_one(scene):
    settings = scene.sora
    settings.family = "vace"
    everything()
    for frame, path in ((12, "/tmp/a ü.png"), (24, "")):
        row = settings.stills.add()
        row.frame, row.image = frame, path
    settings.references.add().image = "//b.png"
    row = settings.loras.add()
    row.lora, row.triggers = "/tmp/clay.safetensors", "clay style"
    for source in ("TAKE", "FOLDER", "STRIP", "NONE"):
        settings.source_from = source
        everything()
    page = page_of("view3d", "keyframes")
    assert {"frame[0]", "image[0]"} <= set(page.properties) and any("add_still" in each for each in page.operators)
    assert any("remove_line" in each and "stills" in each for each in page.operators)
    page = page_of("view3d", "loras")
    assert "clay style" in page.text.replace("\n", " ") and any("say_triggers" in each for each in page.operators)
    assert "Up to 4 pictures" in page_of("view3d", "references").text


def test_change_is_asked_for_where_it_counts(scene):
    settings = scene.sora
    settings.family, settings.source_from = "wan", "FOLDER"
    assert "source_change[0]" in page_of("view3d", "source").properties
    settings.family = "vace"
    assert "source_change[0]" not in page_of("view3d", "source").properties


def test_the_active_strip_is_named_or_why_not(scene):
    scene.sora.family, scene.sora.source_from = "vace", "STRIP"
    assert "No strip is active" in page_of("view3d", "source").text
    editor = scene.sequence_editor_create()
    editor.active_strip = editor.strips.new_image(name="Plate", filepath="/tmp/none.png", channel=3, frame_start=1)
    assert "Plate, channel 3" in page_of("view3d", "source").text


def test_the_menu_of_loras(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("SORA_MODELS", str(tmp_path))
    (tmp_path / "clay").mkdir()
    (tmp_path / "clay" / "sora.json").write_text(json.dumps({"name": "clay", "family": "vace", "kind": "lora", "label": "Clay Film"}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sora.json").write_text("{")
    scene.sora.family = "vace"
    with layouts.editor("VIEW_3D") as context:
        page = layouts.drawn_by(lambda layout: bpy.types.SORA_MT_loras.draw(SimpleNamespace(layout=layout), context), context)
    assert "Clay Film" in page.text and "From File" in page.text and any('lora="clay"' in each for each in page.operators)


def test_without_the_engine_installing_comes_first(scene, monkeypatch, tmp_path):
    monkeypatch.delenv("SORA_ENGINE_PYTHON")
    bpy.context.preferences.addons["sora"].preferences.engine_folder = str(tmp_path / "nowhere")
    everything()
    assert any("install_engine" in each for each in page_of("view3d", "shot").operators)


def test_rolling_shows_stage_step_and_time_left(scene, slated):
    slated(slate.Entry(shot=a_shot(), status=slate.Rolling(stage="denoise", step=5, steps=8, eta=12.4, note="Another Blender uses the GPU")),
           slate.Entry(shot=a_shot(id="two")))
    everything()
    page = page_of("view3d", "shot")
    assert "Denoising 5/8, 0:12 left" in page.text and any("sora.cut" in each for each in page.operators)
    assert "Add to Queue" in page.text
    assert any("sora.move" in each for each in page_of("view3d", "slate").operators)


def test_every_state_of_the_slate(scene, slated):
    slated(slate.Entry(shot=a_shot(id="a"), status=slate.Queued(held="Interrupted")), slate.Entry(shot=a_shot(id="b"), status=slate.Cut(printed=12)),
           slate.Entry(shot=a_shot(id="c"), status=slate.Printed(take="/tmp/c", notes=("Trimmed.", "Strip at 1 to 9. In bars."))))
    text = everything()
    assert "Interrupted" in text and "12 frames kept" in text and "Trimmed." in text
    assert "Strip at 1 to 9." in text and "Details\nIn bars." in text


def test_failure_has_a_sentence_and_a_button(scene, slated):
    trouble = slate.Failed(code="engine_died", sentence="The engine was killed.", remedy=Remedy(action="shoot_again", label="Shoot Again"))
    slated(slate.Entry(shot=a_shot(), status=trouble))
    pump.error = slate.Failed(code="engine_broken", sentence="It does not start.", remedy=Remedy(action="repair_engine", label="Repair Engine"))
    text = everything()
    assert "It does not start." in text and "Repair Engine" in text
    page = page_of("view3d", "slate")
    assert "The engine was killed." in page.text
    assert any('action="shoot_again"' in each and 'shot="one"' in each for each in page.operators)


def test_a_refusal_stays_with_its_remedy(scene):
    with pytest.raises(RuntimeError, match="prompt is empty"):
        bpy.ops.sora.generate()
    page = page_of("view3d", "shot")
    assert "The prompt is empty." in page.text and any("write_prompt" in each for each in page.operators)
    everything()


def test_without_a_camera(scene):
    scene.camera = None
    scene.sora.prompt = "a street"
    everything()
    with pytest.raises(RuntimeError, match="camera"):
        bpy.ops.sora.generate()
    assert any("add_camera" in each for each in page_of("view3d", "shot").operators)


def test_takes_are_listed_with_what_can_be_done(scene):
    make_take(scene)
    broken = make_take(scene, "20261120-130000-street-ffff")
    (broken / "frames" / "plate.0002.png").unlink()
    bpy.ops.sora.refresh()
    session = bpy.context.window_manager.sora
    assert [row.name for row in session.takes] == ["20261120-130000-street-ffff", "20261120-120000-street-abcd"]
    assert "1 of 2 frames" in everything()
    session.take_index = 1
    text = everything()
    assert "112x64" in text and "About" in page_of("view3d", "shot").text
    operators = " ".join(page_of("view3d", "takes").operators)
    assert all(name in operators for name in ("shoot_again", "remix", "extend", "loop", "blend", "restore_settings", "reveal", "delete_take"))
    assert "20261120-120000-street-abcd" in takes._pictures         # icons themselves are 0 without a window


def test_a_long_prompt_is_shown_whole(scene):
    scene.sora.prompt = "a narrow street of stone with an arch and pillars " * 3
    assert page_of("view3d", "shot").text.count("pillars") == 2 * 3       # the field, and the lines below it
    bpy.ops.sora.edit_prompt()
    assert scene.sora.prompt_text is not None
    everything()
    from sora.sora_addon.panels.prompt import draw_dialog
    with layouts.editor("VIEW_3D") as context:
        assert "What it avoids" in layouts.drawn_by(lambda layout: draw_dialog(layout, context), context).text


def test_other_node_editors_stay_free(scene):
    with layouts.editor("NODE_EDITOR", "ShaderNodeTree") as context:
        assert not bpy.types.SORA_PT_compositor_shot.poll(context)
    with layouts.editor("NODE_EDITOR") as context:
        assert bpy.types.SORA_PT_compositor_shot.poll(context)


def test_everything_has_a_tooltip(scene):
    groups = [scene.sora.bl_rna, *(scene.sora.bl_rna.properties[name].fixed_type for name in lines.LISTS)]
    undescribed = [name for group in groups for name, prop in group.properties.items()
                   if not prop.description and prop.identifier not in ("rna_type", "name") and not prop.is_hidden]
    assert undescribed == []
