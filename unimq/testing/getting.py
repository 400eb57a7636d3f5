"""Group 3: waiting for messages, waking up, and being interrupted."""

import contextlib
import statistics
import sys
import time
from collections import Counter
from typing import Any

import pytest

from unimq.errors import Closed, Empty, InvalidArgument
from unimq.testing import processes
from unimq.testing.cases import Cases
from unimq.testing.gates import needs, only
from unimq.testing.lab import PATIENCE, Lab, Running, best_of, closing

__all__ = ["Getting"]

_PROMPT = 0.25
"""Seconds in which a waiting get must have what was put, in the best of several tries."""


def _attainable_share() -> float:
    """How much of a processor a loop that never rests gets at present: little, where others are at work too."""
    start, cpu = time.monotonic(), time.process_time()
    while time.monotonic() - start < 0.1:
        pass
    return (time.process_time() - cpu) / (time.monotonic() - start)


class Getting(Cases):
    """A get takes what is there, waits as long as it was told to, and costs nothing while it waits."""

    async def test_a_get_takes_what_is_there(self, lab: Lab) -> None:
        """With timeout 0 too, on a connection that has to be made first."""
        await lab.queue().put("x")
        message = await lab.queue().get(timeout=0)
        assert message.body == "x"
        await message.ack()

    @pytest.mark.parametrize("timeout", [0, 0.2])
    async def test_a_timeout_is_kept(self, lab: Lab, timeout: float) -> None:  # noqa: ASYNC109 - the case's parameter
        """`Empty` comes not before the timeout, and in the best of three no quarter of a second after it."""
        queue = lab.queue()
        await queue.ping()
        late: list[float] = []
        for _ in range(3):
            start = time.monotonic()
            with pytest.raises(Empty):
                await queue.get(timeout=timeout)
            took = time.monotonic() - start
            assert took > timeout - 0.005
            late.append(took - timeout)
        assert best_of(late) < 0.25

    async def test_a_waiting_get_wakes_up(self, lab: Lab) -> None:
        """It has a message within a quarter of a second of its put, in the best of five."""
        queue, producer = lab.queue(), lab.queue()
        await producer.ping()
        latencies: list[float] = []
        for number in range(5):
            waiting = lab.start(queue.get(timeout=PATIENCE))
            await lab.sleep(0.1)
            assert not waiting.done
            start = time.monotonic()
            await producer.put(number)
            message = await waiting.result()
            latencies.append(time.monotonic() - start)
            assert message.body == number
            await message.ack()
        assert best_of(latencies) < _PROMPT

    async def test_waiting_costs_nothing(self, lab: Lab) -> None:
        """Waiting takes less than a fifth of the time that a loop gets of the processor, in the median of three.

        On a busy machine that is little; then a twentieth of a processor is allowed, which looking now and then takes.
        """
        queue = lab.queue()
        await queue.ping()
        shares: list[float] = []
        for _ in range(3):
            start, cpu = time.monotonic(), time.process_time()
            with pytest.raises(Empty):
                await queue.get(timeout=0.25)
            share = (time.process_time() - cpu) / (time.monotonic() - start)
            shares.append(share / max(_attainable_share(), 0.25))
        assert statistics.median(shares) < 0.2

    async def test_get_many_takes_what_is_there(self, lab: Lab) -> None:
        """Up to its limit, and it does not wait for more than the first."""
        queue = lab.queue()
        await queue.put_many([0, 1, 2])
        messages = await lab.receive_many(queue, 2)
        assert 1 <= len(messages) <= 2
        start = time.monotonic()
        while len(messages) < 3:
            messages += await lab.receive_many(queue, 100)
        assert time.monotonic() - start < PATIENCE / 2
        assert sorted(message.body for message in messages) == [0, 1, 2]
        await queue.ack(messages)
        with pytest.raises(Empty):
            await queue.get_many(timeout=0)

    async def test_get_many_waits_for_the_first(self, lab: Lab) -> None:
        """And then it returns at once."""
        queue = lab.queue()
        waiting = lab.start(queue.get_many(10, timeout=PATIENCE))
        await lab.sleep(0.1)
        assert not waiting.done
        start = time.monotonic()
        await queue.put("x")
        messages = await waiting.result()
        assert time.monotonic() - start < PATIENCE / 2
        assert [message.body for message in messages] == ["x"]
        await queue.ack(messages)

    async def test_an_iteration_has_every_message(self, lab: Lab) -> None:
        """One after the other; it ends when none came for its timeout."""
        queue = lab.queue()
        await queue.put_many(list(range(25)))
        seen: list[int] = []
        async for message in queue.consume(timeout=0.2):
            seen.append(message.body)
            await message.ack()
        assert sorted(seen) == list(range(25))

    @needs("kept-once-received")
    async def test_what_was_fetched_ahead_goes_back_with_a_close(self, lab: Lab) -> None:
        """At once, though the iteration is not over; nothing is handed out afterwards."""
        queue = lab.queue(lease=60.0) if lab.capabilities.lease else lab.queue()
        await queue.put_many([0, 1, 2, 3])
        async with closing(queue.consume(prefetch=4)) as messages:
            first = await anext(messages)
            await first.ack()
            await queue.close()
            rest = await lab.bodies(lab.queue(), 3)
            assert sorted([first.body, *rest]) == [0, 1, 2, 3]
            with pytest.raises(Closed):
                await anext(messages)

    @needs("kept-once-received", "lease")
    async def test_what_was_fetched_ahead_comes_with_its_lease(self, lab: Lab) -> None:
        """However long its neighbours took, nobody gets a message with half of its lease gone."""
        queue = lab.queue(lease=1.0)
        await queue.put_many([0, 1, 2, 3])
        seen: list[int] = []
        async for message in queue.consume(prefetch=4, timeout=1.5):
            remaining = message.lease_remaining
            assert remaining is None or remaining > 0.5
            await lab.sleep(0.3)
            await message.ack()
            seen.append(message.body)
        assert sorted(seen) == [0, 1, 2, 3]

    async def test_an_iteration_waits(self, lab: Lab) -> None:
        """`async for` over the queue itself goes on until the block is left."""
        queue = lab.queue()

        async def consume() -> list[int]:
            seen: list[int] = []
            async with closing(queue.consume()) as messages:
                async for message in messages:
                    seen.append(message.body)
                    await message.ack()
                    if message.body == 2:
                        break
            return seen

        running = lab.start(consume())
        for number in range(3):
            await lab.sleep(0.05)
            await queue.put(number)
        assert await running.result() == [0, 1, 2]

    async def test_a_client_waits_for_several_queues(self, lab: Lab) -> None:
        """Whichever has a message; `message.queue` tells which, and none of them starves."""
        client = lab.client()
        queues = [client.queue(lab.other_name()) for _ in range(3)]
        with pytest.raises(Empty):
            await client.get(queues, timeout=0)
        waiting = lab.start(client.get(queues, timeout=PATIENCE))
        await lab.sleep(0.1)
        await queues[1].put("first")
        message = await waiting.result()
        assert (message.queue, message.body) == (queues[1].name, "first")
        await message.ack()
        await queues[0].put_many(list(range(20)))
        for queue in queues[1:]:
            await queue.put("rare")
        origins: Counter[str] = Counter()
        for _ in range(10):
            async with await client.get(queues, timeout=PATIENCE) as message:
                origins[message.queue] += 1
        assert all(origins[queue.name] for queue in queues)

    async def test_a_client_takes_batches_from_several_queues(self, lab: Lab) -> None:
        """Between one and `limit` messages, of whichever queues have some, until all were had; then `Empty`."""
        client = lab.client()
        queues = [client.queue(lab.other_name()) for _ in range(3)]
        for position, queue in enumerate(queues[:2]):
            await queue.put_many([[position, number] for number in range(5)])
        found: list[tuple[str, object]] = []
        while len(found) < 10:
            messages = await client.get_many(queues, 4, timeout=PATIENCE)
            assert 1 <= len(messages) <= 4
            found += [(message.queue, message.body) for message in messages]
            for message in messages:
                await message.ack()
        expected = [(queue.name, [position, n]) for position, queue in enumerate(queues[:2]) for n in range(5)]
        assert sorted(found, key=str) == sorted(expected, key=str)
        with pytest.raises(Empty):
            await client.get_many(queues, timeout=0)
        with pytest.raises(InvalidArgument, match="limit"):
            await client.get_many(queues, 0)

    @only("async")
    async def test_a_cancelled_get_leaves_a_usable_queue(self, lab: Lab) -> None:
        """The next message goes to the next get."""
        queue = lab.queue()
        for timeout in (None, PATIENCE):
            waiting = lab.start(queue.get(timeout=timeout))
            await lab.sleep(0.05)
            await _cancelled(waiting)
            await queue.put("after")
            assert await lab.bodies(queue, 1) == ["after"]

    @only("async")
    async def test_a_cancelled_get_loses_nothing(self, lab: Lab) -> None:
        """A message that arrives for a get at the moment of its cancellation goes to another one."""
        queue, producer = lab.queue(), lab.queue()
        found: list[int] = []
        for number in range(60):
            timeout = (0, PATIENCE)[number % 2]
            waiting = lab.start(queue.get(timeout=timeout))
            await lab.sleep(0.0005 * (number % 5))
            await producer.put(number)
            await lab.sleep(0.0005 * (number % 4))
            waiting.cancel()
            try:
                message = await waiting.result()
            except BaseException as error:  # noqa: BLE001 - cancelled, or nothing was there
                assert type(error).__name__ in ("CancelledError", "Empty")
            else:
                found.append(message.body)
                await message.ack()
        while len(set(found)) < 60:
            message = await lab.receive(queue)
            found.append(message.body)
            await message.ack()
        assert sorted(set(found)) == list(range(60))

    @only("sync")
    async def test_ctrl_c_leaves_a_usable_queue(self, lab: Lab) -> None:
        """A get that a SIGINT interrupts raises `KeyboardInterrupt` at once; the queue works afterwards."""
        if sys.platform == "win32":
            pytest.skip("there is no SIGINT for one process")
        with processes.Child("interrupted", lab) as child:
            assert child.line() == "waiting"
            await lab.sleep(0.2)
            child.interrupt()
            assert child.line() == "interrupted"
            assert child.line() == "usable"
            assert child.wait() == 0

    @needs("kept-once-received")
    async def test_a_get_prefetches_nothing(self, lab: Lab) -> None:
        """What one get leaves is there for another consumer at once."""
        first, second = lab.queue(), lab.queue()
        await first.put_many([0, 1])
        held = await lab.receive(first)
        other = await lab.receive(second)
        assert {held.body, other.body} == {0, 1}
        await held.ack()
        await other.ack()


async def _cancelled(waiting: Running[Any]) -> None:
    waiting.cancel()
    with contextlib.suppress(BaseException):
        await waiting.result()
    assert waiting.done
