"""The worker beside those of huey, localqueue and dramatiq: `python integration/bench/workers.py`.

A job does nothing but count itself. All jobs are there when the worker is started, and a time is that from its start
until the last one is done, in microseconds a job; the processor time, of all threads, is that of the same while. huey
and localqueue have a SQLite store, dramatiq one in memory. Each round runs both sides, one after the other, beginning
with the other one each time; a figure is the median of the rounds, a ratio that of each round's own.
"""

import argparse
import logging
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import dramatiq
from dramatiq.brokers.stub import StubBroker
from huey import SqliteHuey
from localqueue import DurabilityMode, SimpleQueue
from localqueue import Worker as LocalWorker

import unimq

Side = Callable[[], "Took"]
CONCURRENCIES: Final = (1, 8, 64)
PATIENCE: Final = 300.0


class Took(NamedTuple):
    """Seconds."""

    time: float
    cpu: float

    @classmethod
    def now(cls) -> "Took":
        """The clocks."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: "Took") -> "Took":
        """What has passed."""
        return Took(self.time - start.time, self.cpu - start.cpu)


class Done:
    """Counts jobs, and knows when all are done."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._all = threading.Event()

    def one(self, *_: object) -> None:
        """Another one."""
        with self._lock:
            self._jobs -= 1
            if not self._jobs:
                self._all.set()

    def wait(self, start: Took) -> Took:
        """Until all are; what it took since then."""
        if not self._all.wait(PATIENCE):
            msg = f"{self._jobs} jobs were not done in {PATIENCE:g} s"
            raise SystemExit(msg)
        return Took.now().since(start)


def ours(url: str, jobs: int, concurrency: int) -> Took:
    """What unimq took."""
    done = Done(jobs)
    with unimq.connect(url) as client:
        client.queue().put_many(range(jobs))
        worker = unimq.Worker(client, done.one, concurrency=concurrency)
        thread = threading.Thread(target=worker.run)
        start = Took.now()
        thread.start()
        took = done.wait(start)
        worker.stop()
        thread.join()
        if client.queue().size():
            msg = "not all jobs were acked"
            raise SystemExit(msg)
    return took


def hueys(path: str, jobs: int, concurrency: int, *, fsync: bool) -> Took:
    """What huey took."""
    done = Done(jobs)
    huey: Any = SqliteHuey(filename=path, fsync=fsync, results=False)
    job = huey.task()(done.one)
    for number in range(jobs):
        job(number)
    consumer = huey.create_consumer(workers=concurrency, periodic=False, worker_type="thread")
    start = Took.now()
    consumer.start()
    took = done.wait(start)
    consumer.stop(graceful=True)
    return took


def localqueues(path: str, jobs: int, concurrency: int, *, durability: DurabilityMode) -> Took:
    """What localqueue took; a worker of it is one thread."""
    done = Done(jobs)
    queue: Any = SimpleQueue(path, durability=durability)
    queue.put_many(list(range(jobs)))
    workers = [LocalWorker(queue, done.one, poll_interval=0.1) for _ in range(concurrency)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    start = Took.now()
    for thread in threads:
        thread.start()
    took = done.wait(start)
    for worker in workers:
        worker.stop()
    for thread in threads:
        thread.join()
    queue.close()
    return took


def dramatiqs(jobs: int, concurrency: int) -> Took:
    """What dramatiq took."""
    done = Done(jobs)
    broker = StubBroker()
    actor: Any = dramatiq.actor(done.one, actor_name="one", broker=broker)
    for number in range(jobs):
        actor.send(number)
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=concurrency)
    start = Took.now()
    worker.start()
    took = done.wait(start)
    worker.stop()
    return took


def pairs(folder: str, jobs: int, concurrency: int) -> list[tuple[str, Side, Side]]:
    """What is compared: its name, unimq, and the other."""
    found: list[tuple[str, Side, Side]] = []
    for durability, fsync, mode in (
        ("full", True, DurabilityMode.DURABLE),
        ("normal", False, DurabilityMode.RELAXED),
    ):

        def sqlite(durability: str = durability) -> Took:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                return ours(f"sqlite:///{own}/jobs.db?queue=jobs&durability={durability}", jobs, concurrency)

        def huey(fsync: bool = fsync) -> Took:  # noqa: FBT001 - bound, and never given
            with tempfile.TemporaryDirectory(dir=folder) as own:
                return hueys(f"{own}/jobs.db", jobs, concurrency, fsync=fsync)

        def localqueue(mode: DurabilityMode = mode) -> Took:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                return localqueues(f"{own}/jobs.db", jobs, concurrency, durability=mode)

        found.append((f"sqlite {durability}, huey fsync={fsync}", sqlite, huey))
        found.append((f"sqlite {durability}, localqueue {mode.value}", sqlite, localqueue))
    found.append(
        (
            "memory, dramatiq StubBroker",
            lambda: ours(f"memory://{os.urandom(8).hex()}/jobs", jobs, concurrency),
            lambda: dramatiqs(jobs, concurrency),
        )
    )
    return found


def measured(us: Side, other: Side, rounds: int) -> list[tuple[Took, Took]]:
    """Both sides in turn."""
    found: list[tuple[Took, Took]] = []
    for number in range(rounds):
        first, second = (us, other) if number % 2 else (other, us)
        one, two = first(), second()
        found.append((one, two) if number % 2 else (two, one))
    return found


def row(name: str, concurrency: int, rounds: list[tuple[Took, Took]], jobs: int) -> str:
    """The medians."""
    each = [(us.time, other.time, us.cpu, other.cpu) for us, other in rounds]
    figures = " | ".join(f"{statistics.median(column) / jobs * 1e6:.0f}" for column in zip(*each, strict=True))
    ratios = [
        statistics.median(getattr(other, kind) / getattr(us, kind) for us, other in rounds) for kind in ("time", "cpu")
    ]
    return f"| {name} | {concurrency} | {figures} | {ratios[0]:.2f} | {ratios[1]:.2f} |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    logging.getLogger("huey").setLevel(logging.ERROR)
    print(f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    print("| store | concurrency | unimq, us | other, us | unimq, CPU us | other, CPU us | ratio | CPU ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for concurrency in CONCURRENCIES:
            for name, us, other in pairs(folder, arguments.jobs, concurrency):
                rounds = measured(us, other, arguments.rounds)
                print(row(name, concurrency, rounds, arguments.jobs), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
