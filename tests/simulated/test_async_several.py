"""Gets over several queues with asyncio: few threads for any number of them, and nothing taken that nobody wants."""

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from servers import Broker

import unimq

Part = Callable[["unimq.AsyncClient"], Awaitable[None]]
Schemes = pytest.mark.parametrize("scheme", ["simsame", "simduplex"])


def run(broker: Broker, part: Part, scheme: str = "simsame") -> None:
    async def main() -> None:
        async with unimq.AsyncClient(f"{scheme}://{broker.name}") as client:
            await part(client)

    asyncio.run(main())


def pumps() -> int:
    return sum("pump" in thread.name for thread in threading.enumerate())


async def waiting(
    client: "unimq.AsyncClient", sets: Sequence[Sequence["unimq.AsyncQueue[Any]"]], limit: int = 1
) -> "list[asyncio.Task[Any]]":
    """A get over each set, which waits, and of which the server knows."""
    before = sum(len(pump.waiting) for pump in client.pumps.all)
    tasks = [asyncio.create_task(client.get_many(one, limit)) for one in sets]

    def asked_for() -> bool:
        lines = [pump._line for pump in client.pumps.all]
        known = sum(line.asked.issuperset(one.endpoints) for line in lines for one in list(line.waiters))
        return known == before + len(tasks)

    while not asked_for():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return tasks


@Schemes
def test_any_number_of_sets_shares_a_few_threads(broker: Broker, scheme: str) -> None:
    """And each get has a message of its own queues, delivered once."""

    async def part(client: "unimq.AsyncClient") -> None:
        queues = [client.queue(f"q{number}") for number in range(8)]
        sets = list(itertools.combinations(queues, 2))
        tasks = await waiting(client, sets)
        assert pumps() <= 4
        for one, _ in sets:
            await one.put("x")
        messages = [message for got in await asyncio.wait_for(asyncio.gather(*tasks), 20) for message in got]
        assert len(messages) == len(sets) == 28
        for (message,), wanted in zip([await task for task in tasks], sets, strict=True):
            assert message.queue in {queue.name for queue in wanted}
        counts = {job.deliveries for job in broker.jobs.values()}
        assert counts == {1}
        await asyncio.gather(*[message.ack() for message in messages])

    run(broker, part, scheme)
    assert not broker.jobs
    assert not broker.violations


def test_a_get_of_the_same_queues_shares_a_thread_with_its_like(broker: Broker) -> None:
    """A second set has another one, and wakes nobody."""

    async def part(client: "unimq.AsyncClient") -> None:
        red, blue, green = client.queue("red"), client.queue("blue"), client.queue("green")
        await waiting(client, [(red, blue)] * 20)
        assert pumps() == 1
        opened = broker.opened
        tasks = await waiting(client, [(red, green)])
        assert pumps() == 2
        assert broker.opened == opened + 1
        await green.put("g")
        assert [one.body for one in await asyncio.wait_for(tasks[0], 20)] == ["g"]

    async def cancelled(client: "unimq.AsyncClient") -> None:
        await part(client)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    run(broker, cancelled)


def test_no_more_is_taken_than_somebody_wants(broker: Broker) -> None:
    """Of each queue as much as the gets on it take, whatever the others take; the rest stays for others."""

    async def part(client: "unimq.AsyncClient") -> None:
        queues = [client.queue(f"q{number}") for number in range(7)]
        pairs = list(itertools.pairwise(queues))  # more sets than threads
        tasks = await waiting(client, pairs)
        assert pumps() <= 4
        await queues[0].put_many(range(10))  # which one get takes one of
        (got,) = await asyncio.wait_for(tasks[0], 20)
        assert got.body == 0
        await queues[6].put("last")
        assert [one.body for one in await asyncio.wait_for(tasks[5], 20)] == ["last"]
        assert sum(job.deliveries for job in broker.jobs.values()) == 2
        for task in tasks[1:5]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(broker, part)


def test_a_queue_that_nobody_waits_for_any_more_is_left_alone(broker: Broker) -> None:
    """Others that waited in the same thread go on."""

    async def part(client: "unimq.AsyncClient") -> None:
        queues = [client.queue(f"q{number}") for number in range(6)]
        tasks = await waiting(client, list(itertools.pairwise(queues)))
        gone = tasks.pop(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        while any(queues[0]._endpoint in pump._line.asked for pump in client.pumps.all):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await queues[0].put("for others")
        await queues[5].put("x")
        assert [one.body for one in await asyncio.wait_for(tasks[-1], 20)] == ["x"]
        assert [job.deliveries for job in broker.jobs.values()] == [0, 1]
        for task in tasks:
            task.cancel()

    run(broker, part)


def test_what_cannot_be_asked_together_is_asked_apart(broker: Broker) -> None:
    """Queues of one name with other options, and other leases: each get has its messages as it said."""

    async def part(client: "unimq.AsyncClient") -> None:
        other = client.queue("other")
        sets = [
            (client.queue("jobs"), other),
            (client.queue("jobs", codec="raw"), other),
            (client.queue("jobs", lease=30), client.queue("other", lease=30)),
            *[(client.queue(f"more{number}"), other) for number in range(4)],
            (client.queue("jobs", codec="text"), other),
        ]
        tasks = await waiting(client, sets)
        for wanted in (0, 1, 2, 7):
            await sets[0][0].put(wanted)
        bodies = [(await asyncio.wait_for(tasks[one], 20))[0].body for one in (0, 1, 2, 7)]
        assert [type(body) for body in bodies] == [int, bytes, int, str]
        assert sorted(map(int, bodies)) == [0, 1, 2, 7]
        for task in tasks:
            task.cancel()

    run(broker, part)


def test_short_gets_start_no_threads_of_their_own(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked in those that the client has for calls."""

    async def part(client: "unimq.AsyncClient") -> None:
        red, blue = client.queue("red"), client.queue("blue")
        await red.put_many(range(20))
        started = list[str]()
        real = threading.Thread.start

        def start(self: threading.Thread) -> None:
            started.append(self.name)
            real(self)

        monkeypatch.setattr(threading.Thread, "start", start)
        for number in range(20):
            assert (await client.get([red, blue], timeout=0)).body == number
        with pytest.raises(unimq.Empty):
            await client.get([red, blue], timeout=0.01)
        assert len(started) <= 8

    run(broker, part)


def test_closing_the_client_ends_them(broker: Broker) -> None:
    """With `Closed`; closing one of their queues too."""

    async def main() -> None:
        client = unimq.AsyncClient(f"simsame://{broker.name}")
        red, blue, green = client.queue("red"), client.queue("blue"), client.queue("green")
        first, second = await waiting(client, [(red, blue), (blue, green)])
        await red.close()
        with pytest.raises(unimq.Closed, match="red"):
            await asyncio.wait_for(first, 20)
        with pytest.raises(unimq.Closed):
            await client.get([red, blue], timeout=1)
        await client.close()
        with pytest.raises(unimq.Closed):
            await asyncio.wait_for(second, 20)
        assert not pumps()

    asyncio.run(main())
