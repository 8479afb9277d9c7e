"""What things look like in training clips: finishes, skies, grounds and styles. Linear-ish colours in [0, 1]."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

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


# Styles take what clips (B, T, H, W) show: rgb and unlit colours `flat` (..., 3) in [0, 1], depth in 1/m (...), normals (..., 3).


def _edges(depth: Tensor, normal: Tensor) -> Tensor:
    """(B, T, H, W, 1) in [0, 1]: silhouettes and creases of the scene."""
    near = depth / depth.amax((1, 2, 3), keepdim=True).clamp_min(1e-6)
    found = 0
    for axis in (2, 3):
        step = near.diff(dim=axis, prepend=near.narrow(axis, 0, 1)).abs() * 6
        crease = normal.diff(dim=axis, prepend=normal.narrow(axis, 0, 1)).abs().sum(-1) * .45
        found = found + torch.maximum(step, crease).clamp_max(1)
    return found.clamp(0, 1)[..., None]


def photo(rgb, depth, normal, flat):
    return rgb


def noir(rgb, depth, normal, flat):
    """High-contrast black and white."""
    grey = (((rgb * rgb.new_tensor([.35, .5, .15])).sum(-1, keepdim=True) - .45) * 1.6 + .42).clamp(0, 1)
    return grey.expand_as(rgb)


def watercolour(rgb, depth, normal, flat):
    """Paper-white, desaturated washes with darker rims."""
    grey = rgb.mean(-1, keepdim=True)
    wash = ((grey + (rgb - grey) * .85) * 6).round() / 6
    paper = rgb.new_tensor([.97, .95, .90])
    return (.45 * wash + .55 * paper * (.35 + .65 * wash) + .10) * (1 - .22 * _edges(depth, normal))


def blueprint(rgb, depth, normal, flat):
    """White lines on blue."""
    lines = _edges(depth, normal)
    return rgb.new_tensor([.08, .22, .55]) * (.72 + .45 * rgb.mean(-1, keepdim=True)) * (1 - lines) + lines * rgb.new_tensor([.88, .94, 1.])


def neon(rgb, depth, normal, flat):
    """Dark scene, edges glowing in the saturated colour of what they bound."""
    lines = _edges(depth, normal)
    vivid = flat / flat.amax(-1, keepdim=True).clamp_min(.15)
    vivid = (vivid + (vivid - vivid.mean(-1, keepdim=True)) * .8).clamp(0, 1)
    return rgb * rgb.new_tensor([.20, .14, .30]) + rgb.new_tensor([.03, .01, .07]) + lines * (.25 + .75 * vivid)


def _grain(rgb: Tensor, frames: int) -> Tensor:
    """(T, H, W, 1) in -.5 to .5, the same in every clip."""
    t, y, x = (torch.arange(n, dtype=torch.float64) for n in (frames, *rgb.shape[2:4]))                      # the processor's sine is everybody's
    waves = (x * 12.9898 + y[:, None] * 78.233 + t[:, None, None] * 37.719).sin() * 43758.5453
    return (waves.remainder(1) - .5)[..., None].to(rgb.device, rgb.dtype)


def toon(rgb, depth, normal, flat):
    """Three steps of light in strong colours, black outlines."""
    grey = rgb.mean(-1, keepdim=True)
    steps = (grey.clamp(0, 1) * 3.6).round() / 3.6
    vivid = grey + (rgb - grey) * 1.7
    return (vivid * (.25 + .75 * steps / grey.clamp_min(.08))).clamp(0, 1) * (1 - (_edges(depth, normal) * 1.4).clamp_max(1))


def papercraft(rgb, depth, normal, flat):
    """Pastel card with pale cut edges and a fibre to it."""
    grey = rgb.mean(-1, keepdim=True)
    card = rgb.new_tensor([.34, .32, .29]) + .62 * ((grey * 4).round() / 4 + (rgb - grey) * .9)
    lines = .75 * _edges(depth, normal)
    return card * (1 + .06 * _grain(rgb, 1)) * (1 - lines) + lines * rgb.new_tensor([1., .98, .94])


def documentary(rgb, depth, normal, flat):
    """Faded film: little colour, lifted blacks, a yellow cast, grain."""
    grey = rgb.mean(-1, keepdim=True)
    return (.13 + .78 * (grey + (rgb - grey) * .4)) * rgb.new_tensor([1.03, 1., .88]) + .07 * _grain(rgb, rgb.shape[1])


def scifi(rgb, depth, normal, flat):
    """A 1980s film of the future: teal shadows, orange lights, dark corners."""
    grey = (rgb.mean(-1, keepdim=True) * 1.1).clamp(0, 1)
    tint = rgb.new_tensor([.02, .20, .26]) * (1 - grey) + rgb.new_tensor([1., .66, .36]) * grey
    y, x = (torch.linspace(-1, 1, n, device=rgb.device) for n in rgb.shape[2:4])
    return (.45 * tint + .6 * rgb * (.45 + .55 * grey)) * (1 - .28 * (y[:, None] ** 2 + x ** 2))[..., None]


STYLISE = {"photo": photo, "noir": noir, "watercolour": watercolour, "blueprint": blueprint, "neon": neon, "clay": photo, "toon": toon,
           "papercraft": papercraft, "documentary": documentary, "scifi": scifi}
UNLIT = ("neon",)                                              # styles that look at unlit colours


def stylised(styles: list[str], rgb: Tensor, depth: Tensor, normal: Tensor, flat: Tensor) -> Tensor:
    """(B, T, H, W, 3) in [0, 1], each clip in its style. depth (B, T, H, W) in 1/m, normal and flat as rgb: unlit colours, for styles of UNLIT."""
    drawn = torch.empty_like(rgb, memory_format=torch.contiguous_format)
    for style in sorted(set(styles)):
        mine = [i for i, other in enumerate(styles) if other == style]
        drawn[mine] = STYLISE[style](rgb[mine], depth[mine], normal[mine], flat[mine]).clamp(0, 1)
    return drawn
