"""The refiner's promises, on small random weights: what each input can change, that stretches join, and what a shot and its take say of it."""
import threading

import numpy as np
import pytest
import torch

from engine import check, protocol, refine
from engine.blockout import model, refiner
from engine.blockout.refiner import Refiner, RefinerConfig, Refining
from engine.errors import Cut, ShotError
from engine.families import blockout
from engine.protocol import Size
from engine.shoot import Studio, roll
from tests.engine.roused import roused

WIDTH, HEIGHT, FRAMES = 32, 24, 9


@pytest.fixture(scope="module")
def tiny() -> Refiner:
    torch.manual_seed(0)
    return roused(Refiner(RefinerConfig(widths=(8, 8, 12), told=16)), .2)


@pytest.fixture(scope="module")
def frames():
    return torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def guides():
    g = torch.Generator().manual_seed(2)
    return {"depth": torch.rand(FRAMES, 1, 2 * HEIGHT, 2 * WIDTH, generator=g), "normal": torch.rand(FRAMES, 3, 2 * HEIGHT, 2 * WIDTH, generator=g) * 2 - 1}


def refined(tiny, frames, guides, prompt="a red cube", strength=1., seed=3, cuts=(FRAMES,)):
    way, at, found = Refining(tiny, tiny.words([prompt]), strength, seed), 0, []
    for count in cuts:
        found.append(way(frames[at:at + count], {kind: g[at:at + count] for kind, g in guides.items()}))
        at += count
    return torch.cat(found)


@pytest.mark.parametrize("kinds", [(), ("depth",), ("normal",), ("depth", "normal")])
def test_frames_become_twice_as_large_with_any_guides(tiny, frames, guides, kinds):
    large = refined(tiny, frames, {kind: guides[kind] for kind in kinds})
    assert large.shape == (FRAMES, 3, 2 * HEIGHT, 2 * WIDTH) and large.min() >= 0 and large.max() <= 1 and large.isfinite().all()


def test_stretches_join_without_a_seam(tiny, frames, guides):
    whole = refined(tiny, frames, guides)
    for cuts in ((1, 4, 4), (1,) * FRAMES, (7, 2)):
        assert torch.allclose(refined(tiny, frames, guides, cuts=cuts), whole, atol=1e-5)


def test_a_frame_never_depends_on_later_ones(tiny, frames, guides):
    later = torch.cat([frames[:5], 1 - frames[5:]])
    a, b = refined(tiny, frames, guides), refined(tiny, later, guides)
    assert torch.allclose(a[:5], b[:5], atol=1e-6) and not torch.allclose(a[5:], b[5:], atol=1e-3)


def test_every_input_changes_the_picture_and_the_seed_repeats_it(tiny, frames, guides):
    plain = refined(tiny, frames, guides)
    others = [refined(tiny, frames, guides, "a blue sphere at night"), refined(tiny, frames, guides, strength=.5),
              refined(tiny, frames, {"depth": guides["depth"]}), refined(tiny, frames, guides, "")]
    assert all((other - plain).abs().max() > 1e-4 for other in others)
    assert torch.equal(refined(tiny, frames, guides), plain)
    half, again, other = (refined(tiny, frames, guides, strength=.5, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(half, again) and (half - other).abs().max() > 1e-4          # at full strength one step sees no noise


@pytest.mark.parametrize("kind, channels, planes", [("depth", 1, [0, 1]), ("normal", 3, [2])])
def test_lines_are_a_pixel_wide_and_run_where_the_layout_steps(kind, channels, planes):
    stepped = torch.zeros(2, channels, 8, 12)
    stepped[..., 5:] = .9
    found = refiner.lines({kind: stepped})
    assert found.shape == (2, refiner.LINES, 8, 12) and found[:, planes, :, 5].min() > .9
    assert found[..., :5].max() == 0 and found[..., 6:].max() == 0 and set(found.amax((0, 2, 3)).nonzero().flatten().tolist()) == set(planes)


def test_words_it_does_not_know_are_no_words(tiny):
    assert torch.equal(tiny.words(["xyzzy plugh"]), tiny.words([""]))
    assert not torch.equal(tiny.words(["a red cube"]), tiny.words(["a blue cube"]))
    assert torch.allclose(tiny.words(["a red cube", "", "noon"])[2:], tiny.words(["noon"]))


def test_a_vocabulary_that_grew_leaves_known_words_what_they_were(tiny, tmp_path):
    old = Refiner(RefinerConfig(widths=(8, 8, 12), told=16, words=("noon", "red", "night")))
    refiner.save(old, tmp_path)
    again = refiner.load(tmp_path)
    assert again.config.words == ("noon", "red", "night")
    assert torch.allclose(again.words(["a red sphere"]), old.word.weight[1][None], atol=1e-3)


def test_files_bring_the_same_pixels_back(tiny, frames, guides, tmp_path):
    refiner.save(tiny, tmp_path)
    once, twice = (refined(refiner.load(tmp_path), frames, guides) for _ in range(2))
    assert torch.equal(once, twice) and torch.allclose(once, refined(tiny, frames, guides), atol=.05)
    config = tmp_path / f"{refiner.NAME}.json"
    config.write_text(config.read_text().replace('"told": 16', '"told": 24'))
    with pytest.raises(ValueError, match="another make"):
        refiner.load(tmp_path)


# ---------------------------------------------------------------- shots
@pytest.fixture(scope="module")
def both(tiny, tiny_model, tmp_path_factory):
    """A folder with a tiny model and a tiny refiner."""
    folder = tmp_path_factory.mktemp("both")
    model.save(model.load(tiny_model), folder)
    refiner.save(tiny, folder)
    return folder


def pixels(shot):
    import cv2
    return np.stack([cv2.imread(f"{shot.out}/frames/plate.{n:04d}.png") for n in range(1, shot.frames + 1)])


def rolled(shot, cut=None):
    return roll(shot, lambda progress: None, cut or threading.Event(), Studio())


def test_a_shot_is_refined_and_its_take_says_so(a_shot, both):
    given = {"model": str(both), "size": Size(256, 160)}
    shots = [a_shot("default", **given), a_shot("again", **given), a_shot("off", refine_strength=0., **given),
             a_shot("half", refine_strength=.5, **given), a_shot("told", refine_prompt="a blue sphere at night", **given)]
    takes = [rolled(shot) for shot in shots]
    native = takes[0].native
    assert [take.refined for take in takes] == [Size(2 * native.width, 2 * native.height)] * 2 + [None] + [Size(2 * native.width, 2 * native.height)] * 2
    assert any(note.startswith(f"Refined from {native} to {takes[0].refined} by a second model, strength 1") for note in takes[0].notes)
    assert any("to “a blue sphere at night”" in note for note in takes[4].notes) and not any("efined" in note for note in takes[2].notes)
    assert takes[0].seconds["refine"] > 0 and "refine" not in takes[2].seconds
    shown = [pixels(shot) for shot in shots]
    assert (shown[0] == shown[1]).all() and all((other != shown[0]).any() for other in shown[2:])


def test_strength_0_is_what_a_model_without_a_refiner_makes(a_shot, both, tiny_model):
    shots = [a_shot("off", model=str(both), size=Size(256, 160), refine_strength=0.), a_shot("without", size=Size(256, 160)),
             a_shot("asked", size=Size(256, 160), refine_strength=1.)]
    takes = [rolled(shot) for shot in shots]
    assert (pixels(shots[0]) == pixels(shots[1])).all()
    assert not any("efined" in note for take in takes[:2] for note in take.notes)
    assert any(note.startswith("Not refined: ") and "has no refiner" in note for note in takes[2].notes)


def test_frames_as_large_as_the_models_are_left_alone(a_shot, both):
    take = rolled(a_shot("small", model=str(both)))
    assert take.refined is None and any("draws frames as large" in note for note in take.notes)


def test_windows_are_refined_as_one_clip(a_shot, both):
    """A clip of two windows: what is refined of the first one does not depend on whether there is a second."""
    long, short = (a_shot(f"of{n}", model=str(both), size=Size(160, 96), frames=n) for n in (53, 49))
    for shot in (long, short):
        rolled(shot)
    assert (pixels(long)[:49] == pixels(short)).all()


def test_a_cut_is_heeded_within_a_step(tiny, frames, guides):
    cut, seen = threading.Event(), []

    class Stepwise:
        times = 2

        def steps(self, native, layout):
            for step in Refining(tiny, tiny.words([""]), 1., 0).steps(native, layout):
                seen.append(step)
                cut.set()
                yield step

    class NoGuides:
        def frame(self, index, size, kinds):
            return {}

    with pytest.raises(Cut):
        refine.Refining(Stepwise(), 1., Size(WIDTH, HEIGHT), "").frames(frames, 0, NoGuides(), cut)
    assert len(seen) == 1


@pytest.mark.parametrize("wrong, said", [({"refine_strength": 1.5}, "out of range"), ({"refine_strength": float("nan")}, "out of range"),
                                         ({"family": "wan", "refine_strength": .5}, "has no refiner"), ({"family": "wan", "refine_prompt": "x"}, "has no refiner")])
def test_strengths_that_cannot_be_are_refused(a_shot, wrong, said):
    with pytest.raises(ShotError, match=said):
        check.shot(a_shot("wrong", **{"size": Size(832, 480), **wrong}))


def test_a_shot_of_before_refiners_is_the_familys_default():
    known = protocol.decode({"id": "a", "family": "blockout", "prompt": "x", "seed": 1, "size": {"width": 832, "height": 480}, "frames": 5, "fps": 24.0,
                             "out": "/a"}, protocol.Shot)
    assert known.refine_strength == -1 and known.refine_prompt == "" and refine.strength(known) == blockout.SPEC.refines
