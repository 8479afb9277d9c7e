"""The straight line from shot to take, with a tiny model of random weights loaded by the code that loads real ones."""
import hashlib
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import check, clip, families, shoot
from engine.errors import Cut, GuideError, KeyframeError, ModelError, ShotError
from engine.protocol import FrameGrid, Guide, Keyframe, Progress, Size, read_take
from tests.engine.roused import roused

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def studio():
    return shoot.Studio()


@pytest.fixture
def rolled(studio, a_shot):
    """roll(name, **fields) -> the take of such a shot."""
    def roll(name: str = "take", **fields):
        return shoot.roll(a_shot(name, **fields), lambda progress: None, threading.Event(), studio)
    return roll


def pixels(take) -> list[str]:
    return [hashlib.sha256(Path(take.shot.out, "frames", name).read_bytes()).hexdigest() for name in take.files.names()]


def image(path: Path) -> np.ndarray:
    import cv2
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGR2RGB)


def write_depth(folder: Path, frames: int, first: int = 1, size: Size = Size(96, 64), metres=lambda x, y, f: 2 + x * 8 + f) -> Guide:
    """A ramp in metres, as Blender's 4.5 layout stores it."""
    import OpenEXR
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:1:size.height * 1j, 0:1:size.width * 1j]
    for frame in range(frames):
        z = np.ascontiguousarray(metres(x, y, frame), dtype=np.float32)
        OpenEXR.File({}, {"ViewLayer.Depth.Z": z}).write(str(folder / f"{first + frame:04d}.exr"))
    return Guide(kind="depth", path=str(folder), near=1.0, far=40.0)


# ---------------------------------------------------------------- windows
@pytest.mark.parametrize("frames", [1, 2, 5, 48, 49, 50, 93, 94, 1440])
def test_windows_cover_every_frame_once_on_the_grid(frames):
    found = clip.stretches(frames, 49, 5, FrameGrid())
    fresh = [index for one in found for index in range(one.fresh, min(one.start + one.frames, frames))]
    assert fresh == list(range(frames)) and all((one.frames - 1) % 4 == 0 and one.frames <= 49 for one in found)
    assert all(later.start + 5 == later.fresh == before.start + before.frames for before, later in zip(found, found[1:]))


def test_seeds_of_windows_differ_and_stay():
    assert len({clip.seed(seed, index) for seed in range(20) for index in range(20)}) == 400
    assert clip.seed(7, 0) == clip.seed(7, 0) < 2 ** 63


def test_windows_hand_their_last_frames_on(rolled):
    take = rolled(frames=101)
    assert take.native_frames == 101 and any("3 windows" in note for note in take.notes) and len(pixels(take)) == 101
    short = rolled("short", frames=49)
    assert pixels(take)[:49] == pixels(short)


def test_what_a_tail_keeps_is_the_end_of_what_was_added():
    import torch
    frames, tail = torch.arange(11.0).view(11, 1, 1, 1), clip.Tail(5)
    for chunk in (frames[:1], frames[1:5], frames[5:9], frames[9:]):
        tail.add(chunk)
    assert tail.frames.flatten().tolist() == [6, 7, 8, 9, 10]


def test_a_jump_in_colour_is_measured_and_said():
    import torch
    joins, stretch = clip.Joins(), clip.Stretch(1, 44, 9, 49)
    joins.remember(torch.full((5, 3, 4, 4), 0.5))
    joins.compare(stretch, 44, torch.full((1, 3, 4, 4), 0.5))
    joins.compare(stretch, 49, torch.full((4, 3, 4, 4), 0.9))       # fresh frames may differ
    assert joins.notes() == ()
    joins.compare(stretch, 45, torch.full((4, 3, 4, 4), 0.54))
    assert "10.2 of 255" in joins.notes()[0]


# ---------------------------------------------------------------- takes
def test_the_take_tells_what_was_done(rolled):
    take = rolled(frames=6, size=Size(192, 128), prompt="a red car glorps")
    assert take.native == Size(120, 80) and "Up-scaled from 120x80 to 192x128" in take.notes and take.not_understood == ("glorps",)
    assert image(Path(take.shot.out, "frames/plate.0001.png")).shape == (128, 192, 3)
    assert {"load", "text", "guides", "denoise", "decode", "upscale", "encode", "write", "proxy", "total"} <= set(take.seconds)
    beside = ("total", "upscale", "encode")          # threads' own
    assert sum(seconds for stage, seconds in take.seconds.items() if stage not in beside) <= take.seconds["total"] + 0.01
    assert read_take(take.shot.out) == take


@pytest.mark.parametrize(("kind", "name"), [("png16", "plate.0001.png"), ("exr", "plate.0001.exr")])
def test_every_format_is_written(rolled, kind, name):
    take = rolled(frames=1, format=kind)
    assert take.files.names() == [name] and take.files.colourspace == ("Linear Rec.709" if kind == "exr" else "sRGB")
    assert Path(take.shot.out, "frames", name).stat().st_size > 1000


def test_settings_change_the_picture(rolled):
    plain = pixels(rolled("plain", frames=1))
    for name, fields in {"prompt": {"prompt": "a blue tower at night"}, "negative": {"negative": "night"}, "guidance": {"guidance": 1.0},
                         "steps": {"steps": 3}, "seed": {"seed": 8}}.items():
        assert pixels(rolled(name, frames=1, **fields)) != plain, name


def test_a_finished_take_is_not_touched_again(rolled):
    before = pixels(rolled())
    with pytest.raises(ShotError, match="never overwritten"):
        rolled(seed=9)
    assert pixels(read_again := rolled("other")) == before and read_again.shot.id == "other"


def test_progress_counts_up_and_the_time_left_down_to_nothing(studio, a_shot):
    said: list[Progress] = []
    shoot.roll(a_shot(frames=53), said.append, threading.Event(), studio)
    for stage, last in (("denoise", 4), ("decode", 53)):
        steps = [one.step for one in said if one.stage == stage]
        assert steps == sorted(steps) and steps[-1] == last and all(one.steps == last for one in said if one.stage == stage)
    assert said[-1].eta == 0 and all(one.shot == "take" for one in said)


@pytest.mark.parametrize("stage", ["load", "text", "guides", "denoise", "decode", "write", "proxy"])
def test_a_cut_stops_the_line_within_one_step(studio, a_shot, stage):
    cut, later = threading.Event(), []

    def say(progress: Progress) -> None:
        later.append(progress.stage)
        if progress.stage == stage and (stage != "decode" or progress.step > 2):
            cut.set()

    with pytest.raises(Cut):
        shoot.roll(a_shot(frames=9), say, cut, studio)
    assert later[-1] == stage and not Path(a_shot().out, "take.json").exists() and not list(Path(a_shot().out).rglob(".*"))


# ---------------------------------------------------------------- guides and keyframes
def test_guides_steer_and_their_strength_fades_them(rolled, tmp_path):
    near, far = write_depth(tmp_path / "near", 6), write_depth(tmp_path / "far", 6, metres=lambda x, y, f: 30 - y * 20 - f)
    found = {name: pixels(rolled(name, frames=6, guides=guides)) for name, guides in {
        "none": (), "near": (near,), "again": (near,), "far": (far,), "faded": (replace(near, strength=0.0),)}.items()}
    assert found["near"] == found["again"] and found["near"] != found["far"] and found["near"] != found["none"]
    assert found["faded"] == found["none"]


def test_only_the_frames_of_a_window_are_read(a_shot, tmp_path):
    shot = a_shot(frames=6, guides=(write_depth(tmp_path / "depth", 6),))
    guides = clip.Guides(shot)
    held = guides.window(4, 5, Size(48, 32), threading.Event())["depth"]
    assert held.shape == (5, 32, 48, 1) and (held[1:] == held[1]).all() and (held[0] != held[1]).any()
    Path(tmp_path / "depth/0001.exr").write_bytes(b"not read")
    assert guides.window(1, 2, Size(48, 32), threading.Event())["depth"].shape[0] == 2


def test_guides_that_do_not_fit_are_refused_before_anything_costs(a_shot, tmp_path):
    guide = write_depth(tmp_path / "depth", 5)
    Path(guide.path, "0003.exr").unlink()
    with pytest.raises(GuideError):
        check.shot(a_shot(guides=(guide,)))
    with pytest.raises(GuideError) as refused:
        check.shot(a_shot(guides=(replace(guide, kind="beauty"),)))
    assert (refused.value.remedy.action, refused.value.remedy.value) == ("drop_guide", "beauty")


def test_not_a_number_depth_is_survived_and_said(rolled, tmp_path):
    take = rolled(guides=(write_depth(tmp_path / "depth", 5, metres=lambda x, y, f: np.where(x < 0.2, np.nan, np.where(x > 0.8, np.inf, 3 + x))),))
    assert any("no distance" in note for note in take.notes)
    assert all(image(Path(take.shot.out, "frames", name)).std() > 0 for name in take.files.names())


def test_keyframes_are_conformed_said_and_steer(rolled, tmp_path):
    import cv2
    still = tmp_path / "stîll 汉.png"
    still.write_bytes(cv2.imencode(".png", np.full((90, 300, 3), (0, 0, 255), np.uint8))[1].tobytes())
    plain = rolled("plain", frames=9)
    take = rolled("held", frames=9, keyframes=(Keyframe(frame=0, path=str(still)), Keyframe(frame=8, path=str(still))))
    assert pixels(take)[0] != pixels(plain)[0] and "The keyframe at frame 0 was conformed from 300x90 to 96x64" in take.notes


def pictures(folder: Path, frames: int, size: Size, of) -> str:
    """Numbered PNGs; `of` gives each one's colour or picture by frame."""
    import cv2
    folder.mkdir()
    for frame in range(frames):
        shown = np.broadcast_to(np.asarray(of(frame), np.uint8), (size.height, size.width, 3))
        assert cv2.imwrite(str(folder / f"{frame + 1:04d}.png"), shown[..., ::-1])
    return str(folder)


def test_a_clip_to_begin_from_changes_as_much_as_asked(rolled, tmp_path):
    path = pictures(tmp_path / "clip", 5, Size(96, 64), lambda frame: (40 + 20 * frame, 90, 160))
    same, little, whole = (rolled(f"change {amount}", source=Guide(kind="beauty", path=path, strength=amount), steps=8) for amount in (.1, .4, 1.))
    nothing = rolled("from noise", steps=8)
    assert pixels(whole) == pixels(nothing) and len({tuple(pixels(take)) for take in (same, little, whole)}) == 3


def test_a_remix_begins_from_what_the_take_had_sampled(rolled, tmp_path):
    import shutil
    first = rolled("first")
    spoiled = Path(shutil.copytree(first.shot.out, tmp_path / "spoiled"))
    for name in first.files.names()[1:]:
        shutil.copyfile(spoiled / "frames" / first.files.names()[0], spoiled / "frames" / name)
    made, again = (rolled(f"from {folder.name}", source=Guide(kind="beauty", path=str(folder / "frames"), strength=.5), steps=4)
                   for folder in (Path(first.shot.out), spoiled))
    assert pixels(made) == pixels(again) and "had sampled" in " ".join(made.notes)


def test_what_lies_outside_a_mask_stays_to_the_bit(rolled, a_shot, tmp_path):
    size = Size(96, 64)
    noise = np.random.default_rng(1).integers(0, 256, (5, size.height, size.width, 3))
    clip_of = pictures(tmp_path / "clip", 5, size, lambda frame: noise[frame])
    anew = np.zeros((size.height, size.width, 3))
    anew[16:40, 32:64] = 255
    mask = Guide(kind="mask", path=pictures(tmp_path / "mask", 5, size, lambda frame: anew))
    take = rolled("masked", source=Guide(kind="beauty", path=clip_of), guides=(mask,))
    for frame, name in enumerate(take.files.names()):
        made = image(Path(take.shot.out, "frames", name))
        assert np.array_equal(made[anew == 0], noise[frame].astype(np.uint8)[anew == 0])
        assert np.abs(made[anew > 0].astype(float) - noise[frame][anew > 0]).mean() > 10
    with pytest.raises(GuideError, match="source clip"):
        shoot.roll(a_shot("alone", guides=(mask,)), lambda progress: None, threading.Event(), shoot.Studio())


def write_cameras(folder: Path, frames: int, speed: float, **row) -> Guide:
    """A camera that drives forward by `speed` metres a frame."""
    poses = [np.eye(4) for _ in range(frames)]
    for frame, pose in enumerate(poses):
        pose[2, 3] = speed * frame
    rows = [{"frame": frame, "c2w": pose.ravel().tolist(), "K": [80, 80, 48, 32], **row} for frame, pose in enumerate(poses)]
    folder.mkdir(exist_ok=True)
    path = folder / f"{speed} {len(row)}.json"
    path.write_text(json.dumps({"frames": rows, "size": [96, 64], "fps": 24}))
    return Guide(kind="camera", path=str(path))


def test_the_camera_is_followed_and_one_without_perspective_is_said(rolled, tmp_path):
    still, forward = (rolled(f"at {speed}", guides=(write_cameras(tmp_path / "cameras", 5, speed),)) for speed in (0., .4))
    flat = rolled("flat", guides=(write_cameras(tmp_path / "cameras", 5, .4, projection="orthographic"),))
    assert len({tuple(pixels(take)) for take in (still, forward, flat)}) == 3 and pixels(flat) == pixels(rolled("without"))
    assert "orthographic" in " ".join(flat.notes) and "orthographic" not in " ".join(forward.notes)


def test_blockouts_own_weights_draw_what_names_no_style_realistic(rolled):
    plain, styled = (rolled(f"{words[-5:]}", model="", prompt=words, steps=1) for words in ("a red car at noon", "a red car at noon, realistic"))
    first, second = ([image(Path(take.shot.out, "frames", name)) for name in take.files.names()] for take in (plain, styled))
    assert np.array_equal(first, second) and "“realistic” was added" in " ".join(plain.notes) and "added" not in " ".join(styled.notes)
    assert "added" not in " ".join(rolled("somebody's own", steps=1).notes)


def test_an_image_is_cropped_to_fill():
    picture = np.zeros((100, 300, 3), np.float32)
    picture[:, 100:200] = 1
    assert clip.conformed(picture, Size(40, 40)).mean() > 0.97 and clip.conformed(picture, Size(96, 32)).mean() == pytest.approx(1 / 3, abs=0.02)


def test_a_still_that_is_none_is_refused(a_shot, tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("text.png", "empty.png", "missing.png", "."):
        with pytest.raises(KeyframeError, match="keyframe"):
            check.shot(a_shot(keyframes=(Keyframe(frame=0, path=str(tmp_path / name)),)))


# ---------------------------------------------------------------- models and memory
def test_pickles_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no weights"):
        families.weights("blockout", str(tmp_path))
    (tmp_path / "a.safetensors").write_bytes(b"")
    (tmp_path / "b.CKPT").write_bytes(b"")
    with pytest.raises(ModelError, match="could run a program"):
        families.weights("blockout", str(tmp_path))
    with pytest.raises(ModelError, match="not there"):
        families.weights("blockout", str(tmp_path / "missing"))


def test_damaged_weights_are_refused_in_words(rolled, tiny_model, tmp_path):
    for path in tiny_model.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[:len(content) // 2] if path.suffix == ".safetensors" else content)
    with pytest.raises(ModelError, match="cannot be loaded"):
        rolled(model=str(tmp_path))


def test_the_spec_says_what_the_model_does(a_shot, studio):
    from engine.blockout import model
    spec, made = families.family("blockout").SPEC, studio.model(a_shot())
    assert (spec.native_area, spec.steps, spec.guidance) == (model.TRAINED_AREA, model.STEPS, model.GUIDANCE)
    assert set(spec.guides) == {*model.GIVEN, "mask"} and spec.models[0] == model.NAME
    assert made.window == spec.frames.floor(made.window) and made.overlap == spec.frames.floor(made.overlap)


PEAK = """
import json, sys, threading
from engine import shoot
from engine.protocol import Shot, decode
take = shoot.roll(decode(json.loads(sys.argv[1]), Shot), lambda progress: None, threading.Event(), shoot.Studio())
print(take.peak_bytes)
"""


def test_memory_follows_the_window(a_shot):
    from engine.protocol import as_json
    peaks = [int(subprocess.run([sys.executable, "-c", PEAK, as_json(a_shot(f"long{frames}", frames=frames))], cwd=ROOT, capture_output=True,
                                text=True, check=True).stdout) for frames in (49, 401)]
    assert peaks[1] <= 1.25 * peaks[0], json.dumps(peaks)


# ---------------------------------------------------------------- drafts
@pytest.fixture(scope="module")
def deep(tmp_path_factory) -> str:
    """The folder of a model of four blocks."""
    import torch

    from engine.blockout import model
    from engine.blockout.autoencoder import AutoencoderConfig
    from engine.blockout.transformer import TransformerConfig
    torch.manual_seed(0)
    made = model.Blockout(AutoencoderConfig(encoder=(4, 4, 8, 8), decoder=(8, 8, 8, 8), deep=1), TransformerConfig(width=48, depth=4, heads=1))
    folder = tmp_path_factory.mktemp("deep")
    model.save(roused(made), folder)
    return str(folder)


def test_a_draft_skips_blocks_and_leaves_no_trace(a_shot, deep):
    warm, fields = shoot.Studio(), {"model": deep, "frames": 53, "steps": 8}      # two windows, small first

    def roll(name: str, **more):
        return shoot.roll(a_shot(name, **fields, **more), lambda progress: None, threading.Event(), warm)
    full, draft, again = roll("full"), roll("draft", draft=True), roll("again")
    assert draft.evaluations == 2 * (8 + 4) * 4 and 0 < draft.skipped < draft.evaluations and draft.skipped % 3 == 0
    assert f"Draft: {draft.skipped} of {draft.evaluations} block evaluations were skipped" in draft.notes
    assert pixels(full) == pixels(again) != pixels(draft) and (full.evaluations, full.skipped) == (0, 0)


MAGNITUDE = {"draft": True, "draft_by": "magnitude"}


def test_a_draft_by_magnitude_is_learned_once_for_the_weights(a_shot, deep, tmp_path, monkeypatch):
    """What was learned lies in the caches, by what the weights are; other weights, other steps and no guidance have others."""
    monkeypatch.setenv("SORA_CACHE", str(tmp_path / "cache"))
    warm, fields = shoot.Studio(), {"model": deep, "steps": 8}

    def roll(name: str, **more):
        return shoot.roll(a_shot(name, **{**fields, **more}), lambda progress: None, threading.Event(), warm)
    full, first, second, again = roll("full"), roll("first", **MAGNITUDE), roll("second", **MAGNITUDE), roll("again")
    assert "learned first, in 8 steps" in " ".join(first.notes) and "learned first" not in " ".join(second.notes)
    assert pixels(first) == pixels(second) != pixels(full) == pixels(again) and (full.evaluations, full.skipped) == (0, 0)
    assert 0 < second.skipped < second.evaluations and (first.skipped, first.evaluations) == (second.skipped, second.evaluations)
    roll("alone", guidance=1.0, **MAGNITUDE)
    kept, = (tmp_path / "cache" / "magnitudes").iterdir()
    known = json.loads((kept / ".magnitudes.json").read_text())
    assert {key: {name: len(each) for name, each in found.items()} for key, found in known.items()} == {
        "8 steps": {"transformer": 8}, "8 steps, no guidance": {"transformer": 8}}
    assert not list(Path(deep).glob(".magnitudes*")), "nothing is written beside the weights"


def test_a_draft_by_magnitude_of_a_clip_that_is_kept_in_part_goes_by_its_own_steps(deep):
    """Of eight steps the last four are made: what was learned of the four before does not count."""
    from engine import device
    from engine.sampling.draft import Steady
    loaded = families.family("blockout").load(Path(deep), device.chosen())
    window = families.Window(frames=5, size=Size(96, 64), seed=1, steps=8, guidance=1.0, text=loaded.text("a red car"), negative=loaded.text(""),
                             guides={"depth": np.zeros((5, 64, 96, 1), np.float32)}, source=np.zeros((5, 64, 96, 3), np.float32), change=0.5,
                             draft=Steady(0.06, ratios={"transformer": [9.0] * 4 + [1.0] * 4}))
    assert len(list(loaded.sample(window))) == 4 and window.draft.skipped == 3 * 4 and window.draft.evaluations == 4 * 4


def test_what_a_draft_by_magnitude_differs_by(rolled, tmp_path, monkeypatch):
    """With the embedded weights, over a layout that is harder on it than those in scripts/LOG.md: a single slope."""
    monkeypatch.setenv("SORA_CACHE", str(tmp_path / "cache"))
    fields = {"model": "", "size": Size(128, 72), "frames": 25, "steps": 0, "prompt": "a red car passes behind stone pillars at sunset",
              "guides": (write_depth(tmp_path / "depth", 25, size=Size(128, 72)),), "refine_strength": 0.0}
    full, draft = rolled("full", **fields), rolled("draft", **fields, **MAGNITUDE)
    seen = [np.stack([image(Path(take.shot.out, "frames", name)) for name in take.files.names()]) / 255 for take in (full, draft)]
    decibels = -10 * np.log10(((seen[0] - seen[1]) ** 2).mean())
    assert decibels >= 24 and draft.skipped / draft.evaluations >= 0.3, f"{decibels:.1f} dB; measured: 26.5"


def test_where_nothing_is_kept_a_draft_by_magnitude_learns_each_time(rolled, monkeypatch):
    monkeypatch.setenv("SORA_CACHE", "")
    for name in ("one", "two"):
        assert "learned first" in " ".join(rolled(name, **MAGNITUDE).notes)
