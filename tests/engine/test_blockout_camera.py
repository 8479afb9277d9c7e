"""The camera as Blockout is told it: rays that depend on nothing but the flight, and scenes that are seen as their cameras say."""
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import camera
from engine.blockout import conditions, data, flight, model, mottle, shards
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


def test_shards_tell_the_cameras_of_their_clips_and_where_the_ground_begins():
    series = shards.SERIES["plain"]
    clip = series.clip(3, 2)
    c2w, lens, ground, rate = (each[2] for each in shards.flown(Path("anywhere/plain/0003"), 3))
    again, same = data.cameras(clip.scene, *clip.rgb.shape[1:3])
    assert np.array_equal(c2w, again) and np.array_equal(lens, same) and np.allclose(ground, [*clip.scene.phase, 1])


def along_rows(x, there):
    """What varies along each row of a picture: without the haze, which only varies between rows."""
    return np.concatenate([x[row][there[row]] - np.median(x[row][there[row]]) for row in range(len(x)) if there[row].sum() > 20])


def test_the_pattern_lies_where_training_painted_it():
    clip = data.clip(9_500_007, 9, 40, 64, kind="objects", style="photo", count=1)                    # sand under clouds, a camera that goes aside
    assert clip.scene.ground == "sand" and clip.scene.sky == "overcast"
    ground = (data.parts(clip.scene, 40, 64) == data.GROUND) & (clip.inverse_depth > .05)
    c2w, lens = data.cameras(clip.scene, 40, 64)
    likeness = []
    for phase in (clip.scene.phase, np.add(clip.scene.phase, (1.3, .7))):
        known = (torch.from_numpy(x)[None] for x in (clip.inverse_depth, c2w, lens, np.float32(phase)))
        found = mottle.seen(*known)[0].numpy()
        assert found.shape == clip.inverse_depth.shape and not found[clip.inverse_depth == 0].any()
        pairs = [(along_rows(found[f], ground[f]), along_rows(clip.rgb[f].mean(-1) / 255, ground[f])) for f in (0, 8)]
        likeness.append(min(np.corrcoef(*(x[np.abs(pair[1]) < .12] for x in pair))[0, 1] for pair in pairs))
    assert likeness[0] > .9 and abs(likeness[1]) < .4


def over_a_floor(cameras, down=1.5):
    """Depth in metres (T, H, W) of a floor that lies `down` metres below cameras which look ahead in a world whose +z is up; inf above it."""
    v = (np.arange(cameras.size.height) + .5 - cameras.K[0, 3]) / cameras.K[0, 1]
    rows = np.where(v > .05, down / np.maximum(v, .05), np.inf)
    return np.broadcast_to(rows[None, :, None], (len(cameras.c2w), cameras.size.height, cameras.size.width))


def test_a_place_of_the_world_shows_the_same_of_the_pattern_in_every_frame():
    upright = np.eye(4)
    upright[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]       # OpenCV's axes in a world whose +z is up: ahead is +y
    cameras = moved(flown(move=(.25, 0., .25), turn=0., size=Size(128, 80)), upright)
    cameras = camera.Cameras(frames=cameras.frames, c2w=cameras.c2w, K=np.tile([100., 100., 64., 40.], (9, 1)), size=Size(128, 80), fps=24.)
    metres = over_a_floor(cameras)
    near, far = float(metres.min()), 40.
    depth = np.clip((1 / metres - 1 / far) / (1 / near - 1 / far), 0, 1)
    told = mottle.of(depth, near, far, cameras)[0, 0].numpy()
    flat = told / mottle.STRONG / np.exp(-np.minimum(metres, 1e3) * mottle.FADE)
    y, x = (a.ravel() for a in np.mgrid[60:78, 40:90])
    place = np.stack([(x + .5 - 64) / 100, (y + .5 - 40) / 100, np.ones(len(x))], -1) * metres[0, y, x][:, None]
    shown = camera.project(place @ cameras.c2w[0, :3, :3].T + cameras.c2w[0, :3, 3], cameras.c2w[4], cameras.K[4])
    column, row = np.floor(shown[:, :2]).astype(int).T
    inside = (column >= 0) & (column < 128) & (row >= 0) & (row < 80)
    error = np.abs(flat[4, row[inside], column[inside]] - flat[0, y[inside], x[inside]])
    assert inside.sum() > 200 and np.median(error) < .03 and flat[0, 60:].std() > .3
    assert np.abs(flat[4] - flat[0])[60:].mean() > .2          # under the same pixel lies another place


def test_scenes_of_another_scale_have_a_pattern_of_theirs():
    upright = np.eye(4)
    upright[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    plain = moved(flown(turn=0.), upright)
    large = camera.Cameras(frames=plain.frames, c2w=plain.c2w.copy(), K=plain.K, size=plain.size, fps=24.)
    large.c2w[:, :3, 3] *= 10
    depth = np.random.default_rng(0).uniform(.1, 1, (9, 40, 64))
    assert torch.allclose(mottle.of(depth, 2., 40., plain), mottle.of(depth, 20., 400., large), atol=1e-4)
    assert not torch.allclose(mottle.of(depth, 2., 40., plain), mottle.of(depth, 4., 80., plain), atol=1e-2)


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


def test_the_pattern_is_told_with_depth_in_metres_and_counts_with_depth_and_camera(blockout):
    x, words, depth = blockout.noise(9, 64, 40, 1), blockout.encode_text("a red cube"), torch.rand(1, 1, 9, 40, 64)
    told = blockout.flown(flown(), depth[0, 0].numpy(), 2., 40.)
    assert set(told) == {"camera", "mottle"} and told["mottle"].shape == depth.shape
    assert set(blockout.flown(flown(), None, 2., 40.)) == set(blockout.flown(flown(), depth[0, 0].numpy(), 0., 0.)) == {"camera"}

    def drawn(**guides):
        return blockout.denoiser(words, None, guides, None, None, 1.)(x, torch.tensor(.8))
    pattern = {"mottle": told["mottle"]}
    assert torch.equal(drawn(depth=depth, **pattern), drawn(depth=depth)) and torch.equal(drawn(camera=told["camera"], **pattern), drawn(camera=told["camera"]))
    assert not torch.equal(drawn(depth=depth, **told), drawn(depth=depth, camera=told["camera"]))
