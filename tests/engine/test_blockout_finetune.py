"""One's own look: folders of clips that are taken or refused, LoRAs that learn, are put on and leave no trace, and trainings that go on."""
import hashlib
import json
import shutil
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import families, shoot
from engine.blockout import clips, data, finetune, lora, model
from engine.blockout.transformer import Transformer, TransformerConfig
from engine.errors import ModelError, SoraError
from engine.models import admission, importing
from engine.models.store import Store
from engine.protocol import Guide, Lora

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import train_blockout  # noqa: E402


def film(path: Path, frames: np.ndarray, turn: int = 0) -> None:
    """uint8 (T, h, w, 3) as H.264, to be shown turned by `turn` degrees."""
    import av
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=24, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv444p"
        if turn:
            stream.set_display_rotation(turn)
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())


def images(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(folder / f"ink.{number:04d}.png"), frame[..., ::-1])


def caption(folder: Path, name: str, text: str = "a red cube at noon") -> None:
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def tinted(seed: int) -> np.ndarray:
    return 255 - data.clip(seed, 9, 40, 64, kind="objects").rgb


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two clips in the look of a negative."""
    place = tmp_path_factory.mktemp("clips")
    film(place / "one.mp4", tinted(9_900_001))
    images(place / "v1.2", tinted(9_900_002))
    caption(place, "one", "a neon red cube at noon, kodachrome")
    caption(place, "v1.2", "a ball, neon")
    return place


@pytest.fixture(scope="module")
def trained(folder, tiny_model, tmp_path_factory) -> Path:
    return finetune.train("lora", folder, tmp_path_factory.mktemp("training") / "negative", .05, tiny_model, rank=4, processes=1)


def told(out: Path, kind: str) -> list[dict]:
    return [json.loads(line) for line in (out / f"{kind}.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- training
def test_a_lora_learns_its_clips_and_says_what_it_is(trained, tiny_model):
    first, *_, last = told(trained.parent, "lora")
    assert first["step"] == 0 and last["error"] < first["error"]
    tensors, facts = admission.header(trained)
    assert len(tensors) == 8 and tensors["transformer.blocks.0.up.lora_A.weight"].shape == (4, 48)
    assert (facts["family"], facts["rank"], facts["clips"], facts["trigger"]) == ("blockout", "4", "2", "neon")
    assert facts["base_sha256"] == lora.digest(tiny_model) and int(facts["steps"]) == last["step"]


def test_a_training_goes_on_as_it_was_begun(trained, folder, tiny_model, tmp_path):
    out = shutil.copytree(trained.parent, tmp_path / "negative")
    kept, steps = [path.stat().st_mtime_ns for path in sorted((out / "clips").iterdir())], told(out, "lora")[-1]["step"]
    again = finetune.train("lora", folder, out, .06, tiny_model, processes=1)
    assert told(out, "lora")[-1]["step"] > steps and admission.header(again)[1]["rank"] == "4"
    assert [path.stat().st_mtime_ns for path in sorted((out / "clips").iterdir())] == kept, "latents were made once"
    with pytest.raises(clips.ClipsError, match="holds a lora of rank 4; go on with that"):
        finetune.train("lora", folder, out, .1, tiny_model, rank=8, processes=1)


def test_the_whole_transformer_learns_and_shoots_as_a_folder(folder, tiny_model, tmp_path, a_shot):
    weights = finetune.train("finetune", folder, tmp_path / "own", .05, tiny_model, processes=1)
    first, *_, last = told(tmp_path / "own", "finetune")
    assert last["error"] < first["error"] and "clips: 2" in (weights / "MODEL_CARD.md").read_text()
    before, after = (load_file(place / f"{model.NAME}.safetensors") for place in (tiny_model, weights))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("autoencoder."))
    assert not torch.equal(before["transformer.out.weight"], after["transformer.out.weight"])
    take = shoot.roll(a_shot(model=str(weights)), lambda progress: None, threading.Event(), shoot.Studio())
    assert take.files.count == 5


def test_the_command_says_no_in_words(trained, folder, capsys):
    ask = lambda *more: train_blockout.main(list(map(str, more)))
    assert ask("lora", "--data", folder, "--out", trained.parent, "--minutes", "1") == 2 and "say --resume" in capsys.readouterr().err
    assert ask("lora", "--data", folder / "nowhere", "--out", trained.parent / "new", "--minutes", "1") == 2
    assert "is not a folder" in capsys.readouterr().err
    assert ask("lora", "--data", folder, "--weights", folder, "--out", trained.parent / "new", "--minutes", "1") == 2
    assert "leave --weights out" in capsys.readouterr().err and not (trained.parent / "new").exists()
    assert ask("lora", "--data", folder, "--out", folder / "one.txt" / "new", "--minutes", "1") == 1 and "cannot be read or written" in capsys.readouterr().err
    for wrong in (("lora",), ("decoder", "--data", folder), ("finetune", "--data", folder, "--rank", "4"), ("lora", "--data", folder, "--rank", "0")):
        with pytest.raises(SystemExit):
            ask(*wrong, "--out", trained.parent / "new")
        assert "error:" in capsys.readouterr().err


# ---------------------------------------------------------------- worn
@pytest.fixture(scope="module")
def studio():
    return shoot.Studio()


@pytest.fixture
def pixels(a_shot, studio):
    """pixels(*loras) -> the latent of a shot that wears them, and the take's notes."""
    def made(*loras, **fields):
        shot = a_shot(hashlib.sha256(repr((loras, fields)).encode()).hexdigest()[:12], loras=loras, format="exr", **fields)
        shutil.rmtree(shot.out, ignore_errors=True)
        take = shoot.roll(shot, lambda progress: None, threading.Event(), studio)
        from engine import exr
        return np.stack([exr.channels(Path(shot.out, "frames", name), ["R", "G", "B"]) for name in take.files.names()]), take.notes
    return made


def another(tmp_path: Path, name: str = "other", **config) -> str:
    torch.manual_seed(3)
    sewn = lora.sewn(Transformer(TransformerConfig(**{"width": 48, "depth": 1, "heads": 1, **config})), 2)
    for layer in lora.layers(sewn).values():
        torch.nn.init.normal_(layer.parametrizations.weight[0].B, std=.3)
    lora.save(sewn, tmp_path / f"{name}.safetensors", {})
    return str(tmp_path / f"{name}.safetensors")


def test_loras_count_with_their_strength_and_leave_without_a_trace(pixels, studio, trained, tmp_path):
    bare, notes = pixels()
    kept, first, second = studio._loaded[1], str(trained), another(tmp_path)
    assert not any("LoRA" in note for note in notes)
    whole, said = pixels(Lora(name=first))
    assert not np.array_equal(whole, bare) and f"LoRA {trained.stem} at 1" in said
    assert np.array_equal(pixels(Lora(name=first, strength=0.))[0], bare)
    off = [np.abs(pixels(Lora(name=second, strength=s))[0] - bare).mean() for s in (.1, .5, 1.)]
    assert 0 < off[0] < off[1] < off[2]
    both = pixels(Lora(name=first), Lora(name=second))[0]
    assert not any(np.array_equal(both, one) for one in (whole, pixels(Lora(name=second))[0], bare))
    assert np.allclose(pixels(Lora(name=second), Lora(name=first))[0], both, atol=1e-3)
    assert np.array_equal(pixels(Lora(name=first))[0], whole) and np.array_equal(pixels()[0], bare), "taken off is exact"
    assert studio._loaded[1] is kept, "nothing was loaded again"


def test_weights_are_the_very_same_after_wearing(tiny_model, trained, tmp_path):
    blockout = model.load(tiny_model)
    before = {name: tensor.clone() for name, tensor in blockout.state_dict().items()}
    wardrobe = lora.Wardrobe(blockout.transformer, tiny_model)
    wardrobe.wear([(trained, 1.), (another(tmp_path), -.5)])
    qkv = blockout.transformer.blocks[0].qkv.weight
    one, other = (load_file(path) for path in (trained, another(tmp_path)))
    at = "transformer.blocks.0.qkv.lora_{}.weight"
    product = lambda state: state[at.format("B")].float() @ state[at.format("A")].float()
    assert torch.allclose(qkv, before["transformer.blocks.0.qkv.weight"] + product(one) - .5 * product(other), atol=1e-6)
    wardrobe.wear([])
    assert all(torch.equal(tensor, before[name]) for name, tensor in blockout.state_dict().items())


def test_a_lora_of_other_weights_is_worn_and_says_so(pixels, tmp_path, trained):
    tensors, facts = load_file(trained), admission.header(trained)[1]
    save_file(tensors, tmp_path / "older.safetensors", {**facts, "base_sha256": "0" * 64})
    assert "LoRA older was trained on other weights of Blockout than these" in pixels(Lora(name=str(tmp_path / "older.safetensors")))[1]


def test_loras_that_do_not_fit_are_refused_and_change_nothing(pixels, trained, tmp_path):
    bare = pixels()[0]
    wan = {f"transformer.blocks.0.attn1.to_q.lora_{m}.weight": torch.zeros(4, 4) for m in "AB"}
    save_file(wan, tmp_path / "wan.safetensors")
    save_file({**load_file(trained), "transformer.text.word.lora_A.weight": torch.zeros(1)}, tmp_path / "odd.safetensors")
    (tmp_path / "pickled.safetensors").write_bytes(b"\x80\x04boom")
    refusals = {str(tmp_path / "wan.safetensors"): "belongs to wan, vace, skyreels, not to blockout", str(tmp_path / "odd.safetensors"): "another family",
                str(tmp_path / "pickled.safetensors"): "damaged", "/nowhere.safetensors": "not there",
                another(tmp_path, "wide", width=96): "does not fit this Blockout", another(tmp_path, "deep", depth=2): "larger Blockout"}
    for path, sentence in refusals.items():
        with pytest.raises(ModelError, match=sentence) as refused:
            pixels(Lora(name=path))
        assert refused.value.sentence.endswith(".") and refused.value.remedy
    with pytest.raises(ModelError, match="belongs to blockout, not to wan"):
        families.lora("wan", str(trained))
    assert np.array_equal(pixels()[0], bare)


def test_an_imported_lora_is_blockouts_and_keeps_its_words(pixels, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("SORA_MODELS", str(tmp_path / "models"))
    for _ in importing.bring(trained, Store(tmp_path / "models"), importing.Given(lora=True)):
        pass
    known, = Store(tmp_path / "models").loras("blockout")
    assert known.name == "negative" and known.triggers == ("neon",)
    assert np.array_equal(pixels(Lora(name="negative"))[0], pixels(Lora(name=str(trained)))[0])


# ---------------------------------------------------------------- clips
def sized(width: int, height: int) -> tuple[int, int]:
    return 64, 40


def test_films_and_folders_are_conformed_and_said(folder, tmp_path, caplog):
    film(tmp_path / "long.mp4", np.repeat(tinted(9_900_001), 6, 0))
    caption(tmp_path, "long")
    with caplog.at_level("INFO"):
        one, = clips.found(tmp_path)
        assert [len(piece.rgb) for piece in clips.pieces(one, sized)] == [49, 5]
        for clip in clips.found(folder):
            piece, = clips.pieces(clip, sized)
            assert np.abs(piece.rgb.astype(int) - tinted(9_900_001 if clip.path.suffix == ".mp4" else 9_900_002)).mean() < 3
        assert finetune.understood(clips.found(folder)) == ("neon",)
    assert "long.mp4: 54 frames of 64x40 become 49 + 5 at 64x40" in caplog.text and "passes over them: kodachrome" in caplog.text


def test_a_film_that_lies_on_its_side_is_turned(tmp_path):
    upright = np.zeros((5, 64, 32, 3), np.uint8)
    upright[:, :16] = 255                                      # the sky
    film(tmp_path / "phone.mp4", np.ascontiguousarray(np.rot90(upright, 1, (1, 2))), turn=-90)
    caption(tmp_path, "phone")
    piece, = clips.pieces(clips.found(tmp_path)[0], lambda w, h: (w, h))
    assert piece.rgb.shape == upright.shape and np.abs(piece.rgb.astype(int) - upright).mean() < 3


def test_a_take_brings_its_prompt_and_its_guides(a_shot, studio, tmp_path, caplog):
    images(tmp_path / "take/guides", np.tile(np.linspace(0, 255, 96).astype(np.uint8)[None, None, :, None], (5, 64, 1, 3)))
    shot = a_shot("take", prompt="a neon car", guides=(Guide(kind="depth", path=str(tmp_path / "take/guides")),))
    shoot.roll(shot, lambda progress: None, threading.Event(), studio)
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "take", tmp_path / "moved/take")
    clip, = clips.found(tmp_path / "moved")
    piece, = clips.pieces(clip, sized)
    assert clips.rate(clip) == shot.fps
    assert clip.caption == "a neon car" and piece.rgb.shape == (5, 40, 64, 3)
    assert piece.guides["depth"].shape == (5, 40, 64, 1) and np.abs(piece.guides["depth"][2, 7, :, 0] - np.linspace(0, 1, 64)).max() < .02
    batch = finetune.Batch.of([finetune.Piece(torch.zeros(16, 2, 5, 8), {"depth": torch.from_numpy(piece.guides["depth"]).permute(3, 0, 1, 2)},
                                              finetune.text.tokens(clip.caption))], 2)
    assert batch.there.tolist() == [[1., 0., 0., 0., 0.]] and batch.guides["normal"].shape == (1, 3, 5, 40, 64)
    shutil.rmtree(tmp_path / "moved/take/guides")
    assert next(clips.pieces(clip, sized)).guides == {} and "trained on without it" in caplog.text
    (tmp_path / "moved/take/frames/plate.0003.png").unlink()
    with pytest.raises(clips.ClipsError, match="lacks plate.0003.png"):
        clips.found(tmp_path / "moved")


def short(place: Path) -> None:
    images(place / "quick", tinted(9_900_001)[:3])
    caption(place, "quick")


def uncaptioned(place: Path) -> None:
    for name in ("a", "b"):
        images(place / name, tinted(9_900_001)[:5])


def gappy(place: Path) -> None:
    images(place / "a", tinted(9_900_001))
    (place / "a/ink.0004.png").unlink()


def broken(place: Path) -> None:
    (place / "bad.mov").write_bytes(b"no film at all" * 99)
    caption(place, "bad")


def damaged(place: Path) -> None:
    images(place / "a", tinted(9_900_001))
    caption(place, "a")
    (place / "a/ink.0004.png").write_bytes(b"\x89PNG\r\n\x1a\nbad")


@pytest.mark.parametrize(("fill", "sentence"), [
    (lambda place: None, "holds no clips; put films"), (lambda place: caption(place, "alone"), "holds no clips"), (short, "quick has 3 frames; a clip needs at least 5"),
    (uncaptioned, "a has no caption .2 clips have none.; write what it shows into a.txt"), (gappy, "has no image number 4"),
    (broken, "bad.mov cannot be read as a film .*; export it"), (damaged, "ink.0004.png cannot be read")])
def test_bad_clips_are_refused_in_words(tmp_path, fill, sentence):
    fill(tmp_path)
    with pytest.raises(SoraError, match=sentence) as refused:
        for clip in clips.found(tmp_path):
            list(clips.pieces(clip, sized))
    assert refused.value.sentence.endswith(".") and refused.value.bad_request
