"""Transformers in one file, safetensors or GGUF: made a whole model by what is here, loaded, shot with, or refused in words."""
import json
import os
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine import device, families, plan
from engine.errors import ModelError
from engine.models import admission, importing, store
from engine.protocol import Lora
from tests.engine import tiny_families
from tests.engine.open_stage import SIZE, Stage, differing, staged
from tests.engine.roused import roused

NAMES = (("condition_embedder.time_embedder.linear_1", "time_embedding.0"), ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
         ("condition_embedder.text_embedder.linear_1", "text_embedding.0"), ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
         ("condition_embedder.time_proj", "time_projection.1"), ("attn2", "cross_attn"), ("attn1", "self_attn"), (".to_out.0.", ".o."), (".to_q.", ".q."),
         (".to_k.", ".k."), (".to_v.", ".v."), ("ffn.net.0.proj", "ffn.0"), ("ffn.net.2", "ffn.2"), ("norm2", "norm3"), ("scale_shift_table", "modulation"))


class Shelf(Stage):
    """Also shoots with models of the models folder, by their names."""

    def model(self, name: str):
        return super().model(name) if name in tiny_families.MAKERS else name


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    """With a models folder in which a small Wan model lies, called `base`."""
    with staged(tmp_path_factory.mktemp("single"), checkpoints, Shelf, tmp_path_factory.mktemp("models")) as made:
        bring(made.model("wan_even"), name="base")
        yield made


def bring(source: Path, **given) -> store.Installed:
    steps = importing.bring(source, store.Store(store.default_folder()), importing.Given(**given))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.fixture(scope="module")
def weights():
    """Of a transformer twice as wide and with a block more than the base's, under its authors' names."""
    torch.manual_seed(3)
    made = roused(tiny_families._wan(num_attention_heads=4, attention_head_dim=16, ffn_dim=96, num_layers=3))
    return made, {authors(name): one.detach().clone() for name, one in made.state_dict().items()}


def authors(name: str) -> str:
    if name.startswith("vace_blocks"):
        name = name.replace("proj_in", "before_proj").replace("proj_out", "after_proj")
    elif name.startswith(("scale_shift_table", "proj_out")):
        return name.replace("scale_shift_table", "head.modulation").replace("proj_out", "head.head")
    for ours, theirs in NAMES:
        name = name.replace(ours, theirs)
    return name


def as_gguf(path: Path, state: dict, kind=gguf.GGMLQuantizationType.Q8_0) -> Path:
    """Matrices of blocks quantised, the first layer in 16 bits with its five sides, the rest whole; as the published ones."""
    writer = gguf.GGUFWriter(str(path), "wan")
    for name, one in state.items():
        numbers = one.numpy()
        if name.startswith(("blocks", "vace_blocks")) and one.ndim == 2:
            writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, numbers.astype(np.float16) if name == "patch_embedding.weight" else numbers.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def made(stage, weights):
    """The same transformer imported as safetensors, and as GGUF with 8 bits a weight."""
    save_file({f"model.diffusion_model.{name}": one for name, one in weights[1].items()}, stage.folder / "Plain One.safetensors")
    return {"plain": bring(stage.folder / "Plain One.safetensors", name="plain"),
            "packed": bring(as_gguf(stage.folder / "Packed-Q8_0.gguf", weights[1]), name="packed")}


def latent(stage, name: str, **more):
    return stage.latent("wan", name, **more)


def test_a_file_becomes_a_whole_model_that_shares_what_it_can(stage, made):
    packed, base = made["packed"], store.Store(store.default_folder()).named("base")
    assert (packed.kind, packed.family, packed.component) == ("diffusers", "wan", "transformer") and packed.root == packed.folder
    assert sorted(path.name for path in (packed.folder / "transformer").iterdir()) == ["config.json", "single_file.gguf"]
    for name in ("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        assert os.path.samefile(packed.folder / name, base.folder / name) and packed.files[name].sha256 == base.files[name].sha256
    config = json.loads((packed.folder / "transformer/config.json").read_text())
    assert (config["num_layers"], config["num_attention_heads"], config["ffn_dim"], config["in_channels"]) == (3, 4, 96, 16)
    assert families.weights("wan", "packed") == packed.folder


def test_the_same_picture_comes_of_either_file(stage, made, weights):
    loaded = families.family("wan").load(families.weights("wan", "plain"), device.chosen())
    for name, one in weights[0].state_dict().items():
        assert torch.equal(loaded.parts["transformer"].state_dict()[name], one), name
    whole, packed, base = (latent(stage, name) for name in ("plain", "packed", "base"))
    assert differing(whole, base), "another transformer"
    assert 0 < np.linalg.norm(whole - packed) < 0.02 * np.linalg.norm(whole)
    assert differing(packed, latent(stage, "packed")) == []


@pytest.mark.parametrize(("kind", "error"), [("Q5_1", 0.06), ("Q4_0", 0.2), ("BF16", 0.01)])
def test_fewer_bits_are_further_away(stage, made, weights, kind, error):
    bring(as_gguf(stage.folder / f"{kind}.gguf", weights[1], gguf.GGMLQuantizationType[kind]), name=kind.lower())
    whole, packed = latent(stage, "plain"), latent(stage, kind.lower())
    assert 0 < np.linalg.norm(whole - packed) < error * np.linalg.norm(whole)


def test_what_it_needs_is_what_its_file_has(stage, made):
    card = device.Device("cuda", "a card", "bfloat16", 2**40, 1)
    packed, whole = (plan.need(families.weights("wan", name), card, 9, 4096) for name in ("packed", "plain"))
    assert packed.weights["transformer"] == (made["packed"].folder / "transformer/single_file.gguf").stat().st_size
    assert packed.packed and not whole.packed and packed.weights["vae"] == whole.weights["vae"]
    assert packed.sampling > whole.sampling, "one block is widened"
    assert plan.usable(card, True) == ("full", "turns", "blocks") and plan.choose(packed, card).name == "blocks"
    assert plan.following("turns", card, True) == "blocks" and plan.following("full", device.chosen(), True) == ""
    take = stage.roll("wan", "packed", plan="int8")
    assert take.plan == "full", "8 bits would not make it smaller"


@pytest.mark.parametrize("name", ["turns", "blocks"])
def test_plans_bring_it_and_take_it_away(stage, made, name):
    shown = []
    for chosen in ("full", name):
        loaded = families.family("wan").load(families.weights("wan", "packed"), device.chosen())
        loaded.placing.apply(chosen)
        window = families.Window(frames=9, size=loaded.native(SIZE), seed=1, steps=2, guidance=4.0,
                                 text=loaded.text("a"), negative=loaded.text(""))
        shown.append(list(loaded.sample(window))[-1])
    assert torch.equal(*shown)


def test_it_wears_loras_and_takes_them_off(stage, made):
    dice = torch.Generator().manual_seed(5)
    state = {f"transformer.blocks.{block}.attn1.to_q.lora_{half}.weight": torch.randn(shape, generator=dice) * 0.3
             for block in range(3) for half, shape in (("A", (2, 64)), ("B", (64, 2)))}
    save_file(state, stage.folder / "worn.safetensors")
    bare, worn = (latent(stage, "packed", loras=loras) for loras in ((), (Lora(name=str(stage.folder / "worn.safetensors")),)))
    whole = latent(stage, "plain", loras=(Lora(name=str(stage.folder / "worn.safetensors")),))
    assert differing(bare, worn) and np.linalg.norm(whole - worn) < 0.2 * np.linalg.norm(whole - latent(stage, "plain"))
    assert differing(bare, latent(stage, "packed")) == []


@pytest.mark.parametrize("ending", ["safetensors", "gguf"])
def test_vace_is_read_with_its_control_blocks(stage, made, ending):
    from diffusers import WanVACETransformer3DModel
    bring(stage.model("vace"), name="control")
    torch.manual_seed(4)
    part = WanVACETransformer3DModel(in_channels=16, out_channels=16, vace_layers=[0, 2], vace_in_channels=96, **{**tiny_families.WAN, "num_layers": 4})
    roused(part)
    state, path = {authors(name): one.detach().clone() for name, one in part.state_dict().items()}, stage.folder / f"control.{ending}"
    if ending == "gguf":
        as_gguf(path, state, gguf.GGMLQuantizationType.F32)
    else:
        save_file(state, path)
    found = bring(path, name=f"control-{ending}")
    config = json.loads((found.folder / "transformer/config.json").read_text())
    assert (found.family, config["num_layers"], config["vace_layers"], config["vace_in_channels"]) == ("vace", 4, [0, 2], 96)
    loaded = families.family("vace").load(families.weights("vace", found.name), device.chosen()).parts["transformer"].state_dict()
    assert all(torch.allclose(loaded[name], one, atol=2e-4) for name, one in part.state_dict().items()), "the first layer has 16 bits in GGUF"
    shown = stage.latent("vace", found.name, guides=(stage.guide("depth"),))
    assert differing(shown, stage.latent("vace", found.name, guides=(stage.guide("depth", 1),)))


# ---------------------------------------------------------------- SkyReels, LTX-2
@pytest.mark.parametrize("ending", ["safetensors", "gguf"])
@pytest.mark.parametrize("informed", [False, True])
def test_skyreels_is_read_with_what_it_knows_of_frame_rates(stage, made, ending, informed):
    """Its larger models have Wan's very tensors, so that a person says whose a file is; the smaller ones know frame rates as well."""
    from diffusers import SkyReelsV2Transformer3DModel
    bring(stage.model("skyreels"), name="reels")
    torch.manual_seed(6)
    part = SkyReelsV2Transformer3DModel(in_channels=16, out_channels=16, inject_sample_info=informed,
                                        **{**tiny_families.WAN, "attention_head_dim": 12, "num_layers": 3})
    roused(part)
    state = {authors(name).replace("fps_projection.net.0.proj", "fps_projection.0").replace("fps_projection.net.2", "fps_projection.2"): one.detach().clone()
             for name, one in part.state_dict().items()}
    path = stage.folder / f"reel-{informed}.{ending}"
    if ending == "gguf":
        as_gguf(path, state, gguf.GGMLQuantizationType.BF16)
    else:
        save_file(state, path)
    found = bring(path, name=f"reel-{informed}-{ending}".lower(), **({} if informed else {"family": "skyreels"}))
    config = json.loads((found.folder / "transformer/config.json").read_text())
    assert (found.family, config["num_layers"], config["inject_sample_info"]) == ("skyreels", 3, informed)
    loaded = families.family("skyreels").load(families.weights("skyreels", found.name), device.chosen()).parts["transformer"].state_dict()
    if ending == "safetensors":
        assert all(torch.equal(loaded[name], one) for name, one in part.state_dict().items())
    shown = stage.latent("skyreels", found.name)
    assert np.isfinite(shown).all() and differing(shown, stage.latent("skyreels", "reels"))


def lightricks(name: str) -> str:
    """diffusers' names of LTX-2's transformer -> its authors'."""
    for ours, theirs in (("audio_proj_in", "audio_patchify_proj"), ("av_cross_attn_video_scale_shift", "av_ca_video_scale_shift_adaln_single"),
                         ("av_cross_attn_video_a2v_gate", "av_ca_a2v_gate_adaln_single"),
                         ("av_cross_attn_audio_scale_shift", "av_ca_audio_scale_shift_adaln_single"),
                         ("av_cross_attn_audio_v2a_gate", "av_ca_v2a_gate_adaln_single"),
                         ("video_a2v_cross_attn_scale_shift_table", "scale_shift_table_a2v_ca_video"),
                         ("audio_a2v_cross_attn_scale_shift_table", "scale_shift_table_a2v_ca_audio"),
                         ("norm_q", "q_norm"), ("norm_k", "k_norm"), ("time_embed.", "adaln_single.")):
        name = name.replace(ours, theirs)
    return f"patchify_proj.{name.removeprefix('proj_in.')}" if name.startswith("proj_in.") else name


def connected(name: str) -> str:
    """The same of its text connectors."""
    name = name.replace("video_connector", "video_embeddings_connector").replace("audio_connector", "audio_embeddings_connector")
    name = name.replace("transformer_blocks", "transformer_1d_blocks").replace("norm_q", "q_norm").replace("norm_k", "k_norm")
    return name.replace("text_proj_in", "text_embedding_projection.aggregate_embed")


@pytest.fixture(scope="module")
def sounding(stage):
    """Of an LTX-2 with other weights than the installed one: transformer and connectors, and the same under their authors' names."""
    bring(stage.model("ltx2"), name="sound")
    torch.manual_seed(8)
    other = tiny_families.ltx2()
    roused(other.transformer), roused(other.connectors)
    state = {lightricks(name): one.detach().clone() for name, one in other.transformer.state_dict().items()}
    return other, state, {connected(name): one.detach().clone() for name, one in other.connectors.state_dict().items()}


def test_ltx2s_transformer_is_read_from_one_file(stage, sounding):
    other, state, _ = sounding
    save_file({f"model.diffusion_model.{name}": one for name, one in state.items()}, stage.folder / "Sound.safetensors")
    found = bring(stage.folder / "Sound.safetensors", name="sound-one")
    loaded = families.family("ltx2").load(families.weights("ltx2", found.name), device.chosen())
    assert found.family == "ltx2" and all(torch.equal(loaded.parts["transformer"].state_dict()[name], one) for name, one in other.transformer.state_dict().items())
    mine = families.family("ltx2").load(families.weights("ltx2", "sound"), device.chosen()).parts["connectors"].state_dict()
    assert all(torch.equal(loaded.parts["connectors"].state_dict()[name], one) for name, one in mine.items()), "the file brings none"
    shown = stage.latent("ltx2", "sound-one")
    assert np.isfinite(shown).all() and differing(shown, stage.latent("ltx2", "sound"))


def test_half_of_ltx2s_connectors_is_refused_and_one_whole_one_used(stage, sounding):
    other, state, along = sounding
    one = {name: weights for name, weights in along.items() if name.startswith("video_embeddings_connector")}
    save_file(state | one, stage.folder / "one.safetensors")
    bring(stage.folder / "one.safetensors", name="one-connector")
    loaded, mine = (families.family("ltx2").load(families.weights("ltx2", name), device.chosen()).parts["connectors"].state_dict()
                    for name in ("one-connector", "sound"))
    assert all(torch.equal(loaded[name], (other.connectors.state_dict() if name.startswith("video_connector") else mine)[name]) for name in mine)
    save_file(state | dict(list(one.items())[:3]), stage.folder / "half.safetensors")
    bring(stage.folder / "half.safetensors", name="half-connector")
    with pytest.raises(ModelError, match="text connectors that do not fit"):
        families.family("ltx2").load(families.weights("ltx2", "half-connector"), device.chosen())


@pytest.mark.parametrize("kind", ["whole", "BF16"])
def test_ltx2s_connectors_that_a_file_brings_are_used(stage, sounding, kind):
    """As published: all parts in one safetensors file, of which the transformer and its connectors count; or a GGUF file."""
    other, state, along = sounding
    if kind == "whole":
        path = stage.folder / "Whole Sound.safetensors"
        inside = {name: one for name, one in along.items() if not name.startswith("text_embedding_projection")}
        top = {name: one for name, one in along.items() if name not in inside}
        save_file({f"model.diffusion_model.{name}": one for name, one in (state | inside).items()}
                  | top | {"vae.encoder.conv_in.conv.weight": torch.zeros(1), "audio_vae.per_channel_statistics.mean-of-means": torch.zeros(1)}, path)
    else:
        path = as_gguf_of(stage.folder / "sound.gguf", state | along)
    found = bring(path, name=f"sound-{kind.lower()}")
    loaded = families.family("ltx2").load(families.weights("ltx2", found.name), device.chosen())
    close = {"atol": 0.02, "rtol": 0.01} if kind == "BF16" else {"atol": 0, "rtol": 0}
    assert all(torch.allclose(loaded.parts["connectors"].state_dict()[name], one, **close) for name, one in other.connectors.state_dict().items())
    shown = stage.latent("ltx2", found.name)
    if kind == "BF16":
        assert plan.is_packed(families.weights("ltx2", found.name))
        whole = stage.latent("ltx2", "sound-whole")
        assert 0 < np.linalg.norm(whole - shown) < 0.05 * np.linalg.norm(whole)
    else:
        assert differing(shown, stage.latent("ltx2", "sound-one")), "other words"


def test_what_comes_along_with_a_transformer_is_not_counted_as_its_own(stage, sounding):
    """A whole checkpoint has an autoencoder and a vocoder that nobody loads from it; connectors are counted where they are."""
    _, state, along = sounding
    inside, large = {name: one for name, one in along.items() if not name.startswith("text_embedding_projection")}, torch.zeros(1000, 1000)
    save_file({f"model.diffusion_model.{name}": one for name, one in (state | inside).items()}
              | {"vae.encoder.conv_in.conv.weight": large, "vocoder.ups.0.weight": large.clone(),
                 "audio_vae.per_channel_statistics.mean-of-means": torch.zeros(1),
                 **{name: one for name, one in along.items() if name not in inside}}, stage.folder / "Everything.safetensors")
    save_file(dict(state), stage.folder / "Alone.safetensors")
    counted = [plan.parameters(bring(stage.folder / f"{name}.safetensors", name=name.lower()).root) for name in ("Everything", "Alone")]
    assert counted[0] == counted[1] and counted[0]["transformer"] == sum(one.numel() for one in state.values())
    packed = [plan.need(bring(as_gguf_of(stage.folder / f"{name}.gguf", tensors), name=name).root, device.chosen(), 9, 4096).weights["transformer"]
              for name, tensors in (("packed-alone", state), ("packed-along", state | along))]
    assert 0 <= packed[1] - packed[0] < 64 * len(along) + 4096, "their names and gaps in the file"


def as_gguf_of(path: Path, state: dict) -> Path:
    """LTX-2's matrices in 16 bits, everything else whole."""
    writer, kind = gguf.GGUFWriter(str(path), "ltxv"), gguf.GGMLQuantizationType.BF16
    for name, one in state.items():
        if one.ndim == 2 and name.endswith(".weight"):
            writer.add_tensor(name, gguf.quants.quantize(one.numpy(), kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, one.numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_ltx2_of_another_version_is_refused(stage, sounding):
    _, state, along = sounding
    gated = state | {"transformer_blocks.0.attn1.to_gate_logits.weight": torch.zeros(2, 16)}
    save_file(gated, stage.folder / "later.safetensors")
    said = refused(stage.folder / "later.safetensors", base="sound")
    assert "gated_attn" in said.sentence and "same version" in said.sentence
    save_file({f"{name}_scale" if name.endswith("to_q.weight") else name: one for name, one in state.items()}, stage.folder / "eight.safetensors")
    assert "scales of their own" in refused(stage.folder / "eight.safetensors").sentence, "a scale without its weight"
    odd = {name: one[:1] if "aggregate_embed" in name else one for name, one in along.items()}
    save_file(state | odd, stage.folder / "odd words.safetensors")
    bring(stage.folder / "odd words.safetensors", name="odd-words")
    with pytest.raises(ModelError, match="text connectors that do not fit"):
        stage.latent("ltx2", "odd-words")


# ---------------------------------------------------------------- 8 bits with scales
def rounded(state: dict, form: str) -> tuple[dict, dict]:
    """The weights of blocks in 8 bits with their scales as ComfyUI names them, and what they stand for."""
    found, worth = {} if form == "later" else {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}, {}
    for name, one in state.items():
        found[name] = worth[name] = one
        if ("blocks" in name or name.startswith("text_embedding_projection")) and one.ndim == 2 and name.endswith(".weight"):
            scale = one.abs().amax(1) / 448 if form == "rows" else one.abs().max() / 448
            each = scale[:, None] if form == "rows" else scale
            found[name] = (one / each).to(torch.float8_e4m3fn)
            worth[name] = found[name].float() * each
            layer = name.removesuffix(".weight")
            found[f"{layer}.{'scale_weight' if form == 'earlier' else 'weight_scale'}"] = scale
            found[f"{layer}.{'scale_input' if form == 'earlier' else 'input_scale'}"] = torch.tensor(3.0)
            if form == "later":
                found[f"{layer}.comfy_quant"] = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    return found, worth


@pytest.mark.parametrize("form", ["earlier", "later", "rows"])
def test_weights_of_8_bits_are_what_their_scales_make_of_them(stage, made, weights, form):
    eight, worth = rounded(weights[1], form)
    save_file({f"model.diffusion_model.{name}": one for name, one in eight.items()}, stage.folder / f"eight {form}.safetensors")
    save_file(worth, stage.folder / f"worth {form}.safetensors")
    found, plain = (bring(stage.folder / f"{kind} {form}.safetensors", name=f"{kind}-{form}") for kind in ("eight", "worth"))
    loaded, expected = (families.family("wan").load(families.weights("wan", one.name), device.chosen()).parts["transformer"].state_dict()
                        for one in (found, plain))
    assert loaded.keys() == expected.keys() and all(torch.equal(loaded[name], one) for name, one in expected.items())
    assert any(not torch.equal(one, weights[0].state_dict()[name]) for name, one in loaded.items())
    assert plan.parameters(found.root) == plan.parameters(plain.root)
    assert differing(latent(stage, found.name), latent(stage, plain.name)) == []


def test_ltx2_and_its_connectors_are_read_from_8_bits(stage, sounding):
    _, state, along = sounding
    eight, worth = rounded(state | along, "later")
    save_file(eight, stage.folder / "Sound eight.safetensors")
    save_file(worth, stage.folder / "Sound worth.safetensors")
    names = [bring(stage.folder / f"Sound {kind}.safetensors", name=f"sound-{kind}").name for kind in ("eight", "worth")]
    loaded, expected = (families.family("ltx2").load(families.weights("ltx2", name), device.chosen()).parts for name in names)
    for part in ("transformer", "connectors"):
        assert all(torch.equal(loaded[part].state_dict()[name], one) for name, one in expected[part].state_dict().items()), part


@pytest.mark.parametrize("odd", [{"blocks.0.ffn.0.weight_scale": torch.ones(3, 2)}, {"blocks.0.ffn.0.weight_scale": torch.ones(1, dtype=torch.uint8)},
                                 {"blocks.0.ffn.0.weight_scale_2": torch.ones(1)}, {"blocks.0.ffn.0.pre_quant_scale": torch.ones(64)},
                                 {"blocks.0.ffn.0.weight_scale": torch.ones(1), "blocks.0.ffn.0.scale_weight": torch.ones(1)},
                                 {"blocks.0.ffn.0.weight_scale": torch.ones(1), "blocks.0.ffn.0.weight": torch.ones((96, 64), dtype=torch.int8)}])
def test_other_ways_of_8_bits_are_refused(stage, made, weights, odd):
    eight = {**weights[1], "blocks.0.ffn.0.weight": weights[1]["blocks.0.ffn.0.weight"].to(torch.float8_e4m3fn), **odd}
    save_file(eight, stage.folder / "odd eight.safetensors")
    said = refused(stage.folder / "odd eight.safetensors")
    assert "scales of their own" in said.sentence and "GGUF" in said.sentence


# ---------------------------------------------------------------- refused
def refused(source: Path, **given) -> ModelError:
    before = sorted(path.name for path in store.default_folder().iterdir() if not path.name.startswith("."))
    with pytest.raises(ModelError) as error:
        bring(source, **given)
    assert before == sorted(path.name for path in store.default_folder().iterdir() if not path.name.startswith("."))
    return error.value


def test_a_file_that_nothing_here_completes_says_what_to_get(stage, made, weights):
    state = {name: torch.zeros(128, 64) if name == "head.head.weight" else one for name, one in weights[1].items()}     # another autoencoder's channels
    save_file(state, stage.folder / "other.safetensors")
    said = refused(stage.folder / "other.safetensors")
    assert "takes its text encoder and autoencoder from a wan model" in said.sentence and "base" in refused(stage.folder / "other.safetensors", base="base").sentence
    vace = {**weights[1], "vace_blocks.0.after_proj.bias": torch.zeros(64), "vace_patch_embedding.weight": torch.zeros(64, 96, 1, 2, 2)}
    said = refused(as_gguf(stage.folder / "vace.gguf", vace))
    assert said.remedy.action == "get_model" and said.remedy.value == "wan2.1-vace-1.3b"


def test_a_file_of_another_family_or_of_half_a_model(stage, made, weights):
    assert "belongs to wan, skyreels, not to vace" in refused(stage.folder / "Packed-Q8_0.gguf", family="vace").sentence
    save_file({name: one for name, one in weights[1].items() if not name.startswith("blocks.1.")}, stage.folder / "half.safetensors")
    assert "lacks blocks" in refused(stage.folder / "half.safetensors").sentence
    save_file({**weights[1], "blocks.0.ffn.0.scale_weight": torch.ones(1)}, stage.folder / "scaled.safetensors")
    assert "scales of their own" in refused(stage.folder / "scaled.safetensors").sentence
    other = {"transformer_blocks.0.attn.to_q.weight": torch.zeros(32, 32)}
    assert "does not say whose it is" in refused(as_gguf(stage.folder / "odd.gguf", other)).sentence


def test_a_file_that_lacks_a_tensor_is_not_run(stage, made, weights):
    save_file({name: one for name, one in weights[1].items() if name != "blocks.1.cross_attn.o.weight"}, stage.folder / "less.safetensors")
    bring(stage.folder / "less.safetensors", name="less")
    with pytest.raises(ModelError, match="missing"):
        latent(stage, "less")
    save_file({**weights[1], "blocks.1.extra.weight": torch.zeros(1)}, stage.folder / "more.safetensors")
    bring(stage.folder / "more.safetensors", name="more")
    with pytest.raises(ModelError, match="does not fit"):
        latent(stage, "more")


@pytest.mark.parametrize("cut", [3, 20, 200, -1000, -33])
def test_a_truncated_gguf(stage, made, cut):
    short = stage.folder / f"short{cut}.gguf"
    short.write_bytes((stage.folder / "Packed-Q8_0.gguf").read_bytes()[:cut])
    assert "damaged" in refused(short).sentence


def test_a_flipped_bit_anywhere_in_a_gguf_is_refused_or_changes_nothing_but_a_name_or_number(stage, made):
    """In the header it is refused at the import, or leads to another honest header; anywhere at all once the file was checked in."""
    whole = (stage.folder / "Packed-Q8_0.gguf").read_bytes()
    known, _ = admission.header(stage.folder / "Packed-Q8_0.gguf")
    dice, flipped = np.random.default_rng(0), stage.folder / "flipped.gguf"
    for at in [0, 4, 8, 16, *dice.integers(24, 6000, 150).tolist()]:
        content = bytearray(whole)
        content[at] ^= 1 << int(dice.integers(8))
        flipped.write_bytes(content)
        try:
            tensors, _ = admission.header(flipped)
        except ModelError as error:
            assert error.sentence.endswith(".")
            continue
        assert len(tensors) == len(known) and sum(one != other for one, other in zip(tensors.items(), known.items(), strict=True)) <= 1, at
    path = made["packed"].folder / "transformer/single_file.gguf"
    path.write_bytes(bytes([*whole[:-100], whole[-100] ^ 1, *whole[-99:]]))
    with pytest.raises(ModelError, match="not the file that was checked in"):
        families.weights("wan", "packed")
    path.write_bytes(whole)


@pytest.mark.parametrize(("patch", "said"), [((0, b"GGML"), "not a GGUF"), ((4, struct.pack("<I", 1)), "not a GGUF"), ((8, struct.pack("<Q", 2**60)), "too many"),
                                             ((24, struct.pack("<Q", 2**60)), "cut off or too long")])
def test_headers_that_lie(tmp_path, stage, made, patch, said):
    content = bytearray((stage.folder / "Packed-Q8_0.gguf").read_bytes())
    content[patch[0]:patch[0] + len(patch[1])] = patch[1]
    (tmp_path / "lying.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        admission.header(tmp_path / "lying.gguf")
