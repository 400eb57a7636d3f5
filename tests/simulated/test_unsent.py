"""What certainly did not leave is sent again: raised or returned, alone or in a batch."""

from collections.abc import Sequence
from typing import Any

import pytest
from servers import AtMostOnceSession, Broker, SameSessionSession

import unimq
from unimq.driver import Delivery, Outgoing

Sent = Sequence[str | unimq.UnimqError | None]


def in_one(
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    *,
    times: int,
    in_doubt: bool = False,
    error: Any = unimq.ConnectionLost,
) -> list[int]:
    """Each of the next exchanges stores so many and then breaks; the sizes of all exchanges."""
    sizes: list[int] = []
    real = SameSessionSession.send

    def send(self: SameSessionSession, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sent:
        sizes.append(len(messages))
        if len(sizes) > times:
            return real(self, queue, messages, deadline)
        stored = list(real(self, queue, messages[:after], deadline)) if after else []
        self.cut()
        lost = [error("the connection broke", in_doubt=in_doubt) for _ in messages[after:]]
        return [*stored, *lost]

    monkeypatch.setattr(SameSessionSession, "send", send)
    return sizes


def bodies(broker: Broker) -> list[bytes]:
    return [job.message.body for job in broker.jobs.values()]


@pytest.mark.parametrize("error", [unimq.ConnectionLost, unimq.Timeout])
def test_the_rest_of_a_batch_is_sent_over_another_connection(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    """However often it breaks in the middle, all is stored once, in order, and the put knows of no trouble."""
    sizes = in_one(monkeypatch, 2, times=3, error=error)
    with unimq.Queue[int](f"simsame://{broker.name}/jobs") as queue:
        receipts = queue.put_many(range(8))
    assert sizes == [8, 6, 4, 2]
    assert bodies(broker) == [b"%d" % number for number in range(8)]
    assert len({receipt.id for receipt in receipts}) == 8


def test_what_may_have_left_is_not_sent_again(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be there twice, perhaps."""
    sizes = in_one(monkeypatch, 2, times=1, in_doubt=True)
    with unimq.Queue[int](f"simsame://{broker.name}/jobs") as queue, pytest.raises(unimq.BatchError) as caught:
        queue.put_many(range(5))
    assert sizes == [5]
    assert caught.value.failed == [2, 3, 4]
    assert caught.value.in_doubt


def test_a_returned_loss_is_repeated_where_a_raised_one_is(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an idle connection that died; not on a new one, whose server is in trouble."""
    with unimq.Queue[int](f"simsame://{broker.name}/jobs") as queue:
        queue.put(1)
        sizes = in_one(monkeypatch, 0, times=1)
        queue.put(2)
        assert (sizes, bodies(broker)) == ([1, 1], [b"1", b"2"])
    sizes = in_one(monkeypatch, 0, times=99)
    with unimq.Queue[int](f"simsame://{broker.name}/jobs") as queue:
        with pytest.raises(unimq.ConnectionLost) as caught:
            queue.put(3)
        assert not caught.value.in_doubt
        with pytest.raises(unimq.BatchError):
            queue.put_many([3, 4])
    assert sizes == [1, 2]


def test_another_host_takes_what_one_did_not_get(
    broker: Broker, other_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is asked first."""
    real = SameSessionSession.send

    def send(self: SameSessionSession, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sent:
        if self.broker is broker:
            self.cut()
            return [unimq.ConnectionLost("the connection broke") for _ in messages]
        return real(self, queue, messages, deadline)

    monkeypatch.setattr(SameSessionSession, "send", send)
    with unimq.Queue[int](f"simsame://{broker.name},{other_broker.name}/jobs") as queue:
        for number in range(4):
            queue.put(number)
        queue.put_many([4, 5])
    assert bodies(other_broker) == [b"%d" % number for number in range(6)]
    assert not broker.jobs


@pytest.mark.parametrize("how", ["one", "many"])
def test_an_ack_that_did_not_leave_is_sent_again(broker: Broker, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Where any session settles: the one that was tried had died while it was idle."""
    asked: list[int] = []

    def ack(
        self: AtMostOnceSession, deliveries: Sequence[Delivery], deadline: float
    ) -> Sequence[unimq.UnimqError | None]:
        asked.append(len(deliveries))
        if len(asked) > 1:
            return [None for _ in deliveries]
        self.cut()
        return [unimq.ConnectionLost("the connection broke") for _ in deliveries]

    monkeypatch.setattr(AtMostOnceSession, "ack", ack)
    with unimq.Queue[int](f"simonce://{broker.name}/jobs") as queue:
        queue.put_many([1, 2])
        messages = queue.get_many(2, timeout=0)
        if how == "one":
            messages[0].ack()
        else:
            queue.ack(messages)
    assert asked == ([1, 1] if how == "one" else [2, 2])
