"""work: call a handler with each message of a queue, until interrupted or terminated."""

import importlib
import inspect
import logging
import sys
from typing import Any

import click

import unimq
from unimq.cli.arguments import duration, url_or_variable

__all__ = ["COMMANDS"]


@click.command(
    short_help="Call a Python function with each message.",
    epilog="Example: unimq work shop.mail:send --url 'sqlite:///jobs.db?queue=mail' --concurrency 4",
)
@click.argument("handler", metavar="MODULE:HANDLER")
@click.option("--url", help="The connection URL, with its queue.  [default: UNIMQ_URL]")
@click.option("--concurrency", "-c", type=click.IntRange(1), default=1, show_default=True, help="Threads or tasks.")
@click.option("--attempts", type=click.IntRange(0), default=5, show_default=True, help="Tries; 0: without end.")
@click.option("--grace", type=duration, default="30s", show_default=True, help="For handlers to end when stopped.")
@click.option("--max-runtime", type=duration, help="After which a lease is not extended any more, or a task cancelled.")
def work(  # noqa: PLR0913 - its options
    handler: str, url: str | None, *, concurrency: int, attempts: int, grace: float, max_runtime: float | None
) -> None:
    """Import MODULE, from the current directory too, and call HANDLER with each message of the URL's queue.

    What it returns acks the message; what it raises gives it back for another try, after a pause that grows, or at last
    to the dead letters. A coroutine function is awaited in an event loop. HANDLER may be a unimq.Worker of your own, or
    a unimq.AsyncWorker, with a URL and settings of its own. SIGTERM and Ctrl-C let handlers end that have begun; a
    second one gives their messages back at once.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    found = _load(handler)
    if callable(found):
        kind: Any = unimq.AsyncWorker if inspect.iscoroutinefunction(found) else unimq.Worker
        retry = unimq.RetryPolicy(attempts=attempts or None)
        limits: dict[str, Any] = {"concurrency": concurrency, "grace": grace, "max_runtime": max_runtime}
        found = kind(url_or_variable(url), found, retry=retry, **limits)
    if isinstance(found, unimq.Worker):
        found.run()
    else:
        import asyncio  # noqa: PLC0415 - no other command needs it

        asyncio.run(found.run())


def _load(name: str) -> Any:
    """The object at `module:name`."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        msg = f"{name!r} must be MODULE:HANDLER, such as shop.mail:send"
        raise click.UsageError(msg)
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ModuleNotFoundError, AttributeError) as error:
        # A module that is there and fails inside is a fault of the application, with its own traceback.
        if isinstance(error, ModuleNotFoundError) and error.name not in {module, module.partition(".")[0]}:
            raise
        msg = f"{name!r}: {error}; a module is looked for in the current directory and where Python looks"
        raise click.UsageError(msg) from error
    if not callable(found) and not isinstance(found, (unimq.Worker, unimq.AsyncWorker)):
        msg = f"{name!r} is {type(found).__name__}: it must be a function that takes a message, or a worker"
        raise click.UsageError(msg)
    return found


COMMANDS = (work,)
