"""What is in hand: settling it, and giving it back, without a message on its way that nobody asked for.

A subscription gets as many messages as its prefetch says, and an acknowledgement makes room for the next, though its
consumer has asked for none. STOMP has no word against that; two things of ActiveMQ's help. While an exclusive consumer
is there nobody else gets messages: one whose selector matches none guards what is acknowledged until its subscription
has ended. And a subscription whose selector names messages by their ids gets no others: what is settled in parts is
narrowed to one of those. Its consumer has the highest priority, so that nobody is faster.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from unimq.errors import Timeout
from unimq_activemq.frames import Frame, encode
from unimq_activemq.mapping import destination, is_expired
from unimq_activemq.wire import Subscription, Token, Wire

__all__ = ["FENCE", "Holding", "Taken", "subscribe"]

Taken = tuple[Token, Subscription, Frame]

FENCE: Final = {"browser": "true", "ack": "auto", "selector": "1=0"}
"""A browser that shows nothing: its end comes after what was dispatched to the subscriptions before it. Neither a
receipt of SUBSCRIBE nor an empty transaction does."""
_TAKING: Final = {"ack": "client-individual"}
_GUARD: Final = {**_TAKING, "activemq.prefetchSize": "1", "activemq.exclusive": "true", "selector": "1=0"}
_NARROW: Final = {**_TAKING, "activemq.priority": "127"}
_SELECTOR: Final = 6000
"""Characters of ids in one selector: a broker takes header lines of 10 KiB, and colons are escaped."""

_GONE: Final = 1.0
"""Seconds after which what was in hand, and has not been delivered again, is somebody else's."""
_ASK_AGAIN: Final = 0.01
"""Seconds until the next look whether another session still guards the queue."""

_Command = tuple[str, dict[str, str]]


class Holding:
    """What one session has in hand."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._subscriptions: dict[Token, Subscription] = {}
        self._taking = threading.Lock()
        self.settling = threading.Lock()
        """Held while something is settled or given back, by whoever does that: a receive that ends an iteration may
        come beside a settlement."""
        self.guards_all = False
        """Whether nothing may come on its way to a subscription that ends, whatever that costs."""

    def new(self, queue: str, prefetch: int) -> Subscription:
        """A subscription, not yet told to the broker."""
        one = Subscription(self._wire.name(), destination(queue), queue, prefetch)
        self._wire.subscriptions[one.id] = one
        return one

    def take(self, one: Subscription, most: int) -> list[Taken]:
        """What has come for it, up to `most`: in hand from now on."""
        taken: list[Taken] = []
        with self._taking:
            while one.frames and len(taken) < most and one.id in self._wire.subscriptions:
                frame = one.frames.popleft()
                token = one.id, frame.headers["ack"]
                one.held[token] = frame
                self._subscriptions[token] = one
                taken.append((token, one, frame))
        return taken

    def holds(self, token: Token) -> bool:
        """Whether the message of that token is in hand here."""
        return token in self._subscriptions

    def has(self, message: str) -> bool:
        """Whether the message of that id, the broker's, is in hand here."""
        held = [frame for one in list(self._wire.subscriptions.values()) for frame in list(one.held.values())]
        return any(frame.headers["message-id"] == message for frame in held)

    # Settling

    def part(self, tokens: Collection[Token], deadline: float, *, one_by_one: bool = False) -> None:
        """Prepare to settle these: where others came with them, or where it is done one by one, none come instead."""
        for one, mine in self._by_subscription(tokens):
            if self._needs_guard(one) and (one_by_one or len(mine) < len(one.held)):
                self.narrow(one, one.held.keys(), deadline)

    def acks(self, tokens: Sequence[Token], receipt: str) -> bytes:
        """What to write to acknowledge them, the receipt on the last frame: when all subscriptions of it have ended."""
        guards = {one.queue: self._wire.name() for one, _ in self._by_subscription(tokens) if self._needs_guard(one)}
        frames: list[_Command] = []
        for token in tokens:
            frames.append(("ACK", {"id": self.name(token)}))
            frames += self.done(token)
        frames += [("UNSUBSCRIBE", {"id": guard}) for guard in guards.values()]
        command, headers = frames[-1]
        frames[-1] = command, {**headers, "receipt": receipt}
        before = [subscribe(guard, destination(queue), _GUARD) for queue, guard in guards.items()]
        return b"".join([*before, *[encode(command, headers) for command, headers in frames]])

    def _needs_guard(self, one: Subscription) -> bool:
        """Whether what its acknowledgement lets come would go back to another place.

        What goes back waits before all others, in the order of its return. One message at a time is in its place then,
        unless there are others already: what came was given back by somebody, and not by an end of ours.
        """
        if one.flows or not one.takes_more:
            return False
        return one.prefetch > 1 or self.guards_all or any(self.came_back(frame) for frame in one.held.values())

    def came_back(self, frame: Frame) -> bool:
        """Whether somebody else had it before; it may be that nobody has seen it there."""
        return "redelivered" in frame.headers and frame.headers["message-id"] not in self._wire.strays

    def name(self, token: Token) -> str:
        """By what name the broker wants it acknowledged."""
        return self._subscriptions[token].held[token].headers["ack"]

    def done(self, token: Token) -> list[_Command]:
        """Forget a message that is settled; the frame that ends its subscription, where that is over."""
        one = self._subscriptions.pop(token)
        del one.held[token]
        if one.held or one.flows:
            return []
        if one.prefetch == 1:
            self._wire.ended.append(one.id)
        return [self._end(one)]

    # Giving back

    def give_back(self, tokens: Sequence[Token], deadline: float) -> None:
        """As if nobody had got them. What an iteration goes on with, it gets again."""
        for one, mine in self._by_subscription(tokens):
            if one.flows:
                with self._taking:
                    one.frames.extendleft([self._forgotten(token) for token in reversed(mine)])
            else:
                self.narrow(one, one.held.keys() - set(mine), deadline)

    def stop(self, one: Subscription, deadline: float) -> None:
        """An iteration is over: what it has in hand stays there, the rest goes back."""
        with self._taking:
            one.flows = False
        self.narrow(one, one.held.keys(), deadline)

    def narrow(self, one: Subscription, keep: Collection[Token], deadline: float) -> None:
        """Keep these, and give back what else has come, to the front and in order; then nothing more comes.

        What is kept is delivered again, to subscriptions that get nothing else.
        """
        with self._taking:
            kept = {frame.headers["message-id"]: (token, frame) for token, frame in one.held.items() if token in keep}
            for token in list(one.held):
                self._forgotten(token)
            self._wire.subscriptions.pop(one.id, None)
        if not kept:
            self.end([one], deadline)
            return
        parts = [self.new(one.queue, len(ids)) for ids in _parts(kept)]
        wire, guard, receipt = self._wire, self._wire.name(), self._wire.receipt()
        frames = [subscribe(guard, one.destination, _GUARD)]
        for part, ids in zip(parts, _parts(kept), strict=True):
            part.takes_more = False
            how = {"activemq.prefetchSize": str(part.prefetch), "selector": f"JMSMessageID IN ({','.join(ids)})"}
            frames.append(subscribe(part.id, part.destination, {**_NARROW, **how}))
        ends = [self._end(one), ("UNSUBSCRIBE", {"id": guard, "receipt": receipt})]
        frames += [encode(command, headers) for command, headers in ends]
        wire.write(b"".join(frames), deadline)
        self._await(parts, {message: frame for message, (_, frame) in kept.items()}, deadline)
        wire.answers([receipt], deadline)
        for part in parts:
            while part.frames:
                frame = part.frames.popleft()
                token, _ = kept[frame.headers["message-id"]]
                part.held[token] = frame
                self._subscriptions[token] = part
        self.end([part for part in parts if not part.held], deadline)

    def _await(self, parts: Sequence[Subscription], wanted: Mapping[str, Frame], deadline: float) -> None:
        """Wait until what is `wanted` has come to its subscriptions.

        A fence may come before it: while another session guards the queue nobody gets anything. So it is asked again,
        until all is there that has not expired; what has not come after a second has gone to somebody else.
        """
        wire, give_up = self._wire, time.monotonic() + _GONE

        def is_there() -> bool:
            return all(len(part.frames) == part.prefetch for part in parts)

        while True:
            fence = self.new(parts[0].queue, 0)
            wire.write(subscribe(fence.id, fence.destination, FENCE), deadline)
            if not wire.wait(lambda: fence.ended or is_there(), deadline):  # noqa: B023 - it is called in this round
                msg = "the broker did not deliver in time what was in hand"
                raise Timeout(msg)
            wire.write(encode(*self._end(fence)), deadline)
            come = {frame.headers["message-id"] for part in parts for frame in part.frames}
            is_done = all(message in come or is_expired(frame) for message, frame in wanted.items())
            if is_done or time.monotonic() >= give_up:
                return
            wire.wait(is_there, time.monotonic() + _ASK_AGAIN)

    def _forgotten(self, token: Token) -> Frame:
        return self._subscriptions.pop(token).held.pop(token)

    def end(self, subscriptions: Sequence[Subscription], deadline: float) -> None:
        """End them. Until the broker says that they have ended, they hold messages that nobody else can get."""
        if subscriptions:
            receipt = self._wire.receipt()
            ends = [self._end(one) for one in subscriptions]
            ends[-1][1]["receipt"] = receipt
            self._wire.write(b"".join([encode(command, headers) for command, headers in ends]), deadline)
            self._wire.answers([receipt], deadline)

    def _end(self, one: Subscription) -> _Command:
        self._wire.subscriptions.pop(one.id, None)
        return "UNSUBSCRIBE", {"id": one.id}

    def _by_subscription(self, tokens: Iterable[Token]) -> list[tuple[Subscription, list[Token]]]:
        found: dict[str, tuple[Subscription, list[Token]]] = {}
        for token in tokens:
            if token in self._subscriptions:
                one = self._subscriptions[token]
                found.setdefault(one.id, (one, []))[1].append(token)
        return list(found.values())


def subscribe(name: str, where: str, headers: Mapping[str, str]) -> bytes:
    """The frame."""
    return encode("SUBSCRIBE", {"id": name, "destination": where, **headers})


def _parts(ids: Iterable[str]) -> list[list[str]]:
    """Ids as a selector has them, in groups that fit into one."""
    parts: list[list[str]] = [[]]
    size = 0
    for one in ids:
        quoted = "'" + one.replace("'", "''") + "'"
        size += len(quoted)
        if size > _SELECTOR and parts[-1]:
            parts.append([])
            size = len(quoted)
        parts[-1].append(quoted)
    return parts
