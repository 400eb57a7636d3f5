"""Request and reply: a call puts a message that says where its reply is wanted, and waits until that comes.

The callers of one client share a reply queue, with a random name, that lives as long as the client. One thread receives
for all of them and hands each reply to its caller by the correlation id; a reply that nobody waits for any more is
dropped. The thread ends when nobody has waited for a second.
"""

import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from queue import Empty as NothingCame
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

from unimq import headers as reserved
from unimq.answering import Progress
from unimq.direct import Asked, Direct, Found, is_direct
from unimq.driver import Delivery, Outgoing, Session
from unimq.endpoint import Endpoint
from unimq.errors import (
    BatchError,
    Closed,
    ConnectError,
    ConnectionLost,
    Empty,
    InvalidArgument,
    RemoteError,
    Timeout,
    UnimqError,
)
from unimq.message import BaseMessage
from unimq.options import short, timeout_seconds
from unimq.outcomes import like
from unimq.receipts import Receipt
from unimq.replies import private_name
from unimq.source import Cancellation
from unimq.sweeping import sweep

__all__ = ["Asked", "Caller", "Client", "Listener", "Reported"]

T = TypeVar("T")
R = TypeVar("R")

_LOOK: Final = 1.0
"""Seconds that one receive waits: an interrupt may come a moment too early, and a thread nobody needs is to end."""
_MOST: Final = 1000
"""Replies of one receive."""
_REMEMBERED: Final = 64
"""Reply queues of others that are kept at hand, so that not each reply has to make its own."""
_REMOVAL: Final = 1.0
"""Seconds that the removal of the reply queue may take."""


Listener = Callable[[int, int], object]
"""Is told how much of how much is done."""


class Reported(NamedTuple):
    """A progress, and who wants to know of it."""

    listener: Listener
    progress: Progress

    def tell(self) -> None:
        """Tell it."""
        self.listener(*self.progress)


class _Waiting(NamedTuple):
    slot: Any
    endpoint: Endpoint[Any]
    """Where the request went."""
    listener: Listener | None


class Slot:
    """Where a thread waits for one reply."""

    __slots__ = ("_outcomes",)

    def __init__(self) -> None:
        self._outcomes: SimpleQueue[BaseMessage[Any] | Reported | BaseException] = SimpleQueue()

    def fill(self, outcome: BaseMessage[Any] | Reported | BaseException) -> None:
        """Let the one who waits have it."""
        self._outcomes.put(outcome)

    def wait(self, until: float) -> BaseMessage[Any] | BaseException | None:
        """The reply, or what is raised in its place; `None` when there is none at `until`, a monotonic time.

        What is reported meanwhile is told here, in the thread that waits; what a listener raises is raised.
        """
        while True:
            try:
                outcome = self._outcomes.get(timeout=max(0.0, until - time.monotonic()))
            except NothingCame:
                return None
            if not isinstance(outcome, Reported):
                return outcome
            outcome.tell()


class _Queue(Protocol):
    """A queue of either face."""

    _endpoint: Endpoint[Any]


class Client(Protocol):
    """A client of either face, which makes the reply queue and those on which others want replies."""

    def queue(self, name: str, *, codec: str) -> _Queue:
        """The queue of that name."""
        ...


class Caller:
    """The calls of one client, and the reply queue that they share."""

    def __init__(self, client: Client) -> None:
        self._client = weakref.ref(client)  # one that nobody closed can be forgotten at once
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._name = private_name()
        self._swept = False
        self._lock = threading.Condition()
        self._direct = Direct(self._lock)
        self._numbers = itertools.count(1)
        self._waiting: dict[str | None, _Waiting] = {}
        self._own: dict[str, Endpoint[Any]] = {}
        self._faces: dict[tuple[str, str], _Queue] = {}
        self._cancellation = Cancellation()
        self._thread: threading.Thread | None = None
        self._closed = False

    # Asking

    @contextmanager
    def asking(
        self,
        endpoint: Endpoint[T],
        bodies: Iterable[T],
        headers: Mapping[str, str] | None,
        timeout: float | timedelta | None,
        listener: Listener | None = None,
    ) -> Generator[Asked]:
        """What is to be sent for a call with each of `bodies`; replies are waited for until the block is left.

        Everything that can be refused is refused before any I/O. The requests expire when nobody waits any more.
        """
        endpoint.check_open()
        if not endpoint.capabilities.call:
            endpoint.refuse("call")
        if listener is not None and not endpoint.capabilities.progress:
            endpoint.refuse("progress")
        if self._pid != os.getpid():
            self._forget()  # the replies to a parent's calls are the parent's
        lasts = _lasting(timeout, endpoint)
        deadline = time.monotonic() + lasts
        ttl = lasts if endpoint.capabilities.ttl else None
        about: dict[str, Any] = {} if is_direct(endpoint) else {"ttl": ttl, "reply_to": self._name}
        requests: dict[str, Outgoing] = {}
        for body in bodies:
            number = f"{next(self._numbers):x}"
            if about:
                about["correlation_id"] = number
            requests[number] = endpoint.sender.build(body, headers, **about)
        slots = {number: self.slot() for number in requests}
        self._expect({number: _Waiting(slot, endpoint, listener) for number, slot in slots.items()}, endpoint)
        try:
            yield Asked(list(requests), list(requests.values()), list(slots.values()), deadline)
        finally:
            with self._lock:
                left = [number for number in slots if self._waiting.pop(number, None) is not None]
            self._direct.forget(left)

    def send(self, endpoint: Endpoint[Any], asked: Asked) -> Sequence[Receipt | UnimqError | None]:
        """Send the requests; an error for each that was not."""
        if is_direct(endpoint):
            return self._direct.ask(endpoint.name, asked, lambda: self._waiting.keys().isdisjoint(asked.numbers))
        try:
            return endpoint.sender.send_many(asked.messages, None, asked.deadline)
        except BatchError as error:
            return cast("list[Receipt | UnimqError]", error.outcomes)

    def slot(self) -> Any:
        """Where one caller waits."""
        return Slot()

    def fill(self, found: Sequence[tuple[Any, BaseMessage[Any] | Reported | BaseException]]) -> None:
        """Let those who wait in these slots have what was found for each."""
        for slot, outcome in found:
            slot.fill(outcome)

    def too_late(self, endpoint: Endpoint[Any]) -> Timeout:
        """The error of a call whose time is over."""
        trouble = self._cancellation.trouble
        why = "" if trouble is None else f"; replies could not be received: {trouble}"
        msg = f"call of queue {endpoint.shown!r} of {endpoint.where}: no reply in time{why}"
        return Timeout(msg, in_doubt=True)

    # Replying

    def queue(self, name: str, codec: str) -> Endpoint[Any]:
        """The queue on which somebody wants a reply."""
        found = self._faces.get((name, codec))
        if found is None:
            while len(self._faces) >= _REMEMBERED:
                with suppress(KeyError, RuntimeError):  # another thread was faster
                    self._faces.pop(next(iter(self._faces)))
            found = self._faces[name, codec] = self._made(name, codec)
        return found._endpoint

    # Receiving

    def _expect(self, waiting: Mapping[str, _Waiting], endpoint: Endpoint[Any]) -> None:
        with self._lock:
            if self._closed:
                raise endpoint.closed_error()
            self._waiting.update(waiting)
            if self._thread is None:
                receive = self._listen if is_direct(endpoint) else self._receive
                self._thread = threading.Thread(
                    target=receive, args=(self._endpoint("raw"),), name=f"unimq {self._name}", daemon=True
                )
                self._thread.start()

    def _receive(self, endpoint: Endpoint[Any]) -> None:
        idle = False
        while self._goes_on(idle):
            idle = False
            try:
                until = time.monotonic() + _LOOK
                messages = endpoint.receiver.deliver(endpoint.receiver.fetch(_MOST, until, self._cancellation))
            except (ConnectError, ConnectionLost, Empty, Timeout):
                idle = True  # each caller has a deadline of its own
            except BaseException as error:  # noqa: BLE001 - belongs to those who wait, whatever it is
                self._end_all(error)
            else:
                self._deliver(messages)
                endpoint.settler.ack_many(messages)  # one that could not be removed comes again, to nobody
                self._sweep(endpoint)

    def _sweep(self, own: Endpoint[Any]) -> None:
        """Once: clean up after others, who could not."""
        if not self._swept:
            self._swept = True
            sweep(own, lambda name: self._made(name, "raw")._endpoint)

    def _listen(self, endpoint: Endpoint[Any]) -> None:
        try:
            self._direct.listen(endpoint.pool, self._name, self._goes_on, self._answered)
        except BaseException as error:  # noqa: BLE001 - belongs to those who wait, whatever it is
            self._end_all(error)

    def _goes_on(self, idle: bool) -> bool:  # noqa: FBT001 - called in one place
        with self._lock:
            if self._closed or (idle and not self._waiting):
                self._thread = None
                self._direct.leave()
            return self._thread is threading.current_thread()

    def _answered(self, found: Found) -> None:
        with self._lock:
            waiting = [
                self._waiting.get(number) if isinstance(reply, Progress) else self._waiting.pop(number, None)
                for number, reply in found
            ]
        pairs = zip(waiting, found, strict=True)
        outcomes = [(one.slot, self._direct_outcome(reply, one)) for one, (_, reply) in pairs if one is not None]
        self.fill([(slot, outcome) for slot, outcome in outcomes if outcome is not None])

    def _direct_outcome(
        self, reply: Delivery | Progress | UnimqError, one: _Waiting
    ) -> BaseMessage[Any] | Reported | UnimqError | None:
        if isinstance(reply, Progress):
            return None if one.listener is None else Reported(one.listener, reply)
        asked = one.endpoint
        if isinstance(reply, RemoteError):
            return _failed(asked, str(reply) or "it said no more")
        if isinstance(reply, UnimqError):
            return reply
        endpoint = self._endpoint(asked.codec.name)
        message = endpoint.message_type(endpoint, None, reply, *endpoint.decode(reply))
        message._claim.take(endpoint)  # it is settled here
        return message

    def _deliver(self, messages: Sequence[BaseMessage[Any]]) -> None:
        with self._lock:
            waiting = [self._waiting.pop(message.correlation_id, None) for message in messages]
        pairs = zip(waiting, messages, strict=True)
        self.fill([(one.slot, self._outcome(message, one.endpoint)) for one, message in pairs if one is not None])

    def _outcome(self, message: BaseMessage[Any], asked: Endpoint[Any]) -> BaseMessage[Any] | UnimqError:
        if (error := message.headers.get(reserved.ERROR)) is not None:
            return _failed(asked, error)
        endpoint = self._endpoint(asked.codec.name)
        reply = endpoint.message_type(endpoint, message._session, message._raw, message._delivery)
        reply._claim.take(endpoint)  # it is settled here
        return reply

    def _end_all(self, error: BaseException | None = None) -> None:
        """Let each call fail with `error`, or because the client was closed."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            self._thread = None
            self._direct.leave()
        self.fill([(one.slot, like(error) if error else one.endpoint.closed_error()) for one in waiting.values()])

    def _endpoint(self, codec: str) -> Endpoint[Any]:
        """The reply queue, whose messages are decoded as those of the queue that was asked."""
        if codec not in self._own:
            self._own[codec] = self._made(self._name, codec)._endpoint
        return self._own[codec]

    def _made(self, name: str, codec: str) -> _Queue:
        client = self._client()
        if client is None:
            msg = f"queue {name!r}: its client was forgotten: keep it as long as its messages are replied to"
            raise Closed(msg)
        return client.queue(name, codec=codec)

    # Ending

    def close(self) -> None:
        """Fail the calls that wait, and remove the reply queue as far as the backend can. Idempotent."""
        with self._lock:
            thread, self._closed = self._thread, True
        if self._pid != os.getpid():
            return
        self._cancellation.cancel()
        self._direct.interrupt()
        if thread is not None:
            thread.join(timeout=5.0)
        self._end_all()
        own, self._own = self._own, {}
        if own:
            with suppress(UnimqError):
                _remove(own["raw"])


def _failed(asked: Endpoint[Any], why: str) -> RemoteError:
    return RemoteError(f"the worker on queue {asked.shown!r} of {asked.where} failed: {why}")


def _lasting(timeout: float | timedelta | None, endpoint: Endpoint[Any]) -> float:
    """The seconds of a call."""
    lasts = timeout_seconds(timeout)
    if lasts == 0:
        msg = f"timeout={short(timeout)}: must be more than 0 seconds, or no reply can come"
        raise InvalidArgument(msg)
    return endpoint.settings.timeout if lasts is None else lasts


def _remove(endpoint: Endpoint[Any]) -> None:
    """Remove the queue, or at least what is in it."""

    def remove(session: Session, deadline: float) -> None:
        if session.capabilities.delete:
            session.delete(endpoint.name, deadline)
        elif session.capabilities.purge:
            session.purge(endpoint.name, deadline)

    endpoint.pool.ask_hosts(remove, time.monotonic() + _REMOVAL)
