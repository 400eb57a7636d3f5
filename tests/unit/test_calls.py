"""Calls on queues in memory: what the suite cannot see from outside."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

import unimq
from unimq import (
    AsyncQueue,
    AsyncWorker,
    Closed,
    InvalidArgument,
    Message,
    Queue,
    Reject,
    RemoteError,
    RetryPolicy,
    Timeout,
    Worker,
)
from unimq.direct import reply_error
from unimq.testing.lab import PATIENCE, fresh_name
from unimq.testing.workers import running


@pytest.fixture
def url() -> str:
    return f"memory://{fresh_name()}/jobs"


def started(call: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """A thread that calls, and what came of it."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except unimq.UnimqError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def receivers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("unimq replies.")]


def once(url: str, handler: Callable[[Message[Any]], object]) -> AbstractContextManager[Worker]:
    """A worker at work that tries everything once."""
    return running(Worker(url, handler, retry=RetryPolicy(attempts=1)))


@pytest.mark.parametrize("timeout", [0, -1, "soon"])
def test_a_call_needs_time(url: str, timeout: Any) -> None:
    """Otherwise it is a mistake, and nothing is put."""
    with Queue[Any](url) as queue:
        with pytest.raises(InvalidArgument, match="timeout"):
            queue.call("x", timeout=timeout)
        assert queue.size() == 0


@pytest.mark.parametrize("bodies", ["text", b"bytes", {"a": 1}, 7])
def test_a_single_body_is_not_many(url: str, bodies: Any) -> None:
    """As for `put_many`."""
    with Queue[Any](url) as queue, pytest.raises(InvalidArgument, match="bodies"):
        queue.call_many(bodies)


def test_no_bodies_no_calls(url: str) -> None:
    """An empty list asks nothing, and is answered at once."""
    with Queue[Any](url) as queue:
        assert queue.call_many([], timeout=PATIENCE) == []


def test_closing_ends_calls_and_removes_the_reply_queue(url: str) -> None:
    """Who waits is told, no thread is left, and no queue."""
    with Queue[Any](url) as worker:
        queue = Queue[Any](url)
        thread, found = started(lambda: queue.call("x", timeout=PATIENCE))
        message = worker.get(PATIENCE)
        assert message.reply_to is not None
        message.reply("lost, if the close is faster")
        queue.close()
        thread.join(PATIENCE)
        assert found
        assert isinstance(found[0], (Closed, Message))
        assert message.reply_to not in worker.client.queues()
        with pytest.raises(Closed):
            queue.call("x")


@pytest.mark.slow
def test_the_thread_ends_when_nobody_waits(url: str) -> None:
    """A second later; the next call starts another."""
    before = set(receivers())
    with Queue[Any](url) as queue:
        for _ in range(2):
            with pytest.raises(Timeout):
                queue.call("x", timeout=0.05)
            (thread,) = set(receivers()) - before
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_a_reply_that_cannot_be_sent_is_told(url: str) -> None:
    """The message is done all the same: another try would return the same."""
    with Queue[Any](url) as queue, once(url, lambda _: object()):
        with pytest.raises(RemoteError, match="the reply cannot be sent"):
            queue.call("x", timeout=PATIENCE)
        assert queue.size() == queue.dead.size() == 0


async def answer(_: Any) -> object:
    return object()


async def refuse_later(_: Any) -> None:
    raise Reject


def test_a_worker_of_coroutines_tells_the_same(url: str) -> None:
    """Both what cannot be sent and what was given up."""

    async def ask(handler: Any) -> str:
        worker = AsyncWorker(url, handler, retry=RetryPolicy(attempts=1))
        running = asyncio.create_task(worker.run())
        async with AsyncQueue[Any](url) as queue:
            with pytest.raises(RemoteError) as caught:
                await queue.call("x", timeout=PATIENCE)
        worker.stop()
        await running
        return str(caught.value)

    assert "the reply cannot be sent" in asyncio.run(ask(answer))
    assert "rejected by its handler" in asyncio.run(ask(refuse_later))


def test_a_long_error_is_shortened_to_what_fits(url: str) -> None:
    """To 1000 characters in general, to 100 where a message cannot be larger."""
    long = "x" * 5000
    for limit, length in (("", 1000), ("?profile=memcacheq", 100)):
        with Queue[Any](url + limit) as queue:
            queue.put("request", reply_to="answers", correlation_id="7")
            reply_error(queue.get(PATIENCE), long)
            reply = queue.client.queue("answers").get(PATIENCE)
            assert (reply.raw, reply.correlation_id) == (b"", "7")
            assert len(reply.headers["unimq-error"]) == length


def test_an_undecodable_request_is_told(url: str) -> None:
    """It is a dead letter at once, and its caller does not wait in vain."""
    with Queue[Any](url, codec="text") as caller, once(url, lambda _: "never"), pytest.raises(RemoteError):
        caller.call("{no json", timeout=PATIENCE)


def test_a_plain_message_is_given_up_as_ever(url: str) -> None:
    """Nobody is told where nobody asked."""

    def refuse(_: Message[Any]) -> None:
        raise Reject

    with Queue[Any](url) as queue, once(url, refuse):
        queue.put("statement")
        assert queue.dead.get(PATIENCE).body == "statement"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_has_a_reply_queue_of_its_own(tmp_path: Any) -> None:
    """A reply to the child's call does not go to the parent, and a child that ends removes nothing of the parent's."""
    url = f"sqlite:///{tmp_path}/calls.db?queue=jobs"
    with Queue[Any](url) as queue, Queue[Any](url) as worker:
        with pytest.raises(Timeout):
            queue.call("from the parent", timeout=0.05)
        child = os.fork()
        if child == 0:
            done = False
            try:
                done = queue.call("from the child", timeout=PATIENCE).body == "yes"
                queue.close()
            finally:
                os._exit(0 if done else 1)
        message = worker.get(PATIENCE)
        message.reply("yes")
        message.ack()
        ends = time.monotonic() + PATIENCE
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended and time.monotonic() < ends:
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        assert (ended, status) == (child, 0)
