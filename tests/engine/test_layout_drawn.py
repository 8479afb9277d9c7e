"""Layouts: boxes as they are drawn at any size, files that are refused, and what VACE makes of them."""
import dataclasses
import json

import numpy as np
import pytest

from engine import guides
from engine.diffusers_line.vace_guides import hint
from engine.errors import GuideError
from engine.protocol import Guide, Size
from tests.engine.open_stage import FRAMES, SIZE, differing, staged

BOX = [10, 8, 40, 30]


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("layouts"), checkpoints) as made:
        yield made


def boxed(stage, *boxes, name="layout", **fields) -> Guide:
    """The same boxes in each frame."""
    path = stage.folder / f"{name}.json"
    path.write_text(json.dumps({"size": [SIZE.width, SIZE.height], "frames": [{"frame": at + 1, "boxes": list(boxes)} for at in range(FRAMES)]} | fields))
    return Guide(kind="layout", path=str(path))


def read(stage, guide: Guide, size: Size | None = None) -> np.ndarray:
    shot = stage.shot("vace", "vace", guides=(guide,))
    guides.check(shot)
    return guides.Reader(guide, shot).read(0, FRAMES, size)


def test_a_box_is_its_outline_at_any_size(stage):
    for scale in (1, 2):
        found = read(stage, boxed(stage, BOX), Size(SIZE.width * scale, SIZE.height * scale))
        assert found.shape == (FRAMES, SIZE.height * scale, SIZE.width * scale, 1) and set(np.unique(found)) == {0, 1}
        left, top, right, bottom = (side * scale for side in BOX)
        rows, columns = np.nonzero(found[0, ..., 0])
        assert np.abs(np.array([columns.min(), rows.min(), columns.max(), rows.max()]) - [left, top, right, bottom]).max() <= 1
        assert not found[0, top + 2:bottom - 1, left + 2:right - 1].any() and found[0, top, left:right].all() and found[0, top:bottom, right].all()


def test_frames_without_boxes_are_empty_and_what_lies_outside_is_cut(stage):
    assert not read(stage, boxed(stage)).any()
    found = read(stage, boxed(stage, [-20, -20, SIZE.width + 20, 30]))[0, ..., 0]
    assert found[30].all() and found[10, 0] == found[10, -1] == 1 and not found[10, 2:-2].any() and not found[34:].any()


def test_boxes_of_another_shape_and_length_are_fitted_and_told(stage):
    """Of a picture twice as wide, the middle half: a box that lies beside it is not drawn at its edge."""
    rows = [{"frame": at + 1, "boxes": [[20 + SIZE.width // 2, 8, 40 + SIZE.width // 2, 30], [0, 8, 20, 30]]} for at in range(4)]
    wide = boxed(stage, name="wide", size=[2 * SIZE.width, SIZE.height], frames=rows)
    shot = stage.shot("vace", "vace", guides=(wide,))
    guides.check(shot)
    reader = guides.Reader(wide, shot)
    found = reader.read(0, FRAMES, SIZE)
    assert len(found) == FRAMES and np.array_equal(found[-1], read(stage, boxed(stage, [20, 8, 40, 30], name="middle"), SIZE)[0])
    assert "4 frames" in reader.notes[0] and "its last one holds" in reader.notes[0] and "cropped" in reader.notes[1]


@pytest.mark.parametrize("fields", [{"size": []}, {"size": [0, 48]}, {"frames": []}, {"frames": [{"frame": 1, "boxes": [[1, 2, 3]]}] * FRAMES},
                                    {"frames": [{"frame": 1, "boxes": [[40, 8, 10, 30]]}] * FRAMES},
                                    {"frames": [{"frame": 1, "boxes": [["a", 2, 3, 4]]}] * FRAMES}])
def test_what_is_no_layout_is_refused(stage, fields):
    with pytest.raises(GuideError) as refused:
        read(stage, boxed(stage, BOX, name="odd", **fields))
    assert refused.value.sentence.endswith(".") and refused.value.remedy.action == "drop_guide"


def test_a_layout_that_is_not_there(stage):
    with pytest.raises(GuideError, match="cannot be read"):
        read(stage, dataclasses.replace(boxed(stage, BOX), path=str(stage.folder / "none.json")))


def test_vace_sees_dark_boxes_on_white(stage):
    shown = hint("layout", read(stage, boxed(stage, BOX)))
    assert shown[0, 0, 0, 0] == 1 and shown[0, BOX[1], BOX[0], 0] == 0 and shown.mean() > 0.8


def test_boxes_count(stage):
    made = stage.latent("vace", "vace", guides=(boxed(stage, BOX),))
    assert differing(made, stage.latent("vace", "vace", guides=(boxed(stage, BOX, name="again"),))) == []
    assert differing(made, stage.latent("vace", "vace", guides=(boxed(stage, [20, 8, 50, 30], name="moved"),)))
    assert differing(made, stage.latent("vace", "vace"))
