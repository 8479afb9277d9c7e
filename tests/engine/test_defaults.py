"""Steps and guidance that a shot does not say are its model's own, as documented: in the take, in what is rehearsed, in the estimate."""
import dataclasses
import shutil
import threading
from pathlib import Path

import pytest

from engine import device, estimate, families, presets, rehearsal, rehearse, shoot
from engine.errors import ModelError
from engine.models import store
from engine.protocol import Size
from tests.engine.open_stage import staged

NAMED = {"wan_text": ("wan", "wan2.1-t2v-1.3b"), "wan_grown": ("wan", "wan2.2-ti2v-5b"), "wan_experts": ("wan", "wan2.2-t2v-a14b")}


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    """Tiny weights under the catalogue's names."""
    models = tmp_path_factory.mktemp("models")
    with staged(tmp_path_factory.mktemp("defaults"), checkpoints, models=models) as made:
        for tiny, (family, name) in NAMED.items():
            place = Path(shutil.copytree(made.model(tiny), models / name, ignore=shutil.ignore_patterns(rehearsal.FILE)))
            files = {path.relative_to(place).as_posix(): store.digest(path) for path in place.rglob("*") if path.is_file()}
            store.Store(models).record(store.Installed(name=name, family=family, kind="diffusers", label=name, licence="Apache-2.0", files=files, folder=place))
        yield made


def unsaid(stage, family: str, model: str, **fields):
    """A shot without steps and guidance."""
    return dataclasses.replace(stage.shot(family, "wan_text"), family=family, model=model, **{"steps": 0, **fields})


@pytest.mark.parametrize(("family", "model", "expected"), [
    ("wan", "wan2.1-t2v-1.3b", (50, 6.0, -1.0)), ("wan", "wan2.1-i2v-14b-480p", (40, 5.0, -1.0)), ("wan", "wan2.2-ti2v-5b", (50, 5.0, -1.0)),
    ("wan", "wan2.2-t2v-a14b", (40, 4.0, 3.0)), ("wan", "wan2.2-i2v-a14b", (40, 3.5, -1.0)), ("wan", "mine", (40, 5.0, -1.0)),
    ("wan", "", (50, 6.0, -1.0)), ("ltx2", "ltx-2", (40, 3.0, -1.0)), ("ltx2", "ltx-2.3-distilled", (8, 1.0, -1.0)), ("vace", "", (50, 5.0, -1.0))])
def test_what_is_not_said_is_the_models_own(stage, family, model, expected):
    found = presets.applied(unsaid(stage, family, model))
    assert (found.steps, found.guidance, found.guidance_low) == expected and presets.applied(found) == found


def test_what_is_said_stays(stage):
    alike = presets.applied(unsaid(stage, "wan", "wan2.2-t2v-a14b", guidance=7.0))
    assert (alike.steps, alike.guidance, alike.guidance_low) == (40, 7.0, -1.0), "one guidance that is asked for is for both experts"
    low = presets.applied(unsaid(stage, "wan", "wan2.2-t2v-a14b", steps=9, guidance_low=2.0))
    assert (low.steps, low.guidance, low.guidance_low) == (9, 4.0, 2.0)
    few = presets.applied(unsaid(stage, "wan", "wan2.2-t2v-a14b", preset="4-steps-t2v-a14b"))
    assert (few.steps, few.guidance, few.guidance_low) == (4, 1.0, -1.0)
    kept = unsaid(stage, "wan", "wan2.2-t2v-a14b", latents="/a/take")
    assert presets.applied(kept) == kept, "nothing is sampled"


def test_a_family_without_a_model_here_says_so(stage):
    with pytest.raises(ModelError, match="ltx2") as refused:
        presets.applied(unsaid(stage, "ltx2", ""))
    assert refused.value.remedy


def test_a_take_records_them_and_shoots_by_them(stage):
    take = shoot.roll(unsaid(stage, "wan", "wan2.2-t2v-a14b", steps=2), lambda progress: None, threading.Event(), stage.studio)
    assert (take.shot.guidance, take.shot.guidance_low) == (4.0, 3.0) and "Guidance 4 for much noise, 3 for little" in take.notes


def test_a_rehearsal_is_of_them(stage):
    asked = rehearse.asked("wan", "wan2.2-t2v-a14b", 0, -1.0, "")
    model, learning = stage.studio.model(asked), object()
    window = rehearsal._window(asked, model, learning)
    assert rehearsal.key(asked) == "40 steps" and (window.steps, window.guidance, window.guidance_low) == (40, 4.0, 3.0)
    assert rehearsal.key(rehearse.asked("ltx2", "ltx-2.3-distilled", 0, -1.0, "")) == "8 steps, no guidance"


def test_the_estimate_counts_a_models_own_rate(stage):
    """Three seconds are 72 frames of TI2V-5B, where another Wan makes 48."""
    place = dataclasses.replace(device.processor(), name="cuda", memory=2**40, free=2**40)
    needed = {}
    for name in ("wan2.1-t2v-1.3b", "wan2.2-ti2v-5b"):
        shot = unsaid(stage, "wan", name, frames=73, fps=24.0, size=Size(64, 64))
        folder = families.weights("wan", name)
        told = dataclasses.replace(shot, fps=families.family("wan").rate(folder))       # of a shot at the model's rate all frames are made
        needed[name] = [estimate.need(one, folder, place).sampling for one in (shot, told)]
    assert needed["wan2.2-ti2v-5b"][0] == needed["wan2.2-ti2v-5b"][1] and needed["wan2.1-t2v-1.3b"][0] < needed["wan2.1-t2v-1.3b"][1]
