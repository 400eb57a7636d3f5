"""One pooled session: who uses it, and what it holds."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from unimq.capabilities import Capabilities
from unimq.driver import Delivery, Session
from unimq.errors import UnimqError

if TYPE_CHECKING:
    from unimq.hosts import Host

__all__ = ["ENDED", "Link", "Receiving", "Seat", "ends_session"]

ENDED: Final = object()
"""Who settles a message when unimq itself ends its lease."""
_STOP_MOST: Final = 1.0
"""Seconds that ending an iteration may take."""


def ends_session(error: BaseException) -> bool:
    """Whether a session that was left with `error` may not be used again: all but an orderly refusal."""
    return not isinstance(error, UnimqError) or error.ends_session


class Seat(dict[int, object]):
    """Room for one user at a time, at key 0: the object that took it, by which its user proves to have it.

    A lock could not tell whose it is: an exception that arrives at any moment (Ctrl-C, a time limit by signal) may
    come between taking it and noting that, and it would stay taken for ever. Taking (`setdefault`) is one step of the
    interpreter, and whoever gives back asks by the same object whether there is something to give back.
    """

    __slots__ = ()

    def take(self, me: object) -> bool:
        """Whether it is `me` who has it now."""
        return self.setdefault(0, me) is me

    def leave(self, me: object) -> None:
        """Give it back, if `me` has it."""
        if self.get(0) is me:
            self.pop(0, None)


class Receiving(Protocol):
    """What waits for messages on a session."""

    def is_over(self) -> bool:
        """Whether nobody wants them any more: the session is to be interrupted."""
        ...


class Link:
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
        """Forget what the server has taken back by now; for the one who uses the link."""
        now = time.monotonic()
        for token in [t for t, d in self.held.items() if d.lease_until is not None and d.lease_until <= now]:
            del self.held[token]

    def note_ahead(self, queues: Sequence[str], *, ahead: bool) -> None:
        """Note whether more of `queues` may be on its way after a receive; for the one who uses the link."""
        if ahead:
            self.ahead.add(queues)
        else:
            self.ahead.clear()  # the receive without it has ended that

    def hold(self, deliveries: Sequence[Delivery]) -> None:
        """Note what a receive brought; for the one who uses the link."""
        held = self.held
        for delivery in deliveries:
            held[delivery.token] = delivery

    def say_what_is_over(self) -> None:
        """End the iterations that nobody goes on with; for the one who uses the link, at the end of that."""
        while self.over:
            queues = self.over.pop()
            if queues in self.ahead:
                self.ahead.discard(queues)
                self.session.stop_ahead(queues, time.monotonic() + _STOP_MOST)
