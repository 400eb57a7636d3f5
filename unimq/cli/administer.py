"""stats, queues, purge and the dead letters."""

import sys
from typing import Any

import click
import msgspec

import unimq
from unimq import headers as reserved
from unimq.cli.arguments import (
    codec_option,
    count_option,
    existing,
    json_option,
    message_queue,
    queue_option,
    url_argument,
)
from unimq.cli.show import body_of, known, message_record, messages, note, print_json, print_table

__all__ = ["COMMANDS"]

_SHORT = 60
"""Characters of a body in a table: half a line."""

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.command(
    short_help="Count the messages of a queue by state.", epilog="Example: unimq stats 'sqlite:///jobs.db?queue=mail'"
)
@url_argument
@queue_option
@json_option
def stats(url: str | None, *, queue: str | None, as_json: bool) -> None:
    """Count the messages of a queue by state; what the backend does not know is shown as unknown."""
    with unimq.Queue(existing(url), name=queue) as counted:
        figures = msgspec.to_builtins(counted.stats())
        name = counted.name
    if as_json:
        print_json({"queue": name, **figures})
        return
    oldest = figures["oldest"]
    counts = [known(figures[state]) for state in ("ready", "delayed", "leased")]
    columns = ("queue", "ready", "delayed", "leased", "oldest")
    age = "-" if oldest is None else f"{oldest:.1f} s"
    print_table(columns, [(name, *counts, age)], figures=columns[1:])
    if figures["approximate"]:
        note("the backend's figures are approximate")


@click.command(epilog="Example: unimq queues sqlite:///jobs.db")
@url_argument
@json_option
def queues(url: str | None, *, as_json: bool) -> None:
    """List the queues that exist."""
    with unimq.connect(existing(url)) as client:
        names = client.queues()
    if as_json:
        print_json(names)
        return
    for name in names:
        click.echo(name)


@click.command(epilog="Example: unimq purge 'sqlite:///jobs.db?queue=mail' --yes")
@url_argument
@queue_option
@yes_option
@json_option
def purge(url: str | None, *, queue: str | None, yes: bool, as_json: bool) -> None:
    """Remove the messages that nobody holds. It asks on a terminal; elsewhere it wants --yes."""
    with unimq.Queue(existing(url), name=queue) as emptied:
        _purge(emptied, yes=yes, as_json=as_json)


def _purge(queue: "unimq.Queue[Any]", *, yes: bool, as_json: bool) -> None:
    if not yes and not _confirmed(queue):
        note("nothing was removed")
        raise click.exceptions.Exit(1)
    removed = queue.purge()
    print_json({"purged": removed, "queue": queue.name}) if as_json else click.echo(
        f"{messages(removed)} removed from {queue.name}"
    )


def _confirmed(queue: "unimq.Queue[Any]") -> bool:
    if not sys.stdin.isatty():
        msg = f"this removes the messages of {queue.name}, and there is no terminal to ask on: add --yes"
        raise click.UsageError(msg)
    if not queue.capabilities.purge:
        return True  # it will be refused: there is nothing to ask for
    waiting = messages(queue.size()) if queue.capabilities.stats else "all messages"
    return click.confirm(f"Remove {waiting} waiting on {queue.name} of {queue.client.where}?", err=True)


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
    """Show dead letters and why they were given up."""
    with message_queue(existing(url), queue, codec) as parent:
        letters = parent.dead.peek(count)
        if not letters:
            note(f"no dead letters in {parent.dead.name}")
        elif as_json:
            for letter in letters:
                print_json(message_record(letter))
        else:
            columns = ("id", "deliveries", "reason", "body")
            print_table(columns, [_row(letter) for letter in letters], folds={"reason", "body"})


def _row(letter: "unimq.Message[Any]") -> tuple[str, ...]:
    told = letter.headers
    body = repr(body_of(letter))
    return (
        letter.id or "-",
        known(told.get(reserved.DEAD_DELIVERIES)),
        known(told.get(reserved.DEAD_REASON)),
        body if len(body) <= _SHORT else f"{body[: _SHORT - 3]}...",
    )


@dead.command(epilog="Example: unimq dead redrive 'sqlite:///jobs.db?queue=mail' --limit 10")
@url_argument
@click.option("--limit", type=click.IntRange(1), help="How many at most; all by default.")
@queue_option
@json_option
def redrive(url: str | None, limit: int | None, *, queue: str | None, as_json: bool) -> None:
    """Put dead letters back where they came from, as if never delivered."""
    with unimq.Queue(existing(url), name=queue) as parent:
        moved = parent.dead.redrive(limit)
    print_json({"redriven": moved}) if as_json else click.echo(f"{messages(moved)} put back")


@dead.command("purge", epilog="Example: unimq dead purge 'sqlite:///jobs.db?queue=mail' --yes")
@url_argument
@queue_option
@yes_option
@json_option
def purge_dead(url: str | None, *, queue: str | None, yes: bool, as_json: bool) -> None:
    """Remove the dead letters. It asks on a terminal; elsewhere it wants --yes."""
    with unimq.Queue(existing(url), name=queue) as parent:
        _purge(parent.dead, yes=yes, as_json=as_json)


COMMANDS = (stats, queues, purge, dead)
