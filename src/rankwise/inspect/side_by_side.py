# SPDX-License-Identifier: Apache-2.0
"""Work on a few matrices at once, each on one thread.

Decompositions of some hundred rows wait for further threads longer than these save; two of them at once do not.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

_AT_ONCE = 4  # bounds the memory on machines of many cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results of some work on each item, in order; as many items at once as torch has threads, four at most.

    Args:
        work: what to do with one item; it must not depend on what is done with another.
        items: they are all taken before the first result comes.

    Raises:
        Exception: what the work on an item raises; items that were not begun by then are left.
    """
    threads = torch.get_num_threads()
    workers = min(threads, _AT_ONCE)
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,))
    with blas().limit(limits=threads // workers, user_api="blas"):
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def blas() -> ThreadpoolController:
    """The libraries that numpy and scipy compute with."""
    return ThreadpoolController()
