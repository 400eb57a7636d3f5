"""Where messages are asked for: the hosts in turn, a poll or a wait on each, until something comes.

What is done with it is the receiver's business.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

from unimq.driver import Delivery, Session
from unimq.envelope import is_plain
from unimq.errors import ConnectError, ConnectionLost, Empty, Timeout, UnimqError
from unimq.hosts import Host, PooledSession
from unimq.message import BaseMessage
from unimq.pool import NoneToWaitOn
from unimq.state import QueueState

__all__ = ["Cancellation", "Source"]

_TURN: Final = 0.05
"""Seconds to wait at one of several hosts before asking the next; with N hosts a message waits N-1 turns at most."""
_LOOK: Final = 0.5
"""Seconds to wait at the one host that works before looking whether another one does again."""
_POLL_GRACE: Final = 1.0
"""Seconds that a poll may stand in line for a session, as it may last on one."""
_RETRY_LEAST: Final = 0.05
_RETRY_MOST: Final = 1.0
"""Seconds between attempts while no host can be reached; the pool's back-off decides which host is tried first."""


class Cancellation:
    """Ends a waiting receive from another thread, and tells that thread why none is going on."""

    __slots__ = ("cancelled", "session", "trouble")

    def __init__(self) -> None:
        self.cancelled = False
        self.session: Session | None = None
        """What waits at the moment."""
        self.trouble: UnimqError | None = None
        """Why no server could be asked, while that is so."""

    def cancel(self) -> None:
        """Let the receive end, at once as a rule; an interrupt that comes a moment too early finds nothing to end."""
        self.cancelled = True
        session = self.session
        if session is not None:
            session.interrupt()


class Source:
    """What messages are asked for: one queue, or several of one client."""

    def __init__(self, states: Sequence[QueueState[Any]]) -> None:
        first = states[0]
        self._pool = first.pool
        self._lease = first.settings.lease
        self._connect_timeout = first.settings.connect_timeout
        self._host = self._pool.hosts[0] if len(self._pool.hosts) == 1 else None
        """The only one."""
        self._states = {state.name: state for state in states}
        self._only = first if len(self._states) == 1 else None
        self._names = tuple(self._states)

    def stop_ahead(self) -> None:
        """Nobody iterates here any more."""
        self._pool.stop_ahead(self._names)

    def fetch(
        self, limit: int, until: float, cancellation: Cancellation | None = None, *, ahead: bool = False
    ) -> list[BaseMessage[Any]]:
        """What arrives first; `Empty` at `until`, a monotonic time.

        While no host can be reached it tries again until then; what was never reached, a mistake in the URL perhaps,
        is tried for `?connect_timeout=` only.
        """
        cancellation = cancellation or _NEVER
        asking = _Asking(self, limit, cancellation, ahead)
        give_up, pause = 0.0, _RETRY_LEAST
        trouble: UnimqError | None = None
        while True:
            try:
                if self._host is not None and trouble is None:
                    messages = self._ask(self._host, asking, until)
                else:
                    hosts = self._pool.order_to_receive(again=trouble is not None)
                    messages = self._ask_hosts(hosts, asking, until)
                    trouble = trouble if not hosts else None
            except (ConnectError, ConnectionLost, Timeout) as error:
                messages, trouble = [], error
            if messages:
                return messages
            self.check_open()
            cancellation.trouble = trouble if cancellation is not _NEVER else None
            now = time.monotonic()
            if trouble is not None:
                give_up = give_up or now + self._connect_timeout
                if now >= until or asking.is_over() or (not self._pool.met and now >= give_up):
                    raise trouble
                self._pool.pause(min(pause, max(until - now, 0.0)))
                pause = min(pause * 2, _RETRY_MOST)
            elif now >= until or asking.is_over():
                raise self._nothing()

    def _nothing(self) -> Empty:
        states = list(self._states.values())
        names = ", ".join(state.shown for state in states)
        return Empty(f"no message on {names} of {states[0].where} in time")

    @property
    def interruptions(self) -> int:
        """How often its gets were told to end."""
        return sum([state.interruptions for state in self._states.values()])

    def check_open(self) -> None:
        """Refuse the use of what was closed."""
        for state in self._states.values():
            state.check_open()

    def _ask_hosts(self, hosts: Sequence[Host], asking: "_Asking", until: float) -> list[BaseMessage[Any]]:
        """One round: a single host may be waited for until the end, several are polled and then waited for in turn."""
        if len(hosts) == 1:
            others = len(self._pool.hosts) > 1
            return self._ask(hosts[0], asking, min(until, time.monotonic() + _LOOK) if others else until)
        error: UnimqError | None = None
        asked = list(hosts)
        for turn in (0.0, _TURN):
            for host in list(asked):
                try:
                    messages = self._ask(host, asking, min(until, time.monotonic() + turn))
                except (ConnectError, ConnectionLost, Timeout) as failed:
                    error = failed
                    asked.remove(host)
                    continue
                if messages:
                    return messages
            if time.monotonic() >= until:
                break
        if error is not None and not asked:
            raise error
        return []

    def _ask(self, host: Host, asking: "_Asking", until: float) -> list[BaseMessage[Any]]:
        """What `host` has until then.

        A poll comes first where sessions hold something that could not be settled while they wait, and where none may
        be waited on: too many wait, or each holds something. Then it stands in line for one, and polls now and then.
        """
        now = time.monotonic()
        if until <= now:
            return self._poll(host, asking, now)
        polled = self._pool.polls_first(host)
        if polled and (messages := self._poll(host, asking, now)):
            return messages
        with contextlib.suppress(NoneToWaitOn):
            return self._wait(host, asking, until, now)
        if not polled and (messages := self._poll(host, asking, now)):
            return messages
        with contextlib.suppress(NoneToWaitOn):
            return self._wait(host, asking, until, min(now + _TURN, until))
        return []

    def _poll(self, host: Host, asking: "_Asking", now: float) -> list[BaseMessage[Any]]:
        return self._pool.lend(host, now + _POLL_GRACE, self._receive, (asking, 0.0), None, "poll", self._names)

    def _wait(self, host: Host, asking: "_Asking", until: float, free_by: float) -> list[BaseMessage[Any]]:
        if host.most == 1:  # puts, settlements and other gets need the only session now and then
            until = min(until, free_by + _TURN)
        return self._pool.lend(host, free_by, self._receive, (asking, until), None, "wait", self._names)

    def _receive(self, pooled: PooledSession, asked: "tuple[_Asking, float]") -> list[BaseMessage[Any]]:
        asking, until = asked
        session, names, ahead = pooled.session, self._names, asking.ahead
        if until:
            deliveries = self._wait_on(pooled, asking, until)
        else:
            deliveries = session.receive(names, asking.limit, self._lease, 0.0, ahead=ahead)
        pooled.queues = names
        if ahead or pooled.ahead:
            pooled.note_ahead(names, ahead=ahead)
        if not deliveries:
            return []
        if not pooled.anywhere:
            pooled.hold(deliveries)
        if session.beat_every is not None:
            self._pool.beats.after(pooled, deliveries)
        only = self._only
        if only is not None:
            return [_message(only, pooled, delivery) for delivery in deliveries]
        return [_message(self._states[delivery.queue], pooled, delivery) for delivery in deliveries]

    def _wait_on(self, pooled: PooledSession, asking: "_Asking", until: float) -> Sequence[Delivery]:
        session, cancellation = pooled.session, asking.cancellation
        pooled.receiving = asking
        cancellation.session = session if cancellation is not _NEVER else None
        # Whoever ends it says so before looking at what waits, and this is said before looking whether it is over.
        until = 0.0 if asking.is_over() else until
        try:
            return session.receive(self._names, asking.limit, self._lease, until, ahead=asking.ahead)
        finally:
            pooled.receiving = cancellation.session = None


class _Asking:
    """What one fetch asks for, of whatever host."""

    __slots__ = ("_begun", "_source", "ahead", "cancellation", "limit")

    def __init__(self, source: Source, limit: int, cancellation: Cancellation, ahead: bool) -> None:  # noqa: FBT001
        self._source = source
        only = source._only
        self._begun = source.interruptions if only is None else only.interruptions
        self.limit = limit
        self.cancellation = cancellation
        self.ahead = ahead

    def is_over(self) -> bool:
        """Whether nobody waits for it any more."""
        source = self._source
        told = source.interruptions if source._only is None else source._only.interruptions
        return self.cancellation.cancelled or self._begun != told or source._pool.closed


_NEVER: Final = Cancellation()
"""For a receive that nobody will cancel."""


def _message(state: QueueState[Any], pooled: PooledSession, raw: Delivery) -> BaseMessage[Any]:
    if raw.damage is None and not raw.headers and is_plain(raw.body):
        delivery = raw
        for complete in state.completes:
            delivery = complete(delivery)
        message = state.message_type(state.owner, pooled, raw, delivery)
    else:
        message = state.message_type(state.owner, pooled, raw, *state.decode(raw))
    if state.keeps_lease:
        pooled.host.keeper.begin(message, state.settings.lease)
    return message
