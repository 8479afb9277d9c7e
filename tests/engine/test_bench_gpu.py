"""The bench of real shapes, tried with tiny ones on the processor, and what it counts, in the published shapes; where no card is at hand it says so."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHES = Path(__file__).resolve().parents[2] / "scripts" / "benches"
PLANS = ("full", "turns", "int8", "blocks", "fp8")


@pytest.fixture(scope="module")
def subjects():
    sys.path.insert(0, str(BENCHES))
    import subjects
    yield subjects
    sys.path.remove(str(BENCHES))


def run(*options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(BENCHES / "gpu.py"), *options], capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(("family", "plans"), [("wan", PLANS), *((family, ("full", "int8")) for family in ("vace", "ltx2", "sana_wm", "skyreels", "cogvideox"))])
def test_every_family_is_measured_beside_its_stock_pipeline(family, plans):
    said = run("--device", "cpu", "--family", family, "--model", "tiny", "--steps", "3", "--plans", ",".join(plans))
    assert said.returncode == 0, said.stderr
    result = json.loads(said.stdout.splitlines()[-1])
    detail = result["detail"]
    assert result["name"] == "gpu" and result["ratio"] > 0 and detail["share"] > 0 and detail["tflops"] > 0 and detail["source"].startswith("https://")
    for plan in plans:
        found = detail[plan]
        assert found["share"] > 0 and found["step_s"] > 0 and found["decode_s"] > 0 and found["peak_bytes"] >= found["sampling_bytes"] > 0
        assert found["distance"] < (0.1 if plan in ("int8", "fp8") else 1e-5) and found["pictures"] < 1e-5 and found["equal"], plan
    assert detail["int8"]["distance"] > detail["full"]["distance"] and detail["stock"]["step_s"] > 0 and detail["stock"]["tflop"] > 0


def empty(*shape: int, dtype=torch.float32) -> torch.Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


def wan(frames, *sides):
    return (empty(1, 16, frames, *sides), empty(1), empty(1, 512, 4096)), {"return_dict": False}


def vace(frames, *sides):
    given, named = wan(frames, *sides)
    return given, {**named, "control_hidden_states": empty(1, 96, frames, *sides), "control_hidden_states_scale": empty(2)}


def ltx2(frames, height, width):
    tokens, sound = frames * height * width, 126
    named = dict(encoder_attention_mask=empty(2, 1024), audio_encoder_attention_mask=empty(2, 1024), num_frames=frames, height=height, width=width, fps=24.0,
                 audio_num_frames=sound, video_coords=empty(2, 3, tokens, 2), audio_coords=empty(2, 1, sound, 2),
                 return_dict=False)
    return (empty(2, tokens, 128), empty(2, sound, 128), empty(2, 1024, 3840), empty(2, 1024, 3840), empty(2, tokens), empty(2)), named


def sana_wm(frames, height, width):
    return ((empty(2, 128, frames, height, width), empty(2, 1, frames), empty(2, 1, 300, 2304)),
            dict(return_dict=False, mask=empty(2, 300, dtype=torch.int64), camera_conditions=empty(2, frames, 20),
                 chunk_plucker=empty(2, 48, frames, height, width)))


def cogvideox(frames, height, width):
    turns = empty(frames * height // 2 * width // 2, 64)
    return (empty(2, frames, 32, height, width), empty(2, 226, 4096), empty(2)), dict(image_rotary_emb=(turns, turns), return_dict=False)


def skyreels(frames, *sides):
    given, named = wan(frames, *sides)
    return given, {**named, "fps": empty(1, dtype=torch.int64)}


# parameters of the whole model in billions, as its publishers say; latent frames and sides, sides of a patch, texts in a call
CALLS = {"wan": (wan, 14, (21, 60, 104), 2, 1), "vace": (vace, 17, (21, 60, 104), 2, 1), "ltx2": (ltx2, 19, (16, 22, 40), 1, 2),
         "sana_wm": (sana_wm, 2.6, (21, 22, 40), 1, 2), "skyreels": (skyreels, 14, (25, 68, 120), 2, 1), "cogvideox": (cogvideox, 5.5, (13, 60, 90), 2, 2)}


@pytest.mark.parametrize("family", CALLS)
def test_what_a_step_asks_for_is_counted_in_the_published_shapes(subjects, family):
    """Between what every token's way through the weights takes, less what texts alone go through, and that with every token attending to every other."""
    from tests.engine import tiny_families
    subject, (call, billions, (frames, height, width), patch, texts) = subjects.SUBJECTS[family], CALLS[family]
    settings = next(iter(subject.models.values())).get("transformer", {})
    kind, settings = subjects._kind(type(tiny_families.MAKERS[subject.tiny]().transformer), settings)

    def numbers(**fewer) -> tuple[torch.nn.Module, int]:
        with torch.device("meta"):
            made = kind(**{**settings, **fewer}).eval()
        return made, sum(weights.numel() for weights in made.parameters())
    assert numbers()[1] / 1e9 == pytest.approx(billions, rel=0.1)
    layers = 4
    few, count = numbers(num_layers=layers, **({"vace_layers": [0, 2]} if family == "vace" else {}))
    tokens, config = frames * (height // patch) * (width // patch), few.config
    inner = config.get("hidden_size") or config.num_attention_heads * config.attention_head_dim
    through, attending = texts * 2 * count * tokens, texts * 4 * tokens ** 2 * inner * (layers + (2 if family == "vace" else 0))
    found = subjects.flop(few, *call(frames, height, width))
    assert 0.6 * through < found < 1.05 * (through + attending), (found / through, found / (through + attending))


def test_without_a_card_it_is_one_sentence():
    if torch.cuda.is_available():
        pytest.skip("a card is at hand")
    said = run()
    assert said.returncode == 1 and said.stdout == "" and said.stderr.strip().splitlines()[-1].startswith("No graphics card") and "Traceback" not in said.stderr


def test_a_model_that_the_family_does_not_have_is_refused():
    said = run("--family", "ltx2", "--model", "wan-14b")
    assert said.returncode == 2 and "there are: tiny, ltx-2-19b" in said.stderr
