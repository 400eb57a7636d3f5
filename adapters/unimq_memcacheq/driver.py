"""The driver of `memcacheq:`: what it can do, and connections to a server."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from unimq.capabilities import Capabilities, Limits, absent, layered, native, opt_in
from unimq.errors import InvalidURL
from unimq.options import Option, read
from unimq.url import URL

if TYPE_CHECKING:
    from unimq_memcacheq.session import MemcacheQSession

__all__ = ["MemcacheQDriver", "driver"]

_LONGEST_NAME: Final = 100
"""Bytes. The server takes 247, but each byte of a name is missing in every body."""
_RECORD_OVERHEAD: Final = 15 + 1
"""Bytes of a record beside name, length and body: 15, and the one digit of the flags."""


class MemcacheQDriver:
    """Queues of a MemcacheQ server."""

    name = "memcacheq"
    contract = 1
    library = "pymemcache"
    install = 'pip install "pymemcache>=4,<5"'
    port = 22201
    path_is_queue = True
    options = (
        Option("record", "size", 1024, "The server's `-B`, which bounds a body.", minimum=256, maximum=65507),
        Option("poll", "duration", 0.03, "The longest pause between two looks.", minimum=0.001, maximum=60.0),
    )

    def capabilities(self, url: URL) -> Capabilities:
        """The same for every server, but for the size of its records."""
        if url.transport is not None:
            msg = f"{url}: memcacheq has no transport {url.transport!r}: write memcacheq://host/queue"
            raise InvalidURL(msg)
        if url.user is not None or url.password is not None:
            msg = f"{url}: a MemcacheQ server knows no users: leave the login away, and protect its port"
            raise InvalidURL(msg)
        record: int = read(url, self.options)["record"]
        body = _body_limit(record)
        return Capabilities(
            ttl=layered("in the body; what has expired is removed by the get that would have had it"),
            headers=layered("in the body"),
            batch=native("puts are pipelined; one line gets up to 100 messages"),
            nack=layered("puts the message again, at the tail"),
            nack_delay=absent("the server has no delays"),
            lease=absent("a get removes the message from the server"),
            extend=absent("a get removes the message from the server"),
            delivery_count=layered("nacks are counted, in the body"),
            dead_letters=layered(
                "puts the message into the other queue; between the get and that only this process has it"
            ),
            stats=native("the difference of two counters, which a kill of the server sets back"),
            purge=native("gets what is there"),
            delete=opt_in("a server with more than one thread may hang: use it only where it was started with -t 1"),
            queues=native("an error where the server's list was cut, at 2 KiB"),
            guarantee="at-most-once",
            survives_process_death="no",
            survives_host_loss="no",
            survives_server_restart="yes",
            order="fifo-until-redelivery",
            nack_place="tail",
            lease_by="connection",
            counts="nacks",
            limits=Limits(
                body=body,
                name=_LONGEST_NAME,
                name_characters=r"[A-Za-z0-9_.:-]",
                headers=body // 2,
            ),
        )

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> "MemcacheQSession":
        """A connection on which the server has told its version."""
        from unimq_memcacheq.connection import Connection, connect, server_of  # noqa: PLC0415 - imports pymemcache
        from unimq_memcacheq.session import MemcacheQSession  # noqa: PLC0415 - as above

        capabilities = self.capabilities(url)
        return MemcacheQSession(
            Connection(connect(url, deadline), str(url)), capabilities, server_of(url), options["poll"]
        )


def _body_limit(record: int) -> int:
    """The largest body beside the longest name; a shorter name leaves room that is not used, for all to be the same."""
    room = record - _RECORD_OVERHEAD - _LONGEST_NAME
    return max(size for size in range(room - 5, room) if size + len(str(size)) <= room)


driver = MemcacheQDriver()
