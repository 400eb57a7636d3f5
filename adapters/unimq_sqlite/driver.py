"""The driver of `sqlite:///`: what it can do, and connections to the file."""

import errno
import os
from collections.abc import Mapping
from typing import Any, Final

from unimq.capabilities import Capabilities, Limits, native
from unimq.errors import InvalidURL
from unimq.options import Option
from unimq.url import URL
from unimq_sqlite.faults import unusable
from unimq_sqlite.session import SQLiteSession
from unimq_sqlite.sharing import bell
from unimq_sqlite.store import open_store

__all__ = ["SQLiteDriver", "driver"]

_LARGEST: Final = 500_000_000
"""SQLite's limit for a row is 1,000,000,000 bytes; half of it leaves room for the copy that an update makes."""

_CAPABILITIES: Final = Capabilities(
    priority=native(),
    delay=native(),
    ttl=native("an expired message is removed when it would have been delivered"),
    headers=native(),
    batch=native("one transaction"),
    nack=native(),
    nack_delay=native(),
    lease=native(),
    extend=native(),
    delivery_count=native(),
    dead_letters=native("one transaction: it is never in both queues"),
    max_size=native("each put counts up to max_size messages"),
    cancel=native(),
    peek=native(),
    stats=native("in time that grows with the queue"),
    purge=native(),
    delete=native(),
    queues=native("those that hold messages"),
    outbox=native("`unimq_sqlite.put` in the transaction of your own connection"),
    guarantee="at-least-once",
    survives_process_death="yes",
    survives_host_loss="unknown",
    survives_server_restart="yes",
    confirmed=True,
    order="fifo-until-redelivery",
    nack_place="front",
    lease_by="get",
    counts="fetches",
    crash_counted=True,
    atomic_move=True,
    priority_levels=10,
    keeps=frozenset({"id", "enqueued_at", "priority"}),
    limits=Limits(body=_LARGEST, name_characters=r"[^\x00-\x1f\x7f]"),
)


class SQLiteDriver:
    """Queues in a file."""

    name = "sqlite"
    contract = 1
    library = None
    install = ""
    port = None
    path_is_queue = False
    options = (
        Option(
            "durability",
            "text",
            "full",
            "What a stored message survives: `full` a power loss, `normal` the process being killed.",
            choices=("full", "normal"),
        ),
        Option("create", "bool", default=True, doc="Make the file when it is not there; else that is an error."),
        Option("shared", "bool", default=False, doc="Make the tables inside a database that has others already."),
    )

    def capabilities(self, url: URL) -> Capabilities:
        """The same for every file."""
        if url.hosts:
            msg = f"{url}: a file has no host: write sqlite:///relative.db or sqlite:////absolute.db"
            raise InvalidURL(msg)
        return _CAPABILITIES

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> SQLiteSession:
        """A connection to the file, whose tables are made when they are not there."""
        path = url.file_path
        if not options["create"] and not os.path.exists(path):  # noqa: PTH110 - pathlib costs 5 ms of import
            msg = f"there is no sqlite store {path!r}: a put makes it, if the path is right"
            raise unusable(msg, errno.ENOENT)
        store = open_store(path, shared=options["shared"], durability=options["durability"], deadline=deadline)
        return SQLiteSession(store, self.capabilities(url), bell(path), options["max_size"])


driver = SQLiteDriver()
