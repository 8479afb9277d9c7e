"""What the bench of real shapes measures: for each open family its published shapes, ours and diffusers' own pipeline over the same components.

A shape is what a transformer's and an autoencoder's configuration says beside the defaults of their classes in diffusers, as the scripts that
converted the published weights have it (`source`); weights are random. Tokenizer, scheduler and text encoder come from the tiny
checkpoints of the tests, the encoder as wide as the transformer takes it: it is asked twice, and no step of it is measured.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from engine.device import Device
    from engine.families import Window

TINY = "tiny"               # the model of each family that the tests have
PROMPT, NEGATIVE = "a red car drives down a street at sunset", "dull, blurred"
SCRIPTS = "https://github.com/huggingface/diffusers/blob/"
WAN = SCRIPTS + "7d5682739a1ee5b25bb9f5a81c573ea7e38d8e22/scripts/convert_wan_to_diffusers.py"
LTX2 = SCRIPTS + "8d8a65621412d66ba493717f8c4574a1af46732d/scripts/convert_ltx2_to_diffusers.py"
SKYREELS = SCRIPTS + "0558a1272c8dc660756b5b6c0b8ed26bb007c12e/scripts/convert_skyreelsv2_to_diffusers.py"
COGVIDEOX = SCRIPTS + "01337da7633c4c663e76e75550e6f9d94fa7dc97/scripts/convert_cogvideox_to_diffusers.py"
SANA_WM = SCRIPTS + "eb7b3df817e7609d8677631bea2aaca1068e4fa6/src/diffusers/models/transformers/transformer_sana_wm.py"     # its defaults

WIDE = dict(patch_size=(1, 2, 2), attention_head_dim=128, text_dim=4096, freq_dim=256, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
            in_channels=16, out_channels=16)
SMALL = {**WIDE, "num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
LARGE = {**WIDE, "num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
HINTS = {"vace_in_channels": 96}
LTX2_VAE = dict(decoder_causal=False, timestep_conditioning=False, spatial_compression_ratio=32, temporal_compression_ratio=8)


@dataclass(frozen=True, slots=True)
class Subject:
    """One family. A model is component -> its configuration; what it does not name is as the tiny one's class has it by default."""

    shape: tuple[int, int, int]                     # width, height, frames
    guidance: float
    models: dict[str, dict[str, dict]]              # the first is the default
    source: str                                     # the address where they are written
    tiny: str                                       # of tests/engine/tiny_families.py
    smallest: tuple[int, int, int]                  # a shape for the tiny one
    encoder: dict[str, int]                         # the text encoder's, to be as wide as the transformer takes it
    ours: Callable[[dict, Path, Device], Any]       # components -> families.Model
    stock: Callable[[dict], Any]                    # components -> diffusers' own pipeline
    shown: Callable[[Window, Any], dict]            # what that pipeline is given beside words, size, steps and seed
    drawn: Callable[[Any, torch.Tensor], torch.Tensor]          # that pipeline and its latent -> pictures (T, 3, h, w), 0..1
    latent: Callable[[torch.Tensor], torch.Tensor] = lambda made: made      # that pipeline's latent as ours has it
    length: int = 512                               # tokens of a prompt


def parts(subject: Subject, model: str, place: Device) -> dict[str, Any]:
    """A pipeline's components on the CPU or the card, in the precision in which each is loaded, by random weights."""
    import torch
    from tests.engine import tiny_families
    found = dict(tiny_families.MAKERS[subject.tiny]().components)
    published = None if model == TINY else subject.models[model]
    for name, part in found.items():
        if hasattr(part, "from_config") and isinstance(part, torch.nn.Module):
            settings = dict(part.config) if published is None else published.get(name, {})
            found[name] = filled(*_kind(type(part), settings), place, _dtype(part, place))
        elif isinstance(part, torch.nn.Module):
            found[name] = _encoder(part, {} if published is None else subject.encoder).to(getattr(torch, place.dtype)).requires_grad_(False)
    if published is not None:
        found["tokenizer"].model_max_length = subject.length
    return found


def _kind(kind: type, settings: dict) -> tuple[type, dict]:
    """The class by which this engine loads such a component, and what of `settings` is that class's own."""
    from engine.diffusers_line import sana_wm_transformer, vace_transformer
    own = {one.__bases__[0].__name__: one for one in (sana_wm_transformer.Transformer, vace_transformer.Transformer)}
    return own.get(kind.__name__, kind), {name: value for name, value in settings.items() if not name.startswith("_")}


def _dtype(part: torch.nn.Module, place: Device) -> torch.dtype:
    """Wan's autoencoder is in full precision in diffusers' documentation; every other component in that of the device."""
    import torch
    return torch.float32 if type(part).__name__ == "AutoencoderKLWan" else getattr(torch, place.dtype)


def _encoder(part: torch.nn.Module, wider: dict[str, int]) -> torch.nn.Module:
    """A tiny text encoder, or one like it that is `wider`."""
    words = getattr(part.config, "text_config", part.config)
    for name, value in wider.items():
        setattr(words, name, value)
    if getattr(words, "layer_types", None):
        words.layer_types = (words.layer_types * words.num_hidden_layers)[:words.num_hidden_layers]
    return type(part)(part.config).eval() if wider else part


def filled(kind: type, settings: dict, place: Device, dtype: torch.dtype) -> torch.nn.Module:
    """A component of diffusers' `kind`, which takes no memory until each of its layers is filled on the device.

    As `from_pretrained` has it, what the class names stays in full precision. Each weight is as large as keeps the size of what goes through it.
    """
    import torch
    from accelerate import init_empty_weights
    from diffusers.models.modeling_utils import no_init_weights
    with init_empty_weights(include_buffers=False), no_init_weights():
        made = kind(**settings).eval().requires_grad_(False)
    full = set(getattr(kind, "_keep_in_fp32_modules", None) or ())
    for path, layer in made.named_modules():
        for name, empty in list(layer.named_parameters(recurse=False)):
            precise = bool(full & {*path.split("."), name})
            values = torch.empty(empty.shape, device=place.name, dtype=torch.float32 if precise else dtype)
            setattr(layer, name, torch.nn.Parameter(_random(name, values), requires_grad=False))
    for layer in made.modules():
        for name, values in list(layer.named_buffers(recurse=False)):
            layer._buffers[name] = values.to(place.name)
    return made


def _random(name: str, values: torch.Tensor) -> torch.Tensor:
    if values.numel() > max(values.shape, default=1):
        return values.normal_(0, 1 / math.sqrt(values[0].numel()))
    return values.normal_(1 if name in ("weight", "gamma") else 0, 0.02)        # of norms; biases


def flop(transformer: torch.nn.Module, given: tuple, named: dict) -> int:
    """Of one call of the transformer: products, attention among them, by PyTorch's own counter, on tensors that have shapes only.

    On a pretended processor whatever the device is, with attention as two products: one kernel of its own the counter would not know.
    """
    import torch
    from diffusers.models.modeling_utils import no_init_weights
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils._pytree import tree_map
    from torch.utils.flop_counter import FlopCounterMode
    settings, kind = {name: value for name, value in transformer.config.items() if not name.startswith("_")}, type(transformer)

    def hollow(one):
        return torch.empty(one.shape, dtype=one.dtype) if isinstance(one, torch.Tensor) else one
    with FakeTensorMode(), torch.inference_mode(), no_init_weights():
        shape = kind(**settings).eval().requires_grad_(False)
        for layer, real in zip(shape.modules(), transformer.modules(), strict=True):
            for name, weights in real.named_parameters(recurse=False):      # anew, since copies of pretended tensors are of another pretence
                setattr(layer, name, torch.nn.Parameter(hollow(weights), requires_grad=False))
        arguments, more = tree_map(hollow, (given, named))
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            shape(*arguments, **more)
    return counter.get_total_flops()


# ---------------------------------------------------------------- what each pipeline is shown
def seen(pictures) -> list:
    """Pictures (T, h, w, 1 or 3), 0..1, as a person gives them to a pipeline."""
    import numpy as np
    from PIL import Image
    return [Image.fromarray((np.broadcast_to(one, (*one.shape[:2], 3)) * 255).round().astype("uint8")) for one in pictures]


def _nothing(window: Window, pipe) -> dict:
    return {"num_frames": window.frames}


def _layout(window: Window, pipe) -> dict:
    return {"num_frames": window.frames, "video": seen(window.guides["depth"])}


def _control(window: Window, pipe) -> dict:
    return {"control_video": seen(window.guides["depth"]), "max_sequence_length": pipe.transformer.config.max_text_seq_length}


def _plain(window: Window, pipe) -> dict:
    """Guidance alone, as ours asks for it: without the passes for skipped layers and for each modality. Both are noised to the full, which has
    the noise drawn token by token, as the pipeline that ours goes by draws it."""
    import torch
    size, vae, sound = window.size, pipe.vae, pipe.audio_vae.config
    side, length = pipe.vae_spatial_compression_ratio, window.frames / window.fps * pipe.audio_sampling_rate / pipe.audio_hop_length
    clip = (1, vae.config.latent_channels, (window.frames - 1) // pipe.vae_temporal_compression_ratio + 1, size.height // side, size.width // side)
    heard = (1, sound.latent_channels, round(length / pipe.audio_vae_temporal_compression_ratio), sound.mel_bins // pipe.audio_vae_mel_compression_ratio)
    return {"latents": torch.zeros(clip, device=vae.device), "audio_latents": torch.zeros(heard, device=vae.device), "noise_scale": 1.0, "num_frames": window.frames, "frame_rate": window.fps, "audio_guidance_scale": window.guidance, "stg_scale": 0.0, "audio_stg_scale": 0.0,
            "modality_scale": 1.0, "audio_modality_scale": 1.0, "spatio_temporal_guidance_blocks": None,
            "max_sequence_length": pipe.tokenizer.model_max_length}


def _flown(window: Window, pipe) -> dict:
    cameras = window.cameras
    return {"image": seen([window.stills[0]])[0], "num_frames": window.frames, "c2w": cameras.c2w.astype("float32"),
            "intrinsics": cameras.K.astype("float32"), "fps": round(window.fps), "max_sequence_length": 300}


# ---------------------------------------------------------------- how each pipeline decodes, as at the end of its own `__call__`
def _unscaled(pipe, latent: torch.Tensor) -> torch.Tensor:
    """Wan's line: latents of unit scale."""
    import torch
    vae = pipe.vae
    mean, deviation = (torch.tensor(one).view(1, -1, 1, 1, 1).to(latent.device, vae.dtype) for one in (vae.config.latents_mean, vae.config.latents_std))
    return _pictures(vae.decode(latent.to(vae.dtype) * deviation + mean, return_dict=False)[0])


def _as_it_is(pipe, latent: torch.Tensor) -> torch.Tensor:
    return _pictures(pipe.vae.decode(latent.to(pipe.vae.dtype), return_dict=False)[0])


def _by_itself(pipe, latent: torch.Tensor) -> torch.Tensor:
    return _pictures(pipe._decode_latents(latent))


def _by_itself_too(pipe, latent: torch.Tensor) -> torch.Tensor:
    return _pictures(pipe.decode_latents(latent))


def _pictures(video: torch.Tensor) -> torch.Tensor:
    """(1, 3, T, h, w), -1..1 -> (T, 3, h, w), 0..1."""
    return (video[0].transpose(0, 1).float() / 2 + 0.5).clamp(0, 1)


# ---------------------------------------------------------------- ours
def _footage(module: str, name: str) -> Callable[[dict, Path, Device], Any]:
    """Families of Wan's line."""
    def ours(parts: dict, folder: Path, place: Device):
        import importlib
        import torch
        parts = {"transformer_2": None, **parts}
        parts["vae"].to(getattr(torch, place.decoding))
        if name == "Reel":
            parts.pop("transformer_2")
        return getattr(importlib.import_module(f"engine.diffusers_line.{module}"), name)(parts, {}, folder, place, 10 ** 9)
    return ours


def _piped(module: str, name: str, pipeline: str) -> Callable[[dict, Path, Device], Any]:
    """Families over diffusers' own pipelines."""
    def ours(parts: dict, folder: Path, place: Device):
        import importlib

        import diffusers
        from engine.protocol import SizeGrid
        kind = getattr(importlib.import_module(f"engine.diffusers_line.{module}"), name)
        grid = SizeGrid(multiple=32, shortest=32, longest=4096)
        return kind(getattr(diffusers, pipeline), parts, folder, place, grid, 10 ** 9)
    return ours


def _stock(pipeline: str) -> Callable[[dict], Any]:
    def stock(parts: dict):
        import diffusers
        return getattr(diffusers, pipeline)(**{name: part for name, part in parts.items() if part is not None})
    return stock


SUBJECTS = {
    "wan": Subject(shape=(832, 480, 81), guidance=5.0, source=WAN, tiny="wan_text", smallest=(32, 32, 5), encoder={"d_model": 4096},
                   models={"wan-14b": {"transformer": LARGE}, "wan-1.3b": {"transformer": SMALL}},
                   ours=_footage("wan", "Film"), stock=_stock("WanPipeline"), shown=_nothing, drawn=_unscaled),
    "vace": Subject(shape=(832, 480, 81), guidance=5.0, source=WAN, tiny="vace", smallest=(32, 32, 5), encoder={"d_model": 4096},
                    models={"vace-14b": {"transformer": {**LARGE, **HINTS, "vace_layers": list(range(0, 40, 5))}},
                            "vace-1.3b": {"transformer": {**SMALL, **HINTS, "vace_layers": list(range(0, 30, 2))}}},
                    ours=_footage("vace", "Layout"), stock=_stock("WanVACEPipeline"), shown=_layout, drawn=_unscaled),
    "ltx2": Subject(shape=(1280, 704, 121), guidance=4.0, source=LTX2, tiny="ltx2", smallest=(64, 64, 9), length=1024,
                    encoder={"hidden_size": 3840, "num_hidden_layers": 48},
                    models={"ltx-2-19b": {
                        "transformer": {"rope_type": "split"}, "vae": LTX2_VAE,
                        "connectors": dict(
                            caption_channels=3840, text_proj_in_factor=49, video_connector_num_attention_heads=30, video_connector_attention_head_dim=128,
                            video_connector_num_layers=2, video_connector_num_learnable_registers=128, audio_connector_num_attention_heads=30,
                            audio_connector_attention_head_dim=128, audio_connector_num_layers=2, audio_connector_num_learnable_registers=128,
                            connector_rope_base_seq_len=4096, rope_theta=10000.0, rope_double_precision=True, causal_temporal_positioning=False,
                            rope_type="split"),
                        "audio_vae": dict(
                            base_channels=128, output_channels=2, ch_mult=(1, 2, 4), num_res_blocks=2, attn_resolutions=None, in_channels=2, resolution=256,
                            latent_channels=8, norm_type="pixel", causality_axis="height", dropout=0.0, mid_block_add_attention=False, sample_rate=16000,
                            mel_hop_length=160, is_causal=True, mel_bins=64, double_z=True)}},
                    ours=_piped("ltx2", "Sound", "LTX2InContextPipeline"), stock=_stock("LTX2Pipeline"), shown=_plain, drawn=_as_it_is),
    "sana_wm": Subject(shape=(1280, 704, 161), guidance=5.0, source=SANA_WM, tiny="sana_wm", smallest=(64, 32, 9), encoder={"hidden_size": 2304},
                       models={"sana-wm": {"vae": LTX2_VAE}}, length=4096,
                       ours=_piped("sana_wm", "Flight", "SanaWMPipeline"), stock=_stock("SanaWMPipeline"), shown=_flown, drawn=_by_itself),
    "skyreels": Subject(shape=(960, 544, 97), guidance=6.0, source=SKYREELS, tiny="skyreels", smallest=(32, 32, 5), encoder={"d_model": 4096},
                        models={"skyreels-14b": {"transformer": {**LARGE, "inject_sample_info": False}},
                                "skyreels-1.3b": {"transformer": {**SMALL, "inject_sample_info": True}}},
                        ours=_footage("skyreels", "Reel"), stock=_stock("SkyReelsV2DiffusionForcingPipeline"), shown=_nothing, drawn=_unscaled),
    "cogvideox": Subject(shape=(720, 480, 49), guidance=6.0, source=COGVIDEOX, tiny="cogvideox", smallest=(32, 32, 5), encoder={"d_model": 4096}, length=226,
                         models={"cogvideox-fun-5b": {
                             "transformer": dict(num_layers=42, num_attention_heads=48, in_channels=32, out_channels=16, use_rotary_positional_embeddings=True),
                             "vae": dict(scaling_factor=0.7, down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4)}},
                         ours=_piped("cogvideox", "Control", "CogVideoXFunControlPipeline"), stock=_stock("CogVideoXFunControlPipeline"), shown=_control, drawn=_by_itself_too,
                         latent=lambda made: made.transpose(1, 2)),
}
