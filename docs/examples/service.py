"""An asyncio service: 200 tasks share one queue, until it is told to stop.

    python docs/examples/service.py                     until Ctrl-C or SIGTERM
    python docs/examples/service.py --jobs 2000         puts so many jobs, works them off, and ends

Each task takes a job, awaits its work and acks. The tasks share one receiving thread and their acks share exchanges, so
that 200 of them cost little more than one. A stop lets each finish what it has begun; what nobody has begun stays.
"""

import argparse
import asyncio
import contextlib
import signal
import tempfile
from collections import Counter

import unimq

TASKS = 200
WAIT = 1.0
"""Seconds after which a task that waits for a job looks whether it is to stop."""


class Service:
    """What the tasks share."""

    def __init__(self, queue: unimq.AsyncQueue[int], jobs: int | None) -> None:
        self.queue = queue
        self.jobs = jobs
        """How many there are; `None`: nobody knows, and it works until a signal comes."""
        self.stopping = asyncio.Event()
        self.done: Counter[int] = Counter()
        self.at_work = 0
        self.most = 0

    async def handle(self, job: int) -> None:
        """Do a job: it waits for something else, as most of what asyncio is used for does."""
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await asyncio.sleep(0.01 + job % 20 / 1000)
        self.at_work -= 1
        self.done[job] += 1
        if len(self.done) == self.jobs:
            self.stopping.set()

    async def work(self) -> None:
        """Be one of the tasks. The lease is extended while it works; an exception gives the job back, after a pause."""
        while not self.stopping.is_set():
            with contextlib.suppress(unimq.Empty):
                message = await self.queue.get(timeout=WAIT)
                async with message.keep():
                    await self.handle(message.body)

    async def run(self) -> None:
        """Work until a signal comes, or until all jobs, which are put first, are done."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        tasks = [asyncio.create_task(self.work()) for _ in range(TASKS)]
        await asyncio.gather(*(self.queue.put(number) for number in range(self.jobs or 0)))
        await asyncio.gather(*tasks)


async def main() -> None:
    """Run the service, and say what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", help="the queue; a file in a folder of its own by default")
    parser.add_argument("--jobs", type=int, help="put so many jobs, work them off, and end")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{folder}/jobs.db?queue=jobs"
        async with unimq.AsyncQueue(url, type=int, max_deliveries=5) as queue:
            service = Service(queue, arguments.jobs)
            print(f"{TASKS} tasks work", flush=True)
            await service.run()
            left = await queue.size() if queue.capabilities.stats else "?"
            twice = sum(count > 1 for count in service.done.values())
            print(f"jobs {len(service.done)}, twice {twice}, left {left}, at the same time {service.most}")


if __name__ == "__main__":
    asyncio.run(main())
