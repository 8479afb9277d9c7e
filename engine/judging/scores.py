"""Scores and how sure they are: each line of the evaluation beside chance and its ceilings, with intervals over clips."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

DRAWS = 1000
TARGETS = {"codec_psnr": 34., "codec_psnr_blender": 33., "sky": .95, "ground": .95, "style": .95, "colour": .9, "shape_text": .8, "shape_depth": .92,
           "camera_text": .75, "camera_depth": .97, "depth_edges": .95, "swap_gap": .35, "blender": .85, "binding": .8, "permanence": .85,
           "first_frame_psnr": 28., "first_frame_gain": 2., "negative": .9, "weight": .9, "upscale_edge_px": 1.5,
           "extend_seam": 1.3, "loop_seam": 1.3, "blend_seam": 1.3, "last_frame_psnr": 28., "remix": .9, "drift": 8.}           # of `value`
AT_MOST = {"upscale_edge_px", "extend_seam", "loop_seam", "blend_seam", "drift"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `value` is what targets speak of, with its 95 % interval; `raw` the score itself. None where there is no such thing."""
    value: float | None
    low: float | None = None
    high: float | None = None
    raw: float | None = None
    chance: float | None = None
    codec: float | None = None              # the same measured on the autoencoder's round trip
    truth: float | None = None              # and on the ground truth
    clips: int = 0
    note: str = ""

    def as_json(self) -> dict:
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}


def mean(x) -> float | None:
    """Of what is there; None of nothing."""
    x = np.asarray(x, float)
    return float(np.nanmean(x)) if np.isfinite(x).any() else None


def interval(statistic: Callable[..., float | None], *columns) -> tuple[float | None, float | None]:
    """95 % interval of a statistic of columns (N,) by the bootstrap over clips (Efron 1979); None of fewer than three."""
    columns, rng = [np.asarray(c, float) for c in columns], np.random.default_rng(0)
    if len(columns[0]) < 3:
        return None, None
    found = []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(columns[0]), len(columns[0]))
        value = statistic(*(c[rows] for c in columns))
        if value is not None and np.isfinite(value):
            found.append(value)
    return tuple(map(float, np.percentile(found, (2.5, 97.5)))) if found else (None, None)


def ratio(x, ceiling) -> float | None:
    """Mean of x as a share of the ceiling's mean."""
    a, b = mean(x), mean(ceiling)
    return None if a is None or not b else a / b


def share(x, ceiling, chance=(), codec=(), truth=None, note: str = "") -> Line:
    """A line whose value is a share of a ceiling, clip by clip; `truth` where that is not the ceiling."""
    low, high = interval(ratio, x, ceiling)
    return Line(ratio(x, ceiling), low, high, mean(x), mean(chance), mean(codec), mean(ceiling if truth is None else truth), _count(x), note)


def plain(x, chance=(), codec=(), truth=(), note: str = "", statistic: Callable = mean) -> Line:
    """A line whose value is the score itself."""
    low, high = interval(statistic, x)
    middle = lambda y: statistic(y) if len(y) else None
    return Line(statistic(x), low, high, statistic(x), middle(chance), middle(codec), middle(truth), _count(x), note)


def left_out(note: str) -> Line:
    """A line that could not be measured, and why."""
    return Line(None, note=note)


def median(x) -> float | None:
    x = np.asarray(x, float)
    return float(np.nanmedian(x)) if np.isfinite(x).any() else None


def spearman(x, y) -> float:
    """Rank correlation of two short sequences, equal values sharing the mean of their ranks; 0 where one of them is constant."""
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1]) if all(np.ptp(v) for v in (x, y)) else 0.


def _ranks(x) -> np.ndarray:
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _count(x) -> int:
    return int(np.isfinite(np.asarray(x, float)).sum())


def missed(key: str, line: Line) -> float | None:
    """By how much a line's value falls short of its target; 0 where it does not, None where there is no target or no value."""
    if key not in TARGETS or line.value is None:
        return None
    return max(0., line.value - TARGETS[key] if key in AT_MOST else TARGETS[key] - line.value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def table(lines: dict[str, Line]) -> str:
    """The lines as text, one each."""
    head = f"{'':22s}{'value':>8s}{'95 %':>16s}{'raw':>8s}{'chance':>8s}{'codec':>8s}{'truth':>8s}{'clips':>7s}{'target':>8s}{'missed':>8s}"
    rows = [f"{key:22s}{_number(x.value):>8s}{_number(x.low) + ' .. ' + _number(x.high):>16s}{_number(x.raw):>8s}{_number(x.chance):>8s}"
            f"{_number(x.codec):>8s}{_number(x.truth):>8s}{x.clips or '-':>7}{_number(TARGETS.get(key)):>8s}{_number(missed(key, x) or None):>8s}"
            + (f"  {x.note}" if x.note else "") for key, x in lines.items()]
    return "\n".join([head, *rows])


def card(lines: dict[str, Line]) -> str:
    """The lines as a table of a model card."""
    rows = [(key, _number(x.value), f"{_number(x.low)} to {_number(x.high)}", *map(_number, (x.raw, x.chance, x.codec, x.truth, TARGETS.get(key), missed(key, x) or None)))
            for key, x in lines.items()]
    head = ("line", "value", "95 %", "raw", "chance", "autoencoder", "ground truth", "target", "missed by")
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))
