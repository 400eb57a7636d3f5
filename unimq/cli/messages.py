"""put, get and peek."""

import json
import sys
from collections.abc import Iterator
from typing import IO, Any

import click

import unimq
from unimq.cli.show import (
    err,
    json_option,
    message_record,
    out,
    print_json,
    progress,
    url_argument,
    url_argument_or_variable,
)
from unimq.options import parse_duration

__all__ = ["COMMANDS"]

_BATCH = 100


def duration(text: str) -> float:
    """Seconds, from a text such as 250ms, 30s or 5m."""
    try:
        return parse_duration(text)
    except ValueError as error:
        msg = f"{text!r} {error}"
        raise click.BadParameter(msg) from None


def _headers(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            msg = f"{value!r} must be written key=value"
            raise click.BadParameter(msg)
    return dict(value.split("=", 1) for value in values)


@click.command(epilog="Example: unimq put 'sqlite:///jobs.db?queue=mail' '{\"to\": \"ada@example.org\"}' --delay 5m")
@url_argument
@click.argument("body", required=False)
@click.option("--file", "file", type=click.File("rb"), help="Put each line of this file of JSON lines; - is stdin.")
@click.option("--text", is_flag=True, help="The body is a text as it is, not JSON.")
@click.option("--header", "headers", multiple=True, callback=_headers, help="A header, key=value; repeatable.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 to 9, 9 is delivered first.")
@click.option("--delay", type=duration, default="0", help="Not before, e.g. 5m.")
@click.option("--ttl", type=duration, help="Not after, e.g. 1h.")
@click.option("--id", "id_", help="An own id.")
@json_option
def put(  # noqa: PLR0913, PLR0917 - its options
    url: str,
    body: str | None,
    file: IO[bytes] | None,
    text: bool,  # noqa: FBT001
    headers: dict[str, str],
    priority: int | None,
    delay: float,
    ttl: float | None,
    id_: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Put BODY, or what stands on standard input, as one message; with --file one for each line.

    BODY is JSON for the json and msgpack codecs; with --text, or the text and raw codecs, it is taken as it is.
    """
    options: dict[str, Any] = {"headers": headers or None, "priority": priority, "delay": delay, "ttl": ttl}
    with unimq.Queue(url) as queue:
        if file is not None:
            if body is not None or id_ is not None:
                msg = "--file puts many messages: leave BODY and --id out"
                raise click.UsageError(msg)
            count = _put_lines(queue, file, text=text, options=options)
            print_json({"put": count}) if as_json else err().print(f"{count} messages put on {queue.name}")
            return
        raw = sys.stdin.buffer.read() if body in {None, "-"} else (body or "").encode()
        receipt = queue.put(_body(queue, raw, text=text, where="BODY"), id=id_, **options)
    print_json({"id": receipt.id, "queue": receipt.queue, "confirmed": receipt.confirmed}) if as_json else click.echo(
        receipt.id or "stored"
    )


def _put_lines(queue: "unimq.Queue[Any]", file: IO[bytes], *, text: bool, options: dict[str, Any]) -> int:
    lines = [line for line in file.read().splitlines() if line.strip()]
    bodies = [_body(queue, line, text=text, where=f"line {number}") for number, line in enumerate(lines, 1)]
    with progress() as bar:
        task = bar.add_task("put", total=len(bodies))
        for start in range(0, len(bodies), _BATCH):
            batch = bodies[start : start + _BATCH]
            queue.put_many(batch, **options)
            bar.advance(task, len(batch))
    return len(bodies)


def _body(queue: "unimq.Queue[Any]", raw: bytes, *, text: bool, where: str) -> Any:
    """What the queue's codec takes, from bytes that a person typed."""
    codec = queue.codec
    if codec == "raw":
        return raw
    try:
        return raw.decode() if text or codec == "text" else json.loads(raw)
    except ValueError as error:
        msg = f"{where} is no JSON ({error}); quote a text as '\"text\"', or use --text"
        raise unimq.InvalidArgument(msg) from None


@click.command(epilog="Example: unimq get 'sqlite:///jobs.db?queue=mail' --count 10 --timeout 5s")
@url_argument_or_variable
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="How many at most.")
@click.option("--timeout", type=duration, default="0", show_default=True, help="How long to wait for each.")
@click.option("--keep", is_flag=True, help="Give them back instead of removing them.")
@json_option
def get(url: str, count: int, timeout: float, keep: bool, as_json: bool) -> None:  # noqa: FBT001
    """Take messages, print their bodies, and ack each once it is printed."""
    with unimq.Queue(url) as queue:
        if keep and not queue.capabilities.nack:
            msg = f"--keep: {queue!r} cannot take a message back; use peek where there is one"
            raise unimq.Unsupported(msg)
        kept: list[unimq.Message[Any]] = []
        seen = 0
        for message in _some(queue, count, timeout):
            seen += 1
            _print(message, as_json=as_json)
            if keep:
                kept.append(message)
            else:
                message.ack()
        for message in kept:
            message.nack()
        if not seen:
            msg = f"no message on {queue.name}"
            raise unimq.Empty(msg)


def _some(queue: "unimq.Queue[Any]", count: int, timeout: float) -> "Iterator[unimq.Message[Any]]":
    for _ in range(count):
        try:
            yield queue.get(timeout)
        except unimq.Empty:
            return


@click.command(epilog="Example: unimq peek 'sqlite:///jobs.db?queue=mail' --count 5 --json")
@url_argument_or_variable
@click.option("--count", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many at most.")
@json_option
def peek(url: str, count: int, as_json: bool) -> None:  # noqa: FBT001
    """Print the next messages without taking them."""
    with unimq.Queue(url) as queue:
        messages = queue.peek(count)
        for message in messages:
            _print(message, as_json=as_json)
        if not messages:
            msg = f"no message on {queue.name}"
            raise unimq.Empty(msg)


def _print(message: "unimq.Message[Any]", *, as_json: bool) -> None:
    try:
        body = message.body
    except unimq.InvalidMessage as error:
        err().print(f"message {message.id} cannot be decoded, its bytes are shown: {error}", markup=False)
        body = message.raw
    if as_json:
        print_json(message_record(message, body))
    elif isinstance(body, bytes):
        out().file.flush()
        sys.stdout.buffer.write(body + b"\n")
        sys.stdout.buffer.flush()
    else:
        click.echo(body if isinstance(body, str) else json.dumps(body, ensure_ascii=False))


COMMANDS = (put, get, peek)
