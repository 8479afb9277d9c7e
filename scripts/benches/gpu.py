"""gpu: seconds a step of Wan's real shapes with random weights, ours beside diffusers' own pipeline in one run, by each memory plan.

    python3 scripts/bench.py gpu [--family wan] [--model wan-14b] [--shape 832x480x81] [--steps 6] [--plans full,turns,int8,blocks,fp8]

Ratio and the outermost `share` are those of the first plan. A share is of the card's bf16 matrix rate as measured at the start; a step asks
for both texts. `distance` is from the stock pipeline's latent. The text encoder is a tiny one. Ours decodes in bfloat16 where the card
computes that, the stock pipeline in full precision; pictures are whole.
"""
from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

import stand

WIDE = dict(patch_size=(1, 2, 2), attention_head_dim=128, text_dim=4096, freq_dim=256, cross_attn_norm=True, qk_norm="rms_norm_across_heads")
MODELS = {              # what the published models are, without their weights
    "wan-1.3b": {**WIDE, "num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "wan-14b": {**WIDE, "num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
    "tiny": {**WIDE, "num_attention_heads": 2, "attention_head_dim": 12, "text_dim": 32, "ffn_dim": 32, "num_layers": 2},
}


class Card:
    """The device that is measured."""

    def __init__(self, name: str):
        import torch
        from engine import device
        self.torch, self.device = torch, device
        quick = name != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
        self.place = device.Device(name, name, "float32" if name == "cpu" else "bfloat16", 0, 0, "bfloat16" if quick else "float32")

    def now(self) -> float:
        """Seconds, when everything asked of it is done."""
        if self.place.name != "cpu":
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def peaks(self, sampled: int) -> dict[str, int]:
        """What was held while sampling, and the most of all until now: Linux may say a little less later, when memory was given back."""
        return {"sampling_bytes": sampled, "peak_bytes": max(sampled, self.device.peak_bytes(self.place))}

    def rate(self, side: int) -> float:
        """FLOP a second of a square matrix product in the precision of the weights; the best of five."""
        one = self.torch.randn(side, side, device=self.place.name, dtype=getattr(self.torch, self.place.dtype))
        one @ one
        seconds = []
        for _ in range(5):
            began = self.now()
            one @ one
            seconds.append(self.now() - began)
        return 2 * side ** 3 / min(seconds)


def parts(model: str, card: Card) -> dict:
    """The components of a Wan, made in their precision; autoencoder and transformer as published, the encoder tiny."""
    import tiny_families
    torch = card.torch
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, card.place.dtype))
    try:
        with torch.device(card.place.name):
            transformer = WanTransformer3DModel(**MODELS[model]).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    vae = tiny_families._wan_vae() if model == "tiny" else AutoencoderKLWan().eval()
    return {**tiny_families._text(), "vae": vae.requires_grad_(False), "transformer": transformer, "transformer_2": None}


def flop(config: dict, tokens: int) -> float:
    """Of one step with both texts: products with weights, and attention."""
    width, layers = config["num_attention_heads"] * config["attention_head_dim"], config["num_layers"]
    weights = layers * (6 * width ** 2 + 2 * width * config["ffn_dim"])         # what the text is multiplied by is left out
    return 2 * (2 * weights * tokens + layers * 4 * width * tokens * (tokens + 512))


def share(model: str, shape: tuple[int, int, int], step_s: float, rate: float) -> float:
    """Of the measured rate, 0..1, that a step's products and attention come to."""
    tokens = shape[0] // 16 * (shape[1] // 16) * ((shape[2] - 1) // 4 + 1)
    return flop(MODELS[model], tokens) / step_s / rate


def gaps(card: Card, steps) -> tuple[list[float], object]:
    """Seconds between the ends of steps, the first one left out, and what the last one gave."""
    ends, last = [], None
    for last in steps:
        ends.append(card.now())
    return [after - before for before, after in itertools.pairwise(ends)], last


def ours(card: Card, found: dict, plan: str, window, folder: Path) -> tuple[dict, object]:
    """Seconds a step and of decoding, peak bytes, by one plan; and the latent."""
    from engine.diffusers_line.wan import Film
    found["vae"].to(getattr(card.torch, card.place.decoding))       # the stock pipeline's is in full precision, as its documentation has it
    film = Film(found, {}, folder, card.place, 10 ** 9)
    film.placing.apply(plan)
    card.device.forget_peak(card.place)
    seconds, latent = gaps(card, film.sample(window))
    sampled, began = card.device.peak_bytes(card.place), card.now()
    for _ in film.decode(latent):
        pass
    return {"step_s": stand.median(seconds), "decode_s": card.now() - began} | card.peaks(sampled), latent


def stock(card: Card, found: dict, window) -> tuple[dict, object]:
    """The same by diffusers' own pipeline, everything on the device."""
    from diffusers import WanPipeline
    pipe, ends = WanPipeline(**found).to(card.place.name), []
    pipe.set_progress_bar_config(disable=True)
    card.device.forget_peak(card.place)

    def note(pipeline, index, timestep, tensors) -> dict:
        ends.append(card.now())
        return {}
    dtype = getattr(card.torch, card.place.dtype)
    latent = pipe(prompt_embeds=window.text.to(card.place.name, dtype), negative_prompt_embeds=window.negative.to(card.place.name, dtype),
                  height=window.size.height, width=window.size.width, num_frames=window.frames, num_inference_steps=window.steps,
                  guidance_scale=window.guidance, generator=card.torch.Generator().manual_seed(window.seed), output_type="latent",
                  callback_on_step_end=note).frames
    sampled, began = card.device.peak_bytes(card.place), card.now()
    with card.torch.inference_mode():
        pipe.vae.decode(latent.to(pipe.vae.dtype))
    return {"step_s": stand.median([after - before for before, after in itertools.pairwise(ends)]), "decode_s": card.now() - began} | card.peaks(sampled), latent


def compared(card: Card, model: str, shape: tuple[int, int, int], steps: int, plans: list[str], folder: Path) -> dict:
    """plan -> what was measured, `stock` among them; each of ours with its distance from the stock pipeline's latent."""
    from engine.families import Window
    from engine.plan import LASTING
    from engine.protocol import Size
    torch = card.torch
    text, negative = (torch.randn((1, 512, MODELS[model]["text_dim"]), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    window = Window(frames=shape[2], size=Size(*shape[:2]), seed=3, steps=steps, guidance=5.0, text=text, negative=negative)
    torch.manual_seed(0)
    held, found = parts(model, card), {}
    found["stock"], reference = stock(card, held, window)
    for plan in sorted(plans, key=lambda name: name in LASTING):
        found[plan], latent = ours(card, held, plan, window, folder)
        found[plan]["distance"] = float((latent - reference).float().norm() / reference.float().norm())
        stand.say(f"{plan}: {found[plan]}")
        if plan in LASTING:                     # they change the weights for good
            del held
            card.device.release(card.place)
            torch.manual_seed(0)
            held = parts(model, card)
    return found


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--family", choices=("wan",), default="wan", help="the one whose real shapes are known here so far")
    asked.add_argument("--model", choices=MODELS, default="wan-14b")
    asked.add_argument("--shape", default="832x480x81")
    asked.add_argument("--steps", type=int, default=6)
    asked.add_argument("--plans", default="full,turns,int8,blocks,fp8")
    asked.add_argument("--device", default="cuda")
    options = asked.parse_args()
    sys.path.insert(0, str(stand.ROOT / "tests" / "engine"))
    card = Card(options.device)
    if options.device != "cpu" and not card.torch.cuda.is_available():
        sys.exit("No graphics card that torch can use is at hand, so there is nothing to measure.")
    shape = tuple(int(side) for side in options.shape.split("x"))
    rate = card.rate(256 if options.device == "cpu" else 8192)
    with stand.folder() as folder:
        found = compared(card, options.model, shape, options.steps, options.plans.split(","), Path(folder))
    for measured in found.values():
        measured["share"] = share(options.model, shape, measured["step_s"], rate)
    first = found[options.plans.split(",")[0]]
    name = "cpu" if options.device == "cpu" else card.torch.cuda.get_device_name()
    told = {"model": options.model, "shape": options.shape, "device": name, "tflops": rate / 1e12, "share": first["share"]}
    stand.report("gpu", "times", {**told, **found}, ratio=first["step_s"] / found["stock"]["step_s"])


if __name__ == "__main__":
    main()
