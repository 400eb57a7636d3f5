"""Group 8: many at once, and which of them failed."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from unimq.errors import AlreadySettled, BatchError, Empty, Full, InvalidArgument, LeaseLost, Unsupported
from unimq.message import Receipt
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import Lab

__all__ = ["Batches"]


class Batches(Cases):
    """Batches are as good as their members one by one, and say what became of each."""

    async def test_many_are_put_received_and_acked(self, lab: Lab) -> None:
        """None is lost, none comes twice; the receipts are as many, and in the order of the bodies."""
        queue = lab.queue()
        receipts = await queue.put_many(list(range(300)))
        assert [receipt.queue for receipt in receipts] == [lab.name] * 300
        found: list[int] = []
        while len(found) < 300:
            messages = await lab.receive_many(queue, 100)
            assert 1 <= len(messages) <= 100
            found += [message.body for message in messages]
            assert len(set(found)) == len(found)
            await queue.ack(messages)
            assert all(message.settled for message in messages)
        assert sorted(found) == list(range(300))
        await lab.nothing(queue)

    @needs("kept-once-received")
    async def test_a_batch_is_acked_whole(self, lab: Lab) -> None:
        """No member is left in hand, or comes back when its lease would have ended."""
        queue = lab.queue(lease=2 * lab.lease) if lab.capabilities.lease else lab.queue()
        await queue.put_many([0, 1, 2, 3])
        messages = [await lab.receive(queue) for _ in range(4)]
        with contextlib.suppress(BatchError):  # the machine slept for longer than a lease
            await queue.ack(messages)
        acked = sum(message.settled for message in messages)
        if lab.capabilities.stats and (stats := await queue.stats()).leased is not None and acked == 4:
            assert (stats.leased, stats.ready) == (0, 0)
            return
        found = 0
        with contextlib.suppress(Empty):
            while True:
                await (await lab.keeper().get(timeout=3 * lab.lease)).ack()
                found += 1
        assert found == 4 - acked

    async def test_no_messages_are_a_batch(self, lab: Lab) -> None:
        """Nothing is put, and nothing settled."""
        queue = lab.queue()
        assert await queue.put_many([]) == []
        await queue.ack([])
        if lab.capabilities.nack:
            await queue.nack([])
        await lab.nothing(queue)

    async def test_bodies_may_be_made_one_by_one(self, lab: Lab) -> None:
        """`put_many` takes any iterable; one that raises puts nothing."""
        queue = lab.queue()

        def bodies() -> Iterator[int]:
            yield 1
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await queue.put_many(bodies())
        await lab.nothing(queue)
        await queue.put_many(number for number in (1, 2))
        assert sorted(await lab.bodies(queue, 2)) == [1, 2]

    async def test_a_batch_with_a_wrong_body_puts_nothing(self, lab: Lab) -> None:
        """All bodies are checked before the first is sent."""
        queue = lab.queue()
        with pytest.raises(InvalidArgument):
            await queue.put_many([1, b"bytes are no JSON", 2])
        await lab.nothing(queue)

    @needs("nack")
    async def test_many_are_given_back(self, lab: Lab) -> None:
        """Each comes again, once."""
        queue = lab.queue()
        await queue.put_many(list(range(10)))
        messages = [await lab.receive(queue) for _ in range(10)]
        await queue.nack(messages)
        assert sorted(await lab.bodies(queue, 10)) == list(range(10))
        await lab.nothing(queue)

    @needs("nack", "nack_delay")
    async def test_many_are_given_back_later(self, lab: Lab) -> None:
        """None comes before the delay, each comes after it."""
        queue = lab.queue()
        await queue.put_many([0, 1, 2])
        messages = [await lab.receive(queue) for _ in range(3)]
        start = time.monotonic()
        await queue.nack(messages, delay=0.3)
        await lab.nothing(queue, 0)
        assert sorted(await lab.bodies(queue, 3)) == [0, 1, 2]
        assert time.monotonic() - start >= 0.295

    @needs("kept-once-received")
    async def test_an_ack_of_many_says_which_failed(self, lab: Lab) -> None:
        """`outcomes` has `None` or an error for each, in order; the others are acked."""
        queue = lab.queue()
        await queue.put_many([0, 1, 2])
        messages = [await lab.receive(queue) for _ in range(3)]
        await messages[1].ack()
        with pytest.raises(BatchError, match="1 of 3") as caught:
            await queue.ack(messages)
        outcomes = caught.value.outcomes
        assert (outcomes[0], outcomes[2]) == (None, None)
        assert isinstance(outcomes[1], AlreadySettled)
        assert caught.value.failed == [1]
        await lab.nothing(queue)

    @needs("kept-once-received", "lease")
    async def test_an_ack_of_many_says_which_leases_were_lost(self, lab: Lab) -> None:
        """The message that somebody else has is not touched, its neighbour is acked."""
        queue = lab.queue(lease=lab.lease)
        await queue.put("slow")
        slow = await lab.receive(queue)
        again = await lab.receive(lab.keeper())
        await lab.keeper().put("quick")
        quick = await lab.receive(queue)
        if lab.capabilities.extend:
            await quick.extend(60)
        with pytest.raises(BatchError) as caught:
            await queue.ack([slow, quick])
        assert isinstance(caught.value.outcomes[0], LeaseLost)
        assert caught.value.outcomes[1] is None
        await again.ack()
        await lab.nothing(queue, 1.5 * lab.lease)

    @needs("nack")
    async def test_a_nack_of_many_says_which_failed(self, lab: Lab) -> None:
        """As an ack of many."""
        queue = lab.queue()
        await queue.put_many([0, 1, 2])
        messages = [await lab.receive(queue) for _ in range(3)]
        await messages[0].ack()
        with pytest.raises(BatchError) as caught:
            await queue.nack(messages)
        assert caught.value.failed == [0]
        kept = {message.body for message in messages[1:]}
        assert set(await lab.bodies(queue, 2)) == kept

    async def test_a_message_twice_in_a_batch(self, lab: Lab) -> None:
        """Its first mention settles it, the second fails."""
        queue = lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)
        with pytest.raises(BatchError) as caught:
            await queue.ack([message, message])
        assert caught.value.failed == [1]
        await lab.nothing(queue)

    @needs("max_size")
    async def test_a_full_queue_takes_no_more(self, lab: Lab) -> None:
        """`Full` for a put; a batch is stored as far as there is room, and says how far that was."""
        queue = lab.queue(options={"max_size": "3"})
        await queue.put(0)
        with pytest.raises(BatchError) as caught:
            await queue.put_many([1, 2, 3, 4])
        outcomes = caught.value.outcomes
        assert [type(outcome) for outcome in outcomes] == [Receipt, Receipt, Full, Full]
        assert not caught.value.in_doubt
        with pytest.raises(Full) as full:
            await queue.put(5)
        assert not full.value.in_doubt
        assert full.value.retryable
        assert sorted(await lab.bodies(queue, 3)) == [0, 1, 2]
        await lab.nothing(queue)
        await queue.put(6)
        assert await lab.bodies(queue, 1) == [6]

    @needs("kept-once-received", "max_size", "nack")
    async def test_a_full_queue_takes_back_what_was_its_own(self, lab: Lab) -> None:
        """A nack is no put: it works on a full queue."""
        queue = lab.queue(options={"max_size": "1"})
        await queue.put("held")
        message = await lab.receive(queue)
        await queue.put("waits")
        await message.nack()
        assert sorted(await lab.bodies(queue, 2)) == ["held", "waits"]

    async def test_the_arguments_of_a_batch_hold_for_each(self, lab: Lab) -> None:
        """Headers, priority, delay and ttl; what is absent is refused, and nothing is sent."""
        queue = lab.queue()
        given = {"headers": {"h": "1"}, "priority": 9, "delay": 0.2, "ttl": 60}
        usable = {name: value for name, value in given.items() if lab.capabilities[name]}
        for name in given.keys() - usable.keys():
            with pytest.raises(Unsupported, match=name):
                await queue.put_many([1, 2], **{name: given[name]})  # type: ignore[arg-type]
        start = time.monotonic()
        await queue.put_many([1, 2], **usable)  # type: ignore[arg-type]
        for _ in range(2):
            async with await lab.receive(queue) as message:
                assert dict(message.headers) == usable.get("headers", {})
                if "priority" in usable:
                    assert message.priority == 9
                if "delay" in usable:
                    assert time.monotonic() - start >= 0.195
                if "ttl" in usable:
                    assert message.expires_at is not None
        await lab.nothing(queue)
