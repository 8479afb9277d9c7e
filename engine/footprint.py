"""What a model's activations take beside its weights: counted on diffusers' classes operation by operation, not guessed.

Every number here is a peak of tensors alive at once, in the published shapes and 16 bits, without gradients, on PyTorch's `meta`
device: it allocates as a GPU does and computes nothing. Attention counts its result alone, as fused kernels keep it.
`tests/engine/test_footprint.py` counts them again.

Tokens (units of a token's width): a block's peak is either around attention or inside the feed-forward, whose widest part is there
twice, before and after its activation. Models with a timestep for each token carry each token's six or more modulations as well.

VACE (`WanVACETransformer3DModel.forward`): the control blocks run first; what each says is kept until the main block that it belongs
to, so the first main block, or the last control block, has all of them beside it, and the control's own state. Several controls
(`vace_transformer.Transformer`) are added up one after the other: one state more. The control latents stay throughout, once in full
precision. VACE encodes each clip twice before it samples: encoding takes less than decoding, so it never is the peak.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

from .diffusers_line import tiles
from .diffusers_line.wan_autoencoder import TOGETHER

ROOM = 1.2                      # of what is counted: holes between blocks of different sizes, workspaces of the kernels
PLAIN, TIMED = (11.2, 4.4), (32.2, 23.6)            # a token's width: around attention; beside the feed-forward's widest part
# a draft's, of each text, from step to step: what came out of the first block, what it changed, what the others changed; by magnitudes what came in
# and what all changed
CACHED = {"first_block": 3, "magnitude": 2}
TOKENS = {"SkyReelsV2Transformer3DModel": TIMED, "LTX2VideoTransformer3DModel": (36.4, 36.4), "CogVideoXTransformer3DModel": (13.2, 5.2),
          "SanaWMTransformer3DModel": (46.7, 0.0)}         # linear attention in full precision, and once more along the camera
MAPS = {"": (28.3, 5.65), "residual": (64.0, 5.1)}  # Wan's autoencoder: its memory of former frames, and each frame decoded together


@dataclass(frozen=True, slots=True)
class Given:
    """What a shot gives a model beside words and size, as far as it takes room while it is sampled."""

    hints: int = 0              # guides that a control branch goes through
    pictures: int = 0           # latent frames beside the clip's own: references, keyframes
    clips: int = 0              # whole clips beside it
    kept: int = 0               # tokens' widths that a draft keeps from step to step
    two_stages: bool = False    # a second stage, without guidance, at four times the pixels of the first: its steps take the most
    precise: bool = False       # decoded in full precision


def sampling(config: dict, tokens: int, given: Given, width: int, inner: int, timed: bool) -> float:
    """Numbers alive at most in one step of one text. `config` is the transformer's; `width` and `inner` are of a token and of its feed-forward."""
    attending, feeding = TIMED if timed else TOKENS.get(config.get("_class_name"), PLAIN)
    each = max(attending * width, feeding * width + 2 * inner)
    layers = len(config.get("vace_layers", ()))
    if layers:
        hints = max(given.hints, 1)
        latents = math.prod(config["patch_size"]) * config.get("vace_in_channels", 96)
        each += (layers + (2 if hints > 1 else 1)) * width + 3 * hints * latents        # once in the weights' precision and once in full
    return ROOM * tokens * each


def decoding(vae: dict, frames: int, pixels: int, bits: int) -> float:
    """Bytes of an autoencoder's activations; `bits` of the weights' precision, in which pipelines run it. Wan's runs in full precision."""
    kind = vae.get("_class_name")
    if kind == "AutoencoderKLLTX2Video":            # the whole clip at once, or a tile of it beside those that are done
        each = 2.9 / vae.get("patch_size", 4) ** 2 * vae.get("decoder_block_out_channels", (256,))[0]
        numbers = each * pixels if pixels <= tiles.WHOLE else max(each * tiles.TILE ** 2 + .4 * pixels, 10.2 * pixels)
        return ROOM * frames * numbers * bits // 8
    if kind == "AutoencoderKLCogVideoX":            # eight frames at a time
        return ROOM * 180 * pixels * vae.get("block_out_channels", (128,))[0] * bits // 8
    side, patch = vae.get("scale_factor_spatial", 8), vae.get("patch_size") or 1
    kept, more = MAPS["residual" if vae.get("is_residual") else ""]
    together = min(max(1, TOGETHER * side ** 2 // pixels), max(1, (frames - 1) // 4))       # latent frames
    return ROOM * (kept + more * 4 * together) * pixels // patch ** 2 * (vae.get("decoder_base_dim") or vae.get("base_dim", 96)) * 4
