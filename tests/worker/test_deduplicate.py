"""What was done once is not done again when it is delivered again."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import unimq
from unimq import AsyncMessage, AsyncQueue, Deduplicate, Message, Queue, RetryPolicy, Worker
from unimq.testing.workers import running, until

from .conftest import at_work_in_a_task, reached

AT_ONCE = RetryPolicy(attempts=3, pause=0)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "done.db"


def test_the_same_id_is_done_once(url: str, store: Path) -> None:
    """By whichever worker of the file; the message is acked all the same."""
    done: list[Any] = []
    with Queue[Any](url) as queue:
        for _ in range(2):
            worker = Worker(url, lambda message: done.append(message.body), middleware=[Deduplicate(store)])
            with running(worker):
                queue.put("pay", id="order-1")
                queue.put("pay", id=f"order-{len(done) + 2}")
                until(lambda worker=worker: worker.health().done == 2)
        assert queue.size() == 0
    assert len(done) == 3


def test_ids_of_another_queue_are_others(url: str, store: Path) -> None:
    """They are known by queue and id."""
    done: list[str] = []
    middleware = [Deduplicate(store)]
    handlers = dict.fromkeys(("a", "b"), lambda message: done.append(message.queue))
    with unimq.connect(url) as client, running(Worker(client, handlers, middleware=middleware)) as worker:
        for name in ("a", "b", "a"):
            client.queue(name).put(1, id="x")
        until(lambda: worker.health().done == 3)
    assert sorted(done) == ["a", "b"]


def test_what_failed_is_tried_again(url: str, store: Path) -> None:
    """Only what a handler has done is known."""
    tries: list[int] = []

    def twice(message: Message[Any]) -> None:
        tries.append(message.delivery_count or 0)
        if len(tries) == 1:
            raise LookupError

    with (
        Queue[Any](url) as queue,
        running(Worker(url, twice, retry=AT_ONCE, middleware=[Deduplicate(store)])) as worker,
    ):
        queue.put(1, id="x")
        until(lambda: worker.health().done == 1)
    assert tries == [1, 2]


async def test_the_same_with_asyncio(url: str, store: Path) -> None:
    """Its file is the same, too."""
    done: list[Any] = []

    async def handler(message: AsyncMessage[Any]) -> None:
        done.append(message.body)

    worker = unimq.AsyncWorker(url, handler, middleware=[Deduplicate(store)])
    async with AsyncQueue[Any](url) as queue, at_work_in_a_task(worker):
        for body in ("first", "second"):
            await queue.put(body, id="x")
        await reached(lambda: worker.health().done == 2)
    assert done == ["first"]


def test_an_id_is_forgotten_after_its_time(url: str, store: Path) -> None:
    """And its row is removed."""
    done: list[Any] = []
    once = Deduplicate(store, ttl=60)
    with Queue[Any](url) as queue:
        for name in ("old", "old", "new"):
            queue.put(1, id=name)
            once(queue.get(timeout=0), lambda message: done.append(message.id))
            with sqlite3.connect(store) as connection:
                connection.execute("UPDATE done SET until = until - 61")
            connection.close()
    assert done == ["old", "old", "new"]
    connection = sqlite3.connect(store)
    assert connection.execute("SELECT id FROM done").fetchall() == [("new",)]
    connection.close()


def test_an_id_that_the_server_made_is_none_to_trust(url: str, store: Path) -> None:
    """It may be another message's after a restart; a message of which nothing else is known is handled each time."""
    with Queue[Any](f"{url}?profile=beanstalkd") as queue:
        once = Deduplicate(store)
        for fields, lasting in (({}, False), ({"id": "mine"}, True), ({"headers": {"k": "v"}}, True)):
            queue.put(1, **fields)
            message = queue.get(timeout=0)
            calls: list[Any] = []
            for _ in range(2):
                once(message, calls.append)
            assert (message.lasting_id is not None) is lasting
            assert len(calls) == (1 if lasting else 2)
            message.ack()


def test_a_file_that_cannot_be_used_costs_no_message(url: str, tmp_path: Path) -> None:
    """The handler is not called, and the message goes by the policy."""
    store = tmp_path / "nowhere" / "done.db"
    done: list[Any] = []
    with (
        Queue[Any](url) as queue,
        running(Worker(url, done.append, retry=AT_ONCE, middleware=[Deduplicate(store)])) as worker,
    ):
        queue.put(1, id="x")
        until(lambda: worker.health().rejected == 1)
        reason = queue.dead.peek()[0].headers["unimq-dead-reason"]
    assert reason.startswith("StorageError: ")
    assert str(store) in reason
    assert not done


def test_a_forked_child_has_a_connection_of_its_own(url: str, store: Path) -> None:
    """What it has done is known to its parent."""
    once = Deduplicate(store)
    done: list[Any] = []
    with Queue[Any](url) as queue:
        for name in ("before", "in the child", "in the child"):
            queue.put(1, id=name)
        once(queue.get(timeout=0), lambda message: None)
        message = queue.get(timeout=0)
        child = os.fork()
        if child == 0:
            try:
                once(message, lambda message: None)
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        once(queue.get(timeout=0), done.append)
    assert not done


@pytest.mark.parametrize("store", ["", "sqlite://", "sqlite:///done.db?queue=jobs", "memory://", b"done.db"])
def test_a_store_is_the_path_of_a_file(store: Any) -> None:
    """Anything else is refused, by name."""
    with pytest.raises(unimq.InvalidArgument, match=r"store=.*must be the path of a file"):
        Deduplicate(store)


def test_a_store_may_be_a_url(url: str, store: Path) -> None:
    """Of the same file."""
    done: list[Any] = []
    with Queue[Any](url) as queue:
        for name in (store, f"sqlite:///{store}"):
            queue.put(1, id="x")
            message = queue.get(timeout=0)
            Deduplicate(name)(message, done.append)
            message.ack()
    assert len(done) == 1


def test_a_time_is_a_second_or_more(store: Path) -> None:
    """Less would forget what has just been done."""
    with pytest.raises(unimq.InvalidArgument, match="ttl"):
        Deduplicate(store, ttl=0.5)
