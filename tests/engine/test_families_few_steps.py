"""Presets of a few steps: their schedule, their LoRAs, what a take says of them, and what is refused; with tiny random weights."""
import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine import families, presets, protocol
from engine.diffusers_line.few_steps import Few
from engine.errors import ModelError, ShotError
from engine.models import importing, store
from engine.protocol import Lora, read_take
from tests.engine.open_stage import Stage, differing, staged

WAN = families.family("wan").SPEC
TEXT, EXPERTS = (next(preset for preset in WAN.presets if preset.name == name) for name in ("4-steps-t2v", "4-steps-t2v-a14b"))


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("few"), checkpoints, models=tmp_path_factory.mktemp("models")) as made:
        yield made


def lora(stage: Stage, name: str, seed: int) -> Path:
    """As lightx2v names its tensors, with changes of biases beside the halves; installed under the catalogue's name."""
    dice, state = torch.Generator().manual_seed(seed), {}
    for block in range(2):
        for layer, shape in (("self_attn.q", (24, 24)), ("cross_attn.v", (24, 24)), ("ffn.0", (32, 24))):
            at = f"diffusion_model.blocks.{block}.{layer}"
            state |= {f"{at}.lora_down.weight": torch.randn((2, shape[1]), generator=dice), f"{at}.lora_up.weight": torch.randn((shape[0], 2), generator=dice),
                      f"{at}.diff_b": torch.randn(shape[0], generator=dice) * 0.1}
    path = stage.folder / f"{name}.safetensors"
    save_file(state, path)
    for _ in importing.bring(path, store.Store(store.default_folder()), importing.Given(name=name, family="wan", lora=True)):
        pass
    return path


@pytest.fixture(scope="module")
def installed(stage):
    return {one.name: lora(stage, one.name, seed) for seed, one in enumerate((*TEXT.loras, *EXPERTS.loras))}


# ---------------------------------------------------------------- the schedule
def test_the_levels_are_those_that_were_trained():
    few = Few(TEXT, 4, 7, "cpu")
    assert few.sigmas.tolist() == pytest.approx([1, 15 / 16, 5 / 6, 5 / 8, 0]) and few.timesteps.tolist() == pytest.approx([1000, 937.5, 2500 / 3, 625])


def test_a_perfect_velocity_leads_to_the_picture_whichever_way_the_noise_goes():
    picture, noise = torch.full((1, 2, 3, 4, 4), 0.3), torch.randn((1, 2, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    for renews in (False, True):
        few = Few(dataclasses.replace(TEXT, renews=renews), 4, 7, "cpu")
        latent = noise
        for at, timestep in enumerate(few.timesteps):
            slope = (latent - picture) / few.sigmas[at]
            latent, = few.step(slope, timestep, latent)
            left = (latent - picture) / few.sigmas[at + 1] + picture if at < 3 else None
            assert left is None or torch.allclose(left, noise, atol=1e-4) != renews, "noise anew, or the same"
        assert torch.allclose(latent, picture, atol=1e-6)
        again = Few(dataclasses.replace(TEXT, renews=renews), 4, 7, "cpu")
        assert torch.equal(again.step(noise, again.timesteps[0], noise)[0], Few(dataclasses.replace(TEXT, renews=renews), 4, 7, "cpu").step(noise, few.timesteps[0], noise)[0])


def test_what_a_preset_brings_gives_way_to_what_the_shot_says(stage):
    shot = stage.shot("wan", "wan_text", preset=TEXT.name, steps=0, guidance=-1.0, loras=(Lora(name="mine"),))
    found = presets.applied(shot)
    assert (found.steps, found.guidance, [one.name for one in found.loras]) == (4, 1.0, [TEXT.loras[0].name, "mine"])
    assert presets.applied(found) == found, "a take's shot is shot again as it was"
    assert presets.applied(dataclasses.replace(shot, latents="/a/take")).loras == shot.loras, "what was sampled before needs none of it"
    own = presets.applied(dataclasses.replace(shot, steps=6, guidance=2.0))
    assert (own.steps, own.guidance) == (6, 2.0) and presets.applied(stage.shot("wan", "wan_text")).loras == ()


# ---------------------------------------------------------------- shot with
def test_a_preset_is_shot_with_its_lora_and_said_in_the_take(stage, installed):
    met = []
    take = stage.roll("wan", "wan_text", preset=TEXT.name, steps=0, guidance=-1.0, say=met.append)
    assert max(said.steps for said in met if said.stage == "denoise") == 4
    kept = read_take(take.shot.out)
    assert (kept.shot.preset, kept.shot.steps, kept.shot.guidance, kept.shot.loras) == (TEXT.name, 4, 1.0, TEXT.loras)
    assert "Preset “4 Steps”: 4 steps, guidance 1" in kept.notes and any(TEXT.loras[0].name in note for note in kept.notes)


def test_the_schedule_and_the_lora_both_count(stage, installed):
    few = {"preset": TEXT.name, "steps": 0, "guidance": -1.0}
    made = stage.latent("wan", "wan_text", **few)
    worn = stage.latent("wan", "wan_text", steps=4, guidance=1.0, loras=TEXT.loras)
    bare = stage.latent("wan", "wan_text", steps=4, guidance=1.0)
    assert differing(made, worn) and differing(worn, bare)
    assert differing(made, stage.latent("wan", "wan_text", **few)) == [], "noise anew is the seed's as well"
    assert differing(made, stage.latent("wan", "wan_text", **few, seed=8))
    assert differing(bare, stage.latent("wan", "wan_text", steps=4, guidance=1.0)) == []


def test_each_expert_wears_its_own(stage, installed):
    few = {"preset": EXPERTS.name, "steps": 0, "guidance": -1.0}
    made = stage.latent("wan", "wan_experts", **few)
    first, second = stage.studio._loaded[1].experts()
    assert len(first.peft_config) == len(second.peft_config) == 1 and set(first.peft_config) != set(second.peft_config)
    both = stage.latent("wan", "wan_experts", steps=4, guidance=1.0, loras=tuple(Lora(name=one.name) for one in EXPERTS.loras))
    assert differing(made, both) and len(stage.studio._loaded[1].experts()[0].peft_config) == 2
    assert differing(made, stage.latent("wan", "wan_experts", **few)) == []


def test_vace_wears_loras_of_the_model_that_it_contains(stage, installed):
    worn = stage.latent("vace", "vace", guides=(stage.guide("depth"),), loras=(Lora(name=TEXT.loras[0].name),))
    assert differing(worn, stage.latent("vace", "vace", guides=(stage.guide("depth"),)))


def test_vace_has_a_preset_of_the_model_that_it_contains(stage, installed):
    """With a guide; its LoRA is one of Wan's in the catalogue, and its schedule theirs."""
    preset = next(one for one in families.family("vace").SPEC.presets if one.models == ("wan2.1-vace-14b",))
    shot = {"guides": (stage.guide("depth"),), "seed": 7}
    take = stage.roll("vace", "vace", preset=preset.name, steps=0, guidance=-1.0, **shot)
    assert (take.shot.steps, take.shot.guidance, take.shot.loras) == (4, 1.0, TEXT.loras) and "Preset “4 Steps”: 4 steps, guidance 1" in take.notes
    made = stage.latent("vace", "vace", preset=preset.name, steps=0, guidance=-1.0, **shot)
    worn = stage.latent("vace", "vace", steps=4, guidance=1.0, loras=TEXT.loras, **shot)
    assert differing(made, worn), "its own schedule"
    assert differing(worn, stage.latent("vace", "vace", steps=4, guidance=1.0, **shot)) and differing(
        made, stage.latent("vace", "vace", preset=preset.name, steps=0, guidance=-1.0, guides=(stage.guide("depth", 1),), seed=7))
    assert (preset.steps, preset.guidance, preset.shift, preset.renews) == (TEXT.steps, TEXT.guidance, TEXT.shift, TEXT.renews)
    with pytest.raises(ShotError, match="is made for wan2.1-vace-14b"):
        presets.applied(dataclasses.replace(take.shot, model="wan2.1-vace-1.3b"))


def test_vace_with_two_experts_has_a_preset_of_the_model_that_it_contains(stage, installed):
    """Each expert wears its own of the LoRAs of text to video, in two of four steps each."""
    preset = next(one for one in families.family("vace").SPEC.presets if one.models == ("wan2.2-vace-fun-a14b",))
    assert preset.loras == EXPERTS.loras and not preset.renews
    few = {"preset": preset.name, "steps": 0, "guidance": -1.0, "guides": (stage.guide("depth"),)}
    take = stage.roll("vace", "vace_experts", **few)
    assert (take.shot.steps, take.shot.guidance) == (4, 1.0) and {
        f"LoRA {one.name} at 1 for {protocol.EXPERTS[one.expert]} noise" for one in preset.loras} <= set(take.notes)
    first, second = stage.studio._loaded[1].experts()
    assert len(first.peft_config) == len(second.peft_config) == 1 and set(first.peft_config) != set(second.peft_config)
    assert [float(level) >= 0.875 for level in Few(preset, 4, 0, "cpu").sigmas[:4]] == [True, True, False, False]
    with pytest.raises(ShotError, match="is made for wan2.2-vace-fun-a14b"):
        presets.applied(dataclasses.replace(take.shot, model="wan2.1-vace-14b"))


# ---------------------------------------------------------------- refused
def test_a_lora_that_is_not_here_can_be_got(stage, installed):
    store.Store(store.default_folder()).remove(TEXT.loras[0].name)
    with pytest.raises(ModelError) as refused:
        stage.roll("wan", "wan_text", preset=TEXT.name)
    assert (refused.value.remedy.action, refused.value.remedy.value) == ("get_model", TEXT.loras[0].name)
    lora(stage, TEXT.loras[0].name, 0)


def test_presets_of_others_are_refused(stage, installed):
    shot = stage.shot("wan", "wan_text", preset="8-steps")
    for wrong in (shot, dataclasses.replace(shot, model="wan2.1-t2v-1.3b", preset=TEXT.name), dataclasses.replace(shot, family="skyreels", preset=TEXT.name)):
        with pytest.raises(ShotError) as refused:
            presets.applied(wrong)
        assert refused.value.remedy.value == "preset" and refused.value.sentence.endswith(".")
    with pytest.raises(ModelError, match="one of two experts"):
        stage.roll("wan", "wan_text", preset=EXPERTS.name)
