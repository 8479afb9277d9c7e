"""How long each stage takes, how long is left, and the progress that says so."""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .protocol import Progress, Reel, Shot

BETWEEN_GLIMPSES = 1.5      # seconds, at least
LOOKING = 20                # previews may take one second in so many
MOMENTS = 16                # frames of a preview


def moments(count: int) -> list[int]:
    """Up to MOMENTS of the numbers 0 .. count - 1, evenly spaced, first and last among them: what a preview of so many frames shows."""
    kept = min(count, MOMENTS)
    return [round(index * (count - 1) / max(kept - 1, 1)) for index in range(kept)]


class Clock:
    """Seconds per stage of one shot. Stages may be entered many times; time within an inner stage is the inner one's.

    `beside` is time that threads spent meanwhile, so that stages together may be longer than the whole.
    """

    def __init__(self, shot: Shot, say: Callable[[Progress], None]):
        self._shot, self._say = shot, say
        self._seconds: dict[str, float] = {}
        self._beside: dict[str, float] = {}
        self._inside: list[str] = []
        self._since = self._begun = time.monotonic()
        self._glimpse_from = self._begun + BETWEEN_GLIMPSES
        self._steps = self._frames = self._step = self._frame = 0

    def expect(self, steps: int, frames: int) -> None:
        """The denoising steps and frames of the whole shot."""
        self._steps, self._frames = steps, frames

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._settle()
        self._inside.append(name)
        try:
            yield
        finally:
            self._settle()
            self._inside.pop()

    def beside(self, name: str, seconds: float) -> None:
        """Work that a thread did meanwhile."""
        self._beside[name] = self._beside.get(name, 0.0) + seconds

    def _settle(self) -> None:
        now = time.monotonic()
        if self._inside:
            self._seconds[self._inside[-1]] = self._seconds.get(self._inside[-1], 0.0) + now - self._since
        self._since = now

    def say(self, stage: str, step: int = 0, steps: int = 0, note: str = "", preview: str = "", reel: Reel | None = None) -> None:
        self._say(Progress(shot=self._shot.id, stage=stage, step=step, steps=steps, eta=round(self.left(), 2), note=note,
                           preview=preview, reel=reel))

    def step(self, stage: str, done: int, reel: Reel | None = None) -> None:
        """Denoising step `done`, or frame `done` of decoding, of the whole shot."""
        self._settle()
        if stage == "denoise":
            self._step = done
            still = str(Path(reel.folder, reel.names()[reel.count // 2])) if reel else ""
            return self.say(stage, done, self._steps, preview=still, reel=reel)
        self._frame = done
        return self.say(stage, done, self._frames)

    def left(self) -> float:
        """Seconds left, from what steps and frames took so far; -1 before the first step."""
        if not self._step:
            return -1.0
        each_step = self._seconds.get("denoise", 0.0) / self._step
        each_frame = sum(self._seconds.get(name, 0.0) for name in ("decode", "refine", "write")) / max(self._frame, 1)
        return (self._steps - self._step) * each_step + (self._frames - self._frame) * each_frame

    def glimpse(self, look: Callable[[], Reel]) -> Reel | None:
        """What `look` gives, where the last preview is long enough ago for what it took."""
        begun = time.monotonic()
        if begun < self._glimpse_from:
            return None
        with self.stage("preview"):
            reel = look()
        took = time.monotonic() - begun
        self._glimpse_from = begun + max(BETWEEN_GLIMPSES, LOOKING * took)
        return reel

    def seconds(self) -> dict[str, float]:
        """Per stage, and altogether, to the millisecond."""
        return {**{name: round(value, 3) for name, value in (self._seconds | self._beside).items()}, "total": round(time.monotonic() - self._begun, 3)}
