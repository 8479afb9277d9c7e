"""Large pictures from an autoencoder that decodes a whole clip at once: in tiles that overlap, by diffusers' own tiling.

Which pictures are tiled depends on their size alone, not on the machine, so that a seed gives the same pixels everywhere.
"""
from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

WHOLE = 1280 * 704 * 105 // 100 # pixels of a picture that is decoded in one: as large as `pictures.native` may make one of 1280x704
TILE, STEP = 768, 640           # pixels of a tile's side, and from one tile to the next; what overlaps is faded over


@contextlib.contextmanager
def tiled(vae, latent) -> Iterator[None]:
    """The autoencoder decodes a `latent` (B, C, T, h, w) so meanwhile, where its pictures are large; what it encodes is small."""
    if math.prod(latent.shape[-2:]) * vae.spatial_compression_ratio ** 2 <= WHOLE:
        yield
        return
    vae.enable_tiling(TILE, TILE, tile_sample_stride_height=STEP, tile_sample_stride_width=STEP)
    try:
        yield
    finally:
        vae.disable_tiling()
