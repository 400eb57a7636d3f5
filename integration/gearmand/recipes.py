"""How gearmand is started for the tests."""

from typing import Final

from harness import Recipe, ask

__all__ = ["PLAIN", "STORED"]

# `-l none` and `-P`: the default log and pid files cannot be written. `--user root`: it is pid 1 of a container.
_COMMAND: Final = (
    *("gearmand", "-L", "{host}", "-p", "{port}", "-l", "none"),
    *("-P", "{data}/gearmand.pid", "--user", "root"),
)
_STORE: Final = ("-q", "libsqlite3", "--libsqlite3-db", "{data}/jobs.db")
_READY: Final = ask(b"version\n", b"OK ")

PLAIN: Final = Recipe("gearman", 4730, "gearman://{address}/", _READY, command=_COMMAND)
"""Jobs in memory."""
STORED: Final = Recipe(
    "gearman", 4730, "gearman://{address}/?stored=yes", _READY, command=(*_COMMAND, *_STORE), variant="stored"
)
"""Each job in a file."""
