"""Light as models code it: from what a model decodes, 0 to 1, to scene-linear light and to a display. Numpy alone.

Most models draw display-referred sRGB. One that was taught high dynamic range draws ARRI's LogC3: its white is far above a display's.
"""
from __future__ import annotations

import functools

import numpy as np

SRGB, LOGC3 = "sRGB", "LogC3"
CODES = 65536                       # that are told apart: 16 bits; in LogC3 a step is a third of what half floats tell apart
# ARRI, “ALEXA Log C Curve, usage in VFX” (2017), exposure index 800, by normalised sensor signal; as in diffusers' LTX2VideoHDRProcessor
CUT, A, B, C, D, E, F = 0.010591, 5.555556, 0.052272, 0.247190, 0.385537, 5.367655, 0.092809


def linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB 0..1 -> linear Rec.709, by the curve of IEC 61966-2-1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, np.power((srgb + 0.055) / 1.055, 2.4))


def shown(light: np.ndarray) -> np.ndarray:
    """Linear Rec.709 -> sRGB 0..1; what is brighter than white is white. The reverse of `linear`."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.power(light, 1 / 2.4) - 0.055)


def of_logc3(code: np.ndarray) -> np.ndarray:
    """LogC3 0..1 -> linear light, of which 1 is a display's white: -0.017 to 55.1."""
    return np.where(code > E * CUT + F, (np.power(10.0, (code - D) / C) - B) / A, (code - F) / E)


@functools.cache
def halves(coding: str) -> np.ndarray:
    """The light of every 16-bit code as float16 (65536,): looking up is many times faster than raising to a power."""
    codes = np.arange(CODES) / (CODES - 1)
    return (of_logc3(codes) if coding == LOGC3 else linear(codes)).astype(np.float16)


@functools.cache
def display() -> np.ndarray:
    """What a display shows of every 16-bit code of LogC3: uint16 (65536,)."""
    return np.rint(shown(of_logc3(np.arange(CODES) / (CODES - 1))) * (CODES - 1)).astype(np.uint16)
