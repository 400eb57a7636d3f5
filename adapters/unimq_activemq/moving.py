"""Moves: a copy is sent and the original acknowledged, in one transaction of the broker for each pair."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unimq.driver import Outgoing
from unimq_activemq.frames import encode
from unimq_activemq.holding import Holding
from unimq_activemq.mapping import headers_of
from unimq_activemq.wire import Token, Wire

__all__ = ["Moved", "Mover"]

Exchange = Callable[[bytes, Sequence[str], float], Sequence[str | None]]
"""Writes, and waits for the answers to some receipts: `None`, or the broker's complaint."""


@dataclass(slots=True)
class Moved:
    """One move: what it needs, and what became of it."""

    token: Token
    transaction: str
    name: str | None = None
    """The id of the copy; `None` where none was sent."""
    complaint: str | None = None
    """Why the broker refused it; then nothing was done."""


class Mover:
    """The moves of one session."""

    def __init__(self, wire: Wire, holding: Holding, exchange: Exchange, *, persistent: bool) -> None:
        self._wire = wire
        self._holding = holding
        self._exchange = exchange
        self._persistent = persistent

    def move(self, queue: str, pairs: Sequence[tuple[Token, Outgoing]], deadline: float) -> list[Moved]:
        """Prepare each, and end it when its copy was taken: one that is refused leaves its original in hand.

        One after the other, the end of each in one exchange with the next: an acknowledgement frees its subscription's
        credit, and of several at once each would take a copy that was just sent, which would come back out of order.
        """
        moves: list[Moved] = []
        ending, receipts = b"", list[tuple[Moved, str]]()
        for token, message in pairs:
            one = Moved(token, self._wire.name())
            moves.append(one)
            data, wanted = self._prepared(one, queue, message)
            self._answered(ending + data, [*receipts, *[(one, receipt) for receipt in wanted]], deadline)
            ending, receipts = self._ended(one)
        self._answered(ending, receipts, deadline)
        return moves

    def _prepared(self, one: Moved, queue: str, message: Outgoing) -> tuple[bytes, list[str]]:
        """All but the end of a transaction. What has expired is not sent: the broker would drop it."""
        within = {"transaction": one.transaction}
        frames = [encode("BEGIN", within)]
        receipts: list[str] = []
        if message.expires_at is None or message.expires_at > time.time():
            headers, one.name = headers_of(queue, message, persistent=self._persistent)
            receipts.append(self._wire.receipt())
            frames.append(encode("SEND", {**headers, **within, "receipt": receipts[-1]}, message.body))
        receipts.append(self._wire.receipt())
        frames.append(encode("ACK", {"id": self._holding.name(one.token), **within, "receipt": receipts[-1]}))
        return b"".join(frames), receipts

    def _ended(self, one: Moved) -> tuple[bytes, list[tuple[Moved, str]]]:
        """The end of a transaction, and of the subscription of what was moved."""
        frames = [("ABORT" if one.complaint else "COMMIT", {"transaction": one.transaction})]
        if not one.complaint:
            frames += self._holding.done(one.token)
        receipts = [self._wire.receipt() for _ in frames]
        data = [
            encode(command, {**headers, "receipt": r}) for (command, headers), r in zip(frames, receipts, strict=True)
        ]
        return b"".join(data), [(one, receipt) for receipt in receipts]

    def _answered(self, data: bytes, receipts: Sequence[tuple[Moved, str]], deadline: float) -> None:
        answers = self._exchange(data, [receipt for _, receipt in receipts], deadline)
        for (one, _), complaint in zip(receipts, answers, strict=True):
            one.complaint = one.complaint or complaint
