"""Group 7: how often a message was delivered, what becomes of one that keeps failing, and how it comes back."""

import time

import pytest

from unimq.errors import InvalidArgument, Unsupported
from unimq.testing.cases import Cases
from unimq.testing.gates import needs, unless
from unimq.testing.lab import PATIENCE, Lab

__all__ = ["Counting"]


class Counting(Cases):
    """Deliveries are counted as declared, and too many end in the dead letters."""

    @needs("delivery_count", "nack")
    async def test_nacks_count(self, lab: Lab) -> None:
        """1, 2, 3; and a neighbour has its own count."""
        queue = lab.queue()
        await queue.put("x")
        for count in (1, 2, 3):
            message = await lab.receive(queue)
            assert message.delivery_count == count
            # A count of nacks alone does not know of deliveries that ended with their consumer.
            first = (False,) if lab.capabilities.counts == "fetches" else (False, None)
            assert message.redelivered in ((True,) if count > 1 else first)
            await message.nack()
        await queue.ack([await lab.receive(queue)])
        await queue.put("y")
        async with await lab.receive(queue) as message:
            assert message.delivery_count == 1

    @needs("delivery_count", "kept-once-received", "lease", counts="fetches")
    async def test_ended_leases_count(self, lab: Lab) -> None:
        """A message that came back with its lease was delivered once more."""
        queue = lab.queue(lease=lab.lease)
        await queue.put("x")
        for count in (1, 2):
            assert (await lab.receive(queue)).delivery_count == count
        async with await lab.receive(lab.keeper()) as message:
            assert message.delivery_count == 3

    @unless("delivery_count")
    async def test_an_unknown_count_is_none(self, lab: Lab) -> None:
        """It is never guessed."""
        queue = lab.queue()
        await queue.put("x")
        async with await lab.receive(queue) as message:
            assert message.delivery_count is None

    @needs("peek")
    async def test_looking_does_not_count(self, lab: Lab) -> None:
        """A peek is no delivery."""
        queue = lab.queue()
        await queue.put("x")
        for _ in range(3):
            await queue.peek()
        async with await lab.receive(queue) as message:
            assert message.delivery_count in (1, None)

    @needs("delivery_count", "nack", "dead_letters")
    async def test_max_deliveries_ends_in_the_dead_letters(self, lab: Lab) -> None:
        """The last nack moves the message there, and its reason says so."""
        queue = lab.queue(max_deliveries=3)
        await queue.put("poison")
        for _ in range(3):
            message = await lab.receive(queue)
            assert message.body == "poison"
            await message.nack()
        await lab.nothing(queue)
        dead = await lab.receive(queue.dead)
        assert dead.body == "poison"
        assert "3" in dead.headers["unimq-dead-reason"]
        assert dead.headers["unimq-dead-deliveries"] == "3"
        await dead.ack()

    @needs("delivery_count", "nack", "dead_letters")
    async def test_max_deliveries_ends_in_batches_too(self, lab: Lab) -> None:
        """A nack of many moves those that were delivered often enough, and gives the others back."""
        queue = lab.queue(max_deliveries=2)
        await queue.put("old")
        await (await lab.receive(queue)).nack()
        await queue.put("new")
        messages = [await lab.receive(queue), await lab.receive(queue)]
        await queue.nack(messages)
        assert await lab.bodies(queue, 1) == ["new"]
        await lab.nothing(queue)
        assert await lab.bodies(queue.dead, 1) == ["old"]

    @needs("delivery_count", "kept-once-received", "lease", "dead_letters", counts="fetches")
    async def test_max_deliveries_ends_a_crash_loop(self, lab: Lab) -> None:
        """A message whose consumers never settle it is delivered so often, and no more."""
        queue = lab.queue(max_deliveries=2, lease=lab.lease)
        await queue.put("kills")
        for count in (1, 2):
            message = await lab.receive(queue)
            assert message.delivery_count == count
        dead, remaining = lab.keeper().dead, message.lease_remaining
        wait = (lab.lease if remaining is None else remaining) + 0.5 * lab.lease
        found: list[object] = []
        until = time.monotonic() + PATIENCE
        while not found and time.monotonic() < until:
            await lab.nothing(queue, wait)  # a get that meets it again gives it up
            found = await lab.left(dead)
        assert found == ["kills"]

    @needs("delivery_count", "nack", "dead_letters")
    async def test_the_innocent_do_not_die_with_the_guilty(self, lab: Lab) -> None:
        """An iteration that fails at its first message counts nothing for those behind it."""
        queue = lab.queue(max_deliveries=2, options={"prefetch": "5"})
        await queue.put_many(["guilty", *["innocent"] * 4])
        done = 0
        for _ in range(8):
            async for message in queue.consume(timeout=0.1):
                if message.body == "guilty":
                    await message.nack()
                    break
                await message.ack()
                done += 1
        assert done == 4
        assert await lab.bodies(queue.dead, 1) == ["guilty"]
        await lab.nothing(queue.dead, 0)

    @needs("dead_letters", "headers")
    async def test_redrive_brings_back(self, lab: Lab) -> None:
        """Dead letters return as if they had never been delivered, with all they had; it says how many."""
        queue = lab.queue()
        priority = 7 if lab.capabilities.priority else None
        await queue.put("x", headers={"own": "kept"}, priority=priority)
        await (await lab.receive(queue)).reject("broken")
        assert await queue.dead.redrive() == 1
        again = await lab.receive(queue)
        assert again.body == "x"
        assert dict(again.headers) == {"own": "kept"}
        assert again.delivery_count in (1, None)
        if priority is not None:
            assert again.priority == priority
        await again.ack()
        await lab.nothing(queue.dead)
        assert await queue.dead.redrive() == 0

    @needs("dead_letters")
    async def test_redrive_stops_at_its_limit(self, lab: Lab) -> None:
        """The rest stays dead."""
        queue = lab.queue()
        await queue.put_many([0, 1, 2])
        for _ in range(3):
            await (await lab.receive(queue)).reject()
        assert await queue.dead.redrive(2) == 2
        assert len(await lab.bodies(queue, 2)) == 2
        await lab.nothing(queue)
        assert await queue.dead.redrive(2) == 1
        assert len(await lab.bodies(queue, 1)) == 1
        with pytest.raises(InvalidArgument, match="limit=0"):
            await queue.dead.redrive(0)

    @needs("dead_letters", "headers", "kept-once-received")
    async def test_redrive_brings_back_one(self, lab: Lab) -> None:
        """The one that has the id; the others are still there, each as if nobody had looked for it."""
        queue = lab.queue()
        for body in range(4):
            await queue.put(body, id=f"no{body}")
            await (await lab.receive(queue)).reject()
        assert await queue.dead.redrive(id="no2") == 1
        assert await lab.bodies(queue, 1) == [2]
        assert await queue.dead.redrive(id="no2") == 0
        await lab.nothing(queue)
        assert sorted(await lab.bodies(queue.dead, 3)) == [0, 1, 3]

    @needs("dead_letters", "headers", guarantee="at-most-once")
    async def test_redrive_of_one_is_refused(self, lab: Lab) -> None:
        """Where the others would be lost with the process that looks through them."""
        queue = lab.queue()
        await queue.put("x", id="x")
        await (await lab.receive(queue)).reject()
        with pytest.raises(Unsupported, match="at most once"):
            await queue.dead.redrive(id="x")
        assert await lab.bodies(queue.dead, 1) == ["x"]

    @needs("dead_letters")
    async def test_redrive_takes_its_time(self, lab: Lab) -> None:
        """With a rate; the pause is between messages, and no message is in hand meanwhile."""
        queue = lab.queue()
        await queue.put_many([0, 1, 2])
        for _ in range(3):
            await (await lab.receive(queue)).reject()
        start = time.monotonic()
        assert await queue.dead.redrive(rate=5) == 3
        assert time.monotonic() - start >= 0.4
        assert sorted(await lab.bodies(queue, 3)) == [0, 1, 2]

    @needs("dead_letters")
    async def test_dead_letters_are_a_queue(self, lab: Lab) -> None:
        """They are received, iterated over and counted like others; `?dead=` names another place for them."""
        queue = lab.queue(options={"dead": lab.other_name()})
        assert queue.dead.name != f"{lab.name}.dead"
        await queue.put_many([0, 1])
        for message in [await lab.receive(queue), await lab.receive(queue)]:
            await message.reject()
        if lab.capabilities.stats and lab.capabilities.stats.level == "native":
            assert await queue.dead.size() == 2
        seen: list[int] = []
        async for message in queue.dead.consume(timeout=0.2):
            seen.append(message.body)
            await message.ack()
        assert sorted(seen) == [0, 1]

    @needs("kept-once-received", "dead_letters")
    async def test_undecodable_messages_may_be_dead_letters(self, lab: Lab) -> None:
        """With `?invalid=reject` they are moved unseen, and a redrive gives their bytes back."""
        foreign = lab.queue(codec="raw", options={"envelope": "never"})
        queue = lab.queue(options={"invalid": "reject"})
        await foreign.put_many([b"\xff\x00{", b'"fine"'])
        assert await lab.bodies(queue, 1) == ["fine"]
        await lab.nothing(queue)
        dead = await queue.dead.get(timeout=PATIENCE)
        assert dead.raw == b"\xff\x00{"
        assert "decode" in dead.headers["unimq-dead-reason"]
        if lab.capabilities.nack:
            await dead.nack()
            assert await queue.dead.redrive() == 1
            assert await lab.bodies(lab.queue(codec="raw"), 1) == [b"\xff\x00{"]
        else:
            await dead.ack()
