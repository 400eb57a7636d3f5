"""How gearmand is started for these tests."""

from typing import Final

import pytest
from harness import Recipe, ask

# `-l none` and `-P`: the default log and pid files cannot be written. `--user root`: it is pid 1 of a container.
_COMMAND: Final = (
    *("gearmand", "-L", "{host}", "-p", "{port}", "-l", "none"),
    *("-P", "{data}/gearmand.pid", "--user", "root"),
)
_STORE: Final = ("-q", "libsqlite3", "--libsqlite3-db", "{data}/jobs.db")
_READY: Final = ask(b"version\n", b"OK ")


@pytest.fixture(scope="session")
def plain() -> Recipe:
    """A server that keeps its jobs in memory."""
    return Recipe("gearman", 4730, "gearman://{address}/", _READY, command=_COMMAND)


@pytest.fixture(scope="session")
def stored() -> Recipe:
    """A server that keeps each job in a file."""
    command = (*_COMMAND, *_STORE)
    return Recipe("gearman", 4730, "gearman://{address}/?stored=yes", _READY, command=command, variant="stored")
