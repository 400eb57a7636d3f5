"""Group 13: nothing is left behind, nothing is told that is secret, nothing is shared that is not meant to be."""

import contextlib
import gc
import logging
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from unimq.errors import UnimqError
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import PART, PATIENCE, Lab

__all__ = ["Hygiene"]

_SECRET: Final = "hunter2-päss/w:rd"  # noqa: S105 - to be found where it must not be
_ENCODED: Final = "hunter2-p%C3%A4ss%2Fw%3Ard"
_FILES: Final = Path("/proc/self/fd")


class Hygiene(Cases):
    """A closed queue is gone, and an open one keeps to itself."""

    async def test_nothing_is_left_after_close(self, lab: Lab) -> None:
        """No thread and no open file, after much use and a get that was waiting."""
        await _use(lab)
        gc.collect()
        await lab.sleep(0.05)
        threads, files = set(threading.enumerate()), _open_files()
        await _use(lab)
        gc.collect()
        until = time.monotonic() + PATIENCE / 2
        while (left := _left(threads, files)) and time.monotonic() < until:
            await lab.sleep(0.02)
        assert left == []

    async def test_no_thread_runs_for_an_unused_queue(self, lab: Lab) -> None:
        """Making one starts nothing and opens nothing."""
        threads, files = threading.active_count(), _open_files()
        queue = lab.queue()
        # Not more: a library may still be closing, in a thread of its own, what the bench had opened before.
        assert threading.active_count() <= threads
        assert _open_files() <= files
        await queue.close()

    async def test_no_password_is_shown(self, lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
        """Not by repr, str, errors, their pickles, causes and tracebacks, or the log; the server may take it or not."""
        caplog.set_level(logging.DEBUG)
        url = lab.url.with_credentials("ada", _SECRET)
        texts: list[str] = [repr(url), str(url), f"{url}", repr([url]), repr({"u": url})]
        pickles: list[bytes] = []
        uses: list[Callable[[Any], Any]] = [
            lambda queue: queue.ping(),
            lambda queue: queue.put("x"),
            lambda queue: queue.put("x", delay=-1),
            lambda queue: queue.put("x", priority=9),
            lambda queue: queue.get(timeout=0),
            lambda queue: queue.peek(),
            lambda queue: queue.get(timeout=0),
            lambda queue: queue.cancel("nobody"),
            lambda queue: queue.close(),
            lambda queue: queue.put("x"),
        ]
        previous, lab.url = lab.url, url
        try:
            await _tell(lab, uses, texts, pickles)
            for options in ({"sharks": "1"}, {"lease": "-1"}, {"queue": ""}):
                try:
                    lab.queue(options=options)
                except UnimqError as error:
                    _collect(error, texts, pickles)
        finally:
            lab.url = previous
        texts += [record.getMessage() for record in caplog.records]
        for text in texts:
            assert _SECRET not in text
            assert _ENCODED not in text
        for data in pickles:
            assert _SECRET.encode() not in data
            assert _ENCODED.encode() not in data

    async def test_errors_survive_pickling(self, lab: Lab) -> None:
        """They keep their class, text and `in_doubt`."""
        queue = lab.queue()
        with pytest.raises(UnimqError) as caught:
            await queue.get(timeout=0)
        copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - what was pickled a moment ago
        assert (type(copy), str(copy), copy.in_doubt) == (type(caught.value), str(caught.value), False)

    async def test_clients_share_nothing(self, lab: Lab) -> None:
        """Closing one, or giving one another codec, lease or limit, means nothing to the other."""
        first, second = lab.queue(codec="text"), lab.queue()
        await second.put("x")
        message = await lab.receive(second)
        await first.put("text")
        await first.close()
        await message.ack()
        async with await lab.receive(second) as left:
            assert left.raw == b"text"
        await second.put(1)
        assert await lab.bodies(second, 1) == [1]

    @needs("kept-once-received", "lease", lease_by=("get", "connection"))
    async def test_each_get_has_its_own_lease(self, lab: Lab) -> None:
        """Of two clients with different leases each keeps its own."""
        short, long = lab.queue(lease=lab.lease), lab.queue(lease=60.0)
        await short.put_many([0, 1])
        await lab.receive(long)
        quick = await lab.receive(short)
        again = await lab.receive(long)
        assert again.body == quick.body
        await again.ack()
        await lab.nothing(short)

    async def test_what_is_shown_names_the_queue(self, lab: Lab) -> None:
        """The texts of queues and messages help whoever looks for them."""
        queue = lab.queue()
        await queue.put("x")
        async with await lab.receive(queue) as message:
            for thing in (queue, message, queue.dead):
                assert lab.name in repr(thing)
            assert "settled" not in repr(message)
        assert "settled" in repr(message)


async def _use(lab: Lab) -> None:
    """A bit of everything, closed at the end."""
    client = lab.client()
    queue = client.queue(lab.other_name())
    waiting = lab.start(queue.get(timeout=PATIENCE))
    await lab.sleep(0.02)
    await queue.put(1)
    await (await waiting.result()).ack()
    await queue.put_many([2, 3, 4])
    async for message in queue.consume(timeout=0.1):
        await message.ack()
    await queue.put(5)
    await lab.receive(queue)
    waiting = lab.start(queue.get(timeout=None))
    await lab.sleep(0.02)
    await client.close()
    with contextlib.suppress(UnimqError):  # or it has the message that came back with its connection
        await waiting.result()


def _left(threads: set[threading.Thread], files: int) -> list[str]:
    """What is there that was not before."""
    left = [f"thread {one.name}" for one in threading.enumerate() if one not in threads and one.name != PART]
    more = _open_files() - files
    return [*left, *([f"{more} files"] if more > 0 else [])]


def _open_files() -> int:
    """How many files and sockets this process has open; 0 where that cannot be seen."""
    return len(os.listdir(_FILES)) if _FILES.exists() else 0  # noqa: PTH208 - a number is wanted, not paths


async def _tell(lab: Lab, uses: list[Callable[[Any], Any]], texts: list[str], pickles: list[bytes]) -> None:
    """Collect what a queue and its uses say."""
    try:
        queue, client = lab.queue(), lab.client()
    except UnimqError as error:  # a backend that takes no credentials at all
        _collect(error, texts, pickles)
        return
    texts += [repr(queue), str(queue), repr(client), repr(queue.dead), repr(vars(client)), repr(client.url)]
    for use in uses:
        try:
            texts.append(repr(await use(queue)))
        except UnimqError as error:
            _collect(error, texts, pickles)


def _collect(error: BaseException, texts: list[str], pickles: list[bytes]) -> None:
    texts += [str(error), repr(error), "".join(traceback.format_exception(error))]
    pickles.append(pickle.dumps(error))
