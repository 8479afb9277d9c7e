"""A model's own frame rate: how many frames are made, which are shown as they are, and what lies between."""
import numpy as np
import pytest
import torch

from engine import pace
from engine.errors import KeyframeError
from engine.protocol import Guide, Shot, Size


def shot(frames: int = 49, fps: float = 24.0, **fields) -> Shot:
    return Shot(id="take", family="wan", prompt="a car", seed=1, size=Size(64, 48), frames=frames, fps=fps, out="/take", **fields)


@pytest.mark.parametrize(("frames", "fps", "native", "made"), [
    (49, 24, 16, 33), (97, 24, 16, 65), (121, 23.976, 16, 82), (2, 60, 16, 2), (1, 24, 16, 1), (13, 12, 16, 17), (49, 24, 24, 49), (49, 25, 24, 49),
    (49, 23.976, 24, 49), (49, 24, 0, 49), (60, 30, 24, 49)])
def test_as_many_frames_are_made_as_the_time_holds(frames, fps, native, made):
    found = pace.Pace(shot(frames, fps), native)
    assert found.made == made and found.positions[0] == 0 and found.positions[-1] == made - 1
    due = [one for at in range(found.made) for one in found.due(at)]
    assert [index for index, _ in due] == list(range(frames)), "each frame of the shot is shown once, in order"
    assert all(0 < part <= 1 for _, part in due) and due[0][1] == due[-1][1] == 1
    assert found.own or all(part == 1 for _, part in due)


def test_two_frames_in_three_are_made_and_every_third_is_shown_as_it_is():
    found = pace.Pace(shot(), 16)
    shown = [index for at in range(found.made) for index, part in found.due(at) if part == 1]
    assert shown == list(range(0, 49, 3)) and found.fps == 16 and "33 frames were made for the shot's 49" in found.notes()[0]


def test_what_the_scene_moves_is_made_frame_by_frame():
    guided, begun = shot(guides=(Guide(kind="depth", path="/"),)), shot(source=Guide(kind="beauty", path="/"))
    for one in (guided, begun):
        found = pace.Pace(one, 16)
        assert found.made == 49 and found.fps == 24 and found.notes() == ()
    assert pace.Pace(shot(guides=(Guide(kind="camera", path="/"),)), 16).made == 33, "matrices accompany every shot"


def test_keyframes_keep_their_time():
    found = pace.Pace(shot(), 16)
    assert found.stills({0: "a", 24: "b", 48: "c"}) == {0: "a", 16: "b", 32: "c"}
    with pytest.raises(KeyframeError, match="16 frames a second") as refused:
        pace.Pace(shot(fps=48), 16).stills({9: "a", 10: "b"})
    assert refused.value.remedy.value == "stills_at 11"            # the later one, by its scene frame


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_what_lies_between_is_moved_rather_than_mixed(part):
    ground = np.random.default_rng(0).random((16, 16)).repeat(6, 0).repeat(6, 1)

    def at(x: int) -> torch.Tensor:
        image = np.stack([ground * 0.4] * 3, -1).astype(np.float32)
        image[30:62, x:x + 32] = ground[:32, :32, None] * 0.5 + 0.5
        return torch.from_numpy(image).permute(2, 0, 1)[None]
    before, after, true = at(20), at(28), at(20 + round(8 * part))
    made, mixed = pace.between(before, after, part), (1 - part) * before + part * after
    assert made.shape == before.shape and (made - true).abs().mean() < 0.5 * (mixed - true).abs().mean()


def test_what_moves_has_come_from_where_it_goes_away_from():
    """A square that moves 2 pixels to the right a frame was 4 further left two frames ago."""
    drawn = np.random.default_rng(0).random((24, 24, 3), np.float32).repeat(2, 0).repeat(2, 1)

    def at(left):
        image = np.full((96, 96, 3), 0.2, np.float32)
        image[24:72, left:left + 48] = drawn
        return image
    off = lambda part, left: float(np.abs(pace.beyond(at(24), at(26), part) - at(left))[28:68, 32:60].mean())
    assert off(-2, 20) < 0.02 < 0.1 < off(0, 20) and off(2, 28) < 0.02
