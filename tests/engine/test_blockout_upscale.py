"""Upscaled plates have the layout's edges, keep flat colours flat, and need no guides to be of the right size."""
from types import SimpleNamespace

import pytest
import torch

from engine.blockout import upscale


@pytest.fixture
def scene():
    """A red block before a blue wall: large picture, guides, and the same seen small."""
    block = torch.zeros(2, 1, 60, 104)
    block[:, :, 17:43, 33:71] = 1
    picture = torch.cat([block, torch.zeros_like(block), 1 - block], 1)
    depth = .1 + .5 * block
    normal = torch.cat([block, torch.zeros_like(block), 1 - block], 1)
    small = torch.nn.functional.interpolate(picture, (8, 14), mode="area")
    return SimpleNamespace(picture=picture, depth=depth, normal=normal, small=small)


@pytest.mark.parametrize("kinds", [("depth",), ("normal",), ("depth", "normal")])
def test_edges_land_on_the_layouts(scene, kinds):
    guided = upscale.upscale(scene.small, (104, 60), **{k: getattr(scene, k) for k in kinds})
    plain = upscale.upscale(scene.small, (104, 60))
    off = [(x - scene.picture).abs().mean() for x in (guided, plain)]
    assert guided.shape == scene.picture.shape and off[0] < off[1] * .45


def test_a_flat_colour_stays_flat_whatever_the_guides(scene):
    flat = torch.full_like(scene.small, .3)
    for guides in ({}, {"depth": scene.depth, "normal": scene.normal}, {"normal": torch.rand(2, 3, 60, 104)}):
        assert torch.allclose(upscale.upscale(flat, (104, 60), **guides), torch.full((2, 3, 60, 104), .3), atol=1e-5)


def test_nothing_leaves_the_range_of_the_frames(scene):
    noisy = torch.rand(2, 3, 8, 14) * 2 - 1
    for guides in ({}, {"depth": scene.depth}):
        x = upscale.upscale(noisy, (104, 60), **guides)
        assert noisy.min() - 1e-6 <= x.min() and x.max() <= noisy.max() + 1e-6 and x.isfinite().all()


def test_sizes_may_have_names_and_guides_another_size(scene):
    assert upscale.upscale(scene.small, SimpleNamespace(width=50, height=30), scene.depth).shape == (2, 3, 30, 50)


def test_frames_do_not_know_of_each_other(scene):
    both = upscale.upscale(scene.small, (104, 60), scene.depth, scene.normal)
    one = upscale.upscale(scene.small[1:], (104, 60), scene.depth[1:], scene.normal[1:])
    assert torch.allclose(both[1:], one, atol=1e-6)
