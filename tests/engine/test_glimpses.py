"""What is looked at while a shot rolls: which frames, as which files, and what they show."""
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import clock, device, families, glimpses, shoot
from engine.errors import Cut
from engine.families import Window
from engine.protocol import Size
from tests.engine import tiny_families


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 100])
def test_moments_are_spread_from_first_to_last(count):
    chosen = clock.moments(count)
    assert len(chosen) == min(count, clock.MOMENTS) == len(set(chosen)) and (chosen[0], chosen[-1]) == (0, count - 1)
    assert max(np.diff(chosen), default=0) - min(np.diff(chosen), default=0) <= 1


@pytest.mark.parametrize(("size", "made"), [((15, 26), (105, 182)), ((72, 128), (72, 128)), ((480, 832), (148, 256))])
def test_previews_are_small_and_gone_afterwards(tmp_path, size, made):
    import cv2
    pictures = np.linspace(0, 1, 3, dtype=np.float32)[:, None, None, None] * np.ones((1, *size, 3), np.float32)
    pictures[..., 2] = 0
    with glimpses.Screening(str(tmp_path)) as screening:
        for shown in (pictures[::-1], pictures):
            reel = screening.show(shown, seconds=1.5)
        assert reel.fps == 2 and sorted(path.name for path in Path(reel.folder).iterdir()) == reel.names()
        for name, value in zip(reel.names(), (0, 128, 255)):
            found = cv2.imread(str(Path(reel.folder, name)), cv2.IMREAD_UNCHANGED)
            assert found.shape == (*made, 3) and np.abs(found - np.array((0, value, value))).max() <= 1
    assert not list(tmp_path.iterdir())


def test_blockouts_previews_are_its_frames(a_shot, tiny_model):
    model = families.family("blockout").load(tiny_model, device.chosen())
    guides = {"depth": np.random.default_rng(0).random((9, 64, 96, 1), dtype=np.float32)}
    window = Window(frames=9, size=Size(96, 64), seed=1, steps=2, guidance=1.0, text=model.text("a red car"), negative=None, guides=guides)
    *_, latent = model.sample(window)
    seen, first = model.glimpse(latent, window), next(iter(model.decode(latent, window)))
    assert seen.shape == (3, 64, 96, 3) and np.allclose(seen[0], first[0].permute(1, 2, 0), atol=1e-5)
    assert np.abs(seen - model.glimpse(latent, Window(**{**fields(window), "guides": {}}))).max() > 0.01       # they follow the layout


def fields(window: Window) -> dict:
    return {name: getattr(window, name) for name in window.__dataclass_fields__}


@pytest.mark.parametrize("name", ["wan_text", "ltx2"])
def test_latents_become_colours_by_a_linear_map(checkpoints, name):
    folder = checkpoints / name
    if not (folder / "model_index.json").exists():
        tiny_families.save(name, folder)
    model = families.family(name.partition("_")[0]).load(folder, device.chosen())
    channels = model.parts["vae"].config.get("z_dim") or model.parts["vae"].config.latent_channels
    with torch.inference_mode():
        seen = model.glimpse(torch.randn((1, channels, 3, 5, 6)), None)
    assert seen.shape == (3, 5, 6, 3) and seen.min() >= 0 and seen.max() <= 1 and (seen[0] != seen[1]).any()


def test_looking_takes_its_share_and_no_more(a_shot):
    said = []
    watch = clock.Clock(a_shot(), said.append)
    assert watch.glimpse(lambda: pytest.fail("too early")) is None


def test_a_slow_shot_is_seen_moving(a_shot, tiny_model):
    """As many steps as take a few seconds; what was announced could be read at that moment."""
    seen = []

    def say(progress):
        if progress.reel:
            files = [Path(progress.reel.folder, name) for name in progress.reel.names()]
            seen.append((all(file.is_file() for file in files), str(Path(progress.preview).parent) == progress.reel.folder))
            cut.set()
    cut = threading.Event()
    shot = a_shot("slow", frames=49, steps=1000)
    with pytest.raises(Cut):
        shoot.roll(shot, say, cut, shoot.Studio())
    assert seen == [(True, True)] and not Path(shot.out, "preview").exists()
