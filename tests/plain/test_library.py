"""The library: what is found on disk, marked, thrown away and learnt from; and names that are legal everywhere."""
import re
from datetime import datetime
from pathlib import Path

import pytest

from sora.engine import protocol
from sora.engine.errors import FolderError
from sora.sora_addon import library


def lay(folder, name, *, prompt="a street", frames=5, size=(64, 64), seconds=10.0, peak=1000, created="2026-11-20T10:00:00Z",
        family="blockout", device="cpu"):
    """A take on disk, with empty frames."""
    place = Path(folder) / name
    shot = protocol.Shot(id=name, family=family, prompt=prompt, seed=1, size=protocol.Size(*size), frames=frames, fps=24.0, out=str(place))
    files = protocol.Files(folder="frames", pattern="plate.%04d.png", first=1, count=frames, colourspace="sRGB")
    take = protocol.Take(id=name, shot=shot, files=files, native=shot.size, native_frames=frames, device=device, created=created,
                         engine={}, seconds={"denoise": seconds * 0.75, "decode": seconds * 0.25}, peak_bytes=peak)
    (place / "frames").mkdir(parents=True)
    for frame in files.names():
        (place / "frames" / frame).touch()
    (place / protocol.TAKE_FILE).write_text(protocol.as_json(take), encoding="utf-8")
    return place


def test_takes_are_found_newest_first(tmp_path):
    lay(tmp_path, "b", created="2026-11-20T10:00:00Z")
    lay(tmp_path, "a", created="2026-11-20T12:00:00Z")
    lay(tmp_path, "c", created="2026-11-20T11:00:00Z")
    (tmp_path / "only a shot").mkdir()
    (tmp_path / "stray.txt").touch()
    assert [one.folder.name for one in library.scan(tmp_path)] == ["a", "c", "b"]


def test_no_folder_is_an_empty_library(tmp_path):
    assert library.scan(tmp_path / "nowhere") == []


def test_broken_takes_are_listed_with_the_reason(tmp_path):
    lay(tmp_path, "whole")
    (lay(tmp_path, "torn") / protocol.TAKE_FILE).write_text('{"id": "to', encoding="utf-8")
    (lay(tmp_path, "gap") / "frames" / "plate.0003.png").unlink()
    gone = lay(tmp_path, "empty") / "frames"
    for path in gone.iterdir():
        path.unlink()
    gone.rmdir()
    broken = {one.folder.name: one.broken for one in library.scan(tmp_path)}
    assert broken["whole"] == ""
    assert "damaged" in broken["torn"]
    assert "1 of 5" in broken["gap"] and "plate.0003.png" in broken["gap"]
    assert "gone" in broken["empty"]


def test_search_finds_every_word_whatever_the_case(tmp_path):
    lay(tmp_path, "one", prompt="A wet STRASSE in Tōkyō at night")
    lay(tmp_path, "two", prompt="a dog in a park")
    found = library.scan(tmp_path)
    assert [one.folder.name for one in library.search(found, "straße NIGHT")] == ["one"]
    assert len(library.search(found, "")) == 2


def test_marks_stay_with_the_take(tmp_path):
    folder = lay(tmp_path, "one")
    library.mark(folder, star=True)
    assert library.scan(tmp_path)[0].star and not library.scan(tmp_path)[0].rejected
    library.mark(folder, rejected=True)
    assert library.scan(tmp_path)[0].rejected and not library.scan(tmp_path)[0].star
    (folder / library.MARKS_FILE).write_text("[]")
    assert not library.scan(tmp_path)[0].star


def test_what_is_thrown_away_can_be_fetched_back(tmp_path):
    for _ in range(2):
        place = library.throw_away(tmp_path, lay(tmp_path, "one"))
        assert (place / "take.json").is_file() and place.parent == tmp_path / ".trash"
    assert library.scan(tmp_path) == [] and len(list((tmp_path / ".trash").iterdir())) == 2
    library.empty_trash(tmp_path)
    library.empty_trash(tmp_path)
    assert not (tmp_path / ".trash").exists()


def test_only_takes_of_the_library_are_thrown_away(tmp_path):
    lay(tmp_path / "takes", "one")
    with pytest.raises(FolderError):
        library.throw_away(tmp_path / "takes", tmp_path)
    with pytest.raises(FolderError):
        library.throw_away(tmp_path / "takes", tmp_path / "takes" / "nowhere")


def test_estimates_are_measured_or_absent(tmp_path):
    assert library.estimate(library.scan(tmp_path), "blockout", protocol.Size(64, 64), 5) is None
    lay(tmp_path, "small", seconds=10.0, peak=1000)
    lay(tmp_path, "large", seconds=80.0, frames=10, size=(128, 128), peak=5000)
    lay(tmp_path, "other", seconds=999.0, family="wan")
    found = library.scan(tmp_path)
    assert library.estimate(found, "blockout", protocol.Size(64, 64), 5) == library.Estimate(seconds=10.0, peak_bytes=1000, takes=2)
    assert library.estimate(found, "blockout", protocol.Size(128, 128), 20).peak_bytes == 5000
    assert library.estimate(found, "blockout", protocol.Size(64, 64), 5, device="cuda") is None


@pytest.mark.parametrize("scene, kept", [
    ("Scene", "Scene"), ("Straße ü汉", "Straße-ü汉"), ("a/b\\c", "a-b-c"), ("{#%}", ""), ("..", ""), ("take. ", "take"),
    ("u\u0308", "ü"), ("a\u202eb\x00c\n", "a-b-c"), ('<>:"|?*', ""), ("CON", "CON-scene"), ("lpt1.txt", "lpt1.txt-scene")])
def test_names_are_legal_everywhere(scene, kept):
    assert library.safe_name(scene) == kept


def test_ids_sort_by_time_and_are_unique(tmp_path):
    now = datetime(2026, 11, 20, 23, 50, 12)
    assert re.fullmatch(r"20261120-235012-street-[0-9a-f]{4}", library.take_id("street", now))
    assert re.fullmatch(r"20261120-235012-[0-9a-f]{4}", library.take_id("{%}", now))
    assert len({library.take_id("street", now) for _ in range(20)}) > 1


@pytest.mark.parametrize("scene", ["汉" * 300, "x" * 300, "👩‍👩‍👧‍👦" * 80])
def test_long_names_still_make_a_folder(tmp_path, scene):
    (tmp_path / library.take_id(scene, datetime.now())).mkdir()
