"""serve: hold a store for clients on other machines, until interrupted or terminated."""

import signal
import threading
from typing import Any

import click

import unimq

__all__ = ["COMMANDS"]


@click.command(
    short_help="Serve a store to other processes.",
    epilog="Example: unimq serve sqlite:////var/lib/app/jobs.db --at zeromq+tcp://127.0.0.1:5555",
)
@click.argument("store")
@click.option("--at", required=True, help="The address, such as zeromq+tcp://*:5555 or zeromq+ipc:///run/jobs.sock.")
def serve(store: str, at: str) -> None:
    """Serve STORE, the URL of any backend that can be served, at an address, until Ctrl-C or SIGTERM.

    Clients use the address as their URL, with a queue and ?store=, the scheme of STORE. Whoever reaches the address
    may read and write every queue.
    """
    ended = threading.Event()

    def end(*_: Any) -> None:
        ended.set()

    before = signal.signal(signal.SIGTERM, end)
    try:
        with unimq.serve(store, at=at) as holder:
            click.echo(f"serving at {holder.url}", err=True)
            while not ended.wait(0.2):
                if holder.wait(0):
                    msg = f"{holder.url}: the holder ended: {holder.failure!r}"
                    raise unimq.ServerError(msg)
    finally:
        signal.signal(signal.SIGTERM, before)


COMMANDS = (serve,)
