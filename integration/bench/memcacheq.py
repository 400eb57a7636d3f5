"""unimq beside bare pymemcache and a raw socket, on one MemcacheQ server: `python integration/bench/memcacheq.py URL`.

Interleaved rounds in one process; each figure is the median of the rounds, in microseconds a message, and each ratio
the median of the rounds' own ratios. Name a server with its defaults for what a disk lets through, and one with `-N`
for what the client costs.
"""

import socket
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import unimq
import unimq_memcacheq

MESSAGES: Final = 500
ROUNDS: Final = 7
BATCH: Final = 100
BODY: Final = b"x" * 100
NAME: Final = "bench"


class Raw:
    """Pipelined commands on a socket."""

    def __init__(self, url: unimq.URL) -> None:
        host = url.hosts[0]
        self._socket = socket.create_connection((host.name, host.port or 22201))
        self._file = self._socket.makefile("rb")

    def put_many(self) -> None:
        for _ in range(MESSAGES // BATCH):
            self._socket.sendall(b"set bench 0 0 100\r\n%b\r\n" % BODY * BATCH)
            for _ in range(BATCH):
                self._file.readline()

    def get_many(self) -> None:
        for _ in range(MESSAGES // BATCH):
            self._socket.sendall(b"get bench\r\n" * BATCH)
            for _ in range(BATCH):
                while self._file.readline() != b"END\r\n":
                    pass


def _measured(work: Callable[[], Any]) -> tuple[float, float]:
    """Time and processor time of a message, in microseconds."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - start) / MESSAGES * 1e6, (time.process_time() - cpu) / MESSAGES * 1e6


def main() -> None:
    """Print the table."""
    url = unimq.URL.parse(sys.argv[1])
    raw, bare = Raw(url), unimq_memcacheq.client(url)
    with unimq.Queue(url.with_queue(NAME), codec="raw") as queue:
        queue.purge()
        each = range(MESSAGES)
        bodies = [BODY] * BATCH
        works: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "put": (lambda: [queue.put(BODY) for _ in each], lambda: [bare.set(NAME, BODY) for _ in each]),
            "get and ack": (lambda: [queue.get(timeout=1).ack() for _ in each], lambda: [bare.get(NAME) for _ in each]),
            "put_many(100)": (lambda: [queue.put_many(bodies) for _ in range(MESSAGES // BATCH)], raw.put_many),
            "get_many(100) and ack": (
                lambda: [queue.ack(queue.get_many(BATCH, timeout=1)) for _ in range(MESSAGES // BATCH)],
                raw.get_many,
            ),
        }
        found: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, (ours, theirs) in works.items():
                # What one has put, the next one gets: each pair of works leaves the queue as it was.
                found[name].append((*_measured(ours), *_measured(theirs)))
    print("| what | bare, us | unimq, us | bare / unimq | client CPU, unimq / bare |\n|---|---|---|---|---|")
    for name, rounds in found.items():
        ours, theirs = (statistics.median(one[i] for one in rounds) for i in (0, 2))
        ratio = statistics.median(one[2] / one[0] for one in rounds)
        processor = statistics.median(one[1] / one[3] for one in rounds)
        print(f"| {name} | {theirs:.1f} | {ours:.1f} | {ratio:.2f} | {processor:.2f} |")


if __name__ == "__main__":
    main()
