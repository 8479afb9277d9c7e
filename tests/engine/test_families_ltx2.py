"""LTX-2 with tiny random weights: pictures at their frames, guides through IC-LoRAs, two stages, high dynamic range, sound."""
import shutil
import threading
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import device, families, light, shoot
from engine.errors import Cut, GuideError, ModelError, ShotError
from engine.diffusers_line import ltx2_stream
from engine.families import Window
from engine.protocol import Guide, Lora, Size
from tests.engine.open_stage import FRAMES, Stage, differing, noise, pixels, staged
from tests.engine.roused import roused

SMALL, TALL = Size(32, 32), Size(64, 64)        # LTX-2's smallest sizes in one stage and in two
CONTROL = {"reference_downscale_factor": "2"}
BRIGHT = {"hdr_transform": "logc3"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("ltx2"), checkpoints, models=tmp_path_factory.mktemp("models")) as made:
        yield made


def lora(stage: Stage, name: str, scale: float = 1.0, **said: str) -> Lora:
    """A file of random adapters under the names that Lightricks' own files have; `said` is what it says of itself."""
    path = stage.folder / f"{name}.safetensors"
    if not path.exists():
        dice, state = torch.Generator().manual_seed(len(name)), {}
        for block in range(2):
            at = f"diffusion_model.transformer_blocks.{block}.attn1.to_q"
            state[f"{at}.lora_A.weight"], state[f"{at}.lora_B.weight"] = (scale * torch.randn(shape, generator=dice) for shape in ((2, 16), (16, 2)))
        save_file(state, path, said or None)
    return Lora(name=str(path))


def latent(stage: Stage, **fields) -> np.ndarray:
    return stage.latent("ltx2", "ltx2", **{"size": SMALL, **fields})


# ---------------------------------------------------------------- keyframes and sound
@pytest.mark.parametrize("frame", [0, 8])
def test_pictures_count_at_their_frames(stage, frame):
    made = latent(stage, keyframes=(stage.keyframe(frame),))
    assert differing(made, latent(stage)) and differing(made, latent(stage, keyframes=(stage.keyframe(frame, 5),)))


@pytest.mark.parametrize("two_stages", [False, True])
def test_sound_is_as_long_as_the_pictures(stage, two_stages):
    frames = 9 if two_stages else 125           # two windows of one stage; two stages of one window
    take = stage.roll("ltx2", "ltx2", size=TALL if two_stages else SMALL, frames=frames, two_stages=two_stages, guidance=1.0)
    with wave.open(str(Path(take.shot.out, take.sound))) as file:
        assert file.getnchannels() == 2 and file.getframerate() == 16000 and file.getnframes() == round(frames / 24 * 16000)
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(heard) - np.flatnonzero(heard)[-1] <= 2 * 0.05 * 16000, "no more silence at the end than rounding leaves"


# ---------------------------------------------------------------- guides through IC-LoRAs
@pytest.mark.parametrize("kind", ["depth", "edges", "beauty"])
def test_a_guide_counts_with_its_pictures_its_strength_and_its_lora(stage, kind):
    control = (lora(stage, "control"),)
    made = latent(stage, guides=(stage.guide(kind, 1),), loras=control)
    assert differing(made, latent(stage, guides=(stage.guide(kind, 1),), loras=control)) == []
    for other in ({"guides": (stage.guide(kind, 2),), "loras": control}, {"guides": (stage.guide(kind, 1, strength=0.5),), "loras": control},
                  {"guides": (stage.guide(kind, 1),), "loras": (lora(stage, "other one"),)}, {"loras": control}):
        assert differing(made, latent(stage, **other))


def test_a_guide_of_one_frame_else_changes_the_clip_and_no_guide_beyond_it_does(stage):
    control = (lora(stage, "control"),)
    images = [noise(frame) for frame in range(FRAMES)]
    odd = [255 - image if frame == 4 else image for frame, image in enumerate(images)]
    same, other = (latent(stage, guides=(Guide(kind="depth", path=stage.pictures(name, found)),), loras=control) for name, found in (("same", images), ("odd", odd)))
    assert differing(same, other)
    assert differing(latent(stage), latent(stage, guides=())) == [], "and without one nothing is left of it"


def test_several_guides_count_each_with_its_strength(stage):
    control, depth, edges = (lora(stage, "control"),), stage.guide("depth", 1), stage.guide("edges", 2)
    bare, first, second, both, weak = (latent(stage, guides=guides, loras=control) for guides in (
        (), (depth,), (edges,), (depth, edges), (depth, replace(edges, strength=0.5))))
    made = [bare, first, second, both, weak]
    assert all(differing(a, b) for at, a in enumerate(made) for b in made[at + 1:])
    assert differing(both, latent(stage, guides=(depth, edges), loras=control)) == []
    off = replace(edges, strength=0.0)
    assert differing(first, latent(stage, guides=(depth, off), loras=control)) == []
    assert differing(bare, latent(stage, guides=(off,), loras=control)) == [] and differing(latent(stage), latent(stage, guides=(off,))) == []


def test_light_comes_from_the_rendered_picture_alone_where_there_are_other_guides(stage):
    """In the second stage nothing else is followed; in the first one everything is."""
    both = (stage.guide("beauty", 1), stage.guide("depth", 2))
    worn = {"size": TALL, "two_stages": True, "guidance": 1.0, "loras": (lora(stage, "bright", 3.0, **BRIGHT), lora(stage, "control"))}
    seen = []
    latent(stage, **worn)
    hook = stage.studio._loaded[1].parts["transformer"].proj_in.register_forward_hook(lambda module, arguments, output: seen.append(output.shape[1]))
    made = latent(stage, guides=both, **worn)
    hook.remove()
    small, large = 5 * 2 * 2, 5 * 4 * 4         # tokens of a clip
    assert seen == [3 * small] * 2 + [2 * large] * 3
    assert differing(made, latent(stage, guides=both[:1], **worn)) and differing(made, latent(stage, guides=both[1:], **worn))


def test_guides_do_what_the_stock_pipeline_does(stage):
    """The same LoRA file loaded by diffusers itself, the guides at half the size as the file asks for; the connectors' part counts as well."""
    from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition
    control = Path(lora(stage, "halved", **CONTROL).name)
    state = load_file(control) | {f"text_embedding_projection.aggregate_embed.lora_{half}.weight": torch.full(shape, 0.1)
                                  for half, shape in (("A", (2, 96)), ("B", (32, 2)))}
    save_file(state, control, CONTROL)
    guides = {kind: noise(seed, TALL)[None].repeat(FRAMES, 0).astype(np.float32) / 255 for seed, kind in enumerate(("beauty", "edges"))}
    loaded = families.family("ltx2").load(stage.model("ltx2"), device.chosen())
    loaded.wear([(control, 1.0)])
    assert loaded.native(Size(40, 70)) == TALL, "half of it can still be drawn"
    *_, ours = loaded.sample(window(loaded, TALL, guides=guides, strengths={"edges": 0.5}))
    loaded.wear([])
    small = [LTX2ReferenceCondition(torch.nn.functional.interpolate(torch.from_numpy(guides[kind]).permute(0, 3, 1, 2), (32, 32), mode="area"), strength)
             for kind, strength in (("beauty", 1.0), ("edges", 0.5))]
    loaded.pipe.load_lora_weights(str(control.parent), weight_name=control.name, adapter_name="stock")
    stock = loaded.pipe(**plainly(loaded, TALL), reference_conditions=small, reference_downscale_factor=2).frames
    assert (ours - stock).abs().max() <= 1e-5


def window(loaded, size: Size, **fields) -> Window:
    return Window(**{"frames": FRAMES, "size": size, "seed": 3, "steps": 2, "guidance": 3.0, "text": loaded.text("a castle"), "negative": loaded.text("dull"), **fields})


def plainly(loaded, size: Size, **fields) -> dict:
    """What the stock pipeline is called with for the same."""
    return {"prompt": "a castle", "negative_prompt": "dull", "height": size.height, "width": size.width, "num_frames": FRAMES, "num_inference_steps": 2,
            "guidance_scale": 3.0, "audio_guidance_scale": 3.0, "stg_scale": 0.0, "audio_stg_scale": 0.0, "modality_scale": 1.0, "audio_modality_scale": 1.0,
            "spatio_temporal_guidance_blocks": None, "max_sequence_length": 32, "generator": torch.Generator().manual_seed(3), "output_type": "latent", **fields}


def test_what_loras_ask_for_and_cannot_have_is_refused(stage):
    for said, words in (({"reference_temporal_scale_factor": "2"}, "another frame rate"), ({"hdr_transform": "pq"}, "'pq'")):
        with pytest.raises(ModelError, match=words):
            stage.roll("ltx2", "ltx2", size=SMALL, loras=(lora(stage, words, **said),))
    for other in "14":
        with pytest.raises(ModelError, match="cannot go together"):
            stage.roll("ltx2", "ltx2", size=TALL, loras=(lora(stage, "by two", **CONTROL), lora(stage, f"by {other}", reference_downscale_factor=other)))
    with pytest.raises(GuideError, match="depth and edges only with an IC-LoRA"):
        stage.roll("ltx2", "ltx2", size=SMALL, guides=(stage.guide("depth", 1), stage.guide("edges", 1)))


# ---------------------------------------------------------------- words
def test_a_prompt_is_kept_on_disk_for_its_own_tokens_and_gives_the_same_clip(stage, monkeypatch, tmp_path):
    monkeypatch.setenv("SORA_CACHE", str(tmp_path))
    clips, heard = [], []
    for _ in range(2):
        loaded = families.family("ltx2").load(stage.model("ltx2"), device.chosen())
        loaded.parts["text_encoder"].register_forward_hook(lambda *_: heard.append(1))
        clips.append(list(loaded.sample(window(loaded, SMALL)))[-1])
    assert len(heard) == 2 and loaded._texts.hits == 2, "both prompts once"
    assert torch.equal(*clips)
    assert loaded.text("a castle")[0].shape[1] == len("a castle") + 1 and len(list((tmp_path / "prompts").iterdir())) == 2
    stock = loaded.pipe(**plainly(loaded, SMALL)).frames
    assert torch.equal(clips[0], stock), "what stood at the padding's places counts for nothing"


@pytest.mark.parametrize("registers", [None, 8])
def test_a_weight_scales_what_the_connectors_say_of_its_words_and_no_others(stage, registers):
    """Published connectors have registers, and bring the words to the front."""
    from engine.diffusers_line import prompts
    loaded = families.family("ltx2").load(stage.model("ltx2"), device.chosen())
    own = loaded.parts["connectors"]
    torch.manual_seed(0)
    connectors = roused(type(own).from_config({**own.config, **{f"{kind}_connector_num_learnable_registers": registers for kind in ("video", "audio")}}))
    loaded.parts["connectors"] = connectors
    asked = window(loaded, SMALL, text=loaded.text("a (red:1.8) car"), negative=loaded.text("(dull:0.2) sky"))
    texts = [torch.cat(both) for both in zip(*(loaded._padded(one) for one in (asked.negative[0], asked.text[0])))]
    with torch.inference_mode():
        plain = connectors(*texts)
        with prompts.weighing(connectors, loaded._weigh(asked, guided=True)):
            heavy = connectors(*texts)
        with prompts.weighing(connectors, loaded._weigh(asked, guided=False)):
            alone = connectors(*(text[1:] for text in texts))
    for said, weighed, single in zip(plain[:2], heavy[:2], alone[:2]):
        for row, (words, first, end, weight) in enumerate((("dull sky", 0, 4, 0.2), ("a red car", 2, 5, 1.8))):
            at = 0 if registers else 32 - len(words) - 1
            changed = range(at + first, at + end)
            assert (said[row] != weighed[row]).any(-1).nonzero().flatten().tolist() == list(changed)
            assert torch.allclose(weighed[row][list(changed)], said[row][list(changed)] * weight)
        assert torch.allclose(single[0], weighed[1], atol=1e-5)
    assert torch.equal(heavy[2], plain[2])


def test_weighted_prompts_do_not_find_plain_ones_on_disk(stage, monkeypatch, tmp_path):
    monkeypatch.setenv("SORA_CACHE", str(tmp_path))
    loaded = families.family("ltx2").load(stage.model("ltx2"), device.chosen())
    made = [list(loaded.sample(window(loaded, SMALL, text=loaded.text(prompt))))[-1] for prompt in ("a castle", "a (castle:1.8)", "a (castle:1)", "a (castle:1.8)")]
    assert torch.equal(made[0], made[2]) and torch.equal(made[1], made[3]) and not torch.equal(made[0], made[1])
    assert len(list((tmp_path / "prompts").iterdir())) == 2, "the words are encoded once"


# ---------------------------------------------------------------- two stages
def test_two_stages_are_those_of_the_documented_recipe(stage):
    """diffusers' own documentation of LTX-2, “Two-stages Generation”, by its own three pipeline calls."""
    from diffusers import FlowMatchEulerDiscreteScheduler, LTX2LatentUpsamplePipeline
    from diffusers.pipelines.ltx2.utils import STAGE_2_DISTILLED_SIGMA_VALUES
    loaded = families.family("ltx2").load(stage.model("ltx2"), device.chosen())
    *_, ours = loaded.sample(window(loaded, TALL, two_stages=True))
    pipe, dice = loaded.pipe, torch.Generator().manual_seed(3)
    first = pipe(**plainly(loaded, SMALL, generator=dice))
    larger = LTX2LatentUpsamplePipeline(vae=pipe.vae, latent_upsampler=loaded.parts["latent_upsampler"])(
        latents=first.frames, height=32, width=32, num_frames=FRAMES, output_type="latent", return_dict=False)[0]
    pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config, use_dynamic_shifting=False, shift_terminal=None)
    stock = pipe(**plainly(loaded, TALL, generator=dice, latents=larger, audio_latents=first.audio, num_inference_steps=3, guidance_scale=1.0,
                           audio_guidance_scale=1.0, noise_scale=STAGE_2_DISTILLED_SIGMA_VALUES[0], sigmas=STAGE_2_DISTILLED_SIGMA_VALUES))
    assert ours.shape == stock.frames.shape == (1, 4, 5, 4, 4) and (ours - stock.frames).abs().max() <= 1e-5
    assert torch.equal(loaded._audio[0], stock.audio)


def test_a_draft_skips_in_the_first_stage_and_counts_both(stage):
    asked = {"size": TALL, "two_stages": True, "guidance": 1.0, "steps": 10}
    take = stage.roll("ltx2", "ltx2", draft=True, **asked)
    assert take.evaluations == 2 * (10 + 3) and 0 < take.skipped <= 10
    assert differing(latent(stage, **asked), latent(stage, **asked, draft=True))


def test_two_stages_are_seen_counted_and_the_same_again(stage):
    said, asked = [], {"size": TALL, "two_stages": True, "guidance": 1.0}
    take = stage.roll("ltx2", "ltx2", say=said.append, **asked)
    assert [one.step for one in said if one.stage == "denoise"][-1] == 2 + 3 and take.native == TALL
    assert any("half of 64x64" in note for note in take.notes)
    made = pixels(take)
    assert differing(made, stage.pixels("ltx2", "ltx2", **asked)) == [] and differing(made, stage.pixels("ltx2", "ltx2", size=TALL, guidance=1.0))
    again = stage.roll("ltx2", "ltx2", latents=take.shot.out, **{**asked, "guidance": 3.0})     # no distilled LoRA is asked for
    assert differing(made, pixels(again)) == [] and again.native == TALL


def test_the_second_stage_wears_the_distilled_lora_and_takes_it_off(stage, tmp_path, monkeypatch):
    from engine.models import importing
    from engine.models.store import Store
    bare = latent(stage)
    with pytest.raises(ModelError) as refused:
        latent(stage, size=TALL, two_stages=True)
    assert (refused.value.remedy.action, refused.value.remedy.value) == ("get_model", "ltx-2-distilled-lora")
    plain = latent(stage, size=TALL, two_stages=True, guidance=1.0)
    monkeypatch.setenv("SORA_MODELS", str(tmp_path))
    for _ in importing.bring(Path(lora(stage, "distilled").name), Store(tmp_path), importing.Given(name="ltx-2-distilled-lora", family="ltx2", lora=True)):
        pass
    refined = latent(stage, size=TALL, two_stages=True)
    assert differing(refined, latent(stage, size=TALL, two_stages=True)) == [] and differing(refined, plain)
    assert differing(plain, latent(stage, size=TALL, two_stages=True, guidance=1.0)) == [], "weights without guidance are distilled themselves"
    assert differing(bare, latent(stage)) == [], "taken off is exact"
    worn = {"loras": (Lora(name="ltx-2-distilled-lora"),)}
    few = latent(stage, preset="8-steps-lora", steps=0)
    assert differing(few, latent(stage, steps=8, guidance=1.0, **worn)) == [] and differing(few, latent(stage, steps=8, guidance=1.0))
    along = stage.shot("ltx2", "ltx2", guides=(stage.guide("depth", 1),), loras=(*worn["loras"], lora(stage, "control")), two_stages=True, guidance=1.0)
    assert [path.stem for path, _ in families.family("ltx2").second(along)] == ["ltx-2-distilled-lora"], "the guide has been followed by then"


def test_a_shot_is_cut_in_the_second_stage(stage):
    cut, whole = threading.Event(), latent(stage, size=TALL, two_stages=True, guidance=1.0)

    def say(progress) -> None:
        if progress.stage == "denoise" and progress.step == 4:
            cut.set()
    with pytest.raises(Cut):
        stage.roll("ltx2", "ltx2", say=say, cut=cut, size=TALL, two_stages=True, guidance=1.0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pipeline")]
    assert differing(whole, latent(stage, size=TALL, two_stages=True, guidance=1.0)) == []


def test_a_second_stage_that_is_not_there_is_refused(stage, tmp_path):
    bare = shutil.copytree(stage.model("ltx2"), tmp_path / "bare", ignore=shutil.ignore_patterns("latent_upsampler"))
    with pytest.raises(ModelError) as refused:
        rolled(stage, bare)
    assert refused.value.remedy.value == "two_stages"
    with pytest.raises(ShotError, match="no second stage"):
        stage.roll("wan", "wan_text", two_stages=True)
    other = shutil.copytree(stage.model("ltx2"), tmp_path / "other")
    config = other / "latent_upsampler/config.json"
    config.write_text(config.read_text().replace("LTX2LatentUpsamplerModel", "AutoencoderKL"))
    with pytest.raises(ModelError, match="AutoencoderKL"):
        rolled(stage, other)


def rolled(stage, folder: Path):
    """A shot of two stages with the model in `folder`."""
    shot = replace(stage.shot("ltx2", "ltx2", size=TALL, two_stages=True, guidance=1.0), model=str(folder))
    return shoot.roll(shot, lambda progress: None, threading.Event(), stage.studio)


# ---------------------------------------------------------------- high dynamic range
def test_high_dynamic_range_is_light_in_exr_and_what_a_display_shows_elsewhere(stage):
    import OpenEXR
    worn = {"size": SMALL, "guides": (stage.guide("beauty", 1),), "loras": (lora(stage, "bright", 3.0, **BRIGHT),)}
    take = stage.roll("ltx2", "ltx2", format="exr", **worn)
    assert any("High dynamic range" in note and "LogC3" in note for note in take.notes) and take.files.colourspace == "Linear Rec.709"
    model = stage.studio._loaded[1]
    kept = load_file(Path(take.shot.out, "latents/0000.safetensors"))["latent"]
    codes = torch.cat(list(model.decode(kept))).permute(0, 2, 3, 1).numpy()
    first = OpenEXR.File(str(Path(take.shot.out, take.files.folder, take.files.names()[0]))).channels()["RGB"].pixels.astype(np.float32)
    expected = light.of_logc3(codes[0])
    assert np.allclose(first, expected, rtol=2e-3, atol=3e-4) and not np.allclose(first, light.linear(codes[0]), rtol=0.05)
    shown = stage.roll("ltx2", "ltx2", **worn)
    assert np.abs(pixels(shown)[0] - light.shown(expected) * 255).max() <= 1 and any("cut in PNG" in note for note in shown.notes)
    again = stage.roll("ltx2", "ltx2", format="exr", latents=shown.shot.out, **{**worn, "loras": ()} | {"guides": ()})
    assert Path(again.shot.out, "frames", again.files.names()[0]).read_bytes() == Path(take.shot.out, "frames", take.files.names()[0]).read_bytes()


@pytest.mark.parametrize("causal", [False, True], ids=["as published", "causal"])
@pytest.mark.parametrize("frames", [1, 2, 5, 16])
def test_a_stream_of_pictures_is_what_the_autoencoder_decodes_at_once(frames, causal):
    """In the published layers, few channels wide."""
    from diffusers import AutoencoderKLLTX2Video
    torch.manual_seed(0)
    vae = roused(AutoencoderKLLTX2Video(block_out_channels=(8,) * 4, decoder_block_out_channels=(8, 16, 32), latent_channels=8, layers_per_block=(1,) * 5,
                                        decoder_layers_per_block=(2,) * 4, decoder_causal=causal))
    latent = torch.randn(1, 8, frames, 3, 4)
    with torch.inference_mode():
        whole = vae.decode(latent).sample
    for together in (1, 60_000, 10**12):
        chunks = list(ltx2_stream.decoded(vae, latent, together))
        made = torch.cat(chunks, 2)
        assert made.shape == whole.shape and (made - whole).abs().max() <= 1e-5 * whole.abs().max(), "measured: 7e-6"
        assert together > 1 or frames < 5 or len(chunks) > frames, "they come as they are made"


def test_a_decoder_that_depends_on_noise_takes_the_clip_whole(stage):
    model = families.family("ltx2").load(stage.model("ltx2"), device.chosen())
    vae, latent = model.parts["vae"], torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    streamed = torch.cat(list(model.decode(latent)))
    assert ltx2_stream.possible(vae)
    resnet = next(block for block in vae.decoder.modules() if hasattr(block, "per_channel_scale1"))
    resnet.per_channel_scale1 = torch.nn.Parameter(torch.zeros(resnet.conv1.out_channels, 1, 1), requires_grad=False)
    assert not ltx2_stream.possible(vae) and (torch.cat(list(model.decode(latent))) - streamed).abs().max() < 1e-5


def test_eight_steps_without_guidance_follow_the_distilled_schedule(stage):
    from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
    loaded = families.family("ltx2").load(stage.model("ltx2"), device.chosen())
    asked = window(loaded, SMALL, steps=8, guidance=1.0)
    assert loaded._asked(asked)["sigmas"] == DISTILLED_SIGMA_VALUES
    assert loaded._asked(replace(asked, steps=7))["sigmas"] is None and loaded._asked(replace(asked, guidance=3.0))["sigmas"] is None
    *_, last = loaded.sample(asked)
    assert torch.isfinite(last).all() and not loaded.pipe.scheduler.config.shift_terminal


def test_previews_show_latents_of_unit_scale_to_the_tiny_decoder(stage):
    from engine.diffusers_line.tiny_decoder import Tiny
    from tests.engine.test_tiny_decoder import weights
    loaded = families.family("ltx2").load(stage.model("ltx2"), device.chosen())
    loaded.parts["vae"].latents_mean.fill_(0.5)
    loaded.parts["vae"].latents_std.fill_(2.0)
    loaded._tiny, seen = Tiny(weights(4, 4, 2)), torch.randn((1, 4, 3, 4, 4), generator=torch.Generator().manual_seed(1))
    assert np.allclose(loaded.glimpse(seen * 2 + 0.5, None), loaded._tiny.shown(seen), atol=1e-5)
    assert families.family("ltx2").load(stage.model("ltx2"), device.chosen())._decoder() is None, "a processor draws by the linear map"
