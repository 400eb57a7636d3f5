"""What becomes of the members of a batch when one of them fails."""

from collections.abc import Callable
from typing import Any

import pytest
from servers import Broker, SameSessionSession

import unimq

Settle = Callable[["unimq.Queue[Any]", "list[unimq.Message[Any]]"], None]

SETTLE: dict[str, Settle] = {
    "ack": lambda queue, messages: queue.ack(messages),
    "nack": lambda queue, messages: queue.nack(messages),
}


def open_queue(broker: Broker, hooks: unimq.Hooks | None = None) -> "unimq.Queue[Any]":
    return unimq.Queue(f"simsame://{broker.name}/jobs", hooks=hooks)


@pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
def test_an_older_delivery_in_a_batch_does_not_settle_a_newer_one(broker: Broker, settle: Settle) -> None:
    """The server gave the same id to the same session again; only the handle says which delivery is meant."""
    with open_queue(broker) as queue:
        queue.put_many([1, 2])
        old, other = queue.get(timeout=0), queue.get(timeout=0)
        broker.jobs[1].held_until = 0  # its lease has ended for the server, and the client has not heard of it
        new = queue.get(timeout=0)
        assert (new.body, new.delivery_count) == (1, 2)
        with pytest.raises(unimq.BatchError) as caught:
            settle(queue, [old, other])
        assert [type(outcome) for outcome in caught.value.outcomes] == [unimq.LeaseLost, type(None)]
        assert broker.jobs[1].holder is not None
        new.ack()


def test_a_member_that_failed_is_still_in_hand(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be settled again, and its neighbours are settled."""
    refused: list[int] = []
    real = SameSessionSession._ack

    def refuse(self: SameSessionSession, delivery: Any) -> unimq.UnimqError | None:
        if delivery.token == 2 and not refused:
            refused.append(2)
            return unimq.ServerError("not now")
        return real(self, delivery)

    monkeypatch.setattr(SameSessionSession, "_ack", refuse)
    with open_queue(broker) as queue:
        queue.put_many([1, 2, 3])
        messages = queue.get_many(3, timeout=0)
        with pytest.raises(unimq.BatchError) as caught:
            queue.ack(messages)
        assert [type(outcome) for outcome in caught.value.outcomes] == [type(None), unimq.ServerError, type(None)]
        assert list(broker.jobs) == [2]
        messages[1].ack()
        assert not broker.jobs
        for message in messages:
            with pytest.raises(unimq.AlreadySettled):
                message.ack()


def test_an_interrupted_batch_is_still_in_hand(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what became of it: it is not called settled, and the server is asked again."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with open_queue(broker) as queue:
        queue.put_many([1, 2])
        messages = queue.get_many(2, timeout=0)
        monkeypatch.setattr(SameSessionSession, "_ack", interrupt)
        with pytest.raises(KeyboardInterrupt):
            queue.ack(messages)
        assert not any(message.settled for message in messages)
        with pytest.raises(unimq.LeaseLost):  # the session that was interrupted is not used again
            messages[0].ack()
        assert [message.body for message in queue.get_many(2, timeout=5)] == [1, 2]


def test_what_a_failed_hand_over_had_beside_it_is_not_lost(broker: Broker) -> None:
    """Those before it and those after it are the next that a get has, in their order and at once."""

    def receive(message: "unimq.Message[Any] | unimq.AsyncMessage[Any]") -> None:
        if message.body == 2:
            1 / 0  # noqa: B018

    with open_queue(broker, unimq.Hooks(receive=receive)) as queue:
        queue.put_many([1, 2, 3, 4])
        with pytest.raises(ZeroDivisionError):
            queue.get_many(4, timeout=0)
        again = queue.get_many(4, timeout=0)
        assert [(message.body, message.delivery_count) for message in again] == [(1, 1), (3, 1), (4, 1)]
        queue.ack(again)
    assert [job.message.body for job in broker.jobs.values()] == [b"2"]


def test_the_hook_is_told_of_each_member_that_was_settled(broker: Broker) -> None:
    """By what was asked for; of one that was settled before nothing is told again."""
    told: list[tuple[object, str]] = []
    hooks = unimq.Hooks(settle=lambda message, outcome: told.append((message.body, outcome)))
    with open_queue(broker, hooks) as queue:
        queue.put_many([1, 2, 3, 4])
        messages = queue.get_many(4, timeout=0)
        queue.ack(messages[:2])
        queue.nack(messages[2:3])
        messages[3].release()
        with pytest.raises(unimq.BatchError):
            queue.ack(messages[1:3])
    assert told == [(1, "ack"), (2, "ack"), (3, "nack"), (4, "release")]
