"""What a shot needs of the device's memory, and the fastest way of running the model that fits. Nothing is loaded for the estimate.

    full      every component on the device
    turns     one component on the device at a time: text, then transformer, then autoencoder
    fp8       as turns, with the transformer's weights kept in 8 bits and widened layer by layer
    blocks    as turns, with the transformer's blocks brought one by one

Estimates are of weights from the files' headers and of activations as footprint.py counts them; the take records them beside the
measured peak.
"""
from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from . import footprint
from .device import Device
from .diffusers_line.steps import BATCHED
from .errors import CHOOSE, ModelError
from .footprint import Given
from .models import admission
from .protocol import PLANS

CHOICE = "SORA_PLAN"            # environment: one of PLANS, whatever the estimate says
SPARE = 0.92                    # of what is free: the allocator's gaps and the other programs' share
TRANSFORMERS = ("transformer", "transformer_2")
BOTH_TEXTS = ("LTX2VideoTransformer3DModel", "CogVideoXTransformer3DModel", "SanaWMTransformer3DModel")      # asked at once whatever their number
BITS = {"float32": 32, "bfloat16": 16, "float16": 16}


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes. `weights` by component, in the precision in which they run."""

    weights: dict[str, int]
    blocks: int                 # of the transformer: how many parts it is brought in
    sampling: int               # activations of one step
    decoding: int               # activations of the autoencoder

    def bytes(self, plan: str) -> int:
        """The most that `plan` has on the device at once."""
        largest = max((self.weights[name] for name in TRANSFORMERS if name in self.weights), default=0)
        rest = max((size for name, size in self.weights.items() if name not in TRANSFORMERS and name != "vae"), default=0)
        decode = self.weights.get("vae", 0) + self.decoding
        if plan == "full":
            return sum(self.weights.values()) + max(self.sampling, self.decoding)
        held = {"turns": largest, "fp8": largest // 2 + largest // max(self.blocks, 1), "blocks": min(3, self.blocks) * largest // max(self.blocks, 1)}[plan]
        return max(rest, held + self.sampling, decode)


@dataclass(frozen=True, slots=True)
class Plan:
    name: str
    bytes: int
    fits: bool

    def __str__(self) -> str:
        return f"{self.name}, about {self.bytes / 2**30:.1f} GB"


def need(folder: Path, dtype: str, frames: int, pixels: int, given: Given = Given()) -> Need:
    """What `frames` of `pixels` each need with the diffusers model in `folder`, beside what the shot gives it. Raises ModelError."""
    weights = {name: count * (32 if name == "vae" else BITS[dtype]) // 8 for name, count in parameters(folder).items()}
    config, vae = _configuration(folder), _configuration(folder, "vae")
    width = config.get("hidden_size") or config.get("num_attention_heads", 16) * config.get("attention_head_dim", 64)
    inner = config.get("ffn_dim") or 4 * width
    area, time = strides(folder)
    clip = math.ceil((frames - 1) / time) + 1
    tokens = math.ceil(pixels / area) * (clip * (1 + given.clips) + given.pictures)
    texts = 2 if tokens <= BATCHED or config.get("_class_name") in BOTH_TEXTS else 1
    sampling = texts * footprint.sampling(config, tokens, given, width, inner, _timed(folder)) * BITS[dtype] // 8
    return Need(weights, config.get("num_layers", 1), int(sampling), int(footprint.decoding(vae, frames, pixels, BITS[dtype])))


def _timed(folder: Path) -> bool:
    """Whether its tokens have timesteps of their own, as Wan's TI2V-5B."""
    path = folder / "model_index.json"
    return path.is_file() and bool(admission.check_json(path).get("expand_timesteps"))


def strides(folder: Path) -> tuple[int, int]:
    """Pixels and frames that one token of the transformer stands for."""
    vae, patch = _configuration(folder, "vae"), _configuration(folder).get("patch_size", (1, 2, 2))
    halved = sum(vae.get("spatio_temporal_scaling", (True,) * 3))          # how often LTX-2's makes it half, when it does not say it itself
    patched = vae.get("_class_name") == "AutoencoderKLLTX2Video"
    side = vae.get("scale_factor_spatial") or vae.get("spatial_compression_ratio") or (vae.get("patch_size", 4) * 2 ** halved if patched else 8)
    patch = patch[-1] if isinstance(patch, (list, tuple)) else patch
    return (side * patch) ** 2, vae.get("scale_factor_temporal") or vae.get("temporal_compression_ratio") or (2 ** halved if patched else 4)


def parameters(folder: Path) -> dict[str, int]:
    """Component -> how many numbers its weights are, from the headers of its files. Raises ModelError."""
    found = {}
    for path in sorted(folder.glob("*/*.safetensors")):
        tensors, _ = admission.header(path)
        found[path.parent.name] = found.get(path.parent.name, 0) + sum(math.prod(tensor.shape) for tensor in tensors.values())
    return found


def choose(wanted: Need, device: Device, floor: str = "full", asked: str = "") -> Plan:
    """The fastest plan from `floor` on that fits what is free; the last one where none does, and whatever is `asked` for by a person.

    Raises ModelError for an unknown choice.
    """
    asked = os.environ.get(CHOICE, "") or asked
    if asked and asked not in PLANS:
        raise ModelError(f"{CHOICE} asks for the plan {asked!r}; there are: {', '.join(PLANS)}.", CHOOSE)
    room = int(device.free * SPARE)
    plans = [Plan(name, wanted.bytes(name), wanted.bytes(name) <= room) for name in _usable(device)]
    if asked:
        return next((plan for plan in plans if plan.name == asked), plans[0])
    slower = plans[next((at for at, plan in enumerate(plans) if plan.name == floor), 0):]
    return next((plan for plan in slower if plan.fits), slower[-1])


def following(plan: str, device: Device) -> str:
    """The plan that needs less than `plan`, or ""."""
    usable = _usable(device)
    at = usable.index(plan) + 1 if plan in usable else len(usable)
    return usable[at] if at < len(usable) else ""


def _usable(device: Device) -> tuple[str, ...]:
    """On a CPU everything is in one memory already; only fewer bits help there."""
    return ("full", "fp8") if device.name == "cpu" else PLANS


def _configuration(folder: Path, component: str = "") -> dict:
    for name in (component,) if component else TRANSFORMERS:
        path = folder / name / "config.json"
        if path.is_file():
            return admission.check_json(path)
    return {}
