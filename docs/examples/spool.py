"""A complete driver in one file: `spool:////var/spool/app?queue=jobs`, a directory with a file for each message.

It is the example of docs/writing-a-driver.md. A file is named `due.id.deliveries`, with `.held` behind it while a
consumer has it; then its time of modification is the end of the lease. Renaming is atomic: of two consumers that want
a message, one gets it, and the other a `FileNotFoundError`. The contract of each method is in `unimq.driver`.
"""

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from unimq import URL, Capabilities, LeaseLost, Stats, StorageError, UnimqError
from unimq.capabilities import Limits, native
from unimq.driver import CONTRACT_VERSION, BaseSession, Delivery, Outgoing, Settling
from unimq.options import Option

T = TypeVar("T")
POLL = Option("poll", "duration", 0.05, "How often a waiting get looks; the most that it is late.", minimum=0.001)


@contextmanager
def errors() -> Generator[None]:
    """The system's errors in unimq's words."""
    try:
        yield
    except FileNotFoundError as error:
        msg = f"{error.filename}: its lease ended and another consumer took it, or its queue was deleted"
        raise LeaseLost(msg) from error
    except OSError as error:
        msg = f"{error.filename}: {error.strerror}"
        raise StorageError(msg) from error


def outcome(call: Callable[..., T], *arguments: object) -> UnimqError | T:
    """What became of one member of a batch."""
    try:
        return call(*arguments)
    except UnimqError as error:
        return error


def now() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def set_lease(file: Path, seconds: float) -> None:
    """The lease ends in `seconds`."""
    until = time.time() + seconds
    os.utime(file, (until, until))


def lease_is_over(file: Path) -> bool:
    """Whether somebody else may take it."""
    return file.stat().st_mtime <= time.time()


def held(one: Delivery) -> Path:
    """Its file, while it is ours."""
    file = Path(one.token)
    if lease_is_over(file):
        msg = f"{file}: its lease ended"
        raise LeaseLost(msg)
    return file


def delivery(file: Path, token: str | None = None, lease_until: float | None = None) -> Delivery:
    """What a file holds."""
    _due, own_id, count = file.name.split(".")[:3]
    body = file.read_bytes()
    return Delivery(file.parent.name, body, token, id=own_id, delivery_count=int(count), lease_until=lease_until)


class SpoolDriver:
    """What is known without touching the directory."""

    name = "spool"
    contract = CONTRACT_VERSION
    options: tuple[Option, ...] = (POLL,)
    library: str | None = None
    install = ""
    port: int | None = None
    path_is_queue = False

    def capabilities(self, url: URL) -> Capabilities:
        return Capabilities(  # what is not named here is layered by unimq, or absent
            guarantee="at-least-once", survives_process_death="yes", order="fifo-until-redelivery", nack_place="front",
            lease_by="get", counts="fetches", crash_counted=True, limits=Limits(name_characters="[A-Za-z0-9_.-]"),
            delay=native(), nack=native(), nack_delay=native(), lease=native(), extend=native(),
            delivery_count=native(), peek=native(), stats=native(), purge=native(), delete=native(), queues=native(),
        )  # fmt: skip

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> "SpoolSession":
        return SpoolSession(Path(url.file_path), self.capabilities(url), options["poll"])


class SpoolSession(BaseSession):
    """One user of the directory, who knows nothing that another could not find there."""

    settling: Settling = "any-session"

    def __init__(self, root: Path, capabilities: Capabilities, poll: float) -> None:
        self.capabilities, self._root, self._poll = capabilities, root, poll
        self._interrupted = threading.Event()
        self._last = self._turn = 0

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        return [outcome(self._send, queue, message) for message in messages]

    @errors()
    def _send(self, queue: str, message: Outgoing) -> str:
        self._last = max(self._last + 1, now())  # of two puts in one microsecond the first stays the first
        due = now() + int(message.delay * 1e6) if message.delay else self._last
        own_id = uuid.uuid4().hex
        unfinished = self._root / queue / own_id  # a name without dots, which nobody looks at
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(message.body)
        unfinished.rename(unfinished.with_name(f"{due}.{own_id}.{message.delivery_count}"))
        return own_id

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        while True:
            taken = self._take(queues, limit, lease)
            rest = deadline - time.monotonic()
            if taken or rest <= 0 or self._interrupted.wait(min(rest, self._poll)):
                self._interrupted.clear()
                return taken

    @errors()
    def _take(self, queues: Sequence[str], limit: int, lease: float) -> list[Delivery]:
        self._turn = (self._turn + 1) % len(queues)  # each queue is the first in its turn: none starves
        turned = [*queues[self._turn :], *queues[: self._turn]]
        taken: list[Delivery] = []
        for file in (file for queue in turned for file in self._files(queue)["ready"]):
            if len(taken) == limit:
                break
            due, own_id, count = file.name.split(".")[:3]
            until = time.monotonic() + lease
            with suppress(FileNotFoundError):  # another consumer was faster
                set_lease(file, lease)  # before the renaming: nobody may find it held and its lease over
                mine = file.rename(file.with_name(f"{due}.{own_id}.{int(count) + 1}.held"))
                taken.append(delivery(mine, token=str(mine), lease_until=until))
        return taken

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        return [outcome(self._ack, one) for one in deliveries]

    @errors()
    def _ack(self, one: Delivery) -> None:
        held(one).unlink()

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        return [outcome(self._release, one, delay, int(unseen)) for one in deliveries]

    @errors()
    def _release(self, one: Delivery, delay: float, uncounted: int) -> None:
        file = held(one)
        due, own_id, count, _held = file.name.split(".")
        later = now() + int(delay * 1e6) if delay else due
        file.rename(file.with_name(f"{later}.{own_id}.{int(count) - uncounted}"))

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        return [outcome(self._move, queue, one, message) for one, message in pairs]

    @errors()
    def _move(self, queue: str, one: Delivery, message: Outgoing) -> str:
        held(one)
        sent = self._send(queue, message)  # first send, then settle: a crash in between duplicates, it never loses
        held(one).unlink()
        return sent

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        return [outcome(self._extend, one, seconds) for one in deliveries]

    @errors()
    def _extend(self, one: Delivery, seconds: float) -> float:
        set_lease(held(one), seconds)
        return seconds

    def interrupt(self) -> None:
        self._interrupted.set()

    @errors()
    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        seen: list[Delivery] = []
        for file in self._files(queue)["ready"][:limit]:
            with suppress(FileNotFoundError):  # somebody takes it in this moment
                seen.append(delivery(file))
        return seen

    @errors()
    def stats(self, queue: str, deadline: float) -> Stats:
        files = self._files(queue)
        oldest = (now() - int(files["ready"][0].name.split(".")[0])) / 1e6 if files["ready"] else None
        return Stats(len(files["ready"]), len(files["delayed"]), len(files["held"]), oldest)

    @errors()
    def purge(self, queue: str, deadline: float) -> int:
        files = self._files(queue)
        return sum(outcome(errors()(file.unlink)) is None for file in files["ready"] + files["delayed"])

    def delete(self, queue: str, deadline: float) -> None:
        shutil.rmtree(self._root / queue, ignore_errors=True)

    def queues(self, deadline: float) -> Sequence[str]:
        return sorted(folder.name for folder in self._root.glob("*"))

    def ping(self, deadline: float) -> str:
        return f"spool in {self._root}"

    def close(self) -> None:
        """There is nothing to close."""

    def _files(self, queue: str) -> dict[str, list[Path]]:
        """The messages of `queue` in their order, by state. What outlived its lease is ready again."""
        files: dict[str, list[Path]] = {"ready": [], "delayed": [], "held": []}
        for file in sorted((self._root / queue).glob("*.*")):
            if file.suffix != ".held":
                files["ready" if int(file.name.split(".")[0]) <= now() else "delayed"].append(file)
                continue
            with suppress(FileNotFoundError):  # its consumer settles it in this moment
                files["ready" if lease_is_over(file) else "held"].append(file)
        return files


driver = SpoolDriver()
"""What the entry point names."""
