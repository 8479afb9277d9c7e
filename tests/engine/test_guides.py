"""Guides of every layout and kind read back as what was written; what does not fit is conformed and told, what is broken refused by name."""
import dataclasses
import json
import math

import cv2
import numpy as np
import OpenEXR
import pytest

from engine import camera, exr, guides
from engine.errors import GuideError
from engine.outlines import outlines
from engine.protocol import Guide, Shot, Size

FRAMES, HEIGHT, WIDTH = 3, 8, 12


def write(path, layers, several=False):
    """`layers`: pass -> {channel: (h, w)}. One part as Blender 4.5 writes it, or one for each pass as 5.x does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    named = {name: {f"ViewLayer.{name}.{channel}": np.ascontiguousarray(plane, np.float32) for channel, plane in planes.items()}
             for name, planes in layers.items()}
    parts = named.items() if several else [("", {key: plane for planes in named.values() for key, plane in planes.items()})]
    OpenEXR.File([OpenEXR.Part({**header, **({"name": f"ViewLayer.{name}"} if several else {})}, planes, name=f"ViewLayer.{name}" if several else "p")
                  for name, planes in parts]).write(str(path))


def plain(path, **planes):
    path.parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage},
                 {name: np.ascontiguousarray(plane, np.float32) for name, plane in planes.items()}).write(str(path))


def shot(tmp_path, *asked, frames=FRAMES, start=1):
    return Shot(id="t", family="blockout", prompt="p", seed=1, size=Size(WIDTH, HEIGHT), frames=frames, fps=24, out=str(tmp_path / "take"),
                frame_start=start, guides=asked)


def filled(value, *shape):
    return np.full((HEIGHT, WIDTH, *shape), value, np.float32)


def depths(tmp_path, planes, name="guides", several=False, start=1):
    folder = tmp_path / name
    for index, plane in enumerate(planes):
        write(folder / f"{start + index:04d}.exr", {"Combined": dict.fromkeys("RGBA", np.full_like(plane, 0.5)), "Depth": {"Z": plane}}, several)
    return Guide(kind="depth", path=str(folder))


def read(guide, tmp_path, size=None, start=0, count=1, frames=FRAMES):
    reader = guides.Reader(guide, shot(tmp_path, guide, frames=frames))
    return reader, reader.read(start, count, size)


# ---------------------------------------------------------------- depth
@pytest.mark.parametrize("several", [False, True], ids=["one part", "a part per pass"])
def test_depth_is_inverse_and_fixed_over_the_shot(tmp_path, several):
    guide = depths(tmp_path, [filled(2), filled(4), filled(8)], several=several)
    guides.check(shot(tmp_path, guide))
    reader, found = read(guide, tmp_path, count=3)
    assert found.shape == (3, HEIGHT, WIDTH, 1) and found.dtype == np.float32
    assert (reader.near, reader.far) == (2, 8)
    assert found[:, 0, 0, 0] == pytest.approx([1, (1 / 4 - 1 / 8) / (1 / 2 - 1 / 8), 0])


def test_near_and_far_of_the_guide_are_kept(tmp_path):
    guide = dataclasses.replace(depths(tmp_path, [filled(4)] * 3), near=1.0, far=9.0)
    reader, found = read(guide, tmp_path)
    assert (reader.near, reader.far) == (1, 9) and found.max() == pytest.approx((1 / 4 - 1 / 9) / (1 - 1 / 9))


def test_background_nan_and_infinity_are_background_and_noted(tmp_path):
    plane = filled(3)
    plane[0, 0], plane[0, 1], plane[0, 2], plane[0, 3], plane[1, 0] = np.nan, np.inf, -np.inf, -1, 1e10
    guide = depths(tmp_path, [plane, filled(6), filled(6)])
    reader, found = read(guide, tmp_path)
    assert (reader.near, reader.far) == (3, 6) and np.isfinite(found).all()
    assert found[0, 0, :4, 0].tolist() == [0, 0, 0, 0] and found[0, 1, 0, 0] == 0 and found[0, 2, 2, 0] == 1
    assert len(reader.notes) == 1 and "4 pixels" in reader.notes[0] and "0001.exr" in reader.notes[0]
    reader.read(0, 1)
    assert "4 pixels" in reader.notes[0]            # counted once, however often a frame is read


def test_a_flat_or_empty_shot_still_reads(tmp_path):
    assert read(depths(tmp_path, [filled(5)] * 3), tmp_path)[1].min() == 1
    assert read(depths(tmp_path, [filled(1e10)] * 3, "empty"), tmp_path)[1].max() == 0


def test_depth_pictures_are_inverse_depth_already(tmp_path):
    for index in range(FRAMES):
        picture(tmp_path / "d" / f"depth_{index}.png", filled(51, 3).astype(np.uint8))
    reader, found = read(Guide(kind="depth", path=str(tmp_path / "d")), tmp_path)
    assert found.shape[-1] == 1 and np.allclose(found, 0.2) and "white nearest" in reader.notes[0]


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


# ---------------------------------------------------------------- the other kinds
def camera_json(folder, rotation, frames=FRAMES):
    c2w = np.eye(4)
    c2w[:3, :3] = rotation
    view = {"c2w": c2w.ravel().tolist(), "K": [10.0, 10.0, 6.0, 4.0]}
    (folder / "camera.json").write_text(json.dumps({"size": [WIDTH, HEIGHT], "fps": 24, "frames": [{"frame": n + 1, **view} for n in range(frames)]}))


def normals(tmp_path, normal):
    for index in range(FRAMES):
        write(tmp_path / "guides" / f"{index + 1:04d}.exr", {"Normal": {axis: filled(value) for axis, value in zip("XYZ", normal)}}, several=True)
    return Guide(kind="normal", path=str(tmp_path / "guides"))


def test_world_normals_are_turned_into_the_camera(tmp_path):
    """A camera that looks along world +y with z up: what faces it, -y, has the camera-space normal +z."""
    guide = normals(tmp_path, (0, -1, 0))
    camera_json(tmp_path / "guides", [[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    assert np.allclose(read(guide, tmp_path)[1][0, 0, 0], (0, 0, 1), atol=1e-6)
    up = dataclasses.replace(normals(tmp_path, (0.6, 0, 0.8)))
    assert np.allclose(read(up, tmp_path)[1][0, 0, 0], (0.6, 0.8, 0), atol=1e-6)


def test_world_normals_without_a_camera_are_refused(tmp_path):
    with pytest.raises(GuideError, match="camera.json"):
        read(normals(tmp_path, (0, 0, 1)), tmp_path)


def test_plain_normals_are_in_camera_space_already(tmp_path):
    for index in range(FRAMES):
        plain(tmp_path / "n" / f"{index}.exr", R=filled(0), G=filled(-1), B=filled(0))
        picture(tmp_path / "p" / f"{index}.png", np.uint8([[[255, 128, 128]] * WIDTH] * HEIGHT))        # BGR: faces the camera
    reader, found = read(Guide(kind="normal", path=str(tmp_path / "n")), tmp_path)
    assert np.allclose(found[0, 0, 0], (0, -1, 0)) and "camera space" in reader.notes[0]
    assert np.allclose(read(Guide(kind="normal", path=str(tmp_path / "p")), tmp_path)[1][0, 0, 0], (0, 0, 1), atol=0.01)


def test_beauty_becomes_display_referred(tmp_path):
    for index in range(FRAMES):
        write(tmp_path / "b" / f"{index}.exr", {"Combined": {"R": filled(0.2140), "G": filled(4), "B": filled(0), "A": filled(1)}})
    assert np.allclose(read(Guide(kind="beauty", path=str(tmp_path / "b")), tmp_path)[1][0, 0, 0], (0.5, 1, 0), atol=1e-3)


def test_albedo_is_what_was_painted_and_default_grey_says_nothing(tmp_path):
    def painted(red, green, blue):
        return {"Denoising Albedo": {"R": filled(red), "G": filled(green), "B": filled(blue)}, "Combined": dict.fromkeys("RGBA", filled(0))}

    guide = Guide(kind="albedo", path=str(tmp_path / "a"))
    for index, colour in enumerate(((.2140, 1, 0), (.807, .807, .807), (0, 0, 0))):
        write(tmp_path / "a" / f"{index}.exr", painted(*colour))
    guides.check(shot(tmp_path, guide))
    reader, found = read(guide, tmp_path, count=3)
    assert reader.notes == ()
    assert "grey" in read(guide, tmp_path, start=1, count=2)[0].notes[0]
    assert found.shape == (3, HEIGHT, WIDTH, 4) and np.allclose(found[0, 0, 0], (.5, 1, 0, 1), atol=1e-3)
    assert not found[1].any() and not found[2].any()                # a new material's grey, and nothing at all


def test_a_lights_albedo_keeps_its_hue_and_its_rim_says_less(tmp_path):
    left = np.zeros((HEIGHT, WIDTH), np.float32)
    left[:, :3] = 1
    for index in range(FRAMES):
        write(tmp_path / "a" / f"{index}.exr", {"Denoising Albedo": {"R": 4 * left, "G": 4 * .2140 * left, "B": 0 * left}})
        picture(tmp_path / "p" / f"{index}.png", np.uint8([[[0, 0, 255]] * WIDTH] * HEIGHT))
    small = read(Guide(kind="albedo", path=str(tmp_path / "a")), tmp_path, Size(WIDTH // 2, HEIGHT))[1]
    assert np.allclose(small[0, 0, :3], [(1, .5, 0, 1), (.5, .25, 0, .5), (0, 0, 0, 0)], atol=1e-3)
    assert np.allclose(read(Guide(kind="albedo", path=str(tmp_path / "p")), tmp_path)[1][0, 0, 0], (1, 0, 0, 1))


def test_mask_is_alpha_of_a_render_or_the_picture_itself(tmp_path):
    for index in range(FRAMES):
        write(tmp_path / "m" / f"{index}.exr", {"Combined": {**dict.fromkeys("RGB", filled(0)), "A": filled(0.25)}})
        picture(tmp_path / "p" / f"{index}.png", filled(255).astype(np.uint8))
    assert np.allclose(read(Guide(kind="mask", path=str(tmp_path / "m")), tmp_path)[1], 0.25)
    assert read(Guide(kind="mask", path=str(tmp_path / "p")), tmp_path)[1].shape == (1, HEIGHT, WIDTH, 1)


def test_vectors_scale_with_the_picture_and_point_down(tmp_path):
    for index in range(FRAMES):
        write(tmp_path / "v" / f"{index}.exr", {"Vector": {"X": filled(4), "Y": filled(2), "Z": filled(9), "W": filled(9)}})
    found = read(Guide(kind="vector", path=str(tmp_path / "v")), tmp_path, Size(WIDTH // 2, HEIGHT // 4))[1]
    assert np.allclose(found[0, 0, 0], (2, -0.5))


def test_edges_are_drawn_from_depth_normals_and_objects(tmp_path):
    objects = filled(1)
    objects[:, 6:] = 2
    for index in range(FRAMES):
        write(tmp_path / "e" / f"{index}.exr", {"Depth": {"Z": filled(5)}, "Normal": {"X": filled(0), "Y": filled(0), "Z": filled(1)},
                                               "CryptoObject00": {"r": objects}})
    found = read(Guide(kind="edges", path=str(tmp_path / "e")), tmp_path)[1][0, ..., 0]
    assert (found[:, 5] == 1).all() and found.sum() == HEIGHT


def test_outlines_find_steps_and_creases_but_no_slopes():
    slope = np.tile(1 / np.linspace(4, 8, 40), (20, 1))         # linear depth is no plane; inverse depth linear is
    plane = np.tile(np.linspace(0.5, 0.1, 40), (20, 1))
    facing = np.zeros((20, 40, 3))
    facing[..., 2] = 1
    assert outlines(plane, facing).sum() == 0
    step = plane.copy()
    step[:, 20:] *= 0.5
    assert outlines(step, facing)[:, 19:21].all() and outlines(step, facing)[:, :18].sum() == 0
    corner = facing.copy()
    corner[:, 20:] = (math.sqrt(0.5), 0, math.sqrt(0.5))
    assert outlines(plane, corner)[:, 19].all()
    assert outlines(slope, facing).shape == (20, 40)


# ---------------------------------------------------------------- sizes and layouts
def test_frames_are_averaged_down_and_keep_their_order(tmp_path):
    half = filled(2)
    half[:, 1::2] = 1e10
    guide = dataclasses.replace(depths(tmp_path, [half, filled(2), filled(2)]), near=2.0, far=10.0)
    found = read(guide, tmp_path, Size(WIDTH // 2, HEIGHT // 2), count=2)[1]
    assert found.shape == (2, HEIGHT // 2, WIDTH // 2, 1) and np.allclose(found[0], 0.5) and np.allclose(found[1], 1)


def test_only_the_frames_asked_for_are_read(tmp_path):
    guide = dataclasses.replace(depths(tmp_path, [filled(2)] * 3), near=1.0, far=3.0)
    (tmp_path / "guides" / "0003.exr").write_bytes(b"damaged")
    assert read(guide, tmp_path, count=2)[1].shape[0] == 2
    with pytest.raises(GuideError, match="0003.exr"):
        read(guide, tmp_path, start=2)


def test_what_is_read_is_contiguous(tmp_path):
    wide = np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    plain(tmp_path / "1.exr", R=wide, G=wide + 1, B=wide + 2)
    found = exr.channels(tmp_path / "1.exr", ["B", "R"])
    assert found.flags.c_contiguous and np.array_equal(found[..., 0], wide + 2) and np.array_equal(found[..., 1], wide)


# ---------------------------------------------------------------- what is made to fit
NEAREST = 1.0


def shown(tmp_path, count, name, start=1, frames=FRAMES, first=1):
    """Which files a shot's frames show, by the metres in them, and what is said of it. `start` numbers the files, `first` the shot's frames."""
    guide = dataclasses.replace(depths(tmp_path, [filled(number) for number in range(start + 1, start + 1 + count)], name, start=start),
                                near=NEAREST, far=1e6)
    asked = shot(tmp_path, guide, frames=frames, start=first)
    guides.check(asked)
    reader = guides.Reader(guide, asked)
    return [round(NEAREST / value - 1) for value in reader.read(0, frames)[:, 0, 0, 0].tolist()], reader.notes


def test_a_longer_guide_is_cut_and_the_take_says_so(tmp_path):
    assert shown(tmp_path, 5, "long") == ([1, 2, 3], ("The depth guide has 5 frames, 1 to 5, the shot 3: 1 to 3 are shown",))
    assert shown(tmp_path, 8, "scene", first=4) == ([4, 5, 6], ("The depth guide has 8 frames, 1 to 8, the shot 3: 4 to 6 are shown",))
    assert shown(tmp_path, 5, "far", start=11) == ([11, 12, 13], ("The depth guide has 5 frames, 11 to 15, the shot 3: 11 to 13 are shown",))


def test_of_a_shorter_guide_the_last_frame_holds_and_the_take_says_so(tmp_path):
    assert shown(tmp_path, 2, "short", frames=4) == ([1, 2, 2, 2], ("The depth guide has 2 frames, 1 to 2, the shot 4: its last one holds",))
    assert shown(tmp_path, 1, "still") == ([1, 1, 1], ("The depth guide has 1 frame, the shot 3: its last one holds",))
    assert shown(tmp_path, 5, "scene", frames=4, first=3) == (
        [3, 4, 5, 5], ("The depth guide has 5 frames, 1 to 5, the shot 4: it begins with 3, and its last one holds",))


def test_a_guide_of_the_shots_length_fits_without_a_word(tmp_path):
    assert shown(tmp_path, 3, "fits") == ([1, 2, 3], ()) and shown(tmp_path, 3, "far", start=11) == ([11, 12, 13], ())


def test_a_guide_of_another_size_is_fitted_and_told(tmp_path):
    plane = np.full((2 * HEIGHT, 2 * WIDTH), 2, np.float32)
    reader, found = read(depths(tmp_path, [plane] * 3), tmp_path, Size(WIDTH, HEIGHT))
    assert found.shape[1:3] == (HEIGHT, WIDTH) and reader.notes == ("The depth guide was conformed from 24x16 to 12x8",)
    assert read(depths(tmp_path, [filled(2)] * 3, "own"), tmp_path, Size(WIDTH // 2, HEIGHT // 2))[0].notes == ()      # the model's size is another matter


def test_a_guide_of_another_shape_is_cropped_around_its_middle_and_told(tmp_path):
    wide = np.full((HEIGHT, 2 * WIDTH), 8, np.float32)
    wide[:, WIDTH // 2:WIDTH // 2 + WIDTH] = 2
    guide = dataclasses.replace(depths(tmp_path, [wide] * 3), near=2.0, far=8.0)
    reader, found = read(guide, tmp_path, Size(WIDTH, HEIGHT))
    assert (found == 1).all() and reader.notes == ("The depth guide was conformed from 24x8 to 12x8: of another shape, it was cropped to 12x8 around its middle",)
    for index in range(FRAMES):
        write(tmp_path / "v" / f"{index}.exr", {"Vector": dict.fromkeys("XY", np.full((HEIGHT, 2 * WIDTH), 4))})
    moved = read(Guide(kind="vector", path=str(tmp_path / "v")), tmp_path, Size(WIDTH // 2, HEIGHT // 2))[1]
    assert np.allclose(moved[0, 0, 0], (2, -2))                     # half the size of what is left, not a quarter


def test_a_camera_of_another_length_turns_the_normals_of_its_frames(tmp_path):
    """The camera's numbers are the shot's, the normals' are not."""
    guide = normals(tmp_path, (0, -1, 0))
    turned = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    camera_json(tmp_path / "guides", turned, frames=9)
    reader, found = read(guide, tmp_path)
    assert np.allclose(found[0, 0, 0], (0, 0, 1), atol=1e-6)
    assert reader.notes == ("The camera of the normal guide has 9 frames, 1 to 9, the shot 3: 1 to 3 are shown",)


def test_a_camera_to_follow_is_cut_held_and_cropped_like_the_pictures(tmp_path):
    (tmp_path / "guides").mkdir()
    rows = [{"frame": n, "c2w": [1, 0, 0, n, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], "K": [10.0, 10.0, 12.0, 4.0]} for n in range(1, 6)]
    (tmp_path / "guides" / "camera.json").write_text(json.dumps({"size": [2 * WIDTH, HEIGHT], "fps": 24, "frames": rows}))
    guide = Guide(kind="camera", path=str(tmp_path / "guides" / "camera.json"))
    followed, notes = camera.along(guide.path, shot(tmp_path, guide, frames=4, start=3))
    assert followed.c2w[:, 0, 3].tolist() == [3, 4, 5, 5] and followed.K[0].tolist() == [10, 10, 6, 4] and followed.size == Size(WIDTH, HEIGHT)
    assert "begins with 3" in notes[0] and "cropped to 12x8" in notes[1]


# ---------------------------------------------------------------- what is refused
def refusal(tmp_path, guide, frames=FRAMES, start=1):
    with pytest.raises(GuideError) as raised:
        guides.check(shot(tmp_path, guide, frames=frames, start=start))
    assert raised.value.sentence.endswith(".")
    return raised.value


def test_a_missing_frame_is_named(tmp_path):
    guide = depths(tmp_path, [filled(2)] * 5)
    (tmp_path / "guides" / "0003.exr").unlink()
    refused = refusal(tmp_path, guide, frames=5)
    assert "Frame 3" in refused.sentence and (refused.remedy.action, refused.remedy.value) == ("drop_guide", "depth")
    own = depths(tmp_path, [filled(2)] * 2, "take/guides")
    refused = refusal(tmp_path, own)
    assert "2 frames, 1 to 2" in refused.sentence and refused.remedy.action == "render_guides"


def test_a_source_clip_that_is_wrong_can_be_left_out(tmp_path):
    source = Guide(kind="beauty", path=str(tmp_path / "take" / "source"))
    with pytest.raises(GuideError) as refused:
        guides.check(dataclasses.replace(shot(tmp_path, source), source=source))
    assert (refused.value.remedy.action, refused.value.remedy.value) == ("leave_out", "source")


def test_too_much_of_what_was_rendered_for_the_shot_is_refused(tmp_path):
    refused = refusal(tmp_path, depths(tmp_path, [filled(2)] * 4, "take/guides"))
    assert "4 frames, 1 to 4" in refused.sentence and refused.remedy.action == "render_guides"


def test_any_first_number_will_do(tmp_path):
    guides.check(shot(tmp_path, depths(tmp_path, [filled(2)] * 3, start=0)))
    guides.check(shot(tmp_path, depths(tmp_path, [filled(2)] * 3, "far", start=1001)))


def test_a_frame_of_another_size_is_named(tmp_path):
    refused = refusal(tmp_path, depths(tmp_path, [filled(2), np.full((4, 6), 2), filled(2)]))
    assert "0002.exr" in refused.sentence and "6x4" in refused.sentence and "12x8" in refused.sentence


def test_a_damaged_file_is_named(tmp_path):
    guide = depths(tmp_path, [filled(2)] * 3)
    path = tmp_path / "guides" / "0002.exr"
    path.write_bytes(b"no EXR")
    refused = refusal(tmp_path, guide)
    assert "0002.exr" in refused.sentence and refused.remedy.action == "drop_guide"


@pytest.mark.parametrize("several", [False, True], ids=["one part", "a part per pass"])
def test_a_truncated_file_is_named(tmp_path, several):
    noise = np.random.default_rng(1).random((256, 256)) + 1
    write(tmp_path / "g" / "1.exr", {"Depth": {"Z": noise}, "Normal": dict.fromkeys("XYZ", noise)}, several)
    path = tmp_path / "g" / "1.exr"
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(GuideError, match="1.exr"):
        read(Guide(kind="depth", path=str(tmp_path / "g"), near=1.0, far=2.0), tmp_path, frames=1)


def test_a_folder_that_is_not_there_or_empty_or_of_another_kind_is_said(tmp_path):
    assert "nowhere" in refusal(tmp_path, Guide(kind="depth", path=str(tmp_path / "nowhere"))).sentence
    (tmp_path / "empty").mkdir()
    assert "no numbered" in refusal(tmp_path, Guide(kind="depth", path=str(tmp_path / "empty"))).sentence
    assert "vector" in refusal(tmp_path, dataclasses.replace(depths(tmp_path, [filled(2)] * 3), kind="vector")).sentence


def test_a_camera_file_is_checked(tmp_path):
    (tmp_path / "guides").mkdir()
    guide = Guide(kind="camera", path=str(tmp_path / "guides" / "camera.json"))
    assert "cannot be read" in refusal(tmp_path, guide).sentence
    camera_json(tmp_path / "guides", np.eye(3), frames=2)
    guides.check(shot(tmp_path, guide))             # its last one holds
    camera_json(tmp_path / "guides", np.eye(3), frames=0)
    assert "no frames" in refusal(tmp_path, guide).sentence
    (tmp_path / "guides" / "camera.json").write_text('{"frames": [{"frame": 1, "c2w": [1, 2], "K": [1, 2, 3, 4]}]}')
    assert "frame 1" in refusal(tmp_path, guide).sentence
    (tmp_path / "guides" / "camera.json").write_text("{")
    assert "damaged" in refusal(tmp_path, guide).sentence
