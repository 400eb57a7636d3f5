"""Taking messages: subscriptions of prefetch 1, and the fence that tells an empty queue from a slow broker."""

import time
from collections.abc import Sequence
from typing import Final

from unimq.errors import Timeout
from unimq_activemq.frames import Frame, encode
from unimq_activemq.mapping import destination
from unimq_activemq.wire import GRACE, Subscription, Wire

__all__ = ["Taken", "Taker"]

Taken = tuple[Subscription, Frame]

_POLL: Final = 0.25
"""Seconds of waiting below which the fence comes first; with more, a message that is there arrives before the end."""
_WORTH_WAITING: Final = 0.002
"""Seconds below which a queue that was found empty is not waited for."""
_FIRST: Final = 10
_CHUNK: Final = 100
"""How many subscriptions are tried at a time, at first and later, when many messages are wanted."""


class Taker:
    """The subscriptions of one session."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._turn = 0
        self._interrupted = False

    def take(self, queues: Sequence[str], limit: int, deadline: float) -> list[Taken]:
        """Up to `limit` messages, each with its subscription; none at the deadline, or when interrupted."""
        self._interrupted = False
        # The next one first, or a busy queue would starve the others.
        self._turn = (self._turn + 1) % len(queues)
        turned = [*queues[self._turn :], *queues[: self._turn]]
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
        return max(deadline, time.monotonic()) + GRACE

    def _wait(self, queues: Sequence[str], deadline: float) -> list[Taken]:
        """The message that comes first."""
        subscriptions = [self._new(queue) for queue in queues]
        self._wire.write(b"".join(map(_subscribe, subscriptions)), deadline)
        self._wire.wait(lambda: self._interrupted or any(one.frames for one in subscriptions), deadline)
        return self._keep(subscriptions, 1, self._grace(0.0))

    def _poll(self, queues: Sequence[str], wanted: int, until: float) -> list[Taken]:
        """What is there, up to `wanted` messages.

        The fence is a browser with a selector that no message matches: its end comes after what was dispatched to the
        subscriptions before it. Neither a receipt of SUBSCRIBE nor an empty transaction does.
        """
        wire = self._wire
        subscriptions = [self._new(queues[number % len(queues)]) for number in range(max(wanted, len(queues)))]
        fences = [self._new(queue) for queue in queues]
        fence = {"browser": "true", "ack": "auto", "selector": "1=0"}
        frames = [*map(_subscribe, subscriptions), *[_subscribe(one, fence) for one in fences]]
        wire.write(b"".join(frames), until)

        def done() -> bool:
            return all(one.ended for one in fences) or sum(map(_is_there, subscriptions)) >= wanted

        if not wire.wait(done, until):
            msg = "the broker did not say in time what is in the queue"
            raise Timeout(msg)
        wire.write(b"".join(self.end(one.id) for one in fences), until)
        return self._keep(subscriptions, wanted, until)

    def _keep(self, subscriptions: Sequence[Subscription], wanted: int, until: float) -> list[Taken]:
        """The first messages that came. The other subscriptions end, with what has come to them."""
        wire = self._wire
        kept = [one for one in subscriptions if one.frames][:wanted]
        others = [one for one in subscriptions if one not in kept]
        if others:
            # Until the broker says that they have ended, they hold messages that nobody else can get.
            receipt = wire.receipt()
            wire.write(b"".join(self.end(one.id, receipt if one is others[-1] else None) for one in others), until)
            wire.answers([receipt], until)
        for one in kept:
            one.taken = one.frames[0].headers.get("message-id")
        return [(one, one.frames.popleft()) for one in kept]

    # Subscriptions

    def _new(self, queue: str) -> Subscription:
        subscription = Subscription(self._wire.name(), queue)
        self._wire.subscriptions[subscription.id] = subscription
        return subscription

    def open(self, queue: str, headers: dict[str, str], until: float) -> Subscription:
        """Subscribe to `queue` in another way than to take a message of it."""
        return self.listen(destination(queue), headers, until)

    def listen(self, where: str, headers: dict[str, str], until: float) -> Subscription:
        """Subscribe to any destination."""
        subscription = self._new(where)
        self._wire.write(encode("SUBSCRIBE", {"id": subscription.id, "destination": where, **headers}), until)
        return subscription

    def end(self, name: str, receipt: str | None = None) -> bytes:
        """What to write to end a subscription: what came over it and was not acknowledged goes back."""
        self._wire.subscriptions.pop(name, None)
        return encode("UNSUBSCRIBE", {"id": name} if receipt is None else {"id": name, "receipt": receipt})

    def holds(self, name: str) -> bool:
        """Whether that subscription has not ended."""
        return name in self._wire.subscriptions

    def has(self, message: str) -> bool:
        """Whether the message of that id, the broker's, is in hand here."""
        return any(one.taken == message for one in list(self._wire.subscriptions.values()))

    def interrupt(self) -> None:
        """End a wait for messages."""
        self._interrupted = True
        self._wire.wake()


_ONE: Final = {"ack": "client-individual", "activemq.prefetchSize": "1"}


def _subscribe(subscription: Subscription, headers: dict[str, str] = _ONE) -> bytes:
    return encode("SUBSCRIBE", {"id": subscription.id, "destination": destination(subscription.queue), **headers})


def _is_there(subscription: Subscription) -> bool:
    return bool(subscription.frames)
