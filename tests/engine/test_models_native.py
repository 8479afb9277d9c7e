"""Blockout trained further: imported as a folder, chosen by its name, never opened when it is not what was checked in."""
from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.engine.models_stage import failure, last, models

from engine import families, shoot
from engine.errors import ModelError
from engine.models import store
from engine.studio import Studio

FILE = "blockout-v0.safetensors"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The models folder that the engine looks into."""
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / "models"))
    return tmp_path / "models"


def taken(folder, *arguments) -> dict:
    answer = models("import", *arguments, "--folder", folder)
    assert answer.returncode == 0, answer.stdout
    return last(answer)


def test_it_is_imported_chosen_and_shot_with(folder, tiny_model, a_shot):
    said = taken(folder, tiny_model, "--name", "ink")
    assert (said["name"], said["family"], said["kind"]) == ("ink", "blockout", "native")
    assert families.weights("blockout", "ink") == folder / "ink"
    assert families.weights("blockout", "") == families.weights("blockout", "blockout-v0") != folder / "ink", "Blockout's own stays the first choice"
    shots = [a_shot("by_name", model="ink"), a_shot("by_place"), a_shot("own", model="")]
    frames = []
    for shot in shots:
        take = shoot.roll(shot, lambda progress: None, threading.Event(), Studio())
        frames.append((folder.parent / shot.id / take.files.folder / take.files.names()[0]).read_bytes())
    assert frames[0] == frames[1] != frames[2]


def test_it_can_stay_where_it_is(folder, tiny_model):
    taken(folder, tiny_model, "--name", "ink", "--link")
    assert families.weights("blockout", "ink") == tiny_model and not list(folder.rglob("*.safetensors"))


def test_what_was_changed_since_is_not_opened(folder, tiny_model):
    taken(folder, tiny_model, "--name", "ink")
    content = bytearray((folder / "ink" / FILE).read_bytes())
    content[-1] ^= 1
    (folder / "ink" / FILE).write_bytes(content)
    with pytest.raises(ModelError, match="not the file that was checked in"):
        families.weights("blockout", "ink")


def test_a_stranger_beside_it_is_told_of(folder, tiny_model):
    taken(folder, tiny_model, "--name", "ink")
    save_file({"a": np.zeros(1, np.float32)}, folder / "ink" / "other.safetensors")
    assert "does not belong to ink" in failure(models("verify", "ink", "--folder", folder))


def test_what_is_none_is_refused(folder, tiny_model, tmp_path):
    assert "import its folder" in failure(models("import", tiny_model / FILE, "--folder", folder))
    assert "belongs to blockout, not to wan" in failure(models("import", tiny_model, "--family", "wan", "--folder", folder))
    odd = shutil.copytree(tiny_model, tmp_path / "odd")
    save_file({"head.modulation": np.zeros(1, np.float32)}, odd / FILE)
    assert "no weights of Blockout" in failure(models("import", odd, "--folder", folder))
    (odd / FILE).write_bytes((tiny_model / FILE).read_bytes()[:-1])
    assert "damaged" in failure(models("import", odd, "--folder", folder))
    shutil.copy(tiny_model / FILE, odd / FILE)
    (odd / "evil.py").write_text("evil")
    assert "could run code" in failure(models("import", odd, "--folder", folder))
    with pytest.raises(ModelError, match="none was imported by that name"):
        families.weights("blockout", "charcoal")


def test_weights_of_another_make_are_said_to_be_so(folder, tiny_model, tmp_path, a_shot):
    odd = shutil.copytree(tiny_model, tmp_path / "odd")
    tensors = load_file(odd / FILE)
    save_file({name: tensor for name, tensor in tensors.items() if not name.endswith("up.weight")}, odd / FILE)
    taken(folder, odd, "--name", "older")
    with pytest.raises(ModelError, match="another make"):
        shoot.roll(a_shot(model="older"), lambda progress: None, threading.Event(), Studio())
