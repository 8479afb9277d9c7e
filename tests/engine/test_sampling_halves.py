"""A batch that is computed in two halves is the batch."""
import pytest
import torch

from engine.sampling.halves import in_halves


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_halves_are_put_together_in_order(two_threads, rows):
    x, seen = torch.randn(rows, 4), []
    found = in_halves(lambda of: seen.append((of, torch.get_num_threads())) or x[of] * 2, rows)
    assert torch.equal(found, x * 2) and len(seen) == min(rows, 2)
    assert {threads for _, threads in seen} == {2 if rows == 1 else 1} and torch.get_num_threads() == 2


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_gradients_are_as_unwanted_as_before(two_threads, mode):
    weight = torch.randn(4, 4, requires_grad=True)
    with mode():
        found = in_halves(lambda of: torch.randn(2, 4)[of] @ weight, 2)
    assert not found.requires_grad and found.is_inference() == (mode is torch.inference_mode)


def test_an_error_in_a_half_is_an_error(two_threads):
    with pytest.raises(ValueError, match="second"):
        in_halves(lambda of: (_ for _ in ()).throw(ValueError("second")) if of.start else torch.zeros(1), 2)
