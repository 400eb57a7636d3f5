"""bench: how fast a backend is from here."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import click

import unimq
from unimq.cli.arguments import json_option, url_argument
from unimq.cli.scratch import remove_quietly, scratch_name
from unimq.cli.show import print_json, print_table, progress, took

__all__ = ["COMMANDS"]

_BATCH: Final = 100
_MOST_BYTES: Final = 2**30
_PATIENCE: Final = 10.0
"""Seconds to wait for a message that was put."""

Result = dict[str, Any]
Run = tuple[str, list[int], Callable[[int], None]]
"""A name, how many messages each of its calls moves, and the call."""


@click.command(
    short_help="Measure how fast a backend is from here.",
    epilog="Example: unimq bench sqlite:///bench.db --messages 2000 --size 100 --size 10000",
)
@url_argument
@click.option("--messages", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="In each run.")
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(0, 100_000_000),
    multiple=True,
    default=(100,),
    show_default=True,
    help="Bytes in a body; repeatable.",
)
@json_option
def bench(url: str | None, messages: int, sizes: tuple[int, ...], *, as_json: bool) -> None:
    """Measure puts and gets with acks, one by one and in batches of 100, on a scratch queue.

    Latencies are those of one call: of a batch where there are batches. The scratch queue is removed afterwards, where
    the backend can; up to 1 GiB is stored at a time.
    """
    if messages * max(sizes) > _MOST_BYTES:
        msg = f"{messages} messages of {max(sizes)} bytes are more than 1 GiB: take fewer, or smaller ones"
        raise click.UsageError(msg)
    with unimq.connect(url) as client:
        client.ping()
        results = [result for size in sizes for result in _on_scratch(client, messages, size)]
    if as_json:
        print_json({"url": client.where, "messages": messages, "results": results})
        return
    click.echo(f"{client.where}, {messages} messages in each run\n")
    columns = ("operation", "bytes", "messages/s", "p50", "p99")
    rows = [
        (r["operation"], f"{r['size']:,}", f"{r['per_second']:,.0f}", took(r["p50"]), took(r["p99"])) for r in results
    ]
    print_table(columns, rows, figures=columns[1:])


def _on_scratch(client: unimq.Client, messages: int, size: int) -> Iterator[Result]:
    queue = client.queue(scratch_name(), codec="raw")
    try:
        with progress() as bar:
            for name, counts, call in _runs(queue, os.urandom(size), messages):
                figures = _measure(call, bar.track(counts, description=name))
                yield {"operation": name, "size": size, **figures, "per_second": messages / figures["seconds"]}
    except unimq.Empty:
        msg = f"a message that was put did not come back in {_PATIENCE:g} s"
        raise unimq.ServerError(msg) from None
    finally:
        remove_quietly(queue)


def _runs(queue: "unimq.Queue[Any]", body: bytes, messages: int) -> list[Run]:
    singles = [1] * messages
    batches = [min(_BATCH, messages - start) for start in range(0, messages, _BATCH)]
    return [
        ("put", singles, lambda _: _ignore(queue.put(body))),
        ("get and ack", singles, lambda _: queue.get(timeout=_PATIENCE).ack()),
        ("put_many of 100", batches, lambda count: _ignore(queue.put_many([body] * count))),
        ("get_many of 100 and ack", batches, lambda count: _get_batch(queue, count)),
    ]


def _ignore(_result: object) -> None:
    """A call that is made for what it does."""


def _get_batch(queue: "unimq.Queue[Any]", missing: int) -> None:
    while missing:
        messages = queue.get_many(missing, timeout=_PATIENCE)
        queue.ack(messages)
        missing -= len(messages)


def _measure(call: Callable[[int], None], counts: Iterable[int]) -> dict[str, float]:
    """Seconds: the sum of the calls, and the time that half of them, and 99 of 100, stayed within."""
    times: list[float] = []
    for count in counts:
        start = time.perf_counter()
        call(count)
        times.append(time.perf_counter() - start)
    times.sort()
    last = len(times) - 1
    return {"seconds": sum(times), "p50": times[round(last * 0.5)], "p99": times[round(last * 0.99)]}


COMMANDS = (bench,)
