"""A producer or a consumer that writes down what it does: `python -m unimq.testing.workload producer QUEUE FILE SEED`.

Each line of the file is an event with the time of the machine's monotonic clock, a word and the body of a message:
`put` before it is tried, then `stored` or `refused`; `got`; `ack` before it is tried, then `acked` or `missed`. An
outcome that is in doubt has no second line, and neither has one that a kill cut off. Each line is in the file before
the next step is taken, so that a kill -9 takes nothing back. The URL comes by `UNIMQ_URL`, out of other users' sight.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any, Final

from unimq.errors import BatchError, Empty, UnimqError
from unimq.queue import Queue, connect

__all__ = ["Log"]

_BATCH: Final = 10
_MOST_PAUSE: Final = 0.02
"""Seconds between two puts, at most, and in which a consumer works on what it took, so that kills find it at work."""


class Log:
    """A file of events; lines from one process are in order."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, event: str, names: Iterable[str]) -> None:
        """Note the same event for each of some messages."""
        now = time.monotonic()
        os.write(self._file, "".join(f"{now} {event} {name}\n" for name in names).encode())


class _Stop:
    """Set by SIGTERM; what was begun is finished first."""

    def __init__(self) -> None:
        self.set = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.set = True


def _note(log: Log, names: Sequence[str], call: Callable[[], object], done: str, failed: str) -> None:
    """Make a call for some messages, and note what is certain about each."""
    try:
        call()
    except BatchError as error:
        outcomes: Sequence[object] = error.outcomes
    except UnimqError as error:
        outcomes = [error] * len(names)
    else:
        outcomes = [None] * len(names)
    certain = [failed if isinstance(one, UnimqError) else done for one in outcomes]
    for name, one, word in zip(names, outcomes, certain, strict=True):
        if not (isinstance(one, UnimqError) and one.in_doubt):
            log.write(word, [name])
    if failed in certain:
        time.sleep(_MOST_PAUSE)  # a server that is away is not asked without a pause


def _produce(queue: Queue[Any], log: Log, dice: random.Random, stop: _Stop) -> None:
    number = 0
    while not stop.set:
        names = [f"{os.getpid()}-{number + step}" for step in range(dice.choice((1, 1, 1, _BATCH)))]
        number += len(names)
        log.write("put", names)
        if len(names) == 1:
            _note(log, names, lambda names=names: queue.put(names[0]), "stored", "refused")  # type: ignore[misc]
        else:
            _note(log, names, lambda names=names: queue.put_many(names), "stored", "refused")  # type: ignore[misc]
        time.sleep(dice.uniform(0, _MOST_PAUSE))


def _consume(queue: Queue[Any], log: Log, dice: random.Random, stop: _Stop) -> None:
    while not stop.set:
        try:
            messages = queue.get_many(dice.choice((1, 1, _BATCH)), timeout=0.5)
        except Empty:
            continue
        except UnimqError:
            time.sleep(_MOST_PAUSE)
            continue
        names = [message.body for message in messages]
        log.write("got", names)
        time.sleep(dice.uniform(0, _MOST_PAUSE))
        log.write("ack", names)
        _note(log, names, lambda messages=messages: queue.ack(messages), "acked", "missed")  # type: ignore[misc]


def _main(part: str, name: str, path: str, seed: str) -> None:
    play = {"producer": _produce, "consumer": _consume}[part]
    with connect() as client, client.queue(name) as queue:
        play(queue, Log(path), random.Random(int(seed)), _Stop())  # noqa: S311 - no secret


if __name__ == "__main__":
    _main(*sys.argv[1:])
