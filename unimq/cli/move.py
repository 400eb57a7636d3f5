"""move: what is on one queue goes to another, on any two backends."""

import contextlib
from collections.abc import Callable, Generator
from typing import Any, Final, get_args

import click
import msgspec

import unimq
from unimq import operations, registry
from unimq.cli.arguments import existing, harmless, json_option, queue_option, telling_what_is_made, two_urls
from unimq.cli.show import messages, note, print_json, progress
from unimq.operations import Moved, Part

__all__ = ["COMMANDS", "FAILED", "carrying"]

FAILED: Final = 1
_PARTS: Final = [part for part in get_args(Part) if part != "delay"]


@click.command(
    short_help="Move the messages of a queue to another backend.",
    epilog="Example: unimq move 'sqlite:///jobs.db?queue=mail' beanstalkd://127.0.0.1/mail",
)
@click.argument("url", metavar="[URL]", required=False)
@click.argument("other", required=False)
@click.option("--limit", type=click.IntRange(1), help="How many at most; all that are there by default.")
@click.option("--follow", is_flag=True, help="Go on with what comes later, until Ctrl-C.")
@click.option("--leave-delayed", is_flag=True, help="Leave what is not due where it is.")
@click.option("--drop", type=click.Choice(_PARTS), multiple=True, help="May be lost, where OTHER cannot keep it.")
@queue_option
@json_option
def move(
    url: str | None, other: str | None, *, queue: str | None, as_json: bool, drop: list[Part], **options: Any
) -> None:
    """Move the messages that are ready on URL's queue to OTHER's, or to one of the same name there.

    Each is stored there before it is removed here, with its id, headers, priority, expiry and age. Broken off, even by
    kill -9, nothing is lost: run it again. Up to 100 messages may then be on both sides, with the same id. What OTHER
    cannot keep is refused before the first is moved, unless --drop allows to lose it.
    """
    url, other = two_urls(url, other)
    with contextlib.ExitStack() as stack:
        source: unimq.Queue[Any] = stack.enter_context(unimq.Queue(harmless(existing(url)), name=queue))
        stack.enter_context(telling_what_is_made(other))
        target: unimq.Queue[Any] = stack.enter_context(unimq.Queue(harmless(other), name=_name(other, source)))

        def say(done: Moved) -> None:
            whither = f"moved from {source.name} to {target.name}"
            print_json(msgspec.to_builtins(done)) if as_json else click.echo(f"{messages(done.moved)} {whither}")

        with carrying(source, options["limit"], say) as told:
            done = operations.move(source, target, drop=drop, told=told, **options)
    if done.failed:
        raise click.exceptions.Exit(FAILED)


def _name(url: str, source: "unimq.Queue[Any]") -> str | None:
    """The source's, where the URL has none."""
    parsed = unimq.URL.parse(url)
    named = parsed.queue_name(path_is_queue=registry.driver(parsed.scheme).path_is_queue)
    return source.name if named is None else None


@contextlib.contextmanager
def carrying(
    source: "unimq.Queue[Any]", limit: int | None, say: Callable[[Moved], object], *, bar: bool = True
) -> Generator[Callable[[Moved], object]]:
    """A bar on a terminal while messages go, and what became of them at the end, also when that is an exception."""
    sums: list[Moved] = []
    with progress(hidden=not bar) as drawn:
        task = drawn.add_task("move", total=_expected(source, limit))

        def told(so_far: Moved) -> None:
            sums.append(so_far)
            drawn.update(task, completed=so_far.moved + so_far.failed + so_far.doubtful)

        try:
            yield told
        finally:
            drawn.stop()
            if sums:
                say(sums[-1])
                _explain(sums[-1])


def _expected(source: "unimq.Queue[Any]", limit: int | None) -> int | None:
    ready = source.stats().ready if source.capabilities.stats else None
    return limit if ready is None or (limit or ready) < ready else ready


def _explain(done: Moved) -> None:
    if done.failed:
        note(f"{messages(done.failed)} stayed, the first because: {done.reason}")
    if done.doubtful:
        note(f"{messages(done.doubtful)} may be on both sides, with the same id")


COMMANDS = (move,)
