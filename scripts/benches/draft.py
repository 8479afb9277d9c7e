"""draft: Blockout's clips with the first-block cache, and by magnitudes, against those without, at the same seeds: block evaluations skipped, time, PSNR.

Magnitudes are learned as the panel's drafts learn them, by a rehearsal of this very run; nothing of it is kept. The PSNR (dB, of the decoded native
frames, the lowest of the seeds) does not depend on the load of the machine; time is CPU time. Options: thresholds.
"""
from __future__ import annotations

import os
import sys
import threading
import time

import stand

os.environ["SORA_CACHE"] = ""       # a rehearsal of before would do instead of one of now
THRESHOLDS, STEPS, SEEDS, FRAMES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4), (8, 16), (7, 8), 25


def main(thresholds: tuple[float, ...]) -> None:
    from sora.engine import families
    from sora.engine.sampling.draft import Draft, Steady
    from sora.engine.studio import Studio
    blockout, studio = families.family("blockout"), Studio()
    model = studio.model(rehearsed(STEPS[0]))
    rows, chosen = [], {}
    for steps in STEPS:
        full = {seed: clip(model, seed, steps, None) for seed in SEEDS}
        ratios = learned(rehearsed(steps), model, studio)
        kinds = {"first block": Draft, "magnitude": lambda threshold: Steady(threshold, ratios=ratios)}
        for kind, threshold in ((kind, threshold) for kind in kinds for threshold in thresholds):
            drafts = {seed: clip(model, seed, steps, kinds[kind](threshold)) for seed in SEEDS}
            row = {"by": kind, "steps": steps, "threshold": threshold,
                   "skipped": mean(draft.skipped / draft.evaluations for _, _, draft in drafts.values()),
                   "time": mean(drafts[seed][1] / full[seed][1] for seed in SEEDS),
                   "psnr_db": min(psnr(drafts[seed][0], full[seed][0]) for seed in SEEDS)}
            rows.append({name: value if name == "by" else round(value, 3) for name, value in row.items()})
            stand.say("{by}, {steps} steps, threshold {threshold:g}: {skipped:.0%} skipped, {time:.2f} of the time, at least {psnr_db:.1f} dB".format(**row))
            if (kind, steps, threshold) == ("first block", blockout.SPEC.steps, blockout.SPEC.drafts):
                chosen = row
    stand.report("draft", "x", {"rows": rows, "frames": FRAMES, "seeds": len(SEEDS)}, ratio=chosen.get("time", 1.0))


def rehearsed(steps: int):
    """The shot that stands for all drafts by magnitudes of so many steps."""
    from sora.engine import rehearse
    return rehearse.asked("blockout", stand.MODEL, steps, -1.0, "")


def learned(shot, model, studio) -> dict[str, list[float]]:
    """How much the model's steps change, as the first draft finds it out."""
    from sora.engine import rehearsal
    from sora.engine.clock import Clock
    return rehearsal.learn(shot, model, studio, Clock(shot, lambda progress: None), threading.Event())


def clip(model, seed: int, steps: int, draft):
    """Frames (T, 3, h, w), CPU seconds of sampling, and the draft that counted; None samples in full."""
    import numpy as np
    import torch
    from sora.engine.families import Window
    size = model.native(stand.protocol.Size(832, 480))
    depth = np.linspace(0, 1, size.height, dtype=np.float32)[None, :, None, None].repeat(FRAMES, 0).repeat(size.width, 2)
    for frame in range(FRAMES):
        depth[frame, size.height // 2:size.height * 4 // 5, 4 * frame:4 * frame + 20] = 0.9
    window = Window(frames=FRAMES, size=size, seed=seed, steps=steps, guidance=3.0, text=model.text(stand.PROMPT), negative=model.text(""),
                    guides={"depth": depth}, draft=draft)
    began = time.process_time()
    for latent in model.sample(window):
        pass
    took = time.process_time() - began
    return torch.cat(list(model.decode(latent, window))), took, draft


def psnr(one, other) -> float:
    """dB; 99 where they are the same."""
    import math
    error = float((one - other).square().mean())
    return min(99.0, -10 * math.log10(error)) if error else 99.0


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


if __name__ == "__main__":
    main(tuple(map(float, sys.argv[1:])) or THRESHOLDS)
