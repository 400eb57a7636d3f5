"""Outcomes: what became of each member of a batch, as values, and how the one of a single call is raised."""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

from unimq.errors import BatchError, ConnectError, ConnectionLost, Timeout, UnimqError

__all__ = [
    "ends_session",
    "errors_of",
    "in_parts",
    "is_unsent",
    "like",
    "outcome_of",
    "raise_failures",
    "raise_one",
    "raise_unsent",
    "the_one",
]

T = TypeVar("T")
K = TypeVar("K")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)


def raise_one(outcomes: Sequence[object]) -> None:
    """Raise the one outcome, if it is an error."""
    if isinstance(outcomes[0], UnimqError):
        raise outcomes[0]


def ends_session(error: BaseException) -> bool:
    """Whether a session that was left with `error` may not be used again: all but an orderly refusal."""
    return not isinstance(error, UnimqError) or error.ends_session


def like(error: E) -> E:
    """Another exception that says the same: each of those that one failure concerns raises, and adds notes to, its own.

    It is `error` itself where its class does not let it be copied.
    """
    try:
        made = copy.copy(error)
    except Exception:  # noqa: BLE001 - of whatever class, its __init__ may ask for anything
        return error
    if notes := getattr(error, "__notes__", None):
        made.__notes__ = [*notes]
    made.__cause__, made.__context__ = error.__cause__, error.__context__
    made.__suppress_context__ = error.__suppress_context__
    return made.with_traceback(error.__traceback__)


def is_unsent(outcome: object) -> bool:
    """Whether the way there was broken before anything was sent: it may be sent again, on another way."""
    return isinstance(outcome, (ConnectError, ConnectionLost, Timeout)) and not outcome.in_doubt


def raise_unsent(outcomes: Sequence[object]) -> None:
    """Raise the first, where all were unsent: nothing of the call has left, and that is for the pool to deal with."""
    first = outcomes[0]
    if isinstance(first, UnimqError) and all(map(is_unsent, outcomes)):
        raise first


def the_one(outcomes: Sequence[R | UnimqError]) -> R:
    """The one outcome, raised if it is an error."""
    (outcome,) = outcomes
    if isinstance(outcome, UnimqError):
        raise outcome
    return outcome


def errors_of(outcomes: Sequence[object]) -> list[UnimqError | None]:
    """What went wrong, without the ids of what went well."""
    return [outcome if isinstance(outcome, UnimqError) else None for outcome in outcomes]


def in_parts(
    members: Sequence[T],
    kind: Callable[[T], K],
    settle: Callable[[K, Sequence[T]], Sequence[R]],
) -> list[R]:
    """Settle those of each kind together; the outcome of each, in the order given."""
    kinds = [kind(member) for member in members]
    if kinds and kinds.count(kinds[0]) == len(kinds):  # as a rule
        return [result for _, result in zip(members, settle(kinds[0], members), strict=True)]
    parts: dict[K, list[int]] = {}
    for position, key in enumerate(kinds):
        parts.setdefault(key, []).append(position)
    outcomes: dict[int, R] = {}
    for key, positions in parts.items():
        results = settle(key, [members[position] for position in positions])
        outcomes.update(zip(positions, results, strict=True))
    return [outcomes[position] for position in range(len(members))]


def outcome_of(call: Callable[..., object], *arguments: object) -> UnimqError | None:
    """What a call raised, or `None`."""
    try:
        call(*arguments)
    except UnimqError as error:
        return error
    return None


def raise_failures(what: str, outcomes: Sequence[UnimqError | None]) -> None:
    """Raise a `BatchError` when any member failed."""
    failed = [outcome for outcome in outcomes if outcome is not None]
    if failed:
        msg = f"{what}: {len(failed)} of {len(outcomes)} failed, the first with: {failed[0]}"
        raise BatchError(msg, outcomes)
