"""Memory plans: what they say, and that the same shot comes out of each within the error that is stated."""
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine import plan, shoot
from engine.device import Device
from engine.errors import ModelError, OutOfMemory
from engine.protocol import Lora, Progress, Size
from tests.engine.open_stage import differing, pixels, staged

GB = 2 ** 30
CARD = Device("cuda", "a card", "bfloat16", 24 * GB, 24 * GB)


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("plans"), checkpoints) as made:
        yield made


def needing(text: float, transformer: float, vae: float = 0.5, sampling: float = 2, decoding: float = 3, second: float = 0) -> plan.Need:
    """In GB."""
    weights = {"text_encoder": text, "transformer": transformer, "vae": vae, **({"transformer_2": second} if second else {})}
    return plan.Need({name: int(size * GB) for name, size in weights.items()}, 40, int(sampling * GB), int(decoding * GB))


@pytest.mark.parametrize(("needed", "chosen"), [(needing(6, 3), "full"), (needing(11, 12), "turns"), (needing(11, 28), "int8"), (needing(11, 60), "blocks"),
                                                (needing(4, 14, second=14), "turns"), (needing(11, 28, second=28), "int8")])
def test_the_fastest_plan_that_fits_is_chosen(needed, chosen):
    found = plan.choose(needed, CARD)
    assert found.name == chosen and found.fits
    assert [needed.bytes(name) for name in plan.ON_DEVICE] == sorted((needed.bytes(name) for name in plan.ON_DEVICE), reverse=True)


def test_a_shot_that_fits_nowhere_says_so():
    found = plan.choose(needing(11, 28, sampling=40), CARD)
    assert found.name == "blocks" and not found.fits


def test_the_choice_of_a_person_counts(monkeypatch):
    monkeypatch.setenv(plan.CHOICE, "blocks")
    assert plan.choose(needing(1, 1), CARD).name == "blocks"
    monkeypatch.setenv(plan.CHOICE, "magic")
    with pytest.raises(ModelError, match="full, turns, int8, fp8, blocks"):
        plan.choose(needing(1, 1), CARD)


def test_parameters_are_counted_without_loading(stage):
    from diffusers import WanTransformer3DModel
    folder = stage.model("wan_text")
    counted = plan.parameters(folder)
    real = WanTransformer3DModel.from_pretrained(folder / "transformer")
    assert counted["transformer"] == sum(weights.numel() for weights in real.parameters())
    one, long, large = (plan.need(folder, CARD, frames, pixels) for frames, pixels in ((9, 4096), (81, 4096), (9, 16384)))
    assert long.sampling > one.sampling and large.sampling == pytest.approx(4 * one.sampling, rel=1e-4)
    assert large.decoding == pytest.approx(4 * one.decoding, rel=1e-4) and long.decoding < 20 * one.decoding, "decoding streams"


def test_a_plan_can_be_asked_for_before_a_shot(stage, engine_cli):
    import json
    from pathlib import Path

    from engine.protocol import as_json
    shot = stage.shot("wan", "wan_text")
    path = Path(stage.folder / "asked.json")
    path.write_text(as_json(shot))
    said = json.loads(engine_cli("plan", path, "--json").stdout)
    assert said["chosen"] == "full" and said["fits"] and said["bytes"]["full"] > said["bytes"]["blocks"] > 0


def test_fp8_stays_within_a_tenth(stage, monkeypatch):
    whole = stage.latent("vace", "vace", guides=(stage.guide("depth", 1),))
    stage.studio.unload()
    monkeypatch.setenv(plan.CHOICE, "fp8")
    take = stage.roll("vace", "vace", guides=(stage.guide("depth", 1),))
    narrow = stage.latent("vace", "vace", guides=(stage.guide("depth", 1),))
    kept = {weights.dtype for weights in stage.studio._loaded[1].parts["transformer"].parameters()}
    stage.studio.unload()
    assert take.plan == "fp8" and take.planned_bytes > 0 and torch.float8_e4m3fn in kept
    assert differing(whole, narrow) and np.linalg.norm(whole - narrow) < 0.1 * np.linalg.norm(whole)


def test_int8_stays_within_a_fiftieth_with_loras_as_without(stage):
    """Weights are at most 1/254 of their row's largest off; what comes of it is a fifth of fp8's error."""
    dice = torch.Generator().manual_seed(5)
    save_file({f"transformer.blocks.{block}.attn1.to_q.lora_{half}.weight": torch.randn(shape, generator=dice)
               for block in range(2) for half, shape in (("A", (2, 24)), ("B", (24, 2)))}, stage.folder / "worn.safetensors")
    shot = {"family": "vace", "model": "vace", "guides": (stage.guide("depth", 1),)}
    worn = (Lora(name=str(stage.folder / "worn.safetensors")),)
    whole, dressed, fp8 = stage.latent(**shot), stage.latent(**shot, loras=worn), stage.latent(**shot, plan="fp8")
    take = stage.roll(**shot, plan="int8")
    narrow = stage.latent(**shot, plan="int8")
    kept = [name for name, weights in stage.studio._loaded[1].parts["transformer"].named_parameters() if weights.dtype == torch.int8]
    assert take.plan == "int8" and any(name.startswith("vace_blocks.") for name in kept) and not any("embed" in name for name in kept)
    far = np.linalg.norm(whole - narrow)
    assert 0 < far < 0.02 * np.linalg.norm(whole) and far < np.linalg.norm(whole - fp8) / 2
    both = stage.latent(**shot, plan="int8", loras=worn)
    assert differing(both, narrow) and np.linalg.norm(both - dressed) < 0.02 * np.linalg.norm(whole)
    assert differing(narrow, stage.latent(**shot, plan="int8")) == [], "taken off without a trace"
    stage.studio.unload()


def test_int8_on_a_model_that_wears_a_lora_leaves_the_lora_as_it_is(stage):
    from engine import device, families
    from engine.diffusers_line.narrow import Narrow
    loaded = families.family("wan").load(stage.model("wan_text"), device.chosen())
    loaded.wear([(stage.folder / "worn.safetensors", 1.0)])
    loaded.placing.apply("int8")
    layer = loaded.parts["transformer"].blocks[0].attn1.to_q
    assert isinstance(layer.base_layer, Narrow) and not any(isinstance(one, Narrow) for one in layer.lora_A.values())


def test_small_cards_never_hold_a_whole_text_encoder(stage):
    """Of a shot's text encoder no more is counted than two tensors, and no more than one layer's weights lie on the device."""
    folder = stage.model("wan_text")
    needed = plan.need(folder, Device("cuda", "a card", "bfloat16", 8 * GB, 8 * GB), 9, 4096)
    assert 0 < needed.layers["text_encoder"] < needed.weights["text_encoder"]
    large = plan.Need(needed.weights | {"text_encoder": 11 * GB}, 40, 0, 0, layers={"text_encoder": 3 * GB})
    assert large.bytes("turns") == 11 * GB and large.bytes("int8") == large.bytes("blocks") == 3 * GB
    texts = []
    for name in ("full", "int8"):
        from engine import device, families
        loaded = families.family("wan").load(folder, device.chosen())
        loaded.placing.apply(name)
        texts.append(loaded.text("a red car, seen once"))
    assert torch.equal(*texts)


def test_int8_is_counted_in_the_precision_of_the_device():
    in_16, in_32 = needing(1, 20), plan.Need({"transformer": 20 * GB}, 40, 0, 0, 32)
    assert in_16.bytes("int8") == (10 + 0.5 + 2) * GB and in_32.bytes("int8") == 5.5 * GB
    assert plan.following("turns", CARD) == "int8" and plan.following("int8", CARD) == plan.following("fp8", CARD) == "blocks"
    here = Device("cpu", "a processor", "float32", 24 * GB, 24 * GB)
    assert plan.following("full", here) == "int8" and plan.following("int8", here) == ""


@pytest.mark.parametrize("name", ["turns", "blocks"])
def test_other_places_give_the_same_pixels(stage, name):
    from engine import device, families
    from engine.families import Window
    made = []
    for chosen in ("full", name):
        loaded = families.family("wan").load(stage.model("wan_experts"), device.chosen())
        loaded.placing.apply(chosen)
        window = Window(frames=9, size=loaded.native(stage.shot("wan", "wan_experts").size), seed=1, steps=3, guidance=4.0, text=loaded.text("a"),
                        negative=loaded.text(""))
        made.append(torch.cat(list(loaded.decode(list(loaded.sample(window))[-1]))))
    assert torch.equal(*made)


@pytest.mark.parametrize("family", ["skyreels", "cogvideox", "ltx2", "sana_wm"])
def test_families_of_pipelines_give_the_same_by_every_plan(stage, family):
    """Their pipelines call the components; these come and go by hooks."""
    whole, _ = by_plan(stage, family, "full")
    for name in ("turns", "blocks"):
        made, loaded = by_plan(stage, family, name)
        assert torch.equal(whole, made) and loaded.placing.plan == name
        assert loaded.placing._there is loaded.parts["vae"], "the autoencoder was the last to come, and alone"
    for name, kind, error in (("fp8", torch.float8_e4m3fn, 0.1), ("int8", torch.int8, 0.02)):
        narrow, loaded = by_plan(stage, family, name)
        kept = {weights.dtype for weights in loaded.parts["transformer"].parameters()}
        assert kind in kept and 0 < (whole - narrow).norm() < error * whole.norm(), name


def by_plan(stage, family, name):
    """Nine frames of a tiny model that is kept in memory by the plan `name`, and the model."""
    from engine import clip, device, families
    shot = stage.shot(family, family, size=Size(64, 64), **asked(stage, family))
    loaded = families.family(family).load(stage.model(family), device.chosen())
    loaded.placing.apply(name)
    size, cut, stretch = loaded.native(shot.size), threading.Event(), clip.Stretch(0, 0, 9, 0)
    window = families.Window(frames=9, size=size, seed=1, steps=3, guidance=4.0, text=loaded.text("a car"), negative=loaded.text(""),
                             guides=clip.Guides(shot).window(0, 9, size, cut), stills=clip.within(clip.stills(shot, size), stretch),
                             **clip.Beside(shot, family == "sana_wm").window(stretch, size, cut))
    return torch.cat(list(loaded.decode(list(loaded.sample(window))[-1], window))), loaded


def asked(stage, family) -> dict:
    """Keyframes and guides, so that the autoencoder is needed before the transformer as well."""
    return {"skyreels": {"keyframes": (stage.keyframe(0),)}, "cogvideox": {"guides": (stage.guide("depth"),)},
            "ltx2": {"keyframes": (stage.keyframe(0),)},
            "sana_wm": {"guides": (stage.camera(0.1),), "keyframes": (stage.keyframe(0),)}}[family]


@pytest.mark.parametrize("family", ["ltx2", "sana_wm", "cogvideox", "skyreels"])
def test_every_family_says_what_it_needs(stage, family):
    folder = stage.model(family)
    one, long = (plan.need(folder, CARD, frames, 4096) for frames in (9, 81))
    needed = [one.bytes(name) for name in plan.ON_DEVICE]
    assert long.sampling > one.sampling > 0 and needed == sorted(needed, reverse=True) and needed[-1] > 0


def test_memory_that_does_not_suffice_steps_down_and_says_so(stage):
    """The first try meets an exhausted memory where the progress is told, as a real one may anywhere."""
    said, exhausted = [], []

    def say(progress: Progress) -> None:
        said.append(progress)
        if progress.stage == "denoise" and progress.step == 1 and not exhausted:
            exhausted.append(True)
            raise MemoryError("no more")
    take = stage.roll("wan", "wan_text", say=say)
    assert take.plan == "int8" and any("int8" in one.note for one in said)
    assert "Memory did not suffice for the plan “full”; made by “int8”" in take.notes
    assert not any("Memory" in note for note in stage.roll("wan", "wan_text").notes)
    stage.studio.unload()
    fresh = shoot.Studio()
    with pytest.raises(OutOfMemory):
        shoot.roll(stage.shot("wan", "wan_text"), lambda progress: always(progress), threading.Event(), fresh)
    assert fresh._loaded is None, "nothing is left half loaded"


def test_memory_that_ends_while_the_model_is_placed_steps_down_too(stage, monkeypatch):
    shot, fresh = stage.shot("wan", "wan_text"), shoot.Studio()
    model = fresh.model(shot)

    def to(place):
        raise MemoryError("no more")
    monkeypatch.setattr(model.parts["vae"], "to", to)         # of this very model: one that is loaded anew can be moved
    take = shoot.roll(shot, lambda progress: None, threading.Event(), fresh)
    assert take.plan == "int8" and fresh._loaded[1] is not model, "the model was loaded anew, not placed again as it was left"
    assert "Memory did not suffice for the plan “full”; made by “int8”" in take.notes


def always(progress: Progress) -> None:
    if progress.stage == "denoise" and progress.step == 1:
        raise MemoryError("no more")


# ---------------------------------------------------------------- the processor beside a card
class Pretended:
    """A card of this machine that is none: it computes on the processor, and has only as much memory as the test says."""

    def __init__(self, monkeypatch, free: int, here: int = 2**45):
        """`here`: bytes of the machine's own memory."""
        from engine import device
        self.card, self.here = Device("cpu:0", "a small card", "float32", 24 * GB, free), Device("cpu", "a processor", "float32", here, here)
        monkeypatch.setattr(device, "chosen", lambda: self.card)
        monkeypatch.setattr(device, "anew", lambda place: place)
        monkeypatch.setattr(device, "processor", lambda: self.here)


def test_what_fits_on_no_card_is_made_on_the_processor_and_says_so(stage, monkeypatch):
    """Not where the machine has no room either: then the card is tried, and says that it does not suffice."""
    from engine.estimate import estimated, planned
    shot = stage.shot("wan", "wan_text")
    there = Pretended(monkeypatch, free=0)
    said = estimated(shot, there.card, beside=there.here)
    assert said.plan == "cpu" and said.fits and said.free == there.here.free and "hours" in said.note and said.remedy is not None
    full = Pretended(monkeypatch, free=0, here=0)
    assert not estimated(shot, full.card, beside=full.here).fits and planned(shot, stage.model("wan_text"), full.card).name == "blocks"
    studio = shoot.Studio()
    Pretended(monkeypatch, free=0)
    take = shoot.roll(shot, lambda progress: None, threading.Event(), studio)
    assert take.plan == "cpu" and take.device == "a processor" and take.planned_bytes > 0
    assert "Made on the processor, not on a small card: that takes hours where a card takes minutes" in take.notes
    whole = stage.roll("wan", "wan_text", plan="full")
    assert differing(pixels(take), pixels(whole)) == []


def test_the_processor_can_be_asked_for(stage, monkeypatch):
    from engine.estimate import estimated
    there, studio = Pretended(monkeypatch, free=20 * GB), shoot.Studio()
    asked, plain = stage.shot("wan", "wan_text", plan="cpu"), stage.shot("wan", "wan_text")
    assert estimated(asked, there.card, beside=there.here).remedy.action == "set_plan"
    takes = [shoot.roll(one, lambda progress: None, threading.Event(), studio) for one in (asked, plain)]
    assert [(take.plan, take.device) for take in takes] == [("cpu", "a processor"), ("full", "a small card")], "for that shot alone"
    assert studio.estimate(asked).plan == "cpu" and studio.estimate(plain).plan == "full"


def test_memory_that_ends_by_every_plan_of_a_card_ends_on_the_processor(stage, monkeypatch):
    Pretended(monkeypatch, free=20 * GB)
    studio, met = shoot.Studio(), []

    def say(progress: Progress) -> None:
        if progress.stage == "denoise" and progress.step == 1 and studio.device().label == "a small card":
            met.append(studio._plan)
            raise MemoryError("no more")
    take = shoot.roll(stage.shot("wan", "wan_text"), say, threading.Event(), studio)
    assert met == ["full", "turns", "int8", "blocks"] and take.plan == "cpu" and take.device == "a processor"
    assert "Memory did not suffice for the plan “blocks”; made by “cpu”" in take.notes
    assert studio.estimate(stage.shot("wan", "wan_text")).plan == "blocks", "the next one is tried on the card again"
    Pretended(monkeypatch, free=20 * GB, here=0)
    with pytest.raises(OutOfMemory):
        shoot.roll(stage.shot("wan", "wan_text"), say, threading.Event(), studio)


def test_without_a_card_there_is_no_processor_beside_it(stage, engine_cli):
    import json

    from engine.protocol import as_json
    path = stage.folder / "beside.json"
    path.write_text(as_json(stage.shot("wan", "wan_text", plan="cpu")))
    said = json.loads(engine_cli("plan", path, "--json").stdout)
    assert said["chosen"] == "full" and set(said["bytes"]) == set(plan.ON_DEVICE)
