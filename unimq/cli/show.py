"""What a person sees, and what a program reads: data on standard output, everything else on standard error.

rich is imported here, and only when there is something to draw: it takes as long as the rest of a command.
"""

import base64
import json
import os
import sys
import time
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import click
import msgspec

import unimq
from unimq.message import BaseMessage

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

__all__ = [
    "NARROW",
    "ago",
    "body_of",
    "err",
    "explain",
    "known",
    "lasting",
    "message_record",
    "messages",
    "note",
    "out",
    "print_drawn",
    "print_json",
    "print_message",
    "print_table",
    "printable",
    "progress",
    "table",
    "took",
]

NARROW: Final = 80
"""Columns; in a terminal that has fewer, what is long has a line of its own."""
_GAP: Final = 2
_FOLDED: Final = 16
"""Columns that a cell needs to be read when it is folded."""
_NO_TERMINAL: Final = 10_000
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


def messages(count: int) -> str:
    """So many messages, in words."""
    return f"{count:,} message{'' if count == 1 else 's'}"


def known(figure: object) -> str:
    """A figure, with a word for the one that nobody knows."""
    return "unknown" if figure is None else f"{figure}"


def took(seconds: float) -> str:
    """A short time, in a unit that leaves few digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e6:.0f} us"


def ago(at: float) -> str:
    """How long that is ago, a point in time in seconds since the Unix epoch."""
    return lasting(max(0.0, time.time() - at))


def lasting(seconds: float) -> str:
    """A long time, in the largest unit that fits."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


# For programs


def print_json(value: object) -> None:
    """One line of JSON; on a terminal what JSON does not escape, but a terminal may obey, is escaped too."""
    text = _json(value)
    if sys.stdout.isatty():
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    click.echo(text)


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


def message_record(message: BaseMessage[Any]) -> dict[str, object]:
    """A message for a program; a body of bytes is base64."""
    body = body_of(message)
    record: dict[str, object] = {
        "id": message.id,
        "queue": message.queue,
        "headers": dict(message.headers),
        "priority": message.priority,
        "delivery_count": message.delivery_count,
        "enqueued_at": message.enqueued_at,
        "expires_at": message.expires_at,
    }
    if isinstance(body, bytes):
        return {**record, "body_base64": base64.b64encode(body).decode()}
    return {**record, "body": _shown(body)}


# For people


def body_of(message: BaseMessage[Any]) -> Any:
    """The body, or its bytes where it cannot be decoded, which is said."""
    try:
        return message.body
    except unimq.InvalidMessage as error:
        note(f"message {message.id} cannot be decoded, its bytes are shown: {error}")
        return message.raw


def print_message(message: BaseMessage[Any], *, as_json: bool, raw: bool) -> None:
    """A message's body on a line, or all of it as JSON; written through before it returns.

    On a terminal control characters are escaped, unless it is to be `raw`: a body could clear the screen, and more.
    """
    if as_json:
        print_json(message_record(message))
        return
    body = body_of(message)
    shown = body if isinstance(body, (str, bytes)) else _json(_shown(body))
    if not raw and sys.stdout.isatty():
        text = shown.decode(errors="backslashreplace") if isinstance(shown, bytes) else shown
        shown = "\n".join(map(printable, text.split("\n")))
    click.echo(shown)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    folds: Collection[str] = (),
    figures: Collection[str] = (),
    colours: Mapping[str, str] | None = None,
) -> None:
    """Print a table on standard output, see `table`."""
    console = out()
    print_drawn(console, table(console, columns, rows, folds=folds, figures=figures, colours=colours))


def table(  # noqa: PLR0913 - those of a table
    console: "Console",
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    folds: Collection[str] = (),
    figures: Collection[str] = (),
    colours: Mapping[str, str] | None = None,
) -> "Table":
    """A table as wide as the terminal, whose columns `folds` take several lines where they must.

    `figures` are the columns of numbers, `colours` those of whole cells. Where the terminal is too narrow for the
    table, each row has its cells below each other.
    """
    from rich.text import Text  # noqa: PLC0415

    styles = colours or {}
    cells = [[Text(printable(cell), style=styles.get(cell, ""), overflow="fold") for cell in row] for row in rows]
    widest = [max([len(column), *(row[n].cell_len for row in cells)]) for n, column in enumerate(columns)]
    needed = sum(min(w, _FOLDED) if c in folds else w for c, w in zip(columns, widest, strict=True))
    if needed + _GAP * (len(columns) - 1) > console.width:
        return _below_each_other(columns, cells)
    return _side_by_side(columns, cells, folds, figures)


def _side_by_side(
    columns: Sequence[str], rows: Iterable[Iterable["Text"]], folds: Collection[str], figures: Collection[str]
) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in figures else "left"
        made.add_column(column, justify=justify, no_wrap=column not in folds)
    for row in rows:
        made.add_row(*row)
    return made


def _below_each_other(columns: Sequence[str], rows: Iterable[Sequence["Text"]]) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    made = Table.grid("name", "value", padding=(0, _GAP, 0, 0))
    for row in rows:
        made.add_row(columns[0], row[0], style="bold")
        for column, cell in zip(columns[1:], row[1:], strict=True):
            if cell.plain:
                made.add_row(f"  {column}", cell)
    return made


def print_drawn(console: "Console", *what: "RenderableType") -> None:
    """Print what rich draws, without blanks at the ends of lines."""
    with console.capture() as drawn:
        console.print(*what)
    for line in drawn.get().splitlines():
        click.echo(line.rstrip(), color=True)  # rich has decided about colours


def out() -> "Console":
    """Standard output."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _NO_TERMINAL
    return console


def err() -> "Console":
    """Standard error, for what moves on a terminal."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True, highlight=False)


def progress(*, hidden: bool = False) -> "Progress":
    """A bar on standard error, drawn only on a terminal; `hidden` where something else is written there."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err(), disable=hidden or not sys.stderr.isatty(), transient=True)
