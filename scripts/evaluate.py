"""Does blockout do what it is asked? Held-out scenes judged beside the ground truth (ceiling), the autoencoder and other clips (chance).

    python scripts/evaluate.py --weights engine/blockout/weights --clips 64 --json scores.json --sheet scores.png
"""
from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from engine.blockout import judging
from engine.blockout.model import GUIDANCE, STEPS, WEIGHTS, Blockout, load
from engine.blockout.train_autoencoder import psnr
from engine.sampling import samplers

log = logging.getLogger("evaluate")


def verifier(folder: Path, glimpses: int) -> judging.Verifier:
    """Trained once and kept in `folder`."""
    path = folder / f"verifier-{glimpses}.pt"
    model = judging.Verifier()
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    log.info("training the verifier on %d rendered clips", glimpses)
    frames, truth = zip(*(judging.glimpse(judging.JUDGE_SEEDS + i) for i in range(glimpses)))
    model = judging.trained_verifier(np.stack(frames), np.array(truth))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model


@torch.no_grad()
def shot(blockout: Blockout, exam: judging.Exam, i: int, guides: dict, steps: int, guidance: float, first_frame: bool = False) -> torch.Tensor:
    """One clip of the exam (1, 3, T, H, W)."""
    known = mask = None
    if first_frame:
        known = blockout.autoencoder.encode(exam.video[i:i + 1])
        mask = torch.zeros_like(known[:, :1])
        mask[:, :, 0] = 1
    denoise = blockout.denoiser(blockout.encode_text(exam.clips[i].caption), None, guides, known, mask, guidance)
    *_, (x, _) = samplers.euler(denoise, blockout.noise(17, 64, 40, i), blockout.sigmas(steps))
    return blockout.autoencoder.decode(x, guides)


def sheet(path: Path, rows: list[torch.Tensor], captions: list[str], scale: int = 3) -> None:
    """Contact sheet: three frames of every clip of a row."""
    from PIL import Image, ImageDraw

    height, width = rows[0].shape[-2] * scale, rows[0].shape[-1] * scale
    columns = len(rows[0]) * 3
    page = Image.new("RGB", (columns * width, len(rows) * (height + 14)), "white")
    pen = ImageDraw.Draw(page)
    for r, (clips, caption) in enumerate(zip(rows, captions)):
        pen.text((2, r * (height + 14)), caption, fill="black")
        for c, clip in enumerate(clips):
            for f, at in enumerate((0, clip.shape[1] // 2, clip.shape[1] - 1)):
                pixels = ((clip[:, at].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).byte().numpy()
                page.paste(Image.fromarray(pixels).resize((width, height), Image.NEAREST), ((3 * c + f) * width, r * (height + 14) + 14))
    page.save(path)


def examined(blockout: Blockout, judge: judging.Verifier, exam: judging.Exam, steps: int, guidance: float) -> tuple[dict, dict]:
    """Scores by row, and the videos they were given for."""
    count, other = len(exam.clips), torch.roll(torch.arange(len(exam.clips)), 2)
    with torch.no_grad():
        latent = blockout.autoencoder.encode(exam.video)
        returned, along = blockout.autoencoder.decode(latent), blockout.autoencoder.decode(latent, exam.guides)
    videos = {"ground truth": exam.video, "autoencoder": returned, "autoencoder + guides": along}
    for name, kinds in (("text", ()), ("text + depth", ("depth",)), ("text + depth + normal", ("depth", "normal"))):
        began = time.monotonic()
        videos[name] = torch.cat([shot(blockout, exam, i, {k: exam.guides[k][i:i + 1] for k in kinds}, steps, guidance) for i in range(count)])
        log.info("%s: %.2f s a clip", name, (time.monotonic() - began) / count)
    scores = {name: {**judging.adherence(judge, v, exam), "edges": judging.edge_f1(v, exam.guides["depth"])} for name, v in videos.items()}
    scores["chance"] = {**judging.adherence(judge, exam.video, exam, other), "edges": judging.edge_f1(exam.video[other], exam.guides["depth"])}
    for name in ("autoencoder", "autoencoder + guides"):
        scores[name]["psnr"] = psnr(videos[name], exam.video).mean().item()
    return scores, videos


def continued(blockout: Blockout, exam: judging.Exam, count: int, steps: int, guidance: float) -> dict:
    """With the first frame known and depth given: decibels against the truth later on, beside copying that frame."""
    near = lambda a, b: psnr(a, b).median().item()
    guides = [{k: g[i:i + 1] for k, g in exam.guides.items()} for i in range(count)]
    clips = torch.cat([shot(blockout, exam, i, guides[i], steps, guidance, first_frame=True) for i in range(count)])
    truth = exam.video[:count]
    return {f"frame {t}": {"clip": near(clips[:, :, t], truth[:, :, t]), "copy of the first": near(truth[:, :, 0], truth[:, :, t])}
            for t in (0, 4, 8, 16)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--glimpses", type=int, default=3000, help="rendered clips that the verifier learns from")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--keep", type=Path, default=Path("out/evaluate"), help="folder in which the verifier is kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    blockout, judge, exam = load(given.weights), verifier(given.keep, given.glimpses), judging.Exam.rendered(given.clips)
    scores, videos = examined(blockout, judge, exam, given.steps, given.guidance)
    held = continued(blockout, exam, min(given.clips, 24), given.steps, given.guidance)
    names = [*judging.CHOICES, "edges"]
    print(f"{'':24s}" + "".join(f"{n:>9s}" for n in names))
    for row, found in scores.items():
        print(f"{row:24s}" + "".join(f"{found[n]:9.2f}" for n in names) + (f"   {found['psnr']:.1f} dB" if "psnr" in found else ""))
    for row, found in held.items():
        print(f"first frame known, {row}: {found['clip']:.1f} dB, copying it {found['copy of the first']:.1f} dB")
    if given.json:
        settings = {"clips": given.clips, "steps": given.steps, "guidance": given.guidance}
        given.json.write_text(json.dumps({**settings, "scores": scores, "first frame": held}, indent=2) + "\n")
    if given.sheet:
        shown = range(min(given.clips, 12))
        sheet(given.sheet, [torch.stack([videos[n][i] for n in ("ground truth", "autoencoder", "text", "text + depth + normal")]) for i in shown],
              ["truth | autoencoder | text | text + depth + normal: " + exam.clips[i].caption for i in shown])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
