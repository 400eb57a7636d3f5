"""Group 16: a worker on the backend: what it does with messages, and how it ends."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from unimq.aio import AsyncMessage
from unimq.message import Message
from unimq.testing.cases import Cases
from unimq.testing.gates import needs, only
from unimq.testing.lab import PATIENCE, QUIET, Lab
from unimq.worker import AsyncWorker, RetryPolicy, Worker

__all__ = ["Workers", "at_work", "running", "until"]


class Workers(Cases):
    """Handlers in threads or tasks, on connections of their own."""

    @only("sync")
    async def test_a_worker_does_what_is_put(self, lab: Lab) -> None:
        """Each message once, whichever of its threads has it; then nothing is left."""
        queue = lab.queue()
        found: list[Any] = []
        with at_work(lab, lambda message: found.append(message.body), concurrency=3) as worker:
            await queue.put_many(list(range(20)))
            until(lambda: worker.health().done == 20)
        assert sorted(found) == list(range(20))
        await lab.nothing(queue)

    @only("async")
    async def test_a_worker_of_tasks_does_what_is_put(self, lab: Lab) -> None:
        """As one of threads does."""
        queue = lab.queue()
        found: list[Any] = []

        async def note(message: AsyncMessage[Any]) -> None:
            found.append(message.body)

        worker = AsyncWorker(lab.url, {lab.name: note}, concurrency=3, retry=_policy(lab))
        running = lab.start(worker.run())
        await queue.put_many(list(range(20)))
        async with asyncio.timeout(PATIENCE):
            while worker.health().done < 20:
                await lab.sleep(QUIET)
        worker.stop()
        await running.result()
        assert sorted(found) == list(range(20))
        await lab.nothing(queue)

    @only("sync")
    @needs("nack", "delivery_count", "dead_letters")
    async def test_a_worker_tries_again_and_gives_up(self, lab: Lab) -> None:
        """After as many attempts as the policy has; the dead letter says why."""
        queue = lab.queue()

        def fail(message: Message[Any]) -> None:
            raise LookupError(message.body)

        with at_work(lab, fail, retry=RetryPolicy(attempts=2, pause=0)) as worker:
            await queue.put("x")
            until(lambda: worker.health().rejected == 1)
            assert worker.health().retried == 1
        async with await lab.receive(queue.dead) as dead:
            assert dead.body == "x"
            assert dead.headers["unimq-dead-reason"].startswith("LookupError: x")

    @only("sync")
    async def test_a_stopped_worker_leaves_the_rest(self, lab: Lab) -> None:
        """What it has begun is finished and acked; what it has not is there for others, and nothing comes twice."""
        queue = lab.queue()
        begun, may_end = threading.Event(), threading.Event()
        done: list[Any] = []

        def work(message: Message[Any]) -> None:
            begun.set()
            may_end.wait(PATIENCE)
            done.append(message.body)

        worker = _worker(lab, work)
        thread = _started(worker)
        await queue.put_many(["a", "b", "c"])
        assert begun.wait(PATIENCE)
        worker.stop()
        await lab.sleep(QUIET)
        may_end.set()
        _ended(thread)
        rest = await lab.bodies(queue, 3 - len(done))
        assert sorted(done + rest) == ["a", "b", "c"]
        assert len(done) == 1


@contextmanager
def at_work(lab: Lab, handler: Callable[[Message[Any]], object], **how: Any) -> Generator[Worker]:
    """A worker on the case's queue, which has ended afterwards."""
    with running(_worker(lab, handler, **how)) as worker:
        yield worker


@contextmanager
def running(worker: Worker) -> Generator[Worker]:
    """The worker runs in another thread, where it has no signals, and has ended afterwards."""
    thread = _started(worker)
    try:
        yield worker
    finally:
        worker.stop()
        _ended(thread)


def _worker(lab: Lab, handler: Callable[[Message[Any]], object], **how: Any) -> Worker:
    how.setdefault("retry", _policy(lab))
    return Worker(lab.url, {lab.name: handler}, **how)


def _started(worker: Worker) -> threading.Thread:
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    return thread


def _policy(lab: Lab) -> RetryPolicy:
    return RetryPolicy(attempts=5 if lab.capabilities.delivery_count else None)


def _ended(thread: threading.Thread) -> None:
    thread.join(2 * PATIENCE)
    assert not thread.is_alive(), "the worker did not end"


def until(reached: Callable[[], object]) -> None:
    """Wait until it is."""
    ends = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < ends, "the worker did not do it in time"
        time.sleep(QUIET)
