"""What training costs, as it is counted for the scaling curves, and the files that they are drawn from."""
import json
import re
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.blockout import optimise, scaling
from engine.blockout.guides import GIVEN
from engine.blockout.text import TOKENS
from engine.blockout.transformer import Transformer
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import train_blockout  # noqa: E402


@pytest.mark.parametrize("size", ["small", "base"])
def test_operations_are_those_of_the_matrix_products(size):
    config, (k, h, w), batch = scaling.SIZES[size], (2, 3, 4), 2
    torch.manual_seed(0)
    model = Transformer(config)
    x, tokens = torch.zeros(batch, config.latent, k, h, w), torch.zeros(batch, TOKENS, config.width)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(x, torch.full((batch,), .5), tokens, {}, torch.zeros(batch, len(GIVEN)), x, x[:, :1])
    inside = {name: ops for name, ops in counted.get_flop_counts().items() if re.fullmatch(r"Transformer\.blocks\.\d+", name)}
    multiplied = sum(count for ops in inside.values() for op, count in ops.items() if "mm" in str(op))
    n = k * h * w + TOKENS
    products = batch * 2 * config.depth * (4 + 2 * config.mlp) * config.width ** 2 * n
    assert len(inside) == config.depth and multiplied == products
    assert scaling.forward(config, batch, k * h * w) == products + batch * 4 * config.depth * n ** 2 * config.width


def test_sizes_grow_by_about_four():
    small, base, large = (sum(p.numel() for p in Transformer(config).parameters()) for config in scaling.SIZES.values())
    assert 2.5 < base / small < 6 and 2.5 < large / base < 6


def test_the_rate_can_stay():
    assert optimise.rates(.99, 1000, hold=1.) == 1 and optimise.rates(1., 1000) == pytest.approx(.03)


def test_curves_are_read_by_size(tmp_path):
    assert scaling.points(tmp_path) == {}
    path = scaling.curve(tmp_path, "small")
    path.parent.mkdir()
    path.write_text("".join(json.dumps({"step": s, "teraflop": s / 10, "held out": 1 / s, "parameters": 5, "minutes": s}) + "\n" for s in (1, 2)))
    assert [row["step"] for row in scaling.points(tmp_path)["small"]] == [1, 2]


def test_curves_are_drawn_anew_from_the_table_beside_them(tmp_path, capsys):
    rows = [{"step": 25 * s, "minutes": s / 2, "loss": 1., "teraflop": s * .3127, "held out": 1.5 / s, "parameters": 5} for s in (1, 2, 3)]
    scaling.keep({"small": rows, "base": rows[:1]}, tmp_path / scaling.POINTS)
    assert scaling.kept(tmp_path / scaling.POINTS) == {"small": [{k: row[k] for k in scaling.COLUMNS} for row in rows],
                                                       "base": [{k: rows[0][k] for k in scaling.COLUMNS}]}
    assert train_blockout.main(["curves", "--out", str(tmp_path)]) == 0 and "scaling." in capsys.readouterr().out
    for text, why in (("", "no column"), ("size,step,minutes,teraflop,held out,parameters\n", "no points"),
                      ("size,step,minutes,teraflop,held out,parameters\nsmall,many,1,1,1,1\n", "line 2")):
        (tmp_path / scaling.POINTS).write_text(text)
        assert train_blockout.main(["curves", "--out", str(tmp_path)]) == 2 and why in capsys.readouterr().err
    assert train_blockout.main(["curves", "--out", str(tmp_path / "nowhere")]) == 2
