"""Upscaled plates have the layout's edges and those of its colours, keep flat colours flat, and need no guides to be of the right size."""
from types import SimpleNamespace

import cv2
import numpy as np
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
    for guides in ({}, {"depth": scene.depth, "normal": scene.normal}, {"normal": torch.rand(2, 3, 60, 104)}, {"albedo": torch.rand(2, 4, 60, 104)}):
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


def edge_errors(plate, truth, apart=.15):
    """Pixels from the truth's vertical edges to the plate's in the same row: where each crosses half way between the colours 6 pixels off.

    plate, truth (h, w); the truth has clean steps of at least `apart`. Where the plate is flat there, it has lost the edge: 6 pixels.
    """
    errors = []
    for y, x in (truth.diff(dim=1).abs() > apart).nonzero().tolist():
        if not 6 <= x < truth.shape[1] - 7 or (truth[y, x - 5:x + 7].diff().abs() > apart / 3).sum() > 1:
            continue                        # a second edge lies nearby
        line = plate[y, x - 6:x + 8]
        middle = (line[0] + line[-1]) / 2
        sides = (line - middle).sign() * (line[-1] - line[0]).sign()
        crossings = [i + float((middle - line[i]) / (line[i + 1] - line[i])) for i in range(13) if sides[i] < 0 <= sides[i + 1]]
        errors.append(min((abs(at - 6.5) for at in crossings), default=6.) if (line[-1] - line[0]).abs() > apart / 4 else 6.)
    return torch.tensor(errors)


def test_edges_of_a_blurred_clip_are_within_a_pixel_and_a_half_of_the_layouts(scene):
    """A slanted wall, a pillar and a box at 832x480, seen small and blurred as the model's frames are."""
    y, x = torch.meshgrid(torch.arange(480.) + .5, torch.arange(832.) + .5, indexing="ij")
    depth, shade = torch.full_like(x, .02), torch.full_like(x, .75)
    for inside, near, tone in ((x < 180 + .3 * y, .1, .3), ((x > 517) & (x < 561), .8, .1), ((x > 633) & (x < 771) & (y > 203) & (y < 391), .35, .45)):
        depth, shade = torch.where(inside, near, depth), torch.where(inside, tone, shade)
    small = torch.nn.functional.interpolate(shade.expand(1, 3, -1, -1), (56, 96), mode="area")
    small = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(small, (1, 1, 1, 1), mode="replicate"), 2, 1)[..., :56, :96] * .5 + small * .5
    plate = upscale.upscale(small, (832, 480), depth[None, None])[0, 0]
    off = edge_errors(plate, shade)
    assert len(off) > 1000 and off.median() <= .75 and off.quantile(.95) <= 1.5


def off_colour(plate, truth, much=.035):
    """Pixels from the truth's edges, between which it is flat, to where the plate's colour still is another one. plate, truth (h, w)."""
    edges = np.ones(truth.shape, np.uint8)
    edges[:, :-1][truth.diff(dim=1) != 0], edges[:-1][truth.diff(dim=0) != 0] = 0, 0
    return torch.from_numpy(cv2.distanceTransform(edges, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))[(plate - truth).abs() > much]


def test_what_is_painted_on_one_wall_has_its_edges_by_its_colours_alone():
    """A red panel within a blue wall, and a strip that nothing was said of or that is black, seen small; one depth, one facing."""
    y, x = torch.meshgrid(torch.arange(480.) + .5, torch.arange(832.) + .5, indexing="ij")
    panel, strip = (x > 233 + .2 * y) & (x < 411 + .2 * y) & (y > 101) & (y < 389), (x > 611) & (x < 733)
    unsaid = torch.stack([panel, torch.zeros_like(panel), ~panel & ~strip, ~strip]).float()
    black = unsaid.clone()
    black[3] = 1
    shade, flat = torch.where(panel, .7, torch.where(strip, .05, .35)), torch.full((1, 1, 480, 832), .4)
    facing = torch.tensor([0., 0., 1.]).view(1, 3, 1, 1).expand(1, 3, 480, 832)
    small = torch.nn.functional.interpolate(shade.expand(1, 3, -1, -1), (56, 96), mode="area")
    plate = lambda **guides: upscale.upscale(small, (832, 480), **guides)[0, 0]
    for told in ({"depth": flat, "normal": facing, "albedo": unsaid[None]}, {"depth": flat, "normal": facing, "albedo": black[None]}, {"albedo": unsaid[None]}):
        made = plate(**told)
        assert edge_errors(made, shade).quantile(.95) <= 1.5 and off_colour(made, shade).quantile(.99) <= 1.5
    assert off_colour(plate(depth=flat, normal=facing), shade).median() > 1.5
    apart = torch.full((1, 1, 480, 832), .2).where(panel, .8)
    both = plate(depth=apart, albedo=unsaid[None])
    assert off_colour(both, shade).quantile(.99) <= 1.5                         # an edge may be of depth and of colour at once
