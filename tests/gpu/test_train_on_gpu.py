"""Training on a CUDA or ROCm device: every stage learns there, says what the CPU would have said, and is gone on with on the CPU."""
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from engine import device  # noqa: E402
from engine.blockout import training  # noqa: E402
from tests.engine.stages import STAGES, shards_of  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA or ROCm device")
STEPS = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with shards_of(tmp_path_factory.mktemp("clips")) as place:
        yield place


def begun(stage, root, folder, place):
    """A run of a stage on a device, from the same weights wherever that is, and the loss of its steps."""
    torch.manual_seed(0)
    model, optimisers, loss_of = STAGES[stage](root, place.name)
    run = training.Run(stage, folder, model, optimisers(model), 60., place=place, tokens=600)
    run.times = 2                                              # the same data on the CPU as on the card
    return run, lambda m, g: loss_of(m, run, g)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_trains_as_on_the_cpu_and_goes_on_there(stage, root, tmp_path):
    places = [device.answering(name, "a test") for name in ("cuda", "cpu")]
    losses = {}
    for place in places:
        run, loss_of = begun(stage, root, tmp_path / place.name, place)
        for _ in range(STEPS):
            run.advance(loss_of, time.monotonic())
        losses[place.name] = torch.stack([loss.cpu() for loss in run.losses])
        run.save()
    assert losses["cuda"].isfinite().all()
    assert torch.allclose(losses["cuda"][:1], losses["cpu"][:1], rtol=.02), "the same weights and data, in bfloat16"
    assert torch.allclose(losses["cuda"], losses["cpu"], rtol=.1), "and they are moved alike"
    state = torch.load(tmp_path / "cuda" / f"{stage}.pt", weights_only=True)      # needs no map_location: it holds the CPU's tensors
    again, loss_of = begun(stage, root, tmp_path / "cuda", places[1])
    again.resume()
    assert again.step == STEPS and all(torch.equal(p, state["model"][name]) for name, p in again.model.state_dict().items())
    velocities = [each for o in again.optimisers for each in o.state.values()]
    assert velocities and all(x.device.type == "cpu" for each in velocities for x in each.values())
    again.advance(loss_of, time.monotonic())
    assert again.losses[-1].isfinite()
    back, loss_of = begun(stage, root, tmp_path / "cuda", places[0])               # and the other way round
    back.resume()
    back.advance(loss_of, time.monotonic())
    assert back.losses[-1].isfinite() and {p.device.type for p in back.model.parameters()} == {"cuda"}


def test_the_script_trains_on_the_card_and_says_so(tmp_path):
    """The autoencoder, at its own size, on clips that the card rendered; then on the CPU."""
    command = [sys.executable, "scripts/train_blockout.py", "autoencoder", "--out", str(tmp_path / "out"), "--minutes", ".2", "--device", "cuda"]
    from engine.blockout import shards
    for series in ("short", "long"):
        shards.write(tmp_path / "out" / "clips", series, 0, device="cuda")
    for more in ([], ["--resume", "--device", "cpu", "--processes", "1", "--minutes", ".3"]):
        ran = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stderr[-2000:]
        assert ("CPU" if more else torch.cuda.get_device_name(0)) in ran.stderr
    refused = subprocess.run([*command, "--resume", "--processes", "2"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2 and "trains in one process" in refused.stderr
