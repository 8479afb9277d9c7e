"""Rendered clips on disk: a shard is a folder of .npy files with clips of one shape. Shard n is the same on every machine."""
from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from . import data

log = logging.getLogger(__name__)

SHORT = [(17, 40, 64)] * 12 + [(17, 64, 40)] * 2 + [(17, 48, 48)] * 2 + [(17, 32, 80)] * 2 + [(33, 40, 64)] * 2     # frames, height, width
LONG = [(49, 56, 96)] * 7 + [(49, 96, 56), (49, 48, 112), (33, 56, 96)]
PLAIN = [(17, 40, 64)]
STILLS = [(1, 40, 64)] * 5 + [(1, 56, 96)] * 5 + [(1, 96, 56), (1, 48, 48), (1, 48, 112)]      # pictures teach words at a sixth of a clip's price
BUCKETS = {"short": SHORT, "long": LONG, "plain": PLAIN, "stills": STILLS}
CLIPS = {"short": 64, "long": 12, "plain": 64, "stills": 512}
FIXED = {"plain": {"kind": "objects", "style": "photo", "counts": (1, 2)},       # a few things in daylight colours: which word paints which
         "stills": {"kind": "objects", "style": "photo", "counts": (1, 1, 2, 2, 3, 3)}}
FIRST_SEED = {"short": 1_000_000, "plain": 3_000_000, "long": 5_000_000, "held out": 9_000_000, "stills": 20_000_000}


def shape(series: str, n: int) -> tuple[int, int, int]:
    """(T, H, W) of shard n; a stride of 7 mixes shapes early."""
    buckets = BUCKETS[series]
    return buckets[n * 7 % len(buckets)]


def clip(series: str, n: int, i: int) -> data.Clip:
    """Clip i of shard n; every other still is of a few things in daylight colours."""
    fixed = dict(FIXED.get(series, {})) if series != "stills" or i % 2 else {}
    counts = fixed.pop("counts", None)
    if counts:
        fixed["count"] = counts[i % len(counts)]
    frames, h, w = shape(series, n)
    return data.clip(FIRST_SEED[series] + n * CLIPS[series] + i, frames, h, w, **fixed)


def write(root: Path, series: str, n: int) -> Path:
    """Renders shard n of a series unless it is there already."""
    folder = root / series / f"{n:04d}"
    if folder.exists():
        return folder
    clips = [clip(series, n, i) for i in range(CLIPS[series])]
    part = folder.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    for name in ("rgb", "inverse_depth", "normal"):
        np.save(part / f"{name}.npy", np.stack([getattr(c, name) for c in clips]))
    (part / "captions.json").write_text(json.dumps([c.caption for c in clips]))
    os.replace(part, folder)
    return folder


def build(root: Path, series: str, count: int, jobs: int = 2, start: int = 0) -> None:
    """Renders shards start..count-1 in `jobs` processes."""
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(write, root, series, n) for n in range(start, count)]
        for n, future in enumerate(futures):
            log.info("%s shard %d/%d: %s", series, n + 1 + start, count, future.result())


def ready(root: Path, series: str) -> list[Path]:
    """Finished shards, in order."""
    return sorted(p for p in (root / series).glob("[0-9]*") if p.suffix != ".part") if (root / series).exists() else []


def captions(folder: Path) -> list[str]:
    return json.loads((folder / "captions.json").read_text())
