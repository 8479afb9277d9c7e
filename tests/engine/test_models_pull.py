"""Downloads against a hub that drops, lies, redirects and dies; through the command line, as Blender calls it."""
from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.engine.models_stage import NAME, REPOSITORY, ROOT, WEIGHTS, command, environment, failure, hub, last, make_model, models

from engine.errors import ModelError
from engine.models import catalogue
from engine.models import pull as pulling
from engine.models.hub import Hub, _Redirects
from engine.models.store import Store, resolve

ACCEPT = ("--accept-licence", "apache-2.0")


@pytest.fixture
def served(tmp_path):
    make_model(tmp_path / "hub" / REPOSITORY)
    with hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


def pull(served, folder, *more, name=NAME, **variables):
    return models("pull", name, "--folder", folder, "--endpoint", served.address, *(more or ACCEPT), **variables)


def asked(served, path=WEIGHTS):
    return [request for request in served.requests() if request["path"].endswith(path)]


def same_weights(served, folder):
    return (folder / NAME / WEIGHTS).read_bytes() == (served.root / REPOSITORY / WEIGHTS).read_bytes()


def test_a_model_arrives_whole_locked_and_resolvable(served, folder):
    answer = pull(served, folder)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [line["type"] for line in lines][0] == "Plan" and lines[-1]["type"] == "Installed"
    assert lines[0]["size"] == lines[0]["missing"] > 0 and lines[0]["free"] > 0
    lock = json.loads((folder / "models.lock.json").read_text())["models"][NAME]
    assert lock["revision"] == "0123456789abcdef0123456789abcdef01234567"
    for path, file in lock["files"].items():
        body = (served.root / REPOSITORY / path).read_bytes()
        assert file == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    assert resolve("wan", NAME, folder) == resolve("wan", "", folder) == folder / NAME
    assert not any(path.is_file() and path.suffix != ".lock" and "plan" not in path.name for path in (folder / ".partial").rglob("*"))


def test_the_licence_is_shown_and_accepted_before_a_byte_is_taken(served, folder):
    sentence = failure(pull(served, folder, "--accept-licence", "mit"))
    assert "apache-2.0" in sentence and "https://www.apache.org/licenses" in sentence
    assert not asked(served) and not (folder / NAME).exists()
    assert pull(served, folder).returncode == 0
    assert pull(served, folder, "--update").returncode == 0, "an accepted licence is asked for once"
    accepted = json.loads((folder / "licences.json").read_text())[f"{NAME} apache-2.0"]
    assert accepted["repository"] == REPOSITORY and accepted["accepted"].endswith("Z")


def test_what_is_here_is_not_fetched_again(served, folder):
    assert pull(served, folder).returncode == 0
    before = len(served.requests())
    answer = pull(served, folder)
    assert answer.returncode == 0 and len(served.requests()) == before
    assert json.loads(answer.stdout.splitlines()[0])["missing"] == 0
    assert pull(served, folder, "--update").returncode == 0
    assert [request["path"] for request in served.requests()[before:]] == [f"/api/models/{REPOSITORY}/revision/main"]
    assert not (folder / ".trash").exists() and resolve("wan", NAME, folder)


def test_only_damaged_files_are_fetched_to_mend_a_model(served, folder):
    assert pull(served, folder).returncode == 0
    weights = folder / NAME / "vae/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    (folder / NAME / "stranger.json").write_text("{}")
    before = len(served.requests())
    assert pull(served, folder).returncode == 0
    assert [request["path"].partition("/resolve/")[2][41:] for request in served.requests()[before:]] == ["vae/diffusion_pytorch_model.safetensors"]
    assert last(models("verify", "--folder", folder))["models"] == [NAME] and not (folder / NAME / "stranger.json").exists()


def test_another_licence_on_the_hub_is_what_has_to_be_accepted(served, folder):
    served.behave(**{"": {"card": {"license": "other", "license_name": "Wan-Research"}}})
    sentence = failure(pull(served, folder))
    assert "wan-research" in sentence and "expected apache-2.0" in sentence
    assert pull(served, folder, "--accept-licence", "wan-research").returncode == 0


def test_a_dropped_connection_goes_on_where_it_stopped(served, folder):
    served.behave(**{WEIGHTS: {"drop": 50_000, "times": 2}})
    assert pull(served, folder).returncode == 0
    assert [request["range"] for request in asked(served)][1:] == ["bytes=50000-", "bytes=100000-"]
    assert same_weights(served, folder)


def test_a_server_without_ranges_begins_again(served, folder):
    served.behave(**{WEIGHTS: {"drop": 50_000, "no_ranges": True}})
    assert pull(served, folder).returncode == 0 and same_weights(served, folder)


def test_a_busy_server_is_asked_again(served, folder):
    served.behave(**{WEIGHTS: {"status": [503, 429]}, "": {"status": [502]}})
    assert pull(served, folder).returncode == 0 and same_weights(served, folder)


def test_wrong_bytes_are_fetched_once_more(served, folder):
    served.behave(**{WEIGHTS: {"flip": 1}})
    assert pull(served, folder).returncode == 0
    assert len(asked(served)) == 2 and same_weights(served, folder)


@pytest.mark.parametrize("path", [WEIGHTS, "vae/config.json"])
def test_wrong_bytes_twice_are_refused_and_nothing_of_them_stays(served, folder, path):
    served.behave(**{path: {"flip": 99}})
    assert "twice sent other bytes" in failure(pull(served, folder))
    assert len(asked(served, path)) == 2
    assert not (folder / NAME).exists() and not list((folder / ".partial").rglob(f"*{path.rpartition('/')[2]}*partial"))


def test_a_file_that_never_ends_is_refused(served, folder):
    served.behave(**{WEIGHTS: {"longer": 500_000}})
    assert "other bytes" in failure(pull(served, folder))


def test_a_killed_pull_is_resumed(served, folder):
    served.behave(**{WEIGHTS: {"pause": 0.05}})
    line = [sys.executable, "-m", "engine", "models", "pull", NAME, "--folder", str(folder), "--endpoint", served.address, *ACCEPT]
    running = subprocess.Popen(line, env=environment(), stderr=subprocess.DEVNULL)
    partial = folder / ".partial" / NAME / f"{WEIGHTS}.partial"
    for _ in range(600):
        if partial.exists() and partial.stat().st_size > 0:
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    arrived = partial.stat().st_size
    assert 0 < arrived < (served.root / REPOSITORY / WEIGHTS).stat().st_size
    served.behave()
    before = len(served.requests())
    assert pull(served, folder).returncode == 0 and same_weights(served, folder)
    again = served.requests()[before:]
    assert [request["range"] for request in again if request["path"].endswith(WEIGHTS)] == [f"bytes={arrived}-"]
    assert len([request for request in again if "/resolve/" in request["path"]]) == 1, "what had arrived is not fetched again"


def test_what_an_older_revision_left_is_not_mixed_in(served, folder, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "SORA_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    served.behave(**{WEIGHTS: {"pause": 0.01}})
    store, asked_hub, lock_file = Store(folder), Hub(served.address), folder / "models.lock.json"
    steps = pulling.pull(pulling.plan(catalogue.entry(NAME), asked_hub, lock_file), store, asked_hub, lock_file)
    while next(steps).file != WEIGHTS:
        pass
    next(steps)
    steps.close()
    assert (folder / ".partial" / NAME / f"{WEIGHTS}.partial").stat().st_size > 0
    make_model(served.root / REPOSITORY, size=45_000)
    served.behave()
    assert pull(served, folder).returncode == 0 and same_weights(served, folder)
    assert asked(served)[-1]["range"] is None


def test_two_pulls_of_one_model_do_not_meet(served, folder):
    served.behave(**{WEIGHTS: {"pause": 0.2}})
    line = [sys.executable, "-m", "engine", "models", "pull", NAME, "--folder", str(folder), "--endpoint", served.address, *ACCEPT]
    running = subprocess.Popen(line, env=environment(), stderr=subprocess.DEVNULL)
    try:
        while not (folder / ".partial" / NAME / f"{WEIGHTS}.partial").exists():
            assert running.poll() is None
            time.sleep(0.05)
        assert "another process" in failure(pull(served, folder))
    finally:
        running.kill()
        running.wait()


def test_no_space_is_said_before_anything_is_fetched(served, folder):
    huge = {"rfilename": WEIGHTS, "size": 10**16, "lfs": {"sha256": "0" * 64, "size": 10**16, "pointerSize": 1}}
    index = {"rfilename": "model_index.json", "size": 5, "blobId": "0" * 40}
    served.behave(**{"": {"siblings": [huge, index]}})
    answer = pull(served, folder)
    assert "GB are free" in failure(answer) and last(answer)["remedy"]["action"] == "free_disk"
    assert not asked(served)


def test_a_full_disk_keeps_what_arrived(served, folder):
    line = [sys.executable, "-m", "engine", "models", "pull", NAME, "--folder", str(folder), "--endpoint", served.address, *ACCEPT, "--json"]
    full = subprocess.run(line, env=environment(), capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000)))
    said = last(full)
    assert said["code"] == "disk_full" and said["remedy"]["action"] == "free_disk" and full.returncode == 1
    before = len(served.requests())
    assert pull(served, folder).returncode == 0 and same_weights(served, folder)
    assert [request["range"] for request in served.requests()[before:] if request["path"].endswith(WEIGHTS)][0] is not None


def test_the_token_goes_to_the_hub_and_never_to_where_it_redirects(served, folder, tmp_path):
    with hub(tmp_path / "other") as other:
        make_model(other.root / REPOSITORY)
        served.behave(**{"": {"token": "hf_secret"}, WEIGHTS: {"redirect": other.address}})
        assert "token" in failure(pull(served, folder))
        answer = command("pull", NAME, "--folder", folder, *ACCEPT, HF_ENDPOINT=served.address, HF_TOKEN="hf_secret", SORA_LOG="debug")
        assert answer.returncode == 0, answer.stdout
        assert {request["authorization"] for request in served.requests()[1:]} == {"Bearer hf_secret"}
        assert [request["authorization"] for request in other.requests()] == [None]
        assert "hf_secret" not in answer.stdout + answer.stderr
        assert not [path for path in folder.rglob("*.json") if "hf_secret" in path.read_text()]


@pytest.mark.parametrize("before, after", [("https://hub/a", "http://files/a"), ("https://hub/a", "ftp://files/a"), ("http://hub/a", "ftp://files/a")])
def test_a_redirect_never_gives_up_encryption(before, after, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "SORA_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelError, match="not encrypted"):
        _Redirects(Hub("http://127.0.0.1:9")).redirect_request(urllib.request.Request(before), None, 302, "Found", {}, after)


def test_the_token_for_the_hub_is_not_given_to_another_endpoint(served, folder):
    assert pull(served, folder, HF_TOKEN="hf_secret").returncode == 0
    assert {request["authorization"] for request in served.requests()} == {None}


def test_a_token_comes_from_the_keyring(served, folder, tmp_path):
    (tmp_path / "ring.py").write_text(
        "from keyring.backend import KeyringBackend\n"
        "class Ring(KeyringBackend):\n    priority = 1\n"
        "    def get_password(self, service, user):\n        return 'from_ring' if (service, user) == ('sora', '127.0.0.1') else None\n"
        "    def set_password(self, *_):\n        raise OSError\n    delete_password = set_password\n")
    served.behave(**{"": {"token": "from_ring"}})
    answer = command("pull", NAME, "--folder", folder, "--endpoint", served.address, *ACCEPT,
                     PYTHON_KEYRING_BACKEND="ring.Ring", PYTHONPATH=os.pathsep.join([str(ROOT), str(tmp_path)]))
    assert answer.returncode == 0, answer.stdout


def test_a_shared_lock_decides_what_is_pulled(served, folder, tmp_path):
    assert pull(served, folder).returncode == 0
    shared = folder / "models.lock.json"
    before = len(served.requests())
    assert pull(served, tmp_path / "second", *ACCEPT, "--lock", shared).returncode == 0
    assert not [request for request in served.requests()[before:] if request["path"].startswith("/api")], "the lock says it all"
    make_model(served.root / REPOSITORY, size=50_000)
    assert "other bytes" in failure(pull(served, tmp_path / "third", *ACCEPT, "--lock", shared))
    assert pull(served, tmp_path / "third", *ACCEPT, "--lock", shared, "--update").returncode == 0
    assert (tmp_path / "third" / NAME / WEIGHTS).stat().st_size > 200_000


@pytest.mark.parametrize("path", ["transformer/diffusion_pytorch_model.bin", "modeling.py", "transformer/nested/run.py", "README.md"])
def test_nothing_but_weights_configurations_and_tokenizers_is_taken(served, folder, path):
    (served.root / REPOSITORY / path).parent.mkdir(exist_ok=True)
    (served.root / REPOSITORY / path).write_bytes(b"danger")
    assert pull(served, folder).returncode == 0
    assert not list(folder.rglob(path.rpartition("/")[2])) and not asked(served, path)


def test_weights_that_exist_only_as_a_pickle_are_refused(served, folder):
    (served.root / REPOSITORY / WEIGHTS).rename((served.root / REPOSITORY / WEIGHTS).with_suffix(".bin"))
    assert "could run code" in failure(pull(served, folder))


def test_names_that_climb_out_are_not_taken(served, folder, tmp_path):
    listed = [{"rfilename": name, "size": 2, "blobId": "0" * 40} for name in ("vae/../../../evil.json", "/etc/evil.json", "vae\\evil.json")]
    good = [{"rfilename": "model_index.json", "size": 2, "blobId": "9e26dfeeb6e641a33dae4961196235bdb965b21b"},
            {"rfilename": "vae/a.safetensors", "size": 2, "blobId": "0" * 40}]
    served.behave(**{"": {"siblings": listed + good}})
    failure(pull(served, folder))
    assert not [request for request in served.requests() if "evil" in request["path"]] and not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("behaviour, sentence", [
    ({"revision": "main"}, "makes no sense"), ({"siblings": [{"rfilename": 3}]}, "makes no sense"),
    ({"siblings": [{"rfilename": "model_index.json", "size": -1}]}, "makes no sense"), ({"siblings": []}, "does not hold")])
def test_an_answer_that_makes_no_sense_is_said(served, folder, behaviour, sentence):
    served.behave(**{"": behaviour})
    assert sentence in failure(pull(served, folder))


def test_a_config_that_would_load_code_is_refused_and_does_not_stay(served, folder):
    (served.root / REPOSITORY / "vae/config.json").write_text('{"_class_name": ["vae", "Evil"]}')
    assert "would load code" in failure(pull(served, folder))
    assert not (folder / NAME).exists() and not (folder / ".partial" / NAME).exists()


def test_a_missing_shard_is_said(served, folder):
    index = {"weight_map": {"a": "diffusion_pytorch_model.safetensors", "b": "diffusion_pytorch_model-00002-of-00002.safetensors"}}
    (served.root / REPOSITORY / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    assert "00002-of-00002" in failure(pull(served, folder))


def test_a_studios_lock_is_found_by_the_environment(served, folder, tmp_path):
    assert pull(served, folder, SORA_MODELS_LOCK=str(tmp_path / "shared.json")).returncode == 0
    assert NAME in json.loads((tmp_path / "shared.json").read_text())["models"] and not (folder / "models.lock.json").exists()


def test_offline_means_offline(served, folder):
    for name in ("SORA_OFFLINE", "HF_HUB_OFFLINE"):
        refused = pull(served, folder, **{name: "1"})
        said = last(refused)
        assert refused.returncode == 2 and name in said["sentence"]
        assert said["remedy"]["action"] == "choose_folder", "to where models are imported; trying again would not help"
    models("list", "--folder", folder, HF_ENDPOINT=served.address)
    models("info", NAME, "--folder", folder, HF_ENDPOINT=served.address)
    assert served.requests() == []


def test_a_hub_that_is_not_there_is_said(folder):
    answer = models("pull", NAME, "--folder", folder, "--endpoint", "http://127.0.0.1:9", *ACCEPT)
    assert "does not answer" in failure(answer)


@pytest.mark.parametrize("endpoint", ["ftp://hub", "file:///etc", "http://user:word@hub", "hub", "http://hub:port"])
def test_an_endpoint_is_a_web_address(folder, endpoint):
    sentence = failure(models("pull", NAME, "--folder", folder, "--endpoint", endpoint, *ACCEPT))
    assert "hub" in sentence and "word" not in sentence.replace("password", "")


def test_a_removed_repository_file_is_said(served, folder):
    with pytest.raises(ModelError, match="not there"):
        resolve("wan", NAME, folder)
    (served.root / REPOSITORY / "model_index.json").unlink()
    assert "does not hold" in failure(pull(served, folder))


def test_a_lora_of_the_catalogue_is_pulled_and_recognised(served, folder):
    name = "ltx-2-19b-distilled-lora-384.safetensors"
    (served.root / "Lightricks/LTX-2").mkdir(parents=True)
    (served.root / "Lightricks/LTX-2/ltx-2-19b-dev.safetensors").write_bytes(b"not wanted")
    save_file({"diffusion_model.transformer_blocks.0.audio_attn1.to_k.lora_A.weight": np.zeros((4, 8), np.float32)}, served.root / "Lightricks/LTX-2" / name)
    answer = pull(served, folder, "--accept-licence", "ltx-2-community", name="ltx-2-distilled-lora")
    assert answer.returncode == 0, answer.stdout
    assert Store(folder).loras("ltx2")[0].path.name == name and not asked(served, "dev.safetensors")


def test_people_see_lines_when_there_is_no_terminal(served, folder):
    line = [sys.executable, "-m", "engine", "models", "pull", NAME, "--folder", str(folder), "--endpoint", served.address, *ACCEPT]
    answer = subprocess.run(line, env=environment(), capture_output=True, text=True)
    assert answer.returncode == 0 and answer.stdout == f"{NAME}: done\n"
    assert "licence apache-2.0" in answer.stderr and "100%" in answer.stderr
