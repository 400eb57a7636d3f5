"""What a call says that finds no session in time, and what it leaves."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from servers import Broker

import unimq


def while_in_use(queue: "unimq.Queue[Any]", call: Callable[[], object]) -> None:
    """Run the call while the only session is lent to somebody else."""
    pool = queue._endpoint.pool
    pool.lend(pool.hosts[0], time.monotonic() + 5, lambda _, call: call(), call)


def test_a_put_that_finds_no_session_says_what_helps(broker: Broker) -> None:
    """When its time is over and no sooner; the session is used again afterwards."""
    with unimq.Queue[Any](f"simsame://{broker.name}/jobs?max_sessions=1") as queue:

        def put() -> None:
            start = time.monotonic()
            with pytest.raises(unimq.Timeout, match=r"no session was free in time; 1 are busy, raise \?max_sessions="):
                queue.put(1, timeout=0.1)
            assert time.monotonic() - start >= 0.1

        while_in_use(queue, put)
        queue.put(2)
    assert [job.message.body for job in broker.jobs.values()] == [b"2"]
    assert broker.opened == 1


def test_an_ack_whose_session_is_busy_can_be_done_again(broker: Broker) -> None:
    """Alone and in a batch: the message is still in hand."""
    with unimq.Queue[Any](f"simsame://{broker.name}/jobs?max_sessions=1&timeout=50ms") as queue:
        queue.put_many([1, 2])
        one, two = queue.get_many(2, timeout=0)

        def ack() -> None:
            with pytest.raises(unimq.Timeout, match="the session is busy with another call until the deadline"):
                one.ack()
            with pytest.raises(unimq.BatchError) as caught:
                queue.ack([one, two])
            assert [type(outcome) for outcome in caught.value.outcomes] == [unimq.Timeout, unimq.Timeout]

        while_in_use(queue, ack)
        assert [one.settled, two.settled] == [False, False]
        queue.ack([one, two])
    assert not broker.jobs
