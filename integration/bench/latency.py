"""How long one message takes: for its put, and to somebody who waits for it on another connection."""

import os
import queue
import statistics
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.compare import Side

__all__ = ["latencies"]

_TRIES: Final = 500
_TURNS: Final = 10
"""The sides take turns so often, so that a slow moment meets them all."""
_PAUSE: Final = 0.002
"""Seconds in which the taker begins to wait again."""


def latencies(sides: "Mapping[str, tuple[Side, Side]]", size: int) -> list[str]:
    """Lines of a table, for a giver and a taker of each name."""
    body = os.urandom(size)
    puts: dict[str, list[float]] = {name: [] for name in sides}
    ways: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(_TURNS):
        for name, (giver, taker) in sides.items():
            puts[name] += _puts(giver, body)
            giver.get_ack(_TRIES // _TURNS)
            ways[name] += _ways(giver, taker, body)
    found = (("a put", puts), ("a put, a waiting get and its ack", ways))
    return [
        f"| {size:,} | {what} | {name} | {_percentile(times, 50):.3f} | {_percentile(times, 99):.3f} |"
        for what, all_times in found
        for name, times in all_times.items()
    ]


def _puts(giver: "Side", body: bytes) -> list[float]:
    found: list[float] = []
    for _ in range(_TRIES // _TURNS):
        start = time.perf_counter()
        giver.put(1, body)
        found.append((time.perf_counter() - start) * 1000)
    return found


def _ways(giver: "Side", taker: "Side", body: bytes) -> list[float]:
    """Milliseconds from the start of a put to the end of the ack by a thread that waited."""
    taken: queue.SimpleQueue[float] = queue.SimpleQueue()

    def take() -> None:
        for _ in range(_TRIES // _TURNS):
            taker.get_ack(1)
            taken.put(time.perf_counter())

    thread = threading.Thread(target=take)
    thread.start()
    found: list[float] = []
    for _ in range(_TRIES // _TURNS):
        time.sleep(_PAUSE)
        start = time.perf_counter()
        giver.put(1, body)
        found.append((taken.get(timeout=30) - start) * 1000)
    thread.join()
    return found


def _percentile(times: list[float], which: int) -> float:
    return statistics.quantiles(times, n=100)[which - 1]
