"""What the pool lends: hosts and how they behave, sessions and what they hold."""

import math
import random
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from unimq.capabilities import Capabilities
from unimq.driver import Delivery, Session
from unimq.errors import UnimqError
from unimq.url import URL

if TYPE_CHECKING:
    from unimq.pool import Pool

__all__ = ["AllHold", "Host", "Link", "Receiving", "ends_session"]

_BACKOFF_FIRST: Final = 0.05
_BACKOFF_MOST: Final = 5.0
_SHORT_CALL: Final = 0.05
"""Seconds to wait for a session that is in use, before its user is left to say what is over."""
_STOP_MOST: Final = 1.0
"""Seconds that ending an iteration may take."""


def ends_session(error: BaseException) -> bool:
    """Whether a session that was left with `error` may not be used again: all but an orderly refusal."""
    return not isinstance(error, UnimqError) or error.ends_session


class AllHold(Exception):
    """No session may wait: each holds something that is settled there."""


class Host:
    """One server of a URL, and how it has been behaving."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.label = str(url)
        self.failures = 0
        self.retry_at = 0.0
        self.proved: Capabilities | None = None
        """What its sessions proved, since when it was not away."""

    def failed(self) -> None:
        """Leave it out for a while: 50 ms doubled by each failure up to 5 s, with a jitter of 10 %."""
        pause = min(_BACKOFF_MOST, _BACKOFF_FIRST * 2 ** min(self.failures, 10))
        self.failures += 1
        self.proved = None
        self.retry_at = time.monotonic() + pause * random.uniform(0.9, 1.1)  # noqa: S311 - jitter is no secret

    def works(self) -> None:
        """Take it back."""
        self.failures = 0
        self.retry_at = 0.0


class Link:
    """One pooled session. As a context manager it lends the session and takes it back, or drops it when it broke."""

    __slots__ = (
        "ahead",
        "alive",
        "anywhere",
        "beat_at",
        "capabilities",
        "held",
        "host",
        "lock",
        "over",
        "pool",
        "proven",
        "queues",
        "receive_lock",
        "session",
        "settling",
    )

    def __init__(self, pool: "Pool", host: Host, session: Session, capabilities: Capabilities) -> None:
        self.pool = pool
        self.host = host
        self.session = session
        self.capabilities = capabilities
        """What the client adopted when this session was opened."""
        self.settling = session.settling
        self.anywhere = self.settling in ("any-session", "nowhere")
        """Whether what it received is settled on any session of the host."""
        self.queues: Sequence[str] = ()
        """What it received from last: the next receive from there is cheapest here."""
        self.ahead: set[Sequence[str]] = set()
        """What somebody iterates over, so that messages may be on their way."""
        self.over: set[Sequence[str]] = set()
        """Of these, what nobody iterates over any more: whoever uses the session says so."""
        self.beat_at = math.inf
        """When the session is to give a sign of life, as a monotonic time."""
        self.alive = True
        self.proven = False
        """Whether it was used without a failure; one that was may have died while it was idle."""
        self.held: dict[Any, Delivery] = {}
        """By token, what is unsettled; a newer delivery with the same token makes older handles stale. Empty where
        every session settles: there the server tells what is stale."""
        self.lock = threading.Lock()
        self.receive_lock = threading.Lock() if self.settling == "duplex" else self.lock

    @property
    def may_wait(self) -> bool:
        """Whether a receive may wait here: not when settling what it holds would stand behind that."""
        return self.settling != "same-session" or not self.held

    def take(self) -> bool:
        """Lend it for anything but a receive, if it is free."""
        return self.lock.acquire(blocking=False) and self._is_alive(self.lock)

    def take_receiver(self) -> bool:
        """Lend it for a receive, if no other receive runs on it."""
        return self.receive_lock.acquire(blocking=False) and self._is_alive(self.receive_lock)

    def drop_ended(self) -> None:
        """Forget what the server has taken back by now; for the one who holds the link."""
        now = time.monotonic()
        for token in [t for t, d in self.held.items() if d.lease_until is not None and d.lease_until <= now]:
            del self.held[token]

    def _is_alive(self, lock: threading.Lock) -> bool:
        if not self.alive:
            lock.release()
        return self.alive

    def received(self, queues: Sequence[str], deliveries: Sequence[Delivery], *, ahead: bool) -> None:
        """Note what a receive brought; for the one who holds the link."""
        self.queues = queues
        if ahead:
            self.ahead.add(queues)
        elif self.ahead:
            self.ahead.clear()  # the receive without it has ended that
        if deliveries and not self.anywhere:
            self.held.update((delivery.token, delivery) for delivery in deliveries)
            if self.session.beat_every is not None:
                self.pool.beat_after(self, deliveries)

    def stop_ahead(self, queues: Sequence[str]) -> None:
        """Nobody iterates over `queues` on it any more: say so at once, or leave it to the one who uses it now."""
        self.over.add(queues)
        if self.lock.acquire(timeout=_SHORT_CALL) and self._is_alive(self.lock):
            with self:
                pass

    def _say_what_is_over(self) -> None:
        while self.over:
            queues = self.over.pop()
            if queues not in self.ahead:
                continue
            self.ahead.discard(queues)
            try:
                self.session.stop_ahead(queues, time.monotonic() + _STOP_MOST)
            except UnimqError as error:  # what was on its way goes back with the connection, at the latest
                self._left(error)

    @property
    def link(self) -> "Link":
        """Itself, where a poll on it needs no `Receiving`."""
        return self

    def __enter__(self) -> Session:
        return self.session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.over and error is None:
                self._say_what_is_over()
            self._left(error)
        finally:
            self.lock.release()
            if self.pool.waiters:
                self.pool.wake()

    def _left(self, error: BaseException | None) -> None:
        """A call is over: go by how it ended."""
        if error is None:
            self.proven = True
            if self.session.spent:
                self.pool.discard(self)
        elif ends_session(error):
            self.pool.discard(self, error)


class Receiving:
    """Lends a link for a receive: on a duplex session that leaves it free for everything else."""

    __slots__ = ("link", "waits")

    def __init__(self, link: Link, *, waits: bool) -> None:
        self.link = link
        self.waits = waits
        """Whether the receive may wait; otherwise it only polls."""

    def __enter__(self) -> Session:
        return self.link.session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        link, pool = self.link, self.link.pool
        link._left(error)
        link.receive_lock.release()
        if self.waits:
            pool.stopped_waiting(link)
        elif pool.waiters:
            pool.wake()
