"""Models as the panels are told of them, read from the real engine where there is one, and from children that behave in every way."""
import json
import os
import sys
import time
from pathlib import Path

import pytest
from sora.engine.errors import WireError
from sora.sora_addon import catalogue, child

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / ".venv" / "engine" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LICENCE = {"id": "apache-2.0", "label": "Apache License 2.0", "text": "https://www.apache.org/licenses/LICENSE-2.0", "note": ""}


def row(name: str, state: str = "absent", **more) -> dict:
    """A line of `models list --json`."""
    entry = {"repository": f"owner/{name}", "licence": LICENCE, "size": 0, "unverified": ["size"]}
    return {"name": name, "family": "wan", "kind": "diffusers", "label": name.title(), "catalogue": entry, "installed": None, "state": state,
            "wrong": "", "partial": 0, "accepted": [], **more}


def listed(*rows) -> catalogue.Listing:
    return catalogue.listing({"folder": "/models", "free": 9, "trash": 0, "problems": [], "models": list(rows)})


def scripted(tmp_path, text: str) -> catalogue.Errand:
    """An errand whose child runs the Python in `text`."""
    script = tmp_path / "child.py"
    script.write_text(text)
    errand = catalogue.Errand(Path(sys.executable), ROOT, ("list",), {})
    errand.command = [sys.executable, "-u", str(script)]
    errand.start()
    return errand


def ended(errand: catalogue.Errand, patience: float = 60.0) -> list:
    """Everything that it says, up to its end."""
    said, until = [], time.monotonic() + patience
    while not said or not isinstance(said[-1], (catalogue.Finished, catalogue.Stopped)):
        assert time.monotonic() < until, said
        said += errand.poll()
        time.sleep(0.02)
    return said


def test_what_lacks_is_found():
    both = listed(row("small"), row("large"), row("style", "installed", kind="lora"))
    assert both.lacking("wan", "").name == "small" and both.lacking("wan", "large").name == "large"
    assert listed(row("small"), row("large", "partial")).lacking("wan", "").name == "large", "what was begun comes first"
    assert listed(row("small", "installed"), row("large")).lacking("wan", "") is None
    assert listed(row("small", "installed"), row("large")).lacking("wan", "large").name == "large"
    assert both.lacking("blockout", "") is None and both.lacking("wan", "/my/own/folder") is None


def test_an_imported_model_needs_no_catalogue():
    here = {"size": 7, "licence": "unverified", "folder": "/models/mine", "link": "/elsewhere"}
    model = listed(row("mine", "installed", catalogue=None, installed=here)).named("mine")
    assert (model.size, model.folder, model.repository, model.licence.label) == (7, "/elsewhere", "", "unverified") and model.is_here


@pytest.mark.parametrize("facts", [{}, {"folder": "", "free": 1, "problems": [], "models": [{}]}, {"folder": "", "free": None, "problems": [], "models": []}])
def test_a_list_that_is_none_is_refused(facts):
    with pytest.raises(WireError):
        catalogue.listing(facts)


@pytest.mark.parametrize("line", ["", "no JSON", "[]", '{"type":"Plan"}', '{"type":"Progress"}', '{"type":"Failed","v":1}'])
def test_a_line_that_is_none_is_refused(line):
    with pytest.raises(WireError):
        catalogue.heard(line)


def test_a_child_is_listened_to(tmp_path):
    step = {"type": "Progress", "model": "m", "file": "f", "done": 5, "total": 10, "eta": 1.5, "speed": 2.0}
    said = ended(scripted(tmp_path, f"print('noise'); print({json.dumps(json.dumps(step))}); print('{{\"type\":\"Installed\",\"name\":\"m\"}}')"))
    assert said == [catalogue.Step(done=5, total=10, file="f", speed=2.0, eta=1.5), catalogue.Finished(facts={"type": "Installed", "name": "m"})]


def test_a_refusal_keeps_its_code_and_remedy(tmp_path):
    failed = {"v": 1, "type": "Failed", "shot": "", "code": "disk_full", "sentence": "No space.", "remedy": {"action": "free_disk", "label": "Show", "value": "/"}}
    [said] = ended(scripted(tmp_path, f"print({json.dumps(json.dumps(failed))}); raise SystemExit(1)"))
    assert (said.error.code, said.error.sentence, said.error.remedy.action) == ("disk_full", "No space.", "free_disk")


def test_a_child_that_dies_is_explained(tmp_path):
    [said] = ended(scripted(tmp_path, "raise SystemExit('No module named typer')"))
    assert said.error.code == "engine_broken" and "typer" in said.error.sentence and said.error.remedy.action == "repair_engine"
    errand = catalogue.Errand(tmp_path / "nowhere", ROOT, ("list",), {})
    errand.start()
    assert ended(errand)[0].error.code == "engine_broken"


def test_a_child_can_be_stopped(tmp_path):
    errand = scripted(tmp_path, "import time; print('{\"type\":\"Progress\",\"done\":1,\"total\":2}', flush=True); time.sleep(60)")
    until = time.monotonic() + 60
    while not errand.poll():
        assert time.monotonic() < until
        time.sleep(0.02)
    errand.stop()
    assert ended(errand)[-1].error.code == "cut"


def test_children_stay_offline_unless_a_button_was_pressed(monkeypatch):
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("SORA_OFFLINE", "0")
    plain, hub, pip = child.environment(), child.environment(hub=True), child.environment(network=True)
    assert (plain["SORA_OFFLINE"], plain["HF_HUB_OFFLINE"]) == ("1", "1") and not {"HF_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY", "PIP_INDEX_URL"} & set(plain)
    assert hub["SORA_OFFLINE"] == "0" and {"HF_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY"} <= set(hub) and "PIP_INDEX_URL" not in hub
    assert "HF_TOKEN" not in pip and "PIP_INDEX_URL" in pip
    monkeypatch.setenv("SORA_OFFLINE", "1")
    assert child.environment(hub=True)["SORA_OFFLINE"] == "1", "a studio's own word stands"


@pytest.mark.skipif(not ENGINE.exists(), reason="no engine is installed here")
def test_the_real_engine_is_understood(tmp_path):
    errand = catalogue.Errand(ENGINE, ROOT, ("list",), {"SORA_MODELS": str(tmp_path)})
    errand.start()
    found = catalogue.listing(ended(errand, 120)[-1].facts)
    assert found.folder == str(tmp_path) and found.free > 0 and {model.state for model in found.models} == {"absent"}
    assert found.lacking("wan", "").repository.startswith("Wan-AI/") and all(model.licence.text.startswith("https://") for model in found.models)
    offline = catalogue.Errand(ENGINE, ROOT, ("pull", "wan2.1-t2v-1.3b", "--ask"), {"SORA_MODELS": str(tmp_path)})
    offline.start()
    said = ended(offline, 120)[-1]
    assert "switched off" in said.error.sentence and said.error.remedy.action == "choose_folder"
