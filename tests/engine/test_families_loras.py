"""LoRAs, weighted prompts and what is remembered, with a tiny model of random weights."""
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine import check, families
from engine.diffusers_line import prompts
from engine.diffusers_line.remembered import Embeddings, Encoded
from engine.errors import ModelError
from engine.protocol import Lora
from tests.engine.open_stage import Stage, differing, staged


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("loras"), checkpoints) as made:
        yield made


def lora(stage: Stage, name: str, width: int = 24, layer: str = "transformer.blocks.{}.attn1.to_q") -> str:
    """A file of random adapters of rank 2 for both blocks."""
    dice = torch.Generator().manual_seed(len(name))
    state = {}
    for block in range(2):
        at = layer.format(block)
        state[f"{at}.lora_A.weight"] = torch.randn((2, width), generator=dice)
        state[f"{at}.lora_B.weight"] = torch.randn((width, 2), generator=dice)
    path = stage.folder / f"{name}.safetensors"
    save_file(state, path)
    return str(path)


@pytest.fixture(scope="module")
def bare(stage):
    return stage.latent("wan", "wan_text")


def test_loras_count_with_their_strength_and_leave_without_a_trace(stage, bare):
    one, other = lora(stage, "one"), lora(stage, "other")
    loaded = stage.studio._loaded[1]
    whole = stage.latent("wan", "wan_text", loras=(Lora(name=one),))
    half = stage.latent("wan", "wan_text", loras=(Lora(name=one, strength=0.5),))
    both = stage.latent("wan", "wan_text", loras=(Lora(name=one), Lora(name=other)))
    swapped = stage.latent("wan", "wan_text", loras=(Lora(name=other),))
    made = [bare, whole, half, both, swapped]
    assert all(differing(a, b) for at, a in enumerate(made) for b in made[at + 1:])
    assert differing(whole, stage.latent("wan", "wan_text", loras=(Lora(name=one),))) == []
    assert differing(bare, stage.latent("wan", "wan_text", loras=(Lora(name=one, strength=0.0),))) == []
    assert differing(bare, stage.latent("wan", "wan_text")) == [], "taken off is exact"
    assert stage.studio._loaded[1] is loaded, "nothing was loaded again"


def test_a_lora_for_one_of_two_experts(stage):
    one = lora(stage, "one")
    high, low, both = (stage.latent("wan", "wan_experts", steps=8, loras=(Lora(name=one, expert=expert),)) for expert in (1, 2, 0))
    assert differing(high, low) and differing(high, both) and differing(low, both)
    with pytest.raises(ModelError, match="one of two experts") as refused:
        stage.roll("wan", "wan_text", loras=(Lora(name=one, expert=1),))
    assert refused.value.remedy.value == "loras"


def test_a_lora_has_a_strength_for_each_expert(stage):
    """One file, worn by both at two strengths; as much by each as by both at once is the same to the bit."""
    one, bare = lora(stage, "one"), stage.latent("wan", "wan_experts", steps=8)

    def worn(high: float, low: float):
        return stage.latent("wan", "wan_experts", steps=8, loras=(Lora(name=one, strength=high, expert=1), Lora(name=one, strength=low, expert=2)))
    made = [worn(1.0, 0.4), worn(0.4, 1.0), stage.latent("wan", "wan_experts", steps=8, loras=(Lora(name=one),))]
    assert all(differing(a, b) for at, a in enumerate(made) for b in made[at + 1:])
    assert differing(made[2], worn(1.0, 1.0)) == [] and differing(made[0], worn(1.0, 0.4)) == []
    assert differing(bare, stage.latent("wan", "wan_experts", steps=8)) == [], "taken off is exact"
    take = stage.roll("wan", "wan_experts", loras=(Lora(name=one, expert=1), Lora(name=one, strength=0.4, expert=2)))
    assert {"LoRA one at 1 for high noise", "LoRA one at 0.4 for low noise"} <= set(take.notes)


@pytest.mark.parametrize("experts", [(0, 0), (0, 2), (1, 1)])
def test_a_lora_that_one_transformer_would_wear_twice_is_refused(stage, experts):
    one = lora(stage, "one")
    with pytest.raises(ModelError, match="worn twice") as refused:
        stage.roll("wan", "wan_experts", loras=tuple(Lora(name=one, expert=expert) for expert in experts))
    assert refused.value.remedy.value == "loras"


def test_a_take_tells_its_loras(stage):
    take = stage.roll("wan", "wan_text", loras=(Lora(name=lora(stage, "told"), strength=0.7),))
    assert "LoRA told at 0.7" in take.notes and take.shot.loras[0].strength == 0.7


def test_loras_that_do_not_fit_are_refused_and_change_nothing(stage, bare):
    pickled = stage.folder / "pickled.safetensors"
    pickled.write_bytes(b"\x80\x04boom")
    for path in (lora(stage, "wide", width=48), lora(stage, "foreign", layer="transformer_blocks.{}.audio_attn1.to_q"), str(pickled), "/nowhere.safetensors"):
        with pytest.raises(ModelError) as refused:
            stage.roll("wan", "wan_text", loras=(Lora(name=path),))
        assert refused.value.sentence.endswith(".") and refused.value.remedy.value == "loras", "it is the LoRA that does not fit, not the model"
    with pytest.raises(ModelError, match="takes no LoRAs"):
        check._loras(stage.shot("wan", "wan_text", loras=(Lora(name=lora(stage, "one")),)), replace(families.family("wan").SPEC, loras=False),
                     stage.model("wan_text"))
    assert differing(bare, stage.latent("wan", "wan_text")) == []


# ---------------------------------------------------------------- CogVideoX-Fun
def control(stage: Stage, name: str, scale: float = 1.0) -> Lora:
    """A file of random adapters as VideoX-Fun saves them: dots are underscores, and half of what they add counts by their alpha."""
    dice, state = torch.Generator().manual_seed(len(name)), {}
    for at in ("transformer_blocks_0_attn1_to_q", "transformer_blocks_1_attn1_to_out_0", "transformer_blocks_1_ff_net_0_proj"):
        wide = 128 if at.endswith("proj") else 32
        state |= {f"lora_unet__{at}.lora_down.weight": torch.randn((2, 32), generator=dice), f"lora_unet__{at}.alpha": torch.tensor(1.0),
                  f"lora_unet__{at}.lora_up.weight": scale * torch.randn((wide, 2), generator=dice)}
    save_file(state, stage.folder / f"{name}.safetensors")
    return Lora(name=str(stage.folder / f"{name}.safetensors"))


def test_loras_of_cogvideox_are_worn_and_leave_without_a_trace(stage):
    shot = {"guides": (stage.guide("depth"),)}
    bare = stage.latent("cogvideox", "cogvideox", **shot)
    loaded = stage.studio._loaded[1]
    one, other = control(stage, "flat one"), control(stage, "another")
    worn, swapped, both = (stage.latent("cogvideox", "cogvideox", **shot, loras=loras) for loras in ((one,), (other,), (one, other)))
    made = [bare, worn, swapped, both]
    assert all(differing(a, b) for at, a in enumerate(made) for b in made[at + 1:])
    assert differing(worn, stage.latent("cogvideox", "cogvideox", **shot, loras=(one,))) == []
    assert differing(bare, stage.latent("cogvideox", "cogvideox", **shot)) == [], "taken off is exact"
    assert stage.studio._loaded[1] is loaded, "nothing was loaded again"


def test_flat_names_are_those_of_diffusers_and_alpha_weighs(stage):
    from safetensors.torch import load_file
    stage.roll("cogvideox", "cogvideox", guides=(stage.guide("depth"),))
    flat = control(stage, "flat one").name
    told = load_file(flat)
    plain = {"transformer.transformer_blocks.0.attn1.to_q": "transformer_blocks_0_attn1_to_q",
             "transformer.transformer_blocks.1.attn1.to_out.0": "transformer_blocks_1_attn1_to_out_0",
             "transformer.transformer_blocks.1.ff.net.0.proj": "transformer_blocks_1_ff_net_0_proj"}
    state = {}
    for name, at in plain.items():
        state[f"{name}.lora_A.weight"] = told[f"lora_unet__{at}.lora_down.weight"]
        state[f"{name}.lora_B.weight"] = told[f"lora_unet__{at}.lora_up.weight"] / 2          # alpha 1 of rank 2
    save_file(state, stage.folder / "plain.safetensors")
    shot = {"guides": (stage.guide("depth"),)}
    assert differing(stage.latent("cogvideox", "cogvideox", **shot, loras=(Lora(name=flat),)),
                     stage.latent("cogvideox", "cogvideox", **shot, loras=(Lora(name=str(stage.folder / "plain.safetensors")),))) == []


def test_a_lora_with_layers_that_cogvideox_lacks_is_refused(stage):
    halves = (("down", (2, 32)), ("up", (32, 2)))
    save_file({f"lora_unet__transformer_blocks_7_attn1_to_q.lora_{half}.weight": torch.ones(shape) for half, shape in halves},
              stage.folder / "longer.safetensors")
    with pytest.raises(ModelError, match="names that are not known"):
        stage.roll("cogvideox", "cogvideox", guides=(stage.guide("depth"),), loras=(Lora(name=str(stage.folder / "longer.safetensors")),))


# ---------------------------------------------------------------- SANA-WM
def flown(stage: Stage, *loras: str):
    """The latent of a short flight with the LoRAs in these files."""
    return stage.latent("sana_wm", "sana_wm", guides=(stage.camera(0.1),), keyframes=(stage.keyframe(0),), loras=tuple(Lora(name=one) for one in loras))


def test_loras_of_sana_are_worn_and_leave_without_a_trace(stage):
    bare = flown(stage)
    loaded = stage.studio._loaded[1]
    one, other = lora(stage, "attending", 32, "transformer.blocks.{}.attn.output_gate"), lora(stage, "reading", 32, "blocks.{}.cross_attn.q_linear")
    made = [bare, flown(stage, one), flown(stage, other), flown(stage, one, other)]
    assert all(differing(a, b) for at, a in enumerate(made) for b in made[at + 1:])
    assert differing(made[1], flown(stage, one)) == []
    assert differing(bare, flown(stage)) == [], "taken off is exact"
    assert stage.studio._loaded[1] is loaded, "nothing was loaded again"
    with pytest.raises(ModelError, match="belongs to wan, vace, skyreels, not to sana_wm"):
        flown(stage, lora(stage, "of wan"))
    with pytest.raises(ModelError, match="does not fit"):
        flown(stage, lora(stage, "too wide", 64, "transformer.blocks.{}.attn.output_gate"))
    assert differing(bare, flown(stage)) == []


@pytest.mark.parametrize("layer", ["qkv", "proj", "k_proj_cam", "out_proj_cam"])
def test_every_layer_of_sana_that_loras_are_for_can_wear_one(stage, layer):
    dice, outputs = torch.Generator().manual_seed(1), 96 if layer == "qkv" else 32
    save_file({f"blocks.{block}.attn.{layer}.lora_{half}.weight": torch.randn(shape, generator=dice)
               for block in range(2) for half, shape in (("A", (2, 32)), ("B", (outputs, 2)))}, stage.folder / f"{layer}.safetensors")
    assert differing(flown(stage), flown(stage, str(stage.folder / f"{layer}.safetensors")))


# ---------------------------------------------------------------- prompts
def test_weights_are_taken_out_of_the_prompt():
    asked = prompts.parsed(r"a (red:1.4) car \(old\)  and (two towers:.5)")
    assert asked.text == "a red car (old) and two towers"
    assert [(asked.text[first:end], weight) for first, end, weight in asked.parts] == [("red", 1.4), ("two towers", 0.5)]
    assert prompts.parsed("no (weights) here").parts == ()


def test_a_weight_scales_its_words_and_no_others(stage):
    stage.roll("wan", "wan_text")
    encoder = stage.studio._loaded[1]._text
    plain, heavy = encoder.embedding("a red car")[0], encoder.embedding("a (red:1.5) car")[0]
    changed = (plain != heavy).any(-1).nonzero().flatten().tolist()
    assert changed == [2, 3, 4], "the tokens are letters"
    assert torch.allclose(heavy[2:5], plain[2:5] * 1.5) and torch.equal(encoder.embedding("a (red:1.0) car")[0], plain)


def test_a_weight_scales_its_words_for_cogvideox_too(stage):
    """Its encoder is given no mask and prompts as they are, which stays so for those without weights."""
    stage.roll("cogvideox", "cogvideox", guides=(stage.guide("depth"),))
    loaded = stage.studio._loaded[1]
    plain, heavy = loaded.text("a red car")[0], loaded.text("a (red:1.5) car")[0]
    assert (plain != heavy).any(-1).nonzero().flatten().tolist() == [2, 3, 4], "the tokens are letters"
    assert torch.allclose(heavy[2:5], plain[2:5] * 1.5) and torch.equal(loaded.text("a \\(red\\) car")[0], loaded.text("a (red) car")[0])
    stock = loaded.pipe._get_t5_prompt_embeds("two  blanks", max_sequence_length=loaded._length())
    assert torch.equal(loaded.text("two  blanks"), stock) and not torch.equal(loaded.text("two blanks"), stock)


@pytest.mark.parametrize("family", ["ltx2", "sana_wm"])
def test_weights_count_for_encoders_of_gemmas_kind_too(stage, family):
    """Of the prompt and of the negative one, with guidance and without."""
    given = {"sana_wm": {"guides": (stage.camera(0.1),), "keyframes": (stage.keyframe(0),)}}.get(family, {})

    def shown(prompt: str, **fields):
        return stage.latent(family, family, prompt=prompt, **given, **fields)
    for guidance in (3.0, 1.0):
        plain, light, heavy = (shown(f"a {red} car", guidance=guidance) for red in ("red", "(red:0.2)", "(red:1.8)"))
        assert differing(plain, shown("a (red:1) car", guidance=guidance)) == []
        assert differing(plain, light) and differing(plain, heavy) and differing(light, heavy)
    weighed = [shown("a red car", negative=negative) for negative in ("dull sky", "(dull:1.0) sky", "(dull:1.8) sky")]
    assert differing(weighed[0], weighed[1]) == [] and differing(weighed[0], weighed[2])


def test_a_weight_scales_what_sana_attends_to_of_its_words_and_no_others(stage):
    shot = {"guides": (stage.camera(0.1),), "keyframes": (stage.keyframe(0),), "negative": "dull sky"}
    stage.latent("sana_wm", "sana_wm", **shot)
    transformer, texts = stage.studio._loaded[1].parts["transformer"], []
    hook = transformer.blocks[0].cross_attn.register_forward_pre_hook(lambda module, given: texts.append(given[1]))
    for prompt in ("a red car", "a (red:1.8) car"):
        stage.latent("sana_wm", "sana_wm", prompt=prompt, **shot)
    hook.remove()
    plain, heavy = (texts[at].reshape(2, 300, -1) for at in (0, len(texts) // 2))
    assert torch.equal(plain[0], heavy[0])
    changed = (plain[1] != heavy[1]).any(-1).nonzero().flatten().tolist()
    assert changed == [3, 4, 5], "the tokens are letters, after the first one of what the pipeline says before"
    assert torch.allclose(heavy[1, changed], plain[1, changed] * 1.8)


# ---------------------------------------------------------------- remembered
def test_embeddings_are_kept_on_disk_and_damaged_ones_made_again(tmp_path):
    asked = []

    def encode(prompt: str):
        asked.append(prompt)
        return torch.full((1, 4), float(len(prompt)))
    kept = Embeddings("encoder", tmp_path)
    assert torch.equal(kept.embedding("a car", encode), kept.embedding("a car", encode)) and asked == ["a car"] and kept.hits == 1
    Embeddings("another", tmp_path).embedding("a car", encode)
    assert len(asked) == 2, "another encoder says something else"
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    assert kept.embedding("a car", encode)[0, 0] == 5 and len(asked) == 3
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_cogvideox_heard_is_kept_on_disk_without_weights(stage, monkeypatch, tmp_path):
    from engine import device
    monkeypatch.setenv("SORA_CACHE", str(tmp_path))
    texts = []
    for _ in range(2):                                         # the second one is another start of the engine
        loaded = families.family("cogvideox").load(stage.model("cogvideox"), device.chosen())
        texts.append([loaded.text(prompt) for prompt in ("a red car", "a (red:1.5) car")])
    assert loaded._texts.hits == 2 and all(torch.equal(one, again) for one, again in zip(*texts)) and not torch.equal(*texts[0])
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1, "both are the same words"


def test_a_cache_that_cannot_be_written_costs_no_shot(tmp_path):
    (tmp_path / "file").write_text("")
    assert Embeddings("encoder", Path(tmp_path, "file")).embedding("a", lambda prompt: torch.ones(1)) == 1


def test_encoded_pictures_are_found_by_content_and_forgotten_when_there_are_too_many():
    known, one, other = Encoded(most=100), torch.zeros(5), torch.ones(5)
    for pictures in (one, other, one.clone()):
        assert torch.equal(known.latent("vae", pictures, lambda given: given * 2), pictures * 2)
    assert known.hits == 1
    known.latent("vae", torch.full((30,), 3.0), lambda given: given)
    assert len(known._held) == 1
