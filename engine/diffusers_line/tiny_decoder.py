"""TAEHV (Ollin Boer Bohan, MIT): a tiny decoder of Wan's and LTX-2's latents, for previews that are sharper than a linear map's.

Used where its weights were imported, or lie in the models folder as `previews/taew2_1.safetensors` (Wan 2.1, 16 channels), `taew2_2` (Wan 2.2
TI2V, 48), `taeltx_2` or `taeltx2_3` (LTX-2 and 2.3, 128). Its steps in time are left out, and those in space that a preview does not need,
as its author suggests.
"""
from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clock import moments
from ..errors import FolderError, ModelError
from ..glimpses import LONGEST
from ..models import admission, previews, store
from ..models.previews import STAGES

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)
FOLDER, NAMES = "previews", {16: "taew2_1.safetensors", 48: "taew2_2.safetensors"}      # by channels of the latent


class Tiny:
    """The decoder half, by its published names: `decoder.1`, `decoder.3.conv.0`, ..."""

    def __init__(self, weights: dict[str, Tensor]):
        self._weights = weights
        self._channels = weights["decoder.22.weight"].shape[0] // 3

    def shown(self, latent: Tensor) -> np.ndarray:
        """Moments of a normalised latent (1, C, T, h, w) as float32 (n, H, W, 3), 0..1, H and W up to LONGEST."""
        with torch.inference_mode():
            x = latent[0].transpose(0, 1).to(self._weights["decoder.1.weight"])             # (T, C, h, w)
            x = F.relu(self._conv(torch.tanh(x / 3) * 3, 1))
            for stage in STAGES:
                x = self._stage(x, stage)
            x = self._conv(F.relu(x[moments(len(x))]), 22)
            pictures = F.pixel_shuffle(x, round(self._channels ** 0.5)).clamp(0, 1)
            return pictures.permute(0, 2, 3, 1).float().cpu().numpy()

    def _stage(self, x: Tensor, at: int) -> Tensor:
        for block in range(at, at + 3):
            x = self._remembering(x, block)
        if 2 * max(x.shape[2:]) * round(self._channels ** 0.5) <= LONGEST:
            x = F.interpolate(x, scale_factor=2)
        steps = self._weights[f"decoder.{at + 4}.conv.weight"]
        x = F.conv2d(x, steps[-x.shape[1]:])                # of the frames that this would make of each, the last
        return self._conv(x, at + 5)

    def _remembering(self, x: Tensor, at: int) -> Tensor:
        """A block that sees each frame beside the one before; before the first there is nothing."""
        before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
        y = torch.cat([x, before], 1)
        for layer in (0, 2, 4):
            y = self._conv(y, f"{at}.conv.{layer}")
            y = F.relu(y) if layer < 4 else y
        return F.relu(y + x)

    def _conv(self, x: Tensor, name: int | str) -> Tensor:
        return F.conv2d(x, self._weights[f"decoder.{name}.weight"], self._weights.get(f"decoder.{name}.bias"), padding=1)


def found(channels: int, device: torch.device, folder: Path | None = None, name: str = "") -> Tiny | None:
    """The decoder of such latents on `device`, or the one called `name`; None where its weights are not there, or where it would take longer
    than it is worth."""
    wanted = name or NAMES.get(channels, "")
    if device.type == "cpu":
        return None
    try:
        path = weights(wanted, folder or store.default_folder())
        return path and opened(path, device)
    except (ModelError, FolderError, KeyError, ValueError, RuntimeError) as error:
        log.warning("previews are coarse: %s cannot be used: %s", wanted, error)
        return None


def weights(name: str, models: Path) -> Path | None:
    """The file `name` in the models folder, laid there by hand or imported; None where it is neither. Raises ModelError, FolderError."""
    laid = models / FOLDER / name
    return laid if laid.is_file() else previews.file(name.removesuffix(admission.WEIGHTS), models)


def opened(path: Path, device: torch.device) -> Tiny:
    """Raises ModelError for what is no safetensors file, KeyError, ValueError or RuntimeError for another network."""
    from safetensors.torch import load_file
    admission.header(path)
    weights = {name: tensor.to(device) for name, tensor in load_file(path).items() if name.startswith("decoder.")}
    tiny = Tiny(weights)
    tiny.shown(torch.zeros((1, weights["decoder.1.weight"].shape[1], 2, 2, 2), device=device))      # what does not fit is found here
    return tiny
