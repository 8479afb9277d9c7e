"""The panel finds the LoRAs that the engine keeps, in the folder where the engine looks."""
import json

import pytest

from sora.engine.models import store
from sora.sora_addon import loras


@pytest.mark.parametrize("variables", [{}, {"XDG_DATA_HOME": "/elsewhere"}, {"LOCALAPPDATA": "/appdata"}])
def test_both_sides_look_in_the_same_folder(monkeypatch, variables):
    monkeypatch.delenv("SORA_MODELS", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert loras.default_folder() == store.default_folder()


def test_the_engine_writes_what_the_panel_reads(tmp_path):
    kept = store.Store(tmp_path)
    files = {"clay.safetensors": store.Kept(1, "0" * 64, 1)}
    for name, kind in (("clay", "lora"), ("film", "diffusers")):
        (tmp_path / name).mkdir()
        kept.record(store.Installed(name=name, family="wan", kind=kind, label="Clay", licence="MIT", files=files, triggers=("clay style",),
                                    strength=0.8, folder=tmp_path / name))
    assert loras.known(tmp_path, "wan") == (loras.Known(name="clay", family="wan", label="Clay", triggers=("clay style",), strength=0.8),)
    assert [one.name for one in kept.loras("wan")] == ["clay"] and loras.known(tmp_path, "vace") == ()
    assert [one.name for one in loras.known(tmp_path, "vace", "wan")] == ["clay"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": "lora"}', json.dumps({"kind": "lora", "name": "a", "family": "wan", "strength": []})])
def test_damaged_records_are_left_out(tmp_path, text):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "sora.json").write_text(text)
    assert loras.known(tmp_path, "wan") == () and loras.known(tmp_path / "none", "wan") == ()
