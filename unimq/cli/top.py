"""top: the counts of queues, again and again."""

import contextlib
import sys
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import click
import msgspec

import unimq
from unimq import registry
from unimq.cli.arguments import duration, existing, json_option, queue_option, url_argument
from unimq.cli.show import known, lasting, note, out, print_json, print_table, printable, table

__all__ = ["COMMANDS"]

_DEAD: Final = ".dead"
_COLUMNS: Final = ("queue", "ready", "leased", "delayed", "dead", "change/s", "oldest")


class Sample(msgspec.Struct, frozen=True):
    """What was counted of one queue; `None` is unknown."""

    queue: str
    at: float
    """Of this process's clock, in seconds."""
    ready: int | None = None
    leased: int | None = None
    delayed: int | None = None
    dead: int | None = None
    change: float | None = None
    """Messages a second that came, less those that went, since the sample before."""
    oldest: float | None = None


@click.command(
    short_help="Watch the counts of queues.",
    epilog="Example: unimq top 'sqlite:///jobs.db?queue=mail' --interval 1s",
)
@url_argument
@click.option("--interval", type=duration, default="2s", show_default=True, help="From one look to the next.")
@click.option("--count", "-n", type=click.IntRange(1), help="How many looks; one where there is no terminal.")
@queue_option
@json_option
def top(url: str | None, interval: float, count: int | None, *, queue: str | None, as_json: bool) -> None:
    """Show how many messages are ready, held, delayed and dead, and how fast that changes, until Ctrl-C.

    It is about the queue that the URL or --queue names, else about all that exist. From counts it cannot be known how
    many came and how many went, but only the difference: change/s. What the backend does not tell is unknown. Without a
    terminal it looks once, or --count times; with --json each queue is an object on a line of its own.
    """
    live = sys.stdout.isatty() and not as_json
    looks = count if count is not None or live else 1
    with unimq.connect(existing(url)) as client, _showing(live=live, as_json=as_json) as show:
        before: list[Sample] = []
        look = 0
        while looks is None or look < looks:
            if look:
                time.sleep(interval)
            before, trouble = _samples(client, queue, before)
            show(before, trouble)
            look += 1


Show = Callable[[Sequence[Sample], str], None]


@contextlib.contextmanager
def _showing(*, live: bool, as_json: bool) -> Generator[Show]:
    """How samples are shown: in place on a terminal, else one after the other."""
    if not live:
        yield _print_json if as_json else _print_table
        return
    from rich.live import Live  # noqa: PLC0415 - rich is imported when there is something to draw

    console = out()
    with Live(console=console, auto_refresh=False) as drawn:

        def show(samples: Sequence[Sample], trouble: str) -> None:
            made = table(console, _COLUMNS, [_row(one) for one in samples], figures=_COLUMNS[1:])
            made.caption = printable(trouble) or None
            drawn.update(made, refresh=True)

        yield show


def _print_json(samples: Sequence[Sample], trouble: str) -> None:
    for one in samples:
        figures = {name: value for name, value in msgspec.to_builtins(one).items() if name != "at"}
        print_json({"at": round(time.time(), 3), **figures})
    sys.stdout.flush()
    note(trouble) if trouble else None


def _print_table(samples: Sequence[Sample], trouble: str) -> None:
    print_table(_COLUMNS, [_row(one) for one in samples], figures=_COLUMNS[1:])
    note(trouble) if trouble else None


def _row(one: Sample) -> tuple[str, ...]:
    change = None if one.change is None else f"{one.change:+.1f}"
    oldest = "-" if one.ready == 0 else known(None if one.oldest is None else lasting(one.oldest))
    counts = (one.ready, one.leased, one.delayed, one.dead)
    return (one.queue, *(known(None if count is None else f"{count:,}") for count in counts), known(change), oldest)


# Counting


def _samples(client: unimq.Client, queue: str | None, before: list[Sample]) -> tuple[list[Sample], str]:
    """What is counted now, and what went wrong: the first look fails then, a later one knows nothing."""
    try:
        return [_sample(client, name, before) for name in _names(client, queue)], ""
    except (unimq.ConnectError, unimq.ConnectionLost, unimq.Timeout, unimq.ServerError) as error:
        if not before:
            raise
        return [Sample(one.queue, time.monotonic()) for one in before], str(error)


def _names(client: unimq.Client, queue: str | None) -> list[str]:
    """The queue that is named, or all but those whose dead letters are counted beside them."""
    name = queue or client.url.queue_name(path_is_queue=registry.driver(client.url.scheme).path_is_queue)
    if name is not None:
        return [name]
    names = client.queues()
    return [name for name in names if not (name.endswith(_DEAD) and name.removesuffix(_DEAD) in names)]


def _sample(client: unimq.Client, name: str, before: Sequence[Sample]) -> Sample:
    try:
        queue = client.queue(name)
    except unimq.InvalidName:  # a foreign program takes other names
        return Sample(name, time.monotonic())
    stats, at = queue.stats(), time.monotonic()
    now = Sample(name, at, stats.ready, stats.leased, stats.delayed, _dead(queue), oldest=stats.oldest)
    last = next((one for one in before if one.queue == name), None)
    return msgspec.structs.replace(now, change=None if last is None else _change(last, now))


def _change(last: Sample, now: Sample) -> float | None:
    """Of what is counted, which must be the same in both."""
    old, new = ((one.ready, one.leased, one.delayed) for one in (last, now))
    if now.ready is None or [one is None for one in old] != [one is None for one in new] or now.at <= last.at:
        return None
    return (sum(filter(None, new)) - sum(filter(None, old))) / (now.at - last.at)


def _dead(queue: "unimq.Queue[Any]") -> int | None:
    if not queue.capabilities.dead_letters:
        return None
    try:
        stats = queue.dead.stats()
    except unimq.Unsupported:  # they may be on another backend
        return None
    counts = [count for count in (stats.ready, stats.leased, stats.delayed) if count is not None]
    return None if stats.ready is None else sum(counts)


COMMANDS = (top,)
