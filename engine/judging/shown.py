"""The lines of what a clip is told beside words and layout: a picture of its subject, how many frames a second it has."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from ..blockout import captions, data, portraits, timed, world
from ..blockout.guides import SIDE
from ..blockout.train_autoencoder import as_video
from . import exam as exams
from . import pixels, scores
from .attributes import CHOICES
from .exam import Exam, painted
from .scores import Line
from .studio import Studio, Wish

PORTRAIT_SEEDS, RATE_SEEDS = 9_850_000, 9_870_000
MOVES = tuple(move for move in world.MOVES if move != "static")


# ---------------------------------------------------------------- a picture of the subject
def _sitter(seed: int) -> world.Scene:
    """One or two things in daylight, the first in any of the colours."""
    rng = np.random.default_rng(seed)
    scene = world.drawn(rng, exams.FRAMES, exams.WIDTH / exams.HEIGHT, kind="objects", style="photo", count=int(rng.choice([1, 2])))
    scene.sky, scene.weather = str(rng.choice(["noon", "overcast"])), "clear"
    return painted(scene, 0, str(rng.choice(CHOICES["colour"])))


def _unnamed(scene: world.Scene) -> str:
    """A plain sentence that does not say how the first thing looks."""
    named = [f"a {captions.PHRASES[thing.word][0]}" if i == 0 else f"a {thing.finish} {captions.PHRASES[thing.word][0]}" for i, thing in enumerate(scene.things)]
    return f"{' and '.join(named)} {captions.PHRASES[scene.ground][0]} {captions.PHRASES[scene.sky][0]}, realistic"


def sitting(i: int) -> tuple[world.Scene, str, Tensor]:
    """A scene, words that do not say how its subject looks, and a picture (1, 3, SIDE, SIDE) that does."""
    scene = _sitter(PORTRAIT_SEEDS + i)
    alone = data.render(portraits.taken(scene, PORTRAIT_SEEDS + i)[0], SIDE, SIDE, i)[0]
    return scene, _unnamed(scene), as_video(alone[None])[:, :, 0]


def reference(studio: Studio, count: int) -> dict[str, Line]:
    """A picture shows how the subject looks, no word does: is it in the clip what it is there? Chance: the same clips without the picture."""
    if not studio.references:
        return {"reference": scores.left_out("the family takes no picture of a subject")}
    scenes, prompts, pictures = zip(*map(sitting, range(count)))
    exam = Exam.of([data.Clip(*data.render(scene, exams.HEIGHT, exams.WIDTH, i), prompt, scene) for i, (scene, prompt) in enumerate(zip(scenes, prompts))])
    back, hit, codec, truth, chance = studio.returned(exam.video, exam.guides), [], [], [], []
    for i, picture in enumerate(pictures):
        wish = Wish(prompt=exam.clips[i].caption, seed=i, guides=exam.one(i, "depth"))
        asked = CHOICES["colour"].index(scenes[i].things[0].finish)
        right = lambda clip: float(exam.measured_colour(clip, i) == asked)
        hit.append(right(studio.clip(replace(wish, reference=picture))[0]))
        chance.append(right(studio.clip(wish)[0]))
        truth.append(right(exam.video[i]))
        codec.append(np.nan if back is None else right(back[i]))
    return {"reference": scores.share(hit, truth, chance, codec, note="the subject's colour along depth, told by a picture; chance: without it")}


# ---------------------------------------------------------------- frames a second
def rate(studio: Studio, count: int) -> dict[str, Line]:
    """By the prompt alone, how much less changes from frame to frame the more frames a second has? Spearman's rho over RATES."""
    if not studio.rates:
        return {"rate": scores.left_out("the family is not told how many frames a second has")}
    found, slowest, fastest = [], [], []
    for i in range(count):
        rng = np.random.default_rng(RATE_SEEDS + i)
        move, thing = str(rng.choice(MOVES)), f"a {rng.choice(CHOICES['colour'])} {rng.choice(CHOICES['shape'])}"
        prompt = f"{thing} on grass at noon, {move}, realistic"
        changed = [float(pixels.movement(studio.clip(Wish(prompt=prompt, seed=i, fps=float(fps))))[0]) for fps in timed.RATES]
        found.append(-scores.spearman(timed.RATES, changed))
        slowest.append(changed[0])
        fastest.append(changed[-1])
    times = np.mean(slowest) / max(np.mean(fastest), 1e-6)
    note = f"from frame to frame {times:.1f} times as much changes at {timed.RATES[0]} a second as at {timed.RATES[-1]}"
    return {"rate": scores.plain(found, [0.], note=note)}
