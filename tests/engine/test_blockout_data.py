"""Training clips: the same for a seed, and their guides say what the picture shows."""
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.blockout import conditions, data, hiding, looks, shards, text, varied, words, world
from engine.blockout.rays import KINDS, Solid


@pytest.mark.parametrize("kind", KINDS)
def test_rays_hit_where_the_solid_is(kind):
    scene = world.drawn(np.random.default_rng(0), 1, 1., kind="objects", count=1)
    scene.solids, scene.movers = [Solid(kind, (1., 2., 0.), (1., .5, 2.), 0, yaw=np.pi / 2)], []        # turned: 1 along y, .5 along x
    z = .5 if kind == "cone" else 2.
    half = .5 * (1 - z / 4) if kind == "cone" else .5
    scene.eye, scene.yaw, scene.pitch = np.array([[11., 2., z]], np.float32), np.array([np.pi], np.float32), np.zeros(1, np.float32)
    inverse, normal = data.geometry(scene, 33, 33)
    assert 1 / inverse[0, 16, 16].astype(float) == pytest.approx(10 - half, rel=1e-3) and normal[0, 16, 16, 2] > .9 * 127
    assert abs(np.linalg.norm(normal[0, 16, 16].astype(float)) - 127) < 2
    scene.eye[0, 1] = 6.                                                        # it passes by
    assert data.parts(scene, 33, 33)[0, 16, 16] < 0


@pytest.fixture(scope="module")
def kept():
    """Small clips of many seeds as a plain caster drew them that went solid by solid and frame by frame, in numpy."""
    with np.load(Path(__file__).with_name("kept_clips.npz")) as found:
        return dict(found)


def test_clips_are_what_they_always_were(kept):
    """What differs: shadows where a point falls between two texels of a map, lit windows, steps of a style; each by float32's last bit."""
    met = set()
    for i, (varies, seed) in enumerate(zip(kept["varied"], kept["seeds"])):
        clip = data.clip(int(seed), 2, 24, 40, varied.drawn if varies else world.drawn)
        met |= {clip.scene.kind, clip.scene.style, clip.scene.weather, clip.scene.sky, clip.scene.ground}
        away = [np.abs(getattr(clip, name).astype(np.float32) - kept[name][i]) for name in ("rgb", "inverse_depth", "normal")]
        assert (away[0].max(-1) <= 2).mean() > .99 and away[0].mean() < .3, seed
        assert (away[1] <= 2 / 255).mean() > .99 and away[1].mean() < .3 / 255, seed
        assert (away[2].max(-1) <= 2).mean() > .99 and away[2].mean() < .3, seed
    assert met == {*varied.KINDS, *words.STYLES, *looks.WEATHERS, "rain", *looks.SKIES, *looks.GROUNDS}


def test_a_clip_looks_the_same_whichever_others_are_rendered_with_it(monkeypatch):
    scenes = [draws(np.random.default_rng(seed), 3, 1.5) for seed in range(4) for draws in (world.drawn, varied.drawn)]
    together = data.render_all(scenes, 16, 24, list(range(8)))
    monkeypatch.setattr(data, "at_once", lambda device: 2 * 16 * 24 * 4)        # two of a clip's three frames in a step
    for i, scene in enumerate(scenes):
        for all_of_it, alone in zip(together, data.render(scene, 16, 24, i)):
            assert np.array_equal(all_of_it[i].numpy(), alone)


def test_a_seed_is_a_clip():
    a, b = data.clip(5, 5, 24, 32), data.clip(5, 5, 24, 32)
    assert a.caption == b.caption and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("rgb", "inverse_depth", "normal"))
    assert not np.array_equal(a.rgb, data.clip(6, 5, 24, 32).rgb)


@pytest.mark.parametrize("kind", world.KINDS)
@pytest.mark.parametrize("h, w", [(24, 40), (40, 24)])
def test_every_kind_of_scene_renders_at_any_shape(kind, h, w):
    clip = data.clip(3, 5, h, w, kind=kind)
    assert clip.rgb.shape == (5, h, w, 3) and clip.rgb.std() > 1
    there = clip.inverse_depth > 0
    length = np.linalg.norm(clip.normal.astype(float) / 127, axis=-1)
    assert there.any() and length[~there].max(initial=0) == 0


def test_a_floor_faces_up_and_gets_farther_upwards():
    scene = world.drawn(np.random.default_rng(0), 1, 1.6, kind="objects", count=1)
    scene.solids = scene.solids[:1]
    scene.eye, scene.yaw, scene.pitch = np.array([[0., -50., 2.]], np.float32), np.array([-np.pi / 2], np.float32), np.array([0.], np.float32)
    _, inverse, normal = data.render(scene, 24, 40)
    low = normal[0, -4:].astype(float) / 127
    assert (low[..., 1] > .95).all()                                            # +y is up
    assert (np.diff(inverse[0, -6:, 20].astype(float)) > 0).all()               # lower rows are nearer
    expected = 2 / (np.tan(np.radians(scene.fov) / 2) * .6 * (23.5 - 12) / 12)  # planar depth of the last row's middle
    assert 1 / float(inverse[0, -1, 20]) == pytest.approx(expected, rel=.05)


def test_a_ball_faces_the_camera_and_its_left_side_left():
    scene = world.drawn(np.random.default_rng(0), 1, 1., kind="objects", count=1)
    scene.solids, scene.movers = [Solid("ellipsoid", (0., 0., 0.), (1., 1., 1.), 0)], []
    scene.eye, scene.yaw, scene.pitch = np.array([[0., -4., 1.]], np.float32), np.array([np.pi / 2], np.float32), np.array([0.], np.float32)
    scene.fov = 50.
    _, _, normal = data.render(scene, 32, 32)
    n = normal[0].astype(float) / 127
    assert n[16, 16, 2] > .95 and n[16, 8, 0] < -.3 and n[16, 23, 0] > .3 and n[8, 16, 1] > .3


def test_depth_is_normalised_inverse_depth():
    inverse = torch.tensor([[[[0., 1 / 20, 1 / 5, 1 / 2]]]])
    near, far = conditions.span(inverse)
    assert near == 2 and far == pytest.approx(20)
    assert torch.allclose(conditions.normalised_depth(inverse, near, far).flatten(), torch.tensor([0., 0., .15 / .45, 1.]), atol=1e-5)


def test_rough_guides_stay_in_range_and_known_masks_leave_something_to_do():
    clip, g = data.clip(1, 5, 24, 32), torch.Generator().manual_seed(0)
    for _ in range(10):
        guides = conditions.guides(clip.inverse_depth[None], clip.normal[None], g)
        assert guides["depth"].shape == (1, 1, 5, 24, 32) and 0 <= guides["depth"].min() and guides["depth"].max() <= 1
        assert guides["normal"].shape == (1, 3, 5, 24, 32) and guides["normal"].abs().max() <= 1.001
    mask = conditions.known_mask(g, 500, 5, 4, 4).flatten(3).mean(-1)[:, 0]
    assert mask.shape == (500, 5) and (mask.mean(1) < 1).all() and .35 < (mask.sum(1) > 0).float().mean() < .5


@pytest.mark.parametrize("kind", varied.KINDS)
def test_every_varied_scene_renders_and_its_caption_is_understood(kind):
    for seed in range(6):
        clip = data.clip(seed, 5, 24, 40, varied.drawn, kind=kind)
        again = data.clip(seed, 5, 24, 40, varied.drawn, kind=kind)
        assert np.array_equal(clip.rgb, again.rgb) and clip.caption == again.caption and clip.rgb.std() > 1
        assert text.tokens(clip.caption).not_understood == (), clip.caption
        assert len({s.part for s in clip.scene.solids}) == len(clip.scene.things)


def test_what_passes_is_hidden_and_seen_again():
    """Most of the time; a car may be longer than its wall, and a camera may look past it."""
    returns, said = 0, 0
    for seed in range(12):
        scene, caption = data.told(seed, 17, 1.6, hiding.drawn)
        seen = (data.parts(scene, 24, 40) == 0).sum((1, 2))
        hidden = np.flatnonzero(seen < .25 * seen.max())
        returns += len(hidden) > 0 and seen[:hidden[0]].max(initial=0) > .5 * seen.max() < 2 * seen[hidden[0]:].max()
        said += "passing behind" in caption
        assert scene.movers and not text.tokens(caption).not_understood
    assert returns >= 6 and said >= 6


def test_varied_worlds_have_every_style_weather_and_move():
    scenes = [varied.drawn(np.random.default_rng(seed), 5) for seed in range(400)]
    assert {s.style for s in scenes} == set(words.STYLES) == set(looks.STYLISE) and {s.move for s in scenes} == set(varied.MOVES)
    assert {s.weather for s in scenes} == {*looks.WEATHERS, "rain"} and any(s.wet for s in scenes)
    assert {t.count for s in scenes for t in s.things} == {1, 2, 3, 4} and any(t.glossy for s in scenes for t in s.things)


def test_a_camera_that_tilts_follows_or_shakes_does():
    found = {}
    for seed in range(400):
        scene = varied.drawn(np.random.default_rng(seed), 9)
        found.setdefault(scene.move, scene)
    for way, sign in (("up", 1), ("down", -1)):
        assert sign * (found[f"tilt {way}"].pitch[-1] - found[f"tilt {way}"].pitch[0]) > .2
    followed = found["follow"]
    assert np.allclose((followed.eye[-1] - followed.eye[0])[:2], .9 * (followed.movers[0][-1] - followed.movers[0][0])[:2], atol=1e-4)
    assert np.abs(np.diff(found["handheld"].yaw, 2)).max() > 1e-3 and found["drone"].eye[0, 2] > 5


def test_paints_are_the_colours_of_the_things_and_of_the_ground():
    scene = world.drawn(np.random.default_rng(3), 2, 1.6, kind="objects", count=2, style="photo")
    seen, colours, things = data.paints(scene, 24, 40)
    parts = data.parts(scene, 24, 40)
    assert seen.shape == (2, 24, 40) and np.array_equal(seen < 0, parts < 0) and np.array_equal(things[seen[seen >= 0]], parts[parts >= 0])
    for thing, solid in zip(scene.things, scene.solids):
        assert np.allclose(colours[list(things).index(scene.things.index(thing))], looks.ALBEDO[solid.finish])
    assert np.allclose(colours[-1], looks.GROUNDS[scene.ground])


def test_the_guide_of_colours_tells_some_things_and_leaves_others_to_the_words():
    scenes = [world.drawn(np.random.default_rng(seed), 1, 1.6, kind="objects", count=2, style="photo") for seed in range(8)]
    seen, colours, things = zip(*(data.paints(s, 24, 40) for s in scenes))
    plain = conditions.albedos(np.stack(seen), colours, things, torch.Generator(), rough=False)
    told = torch.from_numpy(np.stack(seen)) != data.SKY
    assert plain.shape == (8, 4, 1, 24, 40) and torch.equal(plain[:, 3] == 1, told) and not plain[:, :3].permute(0, 2, 3, 4, 1)[~told].any()
    thing = torch.from_numpy(seen[0][0] == 0)
    expected = torch.from_numpy(colours[0][0]) ** .8
    assert torch.allclose(plain[0, :3, 0][:, thing], expected[:, None].expand(-1, int(thing.sum())), atol=1e-5)
    rough = torch.stack([conditions.albedos(np.stack(seen), colours, things, torch.Generator().manual_seed(n)) for n in range(8)])
    silent = [(rough[n, i, 3][torch.from_numpy(seen[i] >= 0)] == 0).any() for n in range(8) for i in range(8)]
    assert 4 < sum(silent) < 60 and rough.amin() >= 0 and rough.amax() <= 1


def test_a_shards_paints_are_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setitem(shards.SERIES, "small", shards.Series(((5, 16, 24),), 2, 1, draws=varied.drawn))
    folder = shards.write(tmp_path, "small", 0)
    seen, colours, things = shards.painted(folder, 2)
    again = shards.painted(folder, 2)
    assert seen.shape == (2, 5, 16, 24) and np.array_equal(again[0], seen) and all(map(np.array_equal, again[1] + again[2], colours + things))
    assert np.array_equal(seen[1] == data.SKY, data.parts(shards.SERIES["small"].scene(0, 1), 16, 24) == data.SKY)
    monkeypatch.setattr(data, "paints", None)
    shards.painted(folder, 2)


def test_shards_are_written_once_and_found(tmp_path):
    small = shards.Series(((5, 16, 24),), 2, 1, (3,), 2)
    folder = shards.write(tmp_path, "small", 0, small)
    before = (folder / "rgb.npy").stat().st_mtime_ns
    assert shards.write(tmp_path, "small", 0, small) == folder and (folder / "rgb.npy").stat().st_mtime_ns == before
    assert shards.ready(tmp_path, "small") == [folder] and shards.ready(tmp_path, "long") == [] and len(shards.captions(folder)) == 2
    clip = small.clip(0, 1)
    assert len(clip.scene.things) == 3 and shards.captions(folder)[1] == clip.caption
    for name in ("rgb", "inverse_depth", "normal"):
        found = np.load(folder / f"{name}.npy")
        assert found.dtype == getattr(clip, name).dtype and np.array_equal(found[1], getattr(clip, name))


def test_a_series_that_captions_alone_tell_of_is_of_every_style():
    small = shards.Series(((1, 16, 24),), 24, 1, (1, 2), told=True)
    fixed = [small.fixed(i) for i in range(4)]
    assert [f["count"] for f in fixed] == [1, 2, 1, 2] and not any("style" in f for f in fixed)
    assert len({small.clip(0, i).scene.style for i in range(24)}) > 2


def test_what_captions_alone_tell_of_is_learned_without_a_guide():
    from engine.blockout import train_transformer
    from engine.blockout.transformer import Transformer, TransformerConfig
    torch.manual_seed(0)
    model, n = Transformer(TransformerConfig(width=48, depth=1, heads=1)), 2
    latent = np.random.default_rng(0).standard_normal((n, model.config.latent, 1, 2, 3)).astype(np.float16)
    words = torch.ones(n, 24, dtype=torch.long)
    shard = train_transformer.Shard(latent, *(None,) * 2, words, *(None,) * 3, torch.zeros(n), latent, torch.zeros(n), words, told=True)      # nothing else is looked at
    loss = train_transformer.loss(model, train_transformer.Clips.of(shard, np.arange(n), 1), torch.Generator().manual_seed(1))
    loss.backward()
    assert loss.isfinite() and model.text.word.weight.grad is not None and not any(p.grad is not None and p.grad.any() for p in model.guides.parameters())


def test_a_close_series_differs_in_where_the_camera_stands_alone():
    close = shards.Series(((1, 16, 24),), 8, 1, (1,), told=True, near=.4)
    assert close.fixed(0)["near"] == .4 and "near" not in shards.SERIES["told"].fixed(0)
    how = {"frames": 1, "kind": "objects", "style": "photo", "count": 1}
    shares = []
    for seed in range(20):
        far, near = world.drawn(np.random.default_rng(seed), **how), world.drawn(np.random.default_rng(seed), **how, near=.4)
        assert far.things == near.things and (far.sky, far.ground, far.solids[0].half) == (near.sky, near.ground, near.solids[0].half)
        shares.append(np.hypot(*near.eye[0, :2]) / np.hypot(*far.eye[0, :2]))
    assert .3 < min(shares) < .6 < max(shares) < 1.1 and np.median(shares) < .85


def test_every_shape_of_a_series_comes_up():
    for series in shards.SERIES.values():
        assert {series.shape(n) for n in range(len(series.shapes))} == set(series.shapes)
