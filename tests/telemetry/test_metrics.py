"""The four metrics of the conventions."""

from typing import Any

import pytest

import unimq
from unimq import Message, Queue

from .conftest import Told

DURATION = "messaging.client.operation.duration"
PROCESSING = "messaging.process.duration"
SENT = "messaging.client.sent.messages"
CONSUMED = "messaging.client.consumed.messages"


def test_messages_are_counted_as_they_are_sent_and_received(told: Told, url: str) -> None:
    """Each of a batch; a get that finds nothing counts nothing."""
    with Queue(url, hooks=told.hooks) as queue:
        queue.put(1)
        queue.put_many([2, 3])
        queue.ack(queue.get_many(timeout=0))
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0)
    assert told.counts(SENT) == {("send", "jobs", None): 3}
    assert told.counts(CONSUMED) == {("receive", "jobs", None): 3}
    assert told.counts(DURATION) == {
        ("send", "jobs", None): 2,
        ("receive", "jobs", None): 1,
        ("ack", "jobs", None): 1,
    }


def test_durations_are_those_of_the_spans(told: Told, url: str) -> None:
    """In seconds, in the buckets that the conventions advise."""
    with Queue(url, hooks=told.hooks) as queue:
        queue.put(1)
    (span,) = told.spans()
    (point,) = told.points(DURATION).values()
    assert point.sum == (span.end_time - span.start_time) / 1e9
    assert point.explicit_bounds[0] == 0.005
    assert point.explicit_bounds[-1] == 10.0
    assert point.attributes["messaging.operation.type"] == "send"


def test_what_handlers_take_is_told_apart(told: Told, url: str) -> None:
    """Of those that failed, with the error."""

    def handle(message: Message[Any]) -> None:
        if message.body == "bad":
            raise LookupError

    with unimq.connect(url, hooks=told.hooks) as client:
        client.queue().put_many(["good", "bad", "good"])
        unimq.Worker(client, handle, retry=unimq.RetryPolicy(attempts=1)).drain()
    assert told.counts(PROCESSING) == {("process", "jobs", None): 2, ("process", "jobs", "LookupError"): 1}
    assert ("process", "jobs", None) not in told.counts(DURATION)


def test_what_was_refused_was_not_sent(told: Told, url: str) -> None:
    """The operation failed, and is counted as that; what the server did not take was sent."""
    with Queue(f"{url}?max_size=1", hooks=told.hooks) as queue:
        with pytest.raises(unimq.InvalidArgument):
            queue.put(1, priority=99)
        with pytest.raises(unimq.BatchError):
            queue.put_many([1, 2, 3])
    assert told.counts(SENT) == {("send", "jobs", None): 1, ("send", "jobs", "unimq.errors.Full"): 2}
    assert told.counts(DURATION) == {
        ("send", "jobs", "unimq.errors.InvalidArgument"): 1,
        ("send", "jobs", "unimq.errors.BatchError"): 1,
    }


def test_reply_queues_make_no_series_of_their_own(told: Told, url: str) -> None:
    """Their names are random."""
    with unimq.connect(url, hooks=told.hooks) as client:
        queue = client.queue()
        queue.put("ping", reply_to=f"replies.{'0' * 24}")
        queue.get(timeout=0).reply("pong")
    assert told.counts(SENT) == {("send", "jobs", None): 1, ("reply", None, None): 1}
