"""What an artist's machine can have wrong, a row each: refused in a sentence, with a way out that a button can carry out."""
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine import check, device, families
from engine.errors import ACTIONS, SoraError
from engine.models import catalogue, lock, pull, store
from engine.models.hub import Hub, Remote
from engine.protocol import Guide, Lora, Shot, Size
from tests.engine.models_stage import NAME, REPOSITORY, WEIGHTS, make_model

SHARD, TAKEN = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors", "mine"
CASES: dict[str, tuple[Callable, str, str]] = {}        # what is wrong -> what meets it, the action, what its value begins with
TRANSFORMER = "model.diffusion_model."


def met(action: str, value: str = ""):
    """The function shows what its name says; in the value `{models}` is the models folder."""
    return lambda function: CASES.setdefault(function.__name__, (function, action, value))


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / "models"))
    for name in ("SORA_OFFLINE", "HF_HUB_OFFLINE", "SORA_MODELS_LOCK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "models"


def shot(**fields) -> Shot:
    return Shot(**{"id": "a", "family": "wan", "model": TAKEN, "prompt": "a red car", "seed": 1, "size": Size(64, 48), "frames": 9, "fps": 16.0, "out": "/takes/a"} | fields)


def kept(models: Path, name: str = TAKEN, repository: str = "", family: str = "wan", link: str = "") -> store.Installed:
    """A whole model in the models folder, or linked from elsewhere."""
    place = models / name
    place.mkdir(parents=True, exist_ok=True)
    root = make_model(Path(link) if link else place, size=100)
    files = {path.relative_to(root).as_posix(): store.digest(path) for path in sorted(root.rglob("*")) if path.is_file()}
    made = store.Installed(name=name, family=family, kind="diffusers", label=name, licence="", repository=repository, files=files, folder=place, link=link)
    store.Store(models).record(made)
    return made


def planned(size: int = 100) -> pull.Plan:
    return pull.Plan(entry=catalogue.entry(NAME), revision="0" * 40, licence="apache-2.0", files={"model_index.json": Remote(size, "", "0" * 40)}, locked=False)


# ---------------------------------------------------------------- checkpoints
@met("get_model", NAME)
def a_pulled_checkpoint_lacks_a_shard(models, _patch):
    place = kept(models, NAME, REPOSITORY).folder
    (place / WEIGHTS).unlink()
    families.weights("wan", NAME)


@met("choose_model", "weights")
def an_imported_checkpoint_lacks_a_shard(models, _patch):
    model = kept(models)
    index = {"weight_map": {"a": Path(WEIGHTS).name, "b": Path(SHARD).name}}
    (model.folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    families.weights("wan", TAKEN)


@met("choose_model")
def a_folder_that_was_named_lacks_a_shard(models, _patch):
    folder = make_model(models / "by hand", size=100)
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {"b": Path(SHARD).name}}))
    families.weights("wan", str(folder))


@met("get_model", NAME)
def a_download_stopped_half_way(models, _patch):
    staging = store.Store(models).staging(NAME)
    staging.mkdir(parents=True)
    (staging / "model_index.json").write_text("{}")
    families.weights("wan", NAME)


@met("get_model", NAME)
def a_model_was_never_pulled(models, _patch):
    models.mkdir()
    families.weights("wan", NAME)


@met("choose_model", "weights")
def a_model_is_of_another_family(models, _patch):
    kept(models, family="vace")
    families.weights("wan", TAKEN)


@met("choose_folder", "{models}")
def the_models_folder_was_moved(models, _patch):
    kept(models)
    models.rename(models.with_name("elsewhere"))
    families.weights("wan", TAKEN)


@met("choose_model")
def a_linked_model_was_moved(models, _patch):
    away = models.parent / "disk" / "wan"
    kept(models, link=str(away))
    shutil.rmtree(away)
    families.weights("wan", TAKEN)


# ---------------------------------------------------------------- downloads
@met("free_disk", "{models}")
def there_is_no_space(models, _patch):
    pull.missing(planned(10**16), store.Store(models))


@met("get_model", NAME)
def a_licence_was_not_accepted(models, _patch):
    pull.agree(planned(), store.Store(models), "")


@met("choose_folder")
def downloads_are_forbidden(_models, patch):
    patch.setenv("SORA_OFFLINE", "1")
    Hub()


@met("free_disk", "{models}")
def the_lock_of_models_cannot_be_read(models, _patch):
    (models / lock.NAME).mkdir(parents=True)
    lock.read(models / lock.NAME)


@met("free_disk", "{models}")
def the_lock_of_models_is_damaged(models, _patch):
    models.mkdir()
    (models / lock.NAME).write_text('{"version": 1, "models": {"wan": {}}}')
    lock.read(models / lock.NAME)


# ---------------------------------------------------------------- devices
@met("repair_engine")
def there_is_no_such_gpu(_models, patch):
    if device.torch_module().cuda.is_available():
        pytest.skip("this machine has a GPU")
    patch.setenv(device.CHOICE, "cuda")
    device.chosen()


@met("free_disk", "{models}")
def the_lock_of_the_device_cannot_be_made(models, patch):
    models.write_text("a file where a folder should be")
    patch.setenv("SORA_LOCKS", str(models / "locks"))
    with device.turn(device.processor(), threading.Event(), print):
        pass


# ---------------------------------------------------------------- shots
@met("drop_guide", "depth")
def a_model_takes_no_such_guide(models, _patch):
    kept(models)
    check.shot(shot(guides=(Guide(kind="depth", path="/guides"),)))


@met("leave_out", "loras")
def a_lora_is_of_another_family(models, _patch):
    kept(models)
    path = models / "other.safetensors"
    save_file({f"diffusion_model.transformer_blocks.0.attn1.to_q.lora_{half}.weight": np.zeros((4, 4096) if half == "A" else (4096, 4), np.float32)
               for half in "AB"}, path)
    check.shot(shot(loras=(Lora(name=str(path)),)))


@met("leave_out", "loras")
def a_lora_is_a_whole_transformer(models, _patch):
    kept(models)
    path = models / "whole.safetensors"
    save_file({f"{TRANSFORMER}head.modulation": np.zeros(4, np.float32), f"{TRANSFORMER}patch_embedding.weight": np.zeros((1536, 16), np.float32)}, path)
    check.shot(shot(loras=(Lora(name=str(path)),)))


@pytest.mark.parametrize("case", CASES)
def test_it_is_said_with_a_way_out(case, models, monkeypatch):
    happens, action, value = CASES[case]
    with pytest.raises(SoraError) as refused:
        happens(models, monkeypatch)
    said = refused.value
    assert said.sentence.endswith((".", "?")) and len(said.sentence.split()) > 4, said.sentence
    assert said.remedy and said.remedy.action in ACTIONS and said.remedy.label, said.sentence
    assert said.remedy.action == action and said.remedy.value.startswith(value.format(models=models)), (said.sentence, said.remedy)
