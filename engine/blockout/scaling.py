"""What compute buys: transformers of three sizes trained side by side on the same clips, their held-out loss against the operations spent.

Operations are counted as Kaplan et al. 2020 do (two for each weight and token, and attention's own), three times the forward pass for a
training step. The rates stay where they begin, so that every point of a curve is a training that could go on from there.
"""
from __future__ import annotations

import csv
import importlib.util
import json
import logging
from pathlib import Path

import torch
from torch import Tensor

from ..device import Device
from . import shards
from .text import TOKENS
from .train_transformer import Clips, Draws, HeldOut, Library, optimisers, trained_autoencoder
from .training import Run
from .transformer import Transformer, TransformerConfig

log = logging.getLogger(__name__)

SIZES = {"small": TransformerConfig(width=128, depth=4, heads=2), "base": TransformerConfig(depth=6),
         "large": TransformerConfig(width=320, depth=8, heads=5)}
MIX = {"short": .6, "plain": .4}
HORIZON = 60                                                   # steps of the moving average
EVERY = 25                                                     # steps between two points
COLUMNS = {"step": int, "minutes": float, "teraflop": float, "held out": float, "parameters": int}
POINTS, CURVES = "scaling.csv", "scaling.png"                  # lie beside each other


def forward(config: TransformerConfig, batch: int, patches: int) -> float:
    """Operations of one pass over `batch` clips of so many latent pixels."""
    tokens, d = patches + TOKENS, config.width
    weights = config.depth * (4 + 2 * config.mlp) * d * d
    return batch * (2 * weights * tokens + 4 * config.depth * tokens ** 2 * d)


class Counted(Draws):
    """Draws of one mix throughout, with the operations that they took."""

    wanted = tuple(MIX)
    spent = 0.

    def loss(self, model: Transformer, clips: Clips, g: torch.Generator, portrayed: bool) -> Tensor:
        self.spent += 3 * forward(model.config, len(clips.latent), clips.latent[0, 0].numel())
        return super().loss(model, clips, g, False)            # portraits would be tokens that are not counted

    def mix(self) -> dict[str, float]:
        return MIX


def held_out(judge: HeldOut, model: Transformer) -> Tensor:
    """One number of HeldOut's: without guides and with them, weighted by noise as the training is."""
    found = judge(model)
    weighted = [found[f"{kind} {sigma}"] / sigma ** 2 for kind in ("text", "guides") for sigma in (1., .8, .5)]
    return sum(weighted) / len(weighted)


def stage(root: Path, out: Path, size: str, minutes: float, place: Device | None = None, tokens: int = 0) -> None:
    """Trains one size for so many minutes; every point goes to OUT/SIZE.jsonl. place and tokens as `Run` has them."""
    torch.manual_seed(1)
    model, autoencoder = (part.to(place.name if place else "cpu") for part in (Transformer(SIZES[size]), trained_autoencoder(out)))
    run = Run(size, out / "scaling", model, optimisers(model), minutes, HORIZON, seed=1, hold=1., place=place, tokens=tokens)
    draws = Counted(Library(root, autoencoder), run)
    judge = HeldOut.rendered(autoencoder)
    parameters = sum(p.numel() for p in model.parameters())
    told = lambda average: {"held out": held_out(judge, average), "teraflop": draws.spent / 1e12, "parameters": parameters}
    run.train(draws, told, EVERY)


def measure(root: Path, out: Path, minutes: float, place: Device | None = None, tokens: int = 0, sizes: tuple[str, ...] = tuple(SIZES)) -> None:
    """Every size that has no curve yet, one after the other; to measure one again, its file has to go."""
    for size in sizes:
        if not curve(out, size).exists():
            log.info("%s", size)
            stage(root, out, size, minutes, place, tokens)


def curve(out: Path, size: str) -> Path:
    return out / "scaling" / f"{size}.jsonl"


def points(out: Path) -> dict[str, list[dict]]:
    """Each size's measurements in order, by size."""
    return {size: [json.loads(line) for line in curve(out, size).read_text().splitlines()] for size in SIZES if curve(out, size).exists()}


def lacking(out: Path) -> str:
    """What a training folder has to have and has not, "" where all is there."""
    if not (out / "autoencoder.pt").exists():
        return "autoencoder"
    return next((f"clips of the series {series}" for series in MIX if not shards.ready(out / "clips", series)), "")


def keep(found: dict[str, list[dict]], path: Path) -> None:
    """The points as a table, a row each: what a plot can be drawn anew from."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ("size", *COLUMNS), extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows({"size": size, **row} for size, rows in found.items() for row in rows)


def kept(path: Path) -> dict[str, list[dict]]:
    """As `points`, from a table that `keep` wrote. Raises OSError, and ValueError where it is none."""
    found: dict[str, list[dict]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, strict=True)
        missing = [name for name in ("size", *COLUMNS) if name not in (table.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} has no column {missing[0]!r}")
        for row in table:
            try:
                found.setdefault(row["size"], []).append({name: number(row[name]) for name, number in COLUMNS.items()})
            except (TypeError, ValueError) as error:
                raise ValueError(f"line {table.line_num} of {path} is no point: {error}") from error
    if not found:
        raise ValueError(f"{path} has no points")
    return found


def plot(found: dict[str, list[dict]], path: Path) -> bool:
    """The curves on logarithmic axes; False where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="training operations, in units of 10¹⁵", ylabel="held-out loss, weighted by noise",
                              title="Blockout's transformer in three sizes: what compute buys")
    for size, rows in found.items():
        label = f"{size}: {rows[-1]['parameters'] / 1e6:.1f} M parameters, {rows[-1]['step']} steps"
        axes.plot([row["teraflop"] / 1000 for row in rows], [row["held out"] for row in rows], marker=".", label=label)
    axes.grid(True, which="both", alpha=.25)
    axes.legend()
    figure.savefig(path)
    return True
