"""Guidance in some of the steps alone: the others are those of a shot without guidance, to the bit, and ask for one text instead of two."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import check, device, families
from engine.errors import ShotError
from engine.families import Window
from engine.protocol import MAGNITUDE, Shot, Size
from engine.sampling import limited
from engine.sampling.draft import Draft
from tests.engine.open_stage import FRAMES, Stage, differing, noise, staged

TALL = Size(64, 64)         # on every family's native grid
KINDS = [("wan", "wan_text"), ("wan", "wan_pictures"), ("wan", "wan_grown"), ("vace", "vace"), ("cogvideox", "cogvideox"),
         ("ltx2", "ltx2"), ("sana_wm", "sana_wm"), ("skyreels", "skyreels")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("limited"), checkpoints) as made:
        yield made


# ---------------------------------------------------------------- which steps
@pytest.mark.parametrize(("steps", "begin", "end", "found"), [
    (10, 0.0, 1.0, None), (10, 0.0, 0.7, range(0, 7)), (10, 0.3, 1.0, range(3, 10)), (8, 0.5, 0.51, range(4, 5)),
    (4, 0.2, 0.8, None), (30, 0.1, 0.7, range(3, 21))])
def test_shares_of_the_steps_are_steps(steps, begin, end, found):
    assert limited.guided(steps, begin, end) == found


def test_shares_that_cannot_be_are_refused(stage):
    for wrong in ({"guided_from": 0.5, "guided_until": 0.5}, {"guided_from": -0.1}, {"guided_until": 1.2}, {"guided_until": float("nan")},
                  {"guided_until": 0.5, "draft": True, "draft_by": MAGNITUDE}):
        with pytest.raises(ShotError) as refused:
            check.shot(stage.shot("wan", "wan_text", **wrong))
        assert (refused.value.remedy.action, refused.value.remedy.value) == ("leave_out", "limit_guidance")
    with pytest.raises(ShotError, match="in every step or in none"):
        check._limited(stage.shot("wan", "wan_text", guided_until=0.5), replace(families.family("wan").SPEC, limits=False))


# ---------------------------------------------------------------- what they do
def given(stage: Stage, family: str, model: str) -> dict:
    from engine.camera import read
    still = noise(0, TALL).astype(np.float32) / 255
    depth = np.random.default_rng(0).random((FRAMES, TALL.height, TALL.width, 1), dtype=np.float32)
    return {"cogvideox": {"guides": {"depth": depth}}, "vace": {"guides": {"depth": depth}},
            "wan_pictures": {"stills": {0: still, FRAMES - 1: still}},
            "wan_grown": {"stills": {0: still}},
            "sana_wm": {"stills": {0: still}, "cameras": read(stage.camera(0.1).path, FRAMES).fitted(TALL)}}.get(model, {})


@pytest.mark.parametrize(("family", "model"), KINDS)
def test_steps_without_guidance_are_those_of_a_shot_without_it(stage, family, model):
    loaded = families.family(family).load(stage.model(model), device.chosen())
    window = Window(frames=FRAMES, size=TALL, seed=7, steps=4, guidance=5.0, text=loaded.text("a red car"),
                    negative=loaded.text("dull"), **given(stage, family, model))
    asked: list[int] = []
    named = dict(loaded.parts["transformer"].named_modules())
    inner = next(named[name] for name in ("patch_embedding", "patch_embed", "x_embedder", "proj_in") if name in named)
    inner.register_forward_hook(lambda module, arguments, output: asked.append(len(output)))        # texts in the batch

    def sampled(**changed) -> list:
        asked.clear()
        return list(loaded.sample(replace(window, **changed)))
    full, alone = sampled(), sampled(guidance=1.0)
    first = sampled(guided=range(0, 2))
    assert sum(asked) == 2 * 2 + 2
    assert torch.equal(sampled(guided=range(0, 4))[-1], full[-1]) and sum(asked) == 2 * 4
    assert torch.equal(first[0], full[0]) and not torch.equal(first[-1], full[-1])
    last = sampled(guided=range(2, 4))
    assert torch.equal(last[1], alone[1]) and not torch.equal(last[-1], alone[-1])
    assert torch.equal(sampled()[-1], full[-1]), "no trace is left"


@pytest.mark.parametrize(("family", "model"), [kind for kind in KINDS if kind[1] not in ("wan_pictures", "wan_grown")])
def test_it_goes_together_with_a_draft(stage, family, model):
    loaded = families.family(family).load(stage.model(model), device.chosen())
    window = Window(frames=FRAMES, size=TALL, seed=7, steps=12, guidance=5.0, text=loaded.text("a red car"),
                    negative=loaded.text("dull"), guided=range(3, 8), **given(stage, family, model))
    whole = list(loaded.sample(window))[-1]
    strict, loose = Draft(-1.0), Draft(0.5)
    kept = list(loaded.sample(replace(window, draft=strict)))[-1]
    assert strict.evaluations > 0 == strict.skipped and torch.allclose(whole, kept, atol=1e-5)
    list(loaded.sample(replace(window, draft=loose)))
    assert 0 < loose.skipped < loose.evaluations == strict.evaluations


def test_each_stretch_of_a_long_clip_has_its_own_guided_steps(stage):
    """SkyReels goes from stretch to stretch by itself; a draft must not go on from what it kept of the stretch before."""
    loaded = families.family("skyreels").load(stage.model("skyreels"), device.chosen())
    window = Window(frames=121, size=Size(32, 32), seed=7, steps=6, guidance=5.0, text=loaded.text("a red car"), negative=loaded.text("dull"))
    asked: list[int] = []
    loaded.parts["transformer"].register_forward_hook(lambda *_: asked.append(1))
    for guided, draft in ((None, None), (range(2, 3), None), (range(2, 3), Draft(0.5)), (range(0, 6), None)):
        asked.clear()
        made = list(loaded.sample(replace(window, guided=guided, draft=draft)))[-1]
        assert torch.isfinite(made).all() and len(asked) == 2 * (6 + len(guided or range(6)))
        assert draft is None or 0 < draft.skipped < draft.evaluations == len(asked) * 2


def test_a_take_says_which_steps_were_guided(stage):
    fields = {"steps": 4, "guided_until": 0.5}
    take = stage.roll("wan", "wan_text", **fields)
    assert "Guidance in the steps 1 to 2 of 4 alone" in take.notes and take.shot.guided_until == 0.5
    assert not any("alone" in note for note in stage.roll("wan", "wan_text", steps=4).notes)
    assert differing(stage.latent("wan", "wan_text", **fields), stage.latent("wan", "wan_text", steps=4))
    assert not any("alone" in note for note in stage.roll("wan", "wan_text", guidance=1.0, **fields).notes), "there is none to limit"


def test_blockout_is_guided_in_some_steps(a_shot, tmp_path):
    import threading

    from engine import shoot
    studio = shoot.Studio()

    def roll(name: str, **fields) -> tuple[Shot, list[bytes]]:
        take = shoot.roll(a_shot(name, steps=4, out=str(tmp_path / name), **fields), lambda progress: None, threading.Event(), studio)
        return take, [(tmp_path / name / take.files.folder / one).read_bytes() for one in take.files.names()]
    whole, same = roll("whole"), roll("same", guided_from=0.1, guided_until=0.9)
    some, alone = roll("some", guided_until=0.5), roll("alone", guidance=1.0)
    assert whole[1] == same[1] != some[1] != alone[1] and "Guidance in the steps 1 to 2 of 4 alone" in some[0].notes
    counted = roll("drafted", guided_until=0.5, draft=True)[0]
    assert counted.evaluations > 0 and "Guidance in the steps 1 to 2 of 4 alone" in counted.notes
