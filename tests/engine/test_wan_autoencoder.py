"""Wan's autoencoder in tiles and in 16 bits: what a person would see of it, which is nothing, and what its takes say."""
import copy
import dataclasses
import threading

import cv2
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from engine import device, families, shoot
from engine.diffusers_line import wan_tiles
from engine.protocol import Size
from tests.engine.open_stage import differing, pixels, staged
from tests.engine.roused import roused

DEEP = dict(base_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1, temperal_downsample=[False, True, True])
GROWN = dict(z_dim=48, in_channels=12, out_channels=12, is_residual=True, patch_size=2, latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
             scale_factor_spatial=16)
WHOLE = float("inf")


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("autoencoder"), checkpoints) as made:
        yield made


@pytest.fixture(scope="module", params=[{}, GROWN], ids=["2.1", "2.2"])
def vae(request):
    """As many levels as published ones, so that tiles see as far."""
    torch.manual_seed(0)
    made = AutoencoderKLWan(**DEEP, **{"z_dim": 16, **request.param}).eval().requires_grad_(False)
    roused(made)
    return made


def drawn(vae, latent, most: float, groups=((0, 1), (1, 2), (2, 3))) -> torch.Tensor:
    return torch.cat(list(wan_tiles.decoded(vae, latent, list(groups), most)), 2)


# ---------------------------------------------------------------- tiles
def test_tiles_cover_the_picture_once_and_see_far_enough():
    for height, width, most, beside in ((90, 160, 8000, 13), (90, 160, 5000, 13), (60, 104, 3000, 9), (46, 80, 100, 13), (4, 4, 1, 9)):
        cut, covered = wan_tiles.tiles(height, width, most, beside), np.zeros((height, width), int)
        for tile in cut:
            (top, bottom), (left, right) = tile.own
            covered[top:bottom, left:right] += 1
            for (first, last), (begin, end), length in zip(tile.own, tile.given, (height, width)):
                assert begin == max(0, first - beside) and end == min(length, last + beside)
        assert (covered == 1).all()
    assert len(wan_tiles.tiles(90, 160, 90 * 160, 13)) == 1 and len(wan_tiles.tiles(90, 160, 90 * 160 - 1, 13)) == 2


def test_tiled_pictures_are_the_whole_ones_at_seams_and_elsewhere(vae):
    """In full precision a few of the last bits: it is the same sum in another order. diffusers' own tiling is a thousand times further away."""
    latent = torch.randn((1, vae.config.z_dim, 2, 4, 44), generator=torch.Generator().manual_seed(1))
    groups, side = [(0, 1), (1, 2)], vae.spatial_compression_ratio
    whole, far = drawn(vae, latent, WHOLE, groups), drawn(vae, latent, 4 * 32, groups)
    seam = 22 * side
    assert len(wan_tiles.tiles(4, 44, 4 * 32, wan_tiles.halo(vae.config, False))) == 2
    assert (far - whole).abs().max() <= 1e-5 and whole.std() > 0.1 and (far - whole)[..., seam - 1:seam + 1].abs().max() <= 1e-5
    with torch.inference_mode():
        vae.enable_tiling(16 * side, 16 * side, tile_sample_stride_height=12 * side, tile_sample_stride_width=12 * side)
        faded = vae.decode(latent).sample
        vae.disable_tiling()
    assert (faded - whole.clamp(-1, 1)).abs().max() > 1e-2


def test_tiles_see_no_further_than_they_need(vae):
    latent = torch.randn((1, vae.config.z_dim, 1, 4, 40), generator=torch.Generator().manual_seed(1)).double()
    precise, own = copy.deepcopy(vae).double(), wan_tiles.halo(vae.config, False)
    whole = drawn(precise, latent, WHOLE, [(0, 1)])
    for less, same in ((0, True), (1, False)):
        cut = wan_tiles.tiles(4, 40, 4 * 31, own - less)
        middle = [wan_tiles._middle(precise, latent, wan_tiles._memory(precise.decoder))]
        made = torch.cat(list(wan_tiles._joined(precise, cut, middle, [wan_tiles._memory(precise.decoder) for _ in cut], True)), 2)
        assert len(cut) > 1 and ((made - whole).abs().max() < 1e-12) == same


def test_a_long_clip_goes_from_stretch_to_stretch(vae):
    count = wan_tiles.STRETCH + 1
    latent = torch.randn((1, vae.config.z_dim, count, 1, 24), generator=torch.Generator().manual_seed(2))
    groups = [(index, index + 1) for index in range(count)]
    cut = len(wan_tiles.tiles(1, 24, 23, wan_tiles.halo(vae.config, False)))
    assert cut == 2 and (drawn(vae, latent, 23, groups) - drawn(vae, latent, WHOLE, groups)).abs().max() <= 5e-5


def test_encoding_in_tiles_gives_the_same_latents(vae):
    side = vae.spatial_compression_ratio
    clip = torch.rand((1, 3, 9, 2 * side, 20 * side), generator=torch.Generator().manual_seed(3)) * 2 - 1
    whole = wan_tiles.encoded(vae, clip, WHOLE)
    assert len(wan_tiles.tiles(2, 20, 2 * 16, wan_tiles.halo(vae.config, True))) == 2
    assert (wan_tiles.encoded(vae, clip, 2 * 16) - whole).abs().max() <= 1e-4 * whole.abs().max()
    with torch.inference_mode():
        assert torch.equal(whole, vae.encode(clip).latent_dist.mode())


def test_small_pictures_are_those_of_diffusers_to_the_bit(vae):
    latent = torch.randn((1, vae.config.z_dim, 3, 4, 6), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(drawn(vae, latent, WHOLE).clamp(-1, 1), vae.decode(latent).sample)


# ---------------------------------------------------------------- shots
def on(stage, family: str, model: str, place, **fields):
    """A take on a device that is described as `place`."""
    studio = shoot.Studio()
    studio._device = studio._card = place
    studio._there = place.name
    shot = stage.shot(family, model, **fields)
    studio._loaded = ((shot.family, families.weights(shot.family, shot.model)), families.family(family).load(stage.model(model), place))
    return shoot.roll(shot, lambda progress: None, threading.Event(), studio)


def test_a_small_device_draws_the_same_frames_and_says_how(stage):
    """What is decided is decided by how much memory there is, not by what is free of it."""
    whole = device.chosen()
    small = dataclasses.replace(whole, memory=2**21, free=whole.free)
    first, second = (on(stage, "wan", "wan_text", place, size=Size(480, 32), frames=5, steps=1) for place in (whole, small))
    assert np.abs(pixels(first).astype(int) - pixels(second)).max() <= 1 and any("tiles, without seams" in note for note in second.notes)
    assert not any("tiles" in note for note in first.notes)
    busy = on(stage, "wan", "wan_text", dataclasses.replace(small, free=small.free // 2), size=Size(480, 32), frames=5, steps=1)
    assert differing(pixels(second), pixels(busy)) == []


@pytest.mark.parametrize(("family", "model"), [("wan", "wan_text"), ("wan", "wan_grown"), ("vace", "vace"), ("skyreels", "skyreels")])
def test_16_bits_are_near_and_files_of_more_than_8_bits_are_decoded_in_full(stage, family, model):
    narrow = dataclasses.replace(device.chosen(), decoding="bfloat16")
    given = {"guides": (stage.guide("depth", 1),)} if family == "vace" else {}
    fields = {"size": Size(64, 64), **given}
    full, near = stage.roll(family, model, **fields), on(stage, family, model, narrow, **fields)
    far = np.abs(pixels(full).astype(int) - pixels(near))
    assert 0 < far.mean() < 2 and any("bfloat16" in note for note in near.notes) and not any("bfloat16" in note for note in full.notes)
    deep = on(stage, family, model, narrow, format="png16", **fields)
    assert not any("bfloat16" in note for note in deep.notes)
    steps = np.unique(cv2.imread(f"{deep.shot.out}/{deep.files.folder}/{deep.files.names()[0]}", cv2.IMREAD_UNCHANGED))
    assert len(steps) > 1000, "not the 256 steps between -1 and 1 that 16 bits would leave"


def test_frames_come_while_the_last_tile_is_decoded(vae):
    latent = torch.randn((1, vae.config.z_dim, 3, 2, 44), generator=torch.Generator().manual_seed(1))
    calls = []
    listener = vae.decoder.conv_out.register_forward_hook(lambda *_: calls.append(1))
    most = 2 * 32
    count, at = len(wan_tiles.tiles(2, 44, most, wan_tiles.halo(vae.config, False))), []
    for _ in wan_tiles.decoded(vae, latent, [(0, 1), (1, 2), (2, 3)], most):
        at.append(len(calls))
    listener.remove()
    assert at == [3 * (count - 1) + 1, 3 * (count - 1) + 2, 3 * count]
