"""What clips are told beside words and layout: a picture of their subject, how many frames a second, where each pixel came from."""
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine import clip
from engine.blockout import coarse, conditions, data, model, portraits, shards, text, timed, train, train_transformer, varied, world
from engine.blockout.footage import Footage
from engine.blockout.guides import GIVEN, SIDE
from engine.blockout.model import WEIGHTS
from engine.blockout.transformer import PORTRAIT, TransformerConfig
from engine.families import Window
from engine.protocol import Size
from engine.sampling import samplers
from tests.conftest import ROOT
from tests.engine.roused import TINY, roused, small_blockout

sys.path.insert(0, str(ROOT / "scripts"))
import train_blockout  # noqa: E402


@pytest.fixture(scope="module")
def blockout():
    return small_blockout()


# ---------------------------------------------------------------- clips
def test_vectors_say_where_the_picture_came_from():
    """The frame before, looked up where vectors point, is nearer to a frame than it is by itself: camera and things move in these."""
    better = []
    for seed in range(6):
        scene, _ = data.told(seed, 5, 1.6, world.drawn, style="photo")
        rgb, came = data.render(scene, 48, 80)[0].astype(np.float32), data.vectors(scene, 48, 80).astype(np.float32)
        rows, columns = np.mgrid[:48, :80]
        looked = rgb[1][(rows + came[2, ..., 1]).round().astype(int).clip(0, 47), (columns + came[2, ..., 0]).round().astype(int).clip(0, 79)]
        better.append(np.abs(rgb[1] - rgb[2]).mean() - np.abs(looked - rgb[2]).mean())
    assert sum(b > -.05 for b in better) == 6 and sum(b > .2 for b in better) >= 3, better


def test_vectors_of_a_thing_that_slides_are_its_steps():
    scene = world.drawn(np.random.default_rng(3), 3, 1., kind="objects", count=1, style="photo")
    scene.solids, scene.movers = [replace(scene.solids[0], kind="box", base=(0., 0., 0.), half=(1., 1., 1.), yaw=0., group=1)], [np.float32([[0, 0, 0], [0, .1, 0], [0, .3, 0]])]
    scene.eye, scene.yaw, scene.pitch, scene.fov = np.tile(np.float32([11, 0, 1]), (3, 1)), np.full(3, np.pi, np.float32), np.zeros(3, np.float32), 90.
    came = data.vectors(scene, 41, 41).astype(float)
    # the face is 10 m away, 41 pixels are 20 m there; +y is to the right of a camera that looks along -x
    assert came[1, 20, 20] == pytest.approx([-.1 * 41 / 20, 0], abs=.01) and came[2, 20, 20] == pytest.approx([-.2 * 41 / 20, 0], abs=.01)
    assert (came[0] == came[1]).all() and (came[2, 2] == 0).all()             # nothing is known from before; the sky does not move


def test_a_timed_clip_is_a_stretch_of_a_move():
    """The more frames a second, the less happens from one to the next; nothing happens faster than in a whole move."""
    steps = {}
    for seed in range(300):
        scene = timed.drawn(np.random.default_rng(seed), 17)
        assert scene.fps in timed.RATES and len(scene.yaw) == 17 and all(path.shape == (17, 3) for path in scene.movers)
        if scene.move.startswith("truck"):
            steps.setdefault(scene.fps, []).append(np.abs(np.diff(scene.eye, axis=0)).sum(1).mean())
    found = [np.mean(steps[fps]) for fps in sorted(steps)]
    assert found == sorted(found, reverse=True) and 2 < found[0] / found[-1] < 6
    assert {timed.drawn(np.random.default_rng(seed), 33).fps for seed in range(40)} == {16, 24, 30}


@pytest.mark.parametrize("drawn, fixed", [(world.drawn, {"kind": "objects", "count": 2}), (world.drawn, {"kind": "street"}), (varied.drawn, {"kind": "hills"}),
                                          (world.drawn, {"kind": "court"})])
def test_a_portrait_shows_the_first_thing_alone_and_whole(drawn, fixed):
    for seed in range(8):
        scene, _ = data.told(seed, 5, 1.6, drawn, **fixed)
        if scene.things[0].many or not scene.things[0].finish:
            continue
        alone, single = portraits.taken(scene, seed)
        seen = data.parts(alone, SIDE, SIDE)[0] == 0
        assert single and len(alone.things) == 1 and not (alone.movers or alone.style != "photo")
        assert .05 < seen.mean() < .7 and not (seen[0].any() or seen[-1].any() or seen[:, 0].any() or seen[:, -1].any())
        finish = {s.finish for s in scene.solids if s.part == 0}
        assert {s.finish for s in alone.solids} == finish
        for other in range(4):                                # whatever else is said, and in whichever words
            said = portraits.unnamed(scene, np.random.default_rng(other))
            ids = text.tokens(said).ids
            first = ids.index(text.IDS[scene.things[0].word]) if text.IDS[scene.things[0].word] in ids else len(ids)
            assert text.IDS[scene.things[0].finish] not in ids[:first + 1], said


def test_what_lies_beside_a_shard_is_drawn_once(tmp_path, monkeypatch):
    small = shards.Series(((5, 16, 24),), 3, 5, draws=timed.drawn)
    monkeypatch.setitem(shards.SERIES, "small", small)
    folder = shards.write(tmp_path, "small", 0)
    came, (shown, single, said) = shards.moved(folder, 3), shards.portrayed(folder, 3)
    assert came.shape == (3, 5, 16, 24, 2) and shown.shape == (3, SIDE, SIDE, 3) and len(said) == 3 == len(single)
    assert np.array_equal(came[1], data.vectors(small.scene(0, 1), 16, 24)) and (shards.flown(folder, 3)[3] > 0).all()
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert np.array_equal(shards.portrayed(folder, 3)[0], shown) and np.array_equal(shards.moved(folder, 3), came)
    assert written == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


# ---------------------------------------------------------------- the model
def test_each_changes_the_picture_and_nothing_is_as_nothing_said(blockout):
    torch.manual_seed(1)
    x, sigma, red = blockout.noise(9, 32, 24, 3), torch.tensor(.8), blockout.encode_text("a red cube")
    seen = lambda guides=None, **told: blockout.denoiser(red, None, guides, guidance=2., **told)(x, sigma)
    look = lambda value: blockout.encode_portrait(torch.full((1, 3, SIDE, SIDE), value))
    torch.nn.init.normal_(blockout.transformer.measures.weight)
    plain = seen()
    assert torch.equal(plain, seen(fps=0.)) and (seen(fps=8.) - plain).abs().max() > 1e-5 and (seen(fps=8.) - seen(fps=30.)).abs().max() > 1e-5
    assert (seen(portrait=look(1.)) - seen(portrait=look(-1.))).abs().max() > 1e-5
    vector = torch.randn(1, 2, 9, 24, 32)
    assert (seen({"vector": vector}) - plain).abs().max() > 1e-5 and (seen({"vector": vector}) - seen({"vector": -vector})).abs().max() > 1e-5


def test_guidance_strengthens_a_portrait(blockout):
    torch.manual_seed(1)
    x, sigma, words, empty = blockout.noise(5, 32, 24, 3), torch.tensor(.8), blockout.encode_text("a cube"), blockout.encode_text("")
    look = blockout.encode_portrait(torch.rand(1, 3, SIDE, SIDE))
    t, one = blockout.transformer, torch.ones(1)
    whole = lambda text, shown: t(x, one * .8, text.embedding, {}, torch.zeros(1, len(GIVEN)), torch.zeros_like(x), torch.zeros_like(x[:, :1]),
                                  portrait=t.portrayed(look, one * shown))
    told, plain = whole(words, 1), whole(empty, 0)
    assert torch.allclose(blockout.denoiser(words, empty, guidance=3., portrait=look)(x, sigma), plain + 3 * (told - plain), atol=1e-4)
    assert t.portrayed(look, one).shape == (1, PORTRAIT, 48)


def test_the_size_is_told(blockout):
    t = blockout.transformer
    torch.nn.init.normal_(t.measures.weight)
    fps = torch.tensor([24.])
    assert not torch.allclose(t.measured(fps, 5, 8), t.measured(fps, 8, 5)) and not torch.allclose(t.measured(fps, 5, 8), t.measured(fps, 10, 16))


def test_a_shot_tells_its_rate_and_its_subject():
    footage = Footage(model.load(WEIGHTS), WEIGHTS)
    window = Window(frames=5, size=Size(64, 40), seed=1, steps=2, guidance=2., text=footage.text("a ball on grass"), negative=footage.text(""), fps=24.)
    last = lambda **other: list(footage.sample(replace(window, **other)))[-1]
    plain, picture = last(), np.zeros((30, 50, 3), np.float32)
    assert (last(fps=8.) - plain).abs().max() > 1e-4 and (last(references=(picture,)) - plain).abs().max() > 1e-4
    assert not torch.equal(last(references=(picture,)), last(references=(picture + 1,)))
    fast = last(fps=60.)
    assert "Moves as at 30 frames a second" in footage.remarks()[0]
    assert torch.equal(fast, last(fps=30.)) and not footage.remarks()
    last(fps=60., guides={"depth": np.ones((5, 40, 64, 1), np.float32)})
    assert not footage.remarks()                               # the layout says how things move


def test_a_subject_that_is_cut_out_stands_on_white(tmp_path):
    picture = np.zeros((6, 8, 4), np.uint8)
    picture[2:4, 3:5] = 10, 20, 250, 255                       # as OpenCV has it: blue, green, red
    cv2.imwrite(str(tmp_path / "cut.png"), picture)
    seen = clip.subject(str(tmp_path / "cut.png"))
    assert seen.shape == (6, 8, 3) and (seen[0] == 1).all() and seen[2, 3] == pytest.approx(np.array([250, 20, 10]) / 255)
    cv2.imwrite(str(tmp_path / "whole.png"), picture[..., :3])
    assert (clip.subject(str(tmp_path / "whole.png"))[0] == 0).all()


def test_motion_alone_is_no_layout():
    footage = Footage(model.load(WEIGHTS), WEIGHTS)
    vector = np.full((5, 72, 128, 2), 3., np.float32)
    window = Window(frames=5, size=Size(128, 72), seed=1, steps=4, guidance=2., text=footage.text("a ball on grass"), negative=footage.text(""),
                    guides={"vector": vector})
    small = coarse.first(window, footage.native)
    assert small.guides["vector"].shape == (5, small.size.height, small.size.width, 2)
    assert np.allclose(small.guides["vector"], 3. * np.array([small.size.width / 128, small.size.height / 72]), atol=1e-4)
    assert len(list(footage.sample(window))) and "first" in footage.remarks()[0]


def test_half_the_precision_is_the_same_picture():
    """Within 40 dB, on any processor: the model's own weights, a clip along a layout."""
    made = model.load(WEIGHTS)
    depth = torch.linspace(.1, 1, 64).expand(1, 1, 9, 40, 64)

    def clip(halves: bool) -> torch.Tensor:
        made.halves = halves
        denoise = made.denoiser(made.encode_text("a red ball on grass at sunset"), None, {"depth": depth}, fps=24.)
        *_, (x, _) = samplers.euler(denoise, made.noise(9, 64, 40, 3), made.sigmas(8))
        return made.autoencoder.decode(x, {"depth": depth})

    whole, half = clip(False), clip(True)
    assert not torch.equal(whole, half) and 10 * torch.log10(4 / (whole - half).square().mean()) > 40


# ---------------------------------------------------------------- training
def test_training_shows_all_of_it(tmp_path, monkeypatch):
    """Where a loss can reach them, the weights of portraits, rates and vectors learn."""
    torch.manual_seed(0)
    monkeypatch.setitem(shards.SERIES, "small", shards.Series(((5, 16, 24),), 4, 5, draws=timed.drawn))
    made = roused(model.Blockout(TINY, TransformerConfig(width=48, depth=1, heads=1)))
    library = train_transformer.Library(tmp_path, made.autoencoder)
    shards.write(tmp_path, "small", 0)
    library.refresh("small", 0, 1)
    (shard,), transformer, g = library.of("small"), made.transformer.requires_grad_(True), torch.Generator().manual_seed(1)
    for _ in range(6):
        train_transformer.loss(transformer, train_transformer.Clips.of(shard, np.arange(4), 2), g, portrayed=True).backward()
    for learned in (transformer.portrait[0].weight, transformer.unseen, transformer.measures.weight, transformer.guides.vector.weight):
        assert learned.grad is not None and learned.grad.abs().max() > 0
    assert (shard.fps > 0).all() and shard.unnamed.shape == shard.ids.shape == (4, text.TOKENS)


def test_shards_are_opened_in_full_precision_while_training_halves_products(tmp_path, monkeypatch):
    """Rendering refuses to be halved, and latents that were would stay so for every training after."""
    monkeypatch.setitem(shards.SERIES, "small", shards.Series(((5, 16, 24),), 4, 5, draws=timed.drawn))
    made, found = roused(model.Blockout(TINY, TransformerConfig(width=48, depth=1, heads=1))), []
    for halves in (False, True):
        root = tmp_path / str(halves)
        shards.write(root, "small", 0)
        library = train_transformer.Library(root, made.autoencoder)
        with torch.autocast("cpu", torch.bfloat16, enabled=halves):
            library.refresh("small", 0, 1)
        (shard,) = library.of("small")
        found.append(shard)
    assert np.array_equal(found[0].latent, found[1].latent) and np.array_equal(found[0].portrait, found[1].portrait)


def test_every_series_of_a_mix_is_rendered():
    for _, mix in train_transformer.MIXES:
        assert set(mix) <= set(train.COUNTS) and sum(mix.values()) == pytest.approx(1)


def test_where_nobody_says_a_move_takes_its_usual_time():
    rate = lambda name: shards.flown(Path(name, "0000"), 1)[3][0]
    assert rate("short") == 8 and rate("long") == 24 and rate("told") == 0


def test_vectors_are_shown_a_quarter_of_the_time():
    given = conditions.given(torch.Generator().manual_seed(0), 4000)
    laid = given[:, :2].amax(1) > 0
    assert given.shape == (4000, len(GIVEN)) and given[laid, 4].mean() == pytest.approx(.25, abs=.04) and given[~laid, 4].mean() < .08


def test_a_training_goes_on_from_weights(tmp_path):
    train.begun(WEIGHTS, tmp_path / "out", 12.)
    ours, theirs = train.assembled(tmp_path / "out").state_dict(), model.load(WEIGHTS).state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    from engine.blockout.training import Run
    fresh = train_transformer.begun_as(tmp_path / "out").transformer          # of the shape of those weights, whatever the usual one is
    run = Run("transformer", tmp_path / "out", fresh, train_transformer.optimisers(fresh), 20.)
    run.resume()
    assert run.spent == 720. and run.progress == pytest.approx(.6)


def test_what_a_begun_folder_cannot_do_is_said(tmp_path, capsys):
    out = str(tmp_path / "out")
    with pytest.raises(SystemExit):
        train_blockout.main(["begin", "--out", out])
    assert "needs the --minutes" in capsys.readouterr().err
    assert train_blockout.main(["begin", "--out", out, "--minutes", "12", "--weights", str(tmp_path)]) == 2 and "cannot be gone on from" in capsys.readouterr().err
    assert train_blockout.main(["begin", "--out", out, "--minutes", "12"]) == 0
    assert train_blockout.main(["begin", "--out", out, "--minutes", "12"]) == 2 and "already holds" in capsys.readouterr().err
    assert train_blockout.main(["autoencoder", "--out", out, "--resume"]) == 2 and "latents of their autoencoder" in capsys.readouterr().err
