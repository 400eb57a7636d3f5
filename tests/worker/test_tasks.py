"""The worker of asyncio on queues in memory: what differs from the one with threads, and what must not."""

import asyncio
import os
import signal
from typing import Any

import pytest

import unimq
from unimq import AsyncMessage, AsyncQueue, AsyncWorker, Reject, Retry, RetryPolicy
from unimq.testing.lab import PATIENCE
from unimq.worker import AsyncHandler

from .conftest import at_work_in_a_task as at_work
from .conftest import reached as until


async def fail(message: AsyncMessage[Any]) -> None:
    raise LookupError(message.body)


class TestOutcomes:
    async def test_many_handlers_run_at_once(self, url: str) -> None:
        """As many as `concurrency` says, and no more; each message is acked."""
        running = 0
        most = 0

        async def work(message: AsyncMessage[Any]) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

        async with AsyncQueue[Any](url) as queue, at_work(AsyncWorker(url, work, concurrency=10)) as worker:
            await queue.put_many(range(40))
            await until(lambda: worker.health().done == 40)
            assert most == 10
            assert await queue.size() == 0

    async def test_what_raises_is_tried_again_and_given_up(self, url: str) -> None:
        """By the policy, as with threads."""
        worker = AsyncWorker(url, fail, retry=RetryPolicy(attempts=2, pause=0))
        async with AsyncQueue[Any](url) as queue, at_work(worker):
            await queue.put("answer")
            await until(lambda: worker.health().rejected == 1)
            (dead,) = await queue.dead.peek()
            assert dead.headers["unimq-dead-reason"].startswith("LookupError: answer (at ")
            assert worker.health().retried == 1

    @pytest.mark.parametrize("error", [Retry(delay=0), Reject("never")])
    async def test_retry_and_reject_are_heeded(self, url: str, error: Exception) -> None:
        """The one comes again, the other does not."""
        calls = 0

        async def refuse(message: AsyncMessage[Any]) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise error

        async with AsyncQueue[Any](url) as queue, at_work(AsyncWorker(url, refuse)) as worker:
            await queue.put(1)
            await until(lambda: worker.health().done + worker.health().rejected == 1)
        assert calls == (2 if isinstance(error, Retry) else 1)

    async def test_replies_and_middleware(self, url: str) -> None:
        """What is returned through the middleware is the reply."""

        async def double(message: AsyncMessage[Any]) -> int:
            return int(message.body) * 2

        async def add_one(message: AsyncMessage[Any], handler: AsyncHandler) -> object:
            result: Any = await handler(message)
            return result + 1

        async with AsyncQueue[Any](url) as queue, at_work(AsyncWorker(url, double, middleware=[add_one])):
            replies = queue.client.queue("replies")
            await queue.put(4, reply_to="replies")
            async with await replies.get(timeout=PATIENCE) as reply:
                assert reply.body == 9

    async def test_several_queues(self, url: str) -> None:
        """Each has its own handler."""
        found: list[tuple[str, Any]] = []

        async def note(message: AsyncMessage[Any]) -> None:
            found.append((message.queue, message.body))

        async with AsyncQueue[Any](url) as queue, at_work(AsyncWorker(url, {"jobs": note, "mail": note})) as worker:
            await queue.put(1)
            await queue.client.queue("mail").put(2)
            await until(lambda: worker.health().done == 2)
        assert sorted(found) == [("jobs", 1), ("mail", 2)]


class TestStop:
    async def test_what_runs_is_finished(self, url: str) -> None:
        """And no more is taken; a worker that waits for messages ends at once."""
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def work(message: AsyncMessage[Any]) -> None:
            begun.set()
            await may_end.wait()

        async with AsyncQueue[Any](url) as queue:
            worker = AsyncWorker(url, work)
            running = asyncio.create_task(worker.run())
            await queue.put_many([1, 2])
            await begun.wait()
            worker.stop()
            done, _ = await asyncio.wait([running], timeout=0.05)
            assert not done
            may_end.set()
            await asyncio.wait_for(running, PATIENCE)
            assert worker.health().done == 1
            assert [message.body for message in await queue.peek(10)] == [2]
        with pytest.raises(unimq.Closed):
            await worker.run()

    @pytest.mark.parametrize("how", ["grace", "again", "cancel"])
    async def test_a_handler_that_does_not_end_is_cancelled(self, url: str, how: str) -> None:
        """And its message given back, uncounted: when the grace is over, at a second stop, or with the worker."""
        begun = asyncio.Event()

        async def hang(message: AsyncMessage[Any]) -> None:
            begun.set()
            await asyncio.sleep(600)

        async with AsyncQueue[Any](url) as queue:
            worker = AsyncWorker(url, hang, grace=0.05 if how == "grace" else 60)
            running = asyncio.create_task(worker.run())
            await queue.put("kept")
            await begun.wait()
            if how == "cancel":
                running.cancel()
            for _ in range(2 if how == "again" else 1):
                worker.stop()
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(running, return_exceptions=True)
            async with await queue.get(timeout=PATIENCE) as message:
                assert (message.body, message.delivery_count) == ("kept", 1)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_signals_stop_it(self, url: str, number: signal.Signals) -> None:
        """And mean what they meant before, afterwards."""
        before = signal.getsignal(number)
        running = asyncio.create_task(AsyncWorker(url, fail).run())
        await until(lambda: signal.getsignal(number) is not before)
        os.kill(os.getpid(), number)
        await asyncio.wait_for(running, PATIENCE)
        assert signal.getsignal(number) in {before, signal.SIG_DFL, signal.default_int_handler}


class TestTime:
    async def test_the_lease_is_kept_while_the_handler_runs(self, url: str) -> None:
        """Twice as long as it is."""
        calls = 0

        async def work(message: AsyncMessage[Any]) -> None:
            nonlocal calls
            calls += 1
            await asyncio.sleep(1.6)

        worker = AsyncWorker(f"{url}?lease=800ms", work, concurrency=2)
        async with AsyncQueue[Any](url) as queue, at_work(worker):
            await queue.put(1)
            await until(lambda: worker.health().done == 1)
        assert calls == 1

    async def test_a_handler_that_runs_too_long_has_failed(self, url: str) -> None:
        """It is cancelled at `max_runtime`, and tried again."""
        calls = 0

        async def work(message: AsyncMessage[Any]) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                await asyncio.sleep(600)

        policy = RetryPolicy(pause=0)
        async with AsyncQueue[Any](url) as queue, at_work(AsyncWorker(url, work, retry=policy, max_runtime=0.05)) as at:
            await queue.put(1)
            await until(lambda: at.health().done == 1)
            assert at.health().retried == 1

    async def test_a_client_stays_its_owners(self, url: str) -> None:
        """It is not closed with the worker; closing it ends the worker."""
        async with unimq.AsyncClient(url) as client:
            async with at_work(AsyncWorker(client, fail)):
                pass
            await client.queue().put(1)
            worker = AsyncWorker(client, fail, retry=RetryPolicy(attempts=1))
            running = asyncio.create_task(worker.run())
            await until(lambda: worker.health().rejected == 1)
        await asyncio.wait_for(running, PATIENCE)


async def test_it_drains_what_is_ready(url: str) -> None:
    """One after the other in this task."""
    tasks: set[Any] = set()

    async def work(message: AsyncMessage[Any]) -> None:
        tasks.add(asyncio.current_task())
        if message.body == "bad":
            raise LookupError(message.body)

    async with AsyncQueue[Any](url) as queue:
        worker = AsyncWorker(queue.client, {queue.name: work}, retry=RetryPolicy(attempts=2, pause=0))
        await queue.put_many(["good", "bad"])
        health = await worker.drain()
        assert (health.done, health.retried, health.rejected) == (1, 1, 1)
        await queue.put("good")
        assert (await worker.drain()).done == 2
    assert tasks == {asyncio.current_task()}
