"""The tiny decoder of previews: the published network's arithmetic, and files that are none."""
import numpy as np
import pytest
import torch
from torch import nn

from engine.diffusers_line import tiny_decoder
from engine.errors import ModelError
from engine.models import importing, previews
from engine.models.store import Store
from tests.engine.models_stage import failure, last, models


def weights(channels: int, patch: int, first: int = 1) -> dict[str, torch.Tensor]:
    """Random ones by the published names and shapes, with a time step of two in the later stages, and of `first` in the first."""
    dice, made = torch.Generator().manual_seed(0), {}

    def conv(name, into, out, side=3, bias=True):
        made[f"decoder.{name}.weight"] = torch.randn((out, into, side, side), generator=dice) / (into * side * side) ** 0.5
        if bias:
            made[f"decoder.{name}.bias"] = torch.randn(out, generator=dice) * 0.1
    conv(1, channels, 256)
    for at, wide, narrow, steps in ((3, 256, 128, first), (9, 128, 64, 2), (15, 64, 64, 2)):
        for block in range(at, at + 3):
            for layer, into in ((0, 2 * wide), (2, wide), (4, wide)):
                conv(f"{block}.conv.{layer}", into, wide)
        conv(f"{at + 4}.conv", wide, wide * steps, 1, bias=False)
        conv(at + 5, wide, narrow, bias=False)
    conv(22, 64, 3 * patch ** 2)
    return made


def frame_by_frame(state: dict, latent: torch.Tensor, patch: int) -> np.ndarray:
    """The same network as a person would write it down from its description: modules, one frame after the other, nothing enlarged in time."""
    def conv(name, x):
        weight = state[f"decoder.{name}.weight"]
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(state.get(f"decoder.{name}.bias", torch.zeros(len(weight))))
        return layer(x)
    frames = [torch.relu(conv(1, torch.tanh(one / 3) * 3)) for one in latent.unbind(2)]
    for at in (3, 9, 15):
        for block in range(at, at + 3):
            frames = [torch.relu(one + conv(f"{block}.conv.4", torch.relu(conv(f"{block}.conv.2", torch.relu(conv(f"{block}.conv.0", torch.cat([one, old], 1)))))))
                      for one, old in zip(frames, [torch.zeros_like(frames[0]), *frames])]
        frames = [nn.Upsample(scale_factor=2)(one) for one in frames]
        frames = [conv(at + 5, conv(f"{at + 4}.conv", one)[:, -one.shape[1]:]) for one in frames]
    frames = [nn.PixelShuffle(patch)(conv(22, torch.relu(one))).clamp(0, 1) for one in frames]
    return torch.cat(frames).permute(0, 2, 3, 1).detach().numpy()


@pytest.mark.parametrize(("channels", "patch", "first"), [(16, 1, 1), (48, 2, 1), (128, 4, 2)])
def test_it_is_the_published_network(channels, patch, first):
    state, latent = weights(channels, patch, first), torch.randn((1, channels, 3, 4, 6), generator=torch.Generator().manual_seed(1))
    seen = tiny_decoder.Tiny(state).shown(latent)
    assert seen.shape == (3, 32 * patch, 48 * patch, 3) and np.allclose(seen, frame_by_frame(state, latent, patch), atol=1e-4)
    assert tiny_decoder.Tiny(state).shown(torch.zeros((1, channels, 1, 60 // patch, 104 // patch))).shape[2] <= 256


def test_files_are_opened_or_refused(tmp_path):
    from safetensors.torch import save_file
    place, cpu = tmp_path / "previews", torch.device("cpu")
    place.mkdir()
    save_file(weights(16, 1), place / "taew2_1.safetensors")
    assert tiny_decoder.opened(place / "taew2_1.safetensors", cpu).shown(torch.zeros((1, 16, 20, 2, 2))).shape[0] == 16
    assert tiny_decoder.found(16, cpu, tmp_path) is None                             # a processor draws by the linear map
    assert tiny_decoder.found(16, torch.device("meta"), tmp_path / "elsewhere") is None
    assert tiny_decoder.found(128, torch.device("meta"), tmp_path, "taeltx_2.safetensors") is None
    save_file({"decoder.1.weight": torch.zeros((2, 16, 3, 3))}, place / "taew2_1.safetensors")
    assert tiny_decoder.found(16, torch.device("meta"), tmp_path) is None            # another network: coarse previews, no failure
    (place / "pickle.safetensors").write_bytes(b"\x80\x04no")
    with pytest.raises(ModelError):
        tiny_decoder.opened(place / "pickle.safetensors", cpu)


# ---------------------------------------------------------------- imported
SHAPES = {"taew2_1": (16, 1, 1), "taew2_2": (48, 2, 1), "taeltx_2": (128, 4, 2), "taeltx2_3": (128, 4, 2)}


def published(folder, name: str, shape: tuple[int, int, int] | None = None):
    """A file as it is published, but for its numbers: with the encoder, of which nothing is needed."""
    from safetensors.torch import save_file
    folder.mkdir(exist_ok=True)
    save_file(weights(*(shape or SHAPES[name])) | {"encoder.0.weight": torch.zeros((64, 3, 3, 3))}, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def bring(source, folder, **given):
    steps = importing.bring(source, Store(folder), importing.Given(**given))
    while True:
        try:
            next(steps)
        except StopIteration as ending:
            return ending.value


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("link", [False, True])
def test_what_was_imported_draws_previews(tmp_path, name, link):
    assert set(SHAPES) == set(previews.KNOWN)
    source, folder = published(tmp_path / "downloads", name), tmp_path / "models"
    made = bring(source, folder, link=link)
    assert (made.name, made.kind, made.family) == (name, "preview", previews.KNOWN[name][0])
    assert previews.file(name, folder).is_file() and Store(folder).loras(made.family) == ()
    with pytest.raises(ModelError):
        Store(folder).find(made.family)                                 # none that could be shot with
    file = f"{name}.safetensors"
    seen = tiny_decoder.opened(tiny_decoder.weights(file, folder), torch.device("cpu")).shown(torch.zeros((1, SHAPES[name][0], 2, 2, 2)))
    assert seen.shape[-1] == 3 and tiny_decoder.found(SHAPES[name][0], torch.device("cpu"), folder, file) is None
    Store(folder).remove(name)
    assert tiny_decoder.weights(file, folder) is None and tiny_decoder.found(SHAPES[name][0], torch.device("meta"), folder, file) is None


def test_on_the_command_line_it_is_known_by_its_name(tmp_path):
    folder, source = tmp_path / "models", published(tmp_path / "downloads", "taew2_1")
    answer = models("import", source, "--folder", folder)
    assert answer.returncode == 0, answer.stdout
    assert (last(answer)["name"], last(answer)["kind"]) == ("taew2_1", "preview")
    source.with_suffix(".pth").write_bytes(b"pickled")
    refused = failure(models("import", source.with_suffix(".pth"), "--folder", folder))
    assert "could run code" in refused and "take taew2_1.safetensors from the folder safetensors of https://github.com/madebyollin/taehv" in refused


@pytest.mark.parametrize(("name", "given", "said"), [
    ("taehv", {}, "give it the --name taew2_1 if it is that"), ("taew2_2", {}, "of 16 channels, which “taew2_2” is not known for"),
    ("taew2_1", {"family": "ltx2"}, "draws previews of wan, not of ltx2"), ("taew2_1", {"name": "mine"}, "give it the --name taew2_1"),
    ("taew2_1", {"lora": True, "family": "wan"}, "is no LoRA")])
def test_what_is_not_known_to_draw_is_refused(tmp_path, name, given, said):
    with pytest.raises(ModelError, match=said):
        bring(published(tmp_path / "downloads", name, SHAPES["taew2_1"]), tmp_path / "models", **given)
    assert not Store(tmp_path / "models").installed()


def test_another_make_is_refused_and_a_name_can_be_given(tmp_path):
    from safetensors.torch import load_file, save_file
    source = published(tmp_path / "downloads", "taehv", SHAPES["taew2_1"])
    assert bring(source, tmp_path / "models", name="taew2_1").name == "taew2_1"
    save_file({name: tensor for name, tensor in load_file(source).items() if "decoder.19" not in name}, source)
    with pytest.raises(ModelError, match="of another make, without decoder.19.conv.weight"):
        bring(source, tmp_path / "models", name="taew2_1")
