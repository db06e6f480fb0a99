"""Work done in threads, ahead of being asked for and in order: the stages of a pipeline."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, repeat
from typing import TypeVar

InputT = TypeVar("InputT")
ResultT = TypeVar("ResultT")


def in_order(
    function: Callable[[InputT], ResultT], inputs: Iterable[InputT], workers: int = 1, ahead: int = 1
) -> Iterator[ResultT]:
    """`map(function, inputs)`, computed in threads before the results are asked for.

    Chained, each call is a stage of a pipeline: while the caller is busy with a result, `workers` threads compute the
    next ones. `inputs` is advanced in the caller's thread.

    Args:
        function: called once per input, by several threads at a time where there are several workers.
        inputs: may be endless; at most `workers + ahead` of them are held at a time.
        workers: threads.
        ahead: how many inputs wait for a thread to be free.

    Yields:
        The results, in the order of the inputs.

    Raises:
        Exception: what `function` raised, in its turn. What had not been begun is dropped then, and when the iterator
            is closed.
    """
    pending: deque[Future[ResultT]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for each in inputs:
            pending.append(pool.submit(function, each))
            if len(pending) >= workers + ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def ahead(inputs: Iterable[InputT]) -> Iterator[InputT]:
    """The same, each fetched by a thread while the caller is busy with the one before it."""
    iterator = iter(inputs)
    for found in in_order(lambda _: list(islice(iterator, 1)), repeat(None)):
        if not found:
            return
        yield from found
