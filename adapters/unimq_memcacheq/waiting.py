"""Waiting for what the server cannot announce: one look at a time for all that wait for the same queues in a process.

The one who looks does so with growing pauses; the others sleep until they are handed that job, and a put of the process
wakes the one who looks.
"""

import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

__all__ = ["Watch", "first_use", "forget", "ring", "was_used", "watch"]

R = TypeVar("R")

Server = tuple[str, int]

_FIRST_PAUSE: Final = 0.0005
_GROWTH: Final = 2.0


class Watch:
    """Those of this process that wait for the same queues of a server."""

    def __init__(self, keys: Sequence[tuple[Server, str]]) -> None:
        self.keys = keys
        self.waiting = 0
        self._turns = threading.Condition()
        self._looking = False
        self._silence = threading.Lock()
        """Held until somebody rings: a pause costs a third of what it would with a condition."""
        self._silence.acquire()

    def ring(self) -> None:
        """Something was put: let the one who looks do so now."""
        with suppress(RuntimeError):  # it rang before, and nobody has looked since
            self._silence.release()

    def give_up(self) -> None:
        """Somebody is to give up: let all see whether it is they."""
        self.ring()
        with self._turns:
            self._turns.notify_all()

    def until_found(self, look: Callable[[], R], ended: Callable[[], bool], deadline: float, most: float) -> R | None:
        """What the first `look` finds that finds anything; `None` at `deadline`, or when it is `ended`.

        `most` is the longest pause in seconds. Those whose turn it is not to look wait until it is.
        """
        with self._turn(ended, deadline) as mine:
            pause = _FIRST_PAUSE
            while mine and not ended() and time.monotonic() < deadline:
                found = look()
                if found:
                    return found
                rang = self._silence.acquire(timeout=max(0.0, min(pause, deadline - time.monotonic())))
                pause = _FIRST_PAUSE if rang else min(pause * _GROWTH, most)
            return None

    @contextmanager
    def _turn(self, ended: Callable[[], bool], deadline: float) -> Generator[bool]:
        """The job of looking; false when that did not come in time."""
        with self._turns:
            while self._looking and not ended():
                rest = deadline - time.monotonic()
                if rest <= 0:
                    break
                self._turns.wait(min(rest, threading.TIMEOUT_MAX))
            mine = not self._looking and not ended()
            self._looking = self._looking or mine
        try:
            yield mine
        finally:
            if mine:
                with self._turns:
                    self._looking = False
                    self._turns.notify_all()


class _Process:
    """What the sessions of this process have in common; a child begins anew."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.watches: dict[tuple[Server, frozenset[str]], Watch] = {}
        self.by_queue: dict[tuple[Server, str], tuple[Watch, ...]] = {}
        self.creating = threading.Lock()
        self.used: set[tuple[Server, str]] = set()


_process = _Process()


def _begin_anew() -> None:
    global _process  # noqa: PLW0603 - the parent's locks may be held for ever in the child
    _process = _Process()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_begin_anew)


@contextmanager
def watch(server: Server, queues: Sequence[str]) -> Generator[Watch]:
    """The watch of `queues`, for as long as somebody waits for them."""
    process = _process
    key = (server, frozenset(queues))
    with process.lock:
        mine = process.watches.get(key)
        if mine is None:
            mine = process.watches[key] = Watch([(server, queue) for queue in key[1]])
            for one in mine.keys:
                process.by_queue[one] = (*process.by_queue.get(one, ()), mine)
        mine.waiting += 1
    try:
        yield mine
    finally:
        with process.lock:
            mine.waiting -= 1
            if not mine.waiting:
                del process.watches[key]
                for one in mine.keys:
                    left = tuple(other for other in process.by_queue[one] if other is not mine)
                    if left:
                        process.by_queue[one] = left
                    else:
                        del process.by_queue[one]


def ring(server: Server, queue: str) -> None:
    """Tell those that wait for `queue` in this process that something was put."""
    for one in _process.by_queue.get((server, queue), ()):
        one.ring()


def was_used(server: Server, queue: str) -> bool:
    """Whether something was put there by this process, so that `first_use` is over."""
    return (server, queue) in _process.used


@contextmanager
def first_use(server: Server, queue: str, seconds: float) -> Generator[None]:
    """Let the first put to a queue in this process be alone, if it can be within `seconds`.

    Two at once make a server with several threads keep two handles of the queue, and hang at its deletion.
    """
    process = _process
    alone = process.creating.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))
    try:
        yield
        process.used.add((server, queue))
    finally:
        if alone:
            process.creating.release()


def forget(server: Server, queue: str) -> None:
    """The queue was deleted: its next put makes it again."""
    _process.used.discard((server, queue))
