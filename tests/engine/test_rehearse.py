"""`python -m engine rehearse`, run as a person would: what it learns is what the first draft would have learned."""
import json
import os
import shutil
import threading

import pytest

from engine import rehearsal, rehearse
from engine.errors import FolderError, ShotError
from tests.engine.open_stage import staged


@pytest.fixture
def stage(tmp_path, checkpoints):
    with staged(tmp_path, checkpoints) as made:
        yield made


@pytest.fixture
def own(stage):
    """A checkpoint of its own, because something is written beside it."""
    def model(name: str):
        return shutil.copytree(stage.model(name), stage.folder / name, ignore=shutil.ignore_patterns(rehearsal.FILE))
    return model


def test_what_is_rehearsed_is_what_a_draft_would_have_learned(stage, own, engine_cli):
    folder = own("wan_text")
    done = engine_cli("rehearse", "--family", "wan", "--model", folder, "--steps", "4", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["key"] == "4 steps" and len(said["ratios"]["transformer"]) == 4
    drafted = {"draft": True, "draft_by": "magnitude", "steps": 4}
    take = stage.roll("wan", str(folder), **drafted)
    assert not any("learned first" in note for note in take.notes)
    (folder / rehearsal.FILE).unlink()
    assert any("learned first" in note for note in stage.roll("wan", str(folder), **drafted).notes)
    assert rehearsal.kept(folder) == {"4 steps": said["ratios"]}


def test_what_is_known_is_learned_again_only_where_it_is_asked_for(stage, own):
    folder = own("wan_text")
    known = {"4 steps": {"transformer": [1.0, 9.0, 9.0, 9.0]}, "9 steps": {"transformer": [1.0] * 9}}
    (folder / rehearsal.FILE).write_text(json.dumps(known))
    shot = rehearse.asked("wan", str(folder), 4, -1.0, "")
    for again in (False, True):
        path, key, ratios = rehearse.learned(shot, lambda progress: None, threading.Event(), stage.studio, again)
        assert (path, key) == (folder / rehearsal.FILE, "4 steps") and (ratios == known["4 steps"]) is not again
    assert rehearsal.kept(folder)["9 steps"] == known["9 steps"]
    alone = rehearse.asked("wan", str(folder), 4, 1.0, "")
    assert rehearse.learned(alone, lambda progress: None, threading.Event(), stage.studio)[1] == "4 steps, no guidance"


def test_what_cannot_be_rehearsed_is_refused_in_a_sentence(stage, own):
    with pytest.raises(ShotError, match="no preset called"):
        rehearse.asked("wan", "", 0, -1.0, "magic")
    with pytest.raises(ShotError, match="steps are out of range"):
        rehearse.asked("wan", "", -4, -1.0, "")
    folder = own("wan_text")
    (folder / rehearsal.FILE).mkdir()
    with pytest.raises(FolderError, match="cannot be kept"):
        rehearse.learned(rehearse.asked("wan", str(folder), 2, -1.0, ""), lambda progress: None, threading.Event(), stage.studio)


def test_what_was_known_before_is_not_taken_for_what_was_learned_again(stage, own):
    folder, known = own("wan_text"), {"2 steps": {"transformer": [1.0, 9.0]}}
    (folder / rehearsal.FILE).write_text(json.dumps(known))
    (folder / f".{rehearsal.FILE}.{os.getpid()}.partial").mkdir()     # nothing can be written beside it
    with pytest.raises(FolderError, match="cannot be kept"):
        rehearse.learned(rehearse.asked("wan", str(folder), 2, -1.0, ""), lambda progress: None, threading.Event(), stage.studio, again=True)
    assert rehearsal.kept(folder) == known
