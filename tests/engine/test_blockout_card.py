"""Training on a card, without one: every stage's step where a tensor that was left on the CPU, or drawn there, would be refused."""
import sys
import time

import pytest
import torch

from engine import device
from engine.blockout import finetune, train_autoencoder, train_decoder, train_transformer, training
from engine.blockout.autoencoder import Autoencoder
from engine.blockout.transformer import Transformer
from engine.device import Device
from engine.errors import ModelError
from tests.conftest import ROOT
from tests.engine.pretended import NAME, Pretending
from tests.engine.roused import TINY
from tests.engine.stages import SMALL, STAGES, pieces, shards_of

sys.path.insert(0, str(ROOT / "scripts"))
import train_blockout  # noqa: E402

CARD = Device(NAME, "a pretended card", "float32", 1, 1)
CUDA = Device("cuda:0", "a pretended card", "bfloat16", 1, 1, "bfloat16")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with shards_of(tmp_path_factory.mktemp("clips")) as place:
        yield place


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_stays_on_the_card(stage, root, tmp_path):
    """Loss, gradients, clipping, both optimisers and the moving average, several times: chance decides what is shown."""
    torch.manual_seed(0)
    with Pretending():
        model, optimisers, loss_of = STAGES[stage](root, NAME)
        run = training.Run(stage, tmp_path, model, optimisers(model), 60., place=CARD, tokens=600)
        run.times = 2                                          # shards a step: enough to be joined, and soon done
        for _ in range(3):
            run.advance(lambda m, g: loss_of(m, run, g), time.monotonic())
        assert {p.device.type for p in [*run.model.parameters(), *run.average.model.parameters()]} == {NAME} == {x.device.type for x in run.losses}
        state = [x for o in run.optimisers for each in o.state.values() for name, x in each.items() if name != "step"]
        assert state and {x.device.type for x in state} == {NAME}
        assert run.random.device.type == "cpu" and run.step == 3


def test_what_is_left_on_the_cpu_is_refused():
    """The pretended card would not let a mistake pass."""
    with Pretending():
        there = torch.ones(3).to(NAME)
        with pytest.raises(RuntimeError, match="at least two devices"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="at least two devices"):
            torch.nn.functional.linear(there, torch.ones(2, 3))


def test_what_was_drawn_goes_as_a_whole():
    told = {"video": (torch.ones(2), [torch.ones(1), "a caption"]), "none": None}
    with Pretending():
        there = training.onto(told, NAME)
        assert there["video"][0].device.type == there["video"][1][0].device.type == NAME and there["video"][1][1] == "a caption" and there["none"] is None
    assert training.onto(told, "cpu")["video"][0] is told["video"][0], "nothing is copied where it is there already"


def test_a_card_sees_more_in_a_step_unless_it_is_told(tmp_path):
    weights = torch.nn.Linear(2, 2)
    sgd = [torch.optim.SGD(weights.parameters(), 1.)]
    plain = training.Run("plain", tmp_path, weights, sgd, 1.)
    carded, asked = (training.Run("carded", tmp_path, weights, sgd, 1., place=CARD, tokens=tokens) for tokens in (0, 500))
    assert (plain.tokens(100), carded.tokens(100), asked.tokens(100)) == (100, 100 * training.ON_A_CARD, 500)
    assert training.halves(CUDA) and not training.halves(Device("cuda:0", "an older card", "bfloat16", 1, 1)), "what would be emulated is left whole"
    assert training.halves(device.answering("cpu", "a test")) == device.half_products()


def test_a_device_that_is_not_there_and_processes_on_a_card_are_refused(tmp_path, capsys):
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    assert train_blockout.main(["autoencoder", "--out", str(tmp_path), "--device", missing]) == 2
    said = capsys.readouterr().err
    assert f"--device asks for the device '{missing}', which does not answer here." in said and "--device cpu trains without it" in said
    with pytest.raises(ModelError, match="trains in one process, not in 2; leave --processes out"):
        train_blockout.processes(CARD, 2)
    assert (train_blockout.processes(CARD, None), train_blockout.processes(device.answering("cpu", "a test"), None)) == (1, 2)
    for wrong in (["decoder", "--tokens", "100"], ["transformer", "--tokens", "0"]):
        with pytest.raises(SystemExit):
            train_blockout.main([*wrong, "--out", str(tmp_path)])
        assert "--tokens" in capsys.readouterr().err


def test_judges_and_statistics_stay_on_the_card(root):
    torch.manual_seed(0)
    with Pretending():
        autoencoder, transformer = Autoencoder(TINY).eval().requires_grad_(False).to(NAME), Transformer(SMALL).eval().to(NAME)
        judged = [train_transformer.HeldOut.rendered(autoencoder, 1)(transformer), finetune.Judge(pieces())(transformer),
                  train_decoder.judged(autoencoder, 1)(autoencoder.decoder)]
        assert {x.device.type for found in judged for x in found.values()} == {NAME}
        train_autoencoder.set_statistics(autoencoder, train_autoencoder.Crops(root, ("short",)), torch.Generator(), 1)
        assert autoencoder.mean.device.type == NAME
