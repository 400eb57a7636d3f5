"""How a holder is started for these tests."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from harness import Recipe
from harness.servers import InProcess, Running

from unimq import connect
from unimq.errors import UnimqError

__all__ = ["ON_MEMORY", "ON_SQLITE", "holding", "recipe"]


def recipe(store: str, query: str, variant: str) -> Recipe:
    """A holder of `store`, and how a client finds it."""

    def ready(host: str, port: int) -> None:
        socket.create_connection((host, port), 2).close()
        try:
            with connect(f"zeromq+tcp://{host}:{port}/{query}") as client:
                client.ping()
        except UnimqError as error:
            raise OSError(str(error)) from error

    command = (sys.executable, "-m", "unimq.cli", "serve", store, "--at", "zeromq+tcp://{host}:{port}")
    return Recipe("zeromq", 5555, "zeromq+tcp://{address}/" + query, ready, command=command, variant=variant)


@contextmanager
def holding(recipe: Recipe) -> Iterator[Running]:
    """A process that serves, for as long as the block lasts."""
    server = InProcess(recipe)
    try:
        server.start()
        yield server
    finally:
        server.remove()


ON_MEMORY: Final = recipe("memory://", "", "memory")
"""Queues in the holder's own memory."""
ON_SQLITE: Final = recipe("sqlite:///{data}/jobs.db?durability=normal", "?store=sqlite", "sqlite")
"""A file, which survives its holder. What durability=full adds is not seen here: a power loss."""
