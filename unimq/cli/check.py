"""check: the whole way to a backend and back, step by step."""

import contextlib
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click
import msgspec

import unimq
from unimq.cli.arguments import json_option, url_argument
from unimq.cli.scratch import remove, remove_quietly, scratch_name
from unimq.cli.show import NARROW, err, out, print_drawn, print_json, printable, took
from unimq.url import FILE_TRANSPORTS

__all__ = ["COMMANDS"]

_PINGS: Final = 10
_PATIENCE: Final = 10.0
"""Seconds to wait for the message that was put."""
_MARKS: Final = {"ok": "green", "failed": "bold red", "not run": "dim"}


class Step(msgspec.Struct):
    """What became of one step."""

    step: str
    state: str = "not run"
    seconds: float | None = None
    said: str = ""


@dataclass
class Journey:
    """The state that the steps share, and the steps."""

    url: str | None
    refused: unimq.AuthenticationFailed | None = None
    made: "unimq.Queue[Any] | None" = None
    message: "unimq.Message[Any] | None" = None

    @property
    def queue(self) -> "unimq.Queue[Any]":
        """The scratch queue; the first step makes it."""
        if self.made is None:  # pragma: no cover - no other step runs when the first failed
            msg = "no queue was made"
            raise unimq.Closed(msg)
        return self.made

    def steps(self) -> dict[str, Callable[[], str]]:
        """Each step by its name, in order; it returns what there is to say."""
        return {
            "read the URL": self.read,
            "find the host": self.find,
            "connect": self.connect,
            "authenticate": self.authenticate,
            "ask for the version": self.version,
            "measure the latency": self.latency,
            "put": self.put,
            "get": self.get,
            "ack": self.ack,
            "remove the queue": lambda: remove(self.queue),
        }

    def read(self) -> str:
        """Parse it, look for its driver and library, check its options; no I/O."""
        self.made = unimq.Queue[Any](self.url, name=scratch_name(), codec="json")
        return self.made.client.where

    def find(self) -> str:
        """Look up the hosts' names, where they are names of the network's."""
        client = self.queue.client
        if not client.url.hosts or client.url.transport in FILE_TRANSPORTS or client.driver.library is None:
            return "there is none to look up"
        found: list[str] = []
        for host in client.url.hosts:
            try:
                answers = socket.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:  # a name that is no name of a host
                msg = f"the host {host.name!r} was not found: {error}"
                raise unimq.ConnectError(msg) from error
            found.append(f"{host.name} is {', '.join(sorted({str(answer[4][0]) for answer in answers}))}")
        return "; ".join(found)

    def connect(self) -> str:
        """Open a connection to every host. A server that refuses the credentials was reached."""
        hosts = len(self.queue.client.pool.hosts)
        try:
            self.queue.ping()
        except unimq.AuthenticationFailed as error:
            self.refused = error
        return "connected" if hosts == 1 else f"{hosts} hosts connected"

    def authenticate(self) -> str:
        """Tell what became of the credentials; they went with the connect."""
        if self.refused is not None:
            raise self.refused
        user = self.queue.client.url.user
        return "no user was given, and none was asked for" if user is None else f"as {user}"

    def version(self) -> str:
        """Ask the server who it is."""
        return self.queue.ping().server

    def latency(self) -> str:
        """Measure a few round trips."""
        times = [self.queue.ping().latency for _ in range(_PINGS)]
        return f"{took(statistics.median(times))} median, {took(max(times))} worst of {_PINGS} round trips"

    def put(self) -> str:
        """Put a message on the scratch queue."""
        return "stored" if self.queue.put("unimq check").confirmed else "accepted, not confirmed"

    def get(self) -> str:
        """Get it back."""
        try:
            self.message = self.queue.get(timeout=_PATIENCE)
        except unimq.Empty:
            msg = f"the message that was put did not come back in {_PATIENCE:g} s"
            raise unimq.ServerError(msg) from None
        if self.message.body != "unimq check":
            msg = f"another body came back: {self.message.body!r}"
            raise unimq.ProtocolError(msg)
        return "the same body came back"

    def ack(self) -> str:
        """Settle it."""
        if self.message is not None:
            self.message.ack()
        return "settled"


@click.command(
    short_help="Go the whole way to a backend, step by step.", epilog="Example: unimq check sqlite:///jobs.db"
)
@url_argument
@json_option
def check(url: str | None, *, as_json: bool) -> None:
    """Go the whole way to a backend step by step, and end with exit code 1 at the first that fails.

    It reads the URL, finds the host, connects, authenticates, asks for the server's version and the latency, and puts,
    gets and acks a message on a scratch queue with a name of its own, which is removed afterwards, where the backend
    can.
    """
    journey = Journey(url)
    report: list[Step] = []
    try:
        for name, call in journey.steps().items():
            run = not report or report[-1].state == "ok"
            report.append(_go(name, call, quiet=as_json) if run else Step(name))
            if not as_json:
                _print(report[-1])
    finally:
        if journey.made is not None:
            if not report or report[-1].state != "ok":
                remove_quietly(journey.made)
            journey.made.close()
    failed = [step for step in report if step.state == "failed"]
    if as_json:
        print_json({"ok": not failed, "steps": msgspec.to_builtins(report)})
    raise click.exceptions.Exit(1 if failed else 0)


def _go(name: str, call: Callable[[], str], *, quiet: bool) -> Step:
    """Run one step; a terminal shows meanwhile which it is."""
    with contextlib.nullcontext() if quiet else err().status(name):
        start = time.perf_counter()
        try:
            said, state = call(), "ok"
        except unimq.UnimqError as error:
            said, state = str(error), "failed"
        return Step(name, state, time.perf_counter() - start, said)


def _print(step: Step) -> None:
    """Print a line for a step; in a narrow terminal two, because what a server says is long."""
    from rich.padding import Padding  # noqa: PLC0415 - see show
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = out()
    row = Table.grid(padding=(0, 2, 0, 0))
    for width in (7, 19, 9):
        row.add_column(width=width, no_wrap=True)
    duration = "" if step.seconds is None else took(step.seconds)
    cells = [Text(step.state, style=_MARKS[step.state]), Text(step.step), Text(duration, justify="right")]
    said = Text(printable(step.said), overflow="fold")
    if console.width >= NARROW:
        row.add_column(overflow="fold")
        cells.append(said)
    row.add_row(*cells)
    print_drawn(console, row)
    if console.width < NARROW and step.said:
        print_drawn(console, Padding(said, (0, 0, 0, 2)))


COMMANDS = (check,)
