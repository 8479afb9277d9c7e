"""A diffusers pipeline as a generator: it runs in a thread, in lockstep, and rests after every step until the next is asked for."""
from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..errors import Cut

if TYPE_CHECKING:
    from torch import Tensor


def stepped(run: Callable[[Callable], Any]) -> Iterator[Any]:
    """Yields (step, steps, latents) for every step but the last, then what `run(callback)` returns.

    `run` calls a pipeline with `callback_on_step_end=callback`. Closing the generator raises Cut inside the pipeline at the end
    of the step that is under way, after which the pipeline is as good as new. Errors of the pipeline are raised here.
    """
    thread = _Lockstep(run)
    try:
        while isinstance(found := thread.following(), tuple):
            yield found
        yield found.result()
    finally:
        thread.stop()


class _Lockstep:
    """The thread, and the two ways in which it and its owner wait for each other."""

    def __init__(self, run: Callable[[Callable], Any]):
        self._run, self._said, self._go, self._stopped = run, queue.SimpleQueue(), threading.Semaphore(0), False
        self._thread = ThreadPoolExecutor(1, "pipeline")
        self._ending: Future | None = None

    def following(self) -> tuple | Future:
        """What the next step said, or how the pipeline ended."""
        if self._ending is None:
            self._ending = self._thread.submit(self._run, self._step_end)
            self._ending.add_done_callback(self._said.put)
        else:
            self._go.release()
        return self._said.get()

    def stop(self) -> None:
        self._stopped = True
        self._go.release()
        self._thread.shutdown()

    def _step_end(self, pipeline, index: int, timestep, tensors: dict) -> dict:
        if self._stopped:
            raise Cut("The shot was cut.")
        if index + 1 < pipeline.num_timesteps:
            self._said.put((index, pipeline.num_timesteps, tensors["latents"]))
            self._go.acquire()
            if self._stopped:
                raise Cut("The shot was cut.")
        return {}


class Euler:
    """Estimates of the clean latent from what Euler's steps of flow matching did: velocity = change of the latent / change of sigma."""

    def __init__(self, scheduler):
        self._scheduler, self._before = scheduler, None

    def estimate(self, index: int, latents: Tensor) -> Tensor:
        """After step `index`. The first step has nothing to compare with and gives the latent as it is."""
        before, self._before = self._before, latents.clone()
        if before is None:
            return latents
        sigmas = self._scheduler.sigmas.to(latents.device)
        slope = (latents - before) / (sigmas[index + 1] - sigmas[index])
        return latents - sigmas[index + 1] * slope
