"""Group 1: opening and closing."""

import time
from typing import Any

import pytest

from unimq.errors import Closed, LeaseLost
from unimq.hooks import ConnectionEvent, Hooks
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import PATIENCE, Lab, best_of, closing

__all__ = ["Opening"]


class Opening(Cases):
    """A queue connects when it is first used and ends when it is closed."""

    async def test_making_a_queue_connects_nothing(self, lab: Lab) -> None:
        """The first connection is made by the first use."""
        events: list[ConnectionEvent] = []
        queue = lab.queue(hooks=Hooks(connection=events.append))
        assert queue.dead.name != queue.name
        assert events == []
        await queue.put("x")
        assert [event.state for event in events] == ["connected"]

    async def test_two_queues_of_one_name_are_one_queue(self, lab: Lab) -> None:
        """What is put through one is received through the other."""
        first, second = lab.queue(), lab.queue()
        await first.put("over there")
        assert await lab.bodies(second, 1) == ["over there"]
        await lab.nothing(first)

    async def test_a_ping_is_answered(self, lab: Lab) -> None:
        """It tells the server's name, and how long the answer took."""
        for asked in (lab.queue(), lab.client()):
            pong = await asked.ping()
            assert pong.server
            assert 0 <= pong.latency < PATIENCE

    async def test_closing_twice_is_closing_once(self, lab: Lab) -> None:
        """A second close does nothing, on a queue that was used and on one that was not."""
        used, unused, client = lab.queue(), lab.queue(), lab.client()
        await used.put("x")
        for one in (used, used, unused, unused, client, client):
            await one.close()

    async def test_what_is_closed_cannot_be_used(self, lab: Lab) -> None:
        """Every use after the close raises `Closed`, and says so of the right queue."""
        queue = lab.queue()
        await queue.put("x")
        await queue.close()
        uses: list[Any] = [
            lambda: queue.put("x"),
            lambda: queue.put_many(["x"]),
            lambda: queue.get(timeout=0),
            lambda: queue.get(timeout=1),
            lambda: queue.get_many(timeout=0),
            queue.ping,
            *([queue.size] if queue.capabilities.stats else []),
            *([queue.peek] if queue.capabilities.peek else []),
            *([queue.purge] if queue.capabilities.purge else []),
        ]
        for use in uses:
            with pytest.raises(Closed, match="was closed"):
                await use()
        with pytest.raises(Closed):
            async for _ in queue:
                pass

    async def test_a_message_of_a_closed_queue_cannot_be_settled(self, lab: Lab) -> None:
        """The error says that the queue was closed, or that the lease ended with its connection."""
        queue = lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)
        await queue.close()
        with pytest.raises((Closed, LeaseLost)):
            await message.ack()

    async def test_a_close_ends_a_get_that_waits(self, lab: Lab) -> None:
        """The get raises `Closed`, at once: within half a second in the best of three."""
        latencies: list[float] = []
        for _ in range(3):
            queue = lab.queue()
            waiting = lab.start(queue.get())
            await lab.sleep(0.1)
            start = time.monotonic()
            await queue.close()
            with pytest.raises(Closed):
                await waiting.result()
            latencies.append(time.monotonic() - start)
        assert best_of(latencies) < 0.5

    async def test_a_client_closes_its_queues(self, lab: Lab) -> None:
        """None of them can be used afterwards."""
        client = lab.client()
        queues = [client.queue(lab.other_name()) for _ in range(2)]
        for queue in queues:
            await queue.put("x")
        await client.close()
        for queue in queues:
            with pytest.raises(Closed):
                await queue.put("x")
        with pytest.raises(Closed):
            await client.ping()
        with pytest.raises(Closed):
            client.queue(lab.name)

    async def test_a_queue_of_a_client_closes_alone(self, lab: Lab) -> None:
        """Closing it leaves the client and its other queues usable."""
        client = lab.client()
        ends, stays = client.queue(lab.other_name()), client.queue(lab.other_name())
        await ends.close()
        await stays.put("x")
        assert await lab.bodies(stays, 1) == ["x"]
        with pytest.raises(Closed):
            await ends.put("x")

    async def test_the_end_of_a_with_block_closes(self, lab: Lab) -> None:
        """Also when the block raises; the error passes."""
        queue: Any = lab.queue()
        with pytest.raises(KeyError):
            async with queue as entered:
                assert entered.name == queue.name
                await queue.put("x")
                raise KeyError
        with pytest.raises(Closed):
            await queue.put("x")
        async with lab.client() as client:
            await client.ping()
        with pytest.raises(Closed):
            await client.ping()

    @needs("kept-once-received")
    async def test_fetched_and_unseen_messages_go_back_at_close(self, lab: Lab) -> None:
        """An iteration that ends early gives back what it had fetched, in its order, and not counted where it can."""
        queue = lab.queue()
        await queue.put_many(list(range(5)))
        async with closing(queue.consume(prefetch=5, timeout=PATIENCE)) as messages:
            await (await anext(messages)).ack()
        rest = await lab.bodies(lab.queue(), 4)
        assert (rest if lab.capabilities.order != "none" else sorted(rest)) == [1, 2, 3, 4]
