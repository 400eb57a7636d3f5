"""What asyncio costs: a task alone and many tasks beside the synchronous face, and calls beside what they are made of.

`python integration/bench/tasks.py [URL ...]` prints medians over the rounds, in microseconds of a message, and the
medians of each round's own ratios. In each round all is done once, in turn.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from unimq import AsyncQueue, Queue

MANY = 1000
RATIOS = {
    "put: a task / sync": ("awaited put", "put"),
    "get and ack: a task / sync": ("awaited get and ack", "get and ack"),
    "put: many tasks / sync": ("put of many tasks", "sync put"),
    "get and ack: many tasks / sync": ("get and ack of many tasks", "sync get and ack"),
    "many calls / 2 puts, gets, acks of many tasks": ("call of many tasks", "there and back"),
}
"""What is divided by what."""


class Works:
    """What is timed, on both faces of one queue."""

    def __init__(self, sync: Queue[int], queue: AsyncQueue[int], alone: int) -> None:
        self.sync = sync
        self.queue = queue
        self.alone = range(alone)
        self.answers = queue.client.queue("answers")

    async def put(self) -> None:
        """The synchronous face."""
        for number in self.alone:
            self.sync.put(number)

    async def get_and_ack(self) -> None:
        """The synchronous face."""
        for _ in self.alone:
            self.sync.get(timeout=9).ack()

    async def awaited_put(self) -> None:
        """One task."""
        for number in self.alone:
            await self.queue.put(number)

    async def awaited_get_and_ack(self) -> None:
        """One task."""
        for _ in self.alone:
            await (await self.queue.get(timeout=9)).ack()

    async def many_puts(self) -> None:
        """The synchronous face."""
        for number in range(MANY):
            self.sync.put(number)

    async def many_gets_and_acks(self) -> None:
        """The synchronous face."""
        for _ in range(MANY):
            self.sync.get(timeout=9).ack()

    async def puts(self) -> None:
        """As many tasks as messages."""
        await _all(self.queue.put(number) for number in range(MANY))

    async def gets_and_acks(self) -> None:
        """As many tasks as messages."""
        await _all(_get_and_ack(self.queue) for _ in range(MANY))

    async def there_and_back(self) -> None:
        """What calls are made of: many tasks put, as many wait for that and put back what the first wait for."""
        back = asyncio.gather(*[self._back() for _ in range(MANY)])
        await _all(self._there(number) for number in range(MANY))
        await back

    async def _there(self, number: int) -> None:
        await self.queue.put(number, reply_to="answers", correlation_id=str(number), ttl=60)
        await _get_and_ack(self.answers)

    async def _back(self) -> None:
        async with await self.queue.get(timeout=60) as message:
            await self.answers.put(message.body, correlation_id=message.correlation_id)

    async def calls(self) -> None:
        """Many tasks call; as many answer."""
        answers = asyncio.gather(*[self._answer() for _ in range(MANY)])
        await _all(self.queue.call(number, timeout=60) for number in range(MANY))
        await answers

    async def _answer(self) -> None:
        async with await self.queue.get(timeout=60) as request:
            await request.reply(request.body)


async def _get_and_ack(queue: AsyncQueue[int]) -> None:
    await (await queue.get(timeout=60)).ack()


async def _all(works: Iterable[Awaitable[object]]) -> None:
    await asyncio.gather(*works)


async def compare(url: str, rounds: int, alone: int) -> dict[str, list[float]]:
    """What was done, and how long a message took in each round."""
    found: dict[str, list[float]] = {}
    with Queue[int](url) as sync:
        async with AsyncQueue[int](url) as queue:
            works = Works(sync, queue, alone)
            await _in_turn(
                rounds,
                found,
                ("put", alone, works.put),
                ("get and ack", alone, works.get_and_ack),
                ("awaited put", alone, works.awaited_put),
                ("awaited get and ack", alone, works.awaited_get_and_ack),
            )
            await _in_turn(  # by themselves: threads that receive stay for a second
                rounds,
                found,
                ("sync put", MANY, works.many_puts),
                ("sync get and ack", MANY, works.many_gets_and_acks),
                ("put of many tasks", MANY, works.puts),
                ("get and ack of many tasks", MANY, works.gets_and_acks),
                ("there and back", MANY, works.there_and_back),
                ("call of many tasks", MANY, works.calls),
            )
    return found


async def _in_turn(
    rounds: int, found: dict[str, list[float]], *turns: tuple[str, int, Callable[[], Awaitable[Any]]]
) -> None:
    for turn in range(rounds + 1):
        for what, count, work in turns:
            start = time.perf_counter()
            await work()
            if turn:  # the first one makes everything ready
                found.setdefault(what, []).append((time.perf_counter() - start) / count * 1e6)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="*", help="queues that are empty (memory, and sqlite with both durabilities)")
    parser.add_argument("--alone", type=int, default=300, help="messages of a task alone, a round (300)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds (11)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        usual = ["memory://tasks/jobs"]
        usual += [f"sqlite:///{folder}/{how}.db?queue=jobs&durability={how}" for how in ("normal", "full")]
        for url in arguments.url or usual:
            found = asyncio.run(compare(url, arguments.rounds, arguments.alone))
            print(url.replace(folder, ""))
            for what, times in found.items():
                print(f"  {what:28} {statistics.median(times):8.1f} us")
            for name, (one, other) in RATIOS.items():
                ratios = [a / b for a, b in zip(found[one], found[other], strict=True)]
                print(f"  {name:48} {statistics.median(ratios):6.2f}")


if __name__ == "__main__":
    main()
