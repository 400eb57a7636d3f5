"""The asyncio face: batches for many tasks, one pump, and nothing lost when a task is cancelled."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from servers import Broker, SimSession

import unimq

Test = Callable[["unimq.AsyncQueue[Any]"], Awaitable[None]]


def run(broker: Broker, test: Test, scheme: str = "simsame", options: str = "") -> None:
    async def main() -> None:
        async with unimq.AsyncQueue(f"{scheme}://{broker.name}/jobs?{options}") as queue:
            await test(queue)

    before = set(threading.enumerate())
    asyncio.run(main())
    for thread in set(threading.enumerate()) - before:
        thread.join(1)  # the one that closed the queue ends a moment after it has said so
        assert not thread.is_alive(), thread


def test_concurrent_puts_share_exchanges(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred tasks, a handful of sends; every receipt is its own."""
    sizes: list[int] = []
    real = SimSession.send

    def send(self: SimSession, queue: str, messages: Sequence[Any], deadline: float) -> Any:
        sizes.append(len(messages))
        return real(self, queue, messages, deadline)

    monkeypatch.setattr(SimSession, "send", send)

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        receipts = await asyncio.gather(*[queue.put(number) for number in range(100)])
        assert len({receipt.id for receipt in receipts}) == 100
        bodies = [message.body for message in await queue.get_many(100, timeout=1)]
        assert sorted(bodies) == list(range(100))

    run(broker, test)
    assert sum(sizes) == 100
    assert len(sizes) <= 5


def test_each_put_of_a_batch_has_its_own_outcome(broker: Broker) -> None:
    """A body that is too large fails alone."""

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        results = await asyncio.gather(queue.put(1), queue.put("x" * 70_000), queue.put(2), return_exceptions=True)
        assert [type(result) for result in results] == [unimq.Receipt, unimq.TooLarge, unimq.Receipt]

    run(broker, test)
    assert len(broker.jobs) == 2


def test_a_lost_connection_reaches_every_put_of_its_batch(broker: Broker) -> None:
    """In doubt, each, however many go together."""

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        broker.faults.extend([("send", "after")] * 3)
        results = await asyncio.gather(*[queue.put(n) for n in range(3)], return_exceptions=True)
        assert all(isinstance(result, unimq.ConnectionLost) and result.in_doubt for result in results)
        broker.faults.clear()

    run(broker, test)


def test_each_task_that_one_failure_concerns_has_an_exception_of_its_own(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the traceback and the notes that are its own: of many puts, of many gets that wait."""

    def refuse(*_: object, **__: object) -> None:
        error = unimq.ServerError("disk full")
        error.add_note("told by the server")
        raise error from OSError(28, "no space")

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        monkeypatch.setattr(SimSession, "send", refuse)
        monkeypatch.setattr(SimSession, "receive", refuse)

        async def noted(call: Callable[[], Awaitable[object]], number: int) -> Exception:
            with pytest.raises(unimq.ServerError) as failed:
                await call()
            failed.value.add_note(f"of task {number}")
            return failed.value

        for call in (lambda: queue.put("x"), queue.get):
            errors = await asyncio.gather(*[noted(call, number) for number in range(20)])
            assert len({id(error) for error in errors}) == 20
            for error in errors:
                assert len(error.__notes__) == 2
                assert isinstance(error.__cause__, OSError)
                assert len(traceback.extract_tb(error.__traceback__)) < 30

    run(broker, test)


def test_any_number_of_tasks_waits_in_one_thread(broker: Broker) -> None:
    """And each gets its message."""

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        tasks = [asyncio.create_task(queue.get(timeout=5)) for _ in range(50)]
        await asyncio.sleep(0.1)
        assert sum("pump" in thread.name for thread in threading.enumerate()) == 1
        await queue.put_many(range(50))
        messages = await asyncio.gather(*tasks)
        assert sorted(message.body for message in messages) == list(range(50))
        await asyncio.gather(*[message.ack() for message in messages])

    run(broker, test)
    assert not broker.jobs


def test_a_message_that_arrives_for_a_cancelled_get_is_not_lost(broker: Broker) -> None:
    """The next get has it at once, whenever the cancellation came."""

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        for pause in (0, 0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02):
            waiting = asyncio.create_task(queue.get())
            await asyncio.sleep(0.01)
            await queue.put("x")
            await asyncio.sleep(pause)
            waiting.cancel()
            try:
                message = await waiting
            except asyncio.CancelledError:
                message = await queue.get(timeout=3)
            assert message.body == "x"
            await message.ack()

    run(broker, test)
    assert not broker.jobs


def test_what_nobody_comes_for_goes_back(broker: Broker) -> None:
    """A parked message is given back after a second, to whoever else asks."""

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        await queue.put("x")
        message = await queue.get(timeout=1)
        queue._endpoint.receiver.park([message])
        with unimq.Queue(f"simsame://{broker.name}/jobs") as other:
            start = time.monotonic()
            got = await asyncio.to_thread(other.get, 5)
            assert 0.5 < time.monotonic() - start < 3
            got.ack()

    run(broker, test)


def test_the_same_queue_works_in_several_loops(broker: Broker) -> None:
    """One after the other, as in scripts that call asyncio.run more than once."""
    queue = unimq.AsyncQueue(f"simsame://{broker.name}/jobs")

    async def once(number: int) -> None:
        await queue.put(number)
        async with await queue.get(timeout=2) as message:
            assert message.body == number

    for number in range(3):
        asyncio.run(once(number))
    asyncio.run(queue.close())


def test_closing_ends_what_waits(broker: Broker) -> None:
    """With `Closed`, soon."""

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0.1)
        start = time.monotonic()
        await queue.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert time.monotonic() - start < 2
        assert [type(result) for result in results] == [unimq.Closed] * 3
        with pytest.raises(unimq.Closed):
            await queue.put(1)
        with pytest.raises(unimq.Closed):
            await queue.get()

    run(broker, test)


def test_a_server_that_is_away_is_said_in_time(broker: Broker) -> None:
    """Not `Empty`."""
    broker.down = True

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        with pytest.raises(unimq.ConnectError):
            await queue.get(timeout=0.3)
        with pytest.raises(unimq.ConnectError):
            await queue.get()

    run(broker, test, options="connect_timeout=300ms")


def test_iteration_gives_back_what_it_fetched_ahead(broker: Broker) -> None:
    """When it ends early."""

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        await queue.put_many([1, 2, 3])
        iterator = queue.consume(prefetch=3)
        async for message in iterator:
            await message.ack()
            break
        await iterator.aclose()  # type: ignore[attr-defined]
        assert [m.body for m in await queue.get_many(3, timeout=1)] == [2, 3]

    run(broker, test, scheme="simduplex")


def test_a_block_that_fails_gives_its_message_back(broker: Broker) -> None:
    """`async with` acks or nacks."""

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        await queue.put("x")
        with pytest.raises(ZeroDivisionError):
            async with await queue.get(timeout=1):
                1 / 0  # noqa: B018
        async with await queue.get(timeout=1) as again:
            assert again.delivery_count == 2
        with pytest.raises(unimq.Empty):
            await queue.get(timeout=0.1)

    run(broker, test)


def test_one_get_over_several_queues(broker: Broker) -> None:
    """The message tells which; cancelled it loses nothing."""

    async def main() -> None:
        async with unimq.AsyncClient(f"simsame://{broker.name}") as client:
            red, blue = client.queue("red"), client.queue("blue")
            await blue.put("b")
            message = await client.get([red, blue], timeout=1)
            assert (message.queue, message.body) == ("blue", "b")
            await message.ack()
            waiting = asyncio.create_task(client.get([red, blue]))
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await red.put("r")
            assert (await red.get(timeout=3)).body == "r"

    asyncio.run(main())


def test_replies_go_where_they_are_wanted(broker: Broker) -> None:
    """With the correlation id."""

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        await queue.put("question", reply_to="answers", correlation_id="c1")
        request = await queue.get(timeout=1)
        await request.reply("answer")
        answer = await queue.client.queue("answers").get(timeout=1)
        assert (answer.body, answer.correlation_id) == ("answer", "c1")

    run(broker, test)


async def _leave_open(url: str, alive: "weakref.WeakSet[Any]") -> None:
    queue: unimq.AsyncQueue[Any] = unimq.AsyncQueue(url)
    await queue.put(1)
    await (await queue.get(timeout=20)).ack()
    alive.add(queue)


def test_a_queue_that_nobody_closed_is_told_of_and_reclaimed(broker: Broker) -> None:
    """Its threads end while the loop runs, its connections are closed, and a warning names it."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    before = set(threading.enumerate())

    async def main() -> None:
        for _ in range(5):
            await _leave_open(f"simsame://{broker.name}/jobs", alive)
        until = time.monotonic() + 20
        while (alive or set(threading.enumerate()) > before) and time.monotonic() < until:
            gc.collect()
            await asyncio.sleep(0.01)

    with pytest.warns(ResourceWarning, match="<AsyncClient simsame://.* was not closed") as told:
        asyncio.run(main())
    assert len([one for one in told if one.category is ResourceWarning]) == 5
    assert not alive
    assert not set(threading.enumerate()) - before
    assert not broker.sessions


def test_what_was_closed_or_never_used_is_not_told_of(broker: Broker) -> None:
    """It holds nothing."""

    async def main() -> None:
        unimq.AsyncQueue(f"simsame://{broker.name}/jobs")
        async with unimq.AsyncQueue(f"simsame://{broker.name}/jobs") as queue:
            await queue.put(1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()


def test_a_program_ends_though_a_queue_is_open() -> None:
    """At its end no thread can be started any more that closes it."""
    program = (
        "import asyncio, unimq\n"
        "async def main():\n"
        "    global queue\n"
        "    queue = unimq.AsyncQueue('memory:///jobs')\n"
        "    await queue.put(1)\n"
        "    await queue.get(timeout=1)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, timeout=50, capture_output=True, text=True)  # noqa: S603 - our own
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("options", ["max_deliveries=3", "invalid=reject", ""])
def test_a_message_that_is_fine_is_handed_over_without_another_thread(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """However it has to be looked at; one that has to be dealt with has a thread, and is not handed over."""
    given: list[Callable[..., object]] = []
    real = unimq.AsyncClient.submit

    def submit(self: unimq.AsyncClient, call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        given.append(call)
        return real(self, call, *arguments, **more)

    async def test(queue: "unimq.AsyncQueue[Any]") -> None:
        await asyncio.gather(*[queue.put(number, ttl=60) for number in range(3)])
        monkeypatch.setattr(unimq.AsyncClient, "submit", submit)
        messages = [await queue.get(timeout=20) for _ in range(3)]
        assert sorted(message.body for message in messages) == [0, 1, 2]
        assert not given
        await queue.put("gone", ttl=0.05)
        await asyncio.sleep(0.06)
        await asyncio.gather(*[message.ack() for message in messages])
        with pytest.raises(unimq.Empty):
            await queue.get(timeout=0.1)
        assert given

    run(broker, test, options=options)
    assert not broker.jobs
