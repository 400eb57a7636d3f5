"""Queues of a MemcacheQ server, by pymemcache: a get removes the message, there is no more than that.

URL
    `memcacheq://host:22201/jobs`; 22201 is the default port. `?record=` is what the server was started with as `-B`,
    which it does not tell: bodies that are too large for it are refused before they are sent. `?poll=` bounds how late
    a waiting get learns of a put of another process. Start the server with `-t 1`: see Limits. The server has neither
    a login nor TLS, so a URL with a user is refused; bind it to an address that only friends can reach (`-l`).

Delivery
    At most once. The server removes a message and commits that before it answers, so what is on the wire when a
    connection, a consumer or the server dies is lost, and an ack has nothing to do. A nack, a reject and a message
    that nobody came for are put again, at the tail: between the get and that put only this process has them. An error
    during such a put may mean that it is stored all the same. Puts are confirmed when they are stored; with the
    server's default they are on the disk then, with `-N` a kill of the server can lose the last ones and bring back
    what was delivered.
    In the order of the puts. The protocol has no waiting get: one look at a time is made for all that wait for the
    same queues in a process, every 0.5 ms at first and every `?poll=` (30 ms) at last, which takes 0.4 to 0.7 % of a
    processor, however many wait; consumers of different queues look each for themselves. A put of the same process
    wakes at once.

Limits
    A body, the queue's name and 18 bytes more must fit into a record, of 1 KiB by default and 64 KiB at most. Headers
    and everything else that the protocol has no place for travel in the body. Queue names have letters, digits and
    `_ . : -`, begin with a letter, a digit or `_`, and are not `queue.list`, `log.<number>` or `__db...`, which are
    files of the server.
    After a failed creation of a queue (a record larger than the server's page) and at some deletes a server with more
    than one thread hangs for ever, while connections are still accepted: every call then ends at its deadline, and
    `version` may go on to answer. A server that was started with `-t 1` never does, and one connection is as fast.
    That is why `delete` must be asked for (`?emulate=delete`). Sizes are differences of counters that a kill of the
    server sets back, and the list of queues is cut at 2 KiB: what is not known is `None`, a cut list is an error.
    Without `-R` the server's logs grow for ever.

Escape hatch
    A delivered message's `native` is its flags, an int. `unimq_memcacheq.client(url)` makes the `pymemcache.Client`
    with the settings that are needed: with pymemcache's own default of `noreply` the server would read bodies as
    commands. Do not use its `get_many`, which loses all but the last message of a queue.
"""

from typing import TYPE_CHECKING

from unimq_memcacheq.driver import MemcacheQDriver, driver

if TYPE_CHECKING:
    from pymemcache import Client  # pyright: ignore[reportMissingTypeStubs] # it has none

    from unimq.url import URL

__all__ = ["MemcacheQDriver", "client", "driver"]


def client(url: "str | URL", timeout: float = 10.0) -> "Client":
    """A connected `pymemcache.Client` for the one server of `url`; each of its calls may last `timeout` seconds.

    Raises:
        InvalidURL: `url` cannot be parsed.
        ConnectError: nobody answers there.
    """
    import time  # noqa: PLC0415 - only who asks for the client needs it

    from unimq.url import URL  # noqa: PLC0415 - as above
    from unimq_memcacheq.connection import connect  # noqa: PLC0415 - imports pymemcache

    return connect(URL.parse(url), time.monotonic() + timeout)
