"""The model's promises, on small random weights: what each input can change, what it can't, and that files bring the same pixels back."""
import numpy as np
import pytest
import torch

from engine.blockout import data, flight, model
from engine.blockout.autoencoder import Autoencoder
from engine.blockout.footage import Footage
from engine.blockout.guides import GIVEN
from engine.blockout.model import WEIGHTS
from engine.blockout.transformer import guide_patches, patchify, unpatchify
from engine.sampling import samplers
from tests.engine.roused import TINY, roused, small_blockout


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return roused(Autoencoder(TINY))


@pytest.fixture(scope="module")
def blockout():
    return small_blockout()


def shoot(blockout, prompt="a red cube", seed=1, guides=None, known=None, mask=None, negative=None, guidance=2., frames=9, steps=2):
    denoise = blockout.denoiser(blockout.encode_text(prompt), negative, guides, known, mask, guidance)
    *_, (x, _) = samplers.euler(denoise, blockout.noise(frames, 32, 24, seed), blockout.sigmas(steps))
    return x


def test_the_autoencoder_keeps_the_grid(autoencoder):
    latent = autoencoder.encode(torch.rand(2, 3, 9, 24, 32) * 2 - 1)
    assert latent.shape == (2, 16, 3, 3, 4) and autoencoder.decode(latent).shape == (2, 3, 9, 24, 32)
    assert autoencoder.decode(autoencoder.encode(torch.zeros(1, 3, 1, 16, 16))).shape == (1, 3, 1, 16, 16)
    with pytest.raises(ValueError, match="grid"):
        autoencoder.encode(torch.zeros(1, 3, 8, 24, 32))


def test_streamed_frames_are_the_decoded_ones(autoencoder):
    latent = torch.randn(1, 16, 5, 3, 4)
    chunks = list(autoencoder.decode_stream(latent))
    assert [c.shape[2] for c in chunks] == [1, 4, 4, 4, 4]
    assert torch.allclose(torch.cat(chunks, 2), autoencoder.decode(latent), atol=1e-4)


def test_streamed_latents_are_the_encoded_ones(autoencoder):
    video = torch.rand(1, 3, 17, 24, 32) * 2 - 1
    latents = list(autoencoder.encode_stream((video[:, :, :1], *video[:, :, 1:].split(4, 2))))
    assert [z.shape[2] for z in latents] == [1] * 5
    assert torch.allclose(torch.cat(latents, 2), autoencoder.encode(video), atol=1e-4)


def test_a_decoded_picture_has_no_blocks():
    """The project's own weights on rendered clips: from one pixel to the next it differs no more across the borders of latent pixels than within."""
    coder, steps = model.load(model.WEIGHTS).autoencoder, {"seen": [], "given back": []}
    for seed in range(4):
        video = torch.from_numpy(data.clip(9_400_000 + seed, 5, 40, 64).rgb).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        for name, shown in (("seen", video), ("given back", coder.decode(coder.encode(video)))):
            across = [(shown.diff(dim=axis).abs().movedim(axis, 0).flatten(1).mean(1), torch.arange(1, shown.shape[axis]) % 8 == 0) for axis in (3, 4)]
            steps[name].append(sum(step[border].mean() / step[~border].mean() for step, border in across) / 2)
    seen, back = (float(torch.stack(each).mean()) for each in steps.values())
    assert .8 < seen < 1.2 and back < 1.1 * seen


@pytest.mark.parametrize("kinds", [("depth",), ("normal",), ("depth", "normal")])
def test_guides_reach_the_frames_they_belong_to(autoencoder, kinds):
    latent, every = torch.randn(1, 16, 3, 3, 4), {"depth": torch.rand(1, 1, 9, 24, 32), "normal": torch.rand(1, 3, 9, 24, 32) * 2 - 1}
    guides = {k: every[k] for k in kinds}
    whole = autoencoder.decode(latent, guides)
    assert torch.allclose(torch.cat(list(autoencoder.decode_stream(latent, guides)), 2), whole, atol=1e-4)
    changed = autoencoder.decode(latent, {k: torch.cat([g[:, :, :6], 1 - g[:, :, 6:]], 2) for k, g in guides.items()})
    assert torch.allclose(changed[:, :, :6], whole[:, :, :6], atol=1e-5) and not torch.allclose(changed[:, :, 6:], whole[:, :, 6:], atol=1e-3)


def test_the_autoencoder_never_looks_ahead(autoencoder):
    video = torch.rand(1, 3, 9, 24, 32)
    later = torch.cat([video[:, :, :5], torch.rand(1, 3, 4, 24, 32)], 2)
    a, b = autoencoder.encode(video), autoencoder.encode(later)
    assert torch.allclose(a[:, :, :2], b[:, :, :2], atol=1e-5) and not torch.allclose(a[:, :, 2], b[:, :, 2], atol=1e-4)


def test_patches_fold_back_exactly():
    x = torch.randn(2, 16, 3, 4, 5)
    assert torch.equal(unpatchify(patchify(x), x.shape), x)


def test_a_guide_patch_is_what_lies_under_its_token():
    guide = torch.zeros(1, 1, 5, 16, 24)
    guide[0, 0, 3, 9, 17] = 1                                  # frames 1..4 are latent frame 1; row 1, column 2 of 2 x 3
    assert guide_patches(guide).sum(2).nonzero().tolist() == [[0, 6 + 5]]
    guide = torch.zeros(1, 1, 5, 16, 24)
    guide[:, :, 0] = 1
    assert guide_patches(guide)[0, :6].eq(1).all()


def test_guides_that_are_not_given_are_as_if_they_were_not_there(blockout):
    absent = torch.zeros(1, len(GIVEN))
    there = {"depth": torch.rand(1, 1, 5, 16, 24), "normal": torch.rand(1, 3, 5, 16, 24), "camera": torch.rand(1, 12, flight.WIDTH),
             "albedo": torch.rand(1, 4, 5, 16, 24)}
    blockout.transformer.guides.mix.bias.data.uniform_(-1, 1)
    assert torch.allclose(blockout.transformer.guides(there, absent), blockout.transformer.guides({}, absent))


def test_the_first_frame_reaches_the_last_and_back(blockout):
    x, sigma = torch.randn(1, 16, 3, 3, 4), torch.tensor([.5])
    words, none = blockout.encode_text("a car").embedding, (torch.zeros(1, len(GIVEN)), torch.zeros_like(x), torch.zeros_like(x[:, :1]))
    call = lambda y: blockout.transformer(y, sigma, words, {}, *none)
    for changed, seen in ((0, 2), (2, 0)):
        y = x.clone()
        y[:, :, changed] += 1
        assert (call(y)[:, :, seen] - call(x)[:, :, seen]).abs().max() > 1e-6


@pytest.mark.parametrize("frames, width, height", [(1, 16, 16), (5, 64, 32), (17, 24, 56)])
def test_any_shape_on_the_grid_goes(blockout, frames, width, height):
    denoise = blockout.denoiser(blockout.encode_text("a street"), None, {"depth": torch.rand(1, 1, frames, height, width)}, guidance=1.)
    x = blockout.noise(frames, width, height, 0)
    assert denoise(x, torch.tensor(.7)).shape == x.shape == blockout.latent_shape(frames, width, height)


def test_every_condition_changes_the_picture_and_the_seed_repeats_it(blockout):
    plain = shoot(blockout)
    depth, normal = torch.rand(1, 1, 9, 24, 32), torch.rand(1, 3, 9, 24, 32) * 2 - 1
    others = [shoot(blockout, "a blue cube"), shoot(blockout, seed=2),
              shoot(blockout, guides={"depth": depth}), shoot(blockout, guides={"normal": normal}),
              shoot(blockout, guides={"albedo": torch.rand(1, 4, 9, 24, 32)}),
              shoot(blockout, "a (red:1.8) cube"), shoot(blockout, negative=blockout.encode_text("night")), shoot(blockout, guidance=4.)]
    assert all((o - plain).abs().max() > 1e-5 for o in others)
    assert torch.equal(shoot(blockout), plain)


def test_weights_weigh_what_words_change(blockout):
    x, sigma = blockout.noise(9, 32, 24, 3), torch.tensor(.8)
    seen = lambda prompt, negative="": blockout.denoiser(blockout.encode_text(prompt), blockout.encode_text(negative), guidance=3.)(x, sigma)
    without, whole = seen("a cube"), seen("a red cube at night")
    assert torch.allclose(seen("a (red:0) cube (at night:0)"), without, atol=1e-6)
    assert torch.allclose(seen("a (red:1) cube (at night:1)"), whole, atol=1e-6)
    for weight, felt in ((.5, .25), (2., 2.)):                 # below 1 by its square: guidance makes three times of it
        assert torch.allclose(seen(f"a (red:{weight}) cube (at night:{weight})"), without + felt * (whole - without), atol=1e-4)
    assert torch.allclose(seen("a cube", "(at night:1.5)"), without + 1.5 * (seen("a cube", "at night") - without), atol=1e-4)


def test_known_frames_come_out_as_they_went_in(blockout):
    known, mask = torch.randn(1, 16, 3, 3, 4), torch.zeros(1, 1, 3, 1, 1)
    mask[:, :, [0, 2]] = 1
    x = shoot(blockout, known=known, mask=mask)
    assert torch.allclose(x[:, :, [0, 2]], known[:, :, [0, 2]], atol=1e-5) and not torch.allclose(x[:, :, 1], known[:, :, 1])


def test_a_still_is_encoded_for_its_place(blockout):
    still = torch.rand(1, 3, 24, 32) * 2 - 1
    assert blockout.encode_still(still, 0).shape == blockout.encode_still(still, 2).shape == (1, 16, 1, 3, 4)
    assert torch.allclose(blockout.encode_still(still, 0), blockout.autoencoder.encode(still[:, :, None]), atol=1e-6)


def test_stills_that_follow_one_another_move(blockout):
    """A latent of four frames that are all known is that of these frames; the frames before the first of them go on with their motion."""
    footage, pictures = Footage(blockout, WEIGHTS), [np.full((24, 32, 3), value, np.float32) for value in (.2, .3, .4, .5, .6)]
    coded = lambda *frames: blockout.autoencoder.encode(torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None] * 2 - 1)[:, :, -1]
    known = dict(enumerate(pictures, 8))
    assert torch.allclose(footage._still(known, 3, 4), coded(*pictures), atol=1e-5)
    assert torch.equal(footage._still({8: pictures[0]}, 2, 4), blockout.encode_still(torch.from_numpy(pictures[0]).permute(2, 0, 1)[None] * 2 - 1, 2)[:, :, 0])
    rng = np.random.default_rng(0)
    drawn = rng.random((24, 48, 3), np.float32)
    panned = {8 + at: np.ascontiguousarray(drawn[:, 8 - at:40 - at]) for at in range(5)}
    before, stood = footage._still(panned, 2, 4), footage._still({8: panned[8]}, 2, 4)
    assert (before - stood).abs().max() > 1e-3, "it does not stand still before the first"
    apart = {5: panned[8], 7: panned[9]}
    assert torch.equal(footage._still(apart, 2, 4), footage._still({7: panned[9]}, 2, 4)), "of two with a gap between them the later one stands"


def test_files_bring_the_same_pixels_back(blockout, tmp_path):
    model.save(blockout, tmp_path)
    twice = [shoot(model.load(tmp_path)) for _ in range(2)]
    assert torch.equal(*twice) and torch.allclose(twice[0], shoot(blockout), atol=.1)
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_other_weights_are_refused(blockout, tmp_path):
    model.save(blockout, tmp_path)
    config = (tmp_path / f"{model.NAME}.json")
    config.write_text(config.read_text().replace('"width": 48', '"width": 64'))
    with pytest.raises(ValueError, match="another make"):
        model.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        model.load(tmp_path / "nowhere")


@pytest.mark.parametrize("width, height", [(832, 480), (480, 832), (1024, 1024), (2048, 858), (640, 480)])
def test_native_sizes_keep_the_aspect(blockout, width, height):
    w, h = blockout.native_size(width, height)
    assert w % 8 == h % 8 == 0 and abs(w / h / (width / height) - 1) < .08 and .7 < w * h / model.TRAINED_AREA < 1.4


@pytest.mark.parametrize("size", [(96, 64), (64, 40), (40, 64), (128, 72)])
def test_small_shots_are_drawn_at_their_own_size(blockout, size):
    assert blockout.native_size(*size) == size
