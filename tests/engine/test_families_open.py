"""The open families with tiny random weights, loaded by the code that loads published ones: what each input changes, and what not."""
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import device, families
from engine.errors import ACTIONS, Cut, GuideError, KeyframeError, ShotError
from engine.families import Window
from engine.protocol import Guide, Keyframe, Progress, Size, Span
from tests.engine.open_stage import FRAMES, SIZE, Stage, differing, noise, pixels, staged

TALL = Size(64, 64)         # on every family's native grid


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("open"), checkpoints) as made:
        yield made


def asked(stage: Stage, family: str, **fields) -> dict:
    """What a family needs at least."""
    needs = {"cogvideox": {"guides": (stage.guide("depth"),)},
             "sana_wm": {"guides": (stage.camera(0.1),), "keyframes": (stage.keyframe(0),)},
             "wan_pictures": {"keyframes": (stage.keyframe(0), stage.keyframe(FRAMES - 1, 3))},
             "wan_picture_experts": {"keyframes": (stage.keyframe(0),)}}
    return {**needs.get(family, {}), **fields}


KINDS = [("wan", "wan_text"), ("wan", "wan_experts"), ("wan", "wan_pictures"), ("wan", "wan_picture_experts"), ("wan", "wan_grown"), ("vace", "vace"),
         ("vace", "vace_experts"),         ("skyreels", "skyreels"), ("cogvideox", "cogvideox"), ("ltx2", "ltx2"), ("sana_wm", "sana_wm")]


@pytest.mark.parametrize(("family", "model"), KINDS)
def test_every_family_shoots_and_shoots_the_same_again(stage, family, model):
    said = []
    fields = asked(stage, model)
    first = stage.roll(family, model, say=said.append, **fields)
    made = pixels(first)
    assert made.shape == (FRAMES, SIZE.height, SIZE.width, 3) and first.native_frames == FRAMES and made.std() > 1
    assert [one.step for one in said if one.stage == "denoise"][-1] == 2
    assert differing(made, stage.pixels(family, model, **fields)) == []
    assert differing(made, stage.pixels(family, model, **{**fields, "seed": 8})), "another seed is another clip"
    assert differing(made, stage.pixels(family, model, **{**fields, "prompt": "a blue tower"})), "another prompt is another clip"


@pytest.mark.parametrize(("family", "model", "pipeline"), [("wan", "wan_text", "WanPipeline"), ("wan", "wan_experts", "WanPipeline")])
def test_text_models_give_what_the_stock_pipeline_gives(stage, family, model, pipeline):
    _equals_stock(stage, family, model, pipeline, Window, {})


@pytest.mark.parametrize(("family", "pipeline"), [("wan", "WanPipeline"), ("vace", "WanVACEPipeline")])
def test_the_second_expert_is_guided_as_the_stock_pipeline_guides_it(stage, family, pipeline):
    _equals_stock(stage, family, f"{family}_experts", pipeline, Window, {"guidance_scale_2": 2.5}, steps=6, guidance_low=2.5)


def test_first_and_last_frame_give_what_the_stock_pipeline_gives(stage):
    import PIL.Image
    stills = {0: noise(1), FRAMES - 1: noise(2)}
    _equals_stock(stage, "wan", "wan_pictures", "WanImageToVideoPipeline", Window,
                  {"image": PIL.Image.fromarray(stills[0]), "last_image": PIL.Image.fromarray(stills[FRAMES - 1])},
                  stills={frame: still.astype(np.float32) / 255 for frame, still in stills.items()})


def test_a_grown_model_gives_what_the_stock_pipeline_gives(stage):
    import PIL.Image
    _equals_stock(stage, "wan", "wan_grown", "WanImageToVideoPipeline", Window, {"image": PIL.Image.fromarray(noise(1, TALL))}, size=TALL,
                  stills={0: noise(1, TALL).astype(np.float32) / 255})


def test_vace_with_two_experts_gives_what_the_stock_pipeline_gives(stage):
    import PIL.Image
    depth = [noise(frame)[..., :1] for frame in range(FRAMES)]
    _equals_stock(stage, "vace", "vace_experts", "WanVACEPipeline", Window, {"video": [PIL.Image.fromarray(frame.repeat(3, -1)) for frame in depth]},
                  guides={"depth": np.stack(depth).astype(np.float32) / 255})


@pytest.mark.parametrize(("strength", "seen"), [(1.0, True), (0.7, False)])
def test_vace_gives_what_the_stock_pipeline_gives(stage, strength, seen):
    """Either a reference or a strength: the stock pipeline weakens references with the layout, which is not what a guide's strength means here."""
    import PIL.Image
    depth, reference = [noise(frame)[..., :1] for frame in range(FRAMES)], noise(77)
    stock = {"video": [PIL.Image.fromarray(frame.repeat(3, -1)) for frame in depth], "conditioning_scale": strength,
             **({"reference_images": [PIL.Image.fromarray(reference)]} if seen else {})}
    _equals_stock(stage, "vace", "vace", "WanVACEPipeline", Window, stock, guides={"depth": np.stack(depth).astype(np.float32) / 255},
                  strengths={"depth": strength}, references=(reference.astype(np.float32) / 255,) if seen else ())


def _equals_stock(stage, family, model, pipeline, kind, stock, size=SIZE, steps=3, **fields):
    """Our sampling against diffusers' own pipeline over the same components."""
    import diffusers
    loaded = families.family(family).load(stage.model(model), device.chosen())
    ours = kind(frames=FRAMES, size=size, seed=3, steps=steps, guidance=4.0, text=loaded.text("a castle"), negative=loaded.text("dull"), **fields)
    made = torch.cat(list(loaded.decode(list(loaded.sample(ours))[-1])))
    parts = {name: part for name, part in loaded.parts.items() if part is not None}
    settings = {name: value for name, value in loaded.index.items() if name in ("boundary_ratio", "expand_timesteps") and value is not None}
    if pipeline == "WanImageToVideoPipeline":
        parts = {"image_encoder": None, "image_processor": None, **parts}
    pipe = getattr(diffusers, pipeline)(**parts, **settings)
    pipe.set_progress_bar_config(disable=True)
    whole = pipe(prompt="a castle", negative_prompt="dull", height=size.height, width=size.width, num_frames=FRAMES, num_inference_steps=steps,
                 guidance_scale=4.0,
                 generator=torch.Generator().manual_seed(3), output_type="pt", **stock).frames[0]
    assert (made - whole).abs().max() <= 5e-6, "measured: 2e-7, and 2e-6 of VACE with two experts"


def test_the_quick_norms_decode_as_the_stock_ones_do():
    import copy
    from contextlib import nullcontext

    from engine.diffusers_line.wan_autoencoder import Autoencoder
    from tests.engine.tiny_families import _wan_vae
    torch.manual_seed(0)
    stock = _wan_vae()
    ours = Autoencoder(copy.deepcopy(stock), torch.device("cpu"), lambda name: nullcontext())
    latent = torch.randn(1, 16, 2, 6, 8)
    with torch.inference_mode():
        scaled = latent / (1 / ours._std) + ours._mean
        whole = ((stock.decode(scaled).sample[0].transpose(0, 1) + 1) / 2).clamp(0, 1)
    assert (torch.cat(list(ours.decode(latent))) - whole).abs().max() <= 1e-6, "measured: 2e-7"


# ---------------------------------------------------------------- VACE
@pytest.fixture(scope="module")
def plain(stage):
    """VACE without any guide."""
    return stage.latent("vace", "vace")


@pytest.mark.parametrize("kind", ["depth", "edges", "beauty", "normal"])
def test_every_guide_counts_with_its_pictures_and_its_strength(stage, kind):
    made = stage.latent("vace", "vace", guides=(stage.guide(kind, 1),))
    assert differing(made, stage.latent("vace", "vace", guides=(stage.guide(kind, 2),)))
    assert differing(made, stage.latent("vace", "vace", guides=(stage.guide(kind, 1, strength=0.5),)))


def test_a_guide_without_strength_is_no_guide(stage, plain):
    assert differing(plain, stage.latent("vace", "vace", guides=(stage.guide("depth", 1, strength=0.0),))) == []


def test_several_guides_count_each(stage):
    both = stage.latent("vace", "vace", guides=(stage.guide("depth", 1), stage.guide("edges", 2)))
    for others in ((stage.guide("depth", 1),), (stage.guide("depth", 3), stage.guide("edges", 2)), (stage.guide("depth", 1), stage.guide("edges", 3))):
        assert differing(both, stage.latent("vace", "vace", guides=others))


def test_a_take_says_what_was_shown_as_something_else(stage):
    notes = " ".join(stage.roll("vace", "vace", guides=tuple(stage.guide(kind, 1) for kind in ("depth", "normal", "beauty"))).notes)
    assert "grey clay" in notes and "Beauty was shown to VACE in grey" in notes
    assert "VACE" not in " ".join(stage.roll("vace", "vace", guides=(stage.guide("depth", 1), stage.guide("normal", 1, strength=0.0))).notes)


def test_a_strength_for_some_frames_counts(stage):
    whole = stage.latent("vace", "vace", guides=(stage.guide("depth", 1),))
    same = stage.latent("vace", "vace", guides=(stage.guide("depth", 1, strength=0.2, spans=(Span(first=0, last=8, strength=1.0),)),))
    less = stage.latent("vace", "vace", guides=(stage.guide("depth", 1, spans=(Span(first=5, last=8, strength=0.0),)),))
    assert differing(whole, same) == [] and differing(whole, less)


def test_a_mask_lets_the_guide_count_inside_and_the_clip_outside(stage):
    left = np.zeros((SIZE.height, SIZE.width), np.uint8)
    left[:, :32] = 255
    mask = Guide(kind="mask", path=stage.pictures("mask-left", [left] * FRAMES))

    def made(depth: str, clip: str):
        return stage.latent("vace", "vace", guides=(Guide(kind="depth", path=depth), mask), source=Guide(kind="beauty", path=clip))
    images = [noise(frame) for frame in range(FRAMES)]
    right, inside = [image.copy() for image in images], [image.copy() for image in images]
    for one, other in zip(right, inside):
        one[:, 32:] = 255 - one[:, 32:]
        other[:, :32] = 255 - other[:, :32]
    same, outside, within = (stage.pictures(name, found) for name, found in (("same", images), ("outside", right), ("within", inside)))
    first = made(same, same)
    assert differing(first, made(outside, same)) == [], "the guide does not count where the clip is kept"
    assert differing(first, made(same, within)) == [], "the clip does not count where it is made anew"
    assert differing(first, made(within, same)) and differing(first, made(same, outside))


def test_a_clip_beside_guides_asks_for_a_mask(stage):
    depth, mask = (Guide(kind=kind, path="unread") for kind in ("depth", "mask"))
    clip = Guide(kind="beauty", path="unread")
    with pytest.raises(GuideError) as error:
        families.family("vace").check(stage.shot("vace", "vace", guides=(depth,), source=clip), None)
    assert error.value.remedy.action == "leave_out"
    for guides, source in (((), clip), ((depth, mask), clip), ((depth,), None)):
        families.family("vace").check(stage.shot("vace", "vace", guides=guides, source=source), None)


@pytest.mark.parametrize("frame", [0, 4, 8])
def test_a_keyframe_counts_at_any_frame_and_hides_the_guide_there(stage, plain, frame):
    made = stage.latent("vace", "vace", keyframes=(stage.keyframe(frame),))
    assert differing(plain, made) and differing(made, stage.latent("vace", "vace", keyframes=(stage.keyframe(frame, 5),)))
    images = [noise(index) for index in range(FRAMES)]
    changed = [255 - image if index == frame else image for index, image in enumerate(images)]
    under = [stage.latent("vace", "vace", guides=(Guide(kind="depth", path=stage.pictures(name, found)),), keyframes=(stage.keyframe(frame),))
             for name, found in (("whole", images), (f"other{frame}", changed))]
    assert differing(*under) == []


def test_reference_pictures_count_in_their_number_and_not_in_length(stage, plain):
    one = stage.latent("vace", "vace", references=(stage.still(1),))
    two = stage.latent("vace", "vace", references=(stage.still(1), stage.still(2, Size(40, 80))))
    assert len(one) == len(two) == len(plain) and differing(plain, one) and differing(one, two)


@pytest.mark.parametrize("fields", [{}, {"draft": True}, {"plan": "int8"}])
def test_each_of_two_experts_is_asked_in_its_share_of_the_steps_and_by_every_guide(stage, fields):
    """Six steps, some of them with noise above 0.875 and some below."""
    both = {"guides": (stage.guide("depth", 1), stage.guide("edges", 2)), "steps": 6, **fields}
    first = stage.latent("vace", "vace_experts", **both)
    loaded = stage.studio._loaded[1]
    sigmas = steps_of(loaded, 6)
    assert 0 < sum(sigma >= 0.875 for sigma in sigmas) < 6
    asked, listeners = [], []
    for name, part in loaded.named().items():
        listeners.append(part.register_forward_pre_hook(lambda module, given, named, name=name: asked.append((name, float(named["timestep"][0]))),
                                                        with_kwargs=True))
    again = stage.latent("vace", "vace_experts", **both)
    for listener in listeners:
        listener.remove()
    assert differing(first, again) == [] and [name for name, _ in asked] == ["transformer" if at >= 875 else "transformer_2" for _, at in asked]
    assert {name for name, _ in asked} == {"transformer", "transformer_2"} and len(asked) == 6
    for guides in ((stage.guide("depth", 3), stage.guide("edges", 2)), (stage.guide("depth", 1), stage.guide("edges", 3))):
        assert differing(first, stage.latent("vace", "vace_experts", **{**both, "guides": guides}))
    stage.studio.unload()


@pytest.mark.parametrize(("family", "fields"), [("wan", {}), ("wan", {"draft": True}), ("vace", {}), ("vace", {"draft": True}), ("wan", {"guided_until": 0.9})])
def test_each_of_two_experts_has_its_own_guidance(stage, family, fields):
    """Less guidance for little noise is another picture; as much is the same; none asks the second expert with one text."""
    shot = {"steps": 6, "guidance": 4.0, **({"guides": (stage.guide("depth", 1),)} if family == "vace" else {}), **fields}
    alike, said, less = (stage.latent(family, f"{family}_experts", **shot, guidance_low=low) for low in (-1.0, 4.0, 2.0))
    assert differing(alike, said) == [] and differing(alike, less)
    asked, second = [], stage.studio._loaded[1].named()["transformer_2"]
    listener = second.register_forward_pre_hook(lambda module, given, named: asked.append(len(named["hidden_states"])), with_kwargs=True)
    none = stage.latent(family, f"{family}_experts", **shot, guidance_low=0.0)
    listener.remove()
    assert set(asked) == {1} and differing(less, none)
    assert differing(none, stage.latent(family, f"{family}_experts", **{**shot, "guidance": 1.0}, guidance_low=0.0)), "the first is still guided"
    assert differing(none, stage.latent(family, f"{family}_experts", **shot, guidance_low=1.0)) == []


def test_a_take_tells_both_guidances_and_one_expert_has_no_second(stage):
    take = stage.roll("wan", "wan_experts", guidance=4.0, guidance_low=3.0)
    assert take.shot.guidance_low == 3.0 and "Guidance 4 for much noise, 3 for little" in take.notes
    for family, model in (("wan", "wan_text"), ("vace", "vace")):
        with pytest.raises(ShotError, match="one transformer") as refused:
            stage.roll(family, model, guidance_low=3.0)
        assert (refused.value.remedy.action, refused.value.remedy.value) == ("leave_out", "split_guidance")


def steps_of(loaded, count: int) -> list[float]:
    from engine.diffusers_line import steps
    return [float(sigma) for sigma in steps.fresh(loaded.parts["scheduler"], count, "cpu").sigmas[:-1]]


def test_drafts_by_magnitude_learn_of_each_expert(stage):
    from engine import rehearsal
    take = stage.roll("vace", "vace_experts", guides=(stage.guide("depth", 1),), draft=True, draft_by="magnitude", steps=6)
    known, = rehearsal.kept(stage.model("vace_experts")).values()
    assert set(known) == {"transformer", "transformer_2"} and sum(map(len, known.values())) == 6 and take.evaluations > 0


def test_a_new_seed_needs_no_encoding(stage):
    stage.roll("vace", "vace", guides=(stage.guide("depth", 1),))
    known = stage.studio._loaded[1].autoencoder.known
    before, held = known.hits, len(known._held)
    stage.roll("vace", "vace", guides=(stage.guide("depth", 1),), seed=99)
    assert known.hits == before + 2 and len(known._held) == held


def test_long_shots_go_on_from_the_frames_before(stage):
    take = stage.roll("vace", "vace", frames=89, guides=(stage.guide("depth", 1, 89),))
    assert any("2 windows" in note for note in take.notes) and len(pixels(take)) == 89


# ---------------------------------------------------------------- Wan
def test_the_source_clip_counts_as_far_as_it_may(stage):
    clip = stage.guide("beauty", 4)
    some, other = (stage.latent("wan", "wan_text", source=replace(clip, path=path, strength=0.5), steps=4)
                   for path in (clip.path, stage.guide("beauty", 5).path))
    assert differing(some, other)
    anew = [stage.latent("wan", "wan_text", source=source, steps=4) for source in (replace(clip, strength=1.0), None)]
    assert differing(*anew) == []


def test_first_and_last_keyframes_count(stage):
    first = stage.latent("wan", "wan_picture_experts", keyframes=(stage.keyframe(0),))
    assert differing(first, stage.latent("wan", "wan_picture_experts", keyframes=(stage.keyframe(0, 5),)))
    for model in ("wan_picture_experts", "wan_pictures"):
        both = stage.latent("wan", model, keyframes=(stage.keyframe(0), stage.keyframe(8, 3)))
        assert differing(both, stage.latent("wan", model, keyframes=(stage.keyframe(0), stage.keyframe(8, 5))))
    assert differing(first, stage.latent("wan", "wan_picture_experts", keyframes=(stage.keyframe(0), stage.keyframe(8, 3))))


def test_a_known_first_frame_stays_whatever_the_seed(stage):
    one, other = (stage.latent("wan", "wan_grown", size=TALL, keyframes=(stage.keyframe(0),), seed=seed) for seed in (1, 2))
    assert (one[0] == other[0]).all() and differing(one, other)


def test_a_model_of_another_rate_shows_its_own_frames_where_they_fall_on_the_shots(stage):
    slow = stage.pixels("wan", "wan_text", frames=7, fps=16.0)
    take = stage.roll("wan", "wan_text", frames=9, fps=22.0)        # 8 / 22 s are 5.8 sixteenths
    made = pixels(take)
    assert len(made) == 9 and any("7 frames were made for the shot's 9" in note for note in take.notes)
    assert differing(made[[0, 4, 8]], slow[[0, 3, 6]]) == [] and differing(made[1:3], slow[1:3]) == [0, 1]


def test_windows_of_a_text_model_keep_what_they_share(stage):
    take = stage.roll("wan", "wan_text", frames=89, fps=16.0, size=Size(32, 32))
    assert len(pixels(take)) == 89 and any("5 shared" in note for note in take.notes)


# ---------------------------------------------------------------- others
def test_sana_follows_the_camera(stage):
    keyframes = (stage.keyframe(0),)
    still = stage.latent("sana_wm", "sana_wm", guides=(stage.camera(0.0),), keyframes=keyframes)
    assert differing(still, stage.latent("sana_wm", "sana_wm", guides=(stage.camera(0.5),), keyframes=keyframes))
    assert differing(still, stage.latent("sana_wm", "sana_wm", guides=(stage.camera(0.0),), keyframes=(stage.keyframe(0, 5),)))


def test_cogvideox_follows_its_guide(stage):
    made = stage.latent("cogvideox", "cogvideox", guides=(stage.guide("depth", 1),))
    assert differing(made, stage.latent("cogvideox", "cogvideox", guides=(stage.guide("depth", 2),)))
    assert differing(made, stage.latent("cogvideox", "cogvideox", guides=(stage.guide("edges", 1),)))


def test_skyreels_takes_a_first_frame(stage):
    made = stage.latent("skyreels", "skyreels", keyframes=(stage.keyframe(0),))
    assert differing(made, stage.latent("skyreels", "skyreels", keyframes=(stage.keyframe(0, 5),))) and differing(made, stage.latent("skyreels", "skyreels"))


# ---------------------------------------------------------------- cutting
@pytest.mark.parametrize(("family", "model"), [("vace", "vace"), ("cogvideox", "cogvideox"), ("ltx2", "ltx2"), ("wan", "wan_pictures"), ("skyreels", "skyreels"),
                                               ("sana_wm", "sana_wm")])
def test_a_cut_leaves_every_stage_and_nothing_behind(stage, family, model):
    fields = asked(stage, model, steps=3)
    whole = stage.latent(family, model, **fields)
    for stage_name in ("load", "text", "guides", "denoise", "decode"):
        cut = threading.Event()

        def say(progress: Progress, name=stage_name, cut=cut) -> None:
            if progress.stage == name and (name != "denoise" or progress.step == 1):
                cut.set()
        with pytest.raises(Cut):
            stage.roll(family, model, say=say, cut=cut, **fields)
    assert differing(whole, stage.latent(family, model, **fields)) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pipeline")]


# ---------------------------------------------------------------- refusals
def test_what_a_family_does_not_take_is_refused_in_a_sentence_with_a_way_out(stage):
    """A button for each: tests/blender/test_operators.py presses them."""
    ways = {}
    for family, model, fields, error in (
            ("wan", "wan_text", {"guides": (stage.guide("depth", 1),)}, GuideError),
            ("wan", "wan_text", {"keyframes": (stage.keyframe(0),)}, KeyframeError),
            ("wan", "wan_text", {"references": (stage.still(1),)}, KeyframeError),
            ("wan", "wan_pictures", {}, KeyframeError),
            ("wan", "wan_pictures", {"keyframes": (stage.keyframe(0),)}, KeyframeError),
            ("wan", "wan_pictures", {"keyframes": (stage.keyframe(0), stage.keyframe(4))}, KeyframeError),
            ("wan", "wan_grown", {"keyframes": (stage.keyframe(8),)}, KeyframeError),
            ("vace", "vace", {"guides": (stage.guide("vector", 1),)}, GuideError),
            ("vace", "vace", {"guides": (stage.guide("mask", 1),)}, GuideError),
            ("vace", "vace", {"guides": (stage.guide("depth", 1, spans=(Span(first=4, last=20, strength=1.0),)),)}, GuideError),
            ("vace", "vace", {"guides": (stage.guide("depth", 1, spans=(Span(first=4, last=2, strength=1.0),)),)}, GuideError),
            ("vace", "vace", {"guides": (stage.guide("depth", 1, spans=tuple(Span(first=at, last=4, strength=1.0) for at in (1, 4))),)}, GuideError),
            ("cogvideox", "cogvideox", {"guides": (stage.guide("depth", 1, spans=(Span(first=0, last=4, strength=1.0),)),)}, GuideError),
            ("cogvideox", "cogvideox", {}, GuideError),
            ("cogvideox", "cogvideox", {"guides": (stage.guide("depth", 1), stage.guide("edges", 1))}, GuideError),
            ("sana_wm", "sana_wm", {"keyframes": (stage.keyframe(0),)}, GuideError),
            ("sana_wm", "sana_wm", {"guides": (stage.camera(0.1),)}, KeyframeError),
            ("skyreels", "skyreels", {"keyframes": (stage.keyframe(4),)}, KeyframeError),
            ("skyreels", "skyreels", {"source": stage.guide("beauty", 1)}, GuideError)):
        with pytest.raises(error) as refused:
            stage.roll(family, model, **fields)
        assert refused.value.sentence.endswith(".") and refused.value.remedy and refused.value.remedy.action in ACTIONS, refused.value
        ways.setdefault(family, []).append((refused.value.remedy.action, refused.value.remedy.value))
    assert ("leave_out", "use_keyframes") not in ways["vace"] and ("choose_model", "weights") in ways["wan"] and ("use_family", "vace") in ways["wan"]
    assert ("use_guide", "depth") in ways["cogvideox"] and ("leave_out", "stills_at 5") in ways["skyreels"]
    assert ways["sana_wm"] == [("use_guide", "camera"), ("add_still", "1")]


def test_keyframes_that_no_family_can_show_can_be_left_out(stage):
    damaged = stage.folder / "damaged.png"
    damaged.write_bytes(b"no picture")
    for frames, value in (((0, FRAMES), f"stills_at {FRAMES + 1}"), ((3, 3), "stills_at 4"), ((FRAMES - 1,), f"stills_at {FRAMES} last_image")):
        path = str(damaged) if len(frames) == 1 else stage.still(1)
        with pytest.raises(KeyframeError) as refused:
            stage.roll("vace", "vace", keyframes=tuple(Keyframe(frame=frame, path=path) for frame in frames))
        assert (refused.value.remedy.action, refused.value.remedy.value) == ("leave_out", value)


# ---------------------------------------------------------------- the wire
def test_over_the_wire_a_shot_of_another_family_becomes_a_take(stage, engines):
    from engine.protocol import Cancel, Cancelled, Done, Failed, Shoot, read_take
    one = engines(SORA_CACHE="")
    shot = stage.shot("vace", "vace", guides=(stage.guide("depth", 1),), keyframes=(stage.keyframe(4),), references=(stage.still(1),))
    one.say(Shoot(shot=shot))
    assert isinstance(one.ending(shot.id), Done) and read_take(shot.out).plan == "full"
    wrong = stage.shot("wan", "vace")
    one.say(Shoot(shot=wrong))
    refused = one.ending(wrong.id)
    assert isinstance(refused, Failed) and refused.code == "bad_model" and refused.remedy.action == "choose_model"
    long = stage.shot("vace", "vace", steps=200)
    one.say(Shoot(shot=long))
    assert one.stage(long.id, "denoise").stage == "denoise"
    one.say(Cancel(shot=long.id))
    assert isinstance(one.ending(long.id), Cancelled)


# ---------------------------------------------------------------- remembered
@pytest.mark.parametrize(("family", "shown"), [("ltx2", "keyframes"), ("ltx2", "guides"), ("cogvideox", "guides"),
                                               ("skyreels", "keyframes"), ("sana_wm", "keyframes")])
def test_a_pipeline_encodes_what_it_is_shown_once_for_all_seeds(stage, family, shown):
    """And what it is given from memory is what it would have encoded, to the bit."""
    def given(seed: int) -> dict:
        if shown == "guides":
            return asked(stage, family, guides=(stage.guide("depth", seed),))
        return asked(stage, family, keyframes=(stage.keyframe(0, seed), *((stage.keyframe(FRAMES - 1, seed + 1),) if family == "skyreels" else ())))

    if (family, shown) == ("ltx2", "guides"):
        given = _with_control(stage, given)
    stage.latent(family, family, **given(5))
    vae, encoded = stage.studio._loaded[1].parts["vae"], []
    listener = vae.encoder.register_forward_hook(lambda *_: encoded.append(1))
    first = stage.latent(family, family, **{**given(5), "seed": 99})
    assert encoded == [], "another seed"
    stage.latent(family, family, **given(6))
    assert encoded, "another picture"
    listener.remove()
    stage.studio._loaded[1].encoded.clear()
    assert differing(first, stage.latent(family, family, **{**given(5), "seed": 99})) == []


def _with_control(stage, given):
    """LTX-2 follows a guide only with a LoRA of its own."""
    from safetensors.torch import save_file

    from engine.protocol import Lora
    path = stage.folder / "control.safetensors"
    halves = (("A", (2, 16)), ("B", (16, 2)))
    save_file({f"diffusion_model.transformer_blocks.0.attn1.to_q.lora_{half}.weight": torch.full(shape, 0.1) for half, shape in halves}, path)
    return lambda seed: {**given(seed), "loras": (Lora(name=str(path)),)}


# ---------------------------------------------------------------- drafts
@pytest.mark.parametrize(("family", "model"), [kind for kind in KINDS if kind[1] not in ("wan_pictures", "wan_picture_experts", "wan_grown")])
def test_a_draft_skips_blocks_and_leaves_no_trace(stage, family, model):
    given = asked(stage, family, steps=20 if family == "sana_wm" else 10,
                  **({"guides": (stage.guide("depth"), stage.guide("edges"))} if family == "vace" else {}))
    full = stage.roll(family, model, **given)
    draft = stage.roll(family, model, **given, draft=True)
    again = stage.roll(family, model, **given)
    assert 0 < draft.skipped < draft.evaluations and any(note.startswith("Draft: ") for note in draft.notes)
    assert (pixels(full) == pixels(again)).all() and full.evaluations == 0
    assert (pixels(full) != pixels(draft)).any()


def test_a_draft_that_skips_nothing_is_the_whole_thing(stage):
    """The way through the blocks is another one, the arithmetic the same."""
    from engine.sampling.draft import Draft
    for family, model in (("wan", "wan_text"), ("vace", "vace")):
        loaded = families.family(family).load(stage.model(model), device.chosen())
        window = Window(frames=FRAMES, size=SIZE, seed=7, steps=3, guidance=5.0, text=loaded.text("a red car"), negative=loaded.text(""),
                        guides={"depth": np.random.default_rng(0).random((FRAMES, SIZE.height, SIZE.width, 1), dtype=np.float32)} if family == "vace" else {})
        strict = Draft(-1.0)
        *_, full = loaded.sample(window)
        *_, draft = loaded.sample(replace(window, draft=strict))
        assert strict.evaluations > 0 == strict.skipped and torch.allclose(full, draft, atol=1e-5), family


@pytest.mark.parametrize(("family", "model"), [("ltx2", "ltx2"), ("sana_wm", "sana_wm")])
def test_a_draft_without_tolerance_is_the_whole_thing_to_the_bit(stage, family, model):
    """Where the blocks stand behind one of this engine's own, which has to hand on everything, sound included."""
    from engine.camera import read
    from engine.sampling.draft import Draft
    loaded = families.family(family).load(stage.model(model), device.chosen())
    given = {} if family != "sana_wm" else {"stills": {0: noise(0, TALL).astype(np.float32) / 255},
                                            "cameras": read(stage.camera(0.1).path, FRAMES).fitted(TALL)}
    window = Window(frames=FRAMES, size=TALL, seed=7, steps=4, guidance=5.0, text=loaded.text("a red car"), negative=loaded.text(""), **given)
    own, made, heard = list(loaded.parts["transformer"].named_parameters()), [], []
    for draft in (None, Draft(0.0), None):
        made.append(list(loaded.sample(replace(window, draft=draft)))[-1])
        heard.append(list(getattr(loaded, "_audio", ())))
        assert draft is None or (draft.evaluations, draft.skipped) == (4 * 2, 0)
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*heard, strict=True))
    assert [name for name, _ in loaded.parts["transformer"].named_parameters()] == [name for name, _ in own]


def test_a_family_without_drafts_says_so(stage):
    from engine import check
    with pytest.raises(ShotError, match="makes no drafts"):
        check._grid(stage.shot("wan", "wan_text", draft=True), replace(families.family("wan").SPEC, drafts=0.0))
