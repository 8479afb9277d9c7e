"""What a shot needs of the device's memory, and the fastest way of running the model that fits. Nothing is loaded for the estimate.

    full      every component on the device
    turns     one component on the device at a time: text, then transformer, then autoencoder
    int8      as turns, with the weights of the transformer's blocks kept in 8 bits, a scale for each row, and widened layer by layer; from here
              on a text encoder is brought layer by layer
    fp8       the same with floating point of 8 bits: less exact and no smaller, so that only a person asks for it
    blocks    as turns, with the transformer's blocks brought one by one
    cpu       where there is a card: everything on the processor instead, where memory of the machine's own suffices. It takes hours; which of the
              ways above is gone there is chosen by what is free there (estimate.planned)

A transformer of a GGUF file is narrow already; 8 bits would not make it smaller.

Estimates are of weights from the files' headers and of activations as footprint.py counts them, and, where the device has no memory of its
own, of the latents that are remembered; the take records them beside the measured peak.
"""
from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from . import footprint
from .device import Device
from .diffusers_line.steps import BATCHED
from .errors import CHOOSE, ModelError
from .footprint import Given
from .models import admission, assembling, quantised, recognise
from .protocol import PLANS, PROCESSOR

CHOICE = "SORA_PLAN"            # environment: one of PLANS, whatever the estimate says
SPARE = 0.92                    # of what is free: the allocator's gaps and the other programs' share
ON_DEVICE = tuple(name for name in PLANS if name != PROCESSOR)      # plans that one device is enough for
TRANSFORMERS = ("transformer", "transformer_2")
TEXTS = ("text_encoder", "text_encoder_2", "text_encoder_3")
BOTH_TEXTS = ("LTX2VideoTransformer3DModel", "CogVideoXTransformer3DModel", "SanaWMTransformer3DModel")      # asked at once whatever their number
BITS = {"float32": 32, "bfloat16": 16, "float16": 16}
NARROW = ("int8", "fp8")
LASTING = (*NARROW, "blocks")   # plans that change the weights for good: only loading again leaves them


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes. `weights` by component, in the precision in which they run."""

    weights: dict[str, int]
    blocks: int                 # of the transformer: how many parts it is brought in
    sampling: int               # activations of one step
    decoding: int               # activations of the autoencoder
    bits: int = 16              # of one of the transformer's weights while it runs
    packed: bool = False        # the transformer's weights are kept as its file has them, narrower than that
    layers: dict[str, int] = field(default_factory=dict)       # of text encoders: their two largest tensors, of which one is brought while one works
    worn: int = 0               # LoRAs, which stay in the precision of their files
    remembered: int = 0         # latents that stay, where the device has no other memory than the processor's

    def bytes(self, plan: str) -> int:
        """The most that `plan`, one of ON_DEVICE, has on the device at once."""
        largest = max((self.weights[name] for name in TRANSFORMERS if name in self.weights), default=0)
        brought = self.weights | (self.layers if plan in LASTING else {})
        rest = max((size for name, size in brought.items() if name not in TRANSFORMERS and name != "vae"), default=0)
        decode = self.weights.get("vae", 0) + self.decoding
        if plan == "full":
            return sum(self.weights.values()) + self.worn + max(self.sampling, self.decoding) + self.remembered
        block = largest // max(self.blocks, 1)
        narrow = largest * 8 // self.bits + block
        few = min(3, self.blocks)                               # blocks that are there together
        held = {"turns": largest + self.worn, "int8": narrow + self.worn, "fp8": narrow + self.worn,
                "blocks": few * block + self.worn * few // max(self.blocks, 1)}[plan]
        return max(rest, held + self.sampling, decode) + self.remembered


@dataclass(frozen=True, slots=True)
class Plan:
    name: str
    bytes: int
    fits: bool

    def __str__(self) -> str:
        return f"{self.name}, about {self.bytes / 2**30:.1f} GB"


def need(folder: Path, place: Device, frames: int, pixels: int, given: Given = Given()) -> Need:
    """What `frames` of `pixels` each need on `place` with the diffusers model in `folder`, beside what the shot gives it. Raises ModelError."""
    tensors, bits = sizes(folder), BITS[place.dtype]
    counted = _summed(tensors)
    files = {name: sum(map(_packed, folder.glob(f"{name}/*{quantised.SUFFIX}"))) for name in TRANSFORMERS}
    config, vae = _configuration(folder), _configuration(folder, "vae")
    coded = 32 if given.precise else BITS[place.decoding] if vae.get("_class_name") == "AutoencoderKLWan" else bits
    weights = {name: files.get(name) or count * (coded if name == "vae" else bits) // 8 for name, count in counted.items()}
    width = config.get("hidden_size") or config.get("num_attention_heads", 16) * config.get("attention_head_dim", 64)
    inner = config.get("ffn_dim") or 4 * width
    area, time = strides(folder)
    clip = math.ceil((frames - 1) / time) + 1
    tokens = math.ceil(pixels / area) * (clip * (1 + given.clips) + given.pictures)
    texts = 2 if not given.two_stages and (tokens <= BATCHED or config.get("_class_name") in BOTH_TEXTS) else 1
    layers, packed = config.get("num_layers", 1), any(files.values())
    sampling = texts * footprint.sampling(config, tokens, given, width, inner, _timed(folder)) * bits // 8
    sampling += given.kept * tokens * width * bits // 8
    if packed:                  # one block at most is widened at a time
        sampling += max(counted.get(name, 0) for name in TRANSFORMERS) // layers * bits // 8
    decoding = int(footprint.decoding(vae, frames, pixels, coded, place.memory))
    leaves = {name: sum(sorted(tensors[name])[-2:]) * bits // 8 for name in TEXTS if name in tensors}
    return Need(weights, layers, int(sampling), decoding, bits, packed, leaves,
                remembered=footprint.remembered(vae, pixels, given) if place.shares else 0)


def _timed(folder: Path) -> bool:
    """Whether its tokens have timesteps of their own, as Wan's TI2V-5B."""
    path = folder / "model_index.json"
    return path.is_file() and bool(admission.check_json(path).get("expand_timesteps"))


def strides(folder: Path) -> tuple[int, int]:
    """Pixels and frames that one token of the transformer stands for."""
    side, time = footprint.strides(_configuration(folder, "vae"))
    patch = _configuration(folder).get("patch_size", (1, 2, 2))
    return (side * (patch[-1] if isinstance(patch, (list, tuple)) else patch)) ** 2, time


def parameters(folder: Path) -> dict[str, int]:
    """Component -> how many numbers its weights are. Raises ModelError."""
    return _summed(sizes(folder))


def _summed(tensors: dict[str, list[int]]) -> dict[str, int]:
    return {name: sum(each) for name, each in tensors.items()}


def sizes(folder: Path) -> dict[str, list[int]]:
    """Component -> how many numbers each of its tensors has, from the headers of its files. Raises ModelError."""
    found: dict[str, list[int]] = {}
    for path in sorted([*folder.glob("*/*.safetensors"), *folder.glob(f"*/*{quantised.SUFFIX}")]):
        tensors, _ = admission.header(path)
        counted = recognise.own(tensors) if path.stem == assembling.SINGLE else tensors
        found.setdefault(path.parent.name, []).extend(math.prod(tensors[name].shape) for name in counted)
    return found


def _packed(path: Path) -> int:
    """Bytes of a GGUF file without those of its tensors that are no transformer's. Raises ModelError."""
    tensors, _ = admission.header(path)
    others = tensors.keys() - set(recognise.own(tensors))
    return path.stat().st_size - sum(quantised.stored(tensors[name].dtype, tensors[name].shape) for name in others)


def choose(wanted: Need, device: Device, floor: str = "full", asked: str = "") -> Plan:
    """The fastest plan from `floor` on that fits what is free; the last one where none does, and whatever is `asked` for by a person.

    Of this one device: where that is a card, estimate.planned knows of the processor beside it. Raises ModelError for an unknown choice.
    """
    asked = insisted(asked)
    room = int(device.free * SPARE)
    plans = [Plan(name, wanted.bytes(name), wanted.bytes(name) <= room) for name in usable(device, wanted.packed)]
    if asked in [plan.name for plan in plans]:
        return next(plan for plan in plans if plan.name == asked)
    slower = [plan for plan in plans if plan.name != "fp8" and PLANS.index(plan.name) >= PLANS.index(floor)] or plans[-1:]
    return next((plan for plan in slower if plan.fits), slower[-1])


def insisted(asked: str = "") -> str:
    """The plan that a person insists on: by the environment, or `asked` for with the shot; "" for none. Raises ModelError."""
    asked = os.environ.get(CHOICE, "") or asked
    if asked and asked not in PLANS:
        raise ModelError(f"{CHOICE} asks for the plan {asked!r}; there are: {', '.join(PLANS)}.", CHOOSE)
    return asked


def following(plan: str, device: Device, packed: bool = False) -> str:
    """The plan on the same device that needs less than `plan`, or ""."""
    slower = [name for name in usable(device, packed) if name != "fp8" and PLANS.index(name) > PLANS.index(plan)]
    return slower[0] if slower else ""


def usable(device: Device, packed: bool = False) -> tuple[str, ...]:
    """On a CPU everything is in one memory already; only fewer bits help there, and a transformer that is `packed` has few."""
    return tuple(name for name in ON_DEVICE if (name not in NARROW or not packed) and (name in ("full", *NARROW) or device.name != "cpu"))


def is_packed(folder: Path) -> bool:
    """Whether the model's transformer comes as GGUF."""
    return any(next(folder.glob(f"{name}/*{quantised.SUFFIX}"), None) for name in TRANSFORMERS)


def _configuration(folder: Path, component: str = "") -> dict:
    for name in (component,) if component else TRANSFORMERS:
        path = folder / name / "config.json"
        if path.is_file():
            return admission.check_json(path)
    return {}
