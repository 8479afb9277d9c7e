"""The camera as Blockout is told it: rays that depend on nothing but the flight, and scenes that are seen as their cameras say."""
import numpy as np
import pytest
import torch

from engine import camera
from engine.blockout import conditions, data, flight, model, shards
from engine.blockout.autoencoder import AutoencoderConfig
from engine.blockout.transformer import TransformerConfig
from engine.protocol import Size
from tests.engine.roused import roused

K, H, W = 3, 5, 8


def flown(frames=9, move=(.3, 0., .1), turn=.02, size=Size(64, 40)):
    """A camera that goes on by `move` metres and turns by `turn` radians about its y axis in each frame."""
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for f, pose in enumerate(poses):
        c, s = np.cos(turn * f), np.sin(turn * f)
        pose[:3, :3], pose[:3, 3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]], np.array(move) * f
    return camera.Cameras(frames=np.arange(frames), c2w=poses, K=np.tile([50., 50., 32., 20.], (frames, 1)), size=size, fps=24.)


def moved(cameras, to):
    return camera.Cameras(frames=cameras.frames, c2w=to @ cameras.c2w, K=cameras.K, size=cameras.size, fps=cameras.fps)


def test_rays_are_pluecker_coordinates_from_the_first_camera():
    cameras = flown()
    found = flight.of(cameras, 2., K, H, W).view(K, H, W, flight.WIDTH)
    small = cameras.resized(Size(W, H)).relative()
    for frame, (group, place) in {0: (0, 3), 4: (1, 3), 7: (2, 2)}.items():
        rays, first = (camera.rays(small.c2w[f], small.K[f], Size(W, H)) for f in (frame, 0))
        told = found[group, ..., 6 * place:6 * place + 6].numpy()
        assert np.allclose(told[..., :3], rays[..., :3] / 2, atol=1e-5)                              # moments, in nearest depths
        assert np.allclose(told[..., 3:], (rays[..., 3:] - first[..., 3:]) * flight.TURNED, atol=1e-5)
        assert np.allclose(found[group, ..., 24:27].numpy(), first[..., 3:], atol=1e-5)


def test_where_a_scene_lies_and_how_large_it_is_does_not_matter():
    c, s = np.cos(2.), np.sin(2.)
    elsewhere = np.array([[c, -s, 0, 1e4], [s, c, 0, -3e3], [0, 0, 1, 50], [0, 0, 0, 1]])
    plain = flight.of(flown(), 2., K, H, W)
    assert torch.allclose(flight.of(moved(flown(), elsewhere), 2., K, H, W), plain, atol=1e-4)
    assert torch.allclose(flight.of(flown(move=(30., 0., 10.)), 200., K, H, W), plain, atol=1e-5)
    assert flight.of(flown(move=(0, 0, 0), turn=0), 2., K, H, W)[..., :24].abs().max() == 0


def test_training_cameras_see_what_was_rendered():
    """A point of the ground or of a thing that stands still, found by depth in the first frame, lies at its depth in the last one."""
    clip = data.clip(9_500_003, 9, 80, 128, kind="objects", style="photo", count=1)
    clip.scene.movers.clear()
    inverse, _ = data.geometry(clip.scene, 80, 128)
    c2w, lens = data.cameras(clip.scene, 80, 128)
    v, u = np.argwhere(inverse[0] > .08).T
    depth = 1 / inverse[0, v, u].astype(float)
    rays = np.stack([((u + .5) / 128 - lens[2]) / lens[0], ((v + .5) / 80 - lens[3]) / lens[1], np.ones(len(u))], -1) * depth[:, None]
    seen = camera.project(rays @ c2w[0, :3, :3].T + c2w[0, :3, 3], c2w[-1].astype(float), lens * (128, 80, 128, 80))
    x, y = np.floor(seen[:, :2]).astype(int).T
    inside = (x >= 0) & (x < 128) & (y >= 0) & (y < 80) & (seen[:, 2] > 0)
    error = np.abs(inverse[-1, y[inside], x[inside]].astype(float) * seen[inside, 2] - 1)
    assert inside.sum() > 1000 and np.mean(error < .05) > .9                                          # the rest is hidden, or at an edge


def test_shards_tell_the_cameras_of_their_clips(tmp_path):
    series = shards.SERIES["plain"]
    clip = series.clip(3, 2)
    c2w, lens = series.cameras(3, 2)
    again, same = data.cameras(clip.scene, *clip.rgb.shape[1:3])
    assert np.array_equal(c2w, again) and np.array_equal(lens, same)


def test_a_region_is_a_box_that_is_known_or_is_not():
    g = torch.Generator().manual_seed(2)
    kept = [conditions.region(g, K, H, W) for _ in range(40)]
    assert all(set(each.unique().tolist()) == {0., 1.} for each in kept)
    assert {bool(each[0, 0, 0]) for each in kept} == {True, False}
    masks = conditions.known_mask(torch.Generator().manual_seed(1), 400, K, H, W)
    partly = (masks.flatten(3).mean(-1) % 1 > 0).flatten(1).any(1).float().mean()
    assert masks.shape == (400, 1, K, H, W) and .02 < partly < .12 and (masks.flatten(1).mean(1) < 1).all()


@pytest.fixture(scope="module")
def blockout():
    torch.manual_seed(0)
    return roused(model.Blockout(AutoencoderConfig(encoder=(8, 8, 12, 16), decoder=(16, 12, 8, 8), deep=1), TransformerConfig(width=48, depth=2, heads=2)))


def test_the_camera_changes_what_is_drawn_and_its_absence_is_known(blockout):
    x = blockout.noise(9, 64, 40, 1)
    words = blockout.encode_text("a red cube")

    def drawn(**guides):
        return blockout.denoiser(words, None, guides, None, None, 1.)(x, torch.tensor(.8))
    still, forward = (flight.of(flown(move=m, turn=0), 2., K, H, W) for m in ((0, 0, 0), (0, 0, .5)))
    assert not torch.equal(drawn(camera=still), drawn(camera=forward)) and not torch.equal(drawn(camera=still), drawn())
    assert torch.equal(drawn(camera=forward), drawn(camera=forward))
