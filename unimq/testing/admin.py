"""Group 11: counting, looking, removing. Each is refused where it is absent: see `refusals`."""

import time

import pytest

from unimq.errors import LeaseLost
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import Lab

__all__ = ["Admin"]


class Admin(Cases):
    """What the people who operate a queue ask for."""

    @needs("stats")
    async def test_size_counts_what_waits(self, lab: Lab) -> None:
        """Ready and delayed messages, not those in hand; the queue does not have to exist."""
        queue = lab.queue()
        assert await queue.size() == 0
        await queue.put_many([0, 1, 2])
        assert await queue.size() == 3
        message = await lab.receive(queue)
        assert await queue.size() == 2
        await message.ack()
        assert await queue.size() == 2
        if lab.capabilities.delay:
            await queue.put("later", delay=60)
            assert await queue.size() == 3

    @needs("stats")
    async def test_stats_count_by_state(self, lab: Lab) -> None:
        """What is unknown is `None`, what is known is right, unless it is said to be approximate."""
        queue = lab.queue()
        start = time.time()
        await queue.put_many([0, 1, 2])
        delayed = 1 if lab.capabilities.delay else 0
        if delayed:
            await queue.put("later", delay=60)
        message = await lab.receive(queue)
        stats = await queue.stats()
        if not stats.approximate:
            assert stats.ready == 2
            assert stats.delayed in (delayed, None)
            held = 1 if lab.capabilities.guarantee != "at-most-once" else 0
            assert stats.leased in (held, None)
        assert stats.oldest is None or 0 <= stats.oldest <= time.time() - start + 1
        await message.ack()
        assert (await queue.stats()).leased in (0, None)

    @needs("stats", "ttl")
    async def test_stats_do_not_count_what_has_expired(self, lab: Lab) -> None:
        """Where the backend itself knows of expiry."""
        if lab.capabilities.ttl.level != "native":
            pytest.skip("the backend does not know of expiry")
        queue = lab.queue()
        await queue.put("dies", ttl=0.1)
        await queue.put("lives")
        await lab.sleep(0.15)
        stats = await queue.stats()
        assert stats.approximate or stats.ready == 1

    @needs("stats", "kept-once-received", "lease")
    async def test_stats_count_what_came_back(self, lab: Lab) -> None:
        """When a lease has ended the message is ready, without anybody having asked for it."""
        queue = lab.queue(lease=lab.lease)
        await queue.put("x")
        message = await lab.receive(queue)
        remaining = message.lease_remaining
        await lab.sleep((lab.lease if remaining is None else remaining) + 0.1)
        stats = await queue.stats()
        assert (stats.ready, stats.leased) in ((1, 0), (1, None))

    @needs("peek")
    async def test_peek_looks_and_takes_nothing(self, lab: Lab) -> None:
        """The next ones first, up to the limit, as often as one likes; they are all received afterwards."""
        queue, most = lab.queue(), lab.capabilities.limits.peek or 10
        assert await queue.peek() == []
        headers = {"h": "1"} if lab.capabilities.headers else None
        await queue.put_many([0, 1, 2], headers=headers)
        for _ in range(2):
            seen = await queue.peek(2)
            assert len(seen) == min(2, most)
            if lab.capabilities.order != "none":
                assert [message.body for message in seen] == [0, 1][:most]
            assert dict(seen[0].headers) == (headers or {})
        assert len(await queue.peek()) == 1
        everything = sorted(message.body for message in await queue.peek(10))
        assert everything == [0, 1, 2] if most >= 3 else len(everything) == most
        assert sorted(await lab.bodies(queue, 3)) == [0, 1, 2]
        assert await queue.peek(10) == []

    @needs("peek")
    async def test_peek_shows_what_a_get_would_bring(self, lab: Lab) -> None:
        """Higher priorities first; nothing that is delayed, in hand or expired."""
        queue = lab.queue()
        await queue.put("held")
        held = await lab.receive(queue)
        await queue.put("plain")
        wanted = ["plain"]
        if lab.capabilities.priority:
            await queue.put("urgent", priority=9)
            wanted.insert(0, "urgent")
        if lab.capabilities.delay:
            await queue.put("later", delay=60)
        if lab.capabilities.ttl.level == "native":
            await queue.put("dead", ttl=0.05)
            await lab.sleep(0.1)
        assert [message.body for message in await queue.peek(10)] == wanted[: lab.capabilities.limits.peek]
        await held.ack()

    @needs("purge")
    async def test_purge_removes_what_nobody_holds(self, lab: Lab) -> None:
        """Ready and delayed messages; it says how many. A message in hand can be settled afterwards."""
        queue = lab.queue()
        assert await queue.purge() == 0
        await queue.put_many([0, 1, 2, 3])
        held = await lab.receive(queue)
        delayed = 1 if lab.capabilities.delay else 0
        if delayed:
            await queue.put("later", delay=0.3)
        assert await queue.purge() == 3 + delayed
        await lab.nothing(queue, 0.4 if delayed else 0.1)
        await held.ack()
        if lab.capabilities.stats:
            assert await queue.size() == 0
        await queue.put("next")
        assert await lab.bodies(queue, 1) == ["next"]

    @needs("purge", "kept-once-received", "nack")
    async def test_purge_leaves_what_is_in_hand(self, lab: Lab) -> None:
        """It comes back when it is given back."""
        queue = lab.queue()
        await queue.put("x")
        held = await lab.receive(queue)
        await queue.purge()
        await held.nack()
        assert await lab.bodies(queue, 1) == ["x"]

    @needs("purge")
    async def test_purge_is_for_one_queue(self, lab: Lab) -> None:
        """Neither its neighbour nor its dead letters are touched."""
        queue, neighbour = lab.queue(), lab.queue(lab.other_name())
        await neighbour.put("stays")
        await queue.put_many([0, 1])
        if lab.capabilities.dead_letters:
            await (await lab.receive(queue)).reject()
        await queue.purge()
        assert await lab.bodies(neighbour, 1) == ["stays"]
        if lab.capabilities.dead_letters:
            assert len(await lab.bodies(queue.dead, 1)) == 1

    @needs("delete")
    async def test_delete_removes_everything(self, lab: Lab) -> None:
        """What is in hand too: its ack raises `LeaseLost`, it does not come back. The name can be used again."""
        queue = lab.queue(lease=lab.lease) if lab.capabilities.lease else lab.queue()
        neighbour = lab.queue(lab.other_name())
        await neighbour.put("stays")
        await queue.put_many([0, 1, 2])
        held = await lab.receive(queue)
        await queue.delete()
        await lab.nothing(queue, 1.5 * lab.lease)
        if lab.capabilities.guarantee != "at-most-once":
            with pytest.raises(LeaseLost):
                await held.ack()
        await queue.put("again")
        assert await lab.bodies(lab.keeper(), 1) == ["again"]
        assert await lab.bodies(neighbour, 1) == ["stays"]
        await queue.delete()
        await queue.delete()

    @needs("queues")
    async def test_queues_are_listed(self, lab: Lab) -> None:
        """Those that hold messages, sorted, each once."""
        client = lab.client()
        names = sorted(lab.other_name() for _ in range(3))
        for name in reversed(names):
            await client.queue(name).put_many([0, 1])
        listed = await client.queues()
        assert listed == sorted(set(listed))
        assert set(names) <= set(listed)

    @needs("cancel")
    async def test_a_waiting_message_can_be_cancelled(self, lab: Lab) -> None:
        """By its receipt's id, ready or delayed; once. The others stay."""
        queue = lab.queue()
        receipts = await queue.put_many([0, 1, 2])
        own = await queue.put("own", id="an own id")
        cancelled = [receipts[1], own]
        if lab.capabilities.delay:
            cancelled.append(await queue.put("later", delay=0.2))
        for receipt in cancelled:
            assert receipt.id is not None
            assert await queue.cancel(receipt.id) is True
            assert await queue.cancel(receipt.id) is False
        assert await queue.cancel("nobody") is False
        assert sorted(await lab.bodies(queue, 2)) == [0, 2]
        await lab.nothing(queue, 0.3)

    @needs("cancel")
    async def test_an_id_that_was_put_twice_is_cancelled_twice(self, lab: Lab) -> None:
        """A repeated put with `id=` may have stored it again: all that wait are removed, and nothing else."""
        queue = lab.queue()
        for body in ("first", "again"):
            await queue.put(body, id="the same")
        await queue.put("other")
        assert await queue.cancel("the same") is True
        assert await queue.cancel("the same") is False
        assert await lab.bodies(queue, 1) == ["other"]
        await lab.nothing(queue)

    @needs("cancel", "kept-once-received")
    async def test_a_message_in_hand_cannot_be_cancelled(self, lab: Lab) -> None:
        """It belongs to its consumer."""
        queue = lab.queue()
        receipt = await queue.put("x")
        assert receipt.id is not None
        message = await lab.receive(queue)
        assert await queue.cancel(receipt.id) is False
        await message.ack()
        assert await queue.cancel(receipt.id) is False

    @needs("stats", "nack")
    async def test_nothing_is_left_behind(self, lab: Lab) -> None:
        """After everything was settled all counts are 0 or unknown."""
        queue = lab.queue()
        await queue.put_many([0, 1, 2, 3])
        for message in [await lab.receive(queue) for _ in range(4)]:
            if message.body == 0:
                await message.nack()
            elif message.body == 1 and lab.capabilities.dead_letters:
                await message.reject()
            else:
                await message.ack()
        await (await lab.receive(queue)).ack()
        stats = await queue.stats()
        if not stats.approximate:
            assert (stats.ready, stats.delayed or 0, stats.leased or 0) == (0, 0, 0)
