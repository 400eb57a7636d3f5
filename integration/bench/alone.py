"""What a task alone pays: each put, get and ack awaited in turn, beside the synchronous face, and puts of 100 tasks.

`python integration/bench/alone.py` prints microseconds per message, the best of many short runs of each in turn.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable

from unimq import AsyncQueue, Queue

TASKS = 100


class Best:
    """The least time of each kind."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    async def note(self, kind: str, messages: int, work: Callable[[], Awaitable[None]]) -> None:
        """Run and time it."""
        start = time.perf_counter()
        await work()
        us = (time.perf_counter() - start) / messages * 1e6
        self.found[kind] = min(us, self.found.get(kind, us))


class Works:
    """What is timed, on both faces of one queue."""

    def __init__(self, sync: Queue[int], queue: AsyncQueue[int], messages: int) -> None:
        self.sync = sync
        self.queue = queue
        self.messages = range(messages)

    async def put(self) -> None:
        """The synchronous face."""
        for number in self.messages:
            self.sync.put(number)

    async def get_and_ack(self) -> None:
        """The synchronous face."""
        for _ in self.messages:
            self.sync.get(timeout=1).ack()

    async def awaited_put(self) -> None:
        """One task."""
        for number in self.messages:
            await self.queue.put(number)

    async def awaited_get_and_ack(self) -> None:
        """One task."""
        for _ in self.messages:
            await (await self.queue.get(timeout=1)).ack()

    async def awaited_put_of_many_tasks(self) -> None:
        """A hundred."""
        mine = self.messages[: len(self.messages) // TASKS]
        await asyncio.gather(*[Works(self.sync, self.queue, len(mine)).awaited_put() for _ in range(TASKS)])


async def compare(url: str, runs: int, n: int) -> dict[str, float]:
    """What was done, and how long each message took."""
    best = Best()
    with Queue[int](url) as sync:
        async with AsyncQueue[int](url) as queue:
            works = Works(sync, queue, n)
            for _ in range(runs):
                await best.note("put", n, works.put)
                await best.note("get and ack", n, works.get_and_ack)
                await best.note("awaited put", n, works.awaited_put)
                await best.note("awaited get and ack", n, works.awaited_get_and_ack)
                await best.note("awaited put, 100 tasks", n, works.awaited_put_of_many_tasks)
                await queue.purge()
    return best.found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=300, help="messages a run (300)")
    parser.add_argument("--runs", type=int, default=20, help="runs (20)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for url in ("memory://alone/jobs", f"sqlite:///{folder}/alone.db?queue=jobs"):
            found = asyncio.run(compare(url, arguments.runs, arguments.messages))
            for what, us in found.items():
                print(f"{url.partition(':')[0]:8}{what:25} {us:6.1f} us")


if __name__ == "__main__":
    main()
