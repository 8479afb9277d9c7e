"""Settings become a shot, or a sentence with a way out."""
import dataclasses
import json
import sys
from pathlib import Path

import bpy
import pytest

from sora.engine import protocol
from sora.engine.errors import FolderError, KeyframeError, ModelError, ShotError
from sora.engine.protocol import Size
from sora.sora_addon import defaults, families, shot

sys.path.insert(0, str(Path(__file__).parent))
import layouts  # noqa: E402


@pytest.fixture
def scene(tmp_path):
    with layouts.registered(tmp_path / "takes") as scene:
        scene.sora.prompt, scene.frame_end = "a stone arch", 49
        scene.render.resolution_x, scene.render.resolution_y = 832, 480
        yield scene


def refusal(kind=ShotError):
    """The error with which freezing is refused now."""
    with pytest.raises(kind) as caught:
        shot.frozen(bpy.context)
    return caught.value


def test_a_shot_is_what_the_panel_says(scene, tmp_path):
    settings = scene.sora
    settings.negative, settings.seed, settings.lock_seed, settings.steps = "people", 7, True, 12
    scene.render.fps, scene.render.fps_base = 30, 1.001
    frozen = shot.frozen(bpy.context)
    assert (frozen.prompt, frozen.negative, frozen.seed, frozen.steps) == ("a stone arch", "people", 7, 12)
    assert (frozen.size, frozen.frames, frozen.frame_start) == (Size(832, 480), 49, 1)
    assert frozen.fps == pytest.approx(30000 / 1001)
    assert [guide.kind for guide in frozen.guides] == ["depth", "normal", "camera"] and not any(guide.path for guide in frozen.guides)
    assert frozen.landings == ("strip",) and frozen.landing["scene"] == "Scene" and frozen.landing["camera"] == "Camera"
    assert Path(frozen.out).parent == tmp_path / "takes" and Path(frozen.out).name == frozen.id
    assert protocol.read_shot(frozen.out) == frozen


def test_an_unlocked_seed_is_drawn_and_written_down(scene):
    seeds = {shot.frozen(bpy.context).seed for _ in range(3)}
    assert len(seeds) == 3 and scene.sora.seed in seeds


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_prompt(scene, text):
    scene.sora.prompt = text
    assert refusal().remedy.action == "write_prompt"


def test_a_linked_text_is_the_prompt(scene):
    text = bpy.data.texts.new("words")
    text.write("a street\nof stone,\n\n  at dusk")
    scene.sora.prompt_text = text
    assert shot.frozen(bpy.context).prompt == "a street of stone, at dusk"


def test_zero_frames(scene):
    scene.sora.frame_source, scene.sora.frame_start, scene.sora.frame_end = "CUSTOM", 10, 9
    assert refusal().remedy.action == "set_frames"


def test_one_frame_is_a_still(scene):
    scene.sora.frame_source, scene.sora.frame_start, scene.sora.frame_end = "CUSTOM", 10, 10
    assert shot.frozen(bpy.context).frames == 1


def test_five_thousand_frames(scene):
    scene.frame_end = 5000
    error = refusal()
    assert "5,000 frames" in str(error) and error.remedy.action == "set_frames" and error.remedy.value == "3600"
    bpy.ops.sora.remedy(action="set_frames", value=error.remedy.value)
    assert shot.frozen(bpy.context).frames == 3600


def test_negative_frames(scene):
    scene.sora.frame_source, scene.sora.frame_start, scene.sora.frame_end = "CUSTOM", -20, 28
    error = refusal()
    assert "-20" in str(error)
    bpy.ops.sora.remedy(action="set_frames", value=error.remedy.value)
    frozen = shot.frozen(bpy.context)
    assert (frozen.frame_start, frozen.frames) == (0, 49)


def test_the_preview_range(scene):
    scene.sora.frame_source = "PREVIEW"
    assert refusal().remedy.value == "49"
    scene.use_preview_range, scene.frame_preview_start, scene.frame_preview_end = True, 11, 20
    frozen = shot.frozen(bpy.context)
    assert (frozen.frame_start, frozen.frames) == (11, 10)


def test_sizes_snap_to_the_grid(scene):
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 1001, 563, 100
    assert shot.frozen(bpy.context).size == Size(1000, 560)
    scene.render.resolution_percentage = 50
    assert shot.frozen(bpy.context).size == Size(504, 280)
    scene.sora.size_source = "FAMILY"
    small = shot.frozen(bpy.context).size
    assert small.height == 72 and small.width / small.height == pytest.approx(1001 / 563, rel=0.1)


@pytest.mark.parametrize("asked", [Size(8192, 4320), Size(640, 20)])
def test_sizes_outside_of_the_grid_are_refused(scene, asked):
    scene.sora.size_source, scene.sora.size_width, scene.sora.size_height = "CUSTOM", asked.width, asked.height
    error = refusal()
    assert str(asked) in str(error) and error.remedy.action == "set_size"
    bpy.ops.sora.remedy(action="set_size", value=error.remedy.value)
    assert str(shot.frozen(bpy.context).size) == error.remedy.value


def test_no_camera(scene):
    scene.camera = None
    assert refusal().remedy.action == "add_camera"
    bpy.ops.sora.remedy(action="add_camera")
    assert scene.camera and shot.frozen(bpy.context).landing["camera"] == scene.camera.name


def test_a_prompt_alone_needs_no_camera(scene):
    scene.camera, scene.sora.use_guides = None, False
    assert shot.frozen(bpy.context).guides == ()
    scene.sora.land_backdrop = True
    assert refusal().remedy.action == "add_camera"


def test_a_marker_with_a_camera_is_enough(scene):
    scene.timeline_markers.new("cut", frame=1).camera = scene.camera
    scene.camera = None
    assert shot.frozen(bpy.context).guides


def test_beside_a_saved_file(scene, tmp_path):
    file = tmp_path / "a shot ü 汉 {blend_name}#%.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(file))
    scene = bpy.context.scene
    assert Path(shot.frozen(bpy.context).out).parent == tmp_path / "sora"
    bpy.context.preferences.addons["sora"].preferences.takes_place = "FOLDER"
    assert Path(shot.frozen(bpy.context).out).parent == tmp_path / "takes"


def test_settings_are_saved_in_the_file(scene, tmp_path):
    scene.sora.prompt, scene.sora.guidance, scene.sora.family = "kept words", 4.5, "blockout"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "kept.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "kept.blend"))
    settings = bpy.context.scene.sora
    assert (settings.prompt, settings.guidance, settings.family) == ("kept words", pytest.approx(4.5), "blockout")


@pytest.mark.parametrize("words", ["{blend_name} #### %04d", "ü 汉 / \\ : * ?", "...", "con"])
def test_names_never_reach_the_disk_as_they_are(scene, words):
    scene.sora.prompt = words
    frozen = shot.frozen(bpy.context)
    assert frozen.prompt == words and Path(frozen.out).is_dir() and not set("{}#%/\\:*?") & set(frozen.id)


def test_a_folder_that_cannot_be_written(scene, tmp_path):
    (tmp_path / "takes").write_text("a file is in the way")
    assert refusal(FolderError).remedy.action == "choose_folder"


def test_a_still_that_is_not_there(scene, tmp_path):
    scene.sora.use_keyframes, scene.sora.first_image = True, str(tmp_path / "none.png")
    assert "none.png" in str(refusal(KeyframeError))
    (tmp_path / "none.png").write_bytes(b"")
    scene.sora.last_image = scene.sora.first_image
    assert [still.frame for still in shot.frozen(bpy.context).keyframes] == [0, 48]


def test_a_family_that_this_engine_lacks(scene):
    scene.sora.family_name = "gone"
    assert scene.sora.family == "gone" and refusal(ModelError).remedy.action == "choose_model"
    bpy.ops.sora.remedy(action="choose_model")
    assert shot.frozen(bpy.context).family == "blockout"


def test_the_mask_remembers_collection_or_selection(scene):
    scene.sora.guide_mask = True
    for thing in scene.objects:
        thing.select_set(thing.name == "Cube")
    assert json.loads(shot.landing(bpy.context)["selection"]) == ["Cube"]
    scene.sora.mask_collection = bpy.data.collections["Collection"]
    assert shot.landing(bpy.context)["mask"] == "Collection"


def test_a_draft_is_asked_of_families_that_make_drafts(scene):
    settings = scene.sora
    assert not shot.frozen(bpy.context).draft
    settings.draft = True
    frozen = shot.frozen(bpy.context)
    assert frozen.draft
    settings.draft = False
    shot.restore(scene, frozen)
    assert settings.draft
    settings.draft_by = "magnitude"
    assert shot.frozen(bpy.context).draft_by == "magnitude"
    settings.family = "wan"
    by_magnitude = shot.frozen(bpy.context)
    settings.draft_by = "first_block"
    shot.restore(scene, by_magnitude)
    assert by_magnitude.draft_by == settings.draft_by == "magnitude"
    settings.family, settings.use_guides = "ltx2", False
    assert shot.frozen(bpy.context).draft and shot.frozen(bpy.context).draft_by == "magnitude"
    bpy.ops.sora.remedy(action="leave_out", value="draft")
    assert settings.draft is False


def test_guidance_is_limited_where_it_is_asked_for_and_there_is_some(scene):
    settings = scene.sora
    assert not shot.frozen(bpy.context).limited
    settings.limit_guidance, settings.guided_from, settings.guided_until = True, 0.1, 0.6
    frozen = shot.frozen(bpy.context)
    assert (frozen.guided_from, frozen.guided_until) == (0.1, 0.6)
    settings.limit_guidance, settings.guided_from = False, 0.0
    shot.restore(scene, frozen)
    assert settings.limit_guidance and settings.guided_from == pytest.approx(0.1)
    settings.guidance = 1.0
    assert not shot.frozen(bpy.context).limited, "there is none to limit"
    bpy.ops.sora.remedy(action="leave_out", value="limit_guidance")
    assert settings.limit_guidance is False


def test_the_second_of_two_experts_has_a_guidance_of_its_own(scene):
    settings = scene.sora
    settings.split_guidance, settings.guidance_low = True, 3.0
    assert shot.frozen(bpy.context).guidance_low < 0, "this family has one transformer"
    for family, model in (("wan", "wan2.2-t2v-a14b"), ("vace", "wan2.2-vace-fun-a14b")):
        settings.family, settings.model = family, model
        settings.split_guidance, settings.guidance, settings.guidance_low = True, 1.0, 3.0
        frozen = shot.frozen(bpy.context)
        assert (frozen.guidance, frozen.guidance_low) == (1.0, 3.0) and shot.is_guided(settings, families.spec(family))
        settings.split_guidance = False
        assert shot.frozen(bpy.context).guidance_low < 0
        shot.restore(scene, frozen)
        assert settings.split_guidance and settings.guidance_low == 3.0
        settings.model = families.spec(family).models[0]        # one transformer: the field is not drawn, and says nothing
        assert shot.frozen(bpy.context).guidance_low < 0
    bpy.ops.sora.remedy(action="leave_out", value="split_guidance")
    assert settings.split_guidance is False


def test_steps_and_guidance_go_with_the_weights(scene):
    """What stood at the numbers of the weights before; what the artist changed stays, and the panel says what is the model's own."""
    settings = scene.sora

    def stands() -> tuple:
        return settings.steps, round(settings.guidance, 4), round(settings.guidance_low, 4) if settings.split_guidance else -1.0
    settings.family = "wan"
    assert stands() == (50, 6.0, -1.0), "the first of its models"
    for model, expected in (("wan2.2-t2v-a14b", (40, 4.0, 3.0)), ("wan2.2-i2v-a14b", (40, 3.5, -1.0)), ("wan2.2-ti2v-5b", (50, 5.0, -1.0))):
        settings.model = model
        assert stands() == expected and defaults.note(settings, families.spec("wan")) == ""
        frozen = shot.frozen(bpy.context)
        assert (frozen.steps, round(frozen.guidance, 4), frozen.guidance_low) == expected
    settings.steps = 12
    settings.model = "wan2.2-t2v-a14b"
    assert stands() == (12, 4.0, 3.0)
    assert defaults.note(settings, families.spec("wan")) == "The model's own: 40 steps, guidance 4, 3 for little noise"
    settings.split_guidance = False
    settings.model = "wan2.1-t2v-14b"
    assert stands() == (12, 4.0, -1.0)
    settings.family = "ltx2"
    settings.model = "ltx-2.3-distilled"
    assert stands() == (8, 1.0, -1.0)


def test_a_shot_that_does_not_say_is_restored_as_its_model_is_shot(scene):
    scene.sora.family, scene.sora.model = "wan", "wan2.2-t2v-a14b"
    frozen, settings = shot.frozen(bpy.context), scene.sora
    for fields, expected in (({"steps": 0, "guidance": -1.0, "guidance_low": -1.0}, (40, 4.0, 3.0)), ({"steps": 7, "guidance": 2.0, "guidance_low": -1.0}, (7, 2.0, None)),
                             ({"steps": 0, "guidance": -1.0, "guidance_low": 1.5}, (40, 4.0, 1.5))):
        shot.restore(scene, dataclasses.replace(frozen, **fields))
        assert (settings.steps, settings.guidance, settings.guidance_low if settings.split_guidance else None) == expected


def test_two_stages_are_asked_of_families_that_have_them(scene):
    settings = scene.sora
    settings.two_stages = True
    assert not shot.frozen(bpy.context).two_stages
    settings.family, settings.use_guides, settings.size_source = "ltx2", False, "FAMILY"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 3840, 2160, 100
    frozen = shot.frozen(bpy.context)
    settings.two_stages = False
    small = shot.frozen(bpy.context)
    assert frozen.two_stages and not small.two_stages
    assert frozen.size.width * frozen.size.height > 3.5 * small.size.width * small.size.height, "the model's own size is twice as wide and high"
    shot.restore(scene, frozen)
    assert settings.two_stages
    bpy.ops.sora.remedy(action="leave_out", value="two_stages")
    assert settings.two_stages is False


def test_a_refiner_is_told_its_strength_and_prompt_where_the_family_has_one(scene):
    settings, known = scene.sora, families.specs()
    families.adopt(tuple(dataclasses.replace(spec, refines=float(spec.name == "blockout")) for spec in known))
    settings.refine_strength = 1.0
    assert shot.frozen(bpy.context).refine_strength == 1.0
    settings.refine_strength, settings.refine_prompt = 0.4, " wet asphalt "
    frozen = shot.frozen(bpy.context)
    assert (frozen.refine_strength, frozen.refine_prompt) == (0.4, "wet asphalt")
    settings.refine_strength = 0.0
    assert shot.frozen(bpy.context).refine_prompt == ""
    shot.restore(scene, frozen)
    assert round(settings.refine_strength, 4) == 0.4 and settings.refine_prompt == "wet asphalt"
    settings.family, settings.use_guides = "ltx2", False
    other = shot.frozen(bpy.context)
    families.adopt(known)
    assert (other.refine_strength, other.refine_prompt) == (-1.0, "")


def test_restore_is_the_reverse_of_frozen(scene):
    settings = scene.sora
    settings.negative, settings.strip_channel, settings.land_backdrop, settings.backdrop_distance, settings.guide_normal = "fog", 3, True, 12.5, False
    settings.frame_source, settings.frame_start, settings.frame_end, settings.format = "CUSTOM", 5, 20, "exr"
    frozen = shot.frozen(bpy.context)
    fresh = bpy.data.scenes.new("Other")
    fresh.camera = scene.camera
    shot.restore(fresh, frozen)
    with bpy.context.temp_override(scene=fresh):
        again = shot.frozen(bpy.context)
    for name in ("prompt", "negative", "seed", "size", "frames", "frame_start", "steps", "guidance", "format", "landings", "guides"):
        assert getattr(again, name) == getattr(frozen, name), name
    assert again.landing["channel"] == "3" and again.landing["distance"] == "12.5"
