"""Moving whole queues: what is kept, what is refused beforehand, and what breaks it off."""

import asyncio
import io
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import unimq
import unimq_memory
from unimq import operations
from unimq.driver import Stats
from unimq.operations import Moved
from unimq_memory.session import MemorySession


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    unimq_memory.reset()


@pytest.fixture
def source() -> Iterator[unimq.Queue[Any]]:
    with unimq.Queue(f"memory://{uuid.uuid4().hex}/from") as queue:
        yield queue


@pytest.fixture
def target() -> Iterator[unimq.Queue[Any]]:
    with unimq.Queue(f"memory://{uuid.uuid4().hex}/to") as queue:
        yield queue


Two = unimq.Queue[Any]


def test_everything_about_a_message_is_kept(source: Two, target: Two) -> None:
    """Body byte for byte, id, headers, priority, expiry, age, reply address; the count begins again."""
    source.put({"a": 1}, id="one", headers={"h": "v"}, priority=7, ttl=60, reply_to="answers", correlation_id="c")
    source.get(timeout=0).nack()
    (before,) = source.peek()
    assert operations.move(source, target) == Moved(moved=1)
    after = target.get(timeout=0)
    for name in ("raw", "id", "headers", "priority", "expires_at", "enqueued_at", "reply_to", "correlation_id"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.delivery_count == 1
    assert source.stats().ready == source.stats().leased == 0


def test_the_order_is_kept(source: Two, target: Two) -> None:
    """Over several exchanges."""
    source.put_many(range(250))
    sums: list[Moved] = []
    assert operations.move(source, target, told=sums.append) == Moved(moved=250)
    assert [one.body for one in target.get_many(300, timeout=0)] == list(range(250))
    assert [one.moved for one in sums] == [100, 200, 250, 250]


def test_what_comes_later_stays(source: Two, target: Two) -> None:
    """Or a producer would keep it going for ever."""
    source.put_many(range(150))
    assert operations.move(source, target, told=lambda _: source.put("later")).moved == 150
    assert {one.body for one in source.get_many(10, timeout=0)} == {"later"}


def test_a_limit_is_kept(source: Two, target: Two) -> None:
    """And those before it are the ones that go."""
    source.put_many(range(5))
    assert operations.move(source, target, limit=3).moved == 3
    assert [one.body for one in target.peek(9)] == [0, 1, 2]
    with pytest.raises(unimq.InvalidArgument, match="limit=0"):
        operations.move(source, target, limit=0)


def test_it_may_follow(source: Two, target: Two) -> None:
    """What comes later goes too, until an interrupt."""
    source.put("now")
    mover = threading.Thread(target=operations.move, args=(source, target), kwargs={"follow": True})
    mover.start()
    assert target.get(timeout=20).body == "now"
    source.put("later", delay=0.1)
    assert target.get(timeout=20).body == "later"
    while mover.is_alive():
        source.interrupt()
        mover.join(0.05)
    assert source.size() == 0


def test_what_is_not_due_is_refused_or_left(source: Two, target: Two) -> None:
    """It cannot be taken, and to move the others only must be wanted."""
    source.put("now")
    source.put("later", delay=60)
    with pytest.raises(unimq.Unsupported, match="has 1 not due yet"):
        operations.move(source, target)
    assert target.size() == 0
    assert operations.move(source, target, leave_delayed=True).moved == 1
    assert source.stats().delayed == 1


def test_what_may_not_be_due_is_refused_too(source: Two, target: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where messages can be delayed and the backend does not tell how many are."""
    source.put("now")
    monkeypatch.setattr(MemorySession, "stats", lambda *_: Stats(ready=1, delayed=None))
    with pytest.raises(unimq.Unsupported, match="may have messages not due yet"):
        operations.move(source, target)
    assert operations.move(source, target, leave_delayed=True).moved == 1


@pytest.mark.parametrize(
    ("url", "there", "said"),
    [
        ("memory://x/from", "memory://x/from", "to itself"),
        ("memory://x/from", "memory://x/to?codec=msgpack", "bodies are not translated"),
        ("memory:///from?profile=memcacheq", "memory://x/to", "at most once"),
        ("memory://x/from", "zeromq+tcp://127.0.0.1:1/to?pattern=push-pull", "does not confirm"),
        ("memory://x/from", "memory:///to?profile=activemq", "cannot keep what messages of 'from' may have: priority"),
    ],
)
def test_what_would_lose_something_is_refused(url: str, there: str, said: str) -> None:
    """Beforehand: nothing was moved, and nothing is missing."""
    with unimq.Queue("memory://x/from") as kept, unimq.Queue(url) as source, unimq.Queue(there) as target:
        kept.put("x")
        with pytest.raises(unimq.UnimqError, match=said):
            operations.move(source, target)
        assert kept.stats().ready == 1
        assert kept.peek()[0].delivery_count in {None, 0}


def test_a_part_may_be_dropped(source: Two) -> None:
    """Where the target cannot keep it, and only there."""
    source.put("x", id="one", priority=7, headers={"h": "v"})
    with unimq.Queue("memory:///to?profile=activemq") as target:
        assert operations.move(source, target, drop={"priority", "headers"}).moved == 1
        message = target.get(timeout=0)
        assert (message.id, dict(message.headers), message.priority) == ("one", {"h": "v"}, 4)
        with pytest.raises(unimq.InvalidArgument, match="drop='delay'"):
            operations.move(source, target, drop=["delay"])


def test_what_the_target_cannot_store_stays(source: Two) -> None:
    """One that is too large keeps none of the others; it is told, and back as if nobody had looked."""
    source.put_many(["x" * 2000, "fine", "x" * 3000])
    with unimq.Queue("memory:///to?profile=memcacheq") as target:
        done = operations.move(source, target, drop=["priority"])
        assert (done.moved, done.failed, done.doubtful) == (1, 2, 0)
        assert "takes at most" in done.reason
        assert target.get(timeout=0).body == "fine"
    assert [len(one.body) for one in source.get_many(9, timeout=0)] == [2000, 3000]


def test_what_cannot_be_read_stays(source: Two, target: Two) -> None:
    """An envelope of a newer version is no body."""
    with unimq.Queue("memory:///from?profile=beanstalkd") as framed:
        with unimq.Queue("memory:///from?profile=beanstalkd&envelope=never&codec=raw") as foreign:
            foreign.put(newer_frame())
        framed.put("fine")
        done = operations.move(framed, target)
        assert (done.moved, done.failed) == (1, 1)
        assert "version" in done.reason
        assert [one.body for one in target.peek(9)] == ["fine"]


def newer_frame() -> bytes:
    from zlib import crc32

    covered = b"\x63" + bytes(4)
    return b"\xc1UMQ" + crc32(covered).to_bytes(4, "big") + covered


@pytest.mark.parametrize("in_doubt", [False, True])
def test_a_target_that_goes_away_loses_nothing(
    source: Two, target: Two, monkeypatch: pytest.MonkeyPatch, *, in_doubt: bool
) -> None:
    """What was in hand is back, what may be on both sides is told, and the next move goes on."""
    source.put_many(range(250))
    sums: list[Moved] = []
    sender = target._endpoint.sender
    send, calls = sender.send, []

    def broken(messages: Sequence[Any], key: str | None, deadline: float) -> Any:
        calls.append(messages)
        if len(calls) != 2:
            return send(messages, key, deadline)
        stored = send(messages[:40], key, deadline)
        return [*stored, *[unimq.ConnectionLost("gone", in_doubt=in_doubt)] * 60]

    monkeypatch.setattr(sender, "send", broken)
    with pytest.raises(unimq.ConnectionLost):
        operations.move(source, target, told=sums.append)
    assert sums[-1] == Moved(moved=140, doubtful=60 if in_doubt else 0)
    assert (source.stats().ready, source.stats().leased) == (110, 0)
    assert operations.move(source, target).moved == 110
    assert [one.body for one in target.get_many(300, timeout=0)] == list(range(250))


def test_an_exception_in_the_middle_tells_what_may_be_on_both_sides(
    source: Two, target: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between storing and settling: they are back, and there."""
    source.put_many(range(3))
    sums: list[Moved] = []

    def interrupted(_messages: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(source._endpoint.settler, "ack_many", interrupted)
    with pytest.raises(KeyboardInterrupt):
        operations.move(source, target, told=sums.append)
    assert sums == [Moved(doubtful=3)]
    assert (source.stats().ready, source.stats().leased, target.size()) == (3, 0, 3)


def test_a_lease_that_ended_meanwhile_is_told(target: Two) -> None:
    """It is stored there, and comes again here: the others go on."""
    with unimq.Queue(f"memory://{uuid.uuid4().hex}/from", lease=0.05) as source:
        source.put_many(range(150))
        send = target._endpoint.sender.send
        calls: list[object] = []

        def slow(*arguments: Any) -> Any:
            calls.append(arguments)
            if len(calls) == 1:
                time.sleep(0.2)
            return send(*arguments)

        target._endpoint.sender.send = slow  # type: ignore[method-assign]
        done = operations.move(source, target)
        assert done.doubtful >= 100
        assert done.moved + done.doubtful == 150
        both = [*target.get_many(300, timeout=0), *source.get_many(300, timeout=0)]
        assert {one.body for one in both} == set(range(150))


def test_a_queue_of_asyncio_is_refused_with_the_way_that_there_is() -> None:
    """Nothing was asked; a thread with queues of its own does it while the loop goes on."""
    place = uuid.uuid4().hex
    url, other = f"memory://{place}/from", f"memory://{place}/to"

    async def main() -> None:
        async with unimq.AsyncQueue(url) as queue:
            await queue.put_many(range(3))
            given: Any = queue
            with unimq.Queue(url) as source, unimq.Queue(other) as target:
                for call in (
                    lambda: operations.move(given, target),
                    lambda: operations.move(source, given),
                    lambda: operations.export_lines(given, io.BytesIO()),
                    lambda: operations.import_lines(given, []),
                ):
                    with pytest.raises(
                        unimq.InvalidArgument, match=r"(source|target)=.*AsyncQueue.*asyncio\.to_thread"
                    ):
                        call()
                assert await asyncio.to_thread(operations.move, source, target) == Moved(moved=3)
            assert await queue.size() == 0

    asyncio.run(main())


def test_a_move_that_follows_is_ended_from_a_loop(source: Two, target: Two) -> None:
    """By an interrupt of its source."""

    async def main() -> None:
        source.put("x")
        seen = threading.Event()
        moving = asyncio.create_task(
            asyncio.to_thread(operations.move, source, target, follow=True, told=lambda sums: sums.moved and seen.set())
        )
        assert await asyncio.to_thread(seen.wait, 30)
        while not moving.done():  # it may come before the next wait
            source.interrupt()
            await asyncio.sleep(0.01)
        assert await moving == Moved(moved=1)

    asyncio.run(main())
