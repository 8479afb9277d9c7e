"""What the panel is told of models: how each stands, what a download would bring, and what to press when it fails."""
from __future__ import annotations

import json

import pytest
from tests.engine.models_stage import NAME, REPOSITORY, WEIGHTS, hub, last, make_model, models

ACCEPT = ("--accept-licence", "apache-2.0")


@pytest.fixture
def served(tmp_path):
    make_model(tmp_path / "hub" / REPOSITORY)
    with hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def pull(served, tmp_path):
    return lambda *more: models("pull", NAME, "--folder", tmp_path / "models", "--endpoint", served.address, *more)


def row(folder) -> dict:
    said = last(models("list", "--folder", folder, "--family", "wan"))
    assert said["free"] > 0
    return next(one for one in said["models"] if one["name"] == NAME)


def test_the_list_says_how_a_model_stands(pull, tmp_path):
    folder = tmp_path / "models"
    assert row(folder)["state"] == "absent" and row(folder)["accepted"] == []
    begun = folder / ".partial" / NAME / f"{WEIGHTS}.partial"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"x" * 1000)
    assert (row(folder)["state"], row(folder)["partial"]) == ("partial", 1000)
    assert pull(*ACCEPT).returncode == 0
    assert (row(folder)["state"], row(folder)["partial"], row(folder)["accepted"]) == ("installed", 0, ["apache-2.0"])
    (folder / NAME / WEIGHTS).write_bytes(b"short")
    assert row(folder)["state"] == "damaged" and "5 bytes" in row(folder)["wrong"]
    (folder / NAME / WEIGHTS).unlink()
    assert row(folder)["state"] == "damaged" and "missing" in row(folder)["wrong"]
    (folder / NAME / "sora.json").write_text("{")
    assert row(folder)["state"] == "damaged" and row(folder)["installed"] is None
    assert pull(*ACCEPT).returncode == 0 and row(folder)["state"] == "installed", "pulled again, it is mended"
    (folder / NAME / "sora.json").write_text("{")
    assert models("remove", NAME, "--folder", folder).returncode == 0 and row(folder)["state"] == "absent"
    assert last(models("list", "--folder", folder))["trash"] > 0
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"x" * 1000)
    assert models("remove", NAME, "--folder", folder).returncode == 0 and row(folder)["state"] == "absent"
    assert models("remove", "--empty-trash", "--folder", folder).returncode == 0 and last(models("list", "--folder", folder))["trash"] == 0


def test_asking_takes_nothing(pull, served, tmp_path):
    answer = pull("--ask")
    plan, end = (json.loads(line) for line in answer.stdout.splitlines())
    assert plan["size"] == plan["missing"] > 100_000 and plan["licence"] == "apache-2.0" and end["type"] == "Asked"
    assert [request["path"] for request in served.requests()] == [f"/api/models/{REPOSITORY}/revision/main"]
    assert not (tmp_path / "models").exists()


def test_a_failed_download_names_the_model_to_try_again(pull, served):
    refused = last(pull())["remedy"]
    assert (refused["action"], refused["value"], refused["label"]) == ("get_model", NAME, "Read the Licence")
    served.behave(**{WEIGHTS: {"flip": 9}})
    wrong = last(pull(*ACCEPT))
    assert "other bytes" in wrong["sentence"] and (wrong["remedy"]["action"], wrong["remedy"]["value"]) == ("get_model", NAME)


def test_a_download_says_how_fast_it_is(pull):
    lines = [json.loads(line) for line in pull(*ACCEPT).stdout.splitlines()]
    assert any(line["type"] == "Progress" and line["speed"] > 0 for line in lines)
