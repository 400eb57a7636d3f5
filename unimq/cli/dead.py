"""dead: what was given up, looked at, put back or removed."""

import time
from datetime import UTC, datetime
from typing import Any, Final

import click

import unimq
from unimq import headers as reserved
from unimq.cli.administer import empty, yes_option
from unimq.cli.arguments import (
    codec_option,
    count_option,
    existing,
    json_option,
    looks_like_url,
    message_queue,
    queue_option,
    raw_option,
    url_argument,
    url_or_variable,
)
from unimq.cli.show import (
    ago,
    body_of,
    known,
    message_record,
    messages,
    note,
    print_json,
    print_message,
    print_table,
    printable,
)

__all__ = ["COMMANDS"]

_SHORT: Final = 60
"""Characters of a body in a table: half a line."""
_ALL: Final = 10_000
"""As many as one peek shows."""
_YEAR_9999: Final = 253_370_764_800.0
"""Where the calendar of Python ends, in seconds since the Unix epoch."""


@click.group()
def dead() -> None:
    """Look at dead letters, put them back, or remove them. URL and --queue name the queue they come from."""


@dead.command("list", epilog="Example: unimq dead list 'sqlite:///jobs.db?queue=mail'")
@url_argument
@count_option(20)
@queue_option
@codec_option
@json_option
def list_(url: str | None, count: int, *, queue: str | None, codec: str | None, as_json: bool) -> None:
    """Show dead letters: when they were put, when and why given up, after how many deliveries, and from where."""
    with message_queue(existing(url), queue, codec) as parent:
        letters = parent.dead.peek(count)
        if not letters:
            note(f"no dead letters in {parent.dead.name}")
        elif as_json:
            for letter in letters:
                print_json(_record(letter))
        else:
            columns = ("id", "put", "dead for", "deliveries", "origin", "reason", "body")
            print_table(columns, [_row(letter) for letter in letters], folds={"reason", "body"})
        if letters and parent.capabilities.stats:
            _tell_of_more(len(letters), parent.dead)


def _tell_of_more(shown: int, letters: "unimq.Queue[Any]") -> None:
    ready = letters.stats().ready
    if ready is not None and ready > shown:
        note(f"{shown:,} of {messages(ready)} in {letters.name}")


def _row(letter: "unimq.Message[Any]") -> tuple[str, ...]:
    body = repr(body_of(letter))
    return (
        letter.id or "-",
        *(known(None if at is None else ago(at)) for at in (_time(letter, name) for name in _TIMES)),
        *(known(letter.headers.get(name)) for name in _TOLD),
        body if len(body) <= _SHORT else f"{body[: _SHORT - 3]}...",
    )


_TOLD: Final = (reserved.DEAD_DELIVERIES, reserved.DEAD_ORIGIN, reserved.DEAD_REASON)


_TIMES: Final = (reserved.DEAD_PUT, reserved.DEAD_AT)


def _time(letter: "unimq.Message[Any]", name: str) -> float | None:
    try:
        return float(letter.headers[name])
    except (KeyError, ValueError):
        return None


def _record(letter: "unimq.Message[Any]") -> dict[str, object]:
    """A dead letter for a program: the story stands beside the headers that tell it."""
    deliveries, origin, reason = (letter.headers.get(name) for name in _TOLD)
    return {
        **message_record(letter),
        "dead_put": _time(letter, reserved.DEAD_PUT),
        "dead_at": _time(letter, reserved.DEAD_AT),
        "dead_deliveries": int(deliveries) if deliveries is not None and deliveries.isdecimal() else None,
        "dead_origin": origin,
        "dead_reason": reason,
    }


@dead.command(epilog="Example: unimq dead show 'sqlite:///jobs.db?queue=mail' 01a2f4")
@click.argument("url", required=False)
@click.argument("id_", metavar="ID", required=False)
@queue_option
@codec_option
@raw_option
@json_option
def show(  # noqa: PLR0913 - its options
    url: str | None, id_: str | None, *, queue: str | None, codec: str | None, raw: bool, as_json: bool
) -> None:
    """Show all of one dead letter: its story, its headers and its body, without taking it.

    Of two arguments the first is the URL; one alone is the ID, as `dead list` shows it.
    """
    if url is not None and id_ is None and not looks_like_url(url):
        url, id_ = None, url
    if id_ is None:
        msg = "ID is missing: `unimq dead list` shows those that there are"
        raise click.UsageError(msg)
    with message_queue(existing(url_or_variable(url)), queue, codec) as parent:
        letter = _find(parent.dead, id_)
        if as_json:
            print_json(_record(letter))
            return
        print_table(("what", "value"), _story(letter), folds={"value"})
        for line in letter.headers.get(reserved.DEAD_DETAILS, "").splitlines():
            click.echo(f"  {printable(line)}")
        click.echo()
        print_message(letter, as_json=False, raw=raw)


def _find(letters: "unimq.Queue[Any]", id_: str) -> "unimq.Message[Any]":
    found = letters.peek(_ALL)
    for letter in found:
        if letter.id == id_:
            return letter
    msg = f"no dead letter with the id {id_!r} is among the {len(found):,} that {letters.name} shows"
    raise unimq.Empty(msg)


def _story(letter: "unimq.Message[Any]") -> list[tuple[str, str]]:
    deliveries, origin, reason = (known(letter.headers.get(name)) for name in _TOLD)
    return [
        ("id", letter.id or "-"),
        ("queue", letter.queue),
        ("origin", origin),
        ("reason", reason),
        ("put", _when(_time(letter, reserved.DEAD_PUT))),
        ("died", _when(_time(letter, reserved.DEAD_AT))),
        ("deliveries", deliveries),
        ("priority", known(letter.priority)),
        ("bytes", f"{len(letter.raw):,}"),
        *((f"header {k}", v) for k, v in letter.headers.items() if not k.startswith(reserved.DEAD_PREFIX)),
    ]


def _when(at: float | None) -> str:
    if at is None or not 0 <= at < _YEAR_9999:
        return known(None)
    past = "" if at > time.time() else f", {ago(at)} ago"
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC{past}"


@dead.command(epilog="Example: unimq dead redrive 'sqlite:///jobs.db?queue=mail' --rate 10")
@url_argument
@click.option("--id", "id_", metavar="ID", help="Only the one that has this id.")
@click.option("--limit", type=click.IntRange(1), help="How many at most; all by default.")
@click.option("--rate", type=float, metavar="N", help="How many a second at most; as fast as it goes by default.")
@queue_option
@json_option
def redrive(  # noqa: PLR0913 - its options
    url: str | None, id_: str | None, limit: int | None, rate: float | None, *, queue: str | None, as_json: bool
) -> None:
    """Put dead letters back where they came from, as if never delivered.

    With --id all are taken while the one is looked for, and the others given back.
    """
    with unimq.Queue(existing(url), name=queue) as parent:
        moved = parent.dead.redrive(limit, id=id_, rate=rate)
        if id_ is not None and not moved:
            msg = f"no dead letter with the id {id_!r} is ready in {parent.dead.name}"
            raise unimq.Empty(msg)
    print_json({"redriven": moved}) if as_json else click.echo(f"{messages(moved)} put back")


@dead.command("purge", epilog="Example: unimq dead purge 'sqlite:///jobs.db?queue=mail' --yes")
@url_argument
@queue_option
@yes_option
@json_option
def purge_dead(url: str | None, *, queue: str | None, yes: bool, as_json: bool) -> None:
    """Remove the dead letters. It asks on a terminal; elsewhere it wants --yes."""
    with unimq.Queue(existing(url), name=queue) as parent:
        empty(parent.dead, yes=yes, as_json=as_json)


COMMANDS = (dead,)
