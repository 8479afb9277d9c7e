"""Model folders that are refused before anything in them is executed."""
import json
import shutil
from pathlib import Path

import pytest

from engine import device, families
from engine.errors import ModelError
from tests.engine.open_stage import Stage


@pytest.fixture(scope="module")
def saved(tmp_path_factory, checkpoints):
    """What is refused is a copy of it, damaged in one way."""
    return Stage(tmp_path_factory.mktemp("refused"), checkpoints).model("vace")


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "vace"))


def refused(folder: Path, family: str = "vace") -> str:
    with pytest.raises(ModelError) as error:
        families.family(family).load(families.weights(family, str(folder)), device.chosen())
    return error.value.sentence


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "code.py", "weights.ckpt", "optimizer.pt"])
def test_files_that_could_run_code(folder, name):
    (folder / "transformer" / name).write_bytes(b"boom")
    assert "could run code" in refused(folder)


def test_a_class_named_by_a_list(folder):
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": ["pipeline", "Boom"]}))
    assert "would load code" in refused(folder)


@pytest.mark.parametrize("named", [["os", "system"], ["diffusers", "UNet2DModel"], ["transformers", "AutoModel"], "boom"])
def test_a_component_of_another_class(folder, named):
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "transformer": named}))
    refused(folder)


def test_a_truncated_file(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "damaged" in refused(folder)


def test_a_header_with_a_flipped_bit(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[20] ^= 0x80
    path.write_bytes(content)
    refused(folder)


def test_a_missing_component(folder):
    shutil.rmtree(folder / "vae")
    assert "lacks vae" in refused(folder)


def test_a_model_of_another_family(folder):
    assert "WanVACETransformer3DModel" in refused(folder, "wan")


def test_a_configuration_that_fits_other_weights(folder):
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ffn_dim": 64}))
    assert "cannot be loaded" in refused(folder)


def test_a_flipped_bit_in_a_model_of_the_models_folder(saved, tmp_path, monkeypatch):
    from engine.models import store
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path))
    place = Path(shutil.copytree(saved, tmp_path / "mine"))
    files = {path.relative_to(place).as_posix(): store.digest(path) for path in place.rglob("*") if path.is_file()}
    kept = store.Installed(name="mine", family="vace", kind="diffusers", label="Mine", licence="Apache-2.0", files=files, folder=place)
    store.Store(tmp_path).record(kept)
    assert families.weights("vace", "mine") == families.weights("vace", "") == place
    path = place / "transformer" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not the file that was checked in"):
        families.weights("vace", "mine")
