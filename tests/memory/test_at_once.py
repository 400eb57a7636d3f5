"""What asyncio does without a thread, because calls on the memory backend do not block."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import unimq
from unimq.hooks import Hooks

Part = Callable[["unimq.AsyncQueue[Any]"], Awaitable[None]]


def run(name: str, part: Part, options: str = "", hooks: Hooks | None = None) -> None:
    async def main() -> None:
        async with unimq.AsyncQueue(f"memory://{name}/jobs?{options}", hooks=hooks) as queue:
            await queue.put("opens the session")
            await (await queue.get(timeout=0)).ack()
            await part(queue)

    asyncio.run(main())


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called no call is given to a thread."""

    def refuse(*_: object) -> None:
        pytest.fail("a thread was asked for")

    return lambda: monkeypatch.setattr(unimq.AsyncClient, "_executor", refuse)


def test_a_task_alone_needs_no_thread(name: str, without_threads: Callable[[], None]) -> None:
    """Puts, gets that find something, and all ways to settle, one by one and many."""

    async def part(queue: "unimq.AsyncQueue[Any]") -> None:
        without_threads()
        await queue.put(1)
        await queue.put(2, key="a", timeout=1)
        await queue.put_many(range(3, 8))
        first, second, third = [await queue.get(timeout=timeout) for timeout in (None, 60, 0)]
        await first.ack()
        await second.nack()
        assert await third.extend(30) == 30
        await third.reject("bad")
        await queue.ack(await queue.get_many(3, timeout=5))
        assert (await queue.stats()).ready == 2
        assert (await queue.dead.get(timeout=0)).body == 3

    run(name, part)


def test_a_loop_of_puts_lets_other_tasks_have_their_turn(name: str) -> None:
    """None of the calls waits, and nobody is shut out all the same."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def part(queue: "unimq.AsyncQueue[Any]") -> None:
        beside = asyncio.create_task(others())
        for number in range(1000):
            await queue.put(number)
        for _ in range(1000):
            await (await queue.get()).ack()
        beside.cancel()

    run(name, part)
    assert turns >= 20


def test_a_session_that_is_in_use_is_not_waited_for_in_the_loop(name: str) -> None:
    """A get that waits has the only one; a put beside it has a thread, and the loop goes on."""

    async def part(queue: "unimq.AsyncQueue[Any]") -> None:
        client = queue.client
        assert client.at_once()
        (pooled,) = client.sync.pool.sessions
        me = object()
        assert pooled.user.take(me)
        assert not client.at_once()
        putting = asyncio.create_task(queue.put(1))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not putting.done()
        client.sync.pool.hosts[0].give_back(pooled, me)
        await asyncio.wait_for(putting, 20)
        assert (await queue.get(timeout=20)).body == 1

    run(name, part, "max_sessions=1")


def test_who_waits_already_comes_first(name: str) -> None:
    """A get does not pass by those that wait in a thread."""

    async def part(queue: "unimq.AsyncQueue[Any]") -> None:
        waiting = [asyncio.create_task(queue.get(timeout=20)) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert queue._lane.pump.is_waited_at
        await queue.put_many(range(4))
        last = await queue.get(timeout=20)
        assert [(await task).body for task in waiting] == [0, 1, 2]
        assert last.body == 3

    run(name, part)


def test_dead_letters_on_another_server_are_moved_in_a_thread(name: str) -> None:
    """A reject asks that server, which may block."""

    async def part(queue: "unimq.AsyncQueue[Any]") -> None:
        assert not queue.client.at_once()
        await queue.put(1)
        await (await queue.get(timeout=20)).reject("bad")
        assert (await queue.dead.get(timeout=20)).body == 1

    run(name, part, "dead=memory%3A%2F%2Fother")


def test_gets_over_several_queues_need_no_thread(name: str, without_threads: Callable[[], None]) -> None:
    """Where something is there; who waits already comes first."""

    async def part(queue: "unimq.AsyncQueue[Any]") -> None:
        client, other = queue.client, queue.client.queue("other")
        without_threads()
        await other.put(1)
        await queue.put(2)
        found = [await client.get([queue, other], timeout=5), await client.get([queue, other], timeout=0)]
        assert {message.body for message in found} == {1, 2}

    run(name, part)
