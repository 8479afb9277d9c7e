"""Every open family over the wire: one engine process makes a take of each, one after the other, and cuts each one's sampling."""
import wave
from pathlib import Path

import pytest

from engine import families, presets
from engine.protocol import Cancel, Cancelled, Done, Progress, Shoot, read_take
from tests.engine.conftest import Engine
from tests.engine.open_stage import FRAMES, SIZE, pixels, staged
from tests.engine.test_families_open import KINDS, asked


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("wire"), checkpoints) as made:
        yield made


@pytest.fixture(scope="module")
def engine(stage):
    """One process for all of them, as in an artist's day: each family's model makes room for the next."""
    one = Engine(SORA_CACHE="")
    yield one
    one.child.kill()
    one.child.wait()
    one.child.stdin.close()
    one.child.stdout.close()


@pytest.mark.parametrize(("family", "model"), KINDS)
def test_a_shot_becomes_a_take_and_the_next_is_cut(stage, engine, family, model):
    shot = stage.shot(family, model, **asked(stage, model))
    engine.say(Shoot(shot=shot))
    *said, ended = engine.until(lambda event: isinstance(event, (Done, Cancelled)) or hasattr(event, "code"))
    assert isinstance(ended, Done), ended
    told = [event.stage for event in said if isinstance(event, Progress) and event.shot == shot.id]
    assert [stage for stage in dict.fromkeys(told) if stage in ("load", "text", "denoise", "decode", "write")] == ["load", "text", "denoise", "decode", "write"]
    take = read_take(shot.out)
    assert take.shot == presets.applied(shot) and take.plan and pixels(take).shape == (FRAMES, SIZE.height, SIZE.width, 3)
    _assert_it_sounds(take, families.family(family).SPEC.audio)
    long = stage.shot(family, model, **asked(stage, model, steps=200))
    engine.say(Shoot(shot=long))
    assert engine.until(lambda event: isinstance(event, Progress) and event.stage == "denoise" and event.step)
    engine.say(Cancel(shot=long.id))
    ended = engine.ending(long.id)
    assert isinstance(ended, Cancelled) and ended.printed == 0


def _assert_it_sounds(take, audio: bool) -> None:
    """A family that makes sound has made as much of it as there are frames; the others none."""
    assert bool(take.sound) == audio
    if audio:
        with wave.open(str(Path(take.shot.out, take.sound))) as file:
            assert file.getnframes() == round(FRAMES / take.shot.fps * file.getframerate())
