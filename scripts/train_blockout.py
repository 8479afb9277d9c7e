"""Trains the blockout family from nothing: renders clips, trains the autoencoder, then the transformer, and writes the weights.

    python scripts/train_blockout.py all --out out/blockout --minutes 120
    python scripts/train_blockout.py transformer --out out/blockout --minutes 90 --resume
"""
from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.blockout import train


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=(*train.STAGES, "all", "export"))
    parser.add_argument("--out", type=Path, required=True, help="folder for clips, checkpoints, logs and weights")
    parser.add_argument("--minutes", type=float, default=120., help="of the stage in all, or of all stages together")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each; they average their gradients")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stages = train.STAGES if given.stage == "all" else (given.stage,)
    if given.stage == "export":
        train.export(given.out)
        return 0
    begun = [s for s in stages if (given.out / f"{s}.pt").exists()]
    if begun and not given.resume:
        print(f"{given.out} already holds {', '.join(begun)}; say --resume to go on with it, or choose another folder", file=sys.stderr)
        return 2
    for stage in stages:
        train.train(stage, given.out, given.minutes * (train.SHARE[stage] if given.stage == "all" else 1), given.processes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
