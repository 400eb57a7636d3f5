"""stats, queues and purge."""

import sys
from typing import Any

import click
import msgspec

import unimq
from unimq.cli.arguments import existing, json_option, queue_option, url_argument
from unimq.cli.show import known, messages, note, print_json, print_table

__all__ = ["COMMANDS", "empty", "yes_option"]

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
        empty(emptied, yes=yes, as_json=as_json)


def empty(queue: "unimq.Queue[Any]", *, yes: bool, as_json: bool) -> None:
    """Remove what waits on it, if that is wanted."""
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


COMMANDS = (stats, queues, purge)
