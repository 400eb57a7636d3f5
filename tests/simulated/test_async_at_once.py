"""Several batches of puts on their way at once: where that changes no order, and where one stands still."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from servers import DUPLEX, SAME_SESSION, Broker, SimDriver, SimSession

import unimq
from unimq import registry


class Gate:
    """Sends that stand still until they may go on."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        """The broker and the number of messages of each."""
        self.begins = threading.Semaphore(0)
        self.goes_on = threading.Event()

    async def has_begun(self) -> None:
        """Wait for the next to begin."""
        assert await asyncio.to_thread(self.begins.acquire, timeout=30)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Every send of this test; each counts as a slow one at once."""
    found = Gate()
    real = SimSession.send

    def send(self: SimSession, queue: str, messages: Sequence[Any], deadline: float) -> Any:
        found.begun.append((self.broker.name, len(messages)))
        found.begins.release()
        assert found.goes_on.wait(30)
        return real(self, queue, messages, deadline)

    monkeypatch.setattr(SimSession, "send", send)
    monkeypatch.setattr("unimq.aio.batcher._SLOW", 0.0)
    return found


async def puts(queue: "unimq.AsyncQueue[Any]", gate: Gate, bodies: Sequence[int]) -> "list[asyncio.Task[Any]]":
    """A put after the other, each when the exchange of the one before it has begun."""
    tasks = list[asyncio.Task[Any]]()
    for body in bodies:
        tasks.append(asyncio.create_task(queue.put(body)))
        await gate.has_begun()
    return tasks


def test_a_host_that_stands_still_holds_up_no_put_to_another(broker: Broker, other_broker: Broker, gate: Gate) -> None:
    """What is asked for next goes there."""

    async def main() -> None:
        async with unimq.AsyncQueue(f"simsame://{broker.name},{other_broker.name}/jobs") as queue:
            tasks = await puts(queue, gate, [0, 1])
            assert {name for name, _ in gate.begun} == {broker.name, other_broker.name}
            gate.goes_on.set()
            await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_host_that_stands_still_holds_up_no_ack_at_another(
    broker: Broker, other_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though one task after the other acks messages of one queue."""
    goes_on, stalled = threading.Event(), threading.Event()
    real = SimSession.ack

    def ack(self: SimSession, *arguments: Any) -> Any:
        if self.broker is broker:
            stalled.set()
            assert goes_on.wait(30)
        return real(self, *arguments)

    monkeypatch.setattr(SimSession, "ack", ack)

    async def main() -> None:
        async with unimq.AsyncQueue(f"simsame://{broker.name},{other_broker.name}/jobs") as queue:
            await queue.put(0)
            await queue.put(1)
            here, there = sorted(
                [await queue.get(timeout=20) for _ in range(2)],
                key=lambda one: one._session.host.url.hosts[0].name != broker.name,
            )
            slow = asyncio.create_task(here.ack())
            assert await asyncio.to_thread(stalled.wait, 30)
            try:
                await asyncio.wait_for(there.ack(), 20)
                assert not slow.done()
            finally:
                goes_on.set()
            await slow

    asyncio.run(main())
    assert not broker.jobs
    assert not other_broker.jobs


def test_where_there_is_an_order_puts_go_one_batch_after_the_other(broker: Broker, gate: Gate) -> None:
    """So what tasks put at the same time is stored as it was asked for, however slow the server is."""

    async def main() -> None:
        async with unimq.AsyncQueue(f"simduplex://{broker.name}/jobs") as queue:
            tasks = await puts(queue, gate, [0])
            tasks += [asyncio.create_task(queue.put(number)) for number in range(1, 50)]
            for _ in range(5):
                await asyncio.sleep(0)
            assert gate.begun == [(broker.name, 1)]
            gate.goes_on.set()
            await asyncio.gather(*tasks)
            assert gate.begun == [(broker.name, 1), (broker.name, 49)]
            assert [message.body for message in await queue.get_many(100, timeout=20)] == list(range(50))

    asyncio.run(main())
    assert DUPLEX.capabilities(unimq.URL.parse("simduplex://h")).order != "none"


def test_where_there_is_none_several_are_on_their_way(broker: Broker, gate: Gate) -> None:
    """Four at most; each has a session."""
    declared = SAME_SESSION.capabilities(unimq.URL.parse("simsame://h"))
    registry.register("simnone", SimDriver("no-order", SAME_SESSION._session, replace(declared, order="none")))

    async def main() -> None:
        async with unimq.AsyncQueue(f"simnone://{broker.name}/jobs") as queue:
            tasks = await puts(queue, gate, range(4))
            tasks += [asyncio.create_task(queue.put(number)) for number in range(4, 20)]
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(gate.begun) == 4
            gate.goes_on.set()
            await asyncio.gather(*tasks)
            assert await queue.size() == 20

    try:
        asyncio.run(main())
    finally:
        registry.unregister("simnone")
