"""Every stage of Blockout's training, small: what it trains on a device, by which optimisers, and the loss(model, run, g) of a step."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.blockout import finetune, guides, refiner, scaling, shards, text, train_autoencoder, train_decoder, train_refiner, train_transformer
from engine.blockout.autoencoder import Autoencoder
from engine.blockout.transformer import Transformer, TransformerConfig
from tests.engine.roused import TINY

SMALL = TransformerConfig(width=48, depth=1, heads=1)


@contextlib.contextmanager
def shards_of(place: Path) -> Iterator[Path]:
    """Two shards of a series of small clips, encoded, and two of the refiner's, for as long as the context is open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shards.SERIES, "short", shards.Series(((9, 24, 32),), 3, 5))
        patch.setattr(train_refiner, "SERIES", train_refiner.Glances(((train_refiner.FRAMES, 64, 64),), 4, 7))
        patch.setattr(train_refiner, "BATCH", 1)
        torch.manual_seed(0)
        library = train_transformer.Library(place, Autoencoder(TINY).eval())
        for n in range(2):
            shards.write(place, "short", n)
            folder = shards.write(place, train_refiner.NAME, n, train_refiner.SERIES)
            np.save(folder / train_refiner.SMALL, np.zeros((4, train_refiner.FRAMES, 32, 32, 3), np.uint8))
        library.refresh("short", 0, 1)
        yield place


def of_autoencoder(root, place):
    crops = train_autoencoder.Crops(root, ("short",))
    model = Autoencoder(TINY).to(place)
    return model, train_autoencoder.optimisers, lambda m, run, g: train_autoencoder.loss(m, crops.draw(g, 2, run.times, place), g)


class Portrayed(train_transformer.Draws):
    """Shows portraits in every step."""

    def loss(self, model, clips, g, portrayed):
        return super().loss(model, clips, g, True)


def of_transformer(root, place):
    library = train_transformer.Library(root, Autoencoder(TINY).eval())
    return Transformer(SMALL).to(place), train_transformer.optimisers, lambda m, run, g: Portrayed(library, run)(m, g)


def of_scaling(root, place):
    library = train_transformer.Library(root, Autoencoder(TINY).eval())
    return Transformer(SMALL).to(place), train_transformer.optimisers, lambda m, run, g: scaling.Counted(library, run)(m, g)


def of_decoder(root, place):
    whole, layouts = Autoencoder(TINY).to(place).requires_grad_(False), train_decoder.Layouts(root, ("short",))
    decoder = train_decoder.Decoder(TINY).to(place)
    return decoder, train_decoder.optimisers, lambda m, run, g: train_decoder.loss(m, whole, *layouts.draw(g, 2, run.times, place), g)


def of_refiner(root, place):
    pairs = train_refiner.Pairs(root)
    model = refiner.Refiner(refiner.RefinerConfig(widths=(8, 8, 12), told=16)).to(place)
    return model, train_refiner.optimisers, lambda m, run, g: train_refiner.loss(m, *pairs.draw(g, run.times, place), g)


def pieces():
    g = torch.Generator().manual_seed(3)
    shown = {kind: torch.rand(c, 9, 24, 32, generator=g) for kind, c in guides.PICTURES.items()}
    return [finetune.Piece(torch.randn(16, 3, 3, 4, generator=g), some, text.tokens("a red cube at noon"), 24.) for some in (shown, {})]


def of_own_clips(kind):
    def made(root, place):
        model, moved = finetune.made(finetune.Begun(kind, 4 if kind == "lora" else 0, ""), Transformer(SMALL), place)
        return model, lambda _: moved, lambda m, run, g: finetune.Draws(pieces(), run)(m, g)
    return made


STAGES = {"autoencoder": of_autoencoder, "transformer": of_transformer, "scaling": of_scaling, "decoder": of_decoder, "refiner": of_refiner,
          "lora": of_own_clips("lora"), "finetune": of_own_clips("finetune")}
