"""bench: how fast a backend is from here."""

import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import click

import unimq
from unimq.cli.show import json_option, out, print_json, progress, table, url_argument_or_variable

__all__ = ["COMMANDS"]

_BATCH = 100


@click.command(epilog="Example: unimq bench 'sqlite:///bench.db' --messages 2000 --size 1024")
@url_argument_or_variable
@click.option("--messages", type=click.IntRange(100, 1_000_000), default=1000, show_default=True, help="In each run.")
@click.option("--size", type=click.IntRange(0, 100_000_000), default=100, show_default=True, help="Bytes in a body.")
@json_option
def bench(url: str, messages: int, size: int, as_json: bool) -> None:  # noqa: FBT001
    """Measure puts and gets, one by one and in batches of 100, on a scratch queue that is removed afterwards."""
    results: dict[str, dict[str, float]] = {}
    with unimq.connect(url) as client:
        queue = client.queue(f"scratch-{uuid.uuid4().hex[:12]}", codec="raw")
        client.ping()
        try:
            with progress() as bar:
                for name, per_call, call in _runs(queue, os.urandom(size)):
                    calls = bar.track(range(messages // per_call), description=name)
                    results[name] = _measure(call, per_call, calls)
        finally:
            if client.capabilities.delete:
                queue.delete()
    if as_json:
        print_json({"url": str(client.url), "messages": messages, "size": size, "results": results})
        return
    shown = table("operation", "messages/s", "p50", "p99", title=f"{client.where}, {messages} messages of {size} bytes")
    for name, figures in results.items():
        shown.add_row(
            name, f"{figures['per_second']:,.0f}", f"{figures['p50_us']:.0f} us", f"{figures['p99_us']:.0f} us"
        )
    out().print(shown)


def _runs(queue: "unimq.Queue[Any]", body: bytes) -> list[tuple[str, int, Callable[[], None]]]:
    return [
        ("put", 1, lambda: _ignore(queue.put(body))),
        ("get and ack", 1, lambda: queue.get(timeout=5).ack()),
        ("put_many of 100", _BATCH, lambda: _ignore(queue.put_many([body] * _BATCH))),
        ("get_many of 100 and ack", _BATCH, lambda: _get_batch(queue)),
    ]


def _ignore(_result: object) -> None:
    """A call that is made for what it does."""


def _get_batch(queue: "unimq.Queue[Any]") -> None:
    missing = _BATCH
    while missing:
        messages = queue.get_many(missing, timeout=5)
        queue.ack(messages)
        missing -= len(messages)


def _measure(call: Callable[[], None], per_call: int, calls: Iterable[int]) -> dict[str, float]:
    took: list[float] = []
    for _ in calls:
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    ordered = sorted(took)
    return {
        "per_second": len(took) * per_call / sum(took),
        "p50_us": statistics.median(ordered) * 1e6,
        "p99_us": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e6,
    }


COMMANDS = (bench,)
