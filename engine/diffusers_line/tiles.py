"""Large pictures from an autoencoder that decodes a whole clip at once: in tiles that overlap, by diffusers' own tiling.

Which pictures are tiled depends on their size alone, not on the machine, so that a seed gives the same pixels everywhere.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator

WHOLE = 1280 * 704              # pixels of a picture that is decoded in one
TILE, STEP = 768, 640           # pixels of a tile's side, and from one tile to the next; what overlaps is faded over


@contextlib.contextmanager
def tiled(vae, pixels: int) -> Iterator[None]:
    """The autoencoder decodes pictures of `pixels` so meanwhile; what it encodes is small."""
    if pixels <= WHOLE:
        yield
        return
    vae.enable_tiling(TILE, TILE, tile_sample_stride_height=STEP, tile_sample_stride_width=STEP)
    try:
        yield
    finally:
        vae.disable_tiling()
