"""Models in Blender: the catalogue drawn in every state, a download from a hub on loopback, what a shot needs, memory given back."""
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import layouts  # noqa: E402

import sora  # noqa: E402
from sora.engine import protocol  # noqa: E402
from sora.engine.errors import ModelError, Remedy  # noqa: E402
from sora.sora_addon import catalogue, doors, families, foresight, pump, stock, takes  # noqa: E402
from sora.sora_addon.panels import models as panel  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / ".venv" / "engine" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
NAME, REPOSITORY = "wan2.1-t2v-1.3b", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
GB = 10**9

_spec = importlib.util.spec_from_file_location("scripted_engine", ROOT / "tests" / "plain" / "scripted_engine.py")
scripted_engine = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scripted_engine)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    bpy.ops.wm.read_factory_settings()
    monkeypatch.setenv("SORA_ENGINE_PYTHON", sys.executable)
    monkeypatch.setenv("SORA_ENGINE_LOG", str(tmp_path / "engine.log"))
    monkeypatch.setenv("SORA_MODELS", str(tmp_path / "models"))
    addon = bpy.context.preferences.addons.new()
    addon.module = "sora"
    sora.register()
    bpy.context.preferences.addons["sora"].preferences.takes_folder = str(tmp_path / "takes")
    online = bpy.context.preferences.system.use_online_access
    yield bpy.context.scene
    bpy.context.preferences.system.use_online_access = online
    sora.unregister()
    bpy.context.preferences.addons.remove(bpy.context.preferences.addons["sora"])
    families.adopt(families.read_snapshot())


def model(name: str = NAME, **more) -> catalogue.Model:
    licence = catalogue.Licence(id="apache-2.0", label="Apache License 2.0", text="https://www.apache.org/licenses/LICENSE-2.0")
    fields = dict(name=name, family="wan", kind="diffusers", label="Wan small", state="absent", size=0, licence=licence, repository=REPOSITORY)
    return catalogue.Model(**{**fields, **more})


def stocked(*models: catalogue.Model) -> None:
    stock.listing = catalogue.Listing(folder="/models", free=120 * GB, trash=3 * GB, models=models, problems=("A record is damaged.",))


def page() -> layouts.Page:
    with layouts.editor("PREFERENCES") as context:
        return layouts.drawn_by(lambda layout: panel.draw_catalogue(layout, context), context)


def sidebar() -> layouts.Page:
    with layouts.editor("VIEW_3D") as context:
        return layouts.drawn(bpy.types.SORA_PT_view3d_shot, context)


def until(true, patience: float = 120.0) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, (stock.troubles, stock.verb, stock.step)
        stock.tick()
        pump.tick()
        time.sleep(0.02)


def test_every_state_has_its_button(scene):
    scene.sora.family = "wan"
    stocked(model("a"), model("b", state="partial", partial=2 * GB, size=5 * GB), model("c", state="installed", size=5 * GB, folder="/models/c"),
            model("d", state="damaged", wrong="weights is missing.", folder="/models/d"),
            model("mine", state="installed", repository="", folder="/models/mine"))
    shown = page()
    assert all(word in shown.text for word in ("Get", "Resume", "Mend", "Verify", "2.0 GB of it here", "weights is missing.", "A record is damaged.", "Empty Trash (3.0 GB)",
                                               "120.0 GB free", "Not here, Apache License 2.0"))
    assert sum("sora.get_model" in each for each in shown.operators) == 3
    assert sum("sora.verify_model" in each for each in shown.operators) == 2 and sum("sora.remove_model" in each for each in shown.operators) == 4
    bpy.context.window_manager.sora.models_family = "blockout"
    assert "needs no download" in page().text


def test_progress_and_trouble_are_shown(scene):
    scene.sora.family = "wan"
    stocked(model())
    stock.errand = catalogue.Errand(Path(sys.executable), ROOT, ("list",), {})
    stock.verb, stock.about, stock.step = "pull", NAME, catalogue.Step(done=GB, total=4 * GB, speed=5e7, eta=60.0)
    assert panel.said_of(stock.step) == "1.0 GB of 4.0 GB, 50 MB/s"
    for shown in (page(), sidebar()):
        assert f"Getting {NAME}, 1:00 left" in shown.text
        assert any("stop_models" in each for each in shown.operators)
    with pytest.raises(RuntimeError, match="Another model"):
        bpy.ops.sora.verify_model(model=NAME)
    stock.errand = None
    stock.troubles[NAME] = ModelError("The hub stopped.", Remedy(action="get_model", label="Try Again", value=NAME))
    assert "The hub stopped." in page().text and "Try Again" in sidebar().text


def test_the_sidebar_says_what_lacks(scene):
    assert "not on this machine" not in sidebar().text, "the embedded family is there"
    scene.sora.family = "wan"
    assert "not on this machine" not in sidebar().text, "nothing is known yet"
    stocked(model())
    shown = sidebar()
    assert "not on this machine" in shown.text.replace("\n", " ") and any(NAME in each for each in shown.operators if "get_model" in each)
    assert any("import_model" in each for each in shown.operators)
    stocked(model(state="installed"))
    assert not any("get_model" in each for each in sidebar().operators)


def test_models_of_this_machine_can_be_chosen(scene):
    settings = scene.sora
    settings.family = "wan"
    stocked(model(state="installed"), model("my-gguf", label="My GGUF", repository="", state="installed"), model("grain", kind="lora", repository="", state="installed"),
            model("broken", repository="", state="damaged"))
    assert panel_choices(settings)[-1] == "my-gguf" and not {"grain", "broken"} & set(panel_choices(settings))
    settings.model = "my-gguf"
    assert settings.model_name == "my-gguf"
    stock.listing = None
    assert settings.model == "my-gguf", "a list that is not there yet changes no choice"


def panel_choices(settings) -> list[str]:
    from sora.sora_addon.settings import _model_items
    return [item[0] for item in _model_items(settings, None)]


def test_an_import_says_whose_the_rest_is():
    from types import SimpleNamespace

    from sora.sora_addon.operators.models import ImportModel
    asked = SimpleNamespace(family="FOUND", called="", lora=False, base="wan2.2-t2v-a14b", second=True, link=False)
    assert ImportModel._options(asked) == ["--base", "wan2.2-t2v-a14b", "--component", "transformer_2"]


def test_nothing_is_fetched_offline_or_without_acceptance(scene):
    stocked(model())
    bpy.context.preferences.system.use_online_access = False
    with pytest.raises(RuntimeError, match="may not go online"):
        bpy.ops.sora.get_model(model=NAME, accept=True)
    assert bpy.context.window_manager.sora.remedy_action == "allow_online" and stock.errand is None
    assert "may not go online" in page().text
    assert bpy.ops.sora.remedy(action="allow_online") == {"FINISHED"}
    bpy.context.preferences.system.use_online_access = True
    with pytest.raises(RuntimeError, match="not accepted"):
        bpy.ops.sora.get_model(model=NAME)
    assert bpy.context.window_manager.sora.remedy_action == "get_model" and stock.errand is None


def test_the_dialog_shows_licence_size_and_space(scene):
    stocked(model())
    plan = catalogue.Plan(model=NAME, licence="mit", size=5 * GB, missing=4 * GB, free=120 * GB)
    with layouts.editor("PREFERENCES") as context:
        dialog = context.window_manager.operator_properties_last("sora.get_model")
        shown = layouts.drawn_by(lambda layout: panel.draw_licence(layout, model(), plan, dialog), context)
    assert all(word in shown.text for word in ("Apache License 2.0", "5.0 GB, 4.0 GB to come; 120.0 GB are free", "“mit”", REPOSITORY))
    assert any("apache.org" in each for each in shown.operators)


@pytest.fixture
def hub(tmp_path):
    """A hub on loopback with a tiny model in it."""
    if not ENGINE.exists():
        pytest.skip("no engine is installed here")
    folder = tmp_path / "hub"
    subprocess.run([str(ENGINE), "-c", "import sys; from pathlib import Path; from tests.engine.models_stage import make_model; "
                    "make_model(Path(sys.argv[1]))", str(folder / REPOSITORY)], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    running = subprocess.Popen([str(ENGINE), "-IS", str(ROOT / "tests" / "engine" / "hub_server.py"), str(folder)], stdout=subprocess.PIPE, text=True)
    yield folder, f"http://127.0.0.1:{int(running.stdout.readline())}"
    running.kill()
    running.wait()
    running.stdout.close()


def test_a_model_comes_is_checked_mended_and_goes(scene, hub, monkeypatch, tmp_path):
    folder, address = hub
    monkeypatch.setenv("SORA_ENGINE_PYTHON", str(ENGINE))
    monkeypatch.setenv("HF_ENDPOINT", address)
    scene.sora.family = "wan"
    bpy.ops.sora.list_models()
    until(lambda: stock.listing)
    bpy.context.preferences.system.use_online_access = True
    stock.ask(NAME)
    until(lambda: not stock.errand)
    assert stock.plans[NAME].missing == stock.plans[NAME].size > 100_000 and stock.plans[NAME].licence == "apache-2.0"
    (folder / "behaviour.json").write_text(json.dumps({WEIGHTS: {"pause": 0.3}}))
    bpy.ops.sora.get_model(model=NAME, accept=True)
    until(lambda: stock.step and stock.step.done > 16384)
    bpy.ops.sora.stop_models()
    until(lambda: not stock.errand and stock.listing.named(NAME).state == "partial")
    assert not stock.troubles and "Resume" in page().text
    (folder / "behaviour.json").write_text("{}")
    bpy.ops.sora.get_model(model=NAME)              # accepted before
    until(lambda: stock.listing.named(NAME).is_here)
    weights = tmp_path / "models" / NAME / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    bpy.ops.sora.verify_model(model=NAME)
    until(lambda: not stock.errand)
    assert "other bytes" in stock.troubles[NAME].sentence and stock.troubles[NAME].remedy.action == "get_model"
    bpy.ops.sora.remove_model(model=NAME)
    until(lambda: stock.listing.named(NAME).state == "absent" and not stock.errand)
    bpy.ops.sora.import_model(filepath=str(folder / REPOSITORY), called="mine", link=True)
    until(lambda: stock.listing.named("mine"))
    assert stock.listing.named("mine").folder == str(folder / REPOSITORY) and not stock.troubles


# ---------------------------------------------------------------- memory
@pytest.fixture
def engine(scene, tmp_path, monkeypatch):
    if sys.platform == "win32":
        pytest.skip("the scripted engine is a shell script")
    monkeypatch.setenv("SORA_ENGINE_PYTHON", str(scripted_engine.python_for(tmp_path, "prints")))
    settings = scene.sora
    settings.prompt, settings.use_guides, settings.land_strip = "a stone arch", False, False
    scene.frame_end, scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 5, 1000, 800, 100
    return settings


def test_what_a_shot_needs_is_said_by_a_running_engine_only(engine, scene):
    assert "Needs about" not in sidebar().text and pump.engine is None
    pump.warm()
    until(lambda: pump.engine_ready)
    sidebar()
    until(lambda: foresight._answer)
    assert "Needs about 4.0 GB of 10.0 GB free: In Turns" in sidebar().text.replace("\n", " ")
    engine.plan, scene.frame_end = "int8", 49
    sidebar()
    until(lambda: foresight._answer and "int8" in foresight._answer.shot)
    shown = sidebar()
    assert "free: 8 Bits. It does not fit." in shown.text.replace("\n", " ") and any("set_frames" in each for each in shown.operators)
    bpy.ops.sora.remedy(action="set_plan", value="")
    assert engine.plan == "automatic"


def test_a_large_model_without_a_card_takes_hours_and_there_are_ways_on(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("SORA_ENGINE_PYTHON", str(scripted_engine.python_for(tmp_path, "large_without_card")))
    assert "hours" not in sidebar().text
    pump.warm()
    until(lambda: pump.engine_ready)
    shown = sidebar()
    assert "A Card is not used. Scripted will take hours." in shown.text.replace("\n", " ")
    assert any("repair_engine" in each for each in shown.operators) and any("use_family" in each and "blockout" in each for each in shown.operators)


def test_rendering_frees_the_memory_that_a_model_holds_unless_told_not_to(engine):
    choices = bpy.context.preferences.addons["sora"].preferences
    bpy.ops.sora.generate()
    pump.run_until_idle(60)
    assert pump.holds_model and any("sora.unload" in each for each in sidebar().operators)
    choices.free_for_render = False
    doors._before_render()
    time.sleep(0.2)
    pump.tick()
    assert pump.holds_model
    choices.free_for_render = True
    doors._before_render()
    until(lambda: not pump.holds_model)
    assert not any("sora.unload" in each for each in sidebar().operators)


def test_an_asked_plan_goes_into_the_shot_and_back(engine, scene):
    from sora.sora_addon import shot
    engine.plan = "blocks"
    made = shot.frozen(bpy.context)
    assert made.plan == "blocks"
    shot.restore(scene, replace(made, plan=""))
    assert engine.plan == "automatic"
    shot.restore(scene, made)
    assert engine.plan == "blocks"


def test_a_take_says_what_was_planned_and_what_was_measured():
    made = protocol.Shot(id="a", family="wan", prompt="", seed=1, size=protocol.Size(8, 8), frames=1, fps=24.0, out="/a")
    take = protocol.Take(id="a", shot=made, files=protocol.Files(folder="", pattern="", first=1, count=1, colourspace=""), native=made.size, native_frames=1,
                         device="", created="", engine={}, seconds={}, peak_bytes=98 * GB // 10, plan="int8", planned_bytes=93 * GB // 10)
    assert takes.memory(take) == ("Memory: 8 Bits, 9.3 GB planned, 9.8 GB measured",)
    assert takes.memory(replace(take, plan="")) == ()


def test_the_menu_of_plans_is_the_wires():
    from sora.sora_addon.settings import PLAN_ITEMS
    assert tuple(name for name, *_ in PLAN_ITEMS[1:]) == protocol.PLANS


def test_a_model_that_blockout_was_trained_further_into_can_be_chosen(scene):
    scene.sora.family = "blockout"
    assert not any("Weights" in line for line in sidebar().text.splitlines())
    own = catalogue.Licence(id="unverified", label="unverified", text="")
    stocked(model("ink", family="blockout", kind="native", label="Ink", state="installed", repository="", licence=own))
    assert scene.sora.model == "blockout-v0" and any("Weights" in line for line in sidebar().text.splitlines())
    scene.sora.model = "ink"
    assert scene.sora.model_name == "ink"
