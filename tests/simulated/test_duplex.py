"""A backend that pushes like a STOMP broker: settling while a receive waits, a lease that unimq keeps."""

import threading
import time

import pytest
from servers import Broker

import unimq
from unimq.driver import Outgoing


def open_queue(broker: Broker, options: str = "") -> "unimq.Queue[object]":
    return unimq.Queue(f"simduplex://{broker.name}/jobs?{options}")


def test_a_message_is_settled_while_its_session_waits(broker: Broker) -> None:
    """One connection does both."""
    with open_queue(broker) as queue:
        queue.put(1)
        message = queue.get(timeout=1)
        waiting = threading.Thread(target=lambda: queue.get(timeout=5).ack())
        waiting.start()
        time.sleep(0.05)
        message.ack()
        queue.put(2)
        waiting.join(5)
        assert not broker.jobs
        assert broker.opened == 1


def test_the_lease_is_kept_by_giving_the_message_back(broker: Broker) -> None:
    """After `?lease=` somebody else gets it, counted, and the first holder is told."""
    with open_queue(broker, "lease=100ms") as queue:
        queue.put("x", headers={"own": "kept"})
        stale = queue.get(timeout=1)
        with queue.get(timeout=2) as again:
            assert again.body == "x"
            assert again.headers["own"] == "kept"
            assert again.delivery_count == 2
            assert again.id == stale.id
        with pytest.raises(unimq.LeaseLost):
            stale.ack()
        assert not broker.jobs


def test_extending_moves_the_end_of_the_lease(broker: Broker) -> None:
    """The message stays for as long as it is extended."""
    with open_queue(broker, "lease=100ms") as queue:
        queue.put("x")
        message = queue.get(timeout=1)
        assert message.extend(0.5) == 0.5
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0.2)
        message.ack()
        assert not broker.jobs


def test_a_nack_sends_a_copy_that_counts(broker: Broker) -> None:
    """The protocol has no way back, so the message is sent again before the delivery is settled."""
    with open_queue(broker) as queue:
        queue.put("x", headers={"a": "b"}, id="own")
        first = queue.get(timeout=1)
        assert (first.delivery_count, first.id) == (1, "own")
        first.nack()
        with queue.get(timeout=1) as second:
            assert (second.delivery_count, second.id, second.redelivered) == (2, "own", True)
            assert second.headers["a"] == "b"
            assert second.enqueued_at == first.enqueued_at
        assert not broker.jobs


def test_a_move_that_broke_keeps_the_message(broker: Broker) -> None:
    """Sent, and the connection broke before the settlement was confirmed: it may come twice, it is never lost."""
    with open_queue(broker) as queue:
        queue.put("x")
        message = queue.get(timeout=1)
        broker.faults.append(("move", "after"))
        with pytest.raises(unimq.ConnectionLost):
            message.nack()
        with queue.get(timeout=1) as again:
            assert again.body == "x"


def test_what_was_fetched_ahead_goes_back_in_order(broker: Broker) -> None:
    """Uncounted: nobody has looked at it."""
    with open_queue(broker) as queue:
        queue.put_many([1, 2, 3])
        for message in queue.consume(prefetch=3):
            message.ack()
            break
        bodies = []
        for message in queue.consume(timeout=0):
            assert message.delivery_count == 1
            bodies.append(message.body)
            message.ack()
        assert bodies == [2, 3]


def test_acking_many_says_which_failed(broker: Broker) -> None:
    """One that was settled before does not keep the others."""
    with open_queue(broker) as queue:
        queue.put_many([1, 2, 3])
        messages = queue.get_many(3, timeout=1)
        messages[1].ack()
        with pytest.raises(unimq.BatchError) as caught:
            queue.ack(messages)
        assert caught.value.failed == [1]
        assert isinstance(caught.value.outcomes[1], unimq.AlreadySettled)
        assert not broker.jobs


def test_expired_messages_are_removed_unseen(broker: Broker) -> None:
    """The stamp is checked at hand-over; neighbours are not touched."""
    with open_queue(broker) as queue:
        queue.put("old", ttl=0.05)
        queue.put("new")
        time.sleep(0.06)
        with queue.get(timeout=1) as message:
            assert message.body == "new"
        assert not broker.jobs


def test_a_damaged_stamp_is_the_message_s_own_trouble(broker: Broker) -> None:
    """A forged reserved header makes that message invalid, and can still be rejected and redriven."""
    with open_queue(broker) as queue:
        broker.store("jobs", Outgoing(b'"x"', headers={"unimq-expires": "never"}))
        queue.put("good")
        bad = queue.get(timeout=1)
        with pytest.raises(unimq.InvalidMessage, match="unimq-expires"):
            bad.body  # noqa: B018
        bad.reject("forged")
        with queue.get(timeout=1) as good:
            assert good.body == "good"
        assert queue.dead.size() == 1
