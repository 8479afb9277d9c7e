"""Strengths that are keyframed or driven become those of each frame of the shot, and come back as keyframes."""
import sys
from pathlib import Path

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import layouts  # noqa: E402

import sora  # noqa: E402
from sora.engine.protocol import Span, read_shot  # noqa: E402
from sora.sora_addon import families, shot, strengths  # noqa: E402

FRAMES = 9


@pytest.fixture
def scene(tmp_path):
    with layouts.registered(tmp_path / "takes") as scene:
        scene.sora.prompt, scene.sora.family, scene.sora.guide_mask = "a stone arch", "vace", False
        scene.frame_start, scene.frame_end = 101, 100 + FRAMES
        scene.frame_set(104)
        yield scene


def keyed(scene, kind: str, interpolation: str, **strength_at) -> None:
    """Keys a strength: `f101=0.5` is one at the frame 101."""
    for frame, strength in strength_at.items():
        setattr(scene.sora, strengths.field(kind), strength)
        scene.sora.keyframe_insert(strengths.field(kind), frame=int(frame[1:]))
    curve = strengths._curve(scene.animation_data.action, scene.animation_data.action_slot, f"sora.{strengths.field(kind)}")
    for point in curve.keyframe_points:
        point.interpolation = interpolation


def of(made, kind: str) -> list[float]:
    """A guide's strength in each of the shot's frames, as the engine reads it."""
    guide = next(guide for guide in made.guides if guide.kind == kind)
    each = [guide.strength] * made.frames
    for span in guide.spans:
        each[span.first:span.last + 1] = [span.strength] * (span.last + 1 - span.first)
    return each


def test_a_key_at_each_end_is_a_ramp(scene):
    keyed(scene, "depth", "LINEAR", f101=0.0, f109=0.8)
    made = shot.frozen(bpy.context)
    assert of(made, "depth") == pytest.approx([0.1 * frame for frame in range(FRAMES)], abs=1e-4)
    assert of(made, "normal") == [1.0] * FRAMES and not made.guides[1].spans
    assert read_shot(made.out) == made and scene.frame_current == 104 and len(bpy.data.scenes) == 1


def test_held_keys_are_a_range_of_frames(scene):
    keyed(scene, "depth", "CONSTANT", f101=0.25, f104=1.0, f107=0.25)
    depth = shot.frozen(bpy.context).guides[0]
    assert (depth.strength, depth.spans) == (0.25, (Span(first=3, last=5, strength=1.0),))


def test_keys_beyond_the_shot_count_only_in_it(scene):
    keyed(scene, "depth", "CONSTANT", f1=0.0, f101=0.5, f200=1.0)
    depth = shot.frozen(bpy.context).guides[0]
    assert (depth.strength, depth.spans) == (0.5, ())


def test_a_driver_and_a_strip_of_animation_count_as_keys_do(scene):
    driver = scene.driver_add("sora.strength_normal").driver
    driver.expression = "(frame - 101) / 8"
    keyed(scene, "depth", "LINEAR", f101=0.0, f109=0.8)
    action, slot = scene.animation_data.action, scene.animation_data.action_slot
    scene.animation_data.action = None
    strip = scene.animation_data.nla_tracks.new().strips.new("held", 101, action)
    strip.action_slot = slot
    made = shot.frozen(bpy.context)
    assert of(made, "normal") == pytest.approx([frame / 8 for frame in range(FRAMES)], abs=1e-4)
    assert of(made, "depth") == pytest.approx([0.1 * frame for frame in range(FRAMES)], abs=1e-4)


def test_other_animation_of_the_scene_is_none(scene):
    scene.gravity = (0, 0, -9)
    scene.keyframe_insert("gravity", frame=101)
    assert not strengths.animated(scene, "depth") and not shot.frozen(bpy.context).guides[0].spans


def test_a_family_that_keeps_one_strength_is_given_the_first_frames_and_says_so(scene):
    keyed(scene, "depth", "LINEAR", f101=0.4, f109=0.8)
    scene.sora.family = "blockout"
    depth = shot.frozen(bpy.context).guides[0]
    assert (depth.kind, depth.strength, depth.spans) == ("depth", 0.4, ())
    assert "Blockout keeps one strength throughout" in guides().replace("\n", " ")


def test_the_panel_says_how_to_limit_a_guide(scene):
    assert "Keyframe a strength" in guides().replace("\n", " ")
    keyed(scene, "depth", "LINEAR", f101=0.4, f109=0.8)
    assert "follow their keyframes" in guides().replace("\n", " ")
    scene.sora.family = "blockout"
    strengths._clear(scene, "depth")
    assert "trength" not in guides().replace("Strength\n", "")


def guides() -> str:
    """The text of the panel of guides."""
    with layouts.complaints() as lines, layouts.editor("VIEW_3D") as context:
        text = layouts.drawn(bpy.types.SORA_PT_view3d_guides, context).text
    assert [line for line in lines if "icon" not in line and "ALSA" not in line] == []
    return text


def test_restore_keys_what_changed_and_clears_what_did_not(scene):
    keyed(scene, "depth", "LINEAR", f101=0.0, f109=0.8)
    ramp = shot.frozen(bpy.context)
    strengths._clear(scene, "depth")
    scene.sora.strength_depth = 0.6
    steady = shot.frozen(bpy.context)
    shot.restore(scene, ramp)
    assert of(shot.frozen(bpy.context), "depth") == of(ramp, "depth") and scene.sora.strength_depth == pytest.approx(0.3, abs=1e-4)
    shot.restore(scene, steady)
    assert of(shot.frozen(bpy.context), "depth") == [0.6] * FRAMES and not strengths.animated(scene, "depth")


def test_strengths_that_move_are_saved_with_the_file(scene, tmp_path):
    keyed(scene, "depth", "LINEAR", f101=0.0, f109=0.8)
    path = str(tmp_path / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=path)
    assert strengths.animated(bpy.context.scene, "depth") and len(set(of(shot.frozen(bpy.context), "depth"))) == FRAMES


def test_only_vace_says_that_strengths_may_change():
    assert [spec.name for spec in families.specs() if spec.spans] == ["vace"]
