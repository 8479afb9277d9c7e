"""What begins from a take: its latents and the frames that its model drew are taken up where they are kept, its pictures otherwise, and it is said."""
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.protocol import Guide, Keyframe, Size
from tests.engine.open_stage import FRAMES, SIZE, differing, staged


@pytest.fixture(scope="module")
def stage(tmp_path_factory, checkpoints):
    with staged(tmp_path_factory.mktemp("begun"), checkpoints) as made:
        yield made


def spoiled(take, name: str) -> Path:
    """A copy of a take whose pictures show something else, at another size: whoever reads them notices."""
    folder = Path(shutil.copytree(take.shot.out, Path(take.shot.out).with_name(name)))
    for path in (folder / "frames").iterdir():
        cv2.imwrite(str(path), np.full((2 * SIZE.height, 2 * SIZE.width, 3), 200, np.uint8))
    return folder


# ---------------------------------------------------------------- Remix
@pytest.fixture(scope="module")
def film(stage):
    return stage.roll("wan", "wan_text", fps=16.0)


def remix(stage, folder: Path, **fields):
    """What is sampled, and what the take says, of a shot that begins from the take in `folder`."""
    asked = {"fps": 16.0, "steps": 4, "source": Guide(kind="beauty", path=str(folder / "frames"), strength=0.5), **fields}
    return stage.latent("wan", "wan_text", **asked), " ".join(stage.roll("wan", "wan_text", **asked).notes)


def test_a_remix_begins_from_the_takes_latents(stage, film):
    from safetensors.torch import load_file
    made, said = remix(stage, Path(film.shot.out))
    again, _ = remix(stage, spoiled(film, "spoiled"))
    assert differing(made, again) == [], "its pictures do not count"
    assert f"Begun from what {Path(film.shot.out).name} had sampled" in said
    model = stage.studio._loaded[1]
    kept = load_file(Path(film.shot.out, "latents/0000.safetensors"))["latent"]
    encoded = model.autoencoder.encode(torch.cat(list(model.decode(kept))).transpose(0, 1)[None] * 2 - 1)
    assert (kept - encoded).abs().max() > 0.01, "so that encoding anew would have been seen"


@pytest.mark.parametrize(("missing", "words"), [("latents", ""), ("size", "at 64x48, and this shot is at 32x32"), ("length", "their frames is 9, not 5")])
def test_a_remix_of_what_does_not_fit_begins_from_the_pictures(stage, film, missing, words):
    folder, fields = Path(shutil.copytree(film.shot.out, Path(film.shot.out).with_name(f"without-{missing}"))), {}
    if missing == "latents":
        shutil.rmtree(folder / "latents")
    if missing == "size":
        fields = {"size": Size(32, 32)}
    if missing == "length":
        for path in sorted((folder / "frames").iterdir())[5:]:
            path.unlink()
        fields = {"frames": 5}
    _, said = remix(stage, folder, **fields)
    assert words in said and ("from the pictures of" in said) == bool(words) and "had sampled" not in said


# ---------------------------------------------------------------- Extend
@pytest.fixture(scope="module")
def walk(stage):
    return stage.roll("vace", "vace", guides=(stage.guide("depth", 1),))


def extension(stage, folder: Path, count: int, **fields):
    """As `remix`, of a shot that goes on from the last `count` pictures of the take."""
    names = [f"plate.{number:04d}.png" for number in range(FRAMES - count + 1, FRAMES + 1)]
    asked = {"seed": 5, "frame_start": FRAMES - count + 1,
             "keyframes": tuple(Keyframe(frame=frame, path=str(folder / "frames" / name)) for frame, name in enumerate(names)), **fields}
    return stage.latent("vace", "vace", **asked), " ".join(stage.roll("vace", "vace", **asked).notes)


@pytest.mark.parametrize("count", [1, 5, 7])
def test_an_extension_goes_on_from_what_the_model_drew(stage, walk, count):
    made, said = extension(stage, Path(walk.shot.out), count)
    again, _ = extension(stage, spoiled(walk, f"walk-{count}"), count)
    assert differing(made, again) == [], "its pictures do not count"
    assert f"Goes on from {Path(walk.shot.out).name} as the model drew it" in said and "conformed" not in said


def test_as_many_frames_as_windows_share_go_in_as_windows_do(stage, walk):
    """The very latent of a second window, had the take been longer."""
    from safetensors.torch import load_file

    from engine import clip, families
    model = families.family("vace").load(stage.model("vace"), stage.studio.device())
    kept = load_file(Path(walk.shot.out, "latents/0000.safetensors"))["latent"]
    tail = torch.cat(list(model.decode(kept)))[-5:]
    made, _ = extension(stage, Path(walk.shot.out), 5)
    window = families.Window(frames=FRAMES, size=SIZE, seed=clip.seed(5, 0), steps=2, guidance=5.0, text=model.text("a red car"),
                             negative=model.text(""), tail=tail)
    *_, straight = model.sample(window)
    assert np.abs(made - straight[0].transpose(0, 1).numpy()).max() < 1e-5


def test_an_extension_of_what_is_not_kept_goes_on_from_the_pictures(stage, walk):
    folder = Path(shutil.copytree(walk.shot.out, Path(walk.shot.out).with_name("bare")))
    (folder / "latents/0000.safetensors").unlink()
    made, said = extension(stage, folder, 5)
    assert "Goes on from the pictures of bare: bare kept no latents" in said
    assert differing(made, extension(stage, Path(walk.shot.out), 5)[0]), "rounded to 8 bits, and without motion"
    _, said = extension(stage, Path(walk.shot.out), 5, size=Size(32, 32))
    assert "sampled at 64x48, and this shot is at 32x32" in said
    first = Keyframe(frame=0, path=str(Path(walk.shot.out, "frames/plate.0009.png")))
    assert "Goes on" not in " ".join(stage.roll("vace", "vace", keyframes=(replace(first, frame=4),)).notes), "a still in the middle goes on from nothing"
