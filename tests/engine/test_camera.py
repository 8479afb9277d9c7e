"""Cameras: closed forms, Blender's own projection matrices as references, and the conventions that models rely on."""
from __future__ import annotations

import json

import numpy as np
import pytest

from engine import camera
from engine.camera import Cameras, Lens
from engine.errors import GuideError
from engine.protocol import Size

# Lens and render settings, matrix_world without its last row, a world point, and the pixel (from the upper left) where
# Object.calc_matrix_camera of Blender 5.0 puts it. Cameras are scaled on purpose: renderers ignore that.
BLENDER = (
    ({'focal': 110.753929, 'size': (832, 480), 'sensor_width': 38.817326, 'sensor_height': 14.781985, 'sensor_fit': 'AUTO', 'shift_x': -0.025946, 'shift_y': 0.080852, 'pixel_aspect': (1.0667, 1)},
     [[-0.868501, -0.038877, 1.829421, -2.40646], [0.124057, 2.019116, 0.101804, -2.65669], [-1.825624, 0.155701, -0.863389, 4.956449]],
     [-4.75269, -2.577564, 6.853258], [-129.774, 78.149]),
    ({'focal': 106.675331, 'size': (480, 832), 'sensor_width': 31.120295, 'sensor_height': 56.650509, 'sensor_fit': 'VERTICAL', 'shift_x': -0.402546, 'shift_y': -0.364031, 'pixel_aspect': (1, 1.5)},
     [[0.965299, 0.251409, 0.749095, 4.654801], [-0.788297, 0.387525, 0.885756, -0.638381], [-0.054195, -1.15878, 0.458743, 1.266483]],
     [3.216744, -2.589803, 0.120478], [892.103, 14.274]),
    ({'focal': 63.185963, 'size': (480, 832), 'sensor_width': 33.064075, 'sensor_height': 41.215439, 'sensor_fit': 'AUTO', 'shift_x': -0.15592, 'shift_y': -0.433388, 'pixel_aspect': (1, 1)},
     [[-1.587069, -0.307049, 1.550351, -2.061088], [-0.69212, 2.110259, -0.290572, 2.687919], [-1.420858, -0.684969, -1.590168, 3.72767]],
     [-3.404156, 3.787196, 5.225332], [118.008, -511.764]),
    ({'focal': 52.481224, 'size': (832, 480), 'sensor_width': 27.591063, 'sensor_height': 53.23436, 'sensor_fit': 'HORIZONTAL', 'shift_x': 0.366833, 'shift_y': 0.180971, 'pixel_aspect': (1, 1.5)},
     [[-1.700191, -0.528581, -0.032687, -0.688084], [-0.216684, 0.594023, 1.664722, 2.203113], [-0.483233, 1.593378, -0.631464, -2.623644]],
     [0.38581, -2.352884, -0.758406], [-202.204, 376.594]),
    ({'focal': 29.516312, 'size': (640, 640), 'sensor_width': 23.529087, 'sensor_height': 39.275642, 'sensor_fit': 'HORIZONTAL', 'shift_x': -0.314754, 'shift_y': 0.258107, 'pixel_aspect': (1, 1.5)},
     [[-0.445268, -1.529673, 0.429458, 2.873019], [-0.597195, 0.574434, 1.426878, -3.951283], [-1.472308, 0.229616, -0.708648, 3.130569]],
     [1.472395, -10.021771, 5.671898], [558.253, 466.942]),
    ({'focal': 98.745499, 'size': (640, 640), 'sensor_width': 35.540638, 'sensor_height': 17.921799, 'sensor_fit': 'AUTO', 'shift_x': 0.338476, 'shift_y': -0.316414, 'pixel_aspect': (1, 1.5)},
     [[-0.46926, 1.881731, 1.486344, 3.072264], [1.404487, -1.011889, 1.724481, 1.419373], [1.943591, 1.185541, -0.88729, 3.062578]],
     [-0.775988, -3.008639, 4.757903], [-205.65, 207.342]),
)


def a_path(frames=5) -> Cameras:
    """A camera that turns about y by 10 degrees a frame and moves by a metre along its first view."""
    poses = np.stack([np.eye(4)] * frames)
    for frame, angle in enumerate(np.radians(10) * np.arange(frames)):
        poses[frame, :3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        poses[frame, 2, 3] = frame
    K = np.tile([800.0, 810.0, 416.0, 240.0], (frames, 1)) + np.arange(frames)[:, None]
    return Cameras(frames=np.arange(frames) + 11.0, c2w=poses, K=K, size=Size(832, 480), fps=24.0)


@pytest.mark.parametrize("lens, world, point, pixel", BLENDER)
def test_points_land_where_blender_puts_them(lens, world, point, pixel):
    made = Lens(**{**lens, "size": Size(*lens["size"])})
    seen = camera.project(np.array([point]), camera.c2w([*world, [0, 0, 0, 1]]), camera.intrinsics(made))
    assert seen[0, :2] == pytest.approx(pixel, abs=0.02) and seen[0, 2] > 0


def test_a_36_mm_lens_on_a_36_mm_sensor_sees_as_wide_as_far():
    fx, fy, cx, cy = camera.intrinsics(Lens(focal=36, size=Size(1000, 500)))
    assert (fx, fy, cx, cy) == (1000, 1000, 500, 250)


def test_tall_pictures_fit_the_sensor_to_their_height():
    assert camera.intrinsics(Lens(focal=36, size=Size(500, 1000)))[0] == 1000
    assert camera.intrinsics(Lens(focal=36, size=Size(500, 1000), sensor_fit="HORIZONTAL"))[0] == 500
    assert camera.intrinsics(Lens(focal=24, size=Size(500, 1000), sensor_fit="VERTICAL"))[1] == 1000


def test_wide_pixels_need_a_shorter_focal_length_across():
    fx, fy, _, _ = camera.intrinsics(Lens(focal=36, size=Size(1000, 500), pixel_aspect=(2, 1)))
    assert fx == 1000 and fy == 2000


def test_shifting_the_lens_right_and_up_moves_the_picture_left_and_down():
    _, _, cx, cy = camera.intrinsics(Lens(focal=36, size=Size(1000, 500), shift_x=0.1, shift_y=0.1))
    assert (cx, cy) == (400, 350)


def test_blenders_untouched_camera_looks_down_and_opencvs_y_points_down():
    pose = camera.c2w(np.eye(4))
    assert pose[:3, 2].tolist() == [0, 0, -1] and pose[:3, 1].tolist() == [0, -1, 0] and pose[:3, 0].tolist() == [1, 0, 0]
    seen = camera.project(np.array([[1.0, 2.0, -4.0]]), pose, np.array([100.0, 100.0, 50.0, 50.0]))
    assert seen[0].tolist() == [75, 0, 4]


@pytest.mark.parametrize("to", [Size(416, 240), Size(1280, 704), Size(480, 480), Size(100, 300)])
def test_intrinsics_follow_the_picture(to):
    path, points = a_path(), np.array([[0.3, -0.2, 4.0], [-1.0, 0.5, 9.0]])
    before = camera.project(points, path.c2w[0], path.K[0])[:, :2]
    stretched = camera.project(points, path.c2w[0], path.resized(to).K[0])[:, :2]
    assert stretched == pytest.approx(before * [to.width / 832, to.height / 480])
    scale = max(to.width / 832, to.height / 480)
    covered = camera.project(points, path.c2w[0], path.fitted(to).K[0])[:, :2]
    assert covered == pytest.approx(before * scale - [(832 * scale - to.width) / 2, (480 * scale - to.height) / 2])
    assert path.fitted(to).size == path.resized(to).size == to


def test_cropping_moves_only_the_centre():
    assert camera.cropped(np.array([800.0, 810, 416, 240]), 16, -8).tolist() == [800, 810, 400, 248]


def test_the_matrix_of_intrinsics():
    assert camera.matrix(np.array([2.0, 3, 4, 5])).tolist() == [[2, 0, 4], [0, 3, 5], [0, 0, 1]]
    assert camera.matrix(np.ones((7, 4))).shape == (7, 3, 3)


def test_relative_poses_begin_at_the_identity_and_keep_distances():
    path = a_path()
    turned = camera.c2w(np.array(BLENDER[1][1] + [[0, 0, 0, 1.0]]))
    seen = camera.relative(turned @ path.c2w)
    assert seen[0].tolist() == np.eye(4).tolist()
    assert seen == pytest.approx(camera.relative(path.c2w), abs=1e-5), "where the world's origin is does not matter"
    assert seen[:, 2, 3] == pytest.approx(np.arange(5))


def test_rays_pass_through_the_middles_of_pixels():
    path, size = a_path(), Size(20, 12)
    path = path.fitted(size)
    for pose, K in zip(path.c2w, path.K):
        drawn = camera.rays(pose, K, size)
        moment, direction = drawn[..., :3], drawn[..., 3:]
        assert drawn.shape == (12, 20, 6)
        assert np.linalg.norm(direction, axis=-1) == pytest.approx(1)
        assert (moment * direction).sum(-1) == pytest.approx(0, abs=1e-9)
        points = pose[:3, 3] + 3 * direction.reshape(-1, 3)
        seen = camera.project(points, pose, K)[:, :2].reshape(12, 20, 2)
        assert seen[..., 0] == pytest.approx(np.tile(np.arange(20) + 0.5, (12, 1)))
        assert seen[..., 1] == pytest.approx(np.tile(np.arange(12)[:, None] + 0.5, (1, 20)))
        assert np.cross(points, direction.reshape(-1, 3)) == pytest.approx(moment.reshape(-1, 3)), "every point of a ray has its moment"


def test_a_ray_in_closed_form():
    pose = np.eye(4)
    pose[:3, 3] = (1, 2, 3)
    assert camera.rays(pose, np.array([5.0, 5, 0.5, 0.5]), Size(1, 1))[0, 0] == pytest.approx([2, -1, 0, 0, 0, 1])


def test_between_frames_the_camera_turns_and_moves_evenly():
    path = a_path()
    halfway = path.at([0, 0.5, 3.25, 4])
    angles = np.degrees(np.arctan2(halfway.c2w[:, 0, 2], halfway.c2w[:, 0, 0]))
    assert angles == pytest.approx([0, 5, 32.5, 40]) and halfway.c2w[:, 2, 3] == pytest.approx([0, 0.5, 3.25, 4])
    assert halfway.K[1, 0] == 800.5 and halfway.frames.tolist() == [11, 11.5, 14.25, 15]
    with pytest.raises(GuideError):
        path.at([4.5])


def test_a_half_turn_between_two_frames_stays_a_rotation():
    path = a_path(2)
    path.c2w[1, :3, :3] = np.diag([-1.0, 1, -1])
    turned = path.at([0.5]).c2w[0, :3, :3]
    assert turned @ turned.T == pytest.approx(np.eye(3)) and abs(turned[0, 2]) == pytest.approx(1)


def test_camera_json_comes_back_as_it_was(tmp_path):
    file = tmp_path / "camera.json"
    file.write_text(camera.as_json(a_path()))
    again = camera.read(file, frames=5)
    assert np.array_equal(again.c2w, a_path().c2w) and np.array_equal(again.K, a_path().K)
    assert again.size == Size(832, 480) and again.fps == 24 and again.frames.tolist() == [11, 12, 13, 14, 15]


def spoiled(change) -> str:
    written = json.loads(camera.as_json(a_path()))
    change(written)
    return json.dumps(written)


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"frames": 3, "size": [1, 1], "fps": 1}', "[" * 100_000,
    spoiled(lambda w: w["frames"].pop()), spoiled(lambda w: w["frames"][0].pop("K")), spoiled(lambda w: w["frames"][0]["c2w"].pop()),
    spoiled(lambda w: w["frames"][0].update(K=[0, 1, 1, 1])), spoiled(lambda w: w["frames"][1]["c2w"].__setitem__(0, 2.0)),
    spoiled(lambda w: w["frames"][1]["c2w"].__setitem__(0, float("nan"))), spoiled(lambda w: w["frames"][1]["c2w"].__setitem__(15, 2)),
    spoiled(lambda w: w["frames"][2].update(projection="orthographic")), spoiled(lambda w: w.update(size=[0, 5])),
    spoiled(lambda w: w["frames"][0].update(c2w=np.diag([-1.0, 1, 1, 1]).ravel().tolist()))])
def test_a_camera_file_that_makes_no_sense_is_said(tmp_path, text):
    (tmp_path / "camera.json").write_text(text)
    with pytest.raises(GuideError) as raised:
        camera.read(tmp_path / "camera.json", frames=5)
    assert raised.value.remedy.action == "render_guides"


def test_a_camera_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(GuideError):
        camera.read(tmp_path / "camera.json")
