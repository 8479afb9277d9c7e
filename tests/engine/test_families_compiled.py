"""Compiled blocks: the same numbers within rounding, undone without a trace, and one sentence where they cannot be."""
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import check, device, families
from engine.diffusers_line.compiled import FOLDER, Compiled
from engine.errors import ShotError
from engine.protocol import Size
from tests.engine import tiny_families
from tests.engine.open_stage import Stage, differing


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own; what torch remembers of compiling is forgotten afterwards."""
    monkeypatch.setenv("SORA_CACHE", str(tmp_path))
    monkeypatch.setenv(FOLDER, str(tmp_path / "compiled"))
    yield tmp_path / "compiled"
    torch.compiler.reset()


def part():
    """One block, and a pass through it."""
    torch.manual_seed(0)
    made = tiny_families._wan(num_layers=1)
    given = torch.randn(1, 16, 2, 4, 4), torch.tensor([500]), torch.randn(1, 3, 32)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return made(*given, return_dict=False)[0]
    return made, run


def bare(made) -> bool:
    return not any(module._compiled_call_impl for module in made.modules())


def test_without_a_compiler_it_goes_on_and_says_so(cache):
    from torch._inductor import config
    made, run = part()
    plain, compiled = run(), Compiled([made])
    with config.patch({"cpp.cxx": ("/nowhere/c++",)}):
        compiled.ask(True, "full", False)
        assert compiled.on and not bare(made)
        assert torch.equal(run(), plain)
    assert compiled.note().startswith("Not compiled: ") and "\n" not in compiled.note() and bare(made)
    assert not cache.exists(), "half of what it made is not kept"
    compiled.ask(True, "full", False)
    assert not compiled.on and compiled.note().startswith("Not compiled: "), "it is not tried with every window"
    compiled.ask(False, "full", False)
    assert compiled.note() == ""


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler here")
def test_compiled_blocks_give_the_same_within_rounding(cache):
    made, run = part()
    plain, compiled = run(), Compiled([made])
    compiled.ask(True, "int8", False)
    found = run()
    assert compiled.on and compiled.note().startswith("Compiled") and any(cache.rglob("*.so"))
    assert (found - plain).norm() < 1e-5 * plain.norm()
    compiled.ask(False, "int8", False)
    assert torch.equal(run(), plain) and bare(made)


def test_plans_and_drafts_that_go_into_the_blocks_keep_them_as_they_are():
    made = tiny_families._wan()
    compiled = Compiled([made])
    for plan, draft, said in (("blocks", False, "block by block"), ("fp8", False, "each layer"), ("full", True, "from block to block")):
        compiled.ask(True, plan, draft)
        assert not compiled.on and compiled.note().startswith("Not compiled: ") and said in compiled.note() and bare(made)
        compiled.ask(False, plan, draft)
        assert compiled.note() == ""


def test_a_take_says_why_it_was_not_compiled(tmp_path, checkpoints, monkeypatch):
    monkeypatch.setenv("SORA_CACHE", "")
    stage = Stage(tmp_path, checkpoints)
    take = stage.roll("wan", "wan_text", compiled=True, draft=True)
    assert "Not compiled: a draft decides from block to block" in take.notes and take.shot.compiled
    assert not [note for note in stage.roll("wan", "wan_text").notes if "ompiled" in note]
    shot = replace(stage.shot("wan", "wan_text", compiled=True), family="blockout", model="")
    with pytest.raises(ShotError) as refused:
        check.shot(shot)
    assert refused.value.remedy.value == "compiled" and refused.value.sentence.endswith(".")


PIPED = ("ltx2", "skyreels", "sana_wm", "cogvideox")


def given(stage: Stage, family: str) -> dict:
    """What the smallest shot of a family needs."""
    size = {"size": Size(32, 32)} if family == "ltx2" else {}
    return size | {"sana_wm": {"guides": (stage.camera(0.1),), "keyframes": (stage.keyframe(0),)},
                   "cogvideox": {"guides": (stage.guide("depth"),)}}.get(family, {})


def test_families_of_pipelines_go_on_where_nothing_can_be_compiled(tmp_path, checkpoints, cache, monkeypatch):
    """Their pipelines call the transformer themselves, in a thread of their own."""
    stage, family = Stage(tmp_path, checkpoints), "cogvideox"
    plain = stage.latent(family, family, **given(stage, family))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file" / "below"))         # what is compiled cannot be written
    take = stage.roll(family, family, compiled=True, **given(stage, family))
    said = [note for note in take.notes if note.startswith("Not compiled: ")]
    assert len(said) == 1 and bare(stage.studio._loaded[1].parts["transformer"])
    assert differing(plain, stage.latent(family, family, **given(stage, family))) == []


@pytest.mark.parametrize("family", PIPED)
def test_every_family_has_blocks_that_are_compiled_and_taken_back(checkpoints, tmp_path, cache, family):
    """Only marked here: compiling LTX-2's or SANA-WM's block takes a processor minutes."""
    loaded = families.family(family).load(Stage(tmp_path, checkpoints).model(family), device.chosen())
    compiled, transformer = loaded._tuning.compiled, loaded.parts["transformer"]
    compiled.ask(True, "full", False)
    marked = [type(module).__name__ for module in transformer.modules() if module._compiled_call_impl]
    assert compiled.on and len(marked) == 2 and len(set(marked)) == 1, "its two blocks"
    compiled.ask(False, "full", False)
    assert bare(transformer)


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler here")
@pytest.mark.parametrize("family", ["skyreels", "cogvideox"])
def test_families_of_pipelines_are_compiled_within_rounding(tmp_path, checkpoints, cache, family):
    stage = Stage(tmp_path, checkpoints)
    plain = stage.latent(family, family, **given(stage, family))
    made = stage.latent(family, family, compiled=True, **given(stage, family))
    tuning = stage.studio._loaded[1]._tuning
    assert tuning.compiled.on and tuning.remarks()[-1].startswith("Compiled") and any(cache.rglob("*.so"))
    assert not bare(stage.studio._loaded[1].parts["transformer"]) and np.linalg.norm(made - plain) < 1e-3 * np.linalg.norm(plain)
    assert differing(plain, stage.latent(family, family, **given(stage, family))) == []
