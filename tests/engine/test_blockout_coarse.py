"""A clip without a layout is drawn small first: when, how large, in how many steps, and what is said of it."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from engine import device, families
from engine.blockout import coarse
from engine.camera import Cameras
from engine.families import Window
from engine.families.blockout import WEIGHTS
from engine.protocol import Size

LARGE, SMALL = Size(128, 72), Size(72, 40)


@pytest.fixture(scope="module")
def model(tiny_model):
    return families.family("blockout").load(tiny_model, device.chosen())


def window(model, **fields) -> Window:
    return Window(**{"frames": 5, "size": LARGE, "seed": 3, "steps": 4, "guidance": 1.0, "text": model.text("a red ball on grass"), "negative": None} | fields)


def picture(size: Size, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((size.height, size.width, channels), dtype=np.float32)


@pytest.mark.parametrize(("fields", "small"), [
    ({}, SMALL), ({"size": Size(72, 128)}, Size(40, 72)), ({"size": Size(64, 40)}, None), ({"steps": 1}, None),
    ({"guides": {"depth": np.zeros((5, 72, 128, 1), np.float32)}}, None),
    ({"guides": {"depth": np.zeros((5, 72, 128, 1), np.float32)}, "strengths": {"depth": 0.}}, SMALL),
    ({"guides": {"albedo": np.zeros((5, 72, 128, 4), np.float32)}}, None),
    ({"source": np.zeros((5, 72, 128, 3), np.float32), "change": .5}, None), ({"source": np.zeros((5, 72, 128, 3), np.float32)}, SMALL)])
def test_what_has_no_layout_is_drawn_small_first(model, fields, small):
    first = coarse.first(window(model, **fields), model.native)
    assert (first and first.size) == small


def test_what_is_known_comes_along_at_the_small_size(model):
    cameras = Cameras(frames=np.arange(5), c2w=np.tile(np.eye(4), (5, 1, 1)), K=np.tile([100., 100., 64., 36.], (5, 1)), size=LARGE, fps=24.)
    first = coarse.first(window(model, stills={0: picture(LARGE)}, tail=torch.rand(5, 3, 72, 128), cameras=cameras), model.native)
    assert first.stills[0].shape == (40, 72, 3) and first.tail.shape == (5, 3, 40, 72) and first.cameras.size == SMALL
    assert first.stills[0].mean() == pytest.approx(picture(LARGE).mean(), abs=.01) and 0 <= first.stills[0].min()


def test_a_step_is_heard_of_for_each_that_was_asked_for(model):
    for steps in (2, 3, 8):
        made = list(model.sample(window(model, steps=steps)))
        assert len(made) == steps and {latent.shape for latent in made} == {(1, 16, 2, 9, 16)}
        assert len(model.glimpse(made[0], window(model))) and "Drawn at 72x40 first" in model.remarks()[0]
    *_, again = model.sample(window(model, steps=8))
    assert torch.equal(again, made[-1]), "the same seed, the same pixels"


def test_the_small_clip_decides_what_becomes_of_the_large_one():
    """With the weights that are delivered: what is large is the small clip again, and not what the same seed makes of the words at once."""
    model = families.family("blockout").load(WEIGHTS, device.chosen())
    asked = window(model, steps=8, guidance=3.0, negative=model.text(""), text=model.text("a purple cylinder on snow, realistic"))
    last = lambda latents: list(latents)[-1]
    small = coarse.first(asked, model.native)
    shown = {name: coarse.pictures(torch.cat(list(model.decode(latent, asked))), SMALL) for name, latent in
             (("large", last(model.sample(asked))), ("at once", last(model._sampled(asked))), ("small", last(model._sampled(small))))}
    off = {name: float((frames - shown["small"]).abs().mean()) for name, frames in shown.items()}
    assert off["large"] < .5 * off["at once"]


def test_a_layout_has_nothing_said(model):
    list(model.sample(window(model, guides={"depth": picture(LARGE, 1)[None].repeat(5, 0)})))
    assert model.remarks() == ()
