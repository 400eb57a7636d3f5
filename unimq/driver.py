"""The driver contract: what one backend must implement, and nothing of what unimq does with it. Version 1.

A backend is one `Driver` (stateless, found by URL scheme through the entry-point group `unimq.drivers`) that opens
`Session`s (one live connection each). A session moves bytes: validation, codecs, envelopes, retries, pooling, several
hosts, lease clocks, dead-letter rules, hand-over and asyncio are written once, above, and are not a driver's business.

A session may be a plain class; one that inherits from `BaseSession` writes only what its backend has.

Rules that hold for every method:

- A method that blocks takes `deadline`, a `time.monotonic()` value in seconds (`math.inf`: none), and MUST return or
  raise `Timeout` by then, however the server behaves. Past deadlines are legal, and one exchange has some grace beyond
  them: `GRACE` for the answer to what was asked, `POLL_GRACE` in `receive`, where a past deadline still asks once.
- A driver MUST NOT retry, log, sleep to poll longer than its stated bound, swallow errors, or start work at import.
- Errors are `UnimqError`s with the client library's own exception as `__cause__`. An error whose `ends_session` is
  true, raised or returned as an outcome, ends the session: the pool closes it. That is so for `ConnectionLost`,
  `Timeout` and `ProtocolError` unless the driver sets the attribute, and false for the others, which leave the session
  usable and in step.
- A method that is left in any other way (an interrupt, a bug) also ends the session. A session that was broken between
  the first byte of a request and the end of its reply is never used again.
- While nothing of a call may have left, a broken connection MUST be raised, as `ConnectionLost` with `in_doubt` false:
  the call is repeated on another one. So look whether a connection that was idle for more than `IDLE_LOOK` seconds is
  still alive before writing to it. Afterwards `in_doubt` tells of each member whether the server may have done it, of
  a settlement as of a put.
- The pool calls a session from one thread at a time, except `interrupt()`, which may come from any thread at any time,
  and, where `settling` is "duplex", every method but `receive`, which may run while another thread is in `receive`.
- Batches are given whole, so that a driver can pipeline them; each member has its own outcome, in input order.
- A session that was used up without any failure (an interrupt that can only break the connection) sets `spent`: it is
  replaced, and nobody is blamed.

Times on this interface: durations and `deadline` in seconds as float; points in time (`expires_at`, `enqueued_at`) in
seconds since the Unix epoch, UTC.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from unimq.capabilities import Capabilities
from unimq.errors import UnimqError, Unsupported

if TYPE_CHECKING:
    from unimq.options import Option
    from unimq.url import URL

__all__ = [
    "CONTRACT_VERSION",
    "GRACE",
    "IDLE_LOOK",
    "POLL_GRACE",
    "BaseSession",
    "Delivery",
    "Driver",
    "Outgoing",
    "Session",
    "Settling",
    "Stats",
]

CONTRACT_VERSION: Final = 1
"""The version of this contract. A driver states the one it was written for as `contract`."""

GRACE: Final = 0.1
"""Seconds beyond its deadline that a call may wait for the answer to what it asked before."""
POLL_GRACE: Final = 1.0
"""Seconds beyond its deadline that a `receive` may wait for the answer of the server; then it raises `Timeout`."""
IDLE_LOOK: Final = 0.05
"""Seconds of idleness after which a connection is looked at before it is written to."""

Settling = Literal["any-session", "same-session", "duplex", "nowhere"]
"""Where a delivery may be settled.

- "any-session": on every session of the same host (the server knows the lease by its token).
- "same-session": only on the session that received it, and not while that session waits in `receive`. It is asked to
  wait only while it holds nothing.
- "duplex": only on the session that received it, also while it waits in `receive`. `close` may come meanwhile too, and
  ends it.
- "nowhere": the delivery was the end of it. An ack does nothing, and `ack` is never called; what gives a message back
  is a `move` or `release` on any session.
"""


class Outgoing(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
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
    unique: str | None = None
    """Store nothing while the queue has a message put with the same, ready, delayed or held, and return its id, which
    this is. Only where deduplication is native; not set when a message is moved."""


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message as it came from the server. What the protocol does not tell is `None`, never guessed."""

    queue: str
    body: bytes
    token: Any = None
    """What the driver needs to settle it, opaque to everybody else; `None` in a peek. It is an int, str, bytes or a
    tuple of them, so that it can travel to another process and back. Equal tokens mean the same message on the server:
    a redelivery to the same session may have the same."""
    headers: Mapping[str, str] | None = None
    id: str | None = None
    priority: int | None = None
    delivery_count: int | None = None
    """How often it was delivered, this one included, as the server counts; `None` where it does not."""
    redelivered: bool | None = None
    """`None` where the server does not tell: a count of nacks does not know of deliveries that ended otherwise."""
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
    """What the server proved to do: `Driver.capabilities` for the URL, with levels made absent, limits made smaller,
    and each "unknown" that the server answered made "yes" or "no".

    Nothing else may differ: messages are encoded before the server is met.
    """
    settling: Settling
    takes_back: bool
    """Whether `release` can give back what nobody saw (`unseen`), although nack is not native."""
    spent: bool
    """Whether it was used up without a failure. Looked at after each call; then it must hold no message."""
    blocks: bool
    """Whether calls, but for a receive that waits, need a network or a file: asyncio makes these in threads."""
    beat_every: float | None
    """Seconds between two calls of `beat` while it is not used for anything else; `None`: it needs none."""

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store `messages` in this order; the outcome of each is the server's id (`None`: it gives none) or an error.

        Must pipeline where the protocol can. A connection that is found broken before anything was written is raised.
        When it breaks later, the certain outcomes are returned, the rest as `ConnectionLost` or `Timeout`: `in_doubt`
        for those whose request may have left, not for those that were never written, which are sent again elsewhere.
        """
        ...

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Take up to `limit` messages of `queues`, waiting until `deadline` for the first one only.

        Must return at once what is there; never waits for a second message. With a past deadline it must still find a
        message that is ready, for which it may take `POLL_GRACE`. May return early and empty: the face loops. `lease`
        (seconds) matters where `lease_by` is "get". Fairness over `queues` is the driver's: none may starve for ever.

        When it returns, nothing more is on its way to this session, unless `ahead`: then the caller goes on to receive
        from the same queues until `stop_ahead`, and the driver may let up to `limit` messages come meanwhile. What came
        and was not returned is unseen, and uncounted where the server can.
        """
        ...

    def stop_ahead(self, queues: Sequence[str], deadline: float) -> None:
        """The caller of `receive` with `ahead` goes on no more: give back what came and was not returned, in order."""
        ...

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove delivered messages for good. The outcome for a lost lease is `LeaseLost`, where the server tells."""
        ...

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        """Give deliveries back, at the place that `nack_place` declares, not before `delay` seconds.

        Those that are `unseen` were never handed to the application: they go back to the front, in their order and
        uncounted, as far as the server can.

        Called only where nack is native, or for unseen ones where `takes_back` is set. Elsewhere the face uses `move`
        onto the same queue.
        """
        ...

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Of each pair send the message to `queue`, then settle the delivery; each outcome is the new id, as of `send`.

        One transaction for each pair, or for all, where `atomic_move` is declared. Elsewhere the order is fixed: a
        crash in between duplicates, it never loses; a delivery is settled when its message is known to be stored. The
        outcome is `LeaseLost` where the delivery is known to be gone (atomic: then nothing was sent for it).
        """
        ...

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        """Own `deliveries` for at least `seconds` from now; the outcome of each is the seconds granted, or `LeaseLost`.

        Where the put fixes the lease, it begins again, and that is what is granted.
        """
        ...

    def interrupt(self) -> None:
        """Make a `receive` that waits in another thread return at once with what it has.

        Must not block and must be harmless when nothing waits. A later `receive` works again. Where only breaking the
        connection wakes it, `receive` returns all the same, and the session connects again by itself or is `spent`.
        """
        ...

    def beat(self, deadline: float) -> None:
        """Tell the server that this side lives, and look whether it does; called every `beat_every` seconds of rest."""
        ...

    def watch(self, queues: Sequence[str], deadline: float) -> bool | None:
        """Wait until something of `queues` may be ready: true; false at `deadline`, or interrupted. Takes nothing.

        Asked by whoever holds the queues for others, on a session of its own. `None`, at once: it cannot be told.
        """
        ...

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """Look at up to `limit` ready messages, next one first, without taking them. Capability *peek*.

        `limit` is at most `Limits.peek`; it may show fewer. Looking changes neither the order nor a count.
        """
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
        """Remove the queue with everything in it. Capability *delete*.

        What other connections hold is removed too, or raises `ServerError` and says how many are left.
        """
        ...

    def queues(self, deadline: float) -> Sequence[str]:
        """The names of the queues that exist, sorted. Capability *queues*. A list that was cut raises `ServerError`."""
        ...

    def ping(self, deadline: float) -> str:
        """Prove by a round trip that the server answers; returns its name and version, as it tells them."""
        ...

    def close(self) -> None:
        """End the connection. Must be idempotent, must not block longer than a second, and must not raise."""
        ...

    def abandon(self) -> None:
        """Close this process's copies of the descriptors, without a word to the server: it is the parent's connection.

        Called once, in a child that was forked, where nothing else of the session works any more: another thread of
        the parent may have been in the middle of a call, so take no lock.
        """
        ...


class BaseSession:
    """What a backend may leave out: inherit from it, and write what there is.

    What belongs to a capability is never called where that is absent, and says so if it is.
    """

    takes_back: bool = False
    spent: bool = False
    blocks: bool = True
    beat_every: float | None = None

    def stop_ahead(self, queues: Sequence[str], deadline: float) -> None:
        """Nothing was on its way."""

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        """There is no way back but a `move`."""
        raise _absent(self, "nack")

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        """No lease can be prolonged here."""
        raise _absent(self, "extend")

    def beat(self, deadline: float) -> None:
        """Nobody waits for a sign of life."""

    def watch(self, queues: Sequence[str], deadline: float) -> bool | None:
        """It cannot be told."""
        return None

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """There is no way to look."""
        raise _absent(self, "peek")

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        """There is no way to find one."""
        raise _absent(self, "cancel")

    def stats(self, queue: str, deadline: float) -> Stats:
        """Nothing is known."""
        raise _absent(self, "stats")

    def purge(self, queue: str, deadline: float) -> int:
        """There is no way to remove what waits."""
        raise _absent(self, "purge")

    def delete(self, queue: str, deadline: float) -> None:
        """Queues cannot be removed."""
        raise _absent(self, "delete")

    def queues(self, deadline: float) -> Sequence[str]:
        """There is no list."""
        raise _absent(self, "queues")

    def abandon(self) -> None:
        """There is nothing to let go of."""


def _absent(session: object, capability: str) -> Unsupported:
    return Unsupported(f"{type(session).__name__} has no {capability}: declare it absent, or write the method")


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
    """What to type when that library is missing, e.g. `pip install "greenstalk>=2"`."""
    port: int | None
    """Where its servers listen if a URL does not say; `None` where there are no ports."""
    path_is_queue: bool
    """Whether the URL's path names the queue (`beanstalkd://host/jobs`); false where it names a file."""

    def capabilities(self, url: "URL") -> Capabilities:
        """What can be promised for `url` before a connection is made. Must not do any I/O nor import a client library.

        Must work for a URL without options, host or path as well: tables are made from it.
        """
        ...

    def open(
        self, url: "URL", deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> Session:
        """Connect to the one host of `url` and authenticate. Imports the client library, here and not before.

        `options` are the values of all options of `url`, the core's and the driver's own, defaults included. `known` is
        what a session to this host proved before, since when it was not away: it need not be asked again.

        Raises `ConnectError`, `AuthenticationFailed`, `StorageError` or `Timeout`.
        """
        ...
