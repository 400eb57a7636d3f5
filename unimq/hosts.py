"""One server of a URL: its sessions, who waits for one, and how it has been behaving.

Whoever finds no session free stands in line. What is given back goes to the first who can use it, and only that one is
woken; nobody who comes later passes by. The model is psycopg_pool.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

from unimq.capabilities import Capabilities
from unimq.driver import Delivery, Session
from unimq.keeper import Keeper
from unimq.scheduler import Scheduler
from unimq.seats import Seat
from unimq.url import URL

__all__ = ["Host", "Need", "PooledSession", "Receiving", "stable_hash"]

Need = Literal["call", "poll", "wait"]
"""What a session is wanted for: anything but a receive; a receive that does not wait; one that may."""

_BACKOFF_FIRST: Final = 0.05
_BACKOFF_MOST: Final = 5.0
_STOP_MOST: Final = 1.0
"""Seconds that ending an iteration may take."""


class Receiving(Protocol):
    """What waits for messages on a session."""

    def is_over(self) -> bool:
        """Whether nobody wants them any more: the session is to be interrupted."""
        ...


class PooledSession:
    """One pooled session."""

    __slots__ = (
        "ahead",
        "alive",
        "anywhere",
        "beat_at",
        "capabilities",
        "closed",
        "held",
        "host",
        "idle_looks",
        "over",
        "proven",
        "queues",
        "receiver",
        "receiving",
        "session",
        "settling",
        "user",
    )

    def __init__(self, host: "Host", session: Session, capabilities: Capabilities) -> None:
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
        """Whether it is lent."""
        self.closed = False
        self.proven = False
        """Whether it was used without a failure; one that was may have died while it was idle."""
        self.held: dict[Any, Delivery] = {}
        """By token, what is unsettled; a newer delivery with the same token makes older handles stale. Empty where
        every session settles: there the server tells what is stale."""
        self.idle_looks = 0
        """How often it was looked at since it was used."""
        self.user = Seat()
        self.receiver = Seat() if self.settling == "duplex" else self.user
        """Who receives: on a duplex session beside its user, elsewhere in its stead."""
        self.receiving: Receiving | None = None
        """What waits on it at the moment."""

    @property
    def may_wait(self) -> bool:
        """Whether a receive may wait here: not when settling what it holds would stand behind that."""
        return self.settling != "same-session" or not self.held

    @property
    def is_needed(self) -> bool:
        """Whether something ends with the connection: what it holds, or what is on its way for an iteration."""
        return bool(self.held or self.ahead) or (self.anywhere and self.capabilities.lease_by == "connection")

    def holds(self, delivery: Delivery) -> bool:
        """Whether it still holds this very delivery: none that was settled or delivered again, on no dead connection.

        True where every session settles: there only the server knows.
        """
        return self.anywhere or (self.alive and self.held.get(delivery.token) is delivery)

    def drop_ended(self) -> None:
        """Forget what the server has taken back by now; for the one who uses the session."""
        now = time.monotonic()
        for token in [t for t, d in self.held.items() if d.lease_until is not None and d.lease_until <= now]:
            del self.held[token]

    def note_ahead(self, queues: Sequence[str], *, ahead: bool) -> None:
        """Note whether more of `queues` may be on its way after a receive; for the one who uses the session."""
        if ahead:
            self.ahead.add(queues)
        else:
            self.ahead.clear()  # the receive without it has ended that

    def hold(self, deliveries: Sequence[Delivery]) -> None:
        """Note what a receive brought; for the one who uses the session."""
        held = self.held
        for delivery in deliveries:
            held[delivery.token] = delivery

    def say_what_is_over(self) -> None:
        """End the iterations that nobody goes on with; for the one who uses the session, at the end of that."""
        while self.over:
            queues = self.over.pop()
            if queues in self.ahead:
                self.ahead.discard(queues)
                self.session.stop_ahead(queues, time.monotonic() + _STOP_MOST)


class _Waiting:
    """One place in the line."""

    __slots__ = ("me", "need", "only", "opens", "pooled", "woken")

    def __init__(self, me: object, need: Need, only: PooledSession | None) -> None:
        self.me = me
        self.need: Need = need
        self.only = only
        """The one session that will do, for settling what it holds."""
        self.pooled: PooledSession | None = None
        """What was given."""
        self.opens = False
        """Whether there is room for a session of its own instead."""
        self.woken = threading.Lock()
        self.woken.acquire()

    def wake(self) -> None:
        if self.woken.locked():
            self.woken.release()


class Host:
    """One server of a URL."""

    def __init__(self, url: URL, most: int) -> None:
        """`most` is `?max_sessions=`."""
        self.url = url
        self.label = str(url)
        self.most = most
        self.scheduler = Scheduler(f"unimq keeper of {self.label}")
        """Does what is due later, and may have to ask this server for it."""
        self.failures = 0
        """How often it failed since a call went well; while it is not 0 the host is left out."""
        self.retry_at = 0.0
        self.proved: Capabilities | None = None
        """What its sessions proved, since when it was not away."""
        self.forget()

    def forget(self) -> None:
        """Begin without sessions: anew, or in a child process."""
        self.sessions: tuple[PooledSession, ...] = ()
        self.keeper = Keeper(self.scheduler)
        self.opening: set[object] = set()
        """Who opens a session at the moment."""
        self._waits: set[object] = set()
        """Who waits in a receive at the moment."""
        self.line: deque[_Waiting] = deque()
        """Who needs a session now."""
        self._to_wait: deque[_Waiting] = deque()
        """Who needs one to wait on: puts and settlements need not stand behind them."""
        self.closed = False
        # Reentrant, because a signal handler may put while the call that it interrupts gives something back.
        self._lock = threading.RLock()

    # How it behaves

    def failed(self) -> None:
        """Leave it out for a while: 50 ms doubled by each failure up to 5 s, with a jitter of 10 %."""
        pause = min(_BACKOFF_MOST, _BACKOFF_FIRST * 2 ** min(self.failures, 10))
        self.failures += 1
        self.proved = None
        self.retry_at = time.monotonic() + pause * random.uniform(0.9, 1.1)  # noqa: S311 - jitter is no secret

    def works(self) -> None:
        """Take it back: a call went well."""
        self.failures = 0
        self.retry_at = 0.0

    def claim_retry(self, lasts: float) -> bool:
        """Whether it is time for another try, and the caller's to make it; nobody else's for `lasts` seconds."""
        now = time.monotonic()
        with self._lock:
            if self.retry_at > now:
                return False
            self.retry_at = now + lasts
            return True

    # Taking

    def free(self, me: object) -> PooledSession | None:
        """A session for a call, if one is free and nobody stands in line for it."""
        if not self.line:
            for pooled in self.sessions:
                if pooled.user.setdefault(0, me) is me:  # taken, without the cost of a call
                    if pooled.alive:
                        return pooled
                    pooled.user.leave(me)
        return None

    def that(self, pooled: PooledSession, me: object) -> PooledSession | None:
        """That very session, likewise."""
        return pooled if not self.line and self._take(pooled, me, "call") else None

    def free_to_receive(self, me: object, need: Need, queues: Sequence[str]) -> PooledSession | None:
        """A session for a receive, likewise: the one that last received from `queues`, or else any."""
        if self._to_wait if need == "wait" else self.line:
            return None
        for pooled in self.sessions:
            if pooled.queues == queues and pooled.receiver.setdefault(0, me) is me:  # as in `free`
                if pooled.alive and (need != "wait" or self._may_wait(pooled, me)):
                    return pooled
                pooled.receiver.leave(me)
        for pooled in self.sessions:
            if self._take(pooled, me, need):
                return pooled
        return None

    def wait(self, me: object, need: Need, deadline: float, only: PooledSession | None = None) -> PooledSession | None:
        """Stand in line for a session until `deadline`, a monotonic time.

        `None`: open one, or it is too late; `opening` tells which. Where `only` died it comes at once.
        """
        waiting = _Waiting(me, need, only)
        with self._lock:
            if self.closed and only is None:
                return None
            (self._to_wait if need == "wait" else self.line).append(waiting)
            self._serve()
        try:
            rest = min(max(deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX)
            waiting.woken.acquire(timeout=rest)
        finally:
            self._leave_line(me)
        return waiting.pooled

    def _take(self, pooled: PooledSession, me: object, need: Need) -> bool:
        seat = pooled.user if need == "call" else pooled.receiver
        if not seat.take(me):
            return False
        if pooled.alive and (need != "wait" or self._may_wait(pooled, me)):
            return True
        seat.leave(me)
        return False

    def _may_wait(self, pooled: PooledSession, me: object) -> bool:
        """Whether `me` may wait on it, which it has; noted if so."""
        if pooled.held:
            pooled.drop_ended()
        if not pooled.may_wait:
            return False
        self._waits.add(me)
        if len(self._waits) <= self._room_to_wait:
            return True
        self._waits.discard(me)
        return False

    @property
    def _room_to_wait(self) -> int:
        """One session is left to puts and settlements, or a crowd of waiting gets would shut them out for ever."""
        return max(1, self.most - 1)

    # Giving back

    def give_back(self, pooled: PooledSession, me: object) -> None:
        """`me` has used `pooled`."""
        if pooled.user.get(0) is me:
            del pooled.user[0]
        if pooled.receiver is not pooled.user:
            pooled.receiver.leave(me)
        if self._waits:
            self._waits.discard(me)
        if self.line or self._to_wait:
            self.serve()

    def recover(self, me: object) -> None:
        """Give back whatever `me` has, or is about to get: what an exception at any moment may leave."""
        self._leave_line(me)
        self._waits.discard(me)
        self.opening.discard(me)
        for pooled in self.sessions:
            pooled.user.leave(me)
            pooled.receiver.leave(me)
        if self.line or self._to_wait:
            self.serve()

    def _leave_line(self, me: object) -> None:
        with self._lock:
            for line in (self.line, self._to_wait):
                for waiting in [one for one in line if one.me is me]:
                    line.remove(waiting)

    def opened(self, pooled: PooledSession, me: object) -> bool:
        """`me` has opened `pooled`, which is lent from now on; not where the host was closed meanwhile."""
        with self._lock:
            if not self.closed:
                self.sessions = (*self.sessions, pooled)
            self.opening.discard(me)
            self._serve()
        return not self.closed

    def remove(self, pooled: PooledSession) -> bool:
        """Lend `pooled` no more; whether it was lent until now."""
        with self._lock:
            self.sessions = tuple(other for other in self.sessions if other is not pooled)
            was_alive, pooled.alive = pooled.alive, False
            self._serve()
        return was_alive

    def serve(self) -> None:
        """Give what is free to those that stand in line, in their order, and wake only these."""
        with self._lock:
            self._serve()

    def close(self) -> None:
        """Let nobody wait for a session any more."""
        with self._lock:
            self.closed = True
            for line in (self.line, self._to_wait):
                for waiting in [one for one in line if one.only is None]:
                    line.remove(waiting)
                    waiting.wake()

    def _serve(self) -> None:
        in_vain: set[Need] = set()
        for line in (self.line, self._to_wait):
            for waiting in list(line):
                if waiting.only is None and waiting.need in in_vain:
                    continue
                if self._serves(waiting):
                    line.remove(waiting)
                    waiting.wake()
                elif waiting.only is None:
                    in_vain.add(waiting.need)

    def _serves(self, waiting: _Waiting) -> bool:
        if waiting.only is not None:
            return not waiting.only.alive or self._give(waiting, waiting.only)
        if waiting.need == "wait" and len(self._waits) >= self._room_to_wait:
            return False
        return any(self._give(waiting, pooled) for pooled in self.sessions) or self._may_open(waiting)

    def _give(self, waiting: _Waiting, pooled: PooledSession) -> bool:
        if not self._take(pooled, waiting.me, waiting.need):
            return False
        waiting.pooled = pooled
        return True

    def _may_open(self, waiting: _Waiting) -> bool:
        """Let it open a session of its own, if there may be another one."""
        if len(self.sessions) + len(self.opening) >= self.most:
            return False
        if waiting.need == "wait":
            self._waits.add(waiting.me)
        self.opening.add(waiting.me)
        waiting.opens = True
        return True


def stable_hash(key: str) -> int:
    """The same number for `key` in every process."""
    from zlib import crc32  # noqa: PLC0415 - only where hosts are chosen by key

    return crc32(key.encode())
