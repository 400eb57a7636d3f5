"""Calls that the backend itself answers: asked on one session, which hands out the replies while anybody waits."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, cast

from unimq.answering import Answering, Progress
from unimq.driver import Delivery, Outgoing, Session
from unimq.errors import ConnectError, InvalidArgument, Timeout, UnimqError
from unimq.hosts import Host, PooledSession
from unimq.message import BaseMessage
from unimq.options import short
from unimq.outcomes import outcome_of, raise_one
from unimq.owner import Owner
from unimq.pool import NoneToWaitOn, Pool

__all__ = ["Asked", "Direct", "Found", "again", "answer", "answer_each", "is_direct", "reply_error", "report"]

_LOOK: Final = 1.0
"""Seconds that one wait for replies lasts."""
_MOST: Final = 2**53
"""The largest number of a progress."""

Found = Sequence[tuple[str, Delivery | Progress | UnimqError]]


class Asked(NamedTuple):
    """Requests that are to be sent, and the slot in which the reply to each is found."""

    numbers: list[str]
    messages: list[Outgoing]
    slots: list[Any]
    deadline: float


def is_direct(endpoint: Owner) -> bool:
    """Whether the backend itself brings the reply to whoever asked."""
    return endpoint.capabilities.call.level == "native"


class Direct:
    """The session on which the calls of one client are asked at the moment."""

    def __init__(self, changed: threading.Condition) -> None:
        """`changed` is held whenever anything here is looked at or changed, and told of it."""
        self._changed = changed
        self._session: Answering | None = None

    def ask(self, queue: str, asked: Asked, given_up: Callable[[], bool]) -> Sequence[UnimqError | None]:
        """Send requests to `queue`; what became of each. Those that `given_up` tells of have an error in their slot."""
        with self._changed:
            rest = max(0.0, asked.deadline - time.monotonic())
            self._changed.wait_for(lambda: self._session is not None or given_up(), rest)
            session = self._session
        if session is None:
            return [None] * len(asked.numbers)
        try:
            return session.ask(queue, list(zip(asked.numbers, asked.messages, strict=True)), asked.deadline)
        except UnimqError as error:
            return [error] * len(asked.numbers)

    def listen(self, pool: Pool, name: str, goes_on: Callable[[bool], bool], deliver: Callable[[Found], None]) -> None:
        """Hand out replies as long as that is wanted, on a session that can receive meanwhile nothing else.

        A host that cannot be reached is passed over.

        Raises:
            UnimqError: there is no such session, or it broke; the replies to what was asked on it are lost.
        """

        def run(pooled: PooledSession, _: object) -> None:
            session = cast("Answering", pooled.session)
            with self._changed:
                self._session = session
                self._changed.notify_all()
            idle = False
            while goes_on(idle):
                found = session.answers(time.monotonic() + _LOOK)
                idle = not found
                deliver(found)
            session.forget(())  # what is at rest may die unnoticed

        *others, last = pool.order()
        for host in others:
            try:
                return self._lent(pool, host, name, run)
            except ConnectError:
                continue
        return self._lent(pool, last, name, run)

    @staticmethod
    def _lent(pool: Pool, host: Host, name: str, run: Callable[[PooledSession, object], None]) -> None:
        try:
            pool.lend(host, time.monotonic() + _LOOK, run, None, None, "wait", (name,))
        except NoneToWaitOn:
            msg = f"{host.label}: no session was free for calls: all of ?max_sessions= wait for messages"
            raise Timeout(msg) from None

    def leave(self) -> None:
        """Nobody listens there any more. With `changed` held."""
        self._session = None
        self._changed.notify_all()

    def forget(self, numbers: Sequence[str]) -> None:
        """Nobody waits for these replies any more."""
        session = self._session
        if session is not None and numbers:
            session.forget(numbers)

    def interrupt(self) -> None:
        """Let the one who listens look again."""
        session = self._session
        if session is not None:
            session.interrupt()


def answer(message: BaseMessage[Any], outgoing: Outgoing, *, failed: bool = False) -> None:
    """Send the reply to whoever waits, if anybody does; `failed`: its header tells why there is none."""

    def reply(session: Session, message: BaseMessage[Any], deadline: float) -> None:
        raise_one([cast("Answering", session).reply(message._raw, outgoing, deadline, failed=failed)])

    message._endpoint.settler.with_session(message, reply)


def answer_each(replies: Sequence[tuple[BaseMessage[Any], Outgoing]]) -> list[UnimqError | None]:
    """Send replies to many; what became of each."""
    return [outcome_of(answer, message, outgoing) for message, outgoing in replies]


def again(message: BaseMessage[Any]) -> bool:
    """Whether another try should be made in hand, as somebody waits whose call would end if it was given back."""
    if not is_direct(message._endpoint):
        return False

    def ask(session: Session, message: BaseMessage[Any], deadline: float) -> bool:
        return cast("Answering", session).again(message._raw, deadline)

    return message._endpoint.settler.with_session(message, ask)


def report(message: BaseMessage[Any], done: int, total: int) -> None:
    """Tell whoever waits for the reply how far the work is."""
    if not message._endpoint.capabilities.progress:
        message._endpoint.refuse("progress")
    for name, value in (("done", done), ("total", total)):
        if type(value) is not int or not 0 <= value <= _MOST:
            msg = f"{name}={short(value)}: must be an int from 0 to {_MOST}"
            raise InvalidArgument(msg)

    def tell(session: Session, message: BaseMessage[Any], deadline: float) -> None:
        raise_one([cast("Answering", session).progress(message._raw, Progress(done, total), deadline)])

    message._endpoint.settler.with_session(message, tell)


def reply_error(message: BaseMessage[Any], text: str) -> None:
    """Tell whoever wants a reply that there will be none, and why."""
    message._endpoint.reply_error(message, text)
