"""What a caption can ask of a clip, and in which styles it can be told at all."""
from __future__ import annotations

import torch
from torch import Tensor

from ..blockout import data, world
from ..blockout.looks import COLOURS, GROUNDS, SKIES
from ..blockout.text import tokens
from ..blockout.words import FIRST_STYLES, KNOWN

CHOICES = {"colour": tuple(COLOURS), "shape": world.SHAPES, "sky": tuple(SKIES), "ground": tuple(GROUNDS), "camera": world.MOVES, "style": FIRST_STYLES}
COLOURLESS = ("noir", "blueprint", "clay")                     # an object's colour can't be read, nor the ground's
SKYLESS = ("noir", "blueprint")                                # nor what light there is
SIDES, WAYS = {"left": "right", "right": "left"}, {"in": "out", "out": "in", "up": "down", "down": "up"}


def _turned(others: dict[str, str]) -> Tensor:
    """For each camera move the one that has the other word in its name."""
    return torch.tensor([CHOICES["camera"].index(" ".join(others.get(word, word) for word in move.split())) for move in CHOICES["camera"]])


MIRRORED, BACKWARDS = _turned(SIDES), _turned(SIDES | WAYS)    # what a camera's move is in a mirror, and in a clip that is played backwards


def of_thing(scene: world.Scene, thing: world.Thing) -> tuple[int, int]:
    """Indices of a thing's colour and shape; -1 where there is none or the style hides it."""
    colour = -1 if scene.style in COLOURLESS or thing.finish not in COLOURS else CHOICES["colour"].index(thing.finish)
    return colour, world.SHAPES.index(thing.word) if thing.word in world.SHAPES else -1


def of_scene(scene: world.Scene) -> tuple[int, int, int, int]:
    """Indices of sky, ground, camera and style; -1 where the style hides it."""
    given = ("" if scene.style in SKYLESS else scene.sky, "" if scene.style in COLOURLESS else scene.ground, scene.move, scene.style)
    return tuple(CHOICES[k].index(v) if v else -1 for k, v in zip(("sky", "ground", "camera", "style"), given))


def truth(scene: world.Scene) -> list[int]:
    """Index into each of CHOICES, of the first thing for colour and shape; -1 where it can't be told."""
    return [*of_thing(scene, scene.things[0]), *of_scene(scene)]


def asked(clip: data.Clip) -> Tensor:
    """(6,) bool: which attributes the caption names."""
    scene = clip.scene
    said = {KNOWN[i - 1] for i in tokens(clip.caption).ids}
    wanted = (scene.things[0].finish, scene.things[0].word, scene.sky, scene.ground, scene.move.split()[0], scene.style)
    return torch.tensor([word in said for word in wanted])
