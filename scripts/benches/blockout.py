"""blockout: seconds for 17 frames at 128x72, for a shot of 49 at 832x480, and how near the sampler comes to the machine's matrix products."""
from __future__ import annotations

import time

import stand

ROUNDS, SIDE = 3, 1024
SMALL, SMALL_FRAMES, FRAMES = stand.protocol.Size(128, 72), 17, 49


def best(work, rounds: int = ROUNDS) -> float:
    """Seconds of the fastest of a few rounds: what else the machine does only ever adds."""
    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    return min(once() for _ in range(rounds))


def product_rate(dtype: str = "float32") -> float:
    """The machine's own rate: operations a second of one large product of matrices, by all threads."""
    import torch
    a, b = torch.rand(2, SIDE, SIDE).to(getattr(torch, dtype)).unbind()
    return 2 * SIDE ** 3 / best(lambda: a @ b, 2 * ROUNDS)


def work_of_a_step(config, tokens: int, clips: int) -> float:
    """Operations of the transformer's blocks in one step, two to a multiplication and addition; all else is left out."""
    products = 2 * tokens * config.width ** 2 * (4 + 2 * config.mlp)
    attention = 4 * tokens ** 2 * config.width
    return clips * config.depth * (products + attention)


def small_clip(model) -> tuple[float, float]:
    """Seconds for sampling and decoding 17 frames at 128x72 with a depth guide, and the share of them that one step takes."""
    import numpy as np
    from engine.families import Window
    ramp = np.linspace(0, 1, SMALL.height, dtype=np.float32)[None, :, None, None]
    window = Window(frames=SMALL_FRAMES, size=SMALL, seed=7, steps=8, guidance=3.0, text=model.text(stand.PROMPT), negative=model.text(""),
                    guides={"depth": np.tile(ramp, (SMALL_FRAMES, 1, SMALL.width, 1))})
    sampled = []

    def sample() -> None:
        sampled[:] = [latent for latent in model.sample(window)]

    def decode() -> None:
        for _chunk in model.decode(sampled[-1], window):
            pass
    sampling = best(sample)
    return sampling + best(decode), sampling / window.steps


def shot_of_49() -> tuple[float, float]:
    """Seconds from the button to the take on a warm engine, and the engine's peak of memory in bytes."""
    with stand.folder() as where:
        where = stand.Path(where)
        guide = stand.depth_guide(where / "depth", FRAMES)
        with stand.engine(where) as running:
            for name, frames in (("warm", FRAMES), ("timed", FRAMES)):
                shot = stand.shot(where, name, frames=frames, guides=(guide,), steps=2 if name == "warm" else 8, guidance=3.0)
                began = time.perf_counter()
                running.send(stand.protocol.Shoot(shot=shot))
                stand.until(running, stand.done)
        return time.perf_counter() - began, stand.protocol.read_take(where / "timed").peak_bytes


def measure() -> None:
    import torch
    from engine import families
    from engine.blockout import model as blockout
    from engine.blockout.footage import Footage
    from engine.blockout.autoencoder import SPACE, TIME
    from engine.blockout.text import TOKENS
    from engine.device import half_products
    folder = families.weights("blockout", stand.MODEL)
    made = blockout.load(folder)
    tokens = TOKENS + (1 + (SMALL_FRAMES - 1) // TIME) * (SMALL.width // SPACE) * (SMALL.height // SPACE)
    work, found = work_of_a_step(made.transformer.config, tokens, clips=2), {}
    for name, halves, dtype in (("", False, "float32"), ("half_", True, "bfloat16"))[:1 + half_products()]:
        made.halves = halves
        small, step = small_clip(Footage(made, folder))
        machine = product_rate(dtype)
        stand.say(f"17 frames at {SMALL} in {dtype} {small:.2f} s; sampler {work / step / 1e9:.0f}, machine {machine / 1e9:.0f} GFLOP/s")
        found |= {f"{name}s": small, f"{name}share": work / step / machine, f"{name}sampler_gflops": work / step / 1e9, f"{name}machine_gflops": machine / 1e9}
    whole, peak = shot_of_49()
    stand.report("blockout", "s", {"shot_s": whole, "peak_gb": peak / 1e9, **found, "threads": torch.get_num_threads(), "rounds": ROUNDS}, value=small)


if __name__ == "__main__":
    measure()
