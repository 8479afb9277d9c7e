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

Wan's autoencoder goes through pictures in tiles where whole ones would take more than HALF of the device's memory, whatever is free of it:
a tile takes no more than that. In 16 bits its norms and its resizing are widened, so that it takes more than half of what 32 bits take.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

from .diffusers_line import glimpses
from .diffusers_line.remembered import ENCODED_BYTES
from .diffusers_line.wan_autoencoder import STRETCH, TOGETHER

ROOM = 1.2                      # of what is counted: holes between blocks of different sizes, workspaces of the kernels
PLAIN, TIMED = (11.2, 4.4), (32.2, 23.6)            # a token's width: around attention; beside the feed-forward's widest part
# a draft's, of each text, from step to step: what came out of the first block, what it changed, what the others changed; by magnitudes what came in
# and what all changed
CACHED = {"first_block": 3, "magnitude": 2}
TOKENS = {"SkyReelsV2Transformer3DModel": TIMED, "LTX2VideoTransformer3DModel": (36.4, 36.4), "CogVideoXTransformer3DModel": (13.2, 5.2),
          "SanaWMTransformer3DModel": (46.7, 0.0)}         # linear attention in full precision, and once more along the camera
# Wan's autoencoder, by its kind and bits: its memory of former frames, and each frame decoded together
MAPS = {("", 32): (28.3, 5.75), ("residual", 32): (42.0, 10.6), ("", 16): (25.0, 7.05), ("residual", 16): (34.7, 12.5)}
HALF = 0.5
STREAMED = 8 * 320 * 176 * 128          # numbers that a layer of LTX-2's decoder makes at once: of its last one eight frames of 1280x704


@dataclass(frozen=True, slots=True)
class Given:
    """What a shot gives a model beside words and size, as far as it takes room while it is sampled."""

    hints: int = 0              # guides that a control branch goes through
    pictures: int = 0           # latent frames beside the clip's own: references, keyframes
    clips: int = 0              # whole clips beside it
    kept: int = 0               # tokens' widths that a draft keeps from step to step
    two_stages: bool = False    # a second stage, without guidance, at four times the pixels of the first: its steps take the most
    precise: bool = False       # decoded in full precision
    encoded: int = 0            # frames that are encoded for the whole shot; their latents are remembered, in the processor's memory


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


def remembered(vae: dict, pixels: int, given: Given) -> int:
    """Bytes of the latents that a shot leaves in the processor's memory (diffusers_line.remembered): never more than that keeps.

    Wan's are kept as they are used, in full precision; of others a pipeline asks for mean and variance, and for those of the few small pictures
    that previews are fitted on.
    """
    wan = vae.get("_class_name") == "AutoencoderKLWan"
    side, time = strides(vae)
    channels = vae.get("z_dim", 16) if wan else 2 * vae.get("latent_channels", 128)
    previews = glimpses.SAMPLES * math.ceil(glimpses.SIDE / side) ** 2 * channels * (2 if wan else 1)
    return min(4 * (math.ceil(given.encoded / time) * pixels // side ** 2 * channels + previews), ENCODED_BYTES)


def strides(vae: dict) -> tuple[int, int]:
    """Pixels of a side, and frames, that a latent pixel of this autoencoder stands for."""
    halved = sum(vae.get("spatio_temporal_scaling", (True,) * 3))          # how often LTX-2's makes it half, when it does not say it itself
    patched = vae.get("_class_name") == "AutoencoderKLLTX2Video"
    side = vae.get("scale_factor_spatial") or vae.get("spatial_compression_ratio") or (vae.get("patch_size", 4) * 2 ** halved if patched else 8)
    return side, vae.get("scale_factor_temporal") or vae.get("temporal_compression_ratio") or (2 ** halved if patched else 4)


def decoding(vae: dict, frames: int, pixels: int, bits: int, memory: int = 0) -> float:
    """Bytes of an autoencoder's activations in `bits` on a device of so much `memory` altogether; 0: enough for any picture."""
    kind = vae.get("_class_name")
    if kind == "AutoencoderKLLTX2Video":            # what its convolutions keep of frames, beside a few that go through; all of a short clip
        each = pixels * vae.get("decoder_block_out_channels", (256,))[0] / vae.get("patch_size", 4) ** 2
        alone = vae.get("timestep_conditioning") or any(_several(vae.get("decoder_inject_noise", False)))      # such a decoder takes every clip whole
        return ROOM * (2.9 * frames * each if alone else min(6 * frames * each, 79 * each + 6.5 * STREAMED)) * bits // 8
    if kind == "AutoencoderKLCogVideoX":            # eight frames at a time
        return ROOM * 180 * pixels * vae.get("block_out_channels", (128,))[0] * bits // 8
    side, each, most = vae.get("scale_factor_spatial", 8), _each(vae, bits), tile(vae, bits, memory)
    kept, more = _maps(vae, bits)
    together = min(max(1, min(TOGETHER * side ** 2, most) // pixels), max(1, (frames - 1) // 4))        # latent frames
    if pixels <= most:
        return ROOM * (kept + more * 4 * together) * pixels * each
    middle = min(frames // 4 + 1, STRETCH) * pixels / side ** 2 * vae.get("dim_mult", (4,))[-1]         # what a stretch's tiles are cut from
    return ROOM * ((kept + more * 4) * most + middle) * each


def tile(vae: dict, bits: int, memory: int) -> float:
    """Pixels of the largest picture that Wan's autoencoder decodes whole, and of the largest tile, on a device of so much memory."""
    kept, more = _maps(vae, bits)
    return HALF * memory / (ROOM * (kept + more * 4) * _each(vae, bits)) if memory else math.inf


def _several(one) -> tuple:
    """A setting for each of a decoder's blocks, or for all of them."""
    return tuple(one) if isinstance(one, (list, tuple)) else (one,)


def _maps(vae: dict, bits: int) -> tuple[float, float]:
    return MAPS["residual" if vae.get("is_residual") else "", bits]


def _each(vae: dict, bits: int) -> float:
    """Bytes of one picture's pixel in the widest channels."""
    return (vae.get("decoder_base_dim") or vae.get("base_dim", 96)) / (vae.get("patch_size") or 1) ** 2 * bits / 8
