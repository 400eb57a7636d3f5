"""Taking messages: subscriptions for what is wanted, and the fence that tells an empty queue from a slow broker.

STOMP knows no credit, only a subscription's prefetch. So each receive has a subscription of its own, whose prefetch is
what is wanted. It stays while something of it is in hand, full, or narrowed where fewer came (see `holding`). Only an
iteration's goes on, and gets new messages for those that are settled.
"""

import time
from collections.abc import Sequence
from typing import Final

from unimq.driver import POLL_GRACE
from unimq.errors import Timeout
from unimq_activemq.frames import encode
from unimq_activemq.holding import FENCE, Holding, Taken, subscribe
from unimq_activemq.wire import Subscription, Wire

__all__ = ["Taker"]

_POLL: Final = 0.25
"""Seconds of waiting below which the fence comes first; with more, a message that is there arrives before the end."""
_PAUSE: Final = 0.05
"""Seconds between two rounds of polls."""
_WORTH_WAITING: Final = 0.002
"""Seconds below which a queue that was found empty is not waited for."""


class Taker:
    """The receives of one session."""

    def __init__(self, wire: Wire, holding: Holding, *, one_by_one: bool = False) -> None:
        """With `one_by_one` no queue is asked for what may not be taken: it would go back marked as delivered."""
        self._one_by_one = one_by_one
        self._wire = wire
        self._holding = holding
        self._turn = 0
        self._interrupted = False
        self._flows: dict[str, Subscription] = {}
        """By their queues, the subscriptions of iterations."""

    def take(self, queues: Sequence[str], limit: int, deadline: float) -> list[Taken]:
        """Up to `limit` messages; none at the deadline, or when interrupted. Ends the iterations."""
        self._interrupted = False
        if self._flows:
            self.stop(list(self._flows), _grace(deadline))
        turned = self._turned(queues)
        if self._one_by_one and len(queues) > 1:
            return self._first_of(turned, limit, deadline)
        if deadline - time.monotonic() < _POLL and (taken := self._poll(turned, limit, _grace(deadline))):
            return taken
        if deadline - time.monotonic() < _WORTH_WAITING:
            return []
        taken = self._wait(turned, deadline)
        if taken and limit > 1:
            taken += self._poll(turned, limit - 1, _grace(0.0))
        return taken

    def _first_of(self, queues: Sequence[str], limit: int, deadline: float) -> list[Taken]:
        """What the first queue has that has something: polled one after the other, round by round."""
        while True:
            for queue in queues:
                if taken := self._some(queue, limit, _grace(deadline)):
                    return taken
            rest = deadline - time.monotonic()
            if rest < _WORTH_WAITING or self._interrupted:
                return []
            self._wire.wait(lambda: self._interrupted, time.monotonic() + min(rest, _PAUSE))

    def _turned(self, queues: Sequence[str]) -> list[str]:
        """The next one first, or a busy queue would starve the others."""
        self._turn = (self._turn + 1) % len(queues)
        return [*queues[self._turn :], *queues[: self._turn]]

    def _poll(self, queues: Sequence[str], wanted: int, until: float) -> list[Taken]:
        """What is there, up to `wanted` messages: of several queues, one of each at first."""
        if len(queues) == 1:
            return self._some(queues[0], wanted, until)
        ones = [self._holding.new(queue, 1) for queue in queues]
        self._fence(ones, wanted, until)
        taken = self._keep(ones, wanted, until)
        for queue in [one.queue for _, one, _ in taken]:
            if len(taken) < wanted:
                taken += self._some(queue, wanted - len(taken), until)
        return taken

    def _some(self, queue: str, wanted: int, until: float) -> list[Taken]:
        """What is in one queue. Fewer than wanted leave room at their subscription, and are narrowed."""
        holding = self._holding
        taken = self.take_at_once(queue, wanted, until)
        if len(taken) in (0, wanted):
            return taken
        holding.narrow(taken[0][1], [token for token, _, _ in taken], until)
        return [one for one in taken if holding.holds(one[0])]

    def take_at_once(self, queue: str, wanted: int, until: float) -> list[Taken]:
        """What is in one queue, over one subscription. Fewer than wanted leave room there: settle all of them now."""
        one = self._holding.new(queue, wanted)
        self._fence([one], wanted, until)
        taken = self._holding.take(one, wanted)
        if not taken:
            self._holding.end([one], until)
        return taken

    def _wait(self, queues: Sequence[str], deadline: float) -> list[Taken]:
        """The message that comes first."""
        ones = [self._holding.new(queue, 1) for queue in queues]
        self._wire.write(b"".join(map(_taking, ones)), deadline)
        self._wire.wait(lambda: self._interrupted or any(one.frames for one in ones), deadline)
        return self._keep(ones, 1, _grace(0.0))

    def _keep(self, ones: Sequence[Subscription], wanted: int, until: float) -> list[Taken]:
        """The first messages that came. The other subscriptions end, with what has come to them."""
        kept = [one for one in ones if one.frames][:wanted]
        self._holding.end([one for one in ones if one not in kept], until)
        return [taken for one in kept for taken in self._holding.take(one, 1)]

    def _fence(self, ones: Sequence[Subscription], wanted: int, until: float, *, told: bool = False) -> None:
        """Subscribe, unless the broker was `told`, and wait until what is there has come, or `wanted` messages have."""
        wire = self._wire
        fences = [self._holding.new(one.queue, 0) for one in ones]
        frames = [] if told else [*map(_taking, ones)]
        wire.write(b"".join([*frames, *[subscribe(one.id, one.destination, FENCE) for one in fences]]), until)

        def done() -> bool:
            return all(one.ended for one in fences) or sum(len(one.frames) for one in ones) >= wanted

        if not wire.wait(done, until):
            msg = "the broker did not say in time what is in the queue"
            raise Timeout(msg)
        for one in fences:
            self.close(one, until)

    # Iterations

    def go_on(self, queue: str, limit: int, deadline: float) -> list[Taken]:
        """As `take`, of one queue for an iteration: up to `limit` messages come while it deals with these."""
        self._interrupted = False
        flow = self._flows.get(queue)
        told = flow is not None
        if flow is None or flow.prefetch != limit or len(flow.held) >= limit:
            self.stop([queue], _grace(deadline))
            self._flows[queue] = flow = self._holding.new(queue, limit)
            flow.flows, told = True, False
        if not flow.frames:
            self._flow(flow, deadline, told=told)
        return self._holding.take(flow, limit)

    def _flow(self, flow: Subscription, deadline: float, *, told: bool) -> None:
        """Wait for the first message of it.

        The poll of one that has just begun anew asks twice: a broker that is busy with what the end of the other one
        gave back may serve a browser before the subscription that stands before it, which has its turn in the next
        round.
        """
        if deadline - time.monotonic() < _POLL:
            self._fence([flow], 1, _grace(deadline), told=told)
            if not told and not flow.frames:
                self._fence([flow], 1, _grace(deadline), told=True)
        elif not told:
            self._wire.write(_taking(flow), deadline)
        if not flow.frames and deadline - time.monotonic() > _WORTH_WAITING:
            self._wire.wait(lambda: self._interrupted or flow.frames or not flow.flows, deadline)

    def stop(self, queues: Sequence[str], deadline: float) -> None:
        """The iterations over these queues are over."""
        for flow in [self._flows.pop(queue) for queue in queues if queue in self._flows]:
            with self._holding.settling:
                self._holding.stop(flow, deadline)
            self._wire.wake()  # another thread may have gone on with it

    # Subscriptions for other purposes

    def open(self, where: str, headers: dict[str, str], until: float) -> Subscription:
        """Subscribe to a destination in another way than to take messages."""
        one = Subscription(self._wire.name(), where, where, 0)
        self._wire.subscriptions[one.id] = one
        self._wire.write(subscribe(one.id, where, headers), until)
        return one

    def close(self, one: Subscription, until: float) -> None:
        """End what `open` began."""
        self._wire.subscriptions.pop(one.id, None)
        self._wire.write(encode("UNSUBSCRIBE", {"id": one.id}), until)

    def interrupt(self) -> None:
        """End a wait for messages."""
        self._interrupted = True
        self._wire.wake()


def _grace(deadline: float) -> float:
    return max(deadline, time.monotonic()) + POLL_GRACE


def _taking(one: Subscription) -> bytes:
    how = {"ack": "client-individual", "activemq.prefetchSize": str(one.prefetch)}
    return subscribe(one.id, one.destination, how)
