"""A backend whose get removes: nothing is promised that it cannot keep, and nothing more is lost than it must."""

import pytest
from servers import Broker

import unimq


def open_queue(broker: Broker, options: str = "") -> "unimq.Queue[object]":
    return unimq.Queue(f"simonce://{broker.name}/jobs?{options}")


def test_acks_are_quiet_and_the_rest_is_refused(broker: Broker) -> None:
    """An application that acks runs unchanged; one that needs more is told."""
    with open_queue(broker) as queue:
        queue.put("x")
        message = queue.get(timeout=1)
        with pytest.raises(unimq.Unsupported, match="nack is absent"):
            message.nack()
        with pytest.raises(unimq.Unsupported, match="extend is absent"):
            message.extend()
        assert not message.settled
        message.ack()
        with pytest.raises(unimq.AlreadySettled):
            message.ack()


def test_a_requirement_is_refused_before_anything_is_opened(broker: Broker) -> None:
    """Asking for at-least-once fails at construction."""
    with pytest.raises(unimq.Unsupported, match="at-most-once"):
        unimq.Queue(f"simonce://{broker.name}/jobs", require={"at-least-once"})
    assert broker.opened == 0


def test_what_was_fetched_ahead_is_put_back(broker: Broker) -> None:
    """The server has forgotten it, so it is sent again."""
    with open_queue(broker) as queue:
        queue.put_many([1, 2, 3], headers={"own": "kept"})
        for message in queue.consume(prefetch=3):
            assert message.body == 1
            break
        messages = queue.get_many(10, timeout=0)
        assert [(m.body, m.headers["own"]) for m in messages] == [(2, "kept"), (3, "kept")]


def test_a_rejected_message_is_sent_to_the_dead_letters(broker: Broker) -> None:
    """Dead letters work everywhere."""
    with open_queue(broker) as queue:
        queue.put("bad")
        queue.get(timeout=1).reject("no good")
        assert queue.dead.redrive() == 1
        assert queue.get(timeout=1).body == "bad"


def test_max_deliveries_needs_a_count(broker: Broker) -> None:
    """Where deliveries cannot be counted, an option that depends on it is refused."""
    with pytest.raises(unimq.Unsupported, match="delivery_count"):
        open_queue(broker, "max_deliveries=3")
