"""Frame and size grids against the definition, by trying every number."""
import pytest
from sora.engine.errors import ShotError
from sora.engine.protocol import FrameGrid, Size, SizeGrid


@pytest.mark.parametrize(("stride", "offset"), [(4, 1), (1, 1), (8, 1), (4, 0), (6, 5)])
def test_frames_round_to_the_nearest_on_either_side(stride, offset):
    grid, on_it = FrameGrid(stride, offset), [offset + stride * k for k in range(200)]
    for frames in range(offset, 150):
        assert grid.ceil(frames) == min(length for length in on_it if length >= frames)
        assert grid.floor(frames) == max(length for length in on_it if length <= frames)


def test_fewer_frames_than_the_shortest_become_the_shortest():
    assert FrameGrid().ceil(0) == FrameGrid().floor(-9) == 1


def test_sizes_snap_to_the_nearest_within_the_limits():
    grid = SizeGrid(multiple=8, shortest=64, longest=4096)
    for side in range(1, 4200, 7):
        nearest = grid.nearest(Size(side, 480)).width
        assert nearest % 8 == 0 and 64 <= nearest <= 4096
        assert abs(nearest - side) == min(abs(other - side) for other in range(64, 4097, 8))
    assert grid.nearest(Size(832, 480)) == Size(832, 480)


def test_limits_off_the_multiple_are_kept_within():
    assert SizeGrid(multiple=16, shortest=100, longest=1000).nearest(Size(1, 9999)) == Size(112, 992)


@pytest.mark.parametrize(("text", "size"), [("832x480", Size(832, 480)), (" 64 × 64 ", Size(64, 64)), ("7X9", Size(7, 9))])
def test_sizes_are_read_as_people_write_them(text, size):
    assert Size.parse(text) == size and Size.parse(str(size)) == size


@pytest.mark.parametrize("text", ["", "832", "832x", "x480", "8.5x9", "-8x9", "1x2x3", "big"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ShotError, match="832x480"):
        Size.parse(text)
