"""The stages that make a blockout model, in order, each of which can be stopped and taken up again.

A folder holds it all: `clips/` (rendered shards), `<stage>.pt` (checkpoints), `<stage>.jsonl` (what was measured when), `weights/`.
"""
from __future__ import annotations

import json
import logging
from pathlib import Path

import torch

from ..device import Device
from . import model, refiner, shards, train_autoencoder, train_decoder, train_refiner, train_transformer
from .model import NAME, Blockout, save
from .training import side_by_side

log = logging.getLogger(__name__)

STAGES = ("data", "autoencoder", "transformer", "decoder", "refiner")
RENDERERS = 2                                                  # processes that render beside a card which does not
WELL_IN = 10_000                                               # a step by which rates have risen and the moving average has its horizon
SHARE = {"data": .12, "autoencoder": .25, "transformer": .53, "decoder": .10}     # of the minutes of `all`: a refiner has gained nothing yet
COUNTS = {"short": 110, "long": 16, "plain": 95, "mottled": 60, "varied": 44, "stills": 30, "told": 60, "close": 44, "large stills": 15, "large": 30,
          "large varied": 10, "hiding": 40, "timed": 32, "academy": 6}                    # shards


def checkpoint(out: Path, stage: str) -> dict | None:
    path = out / f"{stage}.pt"
    return torch.load(path, weights_only=True) if path.exists() else None


def assembled(out: Path) -> Blockout:
    """The model of the moving averages in a training folder; whatever isn't trained yet is random."""
    blockout = train_transformer.begun_as(out)
    for stage, part in (("autoencoder", blockout.autoencoder), ("transformer", blockout.transformer), ("decoder", blockout.autoencoder.decoder)):
        state = checkpoint(out, stage)
        if state is not None:
            part.load_state_dict(state["average"])
    return blockout.eval()


def begun(weights: Path, out: Path, minutes: float) -> None:
    """Checkpoints in a new training folder that go on from a model's weights, which so many minutes of the transformer's training have made.

    Optimisers begin anew, as what they knew is not in the weights. Raises as `model.load` does.
    """
    found = model.load(weights)
    out.mkdir(parents=True, exist_ok=True)
    model.save_shape(found, out)
    torch.save({"average": found.autoencoder.state_dict()}, out / "autoencoder.pt")
    state, spent = found.transformer.state_dict(), 60 * minutes
    optimisers = [o.state_dict() for o in train_transformer.optimisers(found.transformer)]
    torch.save({"model": state, "average": state, "step": WELL_IN, "spent": spent, "optimisers": optimisers}, out / "transformer.pt")


def of_weights(out: Path) -> bool:
    """Whether a folder was `begun`, so that its autoencoder stays as it is."""
    state = checkpoint(out, "autoencoder")
    return state is not None and "model" not in state


def measured(out: Path, stage: str) -> dict:
    """The last line of a stage's log."""
    path = out / f"{stage}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1]) if lines else {}


def model_card(out: Path) -> str:
    """What was trained, from the logs of the training itself."""
    rows = [f"| {s} | {m.get('minutes', 0)} | {m.get('step', 0)} | {', '.join(f'{k} {v}' for k, v in m.items() if k not in ('minutes', 'step'))} |"
            for s in STAGES[1:] if (m := measured(out, s))]
    clips = {s: len(shards.ready(out / "clips", s)) * shards.SERIES[s].clips for s in COUNTS}
    stills = sum(count for name, count in clips.items() if shards.SERIES[name].shapes[0][0] == 1)
    seen = f"Trained on {sum(clips.values()) - stills} clips and {stills} stills, rendered by `engine/blockout/data.py`; no other material."
    return "\n".join([f"# {NAME}", "", seen, "", "| stage | minutes | steps | held-out measurements |", "|---|---|---|---|", *rows, ""])


def train(stage: str, out: Path, minutes: float, processes: int = 2, weights: Path = model.WEIGHTS, place: Device | None = None, tokens: int = 0) -> None:
    """One stage of STAGES for as many minutes in all, on top of what its checkpoint has; then writes the weights anew.

    On the CPU in so many processes, unless there is another place, which takes one. tokens are the transformer's, as `Run` has them.
    The refiner learns from frames of the model that `out` holds, or of the one in `weights` where it holds none.
    """
    clips = out / "clips"
    if stage == "data":
        for series, count in COUNTS.items():
            jobs = processes if place is None or place.name == "cpu" else RENDERERS
            shards.build(clips, series, count, jobs, device=shards.renderer(place.name if place else "cpu"))
        return
    if stage == "refiner":
        makers = out / "weights" if (out / "weights" / f"{NAME}.json").exists() else weights
        train_refiner.prepare(clips, makers, processes, place)
        side_by_side(processes, out, train_refiner.stage, clips, out, minutes, makers, place)
        export(out)
        return
    run = {"autoencoder": train_autoencoder.stage, "transformer": train_transformer.stage, "decoder": train_decoder.stage}[stage]
    side_by_side(processes, out, run, clips, out, minutes, place, *([tokens] if stage == "transformer" else []))
    export(out)


def export(out: Path) -> Path:
    """Weights and model card of a training folder as it stands."""
    folder = out / "weights"
    if (out / "autoencoder.pt").exists():                      # a folder may hold a refiner alone
        save(assembled(out), folder)
        (folder / "MODEL_CARD.md").write_text(model_card(out))
    drawn = checkpoint(out, "refiner")
    if drawn is not None:
        second = refiner.Refiner()
        second.load_state_dict(drawn["average"])
        refiner.save(second, folder)
    log.info("wrote %s", folder)
    return folder
