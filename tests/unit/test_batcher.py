"""Batches of what tasks ask for, with a thread pool that works when the test says so."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from unimq import UnimqError
from unimq.aio.threads import Batcher


class ByHand(Executor):
    """Keeps what it is to run."""

    def __init__(self) -> None:
        self.submitted: list[Callable[[], object]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.submitted.append(lambda: fn(*args, **kwargs))
        return Future()

    def run(self) -> None:
        while self.submitted:
            self.submitted.pop()()


async def turn() -> None:
    """Let every other task go on until it waits, and what it called soon run."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_was_cancelled_before_its_batch_started_is_not_done() -> None:
    """Its neighbours are, and get their results; the last one too where nothing else is left."""
    done: list[int] = []
    threads = ByHand()

    def work(items: list[int]) -> Sequence[int]:
        done.extend(items)
        return [item * 10 for item in items]

    async def main() -> None:
        batcher = Batcher(work, lambda: threads)
        tasks = [asyncio.create_task(batcher.run(number)) for number in range(3)]
        await turn()
        tasks[1].cancel()
        await turn()
        threads.run()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[0], results[2]] == [0, 20]
        assert isinstance(results[1], asyncio.CancelledError)
        alone = asyncio.create_task(batcher.run(3))
        await turn()
        alone.cancel()
        await turn()
        threads.run()
        with pytest.raises(asyncio.CancelledError):
            await alone

    asyncio.run(main())
    assert done == [0, 2]


def test_what_fails_fails_for_every_member() -> None:
    """And the next batch is another matter."""
    threads = ByHand()
    failures: list[Exception] = [UnimqError("no"), ZeroDivisionError()]

    def work(items: list[int]) -> Sequence[int]:
        if failures:
            raise failures.pop()
        return items

    async def main() -> None:
        batcher = Batcher(work, lambda: threads)
        for expected in (ZeroDivisionError, UnimqError):
            tasks = [asyncio.create_task(batcher.run(number)) for number in range(2)]
            await turn()
            threads.run()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [expected, expected]
        task = asyncio.create_task(batcher.run(7))
        await turn()
        threads.run()
        assert await task == 7

    asyncio.run(main())
