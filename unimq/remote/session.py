"""A session of the driver contract whose server is a holder at the other end of a wire.

One request is under way at a time. A fetch waits at the holder, in slices that show that both sides live; it is stopped
there before `receive` returns, so that nothing is on its way to nobody.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

import msgspec

from unimq.capabilities import CAPABILITY_NAMES, Capabilities, absent
from unimq.driver import BaseSession, Delivery, Outgoing, Settling, Stats
from unimq.errors import ConnectionLost, InvalidURL, ProtocolError, Timeout, UnimqError
from unimq.remote import frames
from unimq.remote.checks import as_held
from unimq.remote.frames import Held, Problem
from unimq.version import __version__

__all__ = ["RemoteSession", "Wire"]

T = TypeVar("T")

_GRACE: Final = 0.1
_POLL_GRACE: Final = 1.0
_SLICE: Final = 5.0
"""Seconds that a fetch waits at the holder before it is asked again."""
_STOP_WITHIN: Final = 1.0
"""Seconds for the answer to a stop."""

_welcome: Final = msgspec.msgpack.Decoder(frames.Welcome).decode
_deliveries: Final = msgspec.msgpack.Decoder(list[Delivery]).decode
_ids: Final = msgspec.msgpack.Decoder(list[str | Problem | None]).decode
_nones: Final = msgspec.msgpack.Decoder(list[Problem | None]).decode
_floats: Final = msgspec.msgpack.Decoder(list[float | Problem]).decode
_stats: Final = msgspec.msgpack.Decoder(Stats).decode
_text: Final = msgspec.msgpack.Decoder(str).decode
_texts: Final = msgspec.msgpack.Decoder(list[str]).decode
_bool: Final = msgspec.msgpack.Decoder(bool).decode
_int: Final = msgspec.msgpack.Decoder(int).decode
_none: Final = msgspec.msgpack.Decoder(None).decode


class Wire(Protocol):
    """A connection that carries frames both ways, each whole, in order, or not at all."""

    def send(self, frame: bytes) -> None:
        """Send it, without waiting. Raises `ConnectionLost`, not in doubt, when the connection is known to be gone."""
        ...

    def receive(self, until: float) -> bytes | None:
        """The next frame; `None` at `until` (monotonic seconds), or when interrupted. Raises `ConnectionLost`."""
        ...

    def interrupt(self) -> None:
        """Make a `receive` that waits in another thread return. Harmless when nothing waits."""
        ...

    def close(self) -> None:
        """End it, within a second; what was sent before still goes out if it can. Idempotent."""
        ...


class RemoteSession(BaseSession):
    """A session on a holder's store."""

    settling: Settling = "any-session"

    def __init__(self, wire: Wire, declared: Capabilities, store: str, where: str, max_size: int | None) -> None:
        self.capabilities = declared
        self.server = ""
        """What answers, in its own words."""
        self._wire = wire
        self._store = store
        self._where = where
        self._max_size = max_size
        self._numbers = itertools.count(1)
        self._waits = False
        self._interrupted = False

    def meet(self, deadline: float) -> None:
        """Make sure that the right store is there, and learn what it can do.

        Raises:
            InvalidURL: another store is served there than `?store=` says.
        """
        welcome = self._ask(frames.Hello(f"unimq {__version__}"), _welcome, deadline)
        if welcome.store != self._store:
            msg = f"{self._where}: the store that is served there is {welcome.store}, add ?store={welcome.store}"
            raise InvalidURL(msg)
        self.server = welcome.server
        declared = self.capabilities
        # What is layered is done on this side, with whatever store.
        native = {name for name in CAPABILITY_NAMES if declared[name].level == "native"}
        lost: dict[str, Any] = {name: absent("not at this holder") for name in native.difference(welcome.can)}
        body = min(welcome.largest_body, declared.limits.body or welcome.largest_body)
        self.capabilities = replace(declared, limits=replace(declared.limits, body=body), **lost)

    # Asking

    def _ask(
        self, operation: frames.Operation, decode: Callable[[Any], T], deadline: float, *, in_doubt: bool = False
    ) -> T:
        """The value that answers `operation`. `in_doubt`: what to say when no answer comes."""
        budget = max(0.0, deadline - time.monotonic())
        number = self._request(operation, budget)
        try:
            value = self._answer(number, deadline + _GRACE if budget else time.monotonic() + _POLL_GRACE)
        except ConnectionLost as error:
            error.in_doubt = in_doubt
            raise
        if value is None:
            msg = f"{self._where}: no answer in time"
            raise Timeout(msg, in_doubt=in_doubt)
        return self._decoded(decode, value)

    def _request(self, operation: frames.Operation, budget: float) -> int:
        number = next(self._numbers)
        self._wire.send(frames.encode((frames.VERSION, number, None if budget == math.inf else budget, operation)))
        return number

    def _answer(self, number: int, until: float) -> msgspec.Raw | None:
        """The value that answers `number`; `None` at `until` or when a fetch was interrupted."""
        while not self._interrupted:
            frame = self._wire.receive(until)
            if frame is None:
                if (self._waits and self._interrupted) or time.monotonic() >= until:
                    return None
                continue
            answered, ok, value = frames.value_of(frame)
            if answered == number:
                if not ok:
                    raise frames.problem_of(value)
                return value
        return None

    def _decoded(self, decode: Callable[[Any], T], value: msgspec.Raw) -> T:
        try:
            return decode(value)
        except (ValueError, RecursionError) as error:
            msg = f"{self._where}: the holder answered with something else: {error}"
            raise ProtocolError(msg) from error

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Send them in few frames."""
        outcomes: list[str | UnimqError | None] = []
        for part in frames.split([frames.size_of(message) for message in messages]):
            chunk = list(messages[part])
            try:
                found = self._ask(frames.Send(queue, chunk, self._max_size), _ids, deadline, in_doubt=True)
            except UnimqError as error:
                if not outcomes:
                    raise
                outcomes += [error] * len(chunk)
                rest = len(messages) - len(outcomes)
                outcomes += [ConnectionLost(f"{self._where}: not sent, because of: {error}")] * rest
                break
            outcomes += self._outcomes(found, len(chunk))
        return outcomes

    def _outcomes(self, found: Sequence[T | Problem], count: int) -> list[T | UnimqError]:
        if len(found) != count:
            msg = f"{self._where}: the holder gave {len(found)} outcomes for {count}"
            raise ProtocolError(msg)
        return [one.error() if isinstance(one, Problem) else one for one in found]

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Fetch, waiting at the holder."""
        self._waits = True
        try:
            while True:
                wait = min(max(0.0, deadline - time.monotonic()), _SLICE)
                number = self._request(frames.Fetch(list(queues), limit, lease, wait), wait)
                found = self._fetched(number, wait)
                if found or self._interrupted or time.monotonic() >= deadline:
                    return found
        finally:
            self._waits = self._interrupted = False

    def _fetched(self, number: int, wait: float) -> Sequence[Delivery]:
        try:
            value = self._answer(number, time.monotonic() + wait + _POLL_GRACE)
            if value is None and self._interrupted:
                value = self._stopped(number)
        except UnimqError:
            raise
        except BaseException:
            # An exception from outside: whoever waited is gone, and what was sent for it goes back.
            with contextlib.suppress(UnimqError):
                self._wire.send(self._stop_frame(number, undo=True))
            raise
        if value is None:
            msg = f"{self._where}: the holder is silent"
            raise ConnectionLost(msg)
        now = time.monotonic()
        found = self._decoded(_deliveries, value)
        for one in found:
            if one.lease_until is not None:
                msgspec.structs.force_setattr(one, "lease_until", now + one.lease_until)
        return found

    def _stopped(self, number: int) -> msgspec.Raw | None:
        """Stop that fetch; the value is none, or the messages that were on their way."""
        self._wire.send(self._stop_frame(number, undo=False))
        self._interrupted = False
        try:
            return self._answer(number, time.monotonic() + _STOP_WITHIN)
        finally:
            self._interrupted = True

    def _stop_frame(self, number: int, *, undo: bool) -> bytes:
        return frames.encode((frames.VERSION, next(self._numbers), 0.0, frames.Stop(number, undo)))

    # Settling

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove them."""
        found = self._ask(frames.Ack(_held(deliveries)), _nones, deadline, in_doubt=True)
        return self._outcomes(found, len(deliveries))

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        """Give them back."""
        found = self._ask(frames.Release(_held(deliveries), delay, unseen), _nones, deadline, in_doubt=True)
        return self._outcomes(found, len(deliveries))

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Store the messages and settle the deliveries."""
        held = [(as_held(delivery), message) for delivery, message in pairs]
        return self._outcomes(self._ask(frames.Move(queue, held), _ids, deadline, in_doubt=True), len(pairs))

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        """Prolong the leases."""
        found = self._ask(frames.Extend(_held(deliveries), seconds), _floats, deadline)
        return self._outcomes(found, len(deliveries))

    # Looking after it

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """Look."""
        return self._ask(frames.Peek(queue, limit), _deliveries, deadline)

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        """Remove one that nobody holds."""
        return self._ask(frames.Cancel(queue, message_id), _bool, deadline)

    def stats(self, queue: str, deadline: float) -> Stats:
        """Count."""
        return self._ask(frames.StatsOf(queue), _stats, deadline)

    def purge(self, queue: str, deadline: float) -> int:
        """Remove what nobody holds."""
        return self._ask(frames.Purge(queue), _int, deadline)

    def delete(self, queue: str, deadline: float) -> None:
        """Remove all of it."""
        self._ask(frames.Delete(queue), _none, deadline)

    def queues(self, deadline: float) -> Sequence[str]:
        """List them."""
        return self._ask(frames.Queues(), _texts, deadline)

    # The connection

    def ping(self, deadline: float) -> str:
        """A round trip to the store behind the holder."""
        return self._ask(frames.Ping(), _text, deadline)

    def interrupt(self) -> None:
        """Stop the fetch that waits."""
        if self._waits:
            self._interrupted = True
            self._wire.interrupt()

    def close(self) -> None:
        """End the connection."""
        self._wire.close()


def _held(deliveries: Iterable[Delivery]) -> list[Held]:
    return [as_held(delivery) for delivery in deliveries]
