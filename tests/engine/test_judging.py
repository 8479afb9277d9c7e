"""The evaluation's own parts: measures on pictures whose answer is known, judges that learn, and every line on small random weights."""
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.blockout import data, model, varied, world
from engine.blockout.autoencoder import AutoencoderConfig
from engine.blockout.train_autoencoder import as_video
from engine.blockout.transformer import TransformerConfig
from engine.guides import Reader
from engine.judging import attributes, begun, glimpses, judges, lasting, learning, looks, pixels, rows, scores, shown, studio, tasks
from engine.judging.exam import Exam, painted
from engine.judging.studio import Native, Shots, Wish
from engine.protocol import Size
from tests.engine.roused import roused

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exam():
    return Exam.rendered(4)


@pytest.fixture(scope="module")
def blockout():
    torch.manual_seed(0)
    return roused(model.Blockout(AutoencoderConfig(encoder=(8, 8, 12, 16), decoder=(16, 12, 8, 8), deep=1), TransformerConfig(width=48, depth=1, heads=2)))


@pytest.fixture(scope="module")
def native(blockout):
    return Native(blockout, steps=1)


class Mirror:
    """Makes exactly what was rendered, whatever the words: the ceiling of every line."""
    keyframes = negative = references = rates = sources = changes = True

    def __init__(self, exam):
        self.exam = exam

    def clip(self, wish):
        return self.exam.video[wish.seed:wish.seed + 1]

    def returned(self, video, guides=studio.NONE):
        return video

    def shows(self, *frames):
        return True


class Copier:
    """Gives back the clip that it is to begin from, or grey: the worst that a region or another look can be."""
    keyframes = negative = references = rates = sources = changes = True

    def clip(self, wish):
        return wish.source if wish.source is not None else torch.zeros(1, 3, wish.frames, 40, 64)

    def returned(self, video, guides=studio.NONE):
        return video

    def shows(self, *frames):
        return True


class Plain:
    """Takes words alone."""
    keyframes = negative = references = rates = sources = changes = False
    spec = SimpleNamespace(guides=(), longest=121)

    def shows(self, *frames):
        return False


# ---------------------------------------------------------------- measures
def test_edges_are_judged_against_the_layout():
    depth = torch.zeros(2, 1, 5, 24, 32)
    depth[:, :, :, 8:16, 8:20] = 1
    layout = pixels.depth_edges(depth)
    assert pixels.edge_f1(depth.expand(-1, 3, -1, -1, -1) * 2 - 1, layout).min() > .99
    assert pixels.edge_f1(torch.roll(depth, 6, -1).expand(-1, 3, -1, -1, -1), layout).max() < .7
    assert np.isnan(pixels.edge_f1(torch.zeros(1, 3, 5, 24, 32), torch.zeros(1, 5, 24, 32, dtype=torch.bool))).all()


def test_ground_up_to_the_horizon_has_no_edge_but_that():
    rise = np.linspace(0, .8, 40)[:, None].repeat(30, 1)
    rise[:20] = 0
    normal = np.zeros((40, 30, 3))
    normal[20:, :, 1] = 1
    rise[25:35, 10:20], normal[25:35, 10:20] = 1., (0, 0, 1)
    edges = pixels.layout_edges(rise, normal)
    assert edges[20].sum() > 25 and edges[26:34, 10].all() and not edges[24:, 22:].any() and not edges[:18].any()


def test_the_distance_of_edges_is_in_pixels():
    frame = torch.zeros(3, 30, 40)
    frame[:, :, 20:] = 1
    layout = np.zeros((30, 40), bool)
    layout[:, 23] = True
    assert np.median(pixels.edge_distance(frame, layout)) == pytest.approx(3.5, abs=.6)


def test_lab_is_cie():
    found = pixels.lab(torch.tensor([[1., 1., 1.], [1., 0., 0.], [0., 0., 0.]]))
    assert torch.allclose(found, torch.tensor([[100., 0., 0.], [53.24, 80.09, 67.2], [0., 0., 0.]]), atol=.2)


def test_lines_hold_their_interval_and_nothing_is_made_of_nothing():
    line = scores.share([1., 0., 1., np.nan], [1., 1., 1., np.nan], [0., 0., 0., 1.])
    assert line.value == pytest.approx(2 / 3) and line.low <= line.value <= line.high and line.clips == 3 and line.chance == .25
    assert scores.share([np.nan], [np.nan]).value is None and scores.left_out("why").as_json()["note"] == "why"
    assert scores.spearman((0, 1, 2), (3., 4., 9.)) == pytest.approx(1) and scores.spearman((0, 1), (5., 5.)) == 0
    assert scores.spearman((0, 1, 2, 3), (7., 7., 3., 3.)) == pytest.approx(-.894, abs=.001)       # equal values are not an order
    assert "0.67" in scores.table({"x": line})


def test_parts_say_which_thing_is_seen():
    clip = data.clip(9_500_001, 3, 40, 64, kind="objects", style="photo", count=2)
    parts = data.parts(clip.scene, 40, 64)
    assert parts.shape == (3, 40, 64) and {0, 1} <= set(np.unique(parts)) <= {0, 1, data.GROUND, data.SKY}
    inverse, normal = data.geometry(clip.scene, 40, 64)
    near = np.abs(inverse.astype(float) - clip.inverse_depth) < .02
    assert near.mean() > .9 and normal.shape == clip.normal.shape


def test_a_painted_thing_is_read_as_its_colour(exam):
    i = next(i for i, c in enumerate(exam.clips) if c.scene.style == "photo")
    for colour in ("red", "blue", "white"):
        shown = data.render(painted(exam.clips[i].scene, 0, colour), 40, 64)[0]
        video = torch.from_numpy(shown).permute(3, 0, 1, 2).float() / 127.5 - 1
        assert attributes.CHOICES["colour"][exam.measured_colour(video, i)] == colour


# ---------------------------------------------------------------- judges
def test_judges_learn_and_are_kept(tmp_path):
    first = learning.judges(tmp_path, 12, share=.01, jobs=1)
    again = learning.judges(tmp_path, 12, share=.01, jobs=1)
    video = torch.rand(2, 3, 17, 40, 64) * 2 - 1
    assert len(list(tmp_path.glob("glimpses-*.npz"))) == 1
    for name, p in first.read(video, torch.ones(2, 17, 40, 64, dtype=torch.bool)).items():
        assert p.shape == (2, len(attributes.CHOICES[name]))
        assert torch.allclose(p, again.read(video, torch.ones(2, 17, 40, 64, dtype=torch.bool))[name], atol=1e-3)


def test_glimpses_know_what_they_show():
    found = glimpses.glimpsed(range(glimpses.SEEDS + 1, glimpses.SEEDS + 2))
    rgb, parts, things, scene = (getattr(found, name)[0] for name in ("rgb", "parts", "things", "scene"))
    assert rgb.shape == (5, 40, 64, 3) and parts.shape == (5, 40, 64) and things.shape == (2, 2) and (things[:, 1] >= 0).all() and scene.shape == (4,)


def test_a_crop_is_about_its_thing():
    frame, mask = torch.zeros(1, 3, 40, 64), torch.zeros(1, 40, 64)
    frame[:, 0, 10:22, 30:42], mask[:, 10:22, 30:42] = 1, 1
    centre, half, area = judges.boxes(mask)
    crop = judges.crops(frame, centre, half)[0, 0]
    assert area.item() == 144 and crop[8:24, 8:24].min() > .9 and crop[:3].max() == 0 and crop[:, :3].max() == 0
    assert .45 < crop.mean() < .65                                              # MARGIN squared


def test_flow_sees_which_way_a_picture_goes():
    still = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 12, generator=torch.Generator().manual_seed(0)), (40, 84), mode="bicubic")
    video = torch.stack([still[..., 4 * t:4 * t + 64] for t in range(5)], 2) * 2 - 1
    across = judges.flow(video)[:, 0:8:2, 2:-2, 4:-4]
    assert across.mean() == pytest.approx(-1, abs=.15)                          # eight pixels at twice the size


def test_a_clip_in_a_mirror_moves_the_other_way(exam):
    moved, other = judges.flow(exam.video), judges.flow(exam.video.flip(-1))
    assert (judges.in_a_mirror(moved) - other).abs().mean() < .25 * moved.abs().mean()
    assert torch.equal(judges.in_a_mirror(judges.in_a_mirror(moved)), moved)
    named = lambda turned: [attributes.CHOICES["camera"][i] for i in turned.tolist()]
    assert dict(zip(attributes.CHOICES["camera"], named(attributes.MIRRORED)))["orbit left"] == "orbit right"
    assert dict(zip(attributes.CHOICES["camera"], named(attributes.BACKWARDS)))["dolly in"] == "dolly out"


# ---------------------------------------------------------------- lines
def test_what_was_rendered_scores_its_own_ceiling(exam):
    torch.manual_seed(0)
    judging, mirror = judges.Judges().eval(), Mirror(exam)
    videos = rows.videos(mirror, exam)
    lines, own = rows.adherence(judging, exam, videos)
    lines |= rows.layout(mirror, exam, videos) | rows.motion(exam, videos) | rows.codec(exam, videos) | rows.first_frame(mirror, exam, 2)
    assert lines["colour"].value == 1 == lines["colour"].truth and lines["depth_edges"].value == pytest.approx(1)
    assert lines["flicker"].value == lines["dynamic"].value == pytest.approx(1) and lines["swap_gap"].value < 0
    assert lines["codec_psnr"].value > 60 > lines["codec_psnr"].chance and lines["first_frame_psnr"].value > 60
    assert {"truth", "text", "depth", "guides", "chance"} <= set(own)


def test_seeds_make_the_same_clip_and_other_seeds_another(native, exam):
    line = rows.seeds(native, exam, 1)["seed_hash"]
    assert line.value == 1 and line.chance == 0


def test_things_are_hidden_as_long_as_asked():
    for hidden in tasks.FRAMES_HIDDEN:
        scene, caption = tasks._passing(tasks.HIDING_SEEDS + 1, hidden)
        area = torch.from_numpy(data.parts(scene, 40, 64) == 0).flatten(1).sum(1)
        before, after, gone = tasks._before_and_after(area)
        assert before and after and abs(gone - hidden) <= 1 and "behind a concrete wall" in caption


def test_the_lines_with_scenes_of_their_own_are_measured(native, exam):
    torch.manual_seed(0)
    found = tasks.binding(native, 1) | tasks.permanence(native, 1, (4,))
    found |= tasks.steering(native, judges.Judges().eval(), exam, 1, tasks.PROBES[:1], seeds=1)
    found |= tasks.upscaled_edges(native, 1, (208, 120), (64, 40))
    assert found["binding"].truth == 1 == found["permanence"].truth == found["permanence_told"].truth and -1 <= found["weight"].value <= 1
    found |= shown.reference(native, 2) | shown.rate(native, 1)
    assert found["reference"].truth == 1 and found["reference"].clips == 2 and -1 <= found["rate"].value <= 1 and "times as much" in found["rate"].note
    assert found["upscale_edge_px"].value >= 0 and found["negative"].clips == 1


# ---------------------------------------------------------------- shots that begin from pictures, long shots
def test_a_seam_is_as_many_times_as_much_as_changes_about_it():
    steps = torch.tensor([0., 1, 2, 3, 4, 5, 6, 7, 8, 9]) / 20
    clip = steps.view(1, -1, 1, 1).expand(3, -1, 4, 4)
    assert begun.seam(clip, clip[:, :5]) == pytest.approx(1, rel=1e-3)
    jumped = torch.cat([clip[:, :5], clip[:, 5:] + .1], 1)
    assert begun.seam(jumped, clip[:, :5]) == pytest.approx(3, rel=1e-3)


def test_a_joint_is_seen_when_it_jumps_and_when_a_picture_comes_twice():
    clip = (torch.arange(10.) / 20).view(1, -1, 1, 1).expand(3, -1, 4, 4)
    before, after = clip[:, :5], clip[:, 5:]
    assert begun.joint(before, after) == pytest.approx(1, rel=1e-3) == begun.joints(clip[:, :4], clip[:, 4:6], clip[:, 6:])
    assert begun.joint(before, after + .1) == pytest.approx(3, rel=1e-3) == begun.joints(clip[:, :4], clip[:, 4:6], clip[:, 6:] + .1)
    assert begun.joint(before, torch.cat([before[:, -1:], after], 1)) > 1000
    frozen = before[:, -1:].expand(-1, 4, -1, -1) + 1e-3
    assert begun.joint(before, frozen) > 5, "one side stands still"


def test_a_box_is_of_whole_latent_pixels_and_holds_the_thing_throughout():
    seen = torch.zeros(3, 40, 64, dtype=torch.bool)
    seen[0, 9:12, 17:20], seen[2, 14:18, 30] = True, True
    marked = begun.box(seen)
    assert torch.equal(marked[1].nonzero().amin(0), torch.tensor([8, 16])) and torch.equal(marked[1].nonzero().amax(0), torch.tensor([23, 31]))
    assert not begun.box(torch.zeros_like(seen)).any()
    video = torch.rand(3, 3, 40, 64)
    off = torch.where(marked, video + 1, video + .2)
    assert pixels.psnr_within(off, video, ~marked) == pytest.approx(20, abs=.01) and np.isnan(pixels.psnr_within(off, video, torch.zeros_like(marked)))


def test_what_is_given_back_unchanged_is_kept_and_not_changed(exam):
    found = begun.region(Copier(), 2)
    assert found["region_kept"].value > 80 and found["region_changed"].value == 0 and found["region_changed"].truth == 1
    torch.manual_seed(0)
    found = begun.remix(Copier(), judges.Judges().eval(), 1, (.5, 1.))
    assert found["remix"].value == 0 and "0.5" in found["remix_look"].note


def test_a_clip_that_goes_on_as_it_was_has_no_seam(exam):
    mirror = Mirror(exam)
    found = begun.extended(mirror, exam, 3) | begun.between(mirror, exam, 2)
    assert found["extend_seam"].value == found["extend_seam"].truth == found["extend_seam"].codec and found["extend_known"].value > 80
    assert found["last_frame_psnr"].value > 80 and found["between_gain"].value == found["between_gain"].codec > 0
    grey = begun.extended(Copier(), exam, 3)
    assert grey["extend_seam"].value > 3 and grey["extend_known"].value < 20


def test_a_link_is_judged_where_it_meets_either_clip(exam):
    class Ends(Copier):
        def shows(self, *frames):
            return set(frames) <= {0, 16}

        def clip(self, wish):
            assert wish.head.shape[2] == len(wish.stills) == 1 and sorted(wish.stills) == [wish.frames - 1]
            return super().clip(wish)

    found = begun.linked(Copier(), exam, 3)
    assert all(found[name].value > 3 > found[name].truth == found[name].codec > 1 and "5 shared" in found[name].note for name in ("loop_seam", "blend_seam"))
    assert "1 shared" in begun.linked(Ends(), exam, 3)["loop_seam"].note


def test_a_family_that_takes_words_alone_has_that_said(exam):
    found = begun.region(Plain(), 1) | begun.extended(Plain(), exam, 1) | begun.between(Plain(), exam, 1) | begun.remix(Plain(), None, 1) | begun.linked(Plain(), exam, 1)
    found |= lasting.lines(Plain(), 1)
    assert {"region_kept", "region_changed", "extend_seam", "extend_known", "loop_seam", "blend_seam", "last_frame_psnr", "between_gain", "remix", "remix_look", *lasting.LINES} == set(found)
    assert all(line.value is None and line.note for line in found.values())


def test_drift_is_told_by_colour_lightness_contrast_and_sharpness():
    frames = torch.rand(3, 1, 40, 64, generator=torch.Generator().manual_seed(0)).expand(-1, 8, -1, -1) * .8 - .4
    same, lighter, flatter = (lasting.drift(frames, x) for x in (frames, frames + .3, frames * .5))
    assert (same.colour, same.brightness) == (0, 0) and same.contrast == same.sharpness == pytest.approx(1)
    assert lighter.brightness == pytest.approx(lighter.colour, rel=.3) and lighter.brightness > 10
    assert flatter.contrast == pytest.approx(.5, abs=.1) and flatter.sharpness == pytest.approx(.5, abs=.1)


def test_a_long_clip_is_made_window_by_window_and_nothing_moves_in_its_scene(native):
    wish = Wish(prompt="a red ball", seed=3, frames=native.footage.window, fps=24.)
    longer = native.clip(replace(wish, frames=native.footage.window + 12))
    assert longer.shape[2] == native.footage.window + 12 and torch.equal(longer[:, :, :native.footage.window], native.clip(wish))
    found = lasting.lines(native, 2, native.footage.window + 12)
    assert found["drift"].truth == 0 and found["drift_contrast"].truth == pytest.approx(1) and found["drift"].value > 0 and found["drift"].clips == 2


def test_small_weights_begin_from_pictures(native, exam):
    torch.manual_seed(0)
    found = begun.region(native, 1) | begun.extended(native, exam, 1) | begun.between(native, exam, 1) | begun.linked(native, exam, 1)
    found |= begun.remix(native, judges.Judges().eval(), 1, (1.,))
    assert all(line.raw is not None for line in found.values()) and found["extend_known"].value == pytest.approx(found["extend_known"].codec, abs=1)


def test_the_script_writes_every_line(tmp_path, blockout):
    model.save(blockout, tmp_path / "weights")
    command = [sys.executable, ROOT / "scripts/evaluate.py", "--weights", tmp_path / "weights", "--clips", "3", "--steps", "1", "--glimpses", "8",
               "--schooling", ".005", "--jobs", "1", "--keep", tmp_path, "--json", tmp_path / "scores.json", "--only", "sky", "shape_depth", "seed_hash"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "scores.json").read_text())
    assert set(written["lines"]) == {"sky", "shape_depth", "seed_hash"}
    assert {"value", "low", "high", "raw", "chance", "codec", "truth"} <= set(written["lines"]["sky"]) and "sky" in done.stdout


def test_any_family_is_asked_through_whole_shots(tmp_path, blockout):
    model.save(blockout, tmp_path / "weights")
    clip = data.clip(3, 5, 40, 64, kind="objects", count=1)
    guides = Exam.of([clip]).one(0, "depth", "normal", "vector")
    shots = Shots("blockout", str(tmp_path / "weights"), tmp_path / "takes", longer=128, steps=1)
    wish = Wish(prompt="a red ball", seed=1, guides=guides, stills={0: torch.zeros(1, 3, 40, 64)}, reference=torch.ones(1, 3, 40, 40), frames=5)
    made = shots.clip(wish)
    assert made.shape == (1, 3, 5, 40, 64) and -1 <= made.min() and made.max() <= 1 and made.std() > 0
    assert shots.returned(made) is None and world.SHAPES
    shot = shots._frozen(wish)
    read = Reader(next(guide for guide in shot.guides if guide.kind == "vector"), shot).read(0, 5, Size(64, 40))
    assert np.abs(read - guides["vector"][0].permute(1, 2, 3, 0).numpy()).max() < 1e-3 and len(shot.references) == 1
    video, mask = as_video(clip.rgb[None]), torch.zeros(1, 1, 5, 40, 64)
    mask[..., 16:32, 24:48] = 1
    masked = shots.clip(Wish(prompt="a red ball", seed=1, guides=guides | {"mask": mask}, source=video, frames=5))
    far = torch.nn.functional.max_pool2d(mask[0, 0], 5, 1, 2)[:, None].transpose(0, 1) == 0
    assert shots.sources and shots.changes and (masked - video)[0].abs().masked_select(far).mean() < .06 < (masked - video)[0].abs()[:, mask[0, 0] > 0].mean()
    headed = shots._frozen(Wish(prompt="a red ball", seed=1, head=video[:, :, :3], stills={4: video[:, :, 4]}, frames=5))
    assert [keyframe.frame for keyframe in headed.keyframes] == [0, 1, 2, 4] and shots.shows(0, 4)


def test_a_family_that_is_not_told_colours_has_that_said():
    class Untold:
        spec = SimpleNamespace(guides=("depth",))

    asked = []
    found = tasks.told(lambda who, shown, along=(): asked.append((shown, along)) or "measured", Untold(), "binding", ["scenes"])
    assert asked == [(["scenes"], ())] and found["binding"] == "measured" and found["binding_told"].value is None and "colours" in found["binding_told"].note


def test_each_style_is_nearest_to_itself_even_when_worn():
    clips = looks.in_every_style(varied.drawn(np.random.default_rng(looks.SEEDS), 5, 1.6, kind="crowd", style="photo"), 1)
    video = torch.from_numpy(np.stack([c.rgb for c in clips])).permute(0, 4, 1, 2, 3) / 127.5 - 1
    worn = video + .05 * torch.randn(video.shape, generator=torch.Generator().manual_seed(0))
    assert looks.nearest(worn, video) == list(range(len(clips))) and len({c.caption for c in clips}) == len(clips)
    assert {"toon", "papercraft", "documentary", "scifi"} <= {c.scene.style for c in clips}


def test_looks_are_measured_on_clips_that_are_made(blockout):
    line = looks.lines(Native(blockout, steps=1, guidance=1.), 1)["looks"]
    assert line.truth == 1 and 0 <= line.raw <= 1
