"""Schedules, samplers and guidance against closed forms: for Gaussian pictures the best denoiser is known."""
import pytest
import torch

from engine.sampling import guidance, samplers, schedules

MEAN, SPREAD = 1.5, .4


def gaussian(x, sigma):
    """E[x0 | x] for x0 ~ N(MEAN, SPREAD^2) and x = (1 - sigma) x0 + sigma eps."""
    keep = 1 - sigma
    gain = keep * SPREAD ** 2 / (keep ** 2 * SPREAD ** 2 + sigma ** 2)
    return MEAN + gain * (x - keep * MEAN)


def last(steps):
    *_, (x, x0) = steps
    return x, x0


def test_a_schedule_runs_from_noise_to_picture():
    sigmas = schedules.linear(8, shift=4.)
    assert sigmas[0] == 1 and sigmas[-1] == 0 and (sigmas.diff() < 0).all()
    assert torch.allclose(schedules.unshifted(schedules.shifted(sigmas, 3.), 3.), sigmas, atol=1e-6)
    assert schedules.linear(4)[2] == .5
    assert schedules.linear(5, 4., start=.6)[0] == pytest.approx(.6, abs=1e-6)
    with pytest.raises(ValueError):
        schedules.linear(0)


def test_a_larger_picture_is_noised_further():
    assert schedules.area_shift(4096) > schedules.area_shift(256) > 1


@pytest.mark.parametrize("sampler, steps, tolerance", [(samplers.euler, 400, .01), (samplers.heun, 60, .01)])
def test_samplers_draw_from_the_distribution(sampler, steps, tolerance):
    x = samplers.noise((20000,), seed=3)
    drawn, _ = last(sampler(gaussian, x, schedules.linear(steps)))
    exact = MEAN + SPREAD * x                                  # the flow of a Gaussian is affine
    assert (drawn - exact).abs().max() < tolerance * 4
    assert drawn.mean() == pytest.approx(MEAN, abs=.02) and drawn.std() == pytest.approx(SPREAD, abs=.02)


def test_heun_beats_euler_at_equal_calls():
    x = samplers.noise((2000,), seed=0)
    off = [(last(s(gaussian, x, schedules.linear(n)))[0] - (MEAN + SPREAD * x)).abs().mean() for s, n in ((samplers.euler, 20), (samplers.heun, 10))]
    assert off[1] < off[0]


def test_ancestral_steps_end_on_a_picture_and_repeat_by_seed():
    x, sigmas = samplers.noise((4000,), seed=1), schedules.linear(60)
    runs = [last(samplers.ancestral(gaussian, x, sigmas, torch.Generator().manual_seed(9)))[0] for _ in range(2)]
    assert torch.equal(*runs) and runs[0].mean() == pytest.approx(MEAN, abs=.05)


def test_every_step_can_be_seen_and_left():
    steps = samplers.euler(gaussian, samplers.noise((4,), 0), schedules.linear(8))
    x, x0 = next(steps)
    assert x.shape == x0.shape == (4,)
    steps.close()


def test_noise_is_the_seeds():
    assert torch.equal(samplers.noise((2, 3), 5), samplers.noise((2, 3), 5))
    assert not torch.equal(samplers.noise((2, 3), 5), samplers.noise((2, 3), 6))


def test_guidance_of_one_is_the_positive_and_of_nought_the_negative():
    positive, negative = torch.tensor([2.]), torch.tensor([1.])
    assert guidance.guided(positive, negative, 1.) == 2 and guidance.guided(positive, negative, 0.) == 1
    assert guidance.guided(positive, negative, 3.) == 4


def test_guidance_moves_gaussian_samples_away_from_the_negative():
    both = lambda x, s: (gaussian(x, s), gaussian(x, s) - (1. + MEAN))
    x = samplers.noise((500,), 0)
    means = [last(samplers.euler(guidance.classifier_free(both, scale), x, schedules.linear(20)))[0].mean() for scale in (1., 2., 3.)]
    assert means[0] < means[1] < means[2]


def test_rescaling_restores_the_spread():
    positive, wild = torch.randn(1, 100), 5 * torch.randn(1, 100)
    assert guidance.rescaled(wild, positive, 1.).std() == pytest.approx(positive.std().item(), rel=1e-4)
    assert torch.equal(guidance.rescaled(wild, positive, 0.), wild)


def test_what_is_known_is_held():
    x0, known, mask = torch.zeros(1, 2, 3), torch.ones(1, 2, 3), torch.tensor([1., 0, 0])
    assert guidance.held(x0, known, mask)[..., 0].eq(1).all() and guidance.held(x0, known, mask)[..., 1:].eq(0).all()
    assert guidance.held(x0, None, None) is x0
