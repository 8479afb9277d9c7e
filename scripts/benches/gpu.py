"""gpu: seconds a step of a family's real shapes with random weights, ours beside diffusers' own pipeline in one run, by each memory plan.

    python3 scripts/bench.py gpu [--family wan] [--model wan-14b] [--shape 832x480x81] [--steps 6] [--plans full,turns,int8,blocks,fp8]

Families, models and their shapes are in subjects.py. Ratio and the outermost `share` are those of the first plan. A share is of the card's
matrix rate as measured at the start, in the precision of the weights; `tflop` is what a step asks for, both texts. `distance` is from the
stock pipeline's latent and `pictures` the mean difference of both decoders' pictures of that latent, 0..1; `equal` says that both are within
what the precision leaves (TOLERANCES), which the plans of 8 bits are not meant to be. Ours decodes Wan's latents in bfloat16 where the card computes
that, the stock pipeline in full precision; the other autoencoders are in the precision of the weights in both.
"""
from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from pathlib import Path

import stand
import subjects
from subjects import NEGATIVE, PROMPT, SUBJECTS, TINY

SEED = 3
# of what a latent's numbers, and the pictures', may differ: a few roundings of the precision on the way through all layers and steps
TOLERANCES = {"bfloat16": (5e-2, 1e-2), "float16": (1e-2, 5e-3), "float32": (1e-4, 1e-4)}


class Card:
    """The device that is measured."""

    def __init__(self, name: str, dtype: str = ""):
        """`dtype`: of the weights; "": bfloat16 on a card and float32 on a processor."""
        import torch
        from engine import device
        self.torch, self.device = torch, device
        quick = name != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = dtype or ("float32" if name == "cpu" else "bfloat16")
        self.place = device.Device(name, name, dtype, 0, 0, "bfloat16" if quick else "float32")

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


class Counted:
    """Listens to a transformer for one run: FLOP of its calls, each shape of a call counted once."""

    def __init__(self, transformer):
        self._transformer, self._known, self.flop = transformer, {}, 0
        self._listener = transformer.register_forward_pre_hook(self._called, with_kwargs=True)

    def _called(self, transformer, given, named) -> None:
        key = repr([getattr(one, "shape", one) for one in (*given, *named.values())])
        if key not in self._known:
            self._known[key] = subjects.flop(transformer, given, named)
        self.flop += self._known[key]

    def ended(self) -> None:
        self._listener.remove()


def gaps(card: Card, steps) -> tuple[list[float], object]:
    """Seconds between the ends of steps, the first one left out, and what the last one gave."""
    ends, last = [], None
    for last in steps:
        ends.append(card.now())
    return [after - before for before, after in itertools.pairwise(ends)], last


def window_of(family: str, model, shape: tuple[int, int, int], steps: int, guidance: float):
    """What ours samples: words, and what the family cannot do without, of colours that 8 bits hold, as the stock pipeline is shown them."""
    import numpy as np
    from engine import families
    from engine.protocol import Size
    size, frames = Size(*shape[:2]), shape[2]
    slope = np.linspace(0, 255, size.height, dtype=np.float32).round()[None, :, None, None].repeat(frames, 0).repeat(size.width, 2) / 255
    needed = getattr(families.family(family), "rehearsed", lambda slope: {})(slope)
    return families.Window(frames=frames, size=size, seed=SEED, steps=steps, guidance=guidance, text=model.text(PROMPT),
                           negative=model.text(NEGATIVE), **needed)


def ours(card: Card, family: str, found: dict, plan: str, asked: dict, reference, folder: Path) -> tuple[dict, object, object]:
    """Seconds a step and of decoding `reference`, peak bytes, by one plan; the latent, and the pictures of the reference (T, 3, h, w)."""
    model = SUBJECTS[family].ours(found, folder, card.place)
    model.placing.apply(plan)
    window = window_of(family, model, **asked)
    card.device.forget_peak(card.place)
    seconds, latent = gaps(card, model.sample(window))
    sampled, began = card.device.peak_bytes(card.place), card.now()
    pictures = [chunk.float().cpu() for chunk in model.decode(reference.to(card.place.name), window)]
    return {"step_s": stand.median(seconds), "decode_s": card.now() - began} | card.peaks(sampled), latent, card.torch.cat(pictures)


def stock(card: Card, family: str, found: dict, asked: dict, folder: Path) -> tuple[dict, object, object]:
    """The same by diffusers' own pipeline, everything on the device; its latent and pictures, as ours gives them."""
    subject, ends = SUBJECTS[family], []
    window = window_of(family, _Words(), **asked)
    pipe = subject.stock(found)
    pipe.to(card.place.name).set_progress_bar_config(disable=True)
    counted = Counted(pipe.transformer)
    card.device.forget_peak(card.place)

    def note(pipeline, index, timestep, tensors) -> dict:
        ends.append(card.now())
        return {}
    common = dict(prompt=PROMPT, negative_prompt=NEGATIVE, height=window.size.height, width=window.size.width, num_inference_steps=window.steps,
                  guidance_scale=window.guidance, generator=card.torch.Generator().manual_seed(window.seed), callback_on_step_end=note)
    latent = pipe(**common, **subject.shown(window, pipe), output_type="latent").frames
    counted.ended()
    sampled, began = card.device.peak_bytes(card.place), card.now()
    with card.torch.inference_mode():
        pictures = subject.drawn(pipe, latent)
    told = {"step_s": stand.median([after - before for before, after in itertools.pairwise(ends)]), "decode_s": card.now() - began}
    return told | card.peaks(sampled) | {"tflop": counted.flop / window.steps / 1e12}, subject.latent(latent), pictures.float().cpu()


class _Words:
    """In the place of a model whose text nobody asks for: the stock pipeline reads it itself."""

    def text(self, prompt: str) -> None:
        return None


def compared(card: Card, family: str, model: str, asked: dict, plans: list[str], folder: Path) -> dict:
    """plan -> what was measured, `stock` among them; each of ours with its distance from the stock pipeline's latent and pictures."""
    from engine.plan import LASTING, NARROW
    torch, subject = card.torch, SUBJECTS[family]
    near, alike = TOLERANCES[card.place.dtype]

    def fresh() -> dict:
        torch.manual_seed(0)
        return subjects.parts(subject, model, card.place)
    held, found = fresh(), {}
    found["stock"], reference, drawn = stock(card, family, held, asked, folder)
    stand.say(f"stock: {found['stock']}")
    for plan in sorted(plans, key=lambda name: name in LASTING):
        told, latent, pictures = ours(card, family, held, plan, asked, reference, folder)
        told["distance"] = float((latent.float() - reference.float()).norm() / reference.float().norm())
        told["pictures"] = float((pictures - drawn).abs().mean())
        told["equal"] = told["pictures"] <= alike and (plan in NARROW or told["distance"] <= near)
        found[plan] = told
        stand.say(f"{plan}: {told}")
        if plan in LASTING:                     # they change the weights for good
            del held
            card.device.release(card.place)
            held = fresh()
    return found


def options() -> argparse.Namespace:
    asked = argparse.ArgumentParser()
    asked.add_argument("--family", choices=SUBJECTS, default="wan")
    asked.add_argument("--model", default="", help=f"{TINY}, or {'; '.join(', '.join(subject.models) for subject in SUBJECTS.values())}")
    asked.add_argument("--shape", default="", help="width x height x frames; otherwise the family's own")
    asked.add_argument("--steps", type=int, default=6)
    asked.add_argument("--plans", default="full,turns,int8,blocks,fp8")
    asked.add_argument("--device", default="cuda")
    asked.add_argument("--dtype", choices=TOLERANCES, default=None, help="of the weights; otherwise the device's own")
    given = asked.parse_args()
    subject = SUBJECTS[given.family]
    given.model = given.model or next(iter(subject.models))
    if given.model not in (TINY, *subject.models):
        asked.error(f"{given.family} has no model {given.model!r} here; there are: {', '.join((TINY, *subject.models))}")
    shape = subject.smallest if given.model == TINY else subject.shape
    given.shape = tuple(int(side) for side in given.shape.split("x")) if given.shape else shape
    return given


def main() -> None:
    given = options()
    card = Card(given.device, given.dtype)
    if given.device != "cpu" and not card.torch.cuda.is_available():
        sys.exit("No graphics card that torch can use is at hand, so there is nothing to measure.")
    subject = SUBJECTS[given.family]
    asked = dict(shape=given.shape, steps=given.steps, guidance=subject.guidance)
    rate = card.rate(256 if given.device == "cpu" else 8192)
    with stand.folder() as folder:
        os.environ["SORA_CACHE"] = folder       # what is kept between plans, and nothing of the user's
        found = compared(card, given.family, given.model, asked, given.plans.split(","), Path(folder))
    for measured in found.values():
        measured["share"] = found["stock"]["tflop"] * 1e12 / measured["step_s"] / rate
    first = found[given.plans.split(",")[0]]
    name = "cpu" if given.device == "cpu" else card.torch.cuda.get_device_name()
    told = {"family": given.family, "model": given.model, "source": subject.source, "shape": "x".join(map(str, given.shape)), "device": name,
            "tflops": rate / 1e12, "share": first["share"]}
    stand.report("gpu", "times", {**told, **found}, ratio=first["step_s"] / found["stock"]["step_s"])


if __name__ == "__main__":
    main()
