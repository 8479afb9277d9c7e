"""Kernels of attention: chosen by what was measured, kept, said in the take, overridden, and on a processor never another one unasked."""
import json

import pytest
import torch

from engine import device, doctor
from engine.device import Device
from engine.diffusers_line import attention
from engine.diffusers_line.attention import Choice, Shape
from engine.errors import ModelError
from tests.engine.open_stage import differing, staged

CARD, SHAPE = Device("cuda", "a card", "bfloat16", 2**40, 2**40), Shape(5000, 12, 128, "bfloat16")


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("attention"), checkpoints) as made:
        yield made


def test_another_kernel_has_to_be_clearly_faster():
    assert attention.fastest({"native": 1.0, "flash": 0.99, "_native_cudnn": 1.2}) == "native"
    assert attention.fastest({"native": 1.0, "flash": 0.7, "_native_cudnn": 0.6}) == "_native_cudnn"
    assert attention.fastest({"flash": 0.5}) == "flash" and attention.fastest({}) == "native"


def test_a_shape_is_measured_once_for_its_kind(tmp_path):
    asked = []

    def measure(place, shape):
        asked.append(shape)
        return {"native": 2.0, "_native_cudnn": 1.0}
    found = [attention.choose(CARD, shape, tmp_path, measure) for shape in (SHAPE, Shape(8000, 12, 128, "bfloat16"), Shape(9000, 12, 128, "bfloat16"), SHAPE)]
    assert [one.name for one in found] == ["_native_cudnn"] * 4 and [shape.tokens for shape in asked] == [5000, 9000]
    assert found[0].note() == "Attention by native_cudnn, 2.0 times as fast as PyTorch's choice"
    other = Device("cuda", "another card", "bfloat16", 2**40, 2**40)
    assert attention.choose(other, SHAPE, tmp_path, lambda *_: {"native": 1.0}).note() == ""
    keys = list(json.loads((tmp_path / attention.FILE).read_text()))
    assert len(keys) == 3 and all(torch.__version__.partition("+")[0] in key for key in keys), "another torch is measured anew"


def test_a_damaged_file_is_measured_anew_and_a_folder_that_cannot_be_made_costs_no_shot(tmp_path):
    (tmp_path / attention.FILE).write_text('{"a": [1]}')
    assert attention.choose(CARD, SHAPE, tmp_path, lambda *_: {"native": 1.0, "flash": 0.1}).name == "flash"
    (tmp_path / "file").write_text("")
    assert attention.choose(CARD, SHAPE, tmp_path / "file" / "below", lambda *_: {"native": 1.0, "flash": 0.1}).name == "flash"


def test_what_is_written_there_by_others_is_not_run(tmp_path):
    key = f"a card, {attention._versions()}, {SHAPE.kind()}"
    (tmp_path / attention.FILE).write_text(json.dumps({key: {"native": 1.0, "sage_hub": 0.001, "sage": 0.01}}))
    assert attention.choose(CARD, SHAPE, tmp_path).name == "native"


def test_kernels_are_really_measured_and_those_that_do_not_work_left_out():
    seconds = attention.measured(device.chosen(), Shape(64, 2, 16, "float32"), (*attention.EXACT, "_native_math"))
    assert {"native", "_native_math"} <= set(seconds) and "flash" not in seconds and "_native_cudnn" not in seconds and min(seconds.values()) > 0


def test_on_a_processor_nothing_is_chosen(stage, tmp_path, monkeypatch):
    assert attention.choose(device.chosen(), SHAPE, tmp_path) == Choice("native", {}) and not list(tmp_path.iterdir())
    take = stage.roll("wan", "wan_text")
    assert not [note for note in take.notes if "Attention" in note]


@pytest.mark.parametrize("family", ["wan", "vace", "ltx2", "skyreels"])
def test_a_kernel_that_is_asked_for_is_used_said_and_taken_back(stage, monkeypatch, family):
    shot = {"family": family, "model": {"wan": "wan_text"}.get(family, family), **({"guides": (stage.guide("depth"),)} if family == "vace" else {})}
    before = stage.latent(**shot)
    monkeypatch.setenv(attention.CHOICE, "_native_math")
    take, after = stage.roll(**shot), stage.latent(**shot)
    used = {name.split(".")[-1]: module.processor._attention_backend for name, module in stage.studio._loaded[1].parts["transformer"].named_modules()
            if hasattr(getattr(module, "processor", None), "_attention_backend")}
    masked = {"attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn"} if family == "ltx2" else set()
    assert {name for name, one in used.items() if one and one.value == "_native_math"} == set(used) - masked and used["attn1"]
    assert "Attention by native_math, as SORA_ATTENTION asks" in take.notes
    assert torch.allclose(torch.from_numpy(before), torch.from_numpy(after), atol=1e-3)
    monkeypatch.delenv(attention.CHOICE)
    assert differing(before, stage.latent(**shot)) == []


def test_a_family_without_a_choice_of_kernels_says_so(stage, monkeypatch):
    shot = {"family": "cogvideox", "model": "cogvideox", "guides": (stage.guide("depth"),)}
    monkeypatch.setenv(attention.CHOICE, "_native_math")
    assert any("no choice of kernels" in note for note in stage.roll(**shot).notes)
    monkeypatch.delenv(attention.CHOICE)
    assert not any("ttention" in note for note in stage.roll(**shot).notes)


@pytest.mark.parametrize(("name", "said"), [("sage_hub", "fetch code"), ("magic", "there are"), ("sage", "not possible here"), ("flash", "not possible here")])
def test_kernels_that_are_not_here_or_not_trusted_are_refused(stage, monkeypatch, name, said):
    monkeypatch.setenv(attention.CHOICE, name)
    for family, model in (("ltx2", "ltx2"), ("wan", "wan_text")):
        with pytest.raises(ModelError, match=said):
            stage.roll(family, model)
    monkeypatch.delenv(attention.CHOICE)
    assert stage.roll("wan", "wan_text").files.count == 9


def test_the_doctor_tells(monkeypatch, tmp_path):
    monkeypatch.setenv("SORA_CACHE", str(tmp_path))
    found, = [one for one in doctor.findings() if one.what == "Attention"]
    assert found.well and "PyTorch's own" in found.found
    attention.choose(CARD, SHAPE, tmp_path / "kernels", lambda *_: {"native": 1.0, "flash": 0.1})
    assert "flash for 8192x12x128 bfloat16" in next(doctor._attention()).found
    monkeypatch.setenv(attention.CHOICE, "magic")
    assert not next(doctor._attention()).well
