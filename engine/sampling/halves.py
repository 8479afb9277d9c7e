"""A batch in two halves, each in a thread of its own with half of the processor's threads: the matrices of a small model are too small to
keep all of them busy on one."""
from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor


def in_halves(call: Callable[[slice], Tensor], rows: int) -> Tensor:
    """`call` of all rows of a batch, as one tensor (rows, ...). Where there is one thread, or one row, it is called once."""
    threads = torch.get_num_threads()
    if threads < 2 or rows < 2:
        return call(slice(0, rows))
    inference = torch.is_inference_mode_enabled()              # a thread begins without either

    def half(of: slice) -> Tensor:
        with torch.inference_mode(inference), torch.no_grad():
            return call(of)
    return torch.cat(list(_pool(threads).map(half, (slice(0, rows // 2), slice(rows // 2, rows)))))


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    pool, both = ThreadPoolExecutor(2, "half", _begin, (threads // 2,)), threading.Barrier(2)
    list(pool.map(lambda _: both.wait(), range(2)))            # both have begun
    torch.set_num_threads(threads)                             # what was set last counts for threads that begin later
    return pool


def _begin(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.get_num_threads()                                    # a thread takes what was set last, by any, when it first asks: now
