"""Runs in as many processes as are wanted, told in their order whoever ended first."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

R = TypeVar("R")
T = TypeVar("T")


def performed(
    work: Callable[[T], R], items: Sequence[T], jobs: int, on_done: Callable[[R], None]
) -> list[R]:
    """`work` of every item, `jobs` at a time; `on_done` hears of each result when it is there."""
    results: dict[int, R] = {}
    for number, result in _as_they_come(work, items, jobs):
        results[number] = result
        on_done(result)
    return [results[number] for number in range(len(items))]


def _as_they_come(work: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[tuple[int, R]]:
    if jobs == 1:
        for number, item in enumerate(items):
            yield number, work(item)
        return
    # Spawned, not forked: the progress bar has a thread.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(work, item): number for number, item in enumerate(items)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
