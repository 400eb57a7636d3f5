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
from unimq.hosts import Link
from unimq.message import Letter

__all__ = [
    "Call",
    "ack_all",
    "ack_here",
    "ack_one",
    "check_over",
    "claim",
    "granted",
    "link_of",
    "lost",
    "on_holder",
    "raws",
    "refusal",
    "settled_by",
]

R = TypeVar("R")

Call = Callable[[Session, Sequence[Letter[Any]], float], Sequence[object]]
"""Settles letters of one session; an outcome for each, which is an error or something else."""


def claim(letter: Letter[Any], me: object) -> Link:
    """Let `me` be the one who settles it; the link that it came over.

    Whoever is interrupted, at whatever moment, asks by `me` whether there is a claim to give back.
    """
    link = letter._link
    if link is None:
        raise _only_peeked(letter)
    if not letter.is_inherited and letter._claim.setdefault(0, me) is me:  # taken, without the cost of a call
        return link
    raise refusal(letter)


def refusal(letter: Letter[Any]) -> UnimqError:
    """Why it cannot be settled: it is in hand no more."""
    if letter.is_inherited:
        return lost(letter, "it is in the hands of the process that forked this one")
    if letter._lost:
        return lost(letter, "its lease ended")
    return AlreadySettled(f"message {letter.id!r} of queue {letter.queue!r} was settled before")


def link_of(letter: Letter[Any]) -> Link:
    """The link that it came over."""
    if letter._link is None:
        raise _only_peeked(letter)
    return letter._link


def settled_by(letter: Letter[Any]) -> object:
    """What must be asked to settle it: its session, or any of its host."""
    link = link_of(letter)
    return link.host if link.anywhere else link


def lost(letter: Letter[Any], why: str) -> LeaseLost:
    """The error for what is no longer in hand."""
    return LeaseLost(f"message {letter.id!r} of queue {letter.queue!r} is no longer yours to settle: {why}")


def _only_peeked(letter: Letter[Any]) -> InvalidArgument:
    return InvalidArgument(f"message {letter.id!r} of queue {letter.queue!r} was only peeked at: get it to settle it")


def on_holder(link: Link, asked: tuple[Letter[Any], Callable[[Session, Letter[Any], float], R], float]) -> R:
    """Run a call about a letter with `link`, which must hold it, and learns when it does no more."""
    letter, call, deadline = asked
    token = letter._raw.token
    if not link.holds(letter._raw):
        raise lost(letter, "it was delivered again")
    try:
        return call(link.session, letter, deadline)
    except LeaseLost:
        link.held.pop(token, None)
        raise


def ack_here(link: Link, asked: tuple[Letter[Any], float]) -> None:
    """Remove a letter, on the session that it came over."""
    letter, deadline = asked
    on_holder(link, (letter, _ack, deadline))
    link.held.pop(letter._raw.token, None)


def ack_one(link: Link, asked: tuple[Letter[Any], float]) -> None:
    """Remove a letter, on any session of its host."""
    _ack(link.session, *asked)


def _ack(session: Session, letter: Letter[Any], deadline: float) -> None:
    outcome = session.ack((letter._raw,), deadline)[0]
    if outcome is not None:
        raise outcome


def ack_all(session: Session, letters: Sequence[Letter[Any]], deadline: float) -> Sequence[object]:
    """Remove letters."""
    return session.ack(raws(letters), deadline)


def raws(letters: Sequence[Letter[Any]]) -> list[Delivery]:
    """Their deliveries, as they came."""
    return [letter._raw for letter in letters]


def check_over(letter: Letter[Any]) -> None:
    """Refuse to end a lease that was prolonged just now."""
    if letter.lease_remaining:
        msg = f"message {letter.id!r} of queue {letter.queue!r} is in hand for longer"
        raise UnimqError(msg)


def granted(letter: Letter[Any], seconds: float) -> float:
    """Note a lease that the server has prolonged."""
    letter.lease_until = until = time.monotonic() + seconds
    letter._raw = raw = msgspec.structs.replace(letter._raw, lease_until=until)
    held = link_of(letter).held
    if raw.token in held:
        held[raw.token] = raw
    return seconds
