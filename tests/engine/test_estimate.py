"""What a shot is said to need before it is shot: the plan, the bytes, and a way out where nothing fits."""
import dataclasses
import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine import families, plan
from engine.device import Device
from engine.estimate import estimated, need
from engine.protocol import Estimate, Estimated, Guide, Lora, Ready, Size
from tests.engine.open_stage import staged


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("estimates"), checkpoints) as made:
        yield made


def card(free: int) -> Device:
    return Device("cuda", "a card", "bfloat16", 2**40, int(free / plan.SPARE) + 1)


NOWHERE = Device("cpu", "a processor without memory", "float32", 0, 0)


def wan(stage, **more):
    """A shot of a tiny model, so large that its activations count."""
    return stage.shot("wan", "wan_text", **{"frames": 81, "size": Size(832, 480), **more})


def wide(stage) -> Path:
    """The same checkpoint, said to be as wide as Wan's large one, so that sampling needs more than decoding."""
    folder = stage.folder / "models" / "wide"
    shutil.copytree(stage.model("wan_text"), folder, dirs_exist_ok=True)
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824}))
    return folder


def needed(shot) -> plan.Need:
    return need(shot, families.weights(shot.family, shot.model), card(2**40))


def test_the_plan_is_the_one_that_will_run(stage):
    shot = wan(stage)
    for name in plan.ON_DEVICE:
        said = estimated(shot, card(needed(shot).bytes(name)))
        assert said.fits and said.remedy is None and said.shot == shot.id
        assert said.bytes == needed(shot).bytes(said.plan) <= needed(shot).bytes(name)
    assert estimated(shot, card(2**40)).plan == "full"
    assert estimated(dataclasses.replace(shot, plan="blocks"), card(2**40)).plan == "blocks"


def test_what_is_longer_than_a_window_needs_no_more(stage):
    assert needed(wan(stage, frames=801)) == needed(wan(stage, fps=16.0)), "at 24 frames a second 81 frames are 55 of Wan's"
    assert needed(wan(stage, size=Size(1920, 1080))) == needed(wan(stage)), "it is up-scaled from what the model makes"


def test_loras_count_with_their_files(stage):
    folder, dice = stage.model("wan_text"), torch.Generator().manual_seed(5)
    worn = stage.folder / "heavy.safetensors"
    save_file({f"transformer.blocks.{block}.attn1.to_q.lora_{half}.weight": torch.randn(shape, generator=dice)
               for block in range(2) for half, shape in (("A", (2, 24)), ("B", (24, 2)))}, worn)
    place = card(2**40)
    bare, dressed = (need(wan(stage, loras=loras), folder, place) for loras in ((), (Lora(name=str(worn)),)))
    assert dressed.worn == worn.stat().st_size > bare.worn == 0
    assert dressed.bytes("full") - bare.bytes("full") == dressed.worn


def test_what_is_made_at_the_familys_own_rate_is_what_counts(stage):
    """Wan makes 16 frames a second; a layout sets the shot's own."""
    folder, place = stage.model("wan_text"), card(2**40)
    usual, fast = (need(wan(stage, fps=fps), folder, place) for fps in (16.0, 24.0))
    assert fast.sampling < .75 * usual.sampling
    begun = need(wan(stage, fps=24.0, source=Guide(kind="beauty", path="")), folder, place)
    assert begun.sampling == usual.sampling


def test_what_fits_nowhere_has_a_way_out(stage):
    shot = dataclasses.replace(wan(stage), model=str(wide(stage)))
    shorter, smaller = (dataclasses.replace(shot, **changed) for changed in ({"frames": 37}, {"frames": 5, "size": Size(416, 240)}))
    said = estimated(shot, card(needed(shorter).bytes("blocks")), beside=NOWHERE)
    assert not said.fits and (said.remedy.action, said.remedy.value) == ("set_frames", "37")
    said = estimated(dataclasses.replace(shot, frames=5), card(needed(smaller).bytes("blocks")), beside=NOWHERE)
    assert not said.fits and said.remedy.action == "set_size" and said.remedy.value == "416x240"
    said = estimated(shot, card(0), beside=NOWHERE)
    assert not said.fits and said.remedy.action == "choose_model" and said.bytes > 0
    said = estimated(dataclasses.replace(shot, plan="full"), card(needed(shot).bytes("full") - 2))
    assert not said.fits and said.plan == "full" and said.remedy.action == "set_plan" and said.remedy.value == ""


def test_a_model_that_is_not_here_is_said(stage):
    said = estimated(dataclasses.replace(wan(stage), model="wan2.1-t2v-14b"), card(2**40))
    assert not said.fits and "wan2.1-t2v-14b" in said.note and said.remedy is not None and said.plan == ""


def test_blockout_has_nothing_to_plan(a_shot):
    assert estimated(a_shot(), card(2**30)).plan == "" and estimated(a_shot(), card(2**30)).fits


@pytest.mark.parametrize("name", list(families.FAMILIES))
def test_a_spec_says_whether_its_models_have_plans(name):
    spec = families.FAMILIES[name].SPEC
    module = importlib.import_module("engine.blockout.footage" if name == "blockout" else f"engine.diffusers_line.{name}")
    models = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__ and hasattr(kind, "sample")]
    assert models and all(hasattr(kind, "fit") == spec.plans for kind in models)


def test_an_asked_plan_is_kept_for_that_shot_alone(stage):
    assert stage.roll("wan", "wan_text", plan="fp8").plan == "fp8"
    assert stage.studio.estimate(stage.shot("wan", "wan_text")).plan == "full"
    assert stage.roll("wan", "wan_text").plan == "full"


def test_an_asked_plan_that_does_not_suffice_steps_down(stage):
    met = []

    def say(progress):
        if progress.stage == "denoise" and progress.step == 1 and not met:
            met.append(progress)
            raise MemoryError("no more")
    take = stage.roll("wan", "wan_text", plan="full", say=say)
    assert (take.plan, take.shot.plan) == ("int8", "full")
    assert stage.studio.estimate(stage.shot("wan", "wan_text")).plan == "int8", "as it is loaded"
    stage.studio.unload()


def test_the_engine_answers_over_its_wire(engines, a_shot, stage):
    engine = engines()
    assert isinstance(engine.hear(), Ready)
    engine.say(Estimate(shot=a_shot("one")))
    assert engine.until(lambda event: isinstance(event, Estimated))[-1].fits
    shot = stage.shot("wan", "wan_text")
    engine.say(Estimate(shot=shot))
    said = engine.until(lambda event: isinstance(event, Estimated))[-1]
    assert said.shot == shot.id and said.plan in ("full", "int8") and 0 < said.bytes and 0 < said.free
    engine.say(Estimate(shot=dataclasses.replace(shot, model="/nowhere")))
    assert "not" in engine.until(lambda event: isinstance(event, Estimated))[-1].note


def test_the_command_line_says_the_same(stage, engine_cli):
    from engine.protocol import as_json
    path = stage.folder / "asked.json"
    path.write_text(as_json(stage.shot("wan", "wan_text", plan="fp8")))
    assert json.loads(engine_cli("plan", path, "--json").stdout)["chosen"] == "fp8"


# ---------------------------------------------------------------- what stays of what was encoded
@pytest.mark.parametrize(("family", "model"), [("vace", "vace"), ("wan", "wan_pictures"), ("wan", "wan_text"), ("ltx2", "ltx2"), ("cogvideox", "cogvideox"),
                                               ("skyreels", "skyreels")])
def test_latents_that_stay_are_counted_where_they_lie(stage, family, model):
    """On a processor what a shot leaves behind is in the memory that the next one has; a card's stays free of it."""
    given = {"vace": {"guides": (stage.guide("depth", 1), stage.guide("edges", 2)), "references": (stage.still(1),)},
             "wan_pictures": {"keyframes": (stage.keyframe(0), stage.keyframe(8, 3))}, "skyreels": {"keyframes": (stage.keyframe(0),)},
             "wan_text": {"source": dataclasses.replace(stage.guide("beauty", 4), strength=0.5)}, "ltx2": {"keyframes": (stage.keyframe(0),)},
             "cogvideox": {"guides": (stage.guide("depth"),)}}[model]
    shot, folder = stage.shot(family, model, size=Size(64, 64), **given), stage.model(model)
    here, there = (need(shot, folder, place) for place in (dataclasses.replace(card(2**40), name="cpu"), card(2**40)))
    stage.studio.unload()
    stage.roll(family, model, size=Size(64, 64), **given)
    loaded = stage.studio._loaded[1]
    known = loaded.encoded
    held = sum(latent.nbytes for latent in known._held.values())
    fitted = 4 * 6 * (96 // (2 if model == "ltx2" else 8)) ** 2 * (8 if model in ("ltx2", "cogvideox") else 32)     # what previews are fitted on
    assert 0 < held <= here.remembered <= 1.5 * held + fitted and there.remembered == 0
    for name in plan.ON_DEVICE:
        assert here.bytes(name) == dataclasses.replace(here, remembered=0).bytes(name) + here.remembered
        assert there.bytes(name) == dataclasses.replace(here, remembered=0).bytes(name)


def test_no_shot_leaves_more_than_is_kept(stage):
    from engine.diffusers_line.remembered import ENCODED_BYTES
    place = dataclasses.replace(card(2**40), name="cpu")
    long = stage.shot("vace", "vace", frames=1441, size=Size(832, 480), guides=(stage.guide("depth", 1), stage.guide("edges", 2)))
    assert need(long, stage.model("vace"), place).remembered < ENCODED_BYTES
    longer = dataclasses.replace(long, guides=(*long.guides, stage.guide("beauty", 3), stage.guide("normal", 3)), frames=8001)
    assert need(longer, stage.model("vace"), place).remembered == ENCODED_BYTES
