"""The driver contract: what one backend must implement, and nothing of what unimq does with it. Version 1.

A backend is one `Driver` (stateless, found by URL scheme through the entry-point group `unimq.drivers`) that opens
`Session`s (one live connection each). A session moves bytes: validation, codecs, envelopes, retries, pooling, several
hosts, lease clocks, dead-letter rules, hand-over and asyncio are written once, above, and are not a driver's business.

Rules that hold for every method:

- A method that blocks takes `deadline`, a `time.monotonic()` value in seconds (`math.inf`: none), and MUST return or
  raise by then, however the server behaves. Past deadlines are legal: do what needs no waiting.
- A driver MUST NOT retry, log, sleep to poll longer than its stated bound, swallow errors, or start work at import.
- Errors are `UnimqError`s with the client library's own exception as `__cause__`. `ConnectionLost`, `Timeout` and
  `ProtocolError` end the session: the pool closes it. Every other `UnimqError` leaves it usable and in step.
- A method that is left in any other way (an interrupt, a bug) also ends the session. A session that was broken between
  the first byte of a request and the end of its reply is never used again.
- The pool calls a session from one thread at a time, except `interrupt()`, which may come from any thread at any time,
  and, where `settling` is "duplex", every method but `receive`, which may run while another thread is in `receive`.
- Batches are given whole, so that a driver can pipeline them; each member has its own outcome, in input order.

Times on this interface: durations and `deadline` in seconds as float; points in time (`expires_at`, `enqueued_at`) in
seconds since the Unix epoch, UTC.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from unimq.capabilities import Capabilities
from unimq.errors import UnimqError

if TYPE_CHECKING:
    from unimq.options import Option
    from unimq.url import URL

__all__ = ["CONTRACT_VERSION", "Delivery", "Driver", "Outgoing", "Session", "Settling", "Stats"]

CONTRACT_VERSION: Final = 1
"""The version of this contract. A driver states the one it was written for as `contract`."""

Settling = Literal["any-session", "same-session", "duplex"]
"""Where a delivery may be settled.

- "any-session": on every session of the same host (the server knows the lease by its token).
- "same-session": only on the session that received it, and not while that session waits in `receive`.
- "duplex": only on the session that received it, also while it waits in `receive`.
"""


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A message on its way to the server. What a driver declares absent or layered is never set here."""

    body: bytes
    headers: Mapping[str, str] | None = None
    """Only where headers are native."""
    id: str | None = None
    """The message's own id; `None` lets the server name it. A driver that does not declare to keep ids ignores it."""
    priority: int = 4
    """0 to 9, 9 first; the driver maps it."""
    delay: float = 0.0
    """Seconds before which it must not be delivered."""
    expires_at: float | None = None
    """Point in time from which it must not be delivered; only where ttl is native."""
    lease: float | None = None
    """Seconds a consumer will own it; only where `lease_by` is "put"."""
    enqueued_at: float | None = None
    """When it was first put; set when a message is moved, so that its age survives. `None`: now. Only where kept."""
    delivery_count: int = 0
    """Deliveries that already count; set when a message is moved, only where the count is native."""


class Delivery(msgspec.Struct, frozen=True):
    """A message as it came from the server. What the protocol does not tell is `None`, never guessed."""

    queue: str
    body: bytes
    token: Any = None
    """What the driver needs to settle it, opaque to everybody else and hashable; `None` in a peek."""
    headers: Mapping[str, str] | None = None
    id: str | None = None
    priority: int | None = None
    delivery_count: int | None = None
    """How often it was delivered, this one included, as the server counts; `None` where it does not."""
    redelivered: bool | None = None
    enqueued_at: float | None = None
    expires_at: float | None = None
    lease_until: float | None = None
    """When the lease ends, as a `time.monotonic()` value; `None` where no clock ends it."""
    native: Any = None
    """The client library's own message, for the escape hatch."""
    damage: str | None = None
    """Why not all of it can be read, where a foreign program or a fault has damaged what the server stores beside the
    body: it is an invalid message then, which can be settled like any other, and does not block its neighbours."""


class Stats(msgspec.Struct, frozen=True):
    """How many messages a queue holds, by state. `None` is unknown, never 0."""

    ready: int | None = None
    """May be delivered now."""
    delayed: int | None = None
    """Not due yet."""
    leased: int | None = None
    """Held by a consumer and not settled."""
    oldest: float | None = None
    """Age in seconds of the oldest ready message."""
    approximate: bool = False
    """Whether the figures may be off even without concurrent use."""


class Session(Protocol):
    """One live connection to one host."""

    capabilities: Capabilities
    """What the server proved to do: `Driver.capabilities` for the URL, with levels made absent and limits made smaller.

    Nothing else may differ: messages are encoded before the server is met.
    """
    settling: Settling

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store `messages` in this order; the outcome of each is the server's id (`None`: it gives none) or an error.

        Must pipeline where the protocol can. A member's error says by `in_doubt` whether it may be stored. When the
        connection breaks half-way, the certain outcomes are returned, the rest as `ConnectionLost`: `in_doubt` for
        those whose request may have left, not for those that were never written.
        """
        ...

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        """Take up to `limit` messages of `queues`, waiting until `deadline` for the first one only.

        Must return at once what is there; never waits for a second message. With a past deadline it must still find a
        message that is ready. May return early and empty: the face loops. `lease` (seconds) matters where `lease_by`
        is "get". Fairness over `queues` is the driver's: none may starve for ever.
        """
        ...

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove delivered messages for good. The outcome for a lost lease is `LeaseLost`, where the server tells."""
        ...

    def release(self, deliveries: Sequence[Delivery], delay: float, deadline: float) -> Sequence[UnimqError | None]:
        """Give deliveries back, at the place that `nack_place` declares, not before `delay` seconds.

        Called only where nack is native. Elsewhere the face uses `move` onto the same queue.
        """
        ...

    def move(self, delivery: Delivery, queue: str, message: Outgoing, deadline: float) -> str | None:
        """Send `message` to `queue`, then settle `delivery`; returns the new id as `send` does.

        One transaction where `atomic_move` is declared. Elsewhere the order is fixed: a crash in between duplicates,
        it never loses. Raises `LeaseLost` when the delivery is known to be gone (atomic: then nothing was sent).
        """
        ...

    def extend(self, delivery: Delivery, seconds: float, deadline: float) -> float:
        """Own `delivery` for at least `seconds` from now, and return the seconds granted. Raises `LeaseLost`."""
        ...

    def interrupt(self) -> None:
        """Make a `receive` that waits in another thread return at once with what it has, or raise `ConnectionLost`.

        Must not block and must be harmless when nothing waits. A later `receive` works again unless the session broke.
        """
        ...

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """Look at up to `limit` ready messages, next one first, without taking them. Capability *peek*."""
        ...

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        """Remove what has that id and nobody holds; false when there is none. Capability *cancel*.

        An id that the caller gave may have been put more than once: all of them are removed.
        """
        ...

    def stats(self, queue: str, deadline: float) -> Stats:
        """Count. An unknown queue is an empty one. Capability *stats*."""
        ...

    def purge(self, queue: str, deadline: float) -> int:
        """Remove what nobody holds, at most what was there at the start; returns how many. Capability *purge*."""
        ...

    def delete(self, queue: str, deadline: float) -> None:
        """Remove the queue with everything in it, held messages included. Capability *delete*."""
        ...

    def queues(self, deadline: float) -> Sequence[str]:
        """The names of the queues that exist, sorted. Capability *queues*."""
        ...

    def ping(self, deadline: float) -> str:
        """Prove by a round trip that the server answers; returns its name and version, as it tells them."""
        ...

    def close(self) -> None:
        """End the connection. Must be idempotent, must not block longer than a second, and must not raise."""
        ...


class Driver(Protocol):
    """One backend. Stateless: nothing is opened, read or remembered before `open`."""

    name: str
    """The backend's name in texts and tables, e.g. "beanstalkd"."""
    contract: int
    """The `CONTRACT_VERSION` it was written for."""
    options: tuple["Option", ...]
    """Its own URL options; those of the core come in addition."""
    library: str | None
    """The client library's import name, looked for (not imported) when a URL is used; `None` when it needs none."""
    install: str
    """What to type when that library is missing, e.g. `pip install "unimq[beanstalkd]"`."""
    path_is_queue: bool
    """Whether the URL's path names the queue (`beanstalkd://host/jobs`); false where it names a file."""

    def capabilities(self, url: "URL") -> Capabilities:
        """What can be promised for `url` before a connection is made. Must not do any I/O nor import a client library.

        Must work for a URL without options, host or path as well: tables are made from it.
        """
        ...

    def open(self, url: "URL", deadline: float) -> Session:
        """Connect to the one host of `url` and authenticate. Imports the client library, here and not before.

        Raises `ConnectError`, `AuthenticationFailed`, `StorageError` or `Timeout`.
        """
        ...
