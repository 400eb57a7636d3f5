"""put: one message from an argument or standard input, or one for each line of a file."""

import sys
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import click
import msgspec

import unimq
from unimq.cli.arguments import (
    codec_option,
    duration,
    json_option,
    looks_like_url,
    message_queue,
    queue_option,
    telling_what_is_made,
    url_or_variable,
)
from unimq.cli.show import messages, note, print_json, progress

__all__ = ["COMMANDS"]

_BATCH = 100


class Line(NamedTuple):
    """A line of a file that is not blank."""

    number: int
    """Counted from 1, blank ones too."""
    raw: bytes


def _headers(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            msg = f"{value!r} must be written key=value"
            raise click.BadParameter(msg)
    return dict(value.split("=", 1) for value in values)


@click.command(
    short_help="Put messages from an argument, a pipe or a file.",
    epilog="Example: unimq put 'sqlite:///jobs.db?queue=mail' '{\"to\": \"ada@example.org\"}' --delay 5m",
)
@click.argument("url", required=False)
@click.argument("body", required=False)
@click.option("--file", "file", type=click.File("rb"), help="Put each line of this file of JSON lines; - is stdin.")
@click.option("--text", is_flag=True, help="The body is a text as it is, not JSON.")
@click.option("--header", "headers", multiple=True, callback=_headers, help="A header, key=value; repeatable.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 to 9, 9 is delivered first.")
@click.option("--delay", type=duration, default="0", help="Not before, e.g. 5m.")
@click.option("--ttl", type=duration, help="Not after, e.g. 1h.")
@click.option("--id", "id_", help="An own id.")
@queue_option
@codec_option
@json_option
def put(  # noqa: PLR0913 - its options
    url: str | None,
    body: str | None,
    file: IO[bytes] | None,
    *,
    text: bool,
    id_: str | None,
    queue: str | None,
    codec: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Put BODY as one message; without BODY, or with -, what is piped in; with --file one for each line.

    BODY is JSON for the codecs json and msgpack; with --text, and for text and raw, it is taken as it is. Of two
    arguments the first is the URL; one alone is the URL when it begins like one, and else BODY.
    """
    if url is not None and body is None and not looks_like_url(url):
        url, body = None, url
    url = url_or_variable(url)
    with message_queue(url, queue, codec) as target, telling_what_is_made(url):
        if file is None:
            raw, where = _one(body)
            receipt = target.put(_body(target, raw, text=text, where=where), id=id_, **options)
            record = {"id": receipt.id, "queue": receipt.queue, "confirmed": receipt.confirmed}
            print_json(record) if as_json else click.echo(receipt.id or "stored")
            return
        if body is not None or id_ is not None:
            msg = "--file puts many messages: leave BODY and --id out"
            raise click.UsageError(msg)
        count = _put_lines(target, file, text=text, options=options)
        print_json({"put": count, "queue": target.name}) if as_json else note(f"{messages(count)} put on {target.name}")


def _one(body: str | None) -> tuple[bytes, str]:
    """The bytes of one body, and where they are from."""
    if body not in {None, "-"}:
        return str(body).encode(errors="surrogateescape"), "BODY"
    if body is None and sys.stdin.isatty():
        msg = "BODY is missing: give it, pipe it in, or write - to type it here"
        raise click.UsageError(msg)
    return sys.stdin.buffer.read(), "standard input"


def _put_lines(queue: "unimq.Queue[Any]", file: IO[bytes], *, text: bool, options: dict[str, Any]) -> int:
    """Put each line. All are read before the first is sent, so that a bad one stops nothing half-way."""
    lines = [Line(number, raw) for number, raw in enumerate(file.read().splitlines(), 1) if raw.strip()]
    for line in lines:
        _body(queue, line.raw, text=text, where=f"line {line.number}")
    with progress() as bar:
        task = bar.add_task("put", total=len(lines))
        for start in range(0, len(lines), _BATCH):
            batch = lines[start : start + _BATCH]
            bodies = [_body(queue, line.raw, text=text, where=f"line {line.number}") for line in batch]
            try:
                queue.put_many(bodies, **options)
            except unimq.UnimqError as error:
                note(_how_far(error, start, batch))
                raise
            bar.advance(task, len(batch))
    return len(lines)


def _how_far(error: unimq.UnimqError, before: int, batch: Sequence[Line]) -> str:
    """What was stored when a batch failed, so that the rest can be put again."""
    if not isinstance(error, unimq.BatchError):
        return f"put before this: {messages(before)}, up to the line before line {batch[0].number}"
    stored = before + len(batch) - len(error.failed)
    doubtful = sum(isinstance(o, unimq.UnimqError) and o.in_doubt for o in error.outcomes)
    lines = ", ".join(str(batch[i].number) for i in error.failed)
    return f"put: {messages(stored)}; not put{f' ({doubtful} in doubt)' if doubtful else ''}: lines {lines} and after"


def _body(queue: "unimq.Queue[Any]", raw: bytes, *, text: bool, where: str) -> Any:
    """What the queue's codec takes, from bytes that a person typed."""
    if queue.codec == "raw":
        return raw
    if text or queue.codec == "text":
        return _decoded(raw, where)
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{where} is no JSON ({error}); quote a text as '\"text\"', or use --text"
        raise unimq.InvalidArgument(msg) from None


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        msg = f"{where} is no UTF-8 text ({error.reason} at byte {error.start}); --codec raw takes any bytes"
        raise unimq.InvalidArgument(msg) from None


COMMANDS = (put,)
