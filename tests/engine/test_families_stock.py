"""What reaches the pipelines of SANA-WM, SkyReels and CogVideoX-Fun: Blender's own camera, both ends of a clip, LoRAs; and that they are
used as diffusers itself uses them, by the same seed."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine import camera, device, families
from engine.errors import KeyframeError
from engine.families import Window
from engine.protocol import Guide, Keyframe, Lora, Size
from tests.engine.open_stage import FRAMES, SIZE, Stage, differing, noise, pixels, staged

AHEAD = np.diag([1.0, -1.0, -1.0, 1.0])         # Blender's cameras look along -z with y up, the model's along z with y down


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("stock"), checkpoints) as made:
        yield made


def images(*seeds: int, size: Size = SIZE) -> list:
    import PIL.Image
    return [PIL.Image.fromarray(noise(seed, size)) for seed in seeds]


def window(loaded, **fields) -> Window:
    return Window(**{"frames": FRAMES, "size": SIZE, "seed": 3, "steps": 3, "guidance": 4.0, "text": loaded.text("a castle"), "negative": loaded.text("dull"), **fields})


def plainly(**fields) -> dict:
    """What a stock pipeline is called with for the same."""
    return {"prompt": "a castle", "negative_prompt": "dull", "height": SIZE.height, "width": SIZE.width, "num_inference_steps": 3, "guidance_scale": 4.0,
            "generator": torch.Generator().manual_seed(3), "output_type": "pt", **fields}


def drawn(loaded, asked: Window) -> torch.Tensor:
    """(frames, 3, h, w), 0..1."""
    *_, latent = loaded.sample(asked)
    return torch.cat(list(loaded.decode(latent)))


# ---------------------------------------------------------------- SkyReels
@pytest.mark.parametrize("ends", [(), (0,), (0, FRAMES - 1)], ids=["text", "first", "first and last"])
def test_skyreels_gives_what_the_stock_pipeline_gives(stage, ends):
    import diffusers
    loaded = families.family("skyreels").load(stage.model("skyreels"), device.chosen())
    shown = dict(zip(ends, images(*ends)))
    ours = drawn(loaded, window(loaded, stills={frame: np.asarray(image, np.float32) / 255 for frame, image in shown.items()}))
    kind = diffusers.SkyReelsV2DiffusionForcingImageToVideoPipeline if shown else diffusers.SkyReelsV2DiffusionForcingPipeline
    pipe = kind(**loaded.parts)
    pipe.set_progress_bar_config(disable=True)
    stock = pipe(**plainly(num_frames=FRAMES), **dict(zip(("image", "last_image"), shown.values()))).frames[0]
    assert (ours - stock).abs().max() <= 1e-6


def test_skyreels_ends_as_it_is_shown(stage):
    first = stage.latent("skyreels", "skyreels", keyframes=(stage.keyframe(0),))
    both, other = (stage.latent("skyreels", "skyreels", keyframes=(stage.keyframe(0), stage.keyframe(FRAMES - 1, seed))) for seed in (3, 5))
    assert differing(first, both) and differing(both, other)


@pytest.mark.parametrize("ends", [(), (0,)], ids=["text", "first"])
def test_long_clips_of_skyreels_end_wherever_they_shall(stage, ends):
    """Their last stretch is a shorter one."""
    take = stage.roll("skyreels", "skyreels", frames=101, size=Size(32, 32), guidance=1.0, keyframes=tuple(Keyframe(frame=at, path=stage.still()) for at in ends))
    assert len(pixels(take)) == 101


def test_a_last_frame_of_a_long_clip_is_refused_with_a_way_out(stage):
    with pytest.raises(KeyframeError, match="up to 97 frames") as refused:
        stage.roll("skyreels", "skyreels", frames=101, keyframes=(stage.keyframe(0), stage.keyframe(100)))
    assert (refused.value.remedy.action, refused.value.remedy.value) == ("set_frames", "97")


def test_loras_of_skyreels_count_with_their_strength_and_leave_without_a_trace(stage):
    dice = torch.Generator().manual_seed(1)
    state = {f"transformer.blocks.{block}.attn1.to_q.lora_{half}.weight": torch.randn(shape, generator=dice)
             for block in range(2) for half, shape in (("A", (2, 24)), ("B", (24, 2)))}
    path = str(stage.folder / "clay.safetensors")
    save_file(state, path)
    bare = stage.latent("skyreels", "skyreels")
    loaded = stage.studio._loaded[1]
    whole, half = (stage.latent("skyreels", "skyreels", loras=(Lora(name=path, strength=strength),)) for strength in (1.0, 0.5))
    assert differing(bare, whole) and differing(bare, half) and differing(whole, half)
    assert differing(bare, stage.latent("skyreels", "skyreels")) == [], "taken off is exact"
    assert stage.studio._loaded[1] is loaded, "nothing was loaded again"


# ---------------------------------------------------------------- CogVideoX-Fun
@pytest.mark.parametrize("kind", ["depth", "edges"])
def test_cogvideox_gives_what_the_stock_pipeline_gives(stage, kind):
    """Contours are shown to it as dark lines on white."""
    import diffusers
    import PIL.Image
    loaded = families.family("cogvideox").load(stage.model("cogvideox"), device.chosen())
    guide = np.stack([noise(frame)[..., :1] for frame in range(FRAMES)])
    ours = drawn(loaded, window(loaded, guides={kind: guide.astype(np.float32) / 255}))
    pipe = diffusers.CogVideoXFunControlPipeline(**loaded.parts)
    pipe.set_progress_bar_config(disable=True)
    shown = [PIL.Image.fromarray((255 - frame if kind == "edges" else frame).repeat(3, -1)) for frame in guide]
    stock = pipe(**plainly(control_video=shown, max_sequence_length=32)).frames[0]
    assert (ours - stock).abs().max() <= 1e-5


# ---------------------------------------------------------------- SANA-WM
def blender(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Blender's own matrix_world, and the lens in pixels of SIZE, of a camera that walks, turns and zooms. By hand, from its definitions."""
    turn, focal = 0.05 * frame, 35 + 2.0 * frame
    along = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])                    # stands upright, looks along the world's y
    yaw = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = yaw @ along, (0.3 * frame, 1 + 0.2 * frame, 1.7)
    return world, np.array([focal / 36 * SIZE.width, focal / 36 * SIZE.width, SIZE.width / 2 - 0.1 * SIZE.width, SIZE.height / 2])


def walk(stage: Stage) -> Guide:
    """The camera.json of that walk."""
    rows = []
    for frame in range(FRAMES):
        world, lens = blender(frame)
        rows.append({"frame": frame + 1, "c2w": (world @ AHEAD).ravel().tolist(), "K": lens.tolist()})
    path = stage.folder / "walk.json"
    path.write_text(json.dumps({"frames": rows, "size": [SIZE.width, SIZE.height], "fps": 24.0}))
    return Guide(kind="camera", path=str(path))


def test_sana_is_told_blenders_camera_and_lens(stage):
    """What its transformer is given for each latent frame: the camera as the first one sees it, and the lens in its own pixels."""
    shot = {"guides": (walk(stage),), "keyframes": (stage.keyframe(0),)}
    stage.latent("sana_wm", "sana_wm", **shot)
    loaded, told = stage.studio._loaded[1], []
    listener = loaded.parts["transformer"].register_forward_pre_hook(lambda _, given, named: told.append(named["camera_conditions"]), with_kwargs=True)
    stage.latent("sana_wm", "sana_wm", **{**shot, "seed": 9})
    listener.remove()
    made, side = loaded.native(SIZE), loaded.parts["vae"].spatial_compression_ratio
    pixels = np.array([made.width / SIZE.width, made.height / SIZE.height] * 2) / side
    first = blender(0)[0] @ AHEAD
    for row, frame in zip(told[0][0], range(0, FRAMES, loaded.pipe.vae_temporal_compression_ratio), strict=True):
        world, lens = blender(frame)
        assert np.abs(row[:16].numpy().reshape(4, 4) - np.linalg.inv(first) @ world @ AHEAD).max() < 1e-5
        assert np.abs(row[16:].numpy() / (lens * pixels) - 1).max() < 1e-5


def test_a_square_shot_shows_sana_the_whole_first_picture_as_its_camera_sees_it(stage):
    """It draws 16:9 whatever the shot is. A circle of the picture is one again when the clip is scaled to the shot."""
    import cv2
    from engine import clip
    square, native = Size(96, 96), Size(128, 72)
    picture = np.zeros((96, 96, 3), np.uint8)
    cv2.circle(picture, (48, 48), 30, (255, 255, 255), -1)
    cv2.imwrite(str(stage.folder / "circle.png"), picture)
    shot = stage.shot("sana_wm", "sana_wm", size=square, keyframes=(Keyframe(frame=0, path=str(stage.folder / "circle.png")),))
    shown = clip.stills(shot, native)[0].image
    assert shown.shape == (72, 128, 3)
    back = cv2.resize(shown, (96, 96), interpolation=cv2.INTER_AREA)
    assert np.abs(back - picture / 255).mean() < 0.02


def test_sana_gives_what_the_stock_pipeline_gives_for_blenders_matrices(stage):
    loaded = families.family("sana_wm").load(stage.model("sana_wm"), device.chosen())
    size = loaded.native(SIZE)
    image, = images(7, size=size)
    given = walk(stage)
    ours = drawn(loaded, window(loaded, size=size, stills={0: np.asarray(image, np.float32) / 255}, cameras=camera.read(given.path, FRAMES).resized(size)))
    rows = json.loads(Path(given.path).read_text())["frames"]
    c2w, K = (np.array([row[name] for row in rows]) for name in ("c2w", "K"))
    K *= [size.width / SIZE.width, size.height / SIZE.height] * 2
    stock = loaded.pipe(image, c2w=c2w.reshape(-1, 4, 4), intrinsics=K, num_frames=FRAMES, max_sequence_length=300,
                        **plainly(width=size.width, height=size.height)).frames
    assert (ours - stock).abs().max() <= 1e-5


def test_sana_asks_its_encoder_once_for_each_text(stage, monkeypatch, tmp_path):
    """A prompt and a negative one of the same words are not the same: the pipeline's own words lead the prompt alone."""
    monkeypatch.setenv("SORA_CACHE", str(tmp_path))
    made, heard = [], []
    for _ in range(2):
        loaded = families.family("sana_wm").load(stage.model("sana_wm"), device.chosen())
        loaded.parts["text_encoder"].register_forward_pre_hook(lambda *_: heard.append(1))
        size = loaded.native(SIZE)
        image, = images(7, size=size)
        asked = window(loaded, size=size, steps=2, negative=loaded.text("a castle"), stills={0: np.asarray(image, np.float32) / 255},
                       cameras=camera.read(walk(stage).path, FRAMES).resized(size))
        made.append(list(loaded.sample(asked))[-1])
    assert len(heard) == 2 and torch.equal(*made)
    assert (loaded._prompts.hits, loaded._negatives.hits) == (1, 1) and len(list(tmp_path.glob("prompts/*"))) == 2
