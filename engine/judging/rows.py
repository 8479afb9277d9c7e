"""The lines that come from clips of the exam's own captions: what is said, where it is, how it moves."""
from __future__ import annotations

import logging
import time

import numpy as np
import torch
from torch import Tensor

from ..blockout.train_autoencoder import psnr
from . import pixels, scores
from .attributes import CHOICES
from .exam import Exam
from .judges import Judges
from .scores import Line
from .studio import Studio, Wish, takes

log = logging.getLogger(__name__)

ROWS = {"text": (), "depth": ("depth",), "depth and colours": ("depth", "albedo"), "depth and camera": ("depth", "camera"),
        "depth and motion": ("depth", "vector"), "guides": ("depth", "normal", "camera")}
SWAPPED = 24                                                   # clips made along another clip's depth


def made(studio: Studio, exam: Exam, kinds: tuple[str, ...], guides_of=lambda i: i, count: int | None = None) -> Tensor:
    """The exam's captions as clips, along the guides of clip guides_of(i)."""
    began, clips = time.monotonic(), []
    for i in range(count or len(exam.clips)):
        shown = guides_of(i)
        flown = exam.flown(shown) if "camera" in kinds else {}
        clips.append(studio.clip(Wish(prompt=exam.clips[i].caption, seed=i, guides=exam.one(shown, *(k for k in kinds if k != "camera")), **flown)))
    log.info("%d clips with %s: %.2f s each", len(clips), " and ".join(kinds) or "text only", (time.monotonic() - began) / len(clips))
    return torch.cat(clips)


def right(judges: Judges, video: Tensor, exam: Exam, found: bool, order: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """For each attribute (N,) 1 where the judges read what was asked, 0 where not, NaN where nothing was asked.

    Things are looked for in the picture (`found`), or where the layout has them. `order` judges other clips in each one's place.
    """
    shown = video if order is None else video[order]
    out, n = judges.read(shown, None if found else exam.masks[:, 0]), len(exam.clips)
    scored = {name: np.where(exam.asked[:, c], (p.argmax(1) == exam.truth[:, c]) & ~p.isnan().any(1), np.nan)
              for c, (name, p) in enumerate((name, out[name]) for name in CHOICES)}
    if not found:
        read = [exam.measured_colour(shown[i], i) if exam.asked[i, 0] else -1 for i in range(n)]
        scored["colour measured"] = np.where(exam.asked[:, 0], np.array(read) == exam.truth[:, 0].numpy(), np.nan)
    return scored


def others(n: int) -> np.ndarray:
    """Of each clip another one with as many things."""
    return np.roll(np.arange(n), 2)


def videos(studio: Studio, exam: Exam) -> dict[str, Tensor]:
    """The ground truth, what the autoencoder gives back of it without and with guides, and a row for each of ROWS, as far as it differs."""
    kinds = {}
    for name, wanted in ROWS.items():
        able = tuple(k for k in wanted if takes(studio, k))
        if able not in kinds.values() or name == "depth":
            kinds[name] = able
    shown = {"truth": exam.video, "codec": studio.returned(exam.video), "codec along guides": studio.returned(exam.video, exam.guides)}
    return {name: v for name, v in shown.items() if v is not None} | {name: made(studio, exam, k) for name, k in kinds.items()}


def adherence(judges: Judges, exam: Exam, shown: dict[str, Tensor]) -> tuple[dict[str, Line], dict[str, dict]]:
    """The lines of what was asked in words, and every row's own scores for the table."""
    order = others(len(exam.clips))
    by_row = {name: right(judges, v, exam, found=name in ("text", "codec")) for name, v in shown.items()}
    told = {found: right(judges, exam.video, exam, found) for found in (True, False)}
    chance = {found: right(judges, exam.video, exam, found, order) for found in (True, False)}
    nothing = {name: () for name in told[False]}

    def line(row: str, name: str, found: bool) -> Line:
        codec = by_row.get("codec" if found else "codec along guides", nothing)
        return scores.share(by_row[row][name], told[found][name], chance[found][name], codec[name])

    lines = {name: line("depth", name, False) for name in ("sky", "ground", "style")}
    lines["colour"] = line("depth", "colour measured", False)
    lines["colour_told"] = line("depth and colours", "colour measured", False) if "depth and colours" in by_row else \
        scores.left_out("the family is not told the colours of things")
    lines["colour_judged"], lines["colour_text"] = line("depth", "colour", False), line("text", "colour", True)
    lines["shape_text"], lines["shape_depth"] = line("text", "shape", True), line("depth", "shape", False)
    lines["camera_text"], lines["camera_unguided"] = line("text", "camera", True), line("depth", "camera", False)
    lines["camera_depth"] = line("depth and camera" if "depth and camera" in by_row else "depth", "camera", False)
    lines["camera_vector"] = line("depth and motion", "camera", False) if "depth and motion" in by_row else \
        scores.left_out("the family is not told where pixels came from")
    by_row["truth, things looked for"], by_row["chance"] = told[True], chance[False]
    return lines, {row: {name: scores.mean(x) for name, x in found.items()} for row, found in by_row.items()}


def layout(studio: Studio, exam: Exam, shown: dict[str, Tensor]) -> dict[str, Line]:
    """Do edges follow the depth that was given, also when it is another clip's?"""
    n, depth = min(SWAPPED, len(exam.clips)), pixels.depth_edges(exam.guides["depth"])
    order = others(len(exam.clips))
    truth, chance = pixels.edge_f1(exam.video, depth), pixels.edge_f1(exam.video[order], depth)
    codec = pixels.edge_f1(shown["codec along guides"], depth) if "codec along guides" in shown else truth
    swapped = made(studio, exam, ("depth",), lambda i: order[i], n)
    gap = lambda video, own, given: pixels.edge_f1(video, depth[given]) - pixels.edge_f1(video, depth[own])
    own, given = np.arange(n), order[:n]
    return {"depth_edges": scores.share(pixels.edge_f1(shown["depth"], depth), codec, chance, codec, scores.mean(truth)),
            "swap_gap": scores.plain(gap(swapped, own, given), gap(exam.video[own], own, given), truth=gap(exam.video[given], own, given))}


def motion(exam: Exam, shown: dict[str, Tensor]) -> dict[str, Line]:
    """How much moves and how much comes and goes, as shares of the ground truth's."""
    best = shown.get("guides", shown["depth"])
    codec = shown.get("codec along guides", exam.video)
    return {name: scores.share(of(best), of(exam.video), codec=of(codec)) for name, of in (("flicker", pixels.flicker), ("dynamic", pixels.movement))}


def codec(exam: Exam, shown: dict[str, Tensor]) -> dict[str, Line]:
    """What the autoencoder loses, in decibels, without and with the guides that its decoder can draw along."""
    if "codec" not in shown:
        note = scores.left_out("the family's autoencoder is asked only through whole shots")
        return {"codec_psnr": note, "codec_psnr_guided": note}
    near = lambda v: psnr(v, exam.video).numpy()
    far = near(exam.video[others(len(exam.clips))])
    return {"codec_psnr": scores.plain(near(shown["codec"]), far), "codec_psnr_guided": scores.plain(near(shown["codec along guides"]), far)}


def first_frame(studio: Studio, exam: Exam, count: int) -> dict[str, Line]:
    """A known first frame with depth and normals: how near the clip begins to it, and what it gains at mid-clip over copying it."""
    if not studio.keyframes:
        return {name: scores.left_out("the family takes no first frame") for name in ("first_frame_psnr", "first_frame_gain")}
    truth, along = exam.video[:count], ("depth", "normal")
    clips = torch.cat([studio.clip(Wish(prompt=exam.clips[i].caption, seed=i, guides=exam.one(i, *along), stills={0: truth[i:i + 1, :, 0]}, **exam.flown(i)))
                       for i in range(count)])
    middle = truth.shape[2] // 2
    near = lambda a, b, t: psnr(a[:, :, t:t + 1], b[:, :, t:t + 1]).numpy()
    copied = psnr(truth[:, :, :1], truth[:, :, middle:middle + 1]).numpy()
    returned = studio.returned(truth, {k: g[:count] for k, g in exam.guides.items()})
    codec = [] if returned is None else [near(returned, truth, 0), near(returned, truth, middle) - copied]
    other = truth[others(count)]
    return {"first_frame_psnr": scores.plain(near(clips, truth, 0), near(other, truth, 0), codec[0] if codec else (), statistic=scores.median),
            "first_frame_gain": scores.plain(near(clips, truth, middle) - copied, near(other, truth, middle) - copied,
                                             codec[1] if codec else (), statistic=scores.median)}


def seeds(studio: Studio, exam: Exam, count: int = 4) -> dict[str, Line]:
    """Is the same shot with the same seed the same clip, to the bit? Another seed must give another one."""
    wish = lambda i, seed: Wish(prompt=exam.clips[i].caption, seed=seed, guides=exam.one(i, "depth"))
    made_ = [[pixels.digest(studio.clip(wish(i, seed))) for seed in (i, i, i + 1000)] for i in range(min(count, len(exam.clips)))]
    return {"seed_hash": scores.plain([float(a == b) for a, b, _ in made_], [float(a == c) for a, _, c in made_])}
