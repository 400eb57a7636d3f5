"""Group 9: many threads or tasks, many queues, and a fork in the middle."""

import asyncio
import contextlib
import os
import sys
import time
import warnings
from collections.abc import Callable

import pytest

from unimq.aio import AsyncMessage, AsyncQueue
from unimq.errors import Empty, UnimqError
from unimq.queue import Queue
from unimq.testing.cases import Cases
from unimq.testing.faces import drive, shaped
from unimq.testing.gates import needs, only
from unimq.testing.lab import PATIENCE, Lab, best_of

__all__ = ["Concurrency"]

_AT_ONCE = 0.05
"""Seconds that a call without I/O takes at most, on a machine that is busy."""


class Concurrency(Cases):
    """Nothing is lost, nothing comes twice, nobody waits for somebody else."""

    async def test_producers_and_consumers_share_one_queue(self, lab: Lab) -> None:
        """Four put, three receive, all through the same object: each message is received exactly once."""
        queue = lab.queue()
        numbers = [range(start, start + 50) for start in range(0, 200, 50)]
        found: list[int] = []

        async def produce(mine: range) -> None:
            for number in mine[:25]:
                await queue.put(number)
            await queue.put_many(mine[25:])

        async def consume() -> None:
            while len(found) < 200:
                try:
                    async with await queue.get(timeout=0.2) as message:
                        found.append(message.body)
                except Empty:
                    pass

        running = [lab.start(consume()) for _ in range(3)]
        running += [lab.start(produce(mine)) for mine in numbers]
        for part in running:
            await part.result(3 * PATIENCE)
        assert sorted(found) == list(range(200))
        await lab.nothing(queue)

    async def test_many_consumers_each_have_their_share(self, lab: Lab) -> None:
        """Twelve gets wait, twelve messages come, each get has one."""
        queue = lab.queue()
        waiting = [lab.start(queue.get(timeout=PATIENCE)) for _ in range(12)]
        await lab.sleep(0.2)
        for number in range(12):
            await queue.put(number)
        messages = [await part.result() for part in waiting]
        assert sorted(message.body for message in messages) == list(range(12))
        await queue.ack(messages)

    async def test_queues_do_not_mix(self, lab: Lab) -> None:
        """What is put on one is never received from another, on one connection and on several."""
        client = lab.client()
        queues = [client.queue(lab.other_name()) for _ in range(3)] + [lab.queue(lab.other_name()) for _ in range(2)]
        for number in range(5):
            for queue in queues:
                await queue.put([queue.name, number])
        for queue in reversed(queues):
            found = await lab.bodies(queue, 5)
            assert sorted(found) == [[queue.name, number] for number in range(5)]
            await lab.nothing(queue, 0)

    async def test_a_put_proceeds_while_a_get_waits(self, lab: Lab) -> None:
        """On the same queue object, and on another queue of the same client."""
        client = lab.client()
        queue, other = client.queue(lab.name), client.queue(lab.other_name())
        await queue.ping()
        took: list[float] = []
        for _ in range(3):
            waiting = lab.start(queue.get(timeout=PATIENCE))
            await lab.sleep(0.1)
            start = time.monotonic()
            await other.put("x")
            await queue.put("y")
            took.append(time.monotonic() - start)
            await (await waiting.result()).ack()
        assert best_of(took) < 0.5

    @needs("kept-once-received")
    async def test_a_slow_consumer_holds_up_nobody(self, lab: Lab) -> None:
        """While one has a message in hand, others put, receive and settle through the same object."""
        queue = lab.queue()
        await queue.put("slow")
        slow = await lab.receive(queue)
        for number in range(10):
            await queue.put(number)
            assert await lab.bodies(queue, 1) == [number]
        await slow.ack()
        await lab.nothing(queue)

    async def test_several_hold_messages_at_once(self, lab: Lab) -> None:
        """Eight messages are in the hands of eight parts of the program, and each can be settled."""
        queue = lab.queue()
        await queue.put_many(list(range(8)))
        messages = [await part.result() for part in [lab.start(lab.receive(queue)) for _ in range(8)]]
        assert sorted(message.body for message in messages) == list(range(8))
        for part in [lab.start(message.ack()) for message in messages]:
            await part.result()
        await lab.nothing(queue)

    @only("sync")
    async def test_a_fork_in_the_middle(self, lab: Lab) -> None:
        """The child makes its own connections with the same objects; the parent's go on as if nothing had been."""
        if sys.platform == "win32":
            pytest.skip("nothing forks here")
        queue = lab.queue()
        childs = Queue[str](lab.url, name=lab.other_name())
        await queue.put("held")
        held = await lab.receive(queue)
        childs.ping()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that threads are running is the point
            child = os.fork()
        if child == 0:
            os._exit(_in_child(lambda: drive(_uses(shaped(childs), held))))
        assert _exit_code(child) == 0
        await held.ack()
        await queue.put("after")
        assert await lab.bodies(queue, 1) == ["after"]
        await lab.nothing(queue)
        childs.close()

    @only("async")
    async def test_a_fork_beside_a_loop(self, lab: Lab) -> None:
        """The child starts a loop of its own and uses the same objects; the message in hand stays its parent's."""
        if sys.platform == "win32":
            pytest.skip("nothing forks here")
        queue = lab.queue()
        childs = AsyncQueue[str](lab.url, name=lab.other_name())
        await queue.put("held")
        held = await lab.receive(queue)
        await childs.ping()
        if lab.capabilities.guarantee == "at-least-once":
            await lab.nothing(childs)  # has a thread by now; a socket that receives at most once may be for one process
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that threads are running is the point
            child = os.fork()
        if child == 0:
            os._exit(_in_child(lambda: asyncio.run(_uses(childs, held))))
        assert _exit_code(child) == 0
        await held.ack()
        await queue.put("after")
        assert await lab.bodies(queue, 1) == ["after"]
        await childs.close()

    @only("async")
    async def test_puts_at_the_same_time_keep_their_outcomes(self, lab: Lab) -> None:
        """A hundred puts that run together each have their own receipt, and their own refusal."""
        queue = lab.queue()
        running = [lab.start(_put_or_refuse(queue, number)) for number in range(100)]
        outcomes = [await part.result() for part in running]
        assert outcomes == [number % 10 != 0 for number in range(100)]
        wanted = [number for number in range(100) if number % 10]
        assert sorted(await lab.bodies(queue, 90)) == wanted
        await lab.nothing(queue)

    async def test_a_call_that_says_so_does_not_block(self, lab: Lab) -> None:
        """Where a session has `blocks = False`, most of a dozen puts and acks take less than 50 ms each."""
        queue = lab.queue()
        await queue.put(0)
        if any(pooled.session.blocks for pooled in queue._endpoint.pool.sessions):
            pytest.skip("calls may block here, and have a thread")
        times: list[float] = []
        for number in range(12):
            start = time.perf_counter()
            await queue.put(number)
            await (await lab.receive(queue)).ack()
            times.append(time.perf_counter() - start)
        assert sorted(times)[len(times) // 2] < 2 * _AT_ONCE


async def _put_or_refuse(queue: AsyncQueue[object], number: int) -> bool:
    try:
        await queue.put(number if number % 10 else b"no JSON")
    except ValueError:
        return False
    return True


def _in_child(use: Callable[[], bool]) -> int:
    """What the forked child does; its exit code."""
    try:
        right = use()
    except BaseException:  # noqa: BLE001 - nothing may leave the child
        return 2
    return 0 if right else 1


async def _uses(queue: AsyncQueue[str], held: AsyncMessage[str]) -> bool:
    """Whether a child can use the queue, and can not settle what its parent holds."""
    await queue.put("from the child")
    async with await queue.get(timeout=PATIENCE) as message:
        right = message.body == "from the child"
    with contextlib.suppress(UnimqError):
        await held.ack()
        return False
    await queue.close()
    return right


def _exit_code(child: int) -> int:
    """The exit code of a child that is given some time."""
    until = time.monotonic() + 2 * PATIENCE
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1
