"""How the servers of the tests are started."""

import os
from typing import Final

from harness import Recipe, ask

__all__ = ["SERVER"]

SERVER: Final = Recipe(
    "memcacheq",
    22201,
    "memcacheq://{address}/?emulate=delete",
    ask(b"version\r\n", b"VERSION"),
    variant=os.environ.get("PYTEST_XDIST_WORKER", "alone"),
    command=("-p", "{port}", "-t", "1", "-N", "-R"),
)
"""One thread, as the page recommends: its known hangs need a second one. Queues are deleted after each case.

Each process of a run has its own: the model makes a hundred queues at a time, and where the server's list is cut at
2 KiB no size is known. Without `-N` each put and each get would wait for a disk, which no case could notice."""
