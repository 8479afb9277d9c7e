"""The lines of shots that begin from pictures: a region made anew, a clip gone on from, looped, led into another, a last frame, a clip in another look."""
from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..blockout import world
from ..blockout.autoencoder import SPACE
from ..blockout.train_autoencoder import psnr
from . import pixels, scores, tasks
from .attributes import CHOICES
from .exam import Exam, painted
from .judges import Judges
from .rows import others
from .scores import Line
from .studio import Studio, Wish, takes

REGION_SEEDS, REMIX_SEEDS = 9_880_000, 9_890_000
ALONG = ("depth", "normal")
HELD = 5                                                       # frames that an extension begins with, as many as Blockout's windows share
ABOUT = 3                                                      # changes before and after a seam that it is compared with
NEW = 27                                                       # frames of a link between two clips, as many as a loop has unless asked otherwise
CHANGES = (.25, .5, .75, 1.)                                   # of a clip in another look
LOOK_AT = .75                                                  # the change at which that look should be there, and the layout still be the clip's


# ---------------------------------------------------------------- a region
def _repainted(seed: int) -> tuple[tuple[world.Scene, str], tuple[world.Scene, str]]:
    """Two things of two colours, and the same with the first in a third one; each with its sentence."""
    scene, prompt = tasks.pair(seed)
    free = [c for c in CHOICES["colour"] if c not in [thing.finish for thing in scene.things]]
    other = painted(scene, 0, str(np.random.default_rng(seed).choice(free)))
    return (scene, prompt), (other, tasks.sentence(other))


def box(seen: Tensor) -> Tensor:
    """(T, H, W) bool: all that a thing, seen (T, H, W), covers in any frame, as a box of whole latent pixels."""
    marked, rows, columns = torch.zeros_like(seen), *(seen.any(0).any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    if rows:
        edge = lambda first, last: slice(first // SPACE * SPACE, -(-(last + 1) // SPACE) * SPACE)
        marked[:, edge(rows[0], rows[-1]), edge(columns[0], columns[-1])] = True
    return marked


def region(studio: Studio, count: int) -> dict[str, Line]:
    """A box about a thing is made anew, in another colour, along the clip's depth. region_kept: decibels to the clip outside the box;
    region_changed: whether the thing has the new colour. The clip is a rendered one."""
    if not (studio.sources and takes(studio, "mask")):
        return {name: scores.left_out("the family makes no region of a clip anew") for name in ("region_kept", "region_changed")}
    before, after = zip(*(_repainted(REGION_SEEDS + i) for i in range(count)))
    clips, asked = (tasks.Shown.of(studio, list(scenes)) for scenes in (before, after))
    order, video, back = others(count), clips.exam.video, clips.back
    made, boxes = [], [box(clips.exam.masks[i, 0]) for i in range(count)]
    for i, marked in enumerate(boxes):
        guides = clips.exam.one(i, "depth") | {"mask": marked[None, None].float()}
        made.append(studio.clip(Wish(prompt=asked.exam.clips[i].caption, seed=i, guides=guides, source=video[i:i + 1]))[0])
    outside = lambda of: [pixels.psnr_within(of[i], video[i], ~boxes[i]) for i in range(count)]
    right = lambda of, want=range(count): [float(asked.exam.measured_colour(of[i], i) == asked.exam.truth[w, 0]) if boxes[i].any() else np.nan
                                           for i, w in enumerate(want)]
    codec = lambda of, shown: () if shown is None else of(shown)
    return {"region_kept": scores.plain(outside(made), outside(video[order]), codec(outside, back), statistic=scores.median),
            "region_changed": scores.share(right(made), right(asked.exam.video), right(video), codec(right, asked.back), note="chance: the clip as it was")}


# ---------------------------------------------------------------- going on from a clip
def seam(shown: Tensor, known: Tensor) -> float:
    """How many times as much changes from the last frame of `known` (3, n, H, W) to the next one of a clip `shown` (3, T, H, W), whose first n
    frames stand for the same, as from frame to frame near by: the median of ABOUT changes before and as many after."""
    n, change = known.shape[1], lambda frames: frames.diff(dim=1).abs().mean((0, 2, 3))
    near = torch.cat([change(known)[-ABOUT:], change(shown[:, n:])[:ABOUT]]).median()
    return float((shown[:, n] - known[:, -1]).abs().mean() / near.clamp(min=1e-6))


def extended(studio: Studio, exam: Exam, count: int) -> dict[str, Line]:
    """A clip's first HELD frames are known, the others are made along its depth, normals and camera. extend_seam: the change from the last
    known frame to the first that is new, over that from frame to frame about it; extend_known: decibels of the known ones as they come back.

    The clip is what the autoencoder gives back of a rendered one, as a take that is gone on from is; where it cannot be asked, the rendered one.
    """
    moving = [i for i, clip in enumerate(exam.clips) if clip.scene.move != "static"][:count]
    if not studio.shows(*range(HELD)) or not moving:
        why = "no clip moves" if studio.shows(*range(HELD)) else "the family does not go on from a clip's last frames"
        return {name: scores.left_out(why) for name in ("extend_seam", "extend_known")}
    truth, order, guides = exam.video[moving], others(len(moving)), {kind: g[moving] for kind, g in exam.guides.items()}
    back = studio.returned(truth, guides)
    again = None if back is None else studio.returned(back, guides)
    known = (truth if back is None else back)[:, :, :HELD]
    made = torch.cat([studio.clip(Wish(prompt=exam.clips[i].caption, seed=i, guides=exam.one(i, *ALONG), head=known[n:n + 1], **exam.flown(i)))
                      for n, i in enumerate(moving)])
    seams = lambda of, held=known: [seam(x, k) for x, k in zip(of, held)]
    near = lambda of: psnr(of[:, :, :HELD], known).numpy()
    codec = lambda measure: () if again is None else measure(again)
    return {"extend_seam": scores.plain(seams(made), seams(truth[order]), codec(seams), seams(truth, truth[:, :, :HELD]), statistic=scores.median,
                                        note="times the change from frame to frame about it"),
            "extend_known": scores.plain(near(made), near(truth[order]), codec(near), statistic=scores.median)}


# ---------------------------------------------------------------- links
def joint(before: Tensor, after: Tensor) -> float:
    """How many times as much, or as little, changes from the last of the frames `before` (3, n, H, W) to the first `after`, as about there: a picture
    shown twice is seen as well as a jump. The middle of ABOUT changes on either side, neither side's own: one may stand still."""
    change = lambda frames: frames.diff(dim=1).abs().mean((0, 2, 3))
    near = torch.cat([change(before)[-ABOUT:], change(after)[:ABOUT]]).quantile(.5).clamp(min=1e-6)
    times = float((after[:, 0] - before[:, -1]).abs().mean() / near)
    return max(times, 1 / max(times, 1e-6))


def joints(before: Tensor, link: Tensor, after: Tensor) -> float:
    """The worse of a link's two joints."""
    return max(joint(before, link), joint(link, after))


def linked(studio: Studio, exam: Exam, count: int) -> dict[str, Line]:
    """A clip's last pictures and a clip's first ones are known, of the same clip (loop_seam) or of another (blend_seam), and NEW frames are made between
    them, by the words alone: the worse of both joints. As many pictures are shared as the family takes, HELD or one. Ground truth and autoencoder: the
    worse of two places of a clip that nobody cut. Chance: another's link. The clips are as in `extended`."""
    moving = [i for i, clip in enumerate(exam.clips) if clip.scene.move != "static"][:count]
    end = exam.video.shape[2]
    shared = next((n for n in (HELD, 1) if studio.shows(*range(n), *range(end - n, end))), 0)
    if not shared or not moving:
        why = "no clip moves" if shared else "the family takes no first frame together with a last one"
        return {name: scores.left_out(why) for name in ("loop_seam", "blend_seam")}
    truth, order, guides = exam.video[moving], others(len(moving)), {kind: g[moving] for kind, g in exam.guides.items()}
    back = studio.returned(truth, guides)
    again, known = None if back is None else studio.returned(back, guides), truth if back is None else back

    def links(to) -> Tensor:
        """(N, 3, NEW, H, W), from each clip to that one of the clips `to`."""
        made, frames = [], 2 * shared + NEW
        for n, i in enumerate(moving):
            ends = {frames - shared + k: known[to[n]:to[n] + 1, :, k] for k in range(shared)}
            clip = studio.clip(Wish(prompt=exam.clips[i].caption, seed=i, head=known[n:n + 1, :, -shared:], stills=ends, frames=frames))
            made.append(clip[:, :, shared:shared + NEW])
        return torch.cat(made)

    whole = lambda shown, of: [joints(a[:, :HELD], b[:, HELD:-HELD], a[:, -HELD:]) for a, b in zip(shown, of)]
    of = lambda made, to: [joints(known[n], made[n], known[to[n]]) for n in range(len(moving))]
    line = lambda made, to: scores.plain(of(made, to), of(made[order], to), () if again is None else whole(known, again),
                                         whole(truth, truth), statistic=scores.median,
                                         note=f"times the change from frame to frame about it, the worse of two joints; {shared} shared")
    return {name: line(links(to), to) for name, to in (("loop_seam", list(range(len(moving)))), ("blend_seam", list(order)))}


# ---------------------------------------------------------------- first and last frame
def between(studio: Studio, exam: Exam, count: int) -> dict[str, Line]:
    """A known first and last frame with depth, normals and camera. last_frame_psnr: decibels of the last one; between_gain: of the middle one,
    less those of a cross-fade of both."""
    last = exam.video.shape[2] - 1
    if not studio.shows(0, last):
        return {name: scores.left_out("the family takes no first frame together with a last one") for name in ("last_frame_psnr", "between_gain")}
    truth, middle, order = exam.video[:count], last // 2, others(count)
    ends = lambda i: {at: truth[i:i + 1, :, at] for at in (0, last)}
    clips = torch.cat([studio.clip(Wish(prompt=exam.clips[i].caption, seed=i, guides=exam.one(i, *ALONG), stills=ends(i), **exam.flown(i)))
                       for i in range(count)])
    back = studio.returned(truth, {kind: g[:count] for kind, g in exam.guides.items()})
    near = lambda of, at: psnr(of[:, :, at:at + 1], truth[:, :, at:at + 1]).numpy()
    faded = psnr((truth[:, :, :1] + truth[:, :, last:]) / 2, truth[:, :, middle:middle + 1]).numpy()
    codec = lambda at: () if back is None else near(back, at)
    return {"last_frame_psnr": scores.plain(near(clips, last), near(truth[order], last), codec(last), statistic=scores.median),
            "between_gain": scores.plain(near(clips, middle) - faded, near(truth[order], middle) - faded, () if back is None else codec(middle) - faded,
                                         statistic=scores.median)}


# ---------------------------------------------------------------- another look
def _relooked(i: int) -> tuple[tuple[world.Scene, str], tuple[world.Scene, str], tuple[str, str]]:
    """Two things in daylight, the same in another look, each with its sentence, and the attribute and word that tell the looks apart."""
    scene, prompt = tasks.pair(REMIX_SEEDS + i)
    turned = [*tasks.PROBES[i % len(tasks.PROBES):], *tasks.PROBES[:i % len(tasks.PROBES)]]
    kind, word = next((kind, word) for kind, word, _ in turned if getattr(scene, kind) != word)
    other = copy.copy(scene)
    setattr(other, kind, word)
    return (scene, prompt), (other, tasks.sentence(other)), (kind, word)


def remix(studio: Studio, judges: Judges, count: int, changes: tuple[float, ...] = CHANGES) -> dict[str, Line]:
    """A clip begun from, with a prompt of another look, along its depth. remix: whether it is the farther from the clip the more is to change,
    Spearman's rho; remix_look: whether the judges read the new look where LOOK_AT of it, or the next more, changes."""
    if not (studio.sources and studio.changes):
        return {name: scores.left_out("the family keeps no share of a clip") for name in ("remix", "remix_look")}
    before, after, looks = zip(*map(_relooked, range(count)))
    clips, asked = (tasks.Shown.of(studio, list(scenes)) for scenes in (before, after))
    reads = lambda of, i: float(judges.read(of)[looks[i][0]][0].argmax() == CHOICES[looks[i][0]].index(looks[i][1]))
    each = lambda of: [np.nan] * count if of is None else [reads(of[i:i + 1], i) for i in range(count)]
    rho, read = [], []
    for i in range(count):
        source = clips.exam.video[i:i + 1]
        wish = Wish(prompt=asked.exam.clips[i].caption, seed=i, guides=clips.exam.one(i, "depth"), source=source)
        made = [studio.clip(replace(wish, change=change)) for change in changes]
        rho.append(scores.spearman(changes, [float((clip - source).abs().mean()) for clip in made]))
        read.append([reads(clip, i) for clip in made])
    shares, at = np.mean(read, 0), next((k for k, change in enumerate(changes) if change >= LOOK_AT), -1)
    note = "the new look at a change of " + ", ".join(f"{change:g}: {share:.2f}" for change, share in zip(changes, shares)) + "; chance: the clip as it was"
    return {"remix": scores.plain(rho, [0.]),
            "remix_look": scores.share([row[at] for row in read], each(asked.exam.video), each(clips.exam.video), each(asked.back), note=note)}
