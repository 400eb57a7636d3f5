"""stats, queues, purge and the dead letters."""

from typing import Any

import click
import msgspec
from rich.markup import escape

import unimq
from unimq.cli.show import err, json_option, message_record, out, print_json, table, url_argument_or_variable

__all__ = ["COMMANDS"]

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command(epilog="Example: unimq stats 'sqlite:///jobs.db?queue=mail'")
@url_argument_or_variable
@json_option
def stats(url: str, as_json: bool) -> None:  # noqa: FBT001
    """Count the messages of a queue by state; what the backend does not know is shown as unknown."""
    with unimq.Queue(url) as queue:
        figures = msgspec.to_builtins(queue.stats())
    if as_json:
        print_json({"queue": queue.name, **figures})
        return
    shown = table("queue", "ready", "delayed", "leased", "oldest")
    counts = [_known(figures[name]) for name in ("ready", "delayed", "leased")]
    oldest = figures["oldest"]
    shown.add_row(escape(queue.name), *counts, "-" if oldest is None else f"{oldest:.1f} s")
    out().print(shown)
    if figures["approximate"]:
        err().print("the backend's figures are approximate")


def _known(figure: int | None) -> str:
    return "unknown" if figure is None else str(figure)


@click.command(epilog="Example: unimq queues sqlite:///jobs.db")
@url_argument_or_variable
@json_option
def queues(url: str, as_json: bool) -> None:  # noqa: FBT001
    """List the queues that exist."""
    with unimq.connect(url) as client:
        names = client.queues()
    if as_json:
        print_json(names)
        return
    for name in names:
        click.echo(name)


@click.command(epilog="Example: unimq purge 'sqlite:///jobs.db?queue=mail' --yes")
@url_argument_or_variable
@yes_option
@json_option
def purge(url: str, yes: bool, as_json: bool) -> None:  # noqa: FBT001
    """Remove the messages that nobody holds."""
    with unimq.Queue(url) as queue:
        _purge(queue, yes=yes, as_json=as_json)


def _purge(queue: "unimq.Queue[Any]", *, yes: bool, as_json: bool) -> None:
    if not yes:
        click.confirm(f"Remove all waiting messages of {queue.name}?", abort=True, err=True)
    removed = queue.purge()
    print_json({"purged": removed}) if as_json else click.echo(f"{removed} messages removed from {queue.name}")


@click.group()
def dead() -> None:
    """Look at dead letters, put them back, or remove them. URL names the queue they come from."""


@dead.command("list", epilog="Example: unimq dead list 'sqlite:///jobs.db?queue=mail'")
@url_argument_or_variable
@click.option("--count", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many at most.")
@json_option
def list_(url: str, count: int, as_json: bool) -> None:  # noqa: FBT001
    """Show dead letters and why they were given up."""
    with unimq.Queue(url) as queue:
        letters = queue.dead.peek(count)
        if as_json:
            for letter in letters:
                print_json(message_record(letter, _body(letter)))
            return
        shown = table("id", "deliveries", "reason", "body")
        for letter in letters:
            told = letter.headers
            body = repr(_body(letter))
            shown.add_row(
                escape(letter.id or "-"),
                told.get("unimq-dead-deliveries", "unknown"),
                escape(told.get("unimq-dead-reason", "unknown")),
                escape(body if len(body) <= 60 else f"{body[:57]}..."),  # noqa: PLR2004 - half a line
            )
        out().print(shown) if letters else err().print(f"no dead letters in {queue.dead.name}")


def _body(letter: "unimq.Message[Any]") -> Any:
    try:
        return letter.body
    except unimq.InvalidMessage:
        return letter.raw


@dead.command(epilog="Example: unimq dead redrive 'sqlite:///jobs.db?queue=mail' --limit 10")
@url_argument_or_variable
@click.option("--limit", type=click.IntRange(1), help="How many at most; all by default.")
@json_option
def redrive(url: str, limit: int | None, as_json: bool) -> None:  # noqa: FBT001
    """Put dead letters back where they came from, as if never delivered."""
    with unimq.Queue(url) as queue:
        moved = queue.dead.redrive(limit)
    print_json({"redriven": moved}) if as_json else click.echo(f"{moved} messages put back")


@dead.command("purge", epilog="Example: unimq dead purge 'sqlite:///jobs.db?queue=mail' --yes")
@url_argument_or_variable
@yes_option
@json_option
def purge_dead(url: str, yes: bool, as_json: bool) -> None:  # noqa: FBT001
    """Remove the dead letters."""
    with unimq.Queue(url) as queue:
        _purge(queue.dead, yes=yes, as_json=as_json)


COMMANDS = (stats, queues, purge, dead)
