"""Blockout as the engine shoots with it: weights from safetensors and json, prompts in, denoisers out.

    blockout = load(WEIGHTS)
    text = blockout.encode_text("a red car passes behind stone pillars at sunset")
    denoise = blockout.denoiser(text, None, {"depth": depth}, None, None, guidance=3.0)
    for x, x0 in samplers.euler(denoise, blockout.noise(49, 96, 56, seed=7), blockout.sigmas(8)): ...
    frames = blockout.autoencoder.decode_stream(x, {"depth": depth})
"""
from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..device import half_products
from ..sampling import guidance as guiding
from ..sampling import samplers, schedules
from ..sampling.draft import Draft
from ..sampling.halves import in_halves
from . import flight, mottle
from . import text as texts
from .autoencoder import SPACE, TIME, Autoencoder, AutoencoderConfig
from .guides import GIVEN, SHOWN
from .text import Text
from .transformer import Transformer, TransformerConfig

if TYPE_CHECKING:
    import numpy as np

    from ..camera import Cameras

NAME = "blockout-v0"
WEIGHTS = Path(__file__).parent / "weights"
WINDOW_FRAMES = 49                                             # longest clip trained on; longer ones chain by known frames
TRAINED_AREA, SMALLEST_AREA = 128 * 72, 64 * 40                # pixels
TRAINED_RATES = 8., 30.                                        # frames a second
SHIFT = 4.0                                                    # of the noise schedule, as trained
STEPS, GUIDANCE = 8, 3.0


def told_rate(fps: float) -> float:
    """The trained frames a second that are nearest to a clip's; 0, where nobody says, stays 0."""
    slow, fast = TRAINED_RATES
    return min(max(fps, slow), fast) if fps else 0.


class Blockout(nn.Module):
    latent_stride = (TIME, SPACE, SPACE)                       # frames, height, width; the first frame stands alone
    window_frames = WINDOW_FRAMES
    halves: bool | None = None                                 # whether matrices are multiplied in bfloat16; None: where the processor is made for it

    def __init__(self, autoencoder: AutoencoderConfig = AutoencoderConfig(), transformer: TransformerConfig = TransformerConfig()):
        super().__init__()
        self.autoencoder, self.transformer = Autoencoder(autoencoder), Transformer(transformer)

    @property
    def latent_channels(self) -> int:
        return self.autoencoder.config.latent

    @property
    def device(self) -> torch.device:
        return self.autoencoder.mean.device

    @property
    def halved(self) -> bool:
        """Whether the processor multiplies its matrices in bfloat16: a picture within 40 dB of float32's, in much less time where there are units for it."""
        able = self.device.type == "cpu" and self.dtype == torch.float32
        return able and (half_products() if self.halves is None else self.halves)

    @property
    def dtype(self) -> torch.dtype:
        return self.autoencoder.mean.dtype

    def native_size(self, width: int, height: int) -> tuple[int, int]:
        """(w, h), multiples of 8 of about the trained area, whose aspect is nearest to width:height; small shots are drawn at their own size."""
        aspect, area = math.log(width / height), min(TRAINED_AREA, max(SMALLEST_AREA, width * height))
        sizes = [(w, h) for w in range(24, 193, SPACE) for h in range(24, 193, SPACE) if .72 < w * h / area < 1.35]
        return min(sizes, key=lambda s: abs(math.log(s[0] / s[1]) - aspect) + .12 * abs(math.log(s[0] * s[1] / area)))

    def latent_shape(self, frames: int, width: int, height: int) -> tuple[int, int, int, int, int]:
        """(1, C, 1+k, h, w) for a clip on the grid; ValueError off it."""
        if (frames - 1) % TIME or width % SPACE or height % SPACE or min(frames, width, height) < 1:
            raise ValueError(f"{frames} frames of {width}x{height} are not on the grid of 1+{TIME}k frames and multiples of {SPACE} pixels")
        return 1, self.latent_channels, 1 + (frames - 1) // TIME, height // SPACE, width // SPACE

    def noise(self, frames: int, width: int, height: int, seed: int) -> Tensor:
        """Where sampling starts. The same for a seed on every device."""
        return samplers.noise(self.latent_shape(frames, width, height), seed, self.device, self.dtype)

    def sigmas(self, steps: int = STEPS) -> Tensor:
        """(steps + 1,) noise levels as trained."""
        return schedules.linear(steps, SHIFT).to(self.device, self.dtype)

    @torch.no_grad()
    def encode_text(self, prompt: str) -> Text:
        tokens = texts.tokens(prompt)
        plain, shares = zip(*texts.parts(tokens))
        return Text(self.transformer.text(texts.batch(plain).to(self.device)), tokens.not_understood, shares)

    @torch.no_grad()
    def encode_still(self, still: Tensor, place: int) -> Tensor:
        """A keyframe (1, 3, H, W) in [-1, 1] as the latent frame (1, C, 1, h, w) at `place`: all but the first hold four frames."""
        video = still.to(self.device, self.dtype)[:, :, None]
        return self.autoencoder.encode(video if place == 0 else video.expand(-1, -1, 1 + TIME, -1, -1))[:, :, -1:]

    @torch.no_grad()
    def encode_portrait(self, picture: Tensor) -> Tensor:
        """A picture of the subject (1, 3, SIDE, SIDE) in [-1, 1] as `denoiser` takes it: (1, C, 1, SIDE/8, SIDE/8)."""
        return self.autoencoder.encode(picture.to(self.device, self.dtype)[:, :, None])

    def flown(self, cameras: Cameras, depth: np.ndarray | None, near: float, far: float) -> dict[str, Tensor]:
        """What cameras for pictures of the native size tell: `camera`, and with depth (T, H, W), as the guide has it, `mottle`.

        near and far are those of the depth in metres, 0 where nobody says: then there is no place in the world to tell.
        """
        *_, k, h, w = self.latent_shape(len(cameras.c2w), cameras.size.width, cameras.size.height)
        told = {"camera": flight.of(cameras, near, k, h, w)}
        return told | ({"mottle": mottle.of(depth, near, far, cameras)} if depth is not None and 0 < near < far else {})

    def _embedded(self, guides: dict[str, Tensor]) -> Tensor:
        """(1, N, D), or (1, 1, D) without guides."""
        given = torch.tensor([[float(name in guides) for name in GIVEN]], device=self.device, dtype=self.dtype)
        return self.transformer.guides(guides, given)

    def denoiser(self, text: Text, negative: Text | None, guides: dict[str, Tensor] | None = None, known: Tensor | None = None,
                 known_mask: Tensor | None = None, guidance: float = GUIDANCE, draft: Draft | None = None, fps: float = 0.,
                 portrait: Tensor | None = None, first: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
        """denoise(x, sigma) -> x0 for x (1, C, K, h, w).

        guides: depth (1, 1, T, H, W) in [0, 1], normal (1, 3, T, H, W) in [-1, 1], albedo (1, 4, T, H, W) in [0, 1], vector (1, 2, T, H, W)
        in pixels, at 8h x 8w, camera (1, K*h*w, flight.WIDTH), mottle (1, 1, T, H, W) with depth and camera; any may be left out.
        known (1, C, K, h, w) with known_mask (1, 1, K, h, w), or broadcasting to it: 1 where known. negative None is the empty prompt.
        fps: 0 where nobody says. portrait: as `encode_portrait` gives it. With a `draft`, steps that would change little are skipped and counted;
        `first` is the step with which sampling begins.
        """
        place = {"device": self.device, "dtype": self.dtype}
        guides = {name: g.to(**place) for name, g in (guides or {}).items() if name in SHOWN}
        both = [text] if guidance == 1 else [text, negative or self.encode_text("")]
        words, each = torch.cat([t.embedding for t in both]).to(**place), [len(t.shares) for t in both]
        shares = [torch.tensor(t.shares, **place).view(-1, 1, 1, 1, 1) for t in both]
        caches = defaultdict(lambda: draft and draft.memory(len(self.transformer.blocks), first=first))         # of each half of the estimates
        rate, halved = torch.full((sum(each),), fps, **place), self.halved
        with torch.no_grad():                                  # colours and portraits are told like words: guidance strengthens what they change
            plain = self._embedded({name: g for name, g in guides.items() if name != "albedo"})
            layout = plain
            if "albedo" in guides:
                layouts = torch.broadcast_tensors(self._embedded(guides), plain)
                layout = torch.cat([laid.expand(n, -1, -1) for laid, n in zip(layouts, each)])
            looks = None if portrait is None else self.transformer.portrayed(
                portrait.to(**place), torch.tensor([1.] * each[0] + [0.] * (sum(each) - each[0]), **place))
        if known is not None:
            known, known_mask = known.to(**place), known_mask.to(**place).expand(1, 1, *known.shape[2:])

        @torch.no_grad()
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            clean, mask = (torch.zeros_like(x), torch.zeros_like(x[:, :1])) if known is None else (known, known_mask)
            many = lambda y: y.expand(sum(each), *y.shape[1:])
            given = many(x), torch.as_tensor(sigma, **place).expand(sum(each)), words, many(layout), many(clean), many(mask), rate

            def some(rows: slice) -> Tensor:
                with torch.autocast("cpu", torch.bfloat16, enabled=halved):        # in each thread anew
                    return self.transformer.denoised(*(y[rows] for y in given), None if looks is None else looks[rows], caches[rows.start]).to(x)
            out = in_halves(some, sum(each)) if self.device.type == "cpu" else some(slice(0, sum(each)))
            told = [(estimates * share).sum(0, keepdim=True) for estimates, share in zip(out.split(each), shares)]
            x0 = told[0] if guidance == 1 else guiding.guided(*told, guidance)
            return guiding.held(x0, known, known_mask)

        return denoise


def save(blockout: Blockout, folder: Path) -> None:
    """<NAME>.safetensors in half precision and <NAME>.json."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().half().contiguous() for k, v in blockout.state_dict().items()}, folder / f"{NAME}.safetensors")
    save_shape(blockout, folder)


def save_shape(blockout: Blockout, folder: Path) -> None:
    """<NAME>.json: what `shaped` makes anew."""
    config = {"name": NAME, "autoencoder": asdict(blockout.autoencoder.config), "transformer": asdict(blockout.transformer.config)}
    (folder / f"{NAME}.json").write_text(json.dumps(config, indent=2) + "\n")


def shaped(folder: Path) -> Blockout:
    """A new model of the shape in a folder's <NAME>.json. FileNotFoundError when it isn't there."""
    config = json.loads((folder / f"{NAME}.json").read_text())
    part = lambda kind, given: kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    return Blockout(part(AutoencoderConfig, config["autoencoder"]), part(TransformerConfig, config["transformer"]))


class _Blank(TorchFunctionMode):
    """Leaves new weights as memory happens to be: for those that are read from a file at once. (`meta` would import a second's worth.)"""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def load(folder: Path = WEIGHTS, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Blockout:
    """The model in a folder that `save` wrote. FileNotFoundError when it isn't there, ValueError when the weights don't fit."""
    from safetensors.torch import load_file

    with _Blank():
        blockout = shaped(folder)
    try:
        blockout.load_state_dict({k: v.to(device, dtype) for k, v in load_file(folder / f"{NAME}.safetensors").items()}, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder} are of another make than this engine: {error}") from error
    return blockout.eval().requires_grad_(False)
