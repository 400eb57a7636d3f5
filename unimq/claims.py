"""Who settles a message, and what is asked of its session for that.

A message is claimed before anything is sent, so that two threads cannot both settle it; a settlement that failed gives
the claim back, because the message is still in hand.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from unimq.driver import Delivery, Session
from unimq.errors import AlreadySettled, InvalidArgument, LeaseLost, UnimqError
from unimq.hosts import PooledSession
from unimq.message import BaseMessage

__all__ = [
    "Call",
    "ack_all",
    "ack_here",
    "ack_one",
    "check_over",
    "claim",
    "granted",
    "lost",
    "on_holder",
    "raws",
    "refusal",
    "session_of",
    "settled_by",
]

R = TypeVar("R")

Call = Callable[[Session, Sequence[BaseMessage[Any]], float], Sequence[object]]
"""Settles messages of one session; an outcome for each, which is an error or something else."""


def claim(message: BaseMessage[Any], me: object) -> PooledSession:
    """Let `me` be the one who settles it; the session that it came over.

    Whoever is interrupted, at whatever moment, asks by `me` whether there is a claim to give back.
    """
    pooled = message._session
    if pooled is None:
        raise _only_peeked(message)
    if not message.is_inherited and message._claim.setdefault(0, me) is me:  # taken, without the cost of a call
        return pooled
    raise refusal(message)


def refusal(message: BaseMessage[Any]) -> UnimqError:
    """Why it cannot be settled: it is in hand no more."""
    if message.is_inherited:
        return lost(message, "it is in the hands of the process that forked this one")
    if message._lost:
        return lost(message, "its lease ended")
    return AlreadySettled(f"message {message.id!r} of queue {message.queue!r} was settled before")


def session_of(message: BaseMessage[Any]) -> PooledSession:
    """The session that it came over."""
    if message._session is None:
        raise _only_peeked(message)
    return message._session


def settled_by(message: BaseMessage[Any]) -> object:
    """What must be asked to settle it: its session, or any of its host."""
    pooled = session_of(message)
    return pooled.host if pooled.anywhere else pooled


def lost(message: BaseMessage[Any], why: str) -> LeaseLost:
    """The error for what is no longer in hand."""
    return LeaseLost(f"message {message.id!r} of queue {message.queue!r} is no longer yours to settle: {why}")


def _only_peeked(message: BaseMessage[Any]) -> InvalidArgument:
    return InvalidArgument(f"message {message.id!r} of queue {message.queue!r} was only peeked at: get it to settle it")


def on_holder(
    pooled: PooledSession, asked: tuple[BaseMessage[Any], Callable[[Session, BaseMessage[Any], float], R], float]
) -> R:
    """Run a call about a message with `pooled`, which must hold it, and learns when it does no more."""
    message, call, deadline = asked
    token = message._raw.token
    if not pooled.holds(message._raw):
        raise lost(message, "it was delivered again")
    try:
        return call(pooled.session, message, deadline)
    except LeaseLost:
        pooled.held.pop(token, None)
        raise


def ack_here(pooled: PooledSession, asked: tuple[BaseMessage[Any], float]) -> None:
    """Remove a message, on the session that it came over."""
    message, deadline = asked
    on_holder(pooled, (message, _ack, deadline))
    pooled.held.pop(message._raw.token, None)


def ack_one(pooled: PooledSession, asked: tuple[BaseMessage[Any], float]) -> None:
    """Remove a message, on any session of its host."""
    _ack(pooled.session, *asked)


def _ack(session: Session, message: BaseMessage[Any], deadline: float) -> None:
    outcome = session.ack((message._raw,), deadline)[0]
    if outcome is not None:
        raise outcome


def ack_all(session: Session, messages: Sequence[BaseMessage[Any]], deadline: float) -> Sequence[object]:
    """Remove messages."""
    return session.ack(raws(messages), deadline)


def raws(messages: Sequence[BaseMessage[Any]]) -> list[Delivery]:
    """Their deliveries, as they came."""
    return [message._raw for message in messages]


def check_over(message: BaseMessage[Any]) -> None:
    """Refuse to end a lease that was prolonged just now."""
    if message.lease_remaining:
        msg = f"message {message.id!r} of queue {message.queue!r} is in hand for longer"
        raise UnimqError(msg)


def granted(message: BaseMessage[Any], seconds: float) -> float:
    """Note a lease that the server has prolonged."""
    message.lease_until = until = time.monotonic() + seconds
    message._raw = raw = msgspec.structs.replace(message._raw, lease_until=until)
    held = session_of(message).held
    if raw.token in held:
        held[raw.token] = raw
    return seconds
