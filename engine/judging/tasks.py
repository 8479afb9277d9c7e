"""The lines that need scenes of their own: which colour goes where, what stays itself when hidden, what weights and negatives do."""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..blockout import captions, data, world
from ..blockout.looks import FINISH_NAMES
from ..blockout.rays import Solid
from ..blockout.refiner import Refiner, Refining
from . import exam as exams
from . import pixels, scores
from .attributes import CHOICES
from .exam import Exam, painted
from .judges import Judges
from .scores import Line
from .studio import Studio, Wish, takes

BINDING_SEEDS, HIDING_SEEDS = 9_700_000, 9_800_000
FRAMES_HIDDEN = (4, 8, 12)
SHOT_SIZE = (128, 72)                                          # at which shots are drawn
SAME = 10.                                                     # units of L*a*b*: what still looks like the same colour
LEVELS, SEEDS = (0., .25, .5, 1., 1.5), 4                      # of a weight; clips whose mean counts at each: one clip says more of its seed


# ---------------------------------------------------------------- binding
def pair(seed: int) -> tuple[world.Scene, str]:
    """Two things of two colours in daylight, and a plain sentence that says which is which."""
    rng = np.random.default_rng(seed)
    scene = world.drawn(rng, exams.FRAMES, exams.WIDTH / exams.HEIGHT, kind="objects", style="photo", count=2)
    scene.sky, scene.weather = str(rng.choice(["noon", "overcast"])), "clear"
    for which, colour in enumerate(rng.permutation(list(CHOICES["colour"]))[:2]):
        scene = painted(scene, which, str(colour))
    return scene, sentence(scene)


def sentence(scene: world.Scene) -> str:
    """Two things, where they are and how it looks, plainly."""
    a, b = (f"a {t.finish} {t.word}" for t in scene.things)
    return f"{a} to the left of {b} {captions.PHRASES[scene.ground][0]} {captions.PHRASES[scene.sky][0]}, {captions.PHRASES[scene.style][0]}"


def _exchanged(scene: world.Scene) -> world.Scene:
    a, b = scene.things
    return painted(painted(scene, 0, b.finish), 1, a.finish)


def rendered(scene: world.Scene, caption: str, seed: int, size: tuple[int, int] = (exams.WIDTH, exams.HEIGHT)) -> data.Clip:
    return data.Clip(*data.render(scene, *size[::-1], seed), caption, scene)


@dataclass(frozen=True, slots=True)
class Shown:
    """Scenes of a line, and what the family's autoencoder gives back of them; made once, however often they are asked for."""
    exam: Exam
    back: Tensor | None

    @classmethod
    def of(cls, studio: Studio, scenes: list[tuple[world.Scene, str]], size: tuple[int, int] = (exams.WIDTH, exams.HEIGHT)) -> Shown:
        exam = Exam.of([rendered(scene, caption, i, size) for i, (scene, caption) in enumerate(scenes)])
        return cls(exam, studio.returned(exam.video, exam.guides))


def told(measure, studio: Studio, name: str, shown: list[Shown]) -> dict[str, Line]:
    """A line of this module by the prompt alone, and beside it the same clips with the colours of things as a guide."""
    lines = {name: measure(studio, shown)}
    lines[f"{name}_told"] = measure(studio, shown, along=("albedo",)) if takes(studio, "albedo") else \
        scores.left_out("the family is not told the colours of things")
    return lines


def binding(studio: Studio, count: int) -> dict[str, Line]:
    """Two colours exchanged, over the same depth: are both things in the colours they were given?"""
    pairs = [pair(BINDING_SEEDS + i) for i in range(count)]
    exchanged = [_exchanged(scene) for scene, _ in pairs]
    return told(_bound, studio, "binding", [Shown.of(studio, pairs), Shown.of(studio, [(scene, sentence(scene)) for scene in exchanged])])


def _bound(studio: Studio, sides: list[Shown], along: tuple[str, ...] = ()) -> Line:
    asked = lambda exam, i: tuple(CHOICES["colour"].index(t.finish) for t in exam.clips[i].scene.things)
    got = lambda exam, video, i: tuple(exam.measured_colour(video, i, which) for which in (0, 1))
    hit, codec, truth, chance = [], [], [], []
    for exam, back in ((side.exam, side.back) for side in sides):
        for i in range(len(exam.clips)):
            made = studio.clip(Wish(prompt=exam.clips[i].caption, seed=i, guides=exam.one(i, "depth", *along)))[0]
            right = asked(exam, i)
            hit.append(got(exam, made, i) == right)
            chance.append(got(exam, made, i) == right[::-1])
            truth.append(got(exam, exam.video[i], i) == right)
            codec.append(np.nan if back is None else got(exam, back[i], i) == right)
    return scores.share(hit, truth, chance, codec, note="chance: the two the wrong way round")


# ---------------------------------------------------------------- permanence
def _passing(seed: int, hidden: int) -> tuple[world.Scene, str]:
    """A ball that slides behind a wall and comes out again after about `hidden` of 33 frames. The camera stands still."""
    rng = np.random.default_rng(seed)
    frames, colour = 33, str(rng.choice([c for c in CHOICES["colour"] if c not in ("black", "white")]))
    scene = world.Scene("objects", str(rng.choice(["noon", "overcast"])), str(rng.choice(["grass", "asphalt", "sand"])), "clear", "photo", "static")
    size, span, away = rng.uniform(.5, .65), 3.2, 6.5
    step, way = 2 * span / (frames - 1), rng.choice([-1, 1])
    wide = (hidden - 2.5) * step / 2 * (away / (away + 1.3)) + size * .98     # as seen past its edges, the ball being 1.3 m behind
    path = np.stack([np.linspace(-way * span, way * span, frames), np.zeros(frames), np.zeros(frames)], 1)
    ball = world.shape("sphere", (0., 1.3, 0.), size, colour, 0.)
    scene.things, scene.movers = [world.Thing("sphere", colour, "sliding"), world.Thing("wall", "concrete")], [path.astype(np.float32)]
    scene.solids = [replace(ball, group=1), Solid("box", (0., 0., 0.), (wide, .15, .75), FINISH_NAMES.index("concrete"), part=1)]
    scene.eye = np.tile(np.float32([0, -away, 1.3]), (frames, 1))
    scene.yaw, scene.pitch = np.full(frames, np.pi / 2, np.float32), np.full(frames, -.08, np.float32)
    scene.fov, scene.sun_turn, scene.phase = 62., rng.uniform(0, 6.28), tuple(rng.uniform(0, 10, 2))
    where = " ".join(captions.PHRASES[k][0] for k in (scene.ground, scene.sky))
    return scene, f"a sliding {colour} ball passing behind a concrete wall {where}, static shot, realistic"


def _before_and_after(seen: Tensor) -> tuple[list[int], list[int], int]:
    """Frames in which a thing is well seen before and after it is hidden, from its areas (T,); and how many it is hidden for."""
    clear = seen >= .8 * seen.amax()
    gone = (seen < 1).nonzero().flatten().tolist()
    if not gone:
        return [], [], 0
    well = clear.nonzero().flatten().tolist()
    return [t for t in well if t < gone[0]], [t for t in well if t > gone[-1]], len(gone)


def _drift(video: Tensor, mask: Tensor, before: list[int], after: list[int]) -> tuple[Tensor, Tensor]:
    """Mean colours (3,) of a thing in video (3, T, H, W) before and after it was hidden."""
    of = lambda at: pixels.mean_colour(video[:, at].transpose(0, 1), mask[at]).nanmean(0)
    return of(before), of(after)


def permanence(studio: Studio, each: int, stretches: tuple[int, ...] = FRAMES_HIDDEN, size: tuple[int, int] = SHOT_SIZE) -> dict[str, Line]:
    """A thing passes behind a wall: is it what it was, and what was asked, when it comes out? `each` clips of each hidden stretch.

    `size`: width and height of the clips; at half of a shot's, the thing is no larger than one latent pixel.
    """
    scenes = ([_passing(HIDING_SEEDS + 100 * hidden + i, hidden) for i in range(each)] for hidden in stretches)
    return told(_lasted, studio, "permanence", [Shown.of(studio, passing, size) for passing in scenes])


def _lasted(studio: Studio, stretches: list[Shown], along: tuple[str, ...] = ()) -> Line:
    hits, codec, truth, chance, frames, late = [], [], [], [], [], None
    for exam, back in ((passing.exam, passing.back) for passing in stretches):
        for i in range(len(exam.clips)):
            seen = exam.masks[i, 0]
            before, after, gone = _before_and_after(seen.flatten(1).sum(1))
            if not before or not after:
                continue
            made = studio.clip(Wish(prompt=exam.clips[i].caption, seed=i, guides=exam.one(i, "depth", "normal", *along), frames=exam.video.shape[2],
                                    size=(exam.video.shape[4], exam.video.shape[3]), **exam.flown(i)))[0]
            asked = exam.truth[i, 0]
            own = _drift(exam.video[i], seen, before, after)            # the light is another one there
            kept = lambda old, late: bool((late - old - own[1] + own[0]).norm() < SAME and (exam.palette(i) - late).norm(dim=1).argmin() == asked)
            pair = _drift(made, seen, before, after)
            frames.append(gone)
            hits.append(kept(*pair))
            truth.append(kept(*own))
            codec.append(np.nan if back is None else kept(*_drift(back[i], seen, before, after)))
            if late is not None:
                chance.append(kept(pair[0], late))
            late = pair[1]
    note = f"the same colour, and the one asked for, after {min(frames)} to {max(frames)} hidden frames; chance: another clip's" if frames else "none hidden"
    return scores.share(hits, truth, chance, codec, note=note)


# ---------------------------------------------------------------- weights and negatives
PROBES = (("sky", "night", "at night"), ("sky", "sunset", "at sunset"), ("ground", "snow", "on snow"), ("style", "neon", "neon style"),
          ("style", "watercolour", "watercolour painting"))


def _odds(judges: Judges, video: Tensor, kind: str, word: str) -> float:
    """Log-odds that the judges read the word off a clip; from the logits, so that what is nearly sure still has an order."""
    told, at = judges.read(video)[kind][0].double(), CHOICES[kind].index(word)
    return float(told[at] - torch.cat([told[:at], told[at + 1:]]).logsumexp(0))


def _subject(exam: Exam, i: int) -> str:
    thing = exam.clips[i].scene.things[0]
    return f"a {thing.finish} {captions.PHRASES[thing.word][0]}"


def _stressed(studio: Studio, judges: Judges, exam: Exam, count: int, probes: tuple, seeds: int) -> list[float]:
    """For each probe and scene, how monotonously a word shows more as its weight grows: Spearman's rho."""
    found = []
    for kind, word, phrase in probes:
        for i in range(count):
            prompts = [f"{_subject(exam, i)} ({phrase}:{level})" if level else _subject(exam, i) for level in LEVELS]
            clips = lambda prompt: (studio.clip(Wish(prompt=prompt, seed=100 * i + s, guides=exam.one(i, "depth"))) for s in range(seeds))
            found.append(scores.spearman(LEVELS, [np.mean([_odds(judges, clip, kind, word) for clip in clips(prompt)]) for prompt in prompts]))
    return found


def _avoided(studio: Studio, judges: Judges, exam: Exam, count: int, kinds: tuple, seeds: int) -> list[float]:
    """For each scene and kind, how monotonously what a clip shows of itself goes away as its word is avoided with more weight: Spearman's rho.

    What would not be there anyway cannot go away: the judges' odds of it are all alike, and in no order that means anything.
    """
    found = []
    for i in range(count):
        make = lambda s, negative="": studio.clip(Wish(prompt=_subject(exam, i), seed=100 * i + s, negative=negative, guides=exam.one(i, "depth")))
        plain = [make(s) for s in range(seeds)]
        for kind in kinds:
            words = [CHOICES[kind][int(judges.read(clip)[kind][0].argmax())] for clip in plain]
            shown = [[_odds(judges, clip, kind, word) for clip, word in zip(plain, words)]]
            for level in LEVELS[1:]:
                shown.append([_odds(judges, make(s, f"({captions.PHRASES[word][0]}:{level})"), kind, word) for s, word in enumerate(words)])
            found.append(-scores.spearman(LEVELS, np.mean(shown, 1)))
    return found


def steering(studio: Studio, judges: Judges, exam: Exam, count: int, probes: tuple = PROBES, seeds: int = SEEDS) -> dict[str, Line]:
    """Do weights and negative prompts act the more, the more weight they have?"""
    lines = {"weight": scores.plain(_stressed(studio, judges, exam, count, probes, seeds), [0.])}
    kinds = tuple(dict.fromkeys(kind for kind, _, _ in probes))
    lines["negative"] = scores.plain(_avoided(studio, judges, exam, count, kinds, seeds), [0.]) if studio.negative else \
        scores.left_out("the family takes no negative prompt")
    return lines


# ---------------------------------------------------------------- edges of the delivered plate
def _refined(second: Refiner, clip: torch.Tensor, guides: dict, prompt: str) -> torch.Tensor:
    """A native clip (3, T, h, w) in [-1, 1] as frames (T, 3, 2h, 2w) of the refiner's, along guides (1, C, T, H, W) of the full size."""
    size = tuple(Refining.times * side for side in clip.shape[2:])
    along = {kind: torch.nn.functional.interpolate(g[0].transpose(0, 1), size, mode="area") for kind, g in guides.items()}
    return Refining(second, second.words([prompt]), 1., 0)((clip.transpose(0, 1) + 1) / 2, along) * 2 - 1


def upscaled_edges(studio: Studio, count: int, size: tuple[int, int] = (832, 480), native: tuple[int, int] = (128, 72),
                   second: Refiner | None = None) -> dict[str, Line]:
    """Median distance, in pixels of the plate, of its strongest edges to the layout's, on streets at the shot's full size,
    refined before they are up-scaled where there is a `second` model."""
    from ..blockout import upscale

    ours, plainly, frames = [], [], 5
    for i in range(count):
        rng = np.random.default_rng(9_900_000 + i)
        scene = world.drawn(rng, frames, size[0] / size[1], kind="street", style="photo")
        scene.weather, scene.sky = "clear", "noon"
        full = data.Clip(np.zeros(0), *data.geometry(scene, size[1], size[0]), captions.caption(scene, rng), scene)
        guides = exams.guides_of([full])
        small = {k: torch.nn.functional.interpolate(g[0].transpose(0, 1), native[::-1], mode="area").transpose(0, 1)[None] for k, g in guides.items()}
        clip = studio.clip(Wish(prompt=full.caption, seed=i, guides=small, frames=frames, size=native))[0]
        at = frames // 2
        edges = pixels.layout_edges(full.inverse_depth[at].astype(np.float32), full.normal[at].astype(np.float32) / 127)
        drawn = clip[:, at] if second is None else _refined(second, clip, guides, full.caption)[at]
        along = upscale.joint_bilateral(drawn, guides["depth"][0, :, at], guides["normal"][0, :, at])
        ours.append(float(np.median(pixels.edge_distance(along, edges))))
        plainly.append(float(np.median(pixels.edge_distance(upscale.bicubic(clip[:, at], size[1], size[0]), edges))))
    return {"upscale_edge_px": scores.plain(ours, plainly, note=f"median distance at {size[0]}x{size[1]}; chance: plain up-scaling")}
