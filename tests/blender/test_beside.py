"""Stills, source clips, pictures of the subject, LoRAs and strengths become part of a shot, or a sentence with a way out."""
import json
from dataclasses import replace
from pathlib import Path

import bpy
import pytest

from sora.engine import guide_files, protocol
from sora.engine.errors import GuideError, KeyframeError, ModelError
from sora.engine.protocol import Keyframe, Lora
from sora.sora_addon import beside, families, lines, shot, stock
from tests.blender.landing_stage import make_take
from tests.blender.vace_stage import scene  # noqa: F401  a fixture


@pytest.fixture
def picture(tmp_path):
    def made(name):
        path = tmp_path / name
        path.write_bytes(b"a picture")
        return str(path)
    return made


def refusal(kind):
    """The error with which freezing is refused now."""
    with pytest.raises(kind) as caught:
        shot.frozen(bpy.context)
    assert caught.value.remedy is not None and caught.value.sentence.endswith(".")
    return caught.value


def follow(error):
    """Presses the remedy's button."""
    assert bpy.ops.sora.remedy(action=error.remedy.action, value=error.remedy.value) == {"FINISHED"}


def images_of(frozen) -> list[str]:
    """What the engine reads as the source clip, by the names of the files that they are."""
    return [path.resolve().read_bytes().decode() if path.stat().st_size < 40 else path.name for path in guide_files.sequence(frozen.source, frozen)[0]]


def clip_of(tmp_path, numbers, name="clip ü") -> Path:
    """A folder of files that say their own number."""
    folder = tmp_path / name
    folder.mkdir()
    for number in numbers:
        (folder / f"image.{number:03d}.png").write_text(str(number))
    return folder


def lora_record(tmp_path, name, family="vace", **more):
    folder = tmp_path / "models" / name
    folder.mkdir(parents=True)
    (folder / "sora.json").write_text(json.dumps({"version": 1, "name": name, "family": family, "kind": "lora", "label": f"The {name}",
                                                  "licence": "", "files": {}, **more}))


# ---------------------------------------------------------------- stills
def test_stills_at_any_frame(scene, picture):
    settings = scene.sora
    settings.first_image, settings.last_image = picture("first.png"), picture("last.jpg")
    scene.frame_set(12)
    bpy.ops.sora.add_still(filepath=picture("middle.webp"))
    assert settings.use_keyframes and settings.stills[0].frame == 12
    names = [(still.frame, Path(still.path).name) for still in shot.frozen(bpy.context).keyframes]
    assert names == [(0, "first.png"), (2, "middle.webp"), (4, "last.jpg")]


@pytest.mark.parametrize(("frame", "name", "said"), [(99, "a.png", "outside"), (10, "a.png", "two stills"), (12, "gone.png", "not there"),
                                                     (12, "a.exr", "not a PNG"), (12, "", "no picture")])
def test_a_still_that_cannot_be_is_left_out_by_its_button(scene, picture, frame, name, said):
    settings, first = scene.sora, picture("a.png")
    settings.first_image, settings.use_keyframes = first, True
    scene.frame_set(frame)
    picture("a.exr")
    bpy.ops.sora.add_still(filepath=str(Path(first).parent / name) if name else "")
    error = refusal(KeyframeError)
    assert said in str(error)
    follow(error)
    assert len(settings.stills) == 1 and [still.frame for still in shot.frozen(bpy.context).keyframes] == [0]


def test_a_first_frame_that_is_gone(scene, tmp_path):
    scene.sora.use_keyframes, scene.sora.first_image = True, str(tmp_path / "gone.png")
    follow(refusal(KeyframeError))
    assert shot.frozen(bpy.context).keyframes == () and scene.sora.first_image == ""


# ---------------------------------------------------------------- pictures of the subject
def test_pictures_of_the_subject(scene, picture, tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png"):
        picture(name)
        bpy.ops.sora.add_references(directory=str(tmp_path), files=[{"name": name}])
    assert [Path(path).name for path in shot.frozen(bpy.context).references] == ["a.png", "b.png", "c.png", "d.png"]
    with pytest.raises(RuntimeError, match="takes 4 pictures"):
        bpy.ops.sora.add_references(directory=str(tmp_path), files=[{"name": "a.png"}])
    scene.sora.references[1].on = False
    scene.sora.references[2].image = str(tmp_path / "gone.png")
    follow(refusal(KeyframeError))
    assert [Path(path).name for path in shot.frozen(bpy.context).references] == ["a.png", "d.png"]


def test_more_pictures_than_the_family_takes(scene, picture):
    for name in "abcdef":
        scene.sora.references.add().image = picture(f"{name}.png")
    error = refusal(KeyframeError)
    assert "up to 4" in str(error)
    follow(error)
    assert len(shot.frozen(bpy.context).references) == 4 and len(scene.sora.references) == 6


# ---------------------------------------------------------------- LoRAs
def test_loras_of_the_models_folder_and_files(scene, picture, tmp_path):
    lora_record(tmp_path, "clay", triggers=["clay style"], strength=0.8)
    lora_record(tmp_path, "other", family="ltx2")
    bpy.ops.sora.add_lora(lora="clay")
    bpy.ops.sora.open_lora(filepath=picture("mine.safetensors"))
    rows = scene.sora.loras
    assert rows[0].strength == pytest.approx(0.8) and rows[0].triggers == "clay style" and rows[1].triggers == ""
    rows[1].strength = 1.5
    assert shot.frozen(bpy.context).loras == (Lora(name="clay", strength=0.8), Lora(name=str(tmp_path / "mine.safetensors"), strength=1.5))
    scene.sora.loras_index = 0
    bpy.ops.sora.say_triggers()
    assert scene.sora.prompt == "clay style, a stone arch"


def test_a_lora_for_one_of_two_experts(scene, tmp_path):
    lora_record(tmp_path, "clay")
    settings = scene.sora
    settings.family, settings.model = "wan", "wan2.2-t2v-a14b"
    lora_record(tmp_path, "film", family="wan")
    bpy.ops.sora.add_lora(lora="film")
    assert stock.two_experts(families.spec("wan"), settings.model_name) and [item[0] for item in lines.EXPERT_ITEMS] == list(protocol.EXPERTS)
    assert beside.loras(settings, families.spec("wan"), tmp_path / "models") == (Lora(name="film"),)
    settings.loras[0].expert = "low"
    frozen = shot.frozen(bpy.context)
    assert frozen.loras == (Lora(name="film", expert=2),)
    assert [one.name for one in lines.installed("vace")] == ["clay", "film"], "VACE takes Wan's"
    assert [one.name for one in lines.installed("wan")] == ["film"]
    fresh = bpy.data.scenes.new("Other")
    shot.restore(fresh, frozen)
    assert fresh.sora.loras[0].expert == "low"
    settings.model = "wan2.1-t2v-1.3b"                 # it has one transformer: the line is not drawn, and says nothing
    assert not stock.two_experts(families.spec("wan"), settings.model_name) and shot.frozen(bpy.context).loras == (Lora(name="film"),)


@pytest.mark.parametrize(("written", "said"), [
    ("other", "not among those"), ("", "no name"), ("gone.safetensors", "not there"), ("a.pt", "not a safetensors")])
def test_a_lora_that_cannot_be_is_left_out_by_its_button(scene, picture, tmp_path, written, said):
    lora_record(tmp_path, "other", family="ltx2")
    picture("a.pt")
    scene.sora.loras.add().lora = str(tmp_path / written) if "." in written else written
    error = refusal(ModelError)
    assert said in str(error)
    follow(error)
    assert shot.frozen(bpy.context).loras == ()


def test_a_lora_at_two_strengths_for_two_experts(scene, tmp_path):
    lora_record(tmp_path, "film", family="wan")
    settings = scene.sora
    settings.family, settings.model = "wan", "wan2.2-t2v-a14b"
    for expert, strength in (("high", 1.0), ("low", 0.4)):
        bpy.ops.sora.add_lora(lora="film")
        settings.loras[-1].expert, settings.loras[-1].strength = expert, strength
    frozen = shot.frozen(bpy.context)
    assert frozen.loras == (Lora(name="film", expert=1), Lora(name="film", strength=0.4, expert=2))
    fresh = bpy.data.scenes.new("Other")
    shot.restore(fresh, frozen)
    assert [(row.lora, row.expert) for row in fresh.sora.loras] == [("film", "high"), ("film", "low")]
    settings.loras[0].expert = "both"
    assert "once for each expert" in str(refusal(ModelError))


def test_a_lora_twice(scene, tmp_path):
    lora_record(tmp_path, "clay")
    bpy.ops.sora.add_lora(lora="clay")
    bpy.ops.sora.add_lora(lora="clay")
    assert "twice" in str(refusal(ModelError))
    bpy.ops.sora.remove_line(kind="loras")
    assert len(shot.frozen(bpy.context).loras) == 1


# ---------------------------------------------------------------- strengths
def test_strengths_of_guides(scene):
    scene.sora.strength_depth, scene.sora.guide_mask = 0.35, True
    assert {guide.kind: guide.strength for guide in shot.frozen(bpy.context).guides} == {"depth": 0.35, "normal": 1.0, "mask": 1.0}


# ---------------------------------------------------------------- source clips
def test_a_take_is_begun_from_where_it_lies(scene, tmp_path):
    take, folder = make_take(tmp_path / "takes", start=10, count=5)
    scene.sora.family, scene.sora.source_from, scene.sora.source_take, scene.sora.source_change = "wan", "TAKE", take.id, 0.4
    frozen = shot.frozen(bpy.context)
    assert (frozen.source.kind, frozen.source.strength, frozen.source.path) == ("beauty", 0.4, str(folder / "frames"))
    assert images_of(frozen) == take.files.names()


def test_a_family_that_keeps_nothing_of_the_clip_is_told_so(scene, tmp_path):
    take, _folder = make_take(tmp_path / "takes", start=10, count=5)
    scene.sora.source_from, scene.sora.source_take, scene.sora.source_change = "TAKE", take.id, 0.4
    assert shot.frozen(bpy.context).source.strength == 1.0


def test_a_part_of_a_clip_is_that_of_the_same_frames(scene, tmp_path):
    scene.sora.source_from, scene.sora.source_folder = "FOLDER", str(clip_of(tmp_path, range(8, 20)))
    frozen = shot.frozen(bpy.context)
    assert images_of(frozen) == ["10", "11", "12", "13", "14"]
    assert Path(frozen.source.path) == Path(frozen.out) / "source" and protocol.read_shot(frozen.out) == frozen


def test_a_clip_of_other_numbers_begins_with_its_first(scene, tmp_path):
    scene.sora.source_from, scene.sora.source_folder = "FOLDER", str(clip_of(tmp_path, range(100, 120)))
    assert images_of(shot.frozen(bpy.context)) == ["100", "101", "102", "103", "104"]


def test_a_short_clip_offers_its_length(scene, tmp_path):
    scene.sora.source_from, scene.sora.source_folder = "FOLDER", str(clip_of(tmp_path, range(8, 13)))
    scene.frame_end = 20
    error = refusal(GuideError)
    assert "8 to 12" in str(error) and error.remedy.value == "3"
    follow(error)
    assert images_of(shot.frozen(bpy.context)) == ["10", "11", "12"]


@pytest.mark.parametrize(("numbers", "said"), [((10, 11, 13, 14), "lacks the picture 12"), ((), "no numbered")])
def test_a_folder_that_is_no_clip(scene, tmp_path, numbers, said):
    scene.sora.source_from, scene.sora.source_folder = "FOLDER", str(clip_of(tmp_path, numbers))
    error = refusal(GuideError)
    assert said in str(error)
    follow(error)
    assert shot.frozen(bpy.context).source is None


@pytest.mark.parametrize(("chosen", "field"), [("TAKE", "source_take"), ("FOLDER", "source_folder")])
@pytest.mark.parametrize("value", ["", "gone"])
def test_a_clip_that_is_gone(scene, tmp_path, chosen, field, value):
    scene.sora.source_from = chosen
    setattr(scene.sora, field, value and str(tmp_path / value) if chosen == "FOLDER" else value)
    follow(refusal(GuideError))
    assert shot.frozen(bpy.context).source is None


def strip_of(scene, folder, start, names):
    editor = scene.sequence_editor_create()
    strip = editor.strips.new_image(name="Plate", filepath=str(folder / names[0]), channel=1, frame_start=start)
    for name in names[1:]:
        strip.elements.append(name)
    editor.active_strip = strip
    return strip


def test_the_active_strip_as_it_plays(scene, tmp_path):
    folder = clip_of(tmp_path, range(1, 11))
    strip = strip_of(scene, folder, 8, [f"image.{number:03d}.png" for number in range(1, 11)])
    scene.sora.source_from = "STRIP"
    assert images_of(shot.frozen(bpy.context)) == ["3", "4", "5", "6", "7"]
    strip.use_reverse_frames = True
    assert images_of(shot.frozen(bpy.context)) == ["8", "7", "6", "5", "4"]
    scene.frame_end = 40
    error = refusal(GuideError)
    assert "8 to 17" in str(error)
    follow(error)
    assert shot.frozen(bpy.context).frames == 8


def test_a_trimmed_strip(scene, tmp_path):
    folder = clip_of(tmp_path, range(1, 11))
    strip = strip_of(scene, folder, 8, [f"image.{number:03d}.png" for number in range(1, 11)])
    strip.split(frame=10, split_method="HARD")
    scene.sequence_editor.active_strip = next(each for each in scene.sequence_editor.strips if each.name != strip.name)
    scene.sora.source_from = "STRIP"
    assert images_of(shot.frozen(bpy.context)) == ["3", "4", "5", "6", "7"]


def test_strips_that_hold_no_pictures(scene):
    scene.sora.source_from = "STRIP"
    assert "No strip is active" in str(refusal(GuideError))
    editor = scene.sequence_editor_create()
    editor.active_strip = editor.strips.new_meta(name="Scene 12", channel=1, frame_start=1)
    assert "not a strip of images" in str(refusal(GuideError))


# ---------------------------------------------------------------- families that take less
@pytest.fixture
def plain_family():
    """The name of a family that an engine might have, and that takes no LoRAs."""
    families.adopt(tuple(replace(each, loras=False) if each.name == "sana_wm" else each for each in families.specs()))
    yield "sana_wm"
    families.adopt(families.read_snapshot())


def test_a_family_that_takes_none_of_it_is_given_none_of_it(scene, picture, plain_family):
    settings = scene.sora
    settings.references.add().image = picture("a.png")
    settings.loras.add().lora = "clay"
    settings.source_from, settings.source_folder = "FOLDER", "/nowhere"
    settings.family = plain_family
    frozen = shot.frozen(bpy.context)
    assert (frozen.references, frozen.loras, frozen.source) == ((), (), None)
    assert settings.references[0].on and settings.source_from == "FOLDER"


# ---------------------------------------------------------------- and back
def everything_set(scene, picture, tmp_path):
    settings = scene.sora
    settings.use_keyframes, settings.first_image = True, picture("first.png")
    scene.frame_set(12)
    bpy.ops.sora.add_still(filepath=picture("middle.png"))
    settings.references.add().image = picture("subject.png")
    lora_record(tmp_path, "clay")
    bpy.ops.sora.add_lora(lora="clay")
    settings.loras[0].strength, settings.strength_normal, settings.guide_beauty, settings.strength_beauty = 0.7, 0.25, True, 0.5
    settings.source_from, settings.source_folder = "FOLDER", str(clip_of(tmp_path, range(8, 20)))
    return shot.frozen(bpy.context)


MORE = ("keyframes", "references", "loras", "guides", "source")


def test_restore_brings_all_of_it_back(scene, picture, tmp_path):
    frozen = everything_set(scene, picture, tmp_path)
    assert protocol.read_shot(frozen.out) == frozen
    fresh = bpy.data.scenes.new("Other")
    fresh.camera = scene.camera
    for _ in range(2):                      # twice: lists do not grow
        shot.restore(fresh, frozen)
    with bpy.context.temp_override(scene=fresh):
        again = shot.frozen(bpy.context)
    assert {name: getattr(again, name) for name in MORE} == {name: getattr(frozen, name) for name in MORE}
    assert again.keyframes[1] == Keyframe(frame=2, path=str(tmp_path / "middle.png"))


def test_a_take_is_restored_as_a_take(scene, tmp_path):
    take, _folder = make_take(tmp_path / "takes", start=10, count=5)
    scene.sora.source_from, scene.sora.source_take = "TAKE", take.id
    frozen = shot.frozen(bpy.context)
    scene.sora.source_from = "NONE"
    shot.restore(scene, frozen)
    assert (scene.sora.source_from, scene.sora.source_take) == ("TAKE", take.id)


def test_shooting_again_keeps_all_of_it_even_when_the_take_has_moved(scene, picture, tmp_path):
    frozen = everything_set(scene, picture, tmp_path)
    take, _folder = make_take(tmp_path / "elsewhere", id=frozen.id, count=5)
    moved = tmp_path / "takes" / "moved"
    Path(frozen.out).rename(moved)
    (moved / "take.json").write_text(protocol.as_json(protocol.Take(**{**{name: getattr(take, name) for name in (
        "id", "files", "native", "native_frames", "device", "created", "engine", "seconds", "peak_bytes")}, "shot": frozen})))
    again = shot.again(moved, tmp_path / "takes")
    assert {name: getattr(again, name) for name in MORE[:4]} == {name: getattr(frozen, name) for name in MORE[:4]}
    assert Path(again.source.path).is_relative_to(again.out) and images_of(again) == ["10", "11", "12", "13", "14"]
