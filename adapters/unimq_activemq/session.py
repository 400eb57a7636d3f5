"""One connection to a broker, with the methods of the driver contract.

What is received together has a subscription of its own that ends when all of it is settled; an iteration's goes on
until that is over.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from unimq.capabilities import Capabilities
from unimq.driver import POLL_GRACE, BaseSession, Delivery, Outgoing, Settling, Stats
from unimq.errors import ConnectionLost, LeaseLost, ServerError, Timeout, TooLarge, UnimqError
from unimq_activemq.admin import Admin
from unimq_activemq.frames import encode
from unimq_activemq.holding import Holding
from unimq_activemq.mapping import counted, delivery_of, headers_of
from unimq_activemq.moving import Mover
from unimq_activemq.probing import proved
from unimq_activemq.refusals import refusal
from unimq_activemq.taking import Taker
from unimq_activemq.wire import Wire

__all__ = ["ActiveMQSession"]

_AT_ONCE: Final = 20
"""Frames that are written together."""


class ActiveMQSession(BaseSession):
    """A session of the driver contract."""

    settling: Settling = "duplex"

    def __init__(
        self, wire: Wire, capabilities: Capabilities, server: str, where: str, options: Mapping[str, Any]
    ) -> None:
        self.capabilities = capabilities
        self._wire = wire
        self.beat_every = wire.beat_every
        self._server = server
        self._where = where
        self._persistent: bool = options["persistent"]
        self._counts: bool = options["count_crashes"]
        self.takes_back = not self._counts  # as copies, or those would be counted too
        self._holding = Holding(wire)
        self._holding.guards_all = self._counts  # what comes to a subscription that ends would be counted
        self._taker = Taker(wire, self._holding, one_by_one=self._counts)
        self._mover = Mover(wire, self._holding, self._exchange, persistent=self._persistent)
        self._admin = Admin(wire, self._holding, self._taker)

    def prove(self, deadline: float) -> None:
        """Leave out of the capabilities what this broker would ignore."""
        self.capabilities = proved(self.capabilities, self._wire, self._taker, deadline)

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store one with a receipt, many in one transaction."""
        self._wire.look()
        if len(messages) == 1:
            return self._send_one(queue, messages[0], deadline)
        return self._send_many(queue, messages, deadline)

    def _send_one(self, queue: str, message: Outgoing, deadline: float) -> list[str | UnimqError | None]:
        headers, name = headers_of(queue, message, persistent=self._persistent)
        headers["receipt"] = receipt = self._wire.receipt()
        told = self._sent([encode("SEND", headers, message.body)], receipt, deadline)
        return [name if told is None else told]

    def _send_many(
        self, queue: str, messages: Sequence[Outgoing], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """All or nothing: a SEND that is refused spoils the transaction, and its COMMIT is refused then."""
        transaction, receipt = self._wire.name(), self._wire.receipt()
        names: list[str] = []

        def frames() -> Iterator[bytes]:
            yield encode("BEGIN", {"transaction": transaction})
            for message in messages:
                headers, name = headers_of(queue, message, persistent=self._persistent)
                headers["transaction"] = transaction
                names.append(name)
                yield encode("SEND", headers, message.body)
            yield encode("COMMIT", {"transaction": transaction, "receipt": receipt})

        told = self._sent(frames(), receipt, deadline)
        return names if told is None else [told] * len(messages)

    def _sent(self, frames: Iterable[bytes], receipt: str, deadline: float) -> UnimqError | None:
        """Write, and wait for the receipt: `None`, or why it is not stored or in doubt.

        Of many frames some are written at a time, so that the broker works on them while the next are made. Nothing is
        in doubt before the last of them has left.
        """
        wire = self._wire
        wire.complaint = None
        is_last = written = False
        try:
            some = list(islice(rest := iter(frames), _AT_ONCE))
            while following := list(islice(rest, _AT_ONCE)):
                wire.write(b"".join(some), deadline)
                some = following
            is_last = True
            wire.write(b"".join(some), deadline)
            written = True
            (words,) = wire.answers([receipt], deadline)
        except (ConnectionLost, Timeout) as error:
            # A broker that will not take a frame says so, and closes the connection.
            told = refusal(self._where, wire.complaint) if wire.complaint else None
            if isinstance(told, TooLarge):
                told.ends_session = True
                return told
            error.in_doubt = is_last and (error.in_doubt or written)
            if not error.in_doubt:
                raise
            return error
        return None if words is None else refusal(self._where, wire.complaint or words)

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Take what is there; wait for the first. An iteration over one queue has a subscription that goes on."""
        self._wire.look()
        if self._counts:
            return self._receive_counted(queues, limit, deadline)
        if ahead and len(queues) == 1:
            taken = self._taker.go_on(queues[0], limit, deadline)
        else:
            taken = self._taker.take(queues, limit, deadline)
        return [delivery_of(one.queue, frame, token) for token, one, frame in taken]

    def _receive_counted(self, queues: Sequence[str], limit: int, deadline: float) -> list[Delivery]:
        """What has not been in other hands; in place of what has, a copy with a higher count is sent to the tail.

        A message whose copy the broker refuses is delivered uncounted.
        """
        until = max(deadline, time.monotonic()) + POLL_GRACE
        while True:
            taken = self._taker.take(queues, limit, deadline)
            found = {token: delivery_of(one.queue, frame, token) for token, one, frame in taken}
            again = [found[token] for token, _, frame in taken if self._holding.came_back(frame)]
            for one in again:
                (outcome,) = self.move(one.queue, [(one, counted(one))], until)
                if not isinstance(outcome, ServerError):
                    del found[one.token]
            if found or not again or time.monotonic() >= until:
                return list(found.values())

    def stop_ahead(self, queues: Sequence[str], deadline: float) -> None:
        """What has come for an iteration and was not returned goes back to the front."""
        self._taker.stop(queues, deadline)

    # Settling

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove them: one write, one receipt."""
        wire, holding = self._wire, self._holding
        wire.look()
        with holding.settling:
            holding.part([one.token for one in deliveries], deadline)
            outcomes: list[UnimqError | None] = [self._lost(one) for one in deliveries]
            mine = [one.token for one, lost in zip(deliveries, outcomes, strict=True) if lost is None]
            if not mine:
                return outcomes
            wire.complaint = None
            receipt = wire.receipt()
            self._exchange(holding.acks(mine, receipt), [receipt], deadline)
        if wire.complaint is not None:
            return [lost or refusal(self._where, wire.complaint) for lost in outcomes]
        return outcomes

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        """To the front, in their order: unseen ones only, so `delay` is 0."""
        self._wire.look()
        with self._holding.settling:
            outcomes = [self._lost(one) for one in deliveries]
            mine = [one.token for one, lost in zip(deliveries, outcomes, strict=True) if lost is None]
            self._holding.give_back(mine, deadline)
        return outcomes

    def _exchange(self, data: bytes, receipts: Sequence[str], deadline: float) -> list[str | None]:
        """The answers to a settlement, which may have been done where they are lost."""
        self._wire.write(data, deadline)
        try:
            return self._wire.answers(receipts, deadline)
        except (ConnectionLost, Timeout) as error:
            error.in_doubt = True
            raise

    def _lost(self, delivery: Delivery) -> LeaseLost | None:
        if self._holding.holds(delivery.token):
            return None
        return LeaseLost(f"{self._where}: message {delivery.id!r} went back to its queue")

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Send each message and acknowledge its delivery, in a transaction for each."""
        self._wire.look()
        with self._holding.settling:
            self._holding.part([one.token for one, _ in pairs], deadline, one_by_one=True)
            outcomes: list[str | UnimqError | None] = [self._lost(delivery) for delivery, _ in pairs]
            mine = [position for position, lost in enumerate(outcomes) if lost is None]
            wanted = [(pairs[position][0].token, pairs[position][1]) for position in mine]
            for position, moved in zip(mine, self._mover.move(queue, wanted, deadline), strict=True):
                refused = moved.complaint
                outcomes[position] = moved.name if refused is None else refusal(self._where, refused)
        return outcomes

    def interrupt(self) -> None:
        """End a receive."""
        self._taker.interrupt()

    def beat(self, deadline: float) -> None:
        """A sign of life, and a look for the broker's."""
        self._wire.beat(deadline)

    # Looking after it

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """What a browser shows, without what is in hand here."""
        return [delivery_of(queue, frame, None) for frame in self._admin.browse(queue, limit, deadline)]

    def stats(self, queue: str, deadline: float) -> Stats:
        """By the statistics plugin and the scheduler."""
        return self._admin.stats(queue, deadline)

    def purge(self, queue: str, deadline: float) -> int:
        """Take and acknowledge all; remove what is delayed."""
        return self._admin.purge(queue, deadline)

    def queues(self, deadline: float) -> Sequence[str]:
        """Those that hold messages."""
        return self._admin.queues(deadline)

    def ping(self, deadline: float) -> str:
        """An empty transaction."""
        wire = self._wire
        wire.look()
        transaction, receipt = wire.name(), wire.receipt()
        begin = encode("BEGIN", {"transaction": transaction})
        wire.write(begin + encode("ABORT", {"transaction": transaction, "receipt": receipt}), deadline)
        wire.answers([receipt], deadline)
        return self._server

    def abandon(self) -> None:
        """Close the descriptors of a child's copy."""
        self._wire.abandon()

    def close(self) -> None:
        """End the connection; the broker gives back what it held."""
        self._wire.close()
