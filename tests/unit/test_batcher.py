"""Batches of what tasks ask for, with a thread pool that works when the test says so."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

import unimq
from unimq import Closed, Timeout, UnimqError
from unimq.aio.batcher import Batcher


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


def soon() -> float:
    return time.monotonic() + 60


async def turn() -> None:
    """Let every other task go on until it waits, and what it called soon run."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_was_cancelled_before_its_batch_started_is_not_done() -> None:
    """Its neighbours are, and get their results; the last one too where nothing else is left."""
    done: list[int] = []
    threads = ByHand()

    def work(items: list[int], _: float) -> Sequence[int]:
        done.extend(items)
        return [item * 10 for item in items]

    async def main() -> None:
        batcher = Batcher(work, lambda: threads, soon)
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

    def work(items: list[int], _: float) -> Sequence[int]:
        if failures:
            raise failures.pop()
        return items

    async def main() -> None:
        batcher = Batcher(work, lambda: threads, soon)
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


def test_each_item_has_a_deadline_of_its_own() -> None:
    """From when it was given: near ones go together until the first of them, and what is too late is not sent."""
    threads, sent = ByHand(), list[tuple[list[str], float]]()
    start = time.monotonic()
    deadlines = {"late": start - 1, "a": start + 100, "b": start + 101, "c": start + 200, "d": start + 90}
    given = iter(deadlines.values())

    def work(items: list[str], until: float) -> Sequence[str]:
        sent.append((items, until))
        return items

    async def main() -> None:
        batcher = Batcher(work, lambda: threads, lambda: next(given))
        tasks = [asyncio.create_task(batcher.run(name)) for name in deadlines]
        await turn()
        threads.run()
        late, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(late, Timeout)
        assert not late.in_doubt
        assert others == ["a", "b", "c", "d"]

    asyncio.run(main())
    assert sent == [(["a", "b"], deadlines["a"]), (["c"], deadlines["c"]), (["d"], deadlines["d"])]


def test_a_loop_that_ends_early_keeps_none_waiting() -> None:
    """What another loop asks for afterwards is done, whatever became of the first."""
    with ThreadPoolExecutor(1) as threads:
        batcher = Batcher(lambda items, _: items, lambda: threads, soon)
        loop = asyncio.new_event_loop()
        abandoned = loop.create_task(batcher.run(1))
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        assert asyncio.run(asyncio.wait_for(batcher.run(2), 10)) == 2
        del abandoned


def test_what_cannot_be_begun_fails() -> None:
    """All that waits is told why, and what comes later is another matter."""
    refusals: list[Exception] = [Closed("closed"), RuntimeError("can't start new thread")]
    threads = ByHand()

    def executor() -> Executor:
        if refusals:
            raise refusals.pop(0)
        return threads

    async def main() -> None:
        batcher = Batcher(lambda items, _: items, executor, soon)
        for expected in (Closed, RuntimeError):
            with pytest.raises(expected):
                await batcher.run(1)
        task = asyncio.create_task(batcher.run(2))
        await turn()
        threads.run()
        assert await task == 2

    asyncio.run(main())


def test_a_queue_that_stalls_holds_up_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many stall, and whatever else the client is asked."""
    from unimq_memory.session import MemorySession

    goes_on, stalled = threading.Event(), threading.Semaphore(0)
    real = MemorySession.send

    def send(self: MemorySession, queue: str, *arguments: Any) -> Any:
        if queue.startswith("stalls"):
            stalled.release()
            assert goes_on.wait(30)
        return real(self, queue, *arguments)

    monkeypatch.setattr(MemorySession, "send", send)
    monkeypatch.setattr(MemorySession, "blocks", True)

    async def main() -> None:
        async with unimq.AsyncClient("memory://stalls?max_sessions=64") as client:
            puts = [asyncio.create_task(client.queue(f"stalls{number}").put(1)) for number in range(20)]
            try:
                for _ in puts:
                    assert await asyncio.to_thread(stalled.acquire, timeout=20)
                await asyncio.wait_for(client.queue("other").put(1), 20)
            finally:
                goes_on.set()
            await asyncio.gather(*puts)

    asyncio.run(main())


class Slow:
    """Work that goes on when the test says so."""

    def __init__(self) -> None:
        self.begun: list[list[int]] = []
        self.begins = threading.Semaphore(0)
        self.goes_on = threading.Event()

    def work(self, items: list[int], _: float) -> Sequence[int]:
        """Told when it begins, and ended by `goes_on`."""
        self.begun.append(items)
        self.begins.release()
        assert self.goes_on.wait(30)
        return items

    async def has_begun(self) -> None:
        """Wait for the next to begin."""
        assert await asyncio.to_thread(self.begins.acquire, timeout=30)


@pytest.mark.parametrize("most", [1, 3])
def test_beside_a_slow_batch_others_begin_but_no_more_than_may(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Where there is an order, none: what is asked for meanwhile waits, and goes together."""
    monkeypatch.setattr("unimq.aio.batcher._SLOW", 0.0)
    slow = Slow()

    async def main() -> None:
        with ThreadPoolExecutor(8) as threads:
            batcher = Batcher(slow.work, lambda: threads, soon, lambda: most)
            tasks = list[asyncio.Task[int]]()
            for number in range(most):
                tasks.append(asyncio.create_task(batcher.run(number)))
                await asyncio.wait_for(slow.has_begun(), 30)
            tasks += [asyncio.create_task(batcher.run(number)) for number in range(most, most + 3)]
            await turn()
            assert slow.begun == [[number] for number in range(most)]
            slow.goes_on.set()
            assert await asyncio.gather(*tasks) == list(range(most + 3))

    asyncio.run(main())
    assert sorted(number for items in slow.begun for number in items) == list(range(most + 3))


def test_beside_a_quick_batch_none_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for while one is on its way waits for it, and shares the next."""
    monkeypatch.setattr("unimq.aio.batcher._SLOW", 60.0)
    threads, sent = ByHand(), list[list[int]]()

    def work(items: list[int], _: float) -> Sequence[int]:
        sent.append(items)
        return items

    async def main() -> None:
        batcher = Batcher(work, lambda: threads, soon, lambda: 4)
        tasks = [asyncio.create_task(batcher.run(number)) for number in range(3)]
        await turn()
        assert len(threads.submitted) == 1
        threads.run()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert sent == [[0, 1, 2]]
