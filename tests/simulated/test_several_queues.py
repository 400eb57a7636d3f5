"""Batches over several queues of one client: what becomes of those that the application does not get."""

import asyncio

import pytest
from servers import Broker

import unimq
from unimq.aio import AsyncClient


def test_a_batch_is_one_exchange(broker: Broker) -> None:
    """Not one for each message."""
    with unimq.connect(f"simsame://{broker.name}") as client:
        queues = [client.queue(name) for name in ("a", "b")]
        for queue in queues:
            queue.put_many(range(3))
        assert len(client.get_many(queues)) == 6
        assert broker.opened == 1


def test_a_hook_that_raises_loses_none_of_a_batch(broker: Broker) -> None:
    """The others go to the next get, each from its queue."""
    told: list[object] = []

    def receive(message: "unimq.Message[object]") -> None:
        told.append(message.body)
        if len(told) == 2:
            msg = "the hook's own"
            raise RuntimeError(msg)

    with unimq.connect(f"simsame://{broker.name}", hooks=unimq.Hooks(receive=receive)) as client:
        queues = [client.queue(name) for name in ("a", "b")]
        for number, queue in enumerate(queues):
            queue.put_many([number * 10, number * 10 + 1])
        with pytest.raises(RuntimeError):
            client.get_many(queues, timeout=0)
        found = client.get_many(queues, timeout=0)
        found += client.get_many(queues, timeout=0)
        assert {message.queue for message in found} == {"a", "b"}
        assert len({message.body for message in found} | {told[1]}) == 4


def test_a_batch_that_comes_for_a_cancelled_task_goes_to_the_next(broker: Broker) -> None:
    """At once, and not when its lease has ended."""

    async def run() -> list[object]:
        async with AsyncClient(f"simduplex://{broker.name}") as client:
            queues = [client.queue(name) for name in ("a", "b")]
            waiting = asyncio.create_task(client.get_many(queues))
            await asyncio.sleep(0.1)
            waiting.cancel()
            await queues[1].put(1)
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return [message.body for message in await client.get_many(queues, timeout=5)]

    assert asyncio.run(run()) == [1]
