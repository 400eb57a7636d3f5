"""A backend that blocks like beanstalkd: what the pool and the settler promise on it."""

import dataclasses
import threading
import time
from typing import Any

import pytest
from servers import SAME_SESSION, Broker

import unimq
from unimq.capabilities import absent


def open_queue(broker: Broker, options: str = "") -> "unimq.Queue[object]":
    return unimq.Queue(f"simsame://{broker.name}/jobs?{options}")


def test_a_put_does_not_wait_for_a_blocked_get(broker: Broker) -> None:
    """The blocked get has a session of its own."""
    with open_queue(broker) as queue:
        got: list[object] = []
        waiting = threading.Thread(target=lambda: got.append(queue.get(timeout=5).body))
        waiting.start()
        time.sleep(0.05)
        queue.put("x")
        waiting.join(5)
        assert got == ["x"]


def test_a_settlement_does_not_wait_for_a_blocked_get(broker: Broker) -> None:
    """The session that holds the message is not the one that waits."""
    with open_queue(broker) as queue:
        queue.put(1)
        message = queue.get(timeout=1)
        waiting = threading.Thread(target=lambda: queue.get(timeout=5).ack())
        waiting.start()
        time.sleep(0.05)
        start = time.monotonic()
        message.ack()
        assert time.monotonic() - start < 1
        queue.put(2)
        waiting.join(5)
        assert not broker.jobs
        assert broker.opened == 2


def test_a_session_that_holds_a_message_polls_but_does_not_wait(broker: Broker) -> None:
    """A poll may use the holding session, so one connection is enough for it."""
    with open_queue(broker) as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0)
        message.ack()
        assert broker.opened == 1


def test_sessions_that_all_hold_something_are_polled(broker: Broker) -> None:
    """A waiting get finds what comes, and says `Empty` when nothing did; nobody has to settle something first."""
    with open_queue(broker, "max_sessions=2") as queue, open_queue(broker) as other:
        queue.put_many([1, 2])
        held = [queue.get(timeout=1), queue.get(timeout=1)]
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0.2)
        other.put(3)
        held.append(queue.get(timeout=5))
        putting = threading.Timer(0.2, other.put, [4])
        putting.start()
        held.append(queue.get(timeout=5))
        putting.join()
        assert [message.body for message in held] == [1, 2, 3, 4]
        queue.ack(held)


def test_messages_in_hand_need_one_connection(broker: Broker) -> None:
    """While the queue has messages, a get that would wait polls where others are in hand."""
    with open_queue(broker) as queue:
        queue.put_many(range(40))
        held = [queue.get(timeout=1) for _ in range(40)]
        assert broker.opened == 1
        queue.ack(held)


def test_a_stale_handle_does_not_settle_a_newer_delivery(broker: Broker) -> None:
    """The server gives the same id again, on the same connection."""
    with open_queue(broker, "lease=50ms") as queue:
        queue.put("x")
        stale = queue.get(timeout=1)
        time.sleep(0.06)
        fresh = queue.get(timeout=1)
        with pytest.raises(unimq.LeaseLost, match="again"):
            stale.ack()
        assert len(broker.jobs) == 1
        fresh.ack()
        assert not broker.jobs


def test_a_broken_connection_takes_its_messages_along(broker: Broker) -> None:
    """Settling says so; the message comes back counted."""
    with open_queue(broker) as queue:
        queue.put("x")
        message = queue.get(timeout=1)
        broker.cut()
        with pytest.raises((unimq.LeaseLost, unimq.ConnectionLost)):
            message.ack()
        with pytest.raises(unimq.LeaseLost):
            message.ack()
        again = queue.get(timeout=1)
        assert again.delivery_count == 2
        again.ack()


def test_a_put_that_may_be_stored_is_in_doubt_and_not_repeated(broker: Broker) -> None:
    """The reply was lost after the server had stored it."""
    with open_queue(broker) as queue:
        queue.put("first")
        broker.faults.append(("send", "after"))
        with pytest.raises(unimq.ConnectionLost) as caught:
            queue.put("second")
        assert caught.value.in_doubt
        assert len(broker.jobs) == 2


def test_a_put_on_a_dead_idle_connection_is_repeated(broker: Broker) -> None:
    """Nothing was sent, so nothing can be duplicated."""
    with open_queue(broker) as queue:
        queue.put("first")
        broker.cut()
        queue.put("second")
        assert len(broker.jobs) == 2


def test_a_batch_in_doubt_says_so(broker: Broker) -> None:
    """Each member has its outcome."""
    with open_queue(broker) as queue:
        broker.faults.append(("send", "after"))
        with pytest.raises(unimq.BatchError) as caught:
            queue.put_many([1, 2, 3])
        assert caught.value.failed == [0, 1, 2]
        assert caught.value.in_doubt


def test_a_get_rides_out_an_outage(broker: Broker) -> None:
    """A server that was there before and is away comes back."""
    with open_queue(broker) as queue:
        queue.put("x")
        broker.down = True
        broker.cut()
        threading.Timer(0.2, lambda: setattr(broker, "down", False)).start()
        queue.get(timeout=5).ack()


def test_a_get_says_that_no_server_could_be_reached(broker: Broker) -> None:
    """Not `Empty`: nobody knows whether the queue is."""
    broker.down = True
    with open_queue(broker) as queue:
        start = time.monotonic()
        with pytest.raises(unimq.ConnectError):
            queue.get(timeout=0.2)
        assert 0.2 <= time.monotonic() - start < 2


def test_a_server_that_was_never_reached_is_not_waited_for_for_ever(broker: Broker) -> None:
    """A get without a timeout gives up after `connect_timeout`: the URL may be wrong."""
    broker.down = True
    with open_queue(broker, "connect_timeout=200ms") as queue, pytest.raises(unimq.ConnectError):
        queue.get()


def test_max_deliveries_ends_in_the_dead_letters(broker: Broker) -> None:
    """A message that is nacked as often as allowed is given up, with its story."""
    with open_queue(broker, "max_deliveries=2") as queue:
        queue.put("bad", headers={"own": "kept"})
        queue.get(timeout=1).nack()
        queue.get(timeout=1).nack()
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0)
        with queue.dead.get(timeout=1) as dead:
            assert dead.body == "bad"
            assert dead.headers["own"] == "kept"
            assert dead.headers["unimq-dead-origin"] == "jobs"
            assert dead.headers["unimq-dead-deliveries"] == "2"


def test_a_crash_loop_ends_in_the_dead_letters(broker: Broker) -> None:
    """Deliveries that nobody settles count as well."""
    with open_queue(broker, "max_deliveries=2") as queue:
        queue.put("bad")
        for _ in range(2):
            queue.get(timeout=1)
            broker.cut()
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0.05)
        assert queue.dead.size() == 1


def test_what_the_server_does_not_prove_is_refused(broker: Broker) -> None:
    """Declared for the URL, found absent at the first connection: nothing is stored."""
    broker.proves = unimq_replace(delay=absent("this server has no clock"))
    with open_queue(broker) as queue:
        assert queue.capabilities.delay
        with pytest.raises(unimq.Unsupported, match="no clock"):
            queue.put("x", delay=1)
        assert not queue.capabilities.delay
        with pytest.raises(unimq.Unsupported):
            queue.put("x", delay=1)
        assert not broker.jobs


def test_a_requirement_is_checked_again_when_the_server_is_met(broker: Broker) -> None:
    """A server that proves too little is refused with every connection."""
    broker.proves = unimq_replace(delay=absent("this server has no clock"))
    with open_queue(broker, "require=delay") as queue, pytest.raises(unimq.Unsupported, match="no clock"):
        queue.put("x")
    assert not broker.jobs


def unimq_replace(**changes: object) -> unimq.Capabilities:
    return dataclasses.replace(SAME_SESSION._capabilities, **changes)


def test_two_hosts_share_the_puts_and_one_may_be_dead(broker: Broker, other_broker: Broker) -> None:
    """Round robin; what cannot be reached is left out and taken back."""
    with unimq.Queue(f"simsame://{broker.name},{other_broker.name}/jobs") as queue:
        queue.put_many([1])
        queue.put_many([2])
        assert len(broker.jobs) == len(other_broker.jobs) == 1
        broker.down = True
        broker.cut()
        queue.put(3)
        queue.put(4)
        assert len(other_broker.jobs) == 3
        bodies = []
        for _ in range(3):
            with queue.get(timeout=1) as message:
                bodies.append(message.body)
        broker.down = False
        with queue.get(timeout=5) as message:
            bodies.append(message.body)
        assert sorted(bodies) == [1, 2, 3, 4]


def test_a_key_leads_to_its_host(broker: Broker, other_broker: Broker) -> None:
    """The same key always goes to the same host."""
    with unimq.Queue(f"simsame://{broker.name},{other_broker.name}/jobs") as queue:
        for _ in range(6):
            queue.put("x", key="customer 7")
        assert sorted([len(broker.jobs), len(other_broker.jobs)]) == [0, 6]


def test_closing_ends_a_blocked_get(broker: Broker) -> None:
    """It raises `Closed`, and soon."""
    queue = open_queue(broker)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            queue.get()
        except unimq.UnimqError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    start = time.monotonic()
    queue.close()
    thread.join(5)
    assert time.monotonic() - start < 2
    assert [type(error) for error in errors] == [unimq.Closed]
    with pytest.raises(unimq.Closed):
        queue.put(1)


def test_waiting_gets_leave_a_session_for_puts(broker: Broker) -> None:
    """However many wait."""
    with open_queue(broker, "max_sessions=3") as queue:
        threads = [threading.Thread(target=lambda: queue.get(timeout=5).ack()) for _ in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        for number in range(5):
            queue.put(number, timeout=1)
        for thread in threads:
            thread.join(5)
        assert not broker.jobs


def test_hooks_are_told(broker: Broker) -> None:
    """Connections, sends, receives and settlements."""
    told: list[object] = []
    hooks = unimq.Hooks(
        connection=lambda event: told.append(event.state),
        send=lambda queue, headers: headers.update(trace="t1"),
        receive=lambda message: told.append(message.headers["trace"]),
        settle=lambda message, outcome: told.append(outcome),
    )
    with unimq.Queue(f"simsame://{broker.name}/jobs", hooks=hooks) as queue:
        queue.put("x")
        queue.get(timeout=1).nack()
        queue.get(timeout=1).ack()
        broker.cut()
        broker.down = True
        with pytest.raises(unimq.ConnectError):
            queue.put("y")
    assert told == ["connected", "t1", "nack", "t1", "ack", "lost", "refused"]


def test_credentials_are_asked_for_with_each_connection(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may change; the URL that the driver opens has them."""
    seen: list[tuple[str | None, str | None]] = []
    real = SAME_SESSION.open

    def opened(url: unimq.URL, *arguments: Any, **named: Any) -> Any:
        seen.append((url.user, url.password))
        return real(url, *arguments, **named)

    monkeypatch.setattr(SAME_SESSION, "open", opened)
    words = iter(["one", "two"])
    queue = unimq.Queue(f"simsame://{broker.name}/jobs", credentials=lambda: ("ada", next(words)))
    with queue:
        queue.put(1)
        broker.cut()
        queue.put(2)
    assert seen == [("ada", "one"), ("ada", "two")]
