"""get and peek: messages for people and programs, one on each line."""

import contextlib
from collections.abc import Iterator
from typing import Any

import click

import unimq
from unimq.cli.arguments import (
    codec_option,
    count_option,
    duration,
    existing,
    json_option,
    message_queue,
    queue_option,
    raw_option,
    url_argument,
)
from unimq.cli.show import print_message

__all__ = ["COMMANDS"]


@click.command(
    short_help="Take messages and print them.",
    epilog="Example: unimq get 'sqlite:///jobs.db?queue=mail' --count 10 --timeout 5s",
)
@url_argument
@click.option("--count", "-n", type=click.IntRange(1), default=1, show_default=True, help="How many at most.")
@click.option("--timeout", type=duration, default="0", show_default=True, help="How long to wait for each.")
@click.option("--keep/--ack", help="Give them back at the end, or remove each (default).")
@queue_option
@codec_option
@raw_option
@json_option
def get(  # noqa: PLR0913 - its options
    url: str | None,
    count: int,
    timeout: float,
    *,
    keep: bool,
    queue: str | None,
    codec: str | None,
    raw: bool,
    as_json: bool,
) -> None:
    """Take messages, print their bodies, and ack each once it is printed.

    What could not be printed, or not be decoded by the codec, goes back; --codec raw takes any bytes. With --keep all
    go back; this counts as a delivery where deliveries are counted, so that peek is the better choice where the backend
    has it.
    """
    with message_queue(existing(url), queue, codec) as source:
        if keep and not source.capabilities.nack:
            msg = f"--keep: {source!r} cannot take a message back; use peek where there is one"
            raise unimq.Unsupported(msg)
        seen = 0
        kept: list[unimq.Message[Any]] = []
        try:
            for message in _some(source, count, timeout):
                seen += 1
                if keep:
                    kept.append(message)
                    print_message(message, as_json=as_json, raw=raw)
                else:
                    with message:
                        _check_body(message)
                        print_message(message, as_json=as_json, raw=raw)
        finally:
            # Each goes before those that wait, or behind them: so that they are in the order in which they came.
            source.nack(kept if source.capabilities.nack_place == "tail" else reversed(kept)) if kept else None
        _expect(seen, source)


def _check_body(message: "unimq.Message[Any]") -> None:
    """What the codec does not take is not acked, and back at once: to look at it was no failed attempt."""
    try:
        message.body  # noqa: B018 - decodes
    except unimq.InvalidMessage:
        with contextlib.suppress(unimq.Unsupported):
            message.nack()
        raise


def _some(queue: "unimq.Queue[Any]", count: int, timeout: float) -> "Iterator[unimq.Message[Any]]":
    for _ in range(count):
        try:
            message = queue.get(timeout)
        except unimq.Empty:
            return
        yield message


def _expect(seen: int, queue: "unimq.Queue[Any]") -> None:
    if not seen:
        msg = f"no message on {queue.name}"
        raise unimq.Empty(msg)


@click.command(epilog="Example: unimq peek 'sqlite:///jobs.db?queue=mail' --count 5 --json")
@url_argument
@count_option(1)
@queue_option
@codec_option
@raw_option
@json_option
def peek(  # noqa: PLR0913 - its options
    url: str | None, count: int, *, queue: str | None, codec: str | None, raw: bool, as_json: bool
) -> None:
    """Print the next messages without taking them."""
    with message_queue(existing(url), queue, codec) as source:
        found = source.peek(count)
        for message in found:
            print_message(message, as_json=as_json, raw=raw)
        _expect(len(found), source)


COMMANDS = (get, peek)
