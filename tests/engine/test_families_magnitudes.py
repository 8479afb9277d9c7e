"""Drafts by magnitudes: learned once from a small clip and kept beside the weights, skipped as diffusers skips, and undone without a trace."""
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine import check, families, rehearsal, shoot
from engine.errors import Cut, ShotError
from engine.protocol import DRAFTS, FIRST_BLOCK, MAGNITUDE, Guide, Lora, Size
from engine.sampling.draft import Draft, Learning, Magnitudes, Measured, Steady
from tests.engine import tiny_families
from tests.engine.open_stage import Stage, differing, staged

STEPS, DRAFT = 10, {"draft": True, "draft_by": MAGNITUDE, "steps": 10}
EVEN = [1.0] * STEPS            # nothing ever changes: three of four steps are skipped, after the first fifth


class Own(Stage):
    """With checkpoints of its own, because something is written beside them."""

    def model(self, name: str) -> Path:
        place = self.folder / "models" / name
        if not place.exists():
            shutil.copytree(super().model(name), place, ignore=shutil.ignore_patterns(rehearsal.FILE))
        return place

    def learned(self, name: str, **found: list[float]) -> Path:
        """As if it had been learned before, for STEPS."""
        path = self.model(name) / rehearsal.FILE
        path.write_text(json.dumps({f"{STEPS} steps": found}))
        return path


@pytest.fixture
def stage(tmp_path, checkpoints):
    with staged(tmp_path, checkpoints, Own) as made:
        yield made


def given(stage, family: str) -> dict:
    return {"vace": {"guides": (stage.guide("depth"), stage.guide("edges"))}, "cogvideox": {"guides": (stage.guide("depth"),)},
            "sana_wm": {"guides": (stage.camera(0.1),), "keyframes": (stage.keyframe(0),)}}.get(family, {})


# ---------------------------------------------------------------- what is skipped
def skipped_by_diffusers(ratios: list[float], threshold: float) -> list[bool]:
    """Asked of a transformer whose input does not matter."""
    from diffusers import MagCacheConfig
    from engine.diffusers_line.drafts import _states
    part, found = tiny_families._wan(), []
    part.enable_cache(MagCacheConfig(threshold=threshold, num_inference_steps=len(ratios), mag_ratios=ratios))
    part.register_forward_hook(lambda *_: found.append(not _states(part).get_state().should_compute))
    with torch.inference_mode():
        for _ in ratios:
            with part.cache_context("text"):
                part(torch.zeros(1, 16, 1, 2, 2), torch.tensor([1]), torch.zeros(1, 1, 32))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_steps_are_skipped_as_diffusers_skips_them(seed):
    dice = np.random.default_rng(seed)
    ratios, threshold = [1.0, *(1 + dice.normal(0, 0.03, 24)).tolist()], (0.02, 0.06, 0.12, 1e9)[seed]
    draft = Steady(threshold, ratios={"transformer": ratios})
    memory, found = draft.memory(3), []
    for step in range(25):
        before = draft.skipped
        memory.through(torch.ones(1), lambda x: x + 1, lambda x: x + step)
        found.append(draft.skipped > before)
    assert found == skipped_by_diffusers(ratios, threshold) and True in found and False in found[6:]
    assert draft.evaluations == 25 * 3 and draft.skipped == 3 * sum(found)


def test_a_skipped_step_changes_its_input_as_the_last_whole_one_did():
    memory = Magnitudes(Steady(0.1), 2, [[1.0] * 5])
    made = [float(memory.through(torch.tensor([float(step)]), lambda x: x + 1, lambda x: x + 10 * step)) for step in range(5)]
    assert made == [0 + 1, 1 + 1, 2 + 1, 3 + 1, 4 + 1 + 40], "three in a row at most"


def test_what_is_measured_is_how_much_longer_each_tokens_change_became():
    learning = Learning()
    for text in (1.0, 3.0):
        memory = learning.memory(2)
        for scale in (1.0, 0.5, 1.0):
            memory.through(torch.ones(1, 2, 3), lambda x: x, lambda x: x + scale * text)
    assert learning.ratios()["transformer"] == pytest.approx([1.0, 0.5, 2.0], rel=1e-5)
    assert isinstance(memory, Measured) and len(learning.found["transformer"]) == 2


# ---------------------------------------------------------------- several streams
def test_of_two_streams_the_one_that_strays_decides():
    """Pictures and sound go through LTX-2's blocks side by side; neither may be left behind."""
    for restless in (0, 1):
        ratios = [[1.0] * 10, [1.0] * 10]
        ratios[restless] = [2.0] * 10
        draft = Steady(0.06, ratios=dict(zip(("transformer", "sound"), ratios)))
        memory = draft.memory(2)
        for _ in range(10):
            memory.through((torch.ones(1, 3, 2), torch.ones(1, 1, 4)), lambda x: x, lambda x: (x[0] + 1, x[1] + 2))
        assert draft.skipped == 0 < draft.evaluations
    draft, changes = Draft(0.1), iter([1.0, 1.0, 5.0, 5.0])
    memory = draft.memory(2)
    for _ in range(4):
        sound = next(changes)
        picture, heard = memory.through((torch.ones(1, 3, 2), torch.ones(1, 1, 4)), lambda x, by=sound: (x[0] + 1, x[1] + by),
                                        lambda x: (x[0] + 3, x[1] + 7))
        assert float(picture.mean()) == 1 + 1 + 3 and float(heard.mean()) == 1 + sound + 7
    assert draft.skipped == 2, "the second and the fourth: in the third only the sound's first block said something else"


def test_each_stream_is_learned_for_itself():
    learning = Learning()
    memory = learning.memory(2)
    for scale in (1.0, 2.0, 1.0):
        memory.through((torch.ones(1, 2, 3), torch.ones(1, 1, 2)), lambda x: x, lambda x: (x[0] + scale, x[1] + scale * scale))
    assert learning.ratios() == {"transformer": pytest.approx([1.0, 2.0, 0.5]), "sound": pytest.approx([1.0, 4.0, 0.25])}


# ---------------------------------------------------------------- shots
@pytest.mark.parametrize(("family", "model"), [("wan", "wan_text"), ("wan", "wan_experts"), ("vace", "vace"), ("skyreels", "skyreels"),
                                               ("cogvideox", "cogvideox"), ("ltx2", "ltx2"), ("sana_wm", "sana_wm")])
def test_a_model_learns_once_and_is_drafted_alike_ever_after(stage, family, model):
    said, shot = [], {**given(stage, family), **DRAFT}
    full = stage.latent(family, model, **{**shot, "draft": False})
    first = stage.roll(family, model, say=said.append, **shot)
    assert any("learned first, in 10 steps" in note for note in first.notes) and first.evaluations > 0
    assert {one.step for one in said if one.stage == rehearsal.STAGE} == set(range(1, STEPS + 1))
    known = rehearsal.kept(stage.model(model))[f"{STEPS} steps"]
    assert sum(map(len, known.values())) == STEPS * (2 if family == "ltx2" else 1) and all(ratio > 0 for ratios in known.values() for ratio in ratios)
    assert all(ratios[0] == 1.0 for ratios in known.values()) and any(abs(ratio - 1) > 1e-4 for ratios in known.values() for ratio in ratios)
    said.clear()
    draft = stage.latent(family, model, **shot)
    again = stage.roll(family, model, say=said.append, **shot)
    assert not any(one.stage == rehearsal.STAGE for one in said) and not any("learned first" in note for note in again.notes)
    assert (first.skipped, first.evaluations) == (again.skipped, again.evaluations)
    assert differing(draft, stage.latent(family, model, **shot)) == []
    assert differing(full, stage.latent(family, model, **{**shot, "draft": False})) == [], "no trace is left"


@pytest.mark.parametrize(("family", "model", "found", "share"), [
    ("wan", "wan_text", {"transformer": EVEN}, 6 / 10), ("skyreels", "skyreels", {"transformer": EVEN}, 6 / 10),
    ("vace", "vace", {"transformer": EVEN}, 6 / 10), ("cogvideox", "cogvideox", {"transformer": EVEN}, 6 / 10),
    ("ltx2", "ltx2", {"transformer": EVEN, "sound": EVEN}, 6 / 10), ("sana_wm", "sana_wm", {"transformer": EVEN}, 6 / 10),
    ("wan", "wan_experts", {"transformer": EVEN[:8], "transformer_2": EVEN[:2]}, None)])
def test_what_was_learned_says_which_steps_are_skipped(stage, family, model, found, share):
    shot = {**given(stage, family), **DRAFT}
    stage.learned(model, **found)
    take = stage.roll(family, model, **shot)
    assert take.skipped > 0 and (share is None or take.skipped / take.evaluations == pytest.approx(share))
    full, draft = stage.latent(family, model, **{**shot, "draft": False}), stage.latent(family, model, **shot)
    assert differing(full, draft)
    stage.learned(model, **{name: [10.0] * len(ratios) for name, ratios in found.items()})
    nothing = stage.roll(family, model, **shot)
    assert nothing.skipped == 0 < nothing.evaluations
    assert np.allclose(full, stage.latent(family, model, **shot), atol=1e-4), "the same arithmetic"


def test_a_draft_that_keeps_part_of_a_clip_begins_in_the_middle_of_what_was_learned(stage):
    """Of ten steps the last five are made; the five before count for nothing."""
    source = Guide(kind="beauty", path=stage.guide("beauty", 3).path, strength=0.5)
    stage.learned("wan_text", transformer=[10.0] * 5 + [1.0] * 5)
    take = stage.roll("wan", "wan_text", source=source, **DRAFT)
    assert take.skipped / take.evaluations == pytest.approx(3 / 5)


@pytest.mark.parametrize("by", DRAFTS)
def test_a_draft_begins_each_stretch_of_a_long_clip_anew(stage, by):
    """SkyReels goes from stretch to stretch by itself; the second one is shorter, so that nothing of the first can be gone on from."""
    stage.learned("skyreels", transformer=EVEN)
    take = stage.roll("skyreels", "skyreels", size=Size(32, 32), **{**DRAFT, "draft_by": by, "frames": 121})
    whole, left = divmod(take.evaluations, 2 * 2 * STEPS)        # both texts, two blocks
    assert (whole, left) == (2, 0) and 0 < take.skipped < take.evaluations
    assert by == FIRST_BLOCK or take.skipped / take.evaluations == pytest.approx(6 / 10)


def test_other_steps_are_learned_for_themselves(stage):
    stage.learned("wan_text", transformer=EVEN)
    stage.roll("wan", "wan_text", **{**DRAFT, "steps": 4})
    assert set(rehearsal.kept(stage.model("wan_text"))) == {"10 steps", "4 steps"}
    assert rehearsal.kept(stage.model("wan_text"))["10 steps"]["transformer"] == EVEN


def test_loras_are_off_while_it_is_learned_and_on_for_the_shot(stage):
    dice = torch.Generator().manual_seed(5)
    save_file({f"transformer.blocks.{block}.attn1.to_q.lora_{half}.weight": torch.randn(shape, generator=dice)
               for block in range(2) for half, shape in (("A", (2, 24)), ("B", (24, 2)))}, stage.folder / "worn.safetensors")
    worn = {**DRAFT, "steps": 4, "loras": (Lora(name=str(stage.folder / "worn.safetensors")),)}
    dressed = stage.latent("wan", "wan_text", **worn)
    known = rehearsal.kept(stage.model("wan_text"))
    assert differing(dressed, stage.latent("wan", "wan_text", **worn)) == []
    bare = stage.latent("wan", "wan_text", **{**worn, "loras": ()})
    assert differing(dressed, bare)
    (stage.model("wan_text") / rehearsal.FILE).unlink()
    stage.latent("wan", "wan_text", **{**worn, "loras": ()})
    assert rehearsal.kept(stage.model("wan_text")) == known


# ---------------------------------------------------------------- what goes wrong
@pytest.mark.parametrize("content", ['{"10 steps": [1]}', "[", "[]"])
def test_a_damaged_file_is_learned_anew(stage, content):
    path = stage.learned("wan_text")
    path.write_text(content)
    stage.roll("wan", "wan_text", **{**DRAFT, "steps": 2})
    assert list(json.loads(path.read_text())) == ["2 steps"]


def test_what_cannot_be_kept_costs_no_shot(stage):
    (stage.model("wan_text") / rehearsal.FILE).mkdir()
    for _ in range(2):
        take = stage.roll("wan", "wan_text", **{**DRAFT, "steps": 2})
        assert take.files.count == 9 and any("learned first" in note for note in take.notes)


def test_a_cut_while_it_learns_keeps_nothing(stage):
    cut, shot = threading.Event(), stage.shot("wan", "wan_text", **DRAFT)

    def say(progress) -> None:
        if progress.stage == rehearsal.STAGE and progress.step == 2:
            cut.set()
    with pytest.raises(Cut):
        shoot.roll(shot, say, cut, stage.studio)
    assert not (stage.model("wan_text") / rehearsal.FILE).exists()
    full = {"steps": 2}
    assert differing(stage.latent("wan", "wan_text", **full), Own(stage.folder / "fresh", stage.checkpoints).latent("wan", "wan_text", **full)) == []


def test_ways_that_are_not_known_are_refused(stage):
    shot = stage.shot("wan", "wan_text", **{**DRAFT, "draft_by": "magic"})
    with pytest.raises(ShotError, match="no drafts by") as refused:
        shoot.roll(shot, lambda progress: None, threading.Event(), stage.studio)
    assert refused.value.remedy.value == "draft"
    with pytest.raises(ShotError, match="no drafts by"):
        check._grid(replace(shot, draft_by=MAGNITUDE), replace(families.family("wan").SPEC, magnitudes=0.0))
