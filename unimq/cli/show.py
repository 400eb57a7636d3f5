"""What a person sees, and what a program reads: data on standard output, everything else on standard error.

rich is imported here, and only when there is something to draw: it takes as long as the rest of a command.
"""

import base64
import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

import unimq
from unimq.message import Letter

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["body_of", "explain", "known", "message_record", "note", "print_json", "print_message", "print_table"]
__all__ += ["printable", "progress", "took"]

_NO_TERMINAL = 10_000
"""Columns of a table that a program reads, or a pager: nobody wants it folded."""


def note(text: str) -> None:
    """One line on standard error that is no data."""
    click.echo(printable(text), err=True)


def explain(error: BaseException) -> None:
    """One line about what went wrong; the whole traceback with UNIMQ_DEBUG=1."""
    if os.environ.get("UNIMQ_DEBUG"):
        traceback.print_exception(error)
    prefix = "unimq:" if os.environ.get("NO_COLOR") else click.style("unimq:", fg="red", bold=True)
    click.echo(f"{prefix} {printable(str(error))}", err=True)


def printable(text: str) -> str:
    """The text without what would move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def known(figure: object) -> str:
    """A figure, with a word for the one that nobody knows."""
    return "unknown" if figure is None else f"{figure}"


def took(seconds: float) -> str:
    """A short time, in a unit that leaves few digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e6:.0f} us"


# For programs


def print_json(value: object) -> None:
    """One line of JSON."""
    click.echo(_json(value))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_in_json)


def _in_json(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else msgspec.to_builtins(value)


def _shown(body: Any) -> Any:
    """The body, or Python's text of it where JSON has no words for it: keys that are no texts, NaN."""
    try:
        _json(body)
    except (TypeError, ValueError):
        return repr(body)
    return body


def message_record(letter: Letter[Any]) -> dict[str, object]:
    """A message for a program; a body of bytes is base64."""
    body = body_of(letter)
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
    return {**record, "body": _shown(body)}


# For people


def body_of(letter: Letter[Any]) -> Any:
    """The body, or its bytes where it cannot be decoded, which is said."""
    try:
        return letter.body
    except unimq.InvalidMessage as error:
        note(f"message {letter.id} cannot be decoded, its bytes are shown: {error}")
        return letter.raw


def print_message(letter: Letter[Any], *, as_json: bool) -> None:
    """A message's body on a line, or all of it as JSON; written through before it returns."""
    if as_json:
        print_json(message_record(letter))
        return
    body = body_of(letter)
    click.echo(body if isinstance(body, (str, bytes)) else _json(_shown(body)))


def print_table(
    columns: Iterable[str], rows: Iterable[Iterable[str]], colours: Mapping[str, str] | None = None
) -> None:
    """A table as wide as the terminal; cells that are one of `colours` have that one."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    styles = colours or {}
    for row in rows:
        made.add_row(*(Text(printable(cell), style=styles.get(cell, "")) for cell in row))
    console = out()
    with console.capture() as drawn:
        console.print(made)
    for line in drawn.get().splitlines():
        click.echo(line.rstrip(), color=True)  # rich has decided about colours


def out() -> "Console":
    """Standard output."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _NO_TERMINAL
    return console


def progress() -> "Progress":
    """A bar on standard error, drawn only on a terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
