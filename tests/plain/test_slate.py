"""The slate: what happens to shots in which order, and what is found again after a crash."""
import subprocess
import sys
from pathlib import Path

import pytest

from sora.engine import protocol
from sora.engine.errors import FolderError, Remedy, ShotError
from sora.sora_addon import claim, slate
from sora.sora_addon.slate import Cut, Entry, Failed, Printed, Queued, Rolling, Slate


def shot(name="one", folder=Path("/takes"), **more):
    return protocol.Shot(**{"id": name, "family": "blockout", "prompt": "a street", "seed": 1, "size": protocol.Size(64, 64),
                            "frames": 5, "fps": 24.0, "out": str(Path(folder) / name), **more})


def names(value):
    return [entry.shot.id for entry in value.entries]


def three():
    return Slate().add(shot("a")).add(shot("b")).add(shot("c"))


def test_a_shot_is_on_the_slate_once():
    with pytest.raises(ShotError):
        Slate().add(shot()).add(shot())


def test_shots_roll_in_their_order():
    value = three()
    assert value.following.shot.id == "a"
    value = value.put("a", Rolling(stage="guides", steps=5))
    assert value.rolling.shot.id == "a" and value.following.shot.id == "b"


def test_a_change_leaves_the_former_value_alone():
    before = three()
    before.cut("b")
    assert before.find("b").status == Queued()


def test_progress_then_done():
    value = three().put("a", Rolling(stage="waiting"))
    value = value.apply(protocol.Progress(shot="a", stage="denoise", step=2, steps=8, eta=3.5, preview="p.png"))
    value = value.apply(protocol.Progress(shot="a", stage="decode", step=1, steps=2))
    assert value.find("a").status == Rolling(stage="decode", step=1, steps=2, preview="p.png")
    value = value.apply(protocol.Done(shot="a", take="/takes/a", notes=("Trimmed.",)))
    assert value.find("a").status == Printed(take="/takes/a", notes=("Trimmed.",))
    assert value.following.shot.id == "b"


def test_failure_keeps_its_remedy():
    remedy = Remedy(action="set_frames", label="Use 41 Frames", value="41")
    value = three().put("a", Rolling(stage="denoise"))
    value = value.apply(protocol.Failed(shot="a", code="out_of_memory", sentence="Too long.", remedy=remedy))
    assert value.find("a").status == Failed(code="out_of_memory", sentence="Too long.", remedy=remedy)


def test_cutting():
    value = three().put("a", Rolling(stage="denoise")).cut("a").cut("b")
    assert value.find("a").status.cutting and value.find("b").status == Cut()
    value = value.apply(protocol.Progress(shot="a", stage="denoise", step=3))
    assert value.find("a").status.cutting
    assert value.apply(protocol.Cancelled(shot="a", printed=3)).find("a").status == Cut(printed=3)


@pytest.mark.parametrize("event", [
    protocol.Done(shot="a", take="x"), protocol.Done(shot="nobody", take="x"), protocol.Unloaded(),
    protocol.Ready(engine="1", device="cpu", families=(), pid=1), protocol.Progress(shot="b", stage="denoise")])
def test_events_about_shots_that_do_not_roll_change_nothing(event):
    value = three().cut("a")
    assert value.apply(event) == value


@pytest.mark.parametrize("who, by, order", [("c", -1, "acb"), ("c", -9, "cab"), ("a", 1, "bac"), ("a", 9, "bca"), ("x", 1, "abc")])
def test_reordering(who, by, order):
    assert "".join(names(three().move(who, by))) == order


def test_shooting_again_goes_to_the_end_and_never_over_a_take():
    value = three().put("a", Cut()).put("b", Printed(take="/takes/b"))
    assert names(value.retry("a")) == ["b", "c", "a"] and value.retry("a").find("a").status == Queued()
    assert value.retry("b") == value


def test_a_held_shot_waits_for_the_artist():
    value = three().hold("a", "The engine is missing.")
    assert value.following.shot.id == "b"
    assert value.retry("a").find("a").status == Queued()


def test_clearing_and_removing_spare_what_rolls():
    value = three().put("a", Rolling(stage="load")).put("b", Cut())
    assert names(value.clear()) == ["a", "c"]
    assert names(value.remove("a").remove("c")) == ["a", "b"]


# ---------------------------------------------------------------- after a crash
@pytest.mark.parametrize("status", [
    Queued(), Rolling(stage="denoise", step=3, steps=8), Cut(printed=4), Printed(take="/takes/ü汉", notes=("x",)),
    Failed(code="disk_full", sentence="The disk is full.", remedy=Remedy(action="free_disk", label="Show Folder", value="/takes"))])
def test_a_status_survives_on_disk(tmp_path, status):
    slate.save(Entry(shot=shot(folder=tmp_path), status=status), owner="someone")
    assert slate.saved(tmp_path / "one") == (status, "someone")


def lay(folder, name, status=None, owner=""):
    slate.freeze(shot(name, folder))
    if status:
        slate.save(Entry(shot=shot(name, folder), status=status), owner)


def test_resuming_offers_what_was_not_printed_and_nothing_else(tmp_path):
    lay(tmp_path, "1 rolling", Rolling(stage="denoise", step=2))
    lay(tmp_path, "2 queued", Queued())
    lay(tmp_path, "3 failed", Failed(code="failed", sentence="No."))
    lay(tmp_path, "4 no state")
    lay(tmp_path, "5 printed", Rolling(stage="proxy"))
    (tmp_path / "5 printed" / protocol.TAKE_FILE).write_text("{}")
    lay(tmp_path, "6 torn state")
    (tmp_path / "6 torn state" / slate.STATE_FILE).write_text('{"status": "rol')
    lay(tmp_path, "7 torn shot")
    (tmp_path / "7 torn shot" / protocol.SHOT_FILE).write_text('{"id": ')
    lay(tmp_path, ".trash")
    left = Slate.resume(tmp_path)
    assert names(left) == ["1 rolling", "2 queued", "3 failed", "4 no state", "6 torn state"]
    assert left.following is None, "nothing starts by itself"
    assert left.find("1 rolling").status.held and left.find("3 failed").status == Failed(code="failed", sentence="No.")
    assert left.retry("1 rolling").following.shot.id == "1 rolling"


def test_a_moved_folder_of_takes_is_resumed_where_it_is_now(tmp_path):
    lay(tmp_path / "before", "one", Queued())
    (tmp_path / "before").rename(tmp_path / "now")
    assert Slate.resume(tmp_path / "now").entries[0].shot.out == str(tmp_path / "now" / "one")


def test_no_folder_is_an_empty_slate(tmp_path):
    assert Slate.resume(tmp_path / "nowhere") == Slate()


OTHER_BLENDER = """
import sys
sys.path.insert(0, sys.argv[1])
import conftest
from pathlib import Path
from sora.sora_addon.claim import Claim
claim = Claim(Path(sys.argv[2]))
print(claim.name, flush=True)
sys.stdin.read()
"""


def test_shots_of_another_living_blender_are_its_own_until_it_is_killed(tmp_path):
    tests = Path(__file__).resolve().parents[1]
    other = subprocess.Popen([sys.executable, "-c", OTHER_BLENDER, str(tests), str(tmp_path)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    try:
        name = other.stdout.readline().strip()
        lay(tmp_path, "one", Rolling(stage="denoise"), owner=name)
        assert claim.alive(tmp_path, name)
        assert Slate.resume(tmp_path) == Slate()
        with pytest.raises(ShotError):
            claim.Claims().take(shot("one", tmp_path), name)
    finally:
        other.kill()
        other.wait()
    assert names(Slate.resume(tmp_path)) == ["one"]
    mine = claim.Claims()
    mine.take(shot("one", tmp_path), name)
    mine.release()


def test_an_unwritable_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError):
        slate.freeze(shot("one", tmp_path / "file"))
    with pytest.raises(FolderError):
        claim.Claims().take(shot("one", tmp_path / "file"), "")


def test_rendered_guides_take_the_place_of_the_asked_ones():
    rendered = shot("b", guides=(protocol.Guide(kind="depth", path="/takes/b/guides", near=1.0, far=9.0),))
    assert three().ready(rendered).find("b").shot == rendered and names(three().ready(rendered)) == ["a", "b", "c"]
