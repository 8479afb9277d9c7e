"""Encoding what a model is shown, guides, stills and clips, is a stage of its own: it is said, counts as no step, and can be cut."""
import threading

import pytest

from engine.errors import Cut
from engine.protocol import Guide
from tests.engine.open_stage import FRAMES, Stage, differing, staged


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("encode"), checkpoints) as made:
        yield made


def shown(stage: Stage, family: str, seed: int) -> dict:
    """Something that the family encodes, new for each seed."""
    return {"vace": {"guides": (stage.guide("depth", seed), stage.guide("edges", seed + 1))},
            "wan": {"source": Guide(kind="beauty", path=stage.guide("beauty", seed).path, strength=0.5)},
            "cogvideox": {"guides": (stage.guide("depth", seed),)}, "skyreels": {"keyframes": (stage.keyframe(0, seed),)},
            "ltx2": {"keyframes": (stage.keyframe(0, seed), stage.keyframe(FRAMES - 1, seed + 1))},
            "sana_wm": {"keyframes": (stage.keyframe(0, seed),), "guides": (stage.camera(0.1),)}}[family] | {"steps": 2}


@pytest.mark.parametrize("family", ["vace", "wan", "cogvideox", "skyreels", "ltx2", "sana_wm"])
def test_encoding_is_said_once_for_all_seeds_and_a_cut_stops_it(stage, family):
    model, said = {"wan": "wan_text"}.get(family, family), []
    whole = stage.roll(family, model, say=said.append, **shown(stage, family, 11))
    told = [(one.stage, one.step) for one in said]
    first = told.index(("denoise", 1))
    assert ("encode", 0) in told[:first] and told[first - 1] == ("denoise", 0), "the bar is the step's own again once that is done"
    assert not [stage for stage, _ in told[first:] if stage == "encode"] and whole.seconds["guides"] > 0
    said.clear()
    stage.roll(family, model, say=said.append, **{**shown(stage, family, 11), "seed": 9})
    assert "encode" not in [one.stage for one in said]
    _cut_while_encoding(stage, family, model)


def _cut_while_encoding(stage: Stage, family: str, model: str) -> None:
    """Another picture: the shot ends before anything else is encoded and before the first step; afterwards it comes out whole."""
    cut, said = threading.Event(), []

    def say(progress) -> None:
        said.append(progress)
        if progress.stage == "encode":
            cut.set()
    with pytest.raises(Cut):
        stage.roll(family, model, say=say, cut=cut, **shown(stage, family, 21))
    encodes, steps = (sum(one.stage == "encode" for one in said), [one.step for one in said if one.stage == "denoise" and one.step])
    assert encodes == 1 and not steps
    again, other = (stage.latent(family, model, **shown(stage, family, seed)) for seed in (21, 11))
    assert differing(again, other)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pipeline")]
