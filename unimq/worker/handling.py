"""What becomes of one message: by how its handler ended, it is settled."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from unimq.direct import again, reply_error
from unimq.errors import InvalidMessage, LeaseLost, UnimqError
from unimq.message import BaseMessage, Message
from unimq.records import about
from unimq.worker.policy import Reject, RetryPolicy

if TYPE_CHECKING:
    from unimq.aio import AsyncMessage

__all__ = [
    "AsyncHandler",
    "AsyncMiddleware",
    "Fate",
    "Handler",
    "Middleware",
    "Settlement",
    "log",
    "pause_in_hand",
    "settlement",
    "tell",
    "tell_given_back",
    "unsendable",
    "unsettled",
]

Handler = Callable[[Message[Any]], object]
"""Works on a message. What it returns is the reply, where one is wanted; what it raises decides about the next try."""
Middleware = Callable[[Message[Any], Handler], object]
"""Called instead of the handler, with the message and what comes next: `return handler(message)` goes on."""
AsyncHandler = Callable[["AsyncMessage[Any]"], Awaitable[object]]
"""The same as a coroutine function."""
AsyncMiddleware = Callable[["AsyncMessage[Any]", AsyncHandler], Awaitable[object]]
"""The same: `return await handler(message)` goes on."""
Fate = Literal["done", "retried", "rejected", "lost"]
"""Acked (or settled by the handler itself); given back; in the dead letters; its settlement failed."""

log: Final = logging.getLogger("unimq.worker")


class Settlement:
    """How a message is to be settled: by the method `name` of it, with `arguments`; `None`: it is settled already.

    `why` it was given up is told, after that, to whoever wants a reply; `None`: there is nothing to tell.
    """

    __slots__ = ("arguments", "fate", "name", "why")

    def __init__(self, fate: Fate, name: str | None, *arguments: Any, why: str | None = None) -> None:
        self.fate: Fate = fate
        self.name = name
        self.arguments = arguments
        self.why = why


_DONE: Final = Settlement("done", "ack")
_LEFT_ALONE: Final = Settlement("done", None)


def settlement(
    message: BaseMessage[Any], error: Exception | None, policy: RetryPolicy, *, can_wait: bool
) -> Settlement:
    """What follows from how a handler ended; `can_wait`: the backend delays what it takes back."""
    if error is None:
        return _LEFT_ALONE if message.settled else _DONE
    if message.settled:
        extra = about("failed when settled", message)
        log.warning("%r was settled by its handler, which then failed", message, exc_info=error, extra=extra)
        return _LEFT_ALONE
    count = message.delivery_count
    if isinstance(error, InvalidMessage) or policy.is_last(error, count):
        log.error("%r is given up", message, exc_info=error, extra=about("rejected", message))
        return Settlement("rejected", "reject", _reason(error), _trace(error), why=_words(error))
    pause = policy.after(error, count) if can_wait else 0.0
    extra = about("retried", message, pause=pause)
    log.warning("%r failed and is tried again in %.1f s", message, pause, exc_info=error, extra=extra)
    return Settlement("retried", "nack", pause)


def pause_in_hand(message: BaseMessage[Any], error: Exception, policy: RetryPolicy) -> float | None:
    """Seconds until the next try of a message that stays in hand, as giving it back would end somebody's call.

    `None` where nobody waits in that way, or no other try is to be made.
    """
    count = message.delivery_count
    if message.settled or isinstance(error, InvalidMessage) or policy.is_last(error, count):
        return None
    try:
        if not again(message):
            return None
    except UnimqError:  # what settles it will say so
        return None
    pause = policy.after(error, count)
    extra = about("retried", message, pause=pause)
    log.warning("%r failed and is tried again in %.1f s, in hand", message, pause, exc_info=error, extra=extra)
    return pause


def unsettled(message: BaseMessage[Any], error: UnimqError) -> Fate:
    """Tell that a settlement failed: the message comes again."""
    if isinstance(error, LeaseLost):
        extra = about("lost", message)
        log.warning("%r was worked on, and is delivered again all the same: %s", message, error, extra=extra)
    else:
        log.warning("%r could not be settled: %s", message, error, extra=about("unsettled", message))
    return "lost"


def unsendable(message: BaseMessage[Any], error: UnimqError) -> str:
    """Why a reply cannot be sent: the handler is not called again, as it would return the same."""
    extra = about("unanswered", message)
    log.error("%r was worked on, and its reply cannot be sent", message, exc_info=error, extra=extra)
    return f"the reply cannot be sent: {error}"


def tell(message: BaseMessage[Any], why: str) -> None:
    """Tell who wants a reply why there is none. Where that fails they find out when their time is over."""
    if not message.may_be_answered:
        return
    try:
        reply_error(message, why)
    except UnimqError as error:
        extra = about("unanswered", message)
        log.warning("nobody could be told that %r was given up: %s", message, error, extra=extra)


def tell_given_back(message: BaseMessage[Any]) -> None:
    """Tell that a stop did not wait any longer."""
    log.warning("%r is given back: its handler did not end in time", message, extra=about("given back", message))


def _words(error: Exception) -> str:
    """The error in its own words, which is all of it that leaves this process."""
    return str(error) if isinstance(error, (Reject, InvalidMessage)) else f"{type(error).__name__}: {error}"


def _reason(error: Exception) -> str:
    """What a dead letter says: the error, and the last place that it came through."""
    said = _words(error)
    if isinstance(error, (Reject, InvalidMessage)):
        return said
    places = traceback.extract_tb(error.__traceback__)
    return f"{said} (at {places[-1].filename}:{places[-1].lineno}, in {places[-1].name})" if places else said


def _trace(error: Exception) -> str:
    """Where it came from, for the dead letter; what a handler said on purpose needs none."""
    return "" if isinstance(error, (Reject, InvalidMessage)) else "".join(traceback.format_exception(error))
