"""Does a family do what it is asked? Every line beside chance, the autoencoder's ceiling and the ground truth's, with 95 % intervals.

    python scripts/evaluate.py --json scores.json --sheets docs
    python scripts/evaluate.py --family wan --model /models/wan --clips 8

Held-out scenes only. The judges learn from rendered clips on first use (some ten minutes on two quiet cores) and are kept in --keep.
`value` is a share of the ground truth's score (of the autoencoder's for depth_edges) where the line is a score of 0 to 1 that has
one, and the score itself in its own unit otherwise: decibels, pixels, Spearman's rho, difference of F1 for swap_gap, units of L*a*b* for
drift, times for extend_seam, loop_seam, blend_seam, drift_contrast and drift_sharpness.
"""
from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import environments
import torch

from engine.blockout import refiner
from engine.blockout.model import GUIDANCE, STEPS, WEIGHTS, load
from engine.families import blockout
from engine.judging import begun, blender, lasting, learning, looks, refining, rows, scores, sheets, shown, tasks
from engine.judging.exam import Exam
from engine.judging.judges import Judges
from engine.judging.studio import Native, Shots, Studio

log = logging.getLogger("evaluate")
KEEP = Path(__file__).resolve().parents[1] / "out" / "evaluate"
OF_JUDGE = .97                                                 # share of the ground truth that the judges should read
ORDER = ("codec_psnr", "codec_psnr_guided", "codec_psnr_blender", "sky", "ground", "style", "colour", "colour_told", "colour_judged",
         "colour_text", "shape_text", "shape_depth", "camera_text", "camera_unguided", "camera_depth", "camera_vector", "depth_edges", "swap_gap", "blender",
         "blender_told", "blender_moved", "blender_edges", "binding", "binding_told", "permanence", "permanence_told", "looks", "reference", "rate", "first_frame_psnr",
         "first_frame_gain", "last_frame_psnr", "between_gain", "extend_seam", "extend_known", "loop_seam", "blend_seam", "region_kept", "region_changed", "remix",
         "remix_look", "drift", "drift_contrast", "drift_sharpness", "negative", "weight", "flicker", "dynamic", "seed_hash", "upscale_edge_px", "refine_gain", "refine_edges")

BLENDER = ("blender", "blender_told", "blender_moved", "blender_edges", "codec_psnr_blender")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="blockout")
    parser.add_argument("--model", default="", help="of the family: a name, or a folder")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="blockout's folder of weights")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--longer", type=int, default=832, help="pixels of the longer side of other families' shots")
    parser.add_argument("--glimpses", type=int, default=6144, help="rendered clips that the judges learn from")
    parser.add_argument("--schooling", type=float, default=1., help="share of the judges' usual training")
    parser.add_argument("--jobs", type=int, default=2, help="processes that render")
    parser.add_argument("--keep", type=Path, default=KEEP, help="folder for the judges, Blender's scenes and other families' takes")
    parser.add_argument("--only", nargs="*", choices=ORDER, help="print no other lines, and make only the clips they need")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--card", type=Path, help="a model card whose table of scores is made anew")
    parser.add_argument("--sheets", type=Path, help="folder for looks.png, text.png and blender.png")
    return parser.parse_args()


def studio(given: argparse.Namespace) -> Studio:
    if given.family == "blockout" and not given.model:
        return Native(load(given.weights), given.steps, given.guidance)
    return Shots(given.family, given.model, given.keep / "takes", given.longer, given.steps)


def blockouts(folder: Path) -> Path:
    """Has Blender render what is missing of its scenes, where one of the project's environments is there; says so where none is."""
    made = next((e for name in environments.BLENDERS[1:] if (e := environments.ENVIRONMENTS[name]).made()), None)
    if made is None:
        log.warning("Blender's scenes are left out: none of %s is there; make one with scripts/environments.py", ", ".join(environments.BLENDERS[1:]))
        return folder
    log.info("rendering Blender's scenes that are missing in %s", folder)
    script = Path(__file__).with_name("blockouts.py")
    code = subprocess.run([made.python, script, folder], stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONUTF8": "1"}).returncode
    if code:
        log.warning("Blender ended with %d; only the scenes that it finished are measured", code)
    return folder


def measured(making: Studio, judges: Judges, exam: Exam, scenes: list, wanted: set[str], second: refiner.Refiner | None = None) -> tuple[dict[str, scores.Line], dict]:
    """Every line that is wanted, and each row's own scores."""
    lines, own, n = {}, {}, len(exam.clips)
    few, one = max(1, n // 3), max(1, n // 12)
    apart = {("first_frame_psnr", "first_frame_gain"): lambda: rows.first_frame(making, exam, max(1, n // 2)),
             ("last_frame_psnr", "between_gain"): lambda: begun.between(making, exam, max(1, n // 4)),
             ("extend_seam", "extend_known"): lambda: begun.extended(making, exam, max(1, n // 4)),
             ("loop_seam", "blend_seam"): lambda: begun.linked(making, exam, max(1, n // 6)),
             ("region_kept", "region_changed"): lambda: begun.region(making, max(1, n // 6)),
             ("remix", "remix_look"): lambda: begun.remix(making, judges, max(1, n // 8)),
             lasting.LINES: lambda: lasting.lines(making, max(1, n // 16)),
             ("seed_hash",): lambda: rows.seeds(making, exam, one),
             ("binding", "binding_told"): lambda: tasks.binding(making, few // 2 or 1),
             ("permanence", "permanence_told"): lambda: tasks.permanence(making, one),
             ("reference",): lambda: shown.reference(making, max(1, n // 2)),
             ("rate",): lambda: shown.rate(making, max(1, n // 6)),
             ("looks",): lambda: looks.lines(making, max(1, n // 16)),
             ("negative", "weight"): lambda: tasks.steering(making, judges, exam, max(1, n // 16)),
             ("upscale_edge_px",): lambda: tasks.upscaled_edges(making, max(1, n // 6), second=second),
             ("refine_gain", "refine_edges"): lambda: refining.lines(making, second, max(1, n // 2)),
             BLENDER: lambda: blender.lines(making, judges, scenes, own)}
    said = set(ORDER).difference(*apart)                       # by the exam's own captions, which `own` judges as well
    if wanted & said.union(BLENDER):
        videos = rows.videos(making, exam)
        lines, own = rows.adherence(judges, exam, videos)
        lines |= rows.layout(making, exam, videos) | rows.motion(exam, videos) | rows.codec(exam, videos)
    for keys, measure in apart.items():
        if wanted & set(keys):
            log.info("measuring %s", " and ".join(keys))
            lines |= measure()
    return {key: lines[key] for key in ORDER if key in lines and key in wanted}, own


def carded(path: Path, lines: dict[str, scores.Line]) -> None:
    """Writes the lines into a card, between two marks."""
    head, found, rest = path.read_text(encoding="utf-8").partition("<!-- scores -->")
    _, closed, tail = rest.partition("<!-- /scores -->")
    if not (found and closed):
        raise SystemExit(f"{path} has no <!-- scores --> and <!-- /scores --> for a table to stand between")
    path.write_text(f"{head}{found}\n{scores.card(lines)}\n{closed}{tail}", encoding="utf-8")


def main() -> int:
    given = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(0)
    wanted = set(given.only or ORDER)
    making, scenes = studio(given), []
    second = refiner.load(given.weights) if isinstance(making, Native) and blockout.refines(given.weights) else None
    if wanted.intersection(BLENDER) or given.sheets:
        scenes = blender.scenes(blockouts(given.keep / "blockouts"))
    judges, exam = learning.judges(given.keep, given.glimpses, given.schooling, given.jobs), Exam.rendered(given.clips)
    lines, own = measured(making, judges, exam, scenes, wanted, second)
    print(scores.table(lines))
    for row, found in own.items():
        print(f"{row:26s}" + "  ".join(f"{name} {value:.2f}" for name, value in found.items() if value is not None))
    weak = [f"{name} {own['truth'][name]:.2f}" for name in own.get("truth", {}) if (own["truth"][name] or 1) < OF_JUDGE]
    if weak:
        print(f"The judges themselves read less than {OF_JUDGE} of the ground truth: {', '.join(weak)}.")
    if given.json:
        settings = {"family": given.family, "clips": given.clips, "steps": given.steps, "guidance": given.guidance, "glimpses": given.glimpses}
        given.json.write_text(json.dumps({**settings, "lines": {k: x.as_json() for k, x in lines.items()}, "rows": own}, indent=2) + "\n")
    if given.card:
        carded(given.card, lines)
    if given.sheets:
        sheets.write(given.sheets, making, scenes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
