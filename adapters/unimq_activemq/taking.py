"""Taking messages: a subscription for each, and the fence that tells an empty queue from a slow broker.

STOMP knows no credit: a subscription gets as many messages as its prefetch says, and an acknowledgement makes room for
the next. So each message has a subscription of its own, of prefetch 1, which ends with its settlement; the end of a
subscription gives back all that is unacknowledged on it. Iterations have none that stays: what it had received and
nobody saw would go back in front, but whoever takes such messages one by one gets them in another order.
"""

import time
from collections.abc import Sequence
from typing import Final

from unimq.driver import POLL_GRACE
from unimq.errors import Timeout
from unimq_activemq.frames import Frame, encode
from unimq_activemq.mapping import destination
from unimq_activemq.wire import Subscription, Wire

__all__ = ["Taken", "Taker", "Token"]

Taken = tuple[Subscription, Frame]
Token = tuple[str, str]
"""A subscription's id, and the name by which the broker wants the message acknowledged."""

_POLL: Final = 0.25
"""Seconds of waiting below which the fence comes first; with more, a message that is there arrives before the end."""
_WORTH_WAITING: Final = 0.002
"""Seconds below which a queue that was found empty is not waited for."""
_FIRST: Final = 10
_CHUNK: Final = 100
"""How many subscriptions are tried at a time, at first and later, when many messages are wanted."""
_FENCE: Final = {"browser": "true", "ack": "auto", "selector": "1=0"}


class Taker:
    """The subscriptions of one session."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._turn = 0
        self._interrupted = False

    def take(self, queues: Sequence[str], limit: int, deadline: float) -> list[Taken]:
        """Up to `limit` messages, each with its subscription; none at the deadline, or when interrupted."""
        self._interrupted = False
        turned = self._turned(queues)
        if deadline - time.monotonic() < _POLL:
            taken = self._poll(turned, min(limit, _FIRST), self._grace(deadline))
            if len(taken) == min(limit, _FIRST):
                self._more(turned, limit, taken)
            if taken:
                return taken
        if deadline - time.monotonic() < _WORTH_WAITING:
            return []
        taken = self._wait(turned, deadline)
        if taken:
            self._more(turned, limit, taken)
        return taken

    def _turned(self, queues: Sequence[str]) -> list[str]:
        """The next one first, or a busy queue would starve the others."""
        self._turn = (self._turn + 1) % len(queues)
        return [*queues[self._turn :], *queues[: self._turn]]

    def _more(self, queues: Sequence[str], limit: int, taken: list[Taken]) -> None:
        """Add to `taken` what else is there, up to `limit`."""
        chunk = _FIRST
        while len(taken) < limit:
            wanted = min(chunk, limit - len(taken))
            found = self._poll(queues, wanted, self._grace(0.0))
            taken += found
            if len(found) < wanted:
                return
            chunk = _CHUNK

    @staticmethod
    def _grace(deadline: float) -> float:
        return max(deadline, time.monotonic()) + POLL_GRACE

    def _wait(self, queues: Sequence[str], deadline: float) -> list[Taken]:
        """The message that comes first."""
        subscriptions = [self._new(queue) for queue in queues]
        self._wire.write(b"".join(map(_subscribe, subscriptions)), deadline)
        self._wire.wait(lambda: self._interrupted or any(one.frames for one in subscriptions), deadline)
        return self._keep(subscriptions, 1, self._grace(0.0))

    def _poll(self, queues: Sequence[str], wanted: int, until: float) -> list[Taken]:
        """What is there, up to `wanted` messages."""
        subscriptions = [self._new(queues[number % len(queues)]) for number in range(max(wanted, len(queues)))]
        self._fence(queues, subscriptions, wanted, until)
        return self._keep(subscriptions, wanted, until)

    def _fence(self, queues: Sequence[str], subscriptions: Sequence[Subscription], wanted: int, until: float) -> None:
        """Subscribe, and wait until what is there has come, or `wanted` messages have.

        The fence is a browser with a selector that no message matches: its end comes after what was dispatched to the
        subscriptions before it. Neither a receipt of SUBSCRIBE nor an empty transaction does.
        """
        wire = self._wire
        fences = [self._new(queue) for queue in queues]
        wire.write(b"".join([*map(_subscribe, subscriptions), *[_subscribe(one, _FENCE) for one in fences]]), until)

        def done() -> bool:
            return all(one.ended for one in fences) or sum(len(one.frames) for one in subscriptions) >= wanted

        if not wire.wait(done, until):
            msg = "the broker did not say in time what is in the queue"
            raise Timeout(msg)
        wire.write(b"".join(self._end(one) for one in fences), until)

    def _keep(self, subscriptions: Sequence[Subscription], wanted: int, until: float) -> list[Taken]:
        """The first messages that came. The other subscriptions end, with what has come to them."""
        kept = [one for one in subscriptions if one.frames][:wanted]
        self._end_all([one for one in subscriptions if one not in kept], until)
        return [(one, one.take()) for one in kept]

    def _end_all(self, subscriptions: Sequence[Subscription], until: float) -> None:
        """End them. Until the broker says that they have ended, they hold messages that nobody else can get."""
        if subscriptions:
            receipt = self._wire.receipt()
            frames = [self._end(one, receipt if one is subscriptions[-1] else None) for one in subscriptions]
            self._wire.write(b"".join(frames), until)
            self._wire.answers([receipt], until)

    def take_at_once(self, queue: str, wanted: int, until: float) -> list[Token]:
        """Up to `wanted` messages over one subscription: all of them must be settled together."""
        one = self._new(queue, wanted)
        self._fence([queue], [one], wanted, until)
        one.is_over = True
        tokens: list[Token] = []
        while one.frames and len(tokens) < wanted:
            tokens.append((one.id, one.take().headers["ack"]))
        if not tokens:
            self._end_all([one], until)
        return tokens

    # Settling

    def holds(self, token: Token) -> bool:
        """Whether the message of that token is in hand here."""
        one = self._wire.subscriptions.get(token[0])
        return one is not None and token[1] in one.held

    def has(self, message: str) -> bool:
        """Whether the message of that id, the broker's, is in hand here."""
        return any(message in one.held.values() for one in list(self._wire.subscriptions.values()))

    def acks(self, tokens: Sequence[Token], receipt: str) -> bytes:
        """What to write to acknowledge them, the receipt on the last frame.

        Where a subscription ends with it, the receipt is its end's: until then, the next message may be on its way to
        it, and nobody else would get it.
        """
        frames: list[tuple[str, dict[str, str]]] = []
        for token in tokens:
            frames.append(("ACK", {"id": token[1]}))
            frames += self.done(token)
        command, headers = frames[-1]
        frames[-1] = command, {**headers, "receipt": receipt}
        return b"".join([encode(command, headers) for command, headers in frames])

    def done(self, token: Token) -> list[tuple[str, dict[str, str]]]:
        """Forget a message that is settled; the frame that ends its subscription, where that is over."""
        one = self._wire.subscriptions[token[0]]
        del one.held[token[1]]
        if one.held or not one.is_over:
            return []
        del self._wire.subscriptions[one.id]
        return [("UNSUBSCRIBE", {"id": one.id})]

    # Subscriptions

    def _new(self, queue: str, prefetch: int = 1) -> Subscription:
        subscription = Subscription(self._wire.name(), destination(queue), queue, prefetch)
        subscription.is_over = prefetch == 1  # with its one message
        self._wire.subscriptions[subscription.id] = subscription
        return subscription

    def open(self, where: str, headers: dict[str, str], until: float) -> Subscription:
        """Subscribe to a destination in another way than to take messages."""
        subscription = Subscription(self._wire.name(), where, where, 0)
        self._wire.subscriptions[subscription.id] = subscription
        self._wire.write(_subscribe(subscription, headers), until)
        return subscription

    def close(self, subscription: Subscription, until: float) -> None:
        """End what `open` began."""
        self._wire.write(self._end(subscription), until)

    def _end(self, subscription: Subscription, receipt: str | None = None) -> bytes:
        self._wire.subscriptions.pop(subscription.id, None)
        headers = {"id": subscription.id}
        return encode("UNSUBSCRIBE", headers if receipt is None else {**headers, "receipt": receipt})

    def interrupt(self) -> None:
        """End a wait for messages."""
        self._interrupted = True
        self._wire.wake()


def _subscribe(subscription: Subscription, headers: dict[str, str] | None = None) -> bytes:
    how = headers or {"ack": "client-individual", "activemq.prefetchSize": str(subscription.prefetch)}
    return encode("SUBSCRIBE", {"id": subscription.id, "destination": subscription.destination, **how})
