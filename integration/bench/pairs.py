"""One producer and consumer beside eight pairs of them, each a process, on a file: `python integration/bench/pairs.py`.

Each round runs both, one after the other, so that a slow moment of the machine meets both; the ratio is the median of
each round's own. A message that was lost, came twice or ended in an error ends the program.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections import Counter
from multiprocessing.queues import Queue as Pipe
from multiprocessing.synchronize import Barrier
from typing import Any

import unimq

PAIRS = 8


def feed(url: str, begin: Barrier, number: int, count: int) -> None:
    """Be a producer."""
    with unimq.Queue(url) as queue:
        queue.ping()
        begin.wait()
        for place in range(count):
            queue.put(f"{number} {place}")


def eat(url: str, begin: Barrier, found: "Pipe[Any]") -> None:
    """Be a consumer, until nothing has come for three seconds."""
    bodies: list[str] = []
    last = 0.0
    with unimq.Queue(url) as queue:
        queue.ping()
        begin.wait()
        for message in queue.consume(prefetch=1, timeout=3.0):
            bodies.append(message.body)
            message.ack()
            last = time.time()
    found.put((bodies, last))


def pace(pairs: int, total: int, durability: str) -> float:
    """Messages in a second."""
    context = multiprocessing.get_context("spawn")
    begin, found = context.Barrier(2 * pairs + 1), context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/jobs.db?queue=jobs&durability={durability}"
        work = [context.Process(target=feed, args=(url, begin, n, total // pairs)) for n in range(pairs)]
        work += [context.Process(target=eat, args=(url, begin, found)) for _ in range(pairs)]
        for process in work:
            process.start()
        begin.wait()
        start = time.time()
        results = [found.get() for _ in range(pairs)]
        for process in work:
            process.join()
    got = Counter(body for bodies, _ in results for body in bodies)
    if got != Counter(f"{pair} {place}" for pair in range(pairs) for place in range(total // pairs)):
        msg = f"{len(got)} of {total} came, the most often {max(got.values())} times"
        raise SystemExit(msg)
    took: float = max(last for _, last in results) - start
    return total / took


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=1600)
    arguments = parser.parse_args()
    for durability in ("full", "normal"):
        rounds = [[pace(n, arguments.messages, durability) for n in (1, PAIRS)] for _ in range(arguments.rounds)]
        one, many = (statistics.median(paces) for paces in zip(*rounds, strict=True))
        ratios = sorted(many / one for one, many in rounds)
        told = f"{durability}: 1+1 {one:.0f}/s, {PAIRS}+{PAIRS} {many:.0f}/s, ratio {statistics.median(ratios):.2f}"
        print(f"{told} ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


if __name__ == "__main__":
    main()
