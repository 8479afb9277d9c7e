"""The catalogue: every fact has a source, and what has none is said to be unverified."""
import re

import pytest
from sora.engine.errors import GuideError, ModelError
from sora.engine.families import family, specs
from sora.engine.models import catalogue, recognise
from sora.engine.protocol import Guide, Shot, Size

ENTRIES = catalogue.entries()


def test_every_kind_of_model_is_in_it():
    assert {entry.family for entry in ENTRIES} == {"wan", "vace", "ltx2", "sana_wm", "skyreels", "cogvideox"}
    for name in ("wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "wan2.1-i2v-14b-480p", "wan2.1-flf2v-14b-720p", "wan2.2-t2v-a14b", "wan2.2-i2v-a14b",
                 "wan2.2-ti2v-5b", "wan2.1-vace-1.3b", "wan2.1-vace-14b", "ltx-2", "sana-wm", "skyreels-v2-df-14b-540p", "cogvideox-fun-5b-control"):
        assert catalogue.entry(name).name == name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_fact_has_a_source_or_is_unverified(entry):
    web = re.compile(r"https://[^\s]+")
    assert web.fullmatch(entry.source) and web.fullmatch(entry.licence.text) and web.fullmatch(entry.licence.source)
    assert bool(entry.size) == bool(entry.size_source) == ("size" not in entry.unverified)
    assert bool(entry.files) == bool(entry.files_source) == ("files" not in entry.unverified)
    assert set(entry.unverified) <= {"size", "files", "licence", "pipeline"}
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repository) and entry.kind in catalogue.KINDS
    assert entry.folders or entry.files


def test_presets_have_sources_and_their_loras_can_be_had():
    for spec in specs():
        for preset in spec.presets:
            assert re.fullmatch(r"https://[^\s]+", preset.source) and 4 <= preset.steps <= 8 and preset.label and preset.note
            assert preset.models and set(preset.models) <= set(spec.models) and len({each.name for each in spec.presets}) == len(spec.presets)
            for lora in preset.loras:
                entry = catalogue.entry(lora.name)
                alike = recognise.WAN_LIKE if spec.name in recognise.WAN_LIKE else (spec.name,)        # whose LoRAs fit each other
                assert entry.kind == "lora" and entry.family in alike and len(entry.files) == 1


@pytest.mark.parametrize(("model", "kind", "action"), [("ltx-2.3-distilled", "depth", "get_model"), ("ltx-2.3-distilled", "edges", "get_model"),
                                                     ("ltx-2.3-distilled", "beauty", "drop_guide"), ("ltx-2", "depth", "drop_guide")])
def test_a_guide_that_needs_a_lora_offers_the_one_of_the_catalogue(tmp_path, monkeypatch, model, kind, action):
    """It is of LTX-2.3, and was taught depth and edges."""
    monkeypatch.setenv("SORA_MODELS", str(tmp_path))
    asked = Shot(id="one", family="ltx2", model=model, prompt="a street", seed=1, size=Size(64, 64), frames=9, fps=24.0, out=str(tmp_path / "one"),
                 guides=(Guide(kind=kind, path=""),))
    with pytest.raises(GuideError) as refused:
        family("ltx2").check(asked, tmp_path / model)
    assert refused.value.remedy.action == action
    if action == "get_model":
        entry = catalogue.entry(refused.value.remedy.value)
        assert (entry.kind, entry.family, len(entry.files)) == ("lora", "ltx2", 1)


def test_names_are_unique_and_fit_a_folder():
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]*[a-z0-9]", entry.name) for entry in ENTRIES)


def test_the_catalogue_holds_no_digests_and_no_revisions():
    assert not re.search(r"sha256|revision", catalogue.FILE.read_text())
    for digest in re.findall(r"[0-9a-f]{40,}", catalogue.FILE.read_text()):
        assert f"/blob/{digest}/" in catalogue.FILE.read_text(), "only the addresses of sources may name a commit"


def test_documented_file_lists_are_wanted_and_written_out():
    entry = catalogue.entry("wan2.2-i2v-a14b")
    assert "transformer_2/diffusion_pytorch_model-00012-of-00012.safetensors" in entry.files and not any("#" in name for name in entry.files)
    assert all(entry.wants(name) for name in entry.files)


def test_only_what_a_pipeline_loads_is_wanted():
    entry = catalogue.entry("ltx-2")
    assert entry.wants("model_index.json") and entry.wants("transformer/config.json") and entry.wants("text_encoder/model.safetensors")
    assert not entry.wants("ltx-2-19b-dev.safetensors") and not entry.wants("assets/a.json") and not entry.wants("transformer")
    assert not entry.wants("text_encoder/diffusion_pytorch_model-00001-of-00012.safetensors")
    lora = catalogue.entry("ltx-2-distilled-lora")
    assert lora.wants("ltx-2-19b-distilled-lora-384.safetensors") and not lora.wants("model_index.json")


def test_a_model_that_is_not_there_is_said_with_those_that_are():
    with pytest.raises(ModelError, match="ltx-2") as raised:
        catalogue.entry("sora-3")
    assert raised.value.remedy.action == "choose_model"
