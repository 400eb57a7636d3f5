"""What a queue offers to those who want replies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from unimq.calls import Caller, Listener
from unimq.endpoint import Endpoint
from unimq.errors import BatchError, UnimqError
from unimq.message import BaseMessage, Message
from unimq.sender import bodies_of

__all__ = ["Calling", "in_order"]

T = TypeVar("T")


class Calling(Generic[T]):
    """What a queue offers to those who want replies."""

    _endpoint: Endpoint[T]

    def call(
        self,
        body: T,
        *,
        timeout: float | timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> Message[Any]:
        """Put one message, wait for the reply to it, and return that: it is settled already.

        Whoever handles the message replies: a `Worker` with what its handler returns (not with `None`), anybody with
        `message.reply(...)`. The message expires when the time is over; a reply that comes later is dropped.

        Args:
            body: What the codec and `type=` take; the reply has the same codec, and no type.
            timeout: Seconds, put included; `?timeout=` (30) by default.
            headers: Short texts beside the body.
            on_progress: Called here, while this waits, with what the worker gives to `message.progress(done, total)`;
                on the asyncio face in the event loop. What it raises ends the call. Needs the capability *progress*.

        Raises:
            Timeout: no reply came in time. The message may have been handled (`in_doubt`), or nobody looks for it.
            RemoteError: the worker gave it up: its handler failed for the last time, or rejected it.
            Unsupported: the backend cannot do this; nothing was sent.
            InvalidArgument, TooLarge, Full, ConnectError, ConnectionLost, ServerError: it could not be put.
        """
        return cast("Message[Any]", _one(self._ask([body], timeout, headers, on_progress)))

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
        self,
        bodies: Iterable[T],
        timeout: float | timedelta | None,
        headers: Mapping[str, str] | None,
        on_progress: Listener | None = None,
    ) -> "list[BaseMessage[Any] | BaseException]":
        endpoint = self._endpoint
        caller: Caller = endpoint.client.calls
        with caller.asking(endpoint, bodies, headers, timeout, on_progress) as asked:
            sent = caller.send(endpoint, asked)
            waited = zip(sent, asked.slots, strict=True)
            return [
                one if isinstance(one, UnimqError) else slot.wait(asked.deadline) or caller.too_late(endpoint)
                for one, slot in waited
            ]


def in_order(outcomes: "Sequence[BaseMessage[Any] | BaseException]") -> "list[BaseMessage[Any]]":
    """The replies, if there is one to each request."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failed:
        msg = f"call_many: {len(failed)} of {len(outcomes)} have no reply, the first because: {failed[0]}"
        raise BatchError(msg, outcomes) from failed[0]
    return cast("list[BaseMessage[Any]]", outcomes)


def _one(outcomes: "Sequence[BaseMessage[Any] | BaseException]") -> "BaseMessage[Any]":
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
