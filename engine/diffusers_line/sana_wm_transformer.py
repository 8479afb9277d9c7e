"""SANA-WM's transformer with what its siblings in diffusers have and it lacks: it can wear LoRAs."""
from __future__ import annotations

from diffusers import SanaWMTransformer3DModel
from diffusers.loaders import PeftAdapterMixin


class Transformer(SanaWMTransformer3DModel, PeftAdapterMixin):
    """diffusers' own. Can go when it has the mixin there."""
