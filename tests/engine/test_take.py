"""A take on disk: claimed, resumed, never overwritten, complete only with its last file."""
import json
import os
from pathlib import Path

import pytest

from engine import take
from engine.errors import FolderError, ShotError, SoraError
from engine.frames import Printed, files
from engine.protocol import Size, Take, read_shot, read_take


def a_take(shot) -> Take:
    return Take(id=shot.id, shot=shot, files=files(shot), native=Size(96, 64), native_frames=5, device="CPU", created=take.now(), engine=take.versions(),
                seconds={"denoise": 1.5}, peak_bytes=1, notes=("ü 汉",))


def test_a_finished_take_reads_back_and_is_never_claimed_again(a_shot):
    shot = a_shot("ü 汉 {#%}")
    take.claim(shot)
    assert read_shot(shot.out) == shot
    with pytest.raises(FolderError):
        read_take(shot.out)
    take.finish(a_take(shot), (Printed("frames/plate.0001.png", 3, "ab"),))
    assert read_take(shot.out).shot == shot and read_take(shot.out).notes == ("ü 汉",)
    assert json.loads(Path(shot.out, "take.sequence.json").read_text())["files"] == [{"name": "frames/plate.0001.png", "size": 3, "sha256": "ab"}]
    with pytest.raises(ShotError, match="never overwritten"):
        take.claim(shot)


def test_an_unfinished_take_is_resumed_and_its_frozen_shot_kept(a_shot):
    shot = a_shot(landings=("strip",))
    take.claim(shot)
    before = Path(shot.out, "shot.json").read_bytes()
    take.claim(a_shot())
    assert Path(shot.out, "shot.json").read_bytes() == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_refused(a_shot, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FolderError, match="cannot be written"):
        take.claim(a_shot())


def test_a_folder_that_cannot_be_is_refused(a_shot, tmp_path):
    (tmp_path / "take").write_text("in the way")
    with pytest.raises(SoraError) as refused:
        take.claim(a_shot())
    assert refused.value.remedy.action == "choose_folder"
    with pytest.raises(SoraError):
        take.claim(a_shot(out="/proc/nowhere/take"))


def test_versions_name_what_touches_pixels():
    assert all(take.versions()[name] for name in ("engine", "python", "torch", "numpy", "av", "OpenEXR", "safetensors"))
