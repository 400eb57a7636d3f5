"""export and import: messages as JSON lines, for a file that outlives a backend."""

import sys
from typing import IO, Any, Final, get_args

import click

import unimq
from unimq import operations
from unimq.cli.arguments import (
    existing,
    harmless,
    json_option,
    queue_option,
    telling_what_is_made,
    url_argument,
)
from unimq.cli.move import FAILED, carrying
from unimq.cli.show import messages, note, print_json, progress
from unimq.operations import Moved, Part

__all__ = ["COMMANDS"]

_PARTS: Final = list(get_args(Part))


@click.command(
    short_help="Write messages as JSON lines.",
    epilog="Example: unimq export 'sqlite:///jobs.db?queue=mail' > mail.jsonl",
)
@url_argument
@click.option("--take", is_flag=True, help="Remove each once its line is on the disk; by itself it only looks.")
@click.option("--limit", type=click.IntRange(1), help="How many at most; all by default.")
@click.option("--leave-delayed", is_flag=True, help="Leave out what is not due.")
@queue_option
def export(url: str | None, *, queue: str | None, **options: Any) -> None:
    """Write the messages that are ready to standard output, one JSON object a line, for `unimq import`.

    A line has the body byte for byte, as text or base64, and the id, headers, priority, time of the first put and the
    seconds left before it expires. Without --take it looks, as `unimq peek` does, and holds all in memory. With --take,
    broken off, up to 100 messages are on the queue and in the file: append the rest to it by running it again.
    """
    with unimq.Queue(harmless(existing(url)), name=queue) as source:

        def say(done: Moved) -> None:
            note(f"{messages(done.moved)} {'taken' if options['take'] else 'copied'} from {source.name}")

        with carrying(source, options["limit"], say, bar=not sys.stdout.isatty()) as told:
            done = operations.export_lines(source, sys.stdout.buffer, told=told, **options)
    if done.failed:
        raise click.exceptions.Exit(FAILED)


@click.command(
    "import",
    short_help="Put the messages of JSON lines.",
    epilog="Example: unimq import 'sqlite:///jobs.db?queue=mail' --file mail.jsonl",
)
@url_argument
@click.option("--file", "file", type=click.File("rb"), default="-", help="What `unimq export` wrote; default is stdin.")
@click.option("--drop", type=click.Choice(_PARTS), multiple=True, help="May be lost, where the URL cannot keep it.")
@queue_option
@json_option
def import_(url: str | None, file: IO[bytes], *, drop: list[Part], queue: str | None, as_json: bool) -> None:
    """Put the messages that `unimq export` wrote, each as it was; delays and expiries count from now.

    All lines are checked before the first is put. Where the backend refuses one later, those not put are named.
    """
    if file.isatty():
        msg = "the lines are missing: pipe them in, or use --file"
        raise click.UsageError(msg)
    lines = file.readlines()
    with unimq.Queue(harmless(url), name=queue) as target, telling_what_is_made(url), progress() as bar:
        task = bar.add_task("import", total=len(lines))
        done = operations.import_lines(
            target, lines, drop=drop, told=lambda so_far: bar.update(task, completed=so_far.moved)
        )
    if as_json:
        print_json({"put": done.moved, "queue": target.name})
    else:
        note(f"{messages(done.moved)} put on {target.name}")


COMMANDS = (export, import_)
