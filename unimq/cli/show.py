"""What a person sees, and what a program reads: data on standard output, everything else on standard error."""

import base64
import json
import os
import sys
import traceback
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from unimq.message import Letter

__all__ = [
    "EMPTY",
    "FAILED",
    "INTERRUPTED",
    "USAGE",
    "err",
    "explain",
    "json_option",
    "message_record",
    "out",
    "print_json",
    "progress",
    "table",
    "url_argument",
    "url_argument_or_variable",
]

FAILED: Final = 1
USAGE: Final = 2
EMPTY: Final = 3
INTERRUPTED: Final = 130

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
url_argument = click.argument("url")
url_argument_or_variable = click.argument("url", envvar="UNIMQ_URL")


def out() -> Console:
    """Standard output."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def explain(error: BaseException) -> None:
    """One line about what went wrong; the whole traceback with UNIMQ_DEBUG=1."""
    if os.environ.get("UNIMQ_DEBUG"):
        traceback.print_exception(error)
    console = err()
    console.print("unimq:", style="bold red", end=" ")
    console.print(str(error), markup=False)


def print_json(value: object) -> None:
    """One line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


def message_record(letter: Letter[Any], body: Any) -> dict[str, object]:
    """A message for a program; a body that is no JSON is base64."""
    record: dict[str, object] = {
        "id": letter.id,
        "queue": letter.queue,
        "headers": dict(letter.headers),
        "priority": letter.priority,
        "delivery_count": letter.delivery_count,
        "enqueued_at": letter.enqueued_at,
        "expires_at": letter.expires_at,
    }
    if isinstance(body, bytes):
        return {**record, "body_base64": base64.b64encode(body).decode()}
    return {**record, "body": body}


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def progress() -> Progress:
    """A bar on standard error, drawn only on a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
