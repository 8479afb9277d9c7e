"""Work done a few steps ahead in threads: results in order, never more than a few pieces in memory, left at once by a cut."""
from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError

from .errors import Cut

GLANCE = 0.1            # seconds between two looks at the cut while waiting


def heed(cut: threading.Event) -> None:
    """Raises Cut when the artist has cut the shot."""
    if cut.is_set():
        raise Cut("The shot was cut.")


def _alone() -> None:
    """A worker's tensors are computed in its own thread alone: several workers share the cores already."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)     # OpenMP counts per calling thread


class Ahead:
    """Runs what is submitted in `threads` threads; `submit` waits while `room` pieces are under way.

    A piece's error is raised by a later `submit` or by `finish`. Leaving the context waits for the pieces that have begun.
    Results pass through `landed`, in order and in the submitting thread.
    """

    def __init__(self, threads: int, room: int, cut: threading.Event, name: str):
        self.results: list = []             # of what is finished, in order of submission
        self._room, self._cut = room, cut
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_alone)
        self._under_way: deque[Future] = deque()

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *trouble) -> None:
        self._pool.shutdown(wait=True, cancel_futures=trouble[0] is not None)
        self._under_way.clear()

    def landed(self, result):
        """What is kept of a piece's result."""
        return result

    def submit(self, work: Callable, *arguments) -> None:
        heed(self._cut)
        while self._under_way and (len(self._under_way) >= self._room or self._under_way[0].done()):
            self._collect()
        self._under_way.append(self._pool.submit(work, *arguments))

    def finish(self) -> list:
        """All results, in order."""
        while self._under_way:
            self._collect()
        return self.results

    def _collect(self) -> None:
        while True:
            heed(self._cut)
            try:
                result = self._under_way[0].result(timeout=GLANCE)
            except TimeoutError:
                if not self._under_way[0].done():
                    continue
                raise
            self._under_way.popleft()
            self.results.append(self.landed(result))
            return
