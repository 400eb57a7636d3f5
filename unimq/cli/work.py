"""work: call a handler with each message of a queue, until interrupted or terminated."""

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

import unimq
from unimq.cli.arguments import duration, url_or_variable
from unimq.cli.probe import address, answering

if TYPE_CHECKING:
    from unimq.cli.processes import Family

__all__ = ["COMMANDS"]


@click.command(
    short_help="Call a Python function with each message.",
    epilog="Example: unimq work shop.mail:send --url 'sqlite:///jobs.db?queue=mail' --concurrency 4",
)
@click.argument("handler", metavar="MODULE:HANDLER")
@click.option("--url", help="The connection URL, with its queue.  [default: UNIMQ_URL]")
@click.option("--concurrency", "-c", type=click.IntRange(1), default=1, show_default=True, help="Threads or tasks.")
@click.option("--processes", type=click.IntRange(1), help="So many of it, each started again when it dies.")
@click.option("--attempts", type=click.IntRange(0), default=5, show_default=True, help="Tries; 0: without end.")
@click.option("--grace", type=duration, default="30s", show_default=True, help="For handlers to end when stopped.")
@click.option("--max-runtime", type=duration, help="After which a lease is not extended any more, or a task cancelled.")
@click.option("--health-port", type=address, metavar="[HOST:]PORT", help="Tell over HTTP what it does.")
@click.option("--report-to", type=int, hidden=True)
def work(  # noqa: PLR0913 - its options
    handler: str,
    url: str | None,
    *,
    concurrency: int,
    processes: int | None,
    attempts: int,
    grace: float,
    max_runtime: float | None,
    health_port: tuple[str, int] | None,
    report_to: int | None,
) -> int | None:
    """Import MODULE, from the current directory too, and call HANDLER with each message of the URL's queue.

    What it returns acks the message; what it raises gives it back for another try, after a pause that grows, or at last
    to the dead letters. A coroutine function is awaited in an event loop. HANDLER may be a unimq.Worker of your own, or
    a unimq.AsyncWorker, with a URL and settings of its own. SIGTERM and Ctrl-C let handlers end that have begun; a
    second one gives their messages back at once.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    worker = _load(handler)
    limits: dict[str, Any] = {"concurrency": concurrency, "grace": grace, "max_runtime": max_runtime}
    if callable(worker):
        kind: Any = unimq.AsyncWorker if inspect.iscoroutinefunction(worker) else unimq.Worker
        retry = unimq.RetryPolicy(attempts=attempts or None)
        worker = kind(url_or_variable(url), worker, retry=retry, **limits)
    if processes is not None:
        family = _family(processes, handler, url, {**limits, "attempts": attempts})
        with answering(health_port, family.health):
            return family.run()
    if report_to is not None:
        from unimq.cli.processes import report  # noqa: PLC0415 - as below

        report(report_to, worker.health)
    with answering(health_port, lambda: msgspec.structs.asdict(worker.health())):
        if isinstance(worker, unimq.Worker):
            worker.run()
        else:
            import asyncio  # noqa: PLC0415 - no other command needs it

            asyncio.run(worker.run())
    return None


def _family(count: int, handler: str, url: str | None, options: Mapping[str, float | None]) -> "Family":
    """The processes; the URL, which may have a password, is no argument of theirs."""
    if os.name != "posix":
        msg = "--processes needs a POSIX system: start the command several times instead"
        raise click.UsageError(msg)
    from unimq.cli.processes import Family  # noqa: PLC0415 - it cannot be imported elsewhere

    given = [
        f"--{name.replace('_', '-')}={value if isinstance(value, int) else f'{value:f}s'}"
        for name, value in options.items()
        if value is not None
    ]
    return Family(count, [*given, "--", handler], {} if url is None else {"UNIMQ_URL": url})


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
