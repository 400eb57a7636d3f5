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
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast

from unimq import headers as reserved
from unimq.driver import Outgoing, Session
from unimq.errors import (
    BatchError,
    Closed,
    ConnectError,
    ConnectionLost,
    Empty,
    InvalidArgument,
    RemoteError,
    Timeout,
    TooLarge,
    UnimqError,
)
from unimq.message import Letter, Message, Receipt
from unimq.options import short, timeout_seconds
from unimq.sender import bodies_of, unsupported
from unimq.source import Cancellation

if TYPE_CHECKING:
    from unimq.aio import AsyncClient, AsyncQueue
    from unimq.channel import Channel
    from unimq.client import Client
    from unimq.queue import Queue

__all__ = ["Asked", "Caller", "Calling", "in_order", "reply_error", "sent_many"]

T = TypeVar("T")
R = TypeVar("R")

_LOOK: Final = 1.0
"""Seconds that one receive waits: an interrupt may come a moment too early, and a thread nobody needs is to end."""
_MOST: Final = 1000
"""Replies of one receive."""
_REMEMBERED: Final = 64
"""Reply queues of others that are kept at hand, so that not each reply has to make its own."""
_SHORT_ERROR: Final = 100
"""Characters of an error's text where a longer one does not fit."""
_REMOVAL: Final = 1.0
"""Seconds that the removal of the reply queue may take."""


class Asked(NamedTuple):
    """Requests that are to be sent, and the slot in which the reply to each is found."""

    messages: list[Outgoing]
    slots: list[Any]
    deadline: float


class _Waiting(NamedTuple):
    slot: Any
    channel: "Channel[Any]"
    """Where the request went."""


class Slot:
    """Where a thread waits for one reply."""

    __slots__ = ("_filled", "_outcome")

    def __init__(self) -> None:
        self._filled = threading.Event()
        self._outcome: Letter[Any] | BaseException | None = None

    def fill(self, outcome: "Letter[Any] | BaseException") -> None:
        """Let the one who waits have it."""
        self._outcome = outcome
        self._filled.set()

    def wait(self, until: float) -> "Letter[Any] | BaseException | None":
        """The reply, or what is raised in its place; `None` when there is none at `until`, a monotonic time."""
        self._filled.wait(max(0.0, until - time.monotonic()))
        return self._outcome


class Caller:
    """The calls of one client, and the reply queue that they share."""

    def __init__(self, client: "Client | AsyncClient") -> None:
        self._client = weakref.ref(client)  # one that nobody closed can be forgotten at once
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._name = f"replies.{os.urandom(12).hex()}"
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[str | None, _Waiting] = {}
        self._own: dict[str, Channel[Any]] = {}
        self._faces: dict[tuple[str, str], Queue[Any] | AsyncQueue[Any]] = {}
        self._cancellation = Cancellation()
        self._thread: threading.Thread | None = None
        self._closed = False

    # Asking

    @contextmanager
    def asking(
        self,
        channel: "Channel[T]",
        bodies: Iterable[T],
        headers: Mapping[str, str] | None,
        timeout: float | timedelta | None,
    ) -> Generator[Asked]:
        """What is to be sent for a call with each of `bodies`; replies are waited for until the block is left.

        Everything that can be refused is refused before any I/O. The requests expire when nobody waits any more.
        """
        channel.check_open()
        if not channel.capabilities.call:
            raise unsupported(channel, "call")
        if self._pid != os.getpid():
            self._forget()  # the replies to a parent's calls are the parent's
        lasts = _lasting(timeout, channel)
        deadline = time.monotonic() + lasts
        ttl = lasts if channel.capabilities.ttl else None
        requests = {
            number: channel.sender.build(body, headers, ttl=ttl, reply_to=self._name, correlation_id=number)
            for body, number in ((body, f"{next(self._numbers):x}") for body in bodies)
        }
        slots = {number: self.slot() for number in requests}
        self._expect({number: _Waiting(slot, channel) for number, slot in slots.items()}, channel)
        try:
            yield Asked(list(requests.values()), list(slots.values()), deadline)
        finally:
            with self._lock:
                for number in slots:
                    self._waiting.pop(number, None)

    def slot(self) -> Any:
        """Where one caller waits."""
        return Slot()

    def fill(self, found: "Sequence[tuple[Any, Letter[Any] | BaseException]]") -> None:
        """Let those who wait in these slots have what was found for each."""
        for slot, outcome in found:
            slot.fill(outcome)

    def too_late(self, channel: "Channel[Any]") -> Timeout:
        """The error of a call whose time is over."""
        trouble = self._cancellation.trouble
        why = "" if trouble is None else f"; replies could not be received: {trouble}"
        msg = f"call of queue {channel.name!r} of {channel.where}: no reply in time{why}"
        return Timeout(msg, in_doubt=True)

    # Replying

    def queue(self, name: str, codec: str) -> "Queue[Any] | AsyncQueue[Any]":
        """The queue on which somebody wants a reply."""
        found = self._faces.get((name, codec))
        if found is None:
            while len(self._faces) >= _REMEMBERED:
                with suppress(KeyError, RuntimeError):  # another thread was faster
                    self._faces.pop(next(iter(self._faces)))
            found = self._faces[name, codec] = self._made(name, codec)
        return found

    # Receiving

    def _expect(self, waiting: Mapping[str, _Waiting], channel: "Channel[Any]") -> None:
        with self._lock:
            if self._closed:
                raise channel.closed_error()
            self._waiting.update(waiting)
            if self._thread is None:
                replies = self._channel("raw")
                self._thread = threading.Thread(
                    target=self._receive, args=(replies,), name=f"unimq {self._name}", daemon=True
                )
                self._thread.start()

    def _receive(self, channel: "Channel[Any]") -> None:
        idle = False
        while self._goes_on(idle=idle):
            idle = False
            try:
                until = time.monotonic() + _LOOK
                letters = channel.receiver.hand_over(channel.receiver.fetch(_MOST, until, self._cancellation))
            except (ConnectError, ConnectionLost, Empty, Timeout):
                idle = True  # each caller has a deadline of its own
            except BaseException as error:  # noqa: BLE001 - belongs to those who wait, whatever it is
                self._end_all(error)
            else:
                self._deliver(letters)
                channel.settler.ack_many(letters)  # one that could not be removed comes again, to nobody

    def _goes_on(self, *, idle: bool) -> bool:
        with self._lock:
            if self._closed or (idle and not self._waiting):
                self._thread = None
            return self._thread is threading.current_thread()

    def _deliver(self, letters: "Sequence[Letter[Any]]") -> None:
        with self._lock:
            waiting = [self._waiting.pop(letter.correlation_id, None) for letter in letters]
        pairs = zip(waiting, letters, strict=True)
        self.fill([(one.slot, self._outcome(letter, one.channel)) for one, letter in pairs if one is not None])

    def _outcome(self, letter: "Letter[Any]", asked: "Channel[Any]") -> "Letter[Any] | UnimqError":
        if (error := letter.headers.get(reserved.ERROR)) is not None:
            return RemoteError(f"the worker on queue {asked.name!r} of {asked.where} failed: {error}")
        channel = self._channel(asked.codec.name)
        reply = channel.letter(channel, letter._link, letter._raw, letter._delivery)
        reply._claim.acquire()  # it is settled here
        return reply

    def _end_all(self, error: BaseException | None = None) -> None:
        """Let each call fail with `error`, or because the client was closed."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            self._thread = None
        self.fill([(one.slot, error or one.channel.closed_error()) for one in waiting.values()])

    def _channel(self, codec: str) -> "Channel[Any]":
        """The reply queue, whose messages are decoded as those of the queue that was asked."""
        if codec not in self._own:
            self._own[codec] = self._made(self._name, codec)._channel
        return self._own[codec]

    def _made(self, name: str, codec: str) -> "Queue[Any] | AsyncQueue[Any]":
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
        if thread is not None:
            thread.join(timeout=5.0)
        self._end_all()
        own, self._own = self._own, {}
        if own:
            with suppress(UnimqError):
                _remove(own["raw"])


class Calling(Generic[T]):
    """What a queue offers to those who want replies."""

    _channel: "Channel[T]"

    def call(
        self, body: T, *, timeout: float | timedelta | None = None, headers: Mapping[str, str] | None = None
    ) -> Message[Any]:
        """Put one message, wait for the reply to it, and return that: it is settled already.

        Whoever handles the message replies: a `Worker` with what its handler returns (not with `None`), anybody with
        `message.reply(...)`. The message expires when the time is over; a reply that comes later is dropped.

        Args:
            body: What the codec and `type=` take; the reply has the same codec, and no type.
            timeout: Seconds, put included; `?timeout=` (30) by default.
            headers: Short texts beside the body.

        Raises:
            Timeout: no reply came in time. The message may have been handled (`in_doubt`), or nobody looks for it.
            RemoteError: the worker gave it up: its handler failed for the last time, or rejected it.
            Unsupported: the backend cannot do this; nothing was sent.
            InvalidArgument, TooLarge, Full, ConnectError, ConnectionLost, ServerError: it could not be put.
        """
        return cast("Message[Any]", _one(self._ask([body], timeout, headers)))

    def call_many(
        self,
        bodies: Iterable[T],
        *,
        timeout: float | timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Message[Any]]:
        """Put many messages in few exchanges, wait for the reply to each, and return these in the same order.

        All bodies are checked and encoded before the first is sent. The other arguments hold for all, as for `call`.

        Raises:
            BatchError: some have no reply; `outcomes` has the reply or an error for each, in order.
            InvalidArgument, TooLarge, Unsupported: one of them cannot be sent; nothing was sent.
        """
        return cast("list[Message[Any]]", in_order(self._ask(bodies_of(bodies), timeout, headers)))

    def _ask(
        self, bodies: Iterable[T], timeout: float | timedelta | None, headers: Mapping[str, str] | None
    ) -> "list[Letter[Any] | BaseException]":
        channel = self._channel
        caller = channel.client.calls
        with caller.asking(channel, bodies, headers, timeout) as asked:
            sent = sent_many(channel, asked)
            waited = zip(sent, asked.slots, strict=True)
            return [
                one if isinstance(one, UnimqError) else slot.wait(asked.deadline) or caller.too_late(channel)
                for one, slot in waited
            ]


def sent_many(channel: "Channel[Any]", asked: Asked) -> "Sequence[Receipt | UnimqError]":
    """Send the requests; the outcome of each."""
    try:
        return channel.sender.send_many(asked.messages, None, asked.deadline)
    except BatchError as error:
        return cast("list[Receipt | UnimqError]", error.outcomes)


def in_order(outcomes: "Sequence[Letter[Any] | BaseException]") -> "list[Letter[Any]]":
    """The replies, if there is one to each request."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failed:
        msg = f"call_many: {len(failed)} of {len(outcomes)} have no reply, the first because: {failed[0]}"
        raise BatchError(msg, outcomes) from failed[0]
    return cast("list[Letter[Any]]", outcomes)


def _one(outcomes: "Sequence[Letter[Any] | BaseException]") -> "Letter[Any]":
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def reply_error(letter: "Letter[Any]", text: str) -> None:
    """Tell whoever wants a reply that there will be none, and why."""
    name, correlation_id = letter._reply_address()
    channel = letter._channel.client.calls.queue(name, letter._channel.settings.codec)._channel
    said = reserved.reason_text(text)
    about = {} if correlation_id is None else {reserved.CORRELATION_ID: correlation_id}
    for error in (said, said[:_SHORT_ERROR]):
        with suppress(TooLarge):
            message = Outgoing(b"", headers={**about, reserved.ERROR: error}, lease=channel.put_lease)
            channel.sender.send_one(channel.sender.encode(message), None, channel.deadline())
            return


def _lasting(timeout: float | timedelta | None, channel: "Channel[Any]") -> float:
    """The seconds of a call."""
    lasts = timeout_seconds(timeout)
    if lasts == 0:
        msg = f"timeout={short(timeout)}: must be more than 0 seconds, or no reply can come"
        raise InvalidArgument(msg)
    return channel.settings.timeout if lasts is None else lasts


def _remove(channel: "Channel[Any]") -> None:
    """Remove the queue, or at least what is in it."""

    def remove(session: Session, deadline: float) -> None:
        if session.capabilities.delete:
            session.delete(channel.name, deadline)
        elif session.capabilities.purge:
            session.purge(channel.name, deadline)

    channel.client.ask_hosts(remove, time.monotonic() + _REMOVAL)
