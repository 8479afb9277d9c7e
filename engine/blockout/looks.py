"""What things look like in training clips: finishes, skies, grounds and styles. Linear-ish colours in [0, 1]."""
from __future__ import annotations

import numpy as np

from .words import STYLES

COLOURS = {"red": (.82, .09, .09), "orange": (.95, .48, .07), "yellow": (.95, .85, .14), "green": (.11, .58, .17),
           "blue": (.11, .26, .85), "purple": (.52, .17, .72), "white": (.93, .93, .93), "black": (.06, .06, .07)}
MATERIALS = {"brick": (.58, .27, .19), "concrete": (.55, .55, .54), "wood": (.48, .31, .17), "metal": (.36, .40, .45),
             "stone": (.72, .65, .52), "glass": (.45, .68, .78)}
FINISHES = {**COLOURS, **MATERIALS, "foliage": (.16, .38, .12), "skin": (.80, .58, .45), "rubber": (.05, .05, .05)}
FINISH_NAMES = tuple(FINISHES)
ALBEDO = np.array(list(FINISHES.values()), np.float32)

# horizon, zenith, sun colour, sun strength, ambient strength, direction to the sun
SKIES = {"noon": ((.62, .80, .98), (.20, .46, .92), (1., .97, .90), 1.0, .45, (.35, .45, .82)),
         "sunset": ((1.0, .58, .28), (.45, .25, .50), (1., .60, .32), .95, .38, (-.8, .35, .36)),
         "night": ((.08, .10, .21), (.01, .015, .06), (.45, .58, .95), .45, .36, (.4, -.3, .8)),
         "overcast": ((.78, .79, .80), (.58, .60, .63), (.9, .9, .92), .22, .78, (.1, .1, .98))}
GROUNDS = {"grass": (.28, .52, .16), "sand": (.85, .70, .44), "snow": (.93, .95, .98), "asphalt": (.25, .25, .27)}
WEATHERS = ("clear", "fog", "snowfall")


def _edges(depth: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(T, H, W) in [0, 1]: silhouettes and creases of the scene. depth is inverse metres."""
    near = depth / np.maximum(depth.max(), 1e-6)
    found = 0
    for axis in (1, 2):
        step = np.abs(np.diff(near, axis=axis, prepend=near.take([0], axis))) * 6
        crease = np.abs(np.diff(normal, axis=axis, prepend=normal.take([0], axis))).sum(-1) * .45
        found = found + np.minimum(np.maximum(step, crease), 1)
    return np.clip(found, 0, 1)


def photo(rgb, depth, normal, flat):
    return rgb


def noir(rgb, depth, normal, flat):
    """High-contrast black and white."""
    grey = np.clip((rgb @ np.array([.35, .5, .15], np.float32) - .45) * 1.6 + .42, 0, 1)
    return np.repeat(grey[..., None], 3, -1)


def watercolour(rgb, depth, normal, flat):
    """Paper-white, desaturated washes with darker rims."""
    grey = rgb.mean(-1, keepdims=True)
    wash = np.round((grey + (rgb - grey) * .85) * 6) / 6
    paper = np.array([.97, .95, .90], np.float32)
    return (.45 * wash + .55 * paper * (.35 + .65 * wash) + .10) * (1 - .22 * _edges(depth, normal)[..., None])


def blueprint(rgb, depth, normal, flat):
    """White lines on blue."""
    lines = _edges(depth, normal)[..., None]
    return np.array([.08, .22, .55], np.float32) * (.72 + .45 * rgb.mean(-1, keepdims=True)) * (1 - lines) \
        + lines * np.array([.88, .94, 1.], np.float32)


def neon(rgb, depth, normal, flat):
    """Dark scene, edges glowing in the saturated colour of what they bound."""
    lines = _edges(depth, normal)[..., None]
    vivid = flat / np.maximum(flat.max(-1, keepdims=True), .15)
    vivid = np.clip(vivid + (vivid - vivid.mean(-1, keepdims=True)) * .8, 0, 1)
    return rgb * np.array([.20, .14, .30], np.float32) + np.array([.03, .01, .07], np.float32) + lines * (.25 + .75 * vivid)


STYLISE = {"photo": photo, "noir": noir, "watercolour": watercolour, "blueprint": blueprint, "neon": neon, "clay": photo}


def stylised(style: str, rgb: np.ndarray, depth: np.ndarray, normal: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) in [0, 1] in the given style. depth (T, H, W) in 1/m, normal and flat (unlit colour) (T, H, W, 3)."""
    return np.clip(STYLISE[style](rgb, depth, normal, flat), 0, 1)
