"""What the asyncio queues of one client share that have the same name and options, and what each has for itself."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from servers import Broker, SimSession

import unimq

Part = Callable[["unimq.AsyncClient"], Awaitable[None]]


def run(broker: Broker, part: Part, scheme: str = "simsame") -> None:
    async def main() -> None:
        async with unimq.AsyncClient(f"{scheme}://{broker.name}") as client:
            await part(client)

    asyncio.run(main())


class Sends:
    """How many messages each exchange sent; they stand still while `goes_on` is not set."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    async def together(self, puts: Sequence[Awaitable[object]]) -> None:
        """Let all ask before the first exchange is over."""
        self.sizes.clear()
        self.goes_on.clear()
        tasks = [asyncio.ensure_future(put) for put in puts]
        for _ in range(5):
            await asyncio.sleep(0)
        self.goes_on.set()
        await asyncio.gather(*tasks)


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> Sends:
    """What is sent in this test."""
    found = Sends()
    real = SimSession.send

    def send(self: SimSession, queue: str, messages: Sequence[Any], deadline: float) -> Any:
        found.sizes.append(len(messages))
        assert found.goes_on.wait(30)
        return real(self, queue, messages, deadline)

    monkeypatch.setattr(SimSession, "send", send)
    return found


def pumps() -> int:
    return sum("pump" in thread.name for thread in threading.enumerate())


async def waiting(queues: Sequence["unimq.AsyncQueue[Any]"]) -> "list[asyncio.Task[Any]]":
    """A get on each, which waits."""
    tasks = [asyncio.create_task(queue.get()) for queue in queues]
    while sum(len(pump.waiting) for pump in {queue._lane.pump for queue in queues}) < len(tasks):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return tasks


def test_queues_of_one_name_share_exchanges_and_a_thread(broker: Broker, sends: Sends) -> None:
    """However often it was asked for."""

    async def part(client: "unimq.AsyncClient") -> None:
        await sends.together([client.queue("jobs").put(number) for number in range(100)])
        assert sum(sends.sizes) == 100
        assert len(sends.sizes) <= 2
        await client.queue("jobs").ack(await client.queue("jobs").get_many(100, timeout=20))
        tasks = await waiting([client.queue("jobs") for _ in range(50)])
        assert pumps() == 1
        await client.queue("jobs").put_many(range(50))
        assert sorted([(await task).body for task in tasks]) == list(range(50))

    run(broker, part)


def test_replies_go_together_with_puts(broker: Broker, sends: Sends) -> None:
    """To the same queue."""

    async def part(client: "unimq.AsyncClient") -> None:
        jobs, answers = client.queue("jobs"), client.queue("answers")
        await asyncio.gather(*[jobs.put(number, reply_to="answers") for number in range(40)])
        requests = await jobs.get_many(40, timeout=20)
        assert len(requests) == 40
        await sends.together([*[one.reply("done") for one in requests], *[answers.put("more") for _ in range(40)]])
        assert sum(sends.sizes) == 80
        assert len(sends.sizes) <= 2

    run(broker, part)


def test_what_differs_in_its_options_is_not_shared(broker: Broker) -> None:
    """Each gets its messages as it said."""

    async def part(client: "unimq.AsyncClient") -> None:
        plain, raw, typed = client.queue("jobs"), client.queue("jobs", codec="raw"), client.queue("jobs", type=int)
        other = client.queue("jobs", max_deliveries=3)
        assert len({queue._lane for queue in (plain, raw, typed, other)}) == 4
        await plain.put_many([1, 2, 3])
        assert (await plain.get(timeout=20)).body == 1
        assert (await raw.get(timeout=20)).body == b"2"
        assert (await typed.get(timeout=20)).body == 3

    run(broker, part)


def test_closing_one_leaves_the_others(broker: Broker) -> None:
    """Its own gets end, and it is closed; those of the others go on, until the last of them is closed."""

    async def part(client: "unimq.AsyncClient") -> None:
        one, other = client.queue("jobs"), client.queue("jobs")
        mine, theirs = await waiting([one, other])
        await one.close()
        with pytest.raises(unimq.Closed):
            await asyncio.wait_for(mine, 20)
        for refused in (one.put(1), one.get(timeout=1), one.stats(), one.put_many([1]), one.put(1, timeout=1)):
            with pytest.raises(unimq.Closed):
                await refused
        await other.put("x")
        message = await asyncio.wait_for(theirs, 20)
        await other.close()
        with pytest.raises(unimq.Closed):
            await other.put(1)
        await message.ack()
        again = client.queue("jobs")
        await again.put("y")
        assert (await again.get(timeout=20)).body == "y"

    run(broker, part)


def test_an_interrupt_ends_the_gets_on_its_own_queue(broker: Broker) -> None:
    """Of that object; those over several queues too."""

    async def part(client: "unimq.AsyncClient") -> None:
        one, other, third = client.queue("jobs"), client.queue("jobs"), client.queue("more")
        mine, theirs = await waiting([one, other])
        several = asyncio.create_task(client.get([one, third]))
        while not any(pump.is_waited_at for pump in client.pumps.all):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await one.interrupt()
        for ended in (mine, several):
            with pytest.raises(unimq.Empty, match="interrupted"):
                await asyncio.wait_for(ended, 20)
        await other.put("x")
        assert (await asyncio.wait_for(theirs, 20)).body == "x"

    run(broker, part)


def test_a_close_gives_back_what_its_own_iterations_have(broker: Broker) -> None:
    """What another one has fetched ahead it keeps."""

    async def part(client: "unimq.AsyncClient") -> None:
        one, other = client.queue("jobs"), client.queue("jobs")
        await one.put_many(range(4))
        mine, theirs = one.consume(prefetch=2), other.consume(prefetch=2)
        assert [(await anext(mine)).body, (await anext(theirs)).body] == [0, 2]
        await one.close()
        assert (await client.queue("jobs").get(timeout=20)).body == 1
        assert (await anext(theirs)).body == 3

    run(broker, part, "simduplex")


def test_what_was_not_closed_is_forgotten(broker: Broker) -> None:
    """While its client goes on: queue, dead letters, thread."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    async def leave(client: "unimq.AsyncClient", name: str) -> None:
        queue = client.queue(name, max_deliveries=2)
        with pytest.raises(unimq.Empty):
            await queue.get(timeout=0.06)
        alive.update([queue, queue._lane, queue._lane.pump, queue.dead, queue.dead._lane])

    async def part(client: "unimq.AsyncClient") -> None:
        for number in range(5):
            await leave(client, f"jobs{number}")
        until = time.monotonic() + 20
        while (alive or pumps()) and time.monotonic() < until:
            gc.collect()
            await asyncio.sleep(0.01)
        assert not list(alive)
        assert not pumps()
        assert not client._lanes

    run(broker, part, "simduplex")


def test_a_lane_is_closed_once_by_whoever_is_the_last(broker: Broker) -> None:
    """Threads that open and close queues of one name meet no closed one that they have just opened."""

    async def open_and_close(client: "unimq.AsyncClient", times: int) -> None:
        for number in range(times):
            queue = client.queue("jobs")
            await queue.put(number)
            await queue.close()

    def run_in_thread(client: "unimq.AsyncClient") -> None:
        asyncio.run(open_and_close(client, 15))

    async def part(client: "unimq.AsyncClient") -> None:
        await asyncio.gather(*[asyncio.to_thread(run_in_thread, client) for _ in range(3)])
        assert await client.queue("jobs").size() == 45

    run(broker, part)
