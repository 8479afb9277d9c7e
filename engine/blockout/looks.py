"""What things look like in training clips: finishes, skies, grounds and styles. Linear-ish colours in [0, 1]."""
from __future__ import annotations

import numpy as np


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
WEATHERS = ("clear", "fog", "snowfall")                        # and rain, in varied.py


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


def _grain(h: int, w: int, frames: int) -> np.ndarray:
    """(T, H, W, 1) in -.5 to .5, the same in every clip."""
    t, y, x = np.ogrid[:frames, :h, :w]
    return (np.mod(np.sin(x * 12.9898 + y * 78.233 + t * 37.719) * 43758.5453, 1) - .5)[..., None].astype(np.float32)


def toon(rgb, depth, normal, flat):
    """Three steps of light in strong colours, black outlines."""
    grey = rgb.mean(-1, keepdims=True)
    steps = np.round(np.clip(grey, 0, 1) * 3.6) / 3.6
    vivid = grey + (rgb - grey) * 1.7
    return np.clip(vivid * (.25 + .75 * steps / np.maximum(grey, .08)), 0, 1) * (1 - np.minimum(_edges(depth, normal) * 1.4, 1)[..., None])


def papercraft(rgb, depth, normal, flat):
    """Pastel card with pale cut edges and a fibre to it."""
    grey = rgb.mean(-1, keepdims=True)
    card = np.array([.34, .32, .29], np.float32) + .62 * (np.round(grey * 4) / 4 + (rgb - grey) * .9)
    lines = (.75 * _edges(depth, normal))[..., None]
    return card * (1 + .06 * _grain(*rgb.shape[1:3], 1)) * (1 - lines) + lines * np.array([1., .98, .94], np.float32)


def documentary(rgb, depth, normal, flat):
    """Faded film: little colour, lifted blacks, a yellow cast, grain."""
    grey = rgb.mean(-1, keepdims=True)
    return (.13 + .78 * (grey + (rgb - grey) * .4)) * np.array([1.03, 1., .88], np.float32) + .07 * _grain(*rgb.shape[1:3], len(rgb))


def scifi(rgb, depth, normal, flat):
    """A 1980s film of the future: teal shadows, orange lights, dark corners."""
    grey = np.clip(rgb.mean(-1, keepdims=True) * 1.1, 0, 1)
    tint = np.array([.02, .20, .26], np.float32) * (1 - grey) + np.array([1., .66, .36], np.float32) * grey
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in rgb.shape[1:3])
    return (.45 * tint + .6 * rgb * (.45 + .55 * grey)) * (1 - .28 * (y[:, None] ** 2 + x[None] ** 2))[None, ..., None]


STYLISE = {"photo": photo, "noir": noir, "watercolour": watercolour, "blueprint": blueprint, "neon": neon, "clay": photo, "toon": toon,
           "papercraft": papercraft, "documentary": documentary, "scifi": scifi}


def stylised(style: str, rgb: np.ndarray, depth: np.ndarray, normal: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) in [0, 1] in the given style. depth (T, H, W) in 1/m, normal and flat (unlit colour) (T, H, W, 3)."""
    return np.clip(STYLISE[style](rgb, depth, normal, flat), 0, 1)
