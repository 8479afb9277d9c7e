"""Few steps and compiling: chosen at once, into the shot and back, and what lacks for them is offered."""
import sys
from dataclasses import replace
from pathlib import Path

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import layouts  # noqa: E402

import sora  # noqa: E402
from sora.engine.protocol import Lora  # noqa: E402
from sora.sora_addon import catalogue, families, lines, shot, stock  # noqa: E402

MODEL, LORA = "wan2.1-t2v-14b", "wan2.1-t2v-14b-4-steps"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    bpy.ops.wm.read_factory_settings()
    monkeypatch.setenv("SORA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("SORA_ENGINE_PYTHON", sys.executable)
    addon = bpy.context.preferences.addons.new()
    addon.module = "sora"
    sora.register()
    bpy.context.preferences.addons["sora"].preferences.takes_folder = str(tmp_path / "takes")
    made = bpy.context.scene.sora
    made.prompt, made.family, made.model, made.use_guides = "a stone arch", "wan", MODEL, False
    yield made
    stock.listing = None
    sora.unregister()
    bpy.context.preferences.addons.remove(bpy.context.preferences.addons["sora"])


def stocked(state: str) -> None:
    licence = catalogue.Licence(id="apache-2.0", label="Apache License 2.0", text="https://www.apache.org/licenses/LICENSE-2.0")
    lora = catalogue.Model(name=LORA, family="wan", kind="lora", label="Four steps", state=state, size=0, licence=licence, repository="somebody/lora")
    stock.listing = catalogue.Listing(folder="/models", free=10**11, models=(lora,))


def seed_panel() -> layouts.Page:
    with layouts.editor("VIEW_3D") as context:
        return layouts.drawn(bpy.types.SORA_PT_view3d_seed, context)


def test_one_choice_sets_what_goes_together(settings):
    whole = settings.steps, settings.guidance
    settings.preset = "4-steps-t2v"
    assert (settings.steps, settings.guidance) == (4, 1.0)
    frozen = shot.frozen(bpy.context)
    assert (frozen.preset, frozen.steps, frozen.loras) == ("4-steps-t2v", 4, ())
    settings.preset = "default"
    assert (settings.steps, settings.guidance) == whole and shot.frozen(bpy.context).preset == ""


def test_another_model_has_other_presets_or_none(settings):
    settings.preset = "4-steps-t2v"
    settings.model = "wan2.1-t2v-1.3b"
    assert settings.preset_name == "" and settings.steps == 50 and not families.presets(families.spec("wan"), settings.model_name)
    assert "Few Steps" not in seed_panel().text
    settings.model = "wan2.2-t2v-a14b"
    settings.preset = "4-steps-t2v-a14b"
    settings.family = "vace"
    assert settings.preset_name == "" and settings.steps == families.spec("vace").steps


def test_what_lacks_is_said_and_can_be_got(settings):
    stocked("absent")
    assert "not on this machine" not in seed_panel().text
    settings.preset = "4-steps-t2v"
    shown = seed_panel()
    assert "Four steps is not on this machine" in shown.text.replace("\n", " ") and any(LORA in each for each in shown.operators if "get_model" in each)
    stocked("installed")
    assert "not on this machine" not in seed_panel().text


def test_a_take_brings_its_preset_back_without_doubling_its_lora(settings):
    settings.preset = "4-steps-t2v"
    frozen = shot.frozen(bpy.context)
    settings.preset = "default"
    shot.restore(bpy.context.scene, replace(frozen, loras=(Lora(name=LORA),)))       # as the engine records it
    assert settings.preset == "4-steps-t2v" and settings.steps == 4 and not settings.loras
    lines.leave_out(settings, "preset")
    assert settings.preset_name == "" and settings.steps == families.spec("wan").own(MODEL).steps


def test_compiling_is_asked_for_where_the_family_can(settings):
    settings.compiled = True
    assert shot.frozen(bpy.context).compiled and "Compile" in seed_panel().text
    settings.family = "blockout"
    assert not shot.frozen(bpy.context).compiled and "Compile" not in seed_panel().text
    settings.family = "wan"
    shot.restore(bpy.context.scene, replace(shot.frozen(bpy.context), compiled=False))
    assert not settings.compiled
