"""The transformer's training: rectified flow that predicts the clean latent, short clips first, then long and larger ones."""
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..device import Device
from . import conditions, data, flow, portraits, shards, text, world
from .autoencoder import Autoencoder
from .guides import SIDE
from .model import NAME, Blockout, shaped
from .optimise import Muon
from .train_autoencoder import as_video
from .training import Run, onto, where
from .transformer import Transformer

TOKENS_A_STEP = 2000                                           # latent pixels a process sees in a step on a CPU
MANY = 3                                                       # clips a process sees in a step, at least: Muon walks astray on fewer
PORTRAYED, UNNAMED, UNTOLD = .3, .65, .3                       # shares of steps with portraits, in those of captions that leave the look to them, of clips with no rate
REFRESH = 20                                                   # steps between looks for new shards
MIXES = ((43, {"short": 1.}), (67, {"short": .65, "long": .35}), (98, {"short": .2, "long": .2, "plain": .6}),      # until this of the last entry's minutes
         (128, {"stills": .6, "plain": .15, "short": .15, "long": .1}),
         (165, {"stills": .25, "large stills": .2, "plain": .1, "short": .15, "long": .1, "large": .2}),
         (184, {"short": .4, "plain": .25, "stills": .15, "large": .2}),
         (281, {"short": .5, "plain": .32, "stills": .06, "large": .12}),
         (385, {"short": .42, "plain": .3, "stills": .12, "large": .1, "long": .06}),
         (428, {"short": .42, "plain": .28, "stills": .08, "large": .16, "long": .06}),
         (502, {"mottled": .38, "short": .24, "plain": .1, "stills": .06, "large": .16, "long": .06}),
         (536, {"told": .42, "mottled": .16, "short": .18, "plain": .08, "large": .1, "long": .06}),
         (564, {"close": .5, "mottled": .14, "short": .15, "plain": .07, "large": .08, "long": .06}),
         (594, {"close": .66, "mottled": .11, "short": .1, "plain": .04, "large": .05, "long": .04}),
         (612, {"close": .32, "mottled": .24, "short": .2, "plain": .1, "large": .09, "long": .05}),
         (627, {"mottled": .28, "plain": .28, "short": .26, "close": .12, "large": .06}),
         (689, {"varied": .38, "large varied": .1, "mottled": .14, "plain": .12, "short": .1, "close": .12, "large": .04}),
         (714, {"varied": .28, "large varied": .08, "mottled": .18, "plain": .18, "short": .14, "close": .1, "large": .04}),
         (796, {"varied": .18, "plain": .2, "hiding": .14, "mottled": .14, "close": .14, "short": .12, "large varied": .06, "large": .02}),
         (881, {"varied": .2, "timed": .2, "plain": .14, "mottled": .14, "close": .14, "short": .05, "academy": .05, "large varied": .05, "hiding": .03}))
FLAGS = {"text": (0., 0., 0., 0., 0.), "camera": (0., 0., 1., 0., 0.), "guides": (1., 1., 0., 0., 0.), "all": (1., 1., 1., 0., 0.),
         "painted": (1., 1., 1., 1., 0.), "moved": (1., 1., 1., 0., 1.)}
WHOLE = ((1.,), (1.,))
PARTS = {"short": ((1., .55), (.5, .5)), "large": ((1., .6), (.6, .4)), "long": ((1., .7, .35), (.35, .25, .4))}       # of a clip's length, and how often


@dataclass(slots=True)
class Shard:
    latent: np.ndarray                                         # float16 (N, C, K, h, w)
    inverse_depth: np.ndarray
    normal: np.ndarray
    ids: Tensor
    c2w: np.ndarray                                            # (N, T, 4, 4)
    lens: np.ndarray                                           # (N, 4)
    ground: np.ndarray                                         # (N, 3) phase and strength of its pattern
    fps: Tensor                                                # (N,) frames a second, 0 where nobody says
    portrait: np.ndarray                                       # float16 (N, C, 1, h, w) of the subject alone
    single: Tensor                                             # (N,) 1 where that is one thing
    unnamed: Tensor                                            # as ids, of captions that leave its look to the portrait
    told: bool = False                                         # by captions alone: guides are never shown
    alone: float = 0.                                          # as in shards.Series
    paints: tuple[np.ndarray, list[np.ndarray], list[np.ndarray]] | None = None        # as shards.painted, of those that are shown guides
    vectors: np.ndarray | None = None                          # as shards.moved, likewise


@dataclass(slots=True)
class Library:
    """Encoded shards of a series; a shard is encoded once, by whoever needs it first."""
    root: Path
    autoencoder: Autoencoder
    shards: dict[Path, Shard] = field(default_factory=dict)

    def refresh(self, series: str, rank: int, world: int, most: int = 6) -> None:
        """Takes up to `most` more of this process's share of the shards that are ready: training needn't wait for all."""
        ours = [f for f in shards.ready(self.root, series) if f not in self.shards and int(f.name) % world == rank]
        with torch.autocast(where(self.autoencoder).type, enabled=False):       # what lies beside a shard is drawn in full precision
            for folder in ours[:most]:
                self.shards[folder] = self._opened(folder)

    def _opened(self, folder: Path) -> Shard:
        said, series = shards.captions(folder), shards.SERIES[folder.parent.name]
        alone, single, unnamed = shards.portrayed(folder, len(said))
        latent = self._encoded(folder / "latent.npy", lambda: np.load(folder / "rgb.npy", mmap_mode="r"), 4)
        portrait = self._encoded(folder / "portrait.npy", lambda: alone[:, None], 64)
        opened = [np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("inverse_depth", "normal")]
        words = [text.batch(list(map(text.tokens, captions))) for captions in (said, unnamed)]
        shown = (None, None) if series.told else (shards.painted(folder, len(said)), shards.moved(folder, len(said)))
        *flown, fps = shards.flown(folder, len(said))
        return Shard(latent, *opened, words[0], *flown, torch.from_numpy(fps), portrait, torch.from_numpy(single).float(), words[1], series.told, series.alone, *shown)

    def _encoded(self, path: Path, pictures: Callable[[], np.ndarray], at_once: int) -> np.ndarray:
        """float16 (N, C, K, h, w) of pictures uint8 (N, T, H, W, 3); kept at `path`."""
        def encode(file) -> None:
            rgb = pictures()
            with torch.no_grad():
                each = (onto(as_video(rgb[i:i + at_once]), where(self.autoencoder)) for i in range(0, len(rgb), at_once))
                latent = torch.cat([self.autoencoder.encode(video) for video in each])
            np.save(file, latent.half().cpu().numpy())
        return np.load(shards.kept(path, encode), mmap_mode="r")

    def of(self, series: str) -> list[Shard]:
        return [s for p, s in self.shards.items() if p.parent.name == series]


@dataclass(frozen=True, slots=True)
class Layout:
    """What guides are made of, as stored; all but the paints' colours and things goes to the model's device."""
    inverse_depth: Tensor
    normal: Tensor
    c2w: Tensor
    lens: Tensor
    ground: Tensor
    vectors: Tensor
    seen: Tensor                                               # paints, as `data.paints` has them
    colours: list[np.ndarray]
    parts: list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Clips:
    """What a step sees: some clips of one shape and series, as stored, cut to their first latent frames."""
    latent: Tensor
    ids: Tensor
    fps: Tensor
    portrait: Tensor
    single: Tensor
    unnamed: Tensor
    layout: Layout | None                                      # None of clips that are told by captions alone
    alone: float

    @classmethod
    def of(cls, shard: Shard, rows: np.ndarray, k: int) -> Clips:
        """Those rows of a shard, cut to k latent frames."""
        t, layout, picked = 4 * (k - 1) + 1, None, lambda stored: torch.from_numpy(np.asarray(stored))
        if not shard.told:
            filmed = (picked(x[rows, :t]) for x in (shard.inverse_depth, shard.normal, shard.c2w))
            (seen, colours, parts), vectors = shard.paints, shard.vectors
            layout = Layout(*filmed, picked(shard.lens[rows]), picked(shard.ground[rows]), picked(vectors[rows, :t]), picked(seen[rows, :t]),
                            [colours[i] for i in rows], [parts[i] for i in rows])
        return cls(picked(shard.latent[rows, :, :k]), shard.ids[rows], shard.fps[rows], picked(shard.portrait[rows]), shard.single[rows],
                   shard.unnamed[rows], layout, shard.alone)


def joined(several: list):
    """Clips, or layouts, of several shards as one."""
    first, each = several[0], {f.name: [getattr(one, f.name) for one in several] for f in fields(several[0])}
    if len(several) == 1:
        return first
    return type(first)(**{name: torch.cat(found) if torch.is_tensor(found[0]) else sum(found, []) if isinstance(found[0], list) else
                          joined(found) if isinstance(found[0], Layout) else found[0] for name, found in each.items()})


def loss(model: Transformer, clips: Clips, g: torch.Generator, portrayed: bool = False) -> Tensor:
    """The flow-matching loss of some clips, on the model's device; most of them `portrayed`, or none. g is the CPU's."""
    place, b = where(model), len(clips.latent)
    clips, chance = onto(clips, place), lambda *shape: torch.rand(*shape, generator=g).to(place)
    ids, fps, portraits = clips.ids, clips.fps * (chance(b) > UNTOLD), None
    if portrayed:
        shown = clips.single * (chance(b) > .1)
        portraits = clips.portrait.float(), shown
        ids = torch.where((shown * (chance(b) < UNNAMED) > 0)[:, None], clips.unnamed, ids)
    if clips.layout is None:
        return flow.loss(model, clips.latent.float(), {}, ids, g, 0., fps, portraits)
    guides = laid(clips.layout, g)
    there = (chance(b, 1) >= clips.alone).float()
    return flow.loss(model, clips.latent.float(), guides, ids, g, there, fps, portraits)


def laid(layout: Layout, g: torch.Generator) -> dict[str, Tensor]:
    """The guides of a layout, as roughly as training shows them."""
    guides, view = conditions.guides(layout.inverse_depth, layout.normal, g), (layout.c2w, layout.lens, layout.inverse_depth)
    guides |= {"camera": conditions.flights(*view, g), "mottle": conditions.mottles(*view, layout.ground)}
    guides["albedo"] = conditions.albedos(layout.seen, layout.colours, layout.parts, g)
    guides["vector"] = conditions.vectors(layout.vectors, g)
    return guides


class Draws:
    """Which clips a step sees: one shape a step, so that every process has about the same work."""

    wanted = tuple(shards.SERIES)

    def __init__(self, library: Library, run: Run):
        self.library, self.run, self.refreshed = library, run, -1

    def __call__(self, model: nn.Module, g: torch.Generator) -> Tensor:
        if self.run.step // REFRESH != self.refreshed:
            self.refreshed = self.run.step // REFRESH
            for series in self.wanted:
                self.library.refresh(series, self.run.rank, self.run.world)
        turn = np.random.default_rng(self.run.step)                               # the same in every process
        series = self._series(turn)
        part_of, how_often = PARTS.get(series, WHOLE)
        part = turn.choice(part_of, p=how_often)
        pick = lambda among: among[int(torch.randint(len(among), (1,), generator=g))]
        shard = pick(pool := self.library.of(series))
        _, _, k, h, w = shard.latent.shape
        k = max(min(3, k), round(k * part))
        batch = max(MANY, round(self.run.tokens(TOKENS_A_STEP) * (1.6 if series in ("long", "large") else 1) / (k * h * w)))
        some = [self._some(shard, batch, k, g)]
        alike = [one for one in pool if one.latent.shape[1:] == shard.latent.shape[1:]]
        while (left := batch - sum(len(one.latent) for one in some)) > 0:         # a card sees more than a shard has; where few are there, some twice
            some.append(self._some(pick(alike), left, k, g))
        return self.loss(model, joined(some), g, bool(turn.random() < PORTRAYED))

    def _some(self, shard: Shard, most: int, k: int, g: torch.Generator) -> Clips:
        return Clips.of(shard, np.sort(torch.randperm(len(shard.latent), generator=g)[:most].numpy()), k)

    def loss(self, model: nn.Module, clips: Clips, g: torch.Generator, portrayed: bool) -> Tensor:
        """Of the clips that were drawn."""
        return loss(model, clips, g, portrayed)

    def _series(self, turn: np.random.Generator) -> str:
        """One of the mix; short clips where a series has not been rendered yet."""
        mix = self.mix()
        drawn = str(turn.choice(list(mix), p=list(mix.values())))
        return drawn if self.library.of(drawn) else "short"

    def mix(self) -> dict[str, float]:
        """That of this part of the training."""
        return next((mix for until, mix in MIXES if self.run.progress * MIXES[-1][0] <= until), MIXES[-1][1])


@dataclass(slots=True)
class HeldOut:
    """Mean squared errors on clips never trained on, without guides, with the camera, with more and more of them, at three noise levels; and
    with guides and words that do not say how the subject looks, without its portrait and with it."""
    x0: Tensor
    guides: dict[str, Tensor]
    ids: Tensor
    portrait: Tensor
    unnamed: Tensor                                            # as ids, of captions that leave the subject's look to the portrait

    @classmethod
    def rendered(cls, autoencoder: Autoencoder, count: int = 16) -> HeldOut:
        """So many clips, on the autoencoder's device."""
        clips, place = [data.clip(shards.HELD_OUT + i) for i in range(count)], where(autoencoder)
        with torch.no_grad():
            x0 = autoencoder.encode(onto(as_video(np.stack([c.rgb for c in clips])), place))
        inverse, flown = np.stack([c.inverse_depth for c in clips]), [data.cameras(c.scene, *c.rgb.shape[1:3]) for c in clips]
        seen = *map(np.stack, zip(*flown)), inverse
        guides = conditions.guides(inverse, np.stack([c.normal for c in clips]), torch.Generator(), rough=False)
        guides |= {"camera": conditions.flights(*seen, torch.Generator(), rough=False),
                   "mottle": conditions.mottles(*seen, np.stack([world.ground(c.scene) for c in clips])),
                   "albedo": conditions.albedos(*data.painted(clips), torch.Generator(), rough=False),
                   "vector": conditions.vectors(np.stack([data.vectors(c.scene, *c.rgb.shape[1:3]) for c in clips]), torch.Generator(), rough=False)}
        alone = [portraits.taken(c.scene, i)[0] for i, c in enumerate(clips)]
        with torch.no_grad():
            portrait = autoencoder.encode(onto(as_video(data.render_all(alone, SIDE, SIDE, list(range(count)))[0].numpy()), place))
        unnamed = [portraits.unnamed(c.scene, np.random.default_rng(i)) for i, c in enumerate(clips)]
        ids, unnamed = (text.batch(list(map(text.tokens, said))) for said in ([c.caption for c in clips], unnamed))
        return onto(cls(x0, guides, ids, portrait, unnamed), place)

    def __call__(self, model: Transformer) -> dict[str, Tensor]:
        b, _, k, h, w = self.x0.shape
        eps = torch.randn(self.x0.shape, generator=torch.Generator().manual_seed(5)).to(self.x0)
        words, empty = model.text(self.ids), self.x0.new_zeros(b, 1, k, h, w)
        found = {}
        for name, flag in FLAGS.items():
            for sigma in (1., .8, .5):
                x = (1 - sigma) * self.x0 + sigma * eps
                out = model(x, x.new_full((b,), sigma), words, self.guides, x.new_tensor([flag] * b), torch.zeros_like(x), empty)
                found[f"{name} {sigma}"] = (out - self.x0).square().mean()
        plain = self.guides, eps.new_tensor([FLAGS["guides"]] * b), torch.zeros_like(eps), empty, None
        for name, shown in {"unnamed": eps.new_zeros(b), "portrayed": eps.new_ones(b)}.items():
            portrait = model.portrayed(self.portrait, shown)
            found[f"{name} 1.0"] = (model(eps, eps.new_ones(b), model.text(self.unnamed), *plain, portrait) - self.x0).square().mean()
        return found


def optimisers(model: Transformer) -> list:
    """Muon on the blocks' matrices, AdamW on the rest."""
    named = [(n, p) for n, p in model.blocks.named_parameters() if p.ndim == 2 and "shift" not in n]
    matrices = {id(p) for _, p in named}
    muon = Muon([{"params": [p for n, p in named if "qkv" in n], "parts": 3}, {"params": [p for n, p in named if "qkv" not in n]}], lr=.02)
    return [muon, torch.optim.AdamW([p for p in model.parameters() if id(p) not in matrices], 2e-3, betas=(.9, .98), weight_decay=0.)]


def begun_as(out: Path) -> Blockout:
    """An untrained model of the shape that a training folder began with: that of the weights it goes on from, or the usual one."""
    return shaped(out) if (out / f"{NAME}.json").exists() else Blockout()


def trained_autoencoder(out: Path) -> Autoencoder:
    autoencoder = begun_as(out).autoencoder
    autoencoder.load_state_dict(torch.load(out / "autoencoder.pt", weights_only=True)["average"])
    return autoencoder.eval().requires_grad_(False)


def stage(root: Path, out: Path, minutes: float, place: Device | None = None, tokens: int = 0) -> None:
    """Trains in `out` on the clips in `root`, on the CPU unless there is another place; tokens as `Run` has them."""
    torch.manual_seed(1)
    model, autoencoder = (part.to(place.name if place else "cpu") for part in (begun_as(out).transformer, trained_autoencoder(out)))
    run = Run("transformer", out, model, optimisers(model), minutes, seed=1, hold=.7, place=place, tokens=tokens)
    run.resume()
    judge = HeldOut.rendered(autoencoder) if run.rank == 0 else None
    (out / "transformer.json").write_text(json.dumps({"parameters": sum(p.numel() for p in model.parameters())}))
    run.train(Draws(Library(root, autoencoder), run), judge, every=100)
