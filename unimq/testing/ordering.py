"""Group 6: order, priority, delay and expiry."""

import random
import time
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest

from unimq.aio import AsyncMessage, AsyncQueue
from unimq.errors import Empty, InvalidArgument
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import PATIENCE, Lab

__all__ = ["Ordering"]

_SLACK = 0.01
_DELAY = 0.2
_SOON = timedelta(seconds=_DELAY)


class Ordering(Cases):
    """Who comes first, who comes later, and who comes no more."""

    @needs("fifo")
    async def test_messages_come_in_the_order_of_their_puts(self, lab: Lab) -> None:
        """One by one, in batches, and both."""
        queue = lab.queue()
        for number in range(5):
            await queue.put(number)
        await queue.put_many(list(range(5, 25)))
        await queue.put(25)
        assert await lab.bodies(queue, 10) == list(range(10))
        await queue.put(26)
        found: list[int] = []
        while len(found) < 17:
            messages = await lab.receive_many(queue, 100)
            found += [message.body for message in messages]
            await queue.ack(messages)
        assert found == list(range(10, 27))

    @needs("priority")
    async def test_higher_priorities_come_first(self, lab: Lab) -> None:
        """9 before 0, as far as `priority_levels` are told apart, and 4 is what a put without one has."""
        queue = lab.queue()
        order = list(range(10))
        random.Random(7).shuffle(order)  # noqa: S311 - a fixed order that is no order
        for priority in order:
            await queue.put(priority, priority=priority)
        await queue.put("default")
        found = await lab.bodies(queue, 11)
        levels = lab.capabilities.priority_levels
        numbers = [4 if body == "default" else body for body in found]
        ranks = [(9 - number) * levels // 10 for number in numbers]
        assert ranks == sorted(ranks)
        assert ranks[0] < ranks[-1]

    @needs("priority", "fifo")
    async def test_equals_come_in_their_order(self, lab: Lab) -> None:
        """Within one priority the order of the puts holds."""
        queue = lab.queue()
        puts = [(priority, number) for number in range(6) for priority in (9, 0, 4)]
        for priority, number in puts:
            await queue.put([priority, number], priority=priority)
        found = await lab.bodies(queue, len(puts))
        for _, equals in groupby(found, key=lambda body: body[0]):
            numbers = [number for _, number in equals]
            assert numbers == sorted(numbers)

    @needs("priority")
    async def test_the_priority_is_told(self, lab: Lab) -> None:
        """As it was put; 4 where it was not given."""
        queue = lab.queue()
        for given in (0, 9, None):
            await queue.put("x", priority=given)
            async with await lab.receive(queue) as message:
                assert message.priority == (4 if given is None else given)

    @needs("delay")
    async def test_a_delay_is_kept(self, lab: Lab) -> None:
        """Not before it, and not much later; with a plain number and with a timedelta."""
        queue = lab.queue()
        for delay in (_DELAY, timedelta(seconds=_DELAY)):
            start = time.monotonic()
            await queue.put("x", delay=delay)
            await lab.nothing(queue, 0)
            message = await lab.receive(queue)
            took = time.monotonic() - start
            await message.ack()
            assert _DELAY - _SLACK <= took < _DELAY + lab.capabilities.delay_step + PATIENCE / 4

    @needs("delay")
    async def test_a_point_in_time_is_kept(self, lab: Lab) -> None:
        """`at=` is a delay; one that is past is none."""
        queue = lab.queue()
        at = datetime.now(UTC) + _SOON
        await queue.put("x", at=at)
        await lab.nothing(queue, 0)
        assert await lab.bodies(queue, 1) == ["x"]
        assert datetime.now(UTC) >= at - timedelta(seconds=_SLACK)
        await queue.put("past", at=datetime.now(UTC) - timedelta(days=1))
        assert await lab.bodies(queue, 1) == ["past"]

    @needs("delay")
    async def test_a_delayed_message_holds_up_nobody(self, lab: Lab) -> None:
        """What was put later without a delay comes first; shorter delays come before longer ones."""
        queue = lab.queue()
        step = max(_DELAY, lab.capabilities.delay_step)
        await queue.put("last", delay=2 * step)
        await queue.put("later", delay=step)
        await queue.put("now")
        assert await lab.bodies(queue, 3) == ["now", "later", "last"]

    @needs("delay")
    async def test_a_get_that_waits_has_what_becomes_due(self, lab: Lab) -> None:
        """The end of a delay wakes it, no put is needed."""
        queue = lab.queue()
        waiting = lab.start(queue.get(timeout=PATIENCE))
        await lab.sleep(0.05)
        start = time.monotonic()
        await queue.put("x", delay=_DELAY)
        await (await waiting.result()).ack()
        assert _DELAY - _SLACK <= time.monotonic() - start < _DELAY + lab.capabilities.delay_step + PATIENCE / 4

    @needs("ttl")
    async def test_what_has_expired_is_never_delivered(self, lab: Lab) -> None:
        """Its neighbours are, and a message that lives long enough is."""
        queue = lab.queue()
        await queue.put("dies", ttl=0.2)
        await queue.put("lives", ttl=60)
        await queue.put("stays")
        await lab.sleep(0.25)
        assert sorted(await lab.bodies(queue, 2)) == ["lives", "stays"]
        await lab.nothing(queue)
        await queue.put("dies", ttl=0.2)
        await lab.sleep(0.25)
        await lab.nothing(queue)

    @needs("ttl")
    async def test_expiry_is_told(self, lab: Lab) -> None:
        """`expires_at` is the point in time, and `None` without a ttl."""
        queue = lab.queue()
        before = time.time()
        await queue.put("x", ttl=60)
        async with await lab.receive(queue) as message:
            assert message.expires_at is not None
            assert before + 59 < message.expires_at < time.time() + 61
        await queue.put("y")
        async with await lab.receive(queue) as message:
            assert message.expires_at is None

    @needs("ttl")
    async def test_a_ttl_is_no_lease(self, lab: Lab) -> None:
        """What was received in time may be settled after its expiry."""
        queue = lab.queue()
        message, ttl = await _got_in_time(lab, queue)
        await lab.sleep(ttl + 0.1)
        await message.ack()
        await lab.nothing(queue)

    @needs("ttl", "nack")
    async def test_a_nack_does_not_renew_a_ttl(self, lab: Lab) -> None:
        """What expires in hand and is given back is not delivered again."""
        queue = lab.queue()
        message, ttl = await _got_in_time(lab, queue)
        await lab.sleep(ttl + 0.1)
        await message.nack()
        await lab.nothing(queue)

    @needs("ttl", "dead_letters")
    async def test_a_dead_letter_does_not_expire(self, lab: Lab) -> None:
        """It stays until somebody has looked."""
        queue = lab.queue()
        message, ttl = await _got_in_time(lab, queue)
        await message.reject()
        await lab.sleep(ttl + 0.1)
        dead = await lab.receive(queue.dead)
        assert (dead.body, dead.expires_at) == ("x", None)
        await dead.ack()

    @needs("ttl", "delay")
    async def test_a_ttl_includes_the_delay(self, lab: Lab) -> None:
        """One that is not longer is refused; one that is may be delivered for the difference."""
        queue = lab.queue()
        for ttl in (1, 2):
            with pytest.raises(InvalidArgument, match=r"ttl=.*longer than the delay"):
                await queue.put("x", delay=2, ttl=ttl)
        await lab.nothing(queue)
        step = max(_DELAY, lab.capabilities.delay_step)
        await queue.put("x", delay=step, ttl=step + PATIENCE)
        assert await lab.bodies(queue, 1) == ["x"]

    @needs("ttl")
    async def test_an_expired_message_is_checked_at_hand_over(self, lab: Lab) -> None:
        """What expires between its fetch and its turn in an iteration is not delivered."""
        queue = lab.queue()
        await queue.put("first")
        await queue.put("second", ttl=0.3)
        seen: list[str] = []
        async for message in queue.consume(prefetch=2, timeout=0.3):
            seen.append(message.body)
            await lab.sleep(0.4)
            await message.ack()
        assert "first" in seen
        assert seen in (["first"], ["second", "first"])

    async def test_the_time_of_the_put_is_told(self, lab: Lab) -> None:
        """`enqueued_at` is when it was put, or unknown; never something else."""
        queue = lab.queue()
        before = time.time()
        await queue.put("x")
        await lab.sleep(0.05)
        async with await lab.receive(queue) as message:
            if "enqueued_at" in lab.capabilities.keeps:
                assert message.enqueued_at is not None
            if message.enqueued_at is not None:
                assert before - 1 < message.enqueued_at < time.time() + 1


async def _got_in_time(lab: Lab, queue: AsyncQueue[Any]) -> tuple[AsyncMessage[Any], float]:
    """A message that was received before its expiry, and its ttl, which is longer where the machine is busy."""
    for ttl in (0.3, 1.0, 3.0):
        await queue.put("x", ttl=ttl)
        try:
            return await queue.get(timeout=ttl - 0.05), ttl
        except Empty:
            await lab.sleep(0.1)
    msg = "a message that is put and received at once expired before it came, with a ttl of 3 s too"
    raise AssertionError(msg)
