"""One connection to a broker, with the methods of the driver contract.

A message has a subscription of its own, of prefetch 1, that ends with its settlement: an acknowledgement frees the
subscription's credit, and the broker would send the next message to a consumer that asks for none.
"""

import time
from collections.abc import Sequence

from unimq.capabilities import Capabilities
from unimq.driver import Delivery, Outgoing, Settling, Stats
from unimq.errors import ConnectionLost, LeaseLost, Timeout, TooLarge, UnimqError
from unimq_activemq.admin import Admin
from unimq_activemq.frames import encode
from unimq_activemq.mapping import delivery_of, headers_of
from unimq_activemq.refusals import refusal
from unimq_activemq.taking import Taker
from unimq_activemq.wire import Wire

__all__ = ["ActiveMQSession"]


class ActiveMQSession:
    """A session of the driver contract."""

    settling: Settling = "duplex"

    def __init__(self, wire: Wire, capabilities: Capabilities, server: str, where: str, *, persistent: bool) -> None:
        self.capabilities = capabilities
        self._wire = wire
        self._server = server
        self._where = where
        self._persistent = persistent
        self._taker = Taker(wire)
        self._admin = Admin(wire, self._taker)

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store one with a receipt, many in one transaction."""
        self._wire.look()
        if len(messages) == 1:
            return self._send_one(queue, messages[0], deadline)
        return self._send_many(queue, messages, deadline)

    def _send_one(self, queue: str, message: Outgoing, deadline: float) -> list[str | UnimqError | None]:
        wire = self._wire
        headers, name = headers_of(queue, message, persistent=self._persistent)
        headers["receipt"] = receipt = wire.receipt()
        wire.write(encode("SEND", headers, message.body), deadline)
        try:
            (words,) = wire.answers([receipt], deadline)
        except (ConnectionLost, Timeout) as error:
            return [self._unanswered(error)]
        return [name if words is None else refusal(self._where, words)]

    def _send_many(
        self, queue: str, messages: Sequence[Outgoing], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """All or nothing: a SEND that is refused spoils the transaction, and its COMMIT is refused then."""
        wire = self._wire
        transaction, receipt = wire.name(), wire.receipt()
        wire.complaint = None
        frames = [encode("BEGIN", {"transaction": transaction})]
        names: list[str] = []
        for message in messages:
            headers, name = headers_of(queue, message, persistent=self._persistent)
            headers["transaction"] = transaction
            frames.append(encode("SEND", headers, message.body))
            names.append(name)
        frames.append(encode("COMMIT", {"transaction": transaction, "receipt": receipt}))
        wire.write(b"".join(frames), deadline)
        try:
            (words,) = wire.answers([receipt], deadline)
        except (ConnectionLost, Timeout) as error:
            return [self._unanswered(error)] * len(messages)
        if words is None:
            return names
        return [refusal(self._where, f"{wire.complaint or words}, so nothing of the batch was stored")] * len(messages)

    def _unanswered(self, error: ConnectionLost | Timeout) -> UnimqError:
        """The outcome of what was sent and not answered: refused, where the broker closed the connection for it."""
        if self._wire.complaint is not None:
            told = refusal(self._where, self._wire.complaint)
            if isinstance(told, TooLarge):
                return told
        error.in_doubt = True
        return error

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        """Take what is there; wait for the first."""
        self._wire.look()
        return [
            delivery_of(subscription.queue, frame, (subscription.id, frame.headers["ack"]))
            for subscription, frame in self._taker.take(queues, limit, deadline)
        ]

    # Settling

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove them: one write, one receipt, at the end of the last subscription.

        It is no receipt of the acknowledgement: until the subscription has ended, the next message may be on its way
        to it, and nobody else would get it.
        """
        wire = self._wire
        wire.look()
        outcomes: list[UnimqError | None] = [self._lost(one) for one in deliveries]
        mine = [one for one, lost in zip(deliveries, outcomes, strict=True) if lost is None]
        if not mine:
            return outcomes
        wire.complaint = None
        receipt = wire.receipt()
        frames: list[bytes] = []
        for one in mine:
            subscription, name = one.token
            frames.append(encode("ACK", {"id": name}))
            frames.append(self._taker.end(subscription, receipt if one is mine[-1] else None))
        self._settled(b"".join(frames), [receipt], deadline)
        if wire.complaint is not None:
            return [lost or refusal(self._where, wire.complaint) for lost in outcomes]
        return outcomes

    def _settled(self, data: bytes, receipts: Sequence[str], deadline: float) -> list[str | None]:
        """The answers to a settlement, which may have been done where they are lost."""
        self._wire.write(data, deadline)
        try:
            return self._wire.answers(receipts, deadline)
        except (ConnectionLost, Timeout) as error:
            error.in_doubt = True
            raise

    def _lost(self, delivery: Delivery) -> LeaseLost | None:
        if self._taker.holds(delivery.token[0]):
            return None
        return LeaseLost(f"{self._where}: message {delivery.id!r} went back to its queue")

    def release(self, deliveries: Sequence[Delivery], delay: float, deadline: float) -> Sequence[UnimqError | None]:
        """Not called: nack is a move here, because what a subscription gives back is not counted."""
        raise NotImplementedError

    def move(self, delivery: Delivery, queue: str, message: Outgoing, deadline: float) -> str | None:
        """Send `message` and acknowledge `delivery`, in one transaction.

        Two round trips, so that a refused SEND can be taken back and the message stays in hand.
        """
        wire = self._wire
        wire.look()
        if (lost := self._lost(delivery)) is not None:
            raise lost
        if message.expires_at is not None and message.expires_at <= time.time():
            (outcome,) = self.ack([delivery], deadline)  # the broker would drop the copy
            if outcome is not None:
                raise outcome
            return None
        subscription, ack = delivery.token
        transaction, sent, acked = wire.name(), wire.receipt(), wire.receipt()
        headers, name = headers_of(queue, message, persistent=self._persistent)
        begin = encode("BEGIN", {"transaction": transaction})
        send = encode("SEND", {**headers, "transaction": transaction, "receipt": sent}, message.body)
        done = encode("ACK", {"id": ack, "transaction": transaction, "receipt": acked})
        refused = [words for words in self._settled(begin + send + done, [sent, acked], deadline) if words]
        if refused:
            receipt = wire.receipt()
            self._settled(encode("ABORT", {"transaction": transaction, "receipt": receipt}), [receipt], deadline)
            raise refusal(self._where, refused[0])
        committed, ended = wire.receipt(), wire.receipt()
        commit = encode("COMMIT", {"transaction": transaction, "receipt": committed})
        words, _ = self._settled(commit + self._taker.end(subscription, ended), [committed, ended], deadline)
        if words is not None:
            raise refusal(self._where, words)
        return name

    def extend(self, delivery: Delivery, seconds: float, deadline: float) -> float:
        """Not called: the lease lasts as long as the connection, and unimq keeps its own."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """End a receive."""
        self._taker.interrupt()

    # Looking after it

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """What a browser shows, without what is in hand here."""
        return [delivery_of(queue, frame, None) for frame in self._admin.browse(queue, limit, deadline)]

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        """Not called: STOMP cannot remove a message that nobody holds."""
        raise NotImplementedError

    def stats(self, queue: str, deadline: float) -> Stats:
        """By the statistics plugin and the scheduler."""
        return self._admin.stats(queue, deadline)

    def purge(self, queue: str, deadline: float) -> int:
        """Take and acknowledge all; remove what is delayed."""
        return self._admin.purge(queue, deadline)

    def delete(self, queue: str, deadline: float) -> None:
        """Not called: STOMP cannot remove a queue."""
        raise NotImplementedError

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

    def close(self) -> None:
        """End the connection; the broker gives back what it held."""
        self._wire.close()
