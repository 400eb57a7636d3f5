"""Other processes: a consumer that is killed, one that is interrupted. `python -m unimq.testing.processes` is one.

The URL reaches the child by its environment, where other users cannot read its password. A driver that was registered
in this process, and not by an entry point, is pickled along.
"""

import contextlib
import json
import os
import pickle
import queue as fifo
import signal
import subprocess
import sys
import threading
import time
import warnings
from importlib.metadata import entry_points
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self

from unimq import registry
from unimq.errors import ConnectError, UnimqError
from unimq.queue import connect

if TYPE_CHECKING:
    from unimq.testing.lab import Lab

__all__ = ["Child"]

_PATIENCE: Final = 20.0


class Child:
    """A process that plays one of the parts below on the case's queue, and tells about it line by line."""

    def __init__(self, part: str, lab: "Lab", **how: Any) -> None:
        """Start it; `how` are the arguments of `Client.queue`."""
        driver = None
        if not entry_points(group=registry.GROUP, name=lab.url.scheme):
            driver = pickle.dumps(registry.driver(lab.url.scheme)).hex()
        told = {"scheme": lab.url.scheme, "driver": driver, "name": lab.name, "how": how}
        environment = {
            **os.environ,
            "UNIMQ_URL": lab.url.reveal(),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with this module
            [sys.executable, "-m", "unimq.testing.processes", part, json.dumps(told)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._lines: fifo.Queue[str] = fifo.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.put(line.rstrip("\n"))

    def line(self) -> str:
        """What it says next."""
        return self._lines.get(timeout=_PATIENCE)

    def kill(self) -> None:
        """End it as a crash would: kill -9."""
        self._process.kill()
        self._process.wait(_PATIENCE)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Its exit code."""
        return self._process.wait(_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _hold(queue: Any) -> None:
    """Take a message and hang."""
    message = queue.get(timeout=_PATIENCE)
    _say(message.body)
    time.sleep(_PATIENCE)


def _ack(queue: Any) -> None:
    """Take a message, ack it, and hang."""
    message = queue.get(timeout=_PATIENCE)
    message.ack()
    _say(message.body)
    time.sleep(_PATIENCE)


def _put(queue: Any) -> None:
    """Put a message and hang."""
    queue.put("from a child")
    _say("put")
    time.sleep(_PATIENCE)


def _interrupted(queue: Any) -> None:
    """Wait for a message, be interrupted, and go on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    queue.ping()
    _say("waiting")
    try:
        queue.get(timeout=_PATIENCE)
    except KeyboardInterrupt:
        _say("interrupted")
    queue.put("x")
    with queue.get(timeout=_PATIENCE):
        _say("usable")


def _forks(queue: Any) -> None:
    """Fork while messages are in hand and fetched ahead; the child tries whatever it can with them, and ends."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: that is the case
    work = queue.consume(prefetch=3, timeout=1.0)
    first = next(work)
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            status = _tries_to_settle(queue, work, first)
        os._exit(status)
    _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    first.ack()
    rest = [_acked(message) for message in work]
    _say(json.dumps(sorted([first.body, *rest])))


def _tries_to_settle(queue: Any, work: Any, first: Any) -> int:
    """0 when the child of a fork can do nothing with what its parent holds."""
    for way in (first.ack, lambda: queue.ack([first]), first.discard):
        try:
            way()
        except UnimqError:
            continue
        return 2
    with contextlib.suppress(SystemExit), first:
        sys.exit()
    with contextlib.suppress(ConnectError):  # it may have no way to where its parent is
        if [_acked(message) for message in work]:
            return 3
    work.close()
    queue.close()
    return 0


def _acked(message: Any) -> Any:
    message.ack()
    return message.body


_PARTS: Final = {"forks": _forks, "hold": _hold, "ack": _ack, "put": _put, "interrupted": _interrupted}


def _main(part: str, told: str) -> None:
    settings = json.loads(told)
    if settings["driver"] is not None:
        # It was pickled by the parent, which is the same user and the same program.
        registry.register(settings["scheme"], pickle.loads(bytes.fromhex(settings["driver"])))  # noqa: S301
    with connect() as client:
        _PARTS[part](client.queue(settings["name"], **settings["how"]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
