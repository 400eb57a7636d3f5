"""What a failing host costs: who is asked instead, and what is asked again."""

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from servers import DUPLEX, SAME_SESSION, Broker

import unimq
from unimq.capabilities import absent


def test_a_host_that_answers_nothing_in_time_is_passed_over(
    broker: Broker, other_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connect that times out is a reason to ask the next host, for a put and for a get."""
    real = SAME_SESSION.open

    def opened(url: unimq.URL, *arguments: Any, **named: Any) -> Any:
        if url.hosts[0].name == broker.name:
            msg = f"{url}: no answer in time"
            raise unimq.Timeout(msg)
        return real(url, *arguments, **named)

    monkeypatch.setattr(SAME_SESSION, "open", opened)
    with unimq.Queue(f"simsame://{broker.name},{other_broker.name}/jobs") as queue:
        for number in range(4):
            queue.put(number)
        assert sorted(message.body for message in queue.get_many(4, timeout=5)) == [0, 1, 2, 3]
    assert not broker.jobs


def test_an_idle_connection_that_died_is_no_failure_of_a_get(broker: Broker) -> None:
    """It is repeated at once on another one, also where it does not wait."""
    with unimq.Queue(f"simsame://{broker.name}/jobs") as queue:
        queue.put(1)
        broker.cut()
        assert queue.get(timeout=0).body == 1
        broker.cut()
        with pytest.raises(unimq.Empty):
            unimq.Queue(f"simsame://{broker.name}/none").get(timeout=0)


def test_durable_may_be_proved_by_the_server(broker: Broker) -> None:
    """What is unknown beforehand is asked for at the first connect, and refused there if the server says no."""
    known = SAME_SESSION.capabilities(unimq.URL("simsame"))
    broker.proves = replace(known, survives_server_restart="yes")
    with unimq.Queue(f"simsame://{broker.name}/jobs?require=durable") as queue:
        queue.put(1)
        assert queue.capabilities.survives_server_restart == "yes"
    for answer in ("no", "unknown"):
        broker.proves = replace(known, survives_server_restart=answer)
        url = f"simsame://{broker.name}/jobs?require=durable"
        with unimq.Queue(url) as queue, pytest.raises(unimq.Unsupported, match=f"server restart: {answer}"):
            queue.put(2)
    assert len(broker.jobs) == 1


def test_limits_are_kept_before_anything_is_sent(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that the server keeps, the number of headers, and a name that takes room from the body."""
    known = DUPLEX.capabilities(unimq.URL("simduplex"))
    limits = replace(known.limits, reserved=r"log\.\d+", header_count=2, body=10, name_in_body=True)
    monkeypatch.setattr(DUPLEX, "_capabilities", replace(known, limits=limits))
    with unimq.connect(f"simduplex://{broker.name}") as client:
        with pytest.raises(unimq.InvalidName, match="the server keeps it"):
            client.queue("log.7")
        queue = client.queue("jobs", codec="text")
        with pytest.raises(unimq.InvalidArgument, match="3 entries, at most 2"):
            queue.put("x", headers={"a": "1", "b": "2", "c": "3"})
        with pytest.raises(unimq.TooLarge, match="at most 6"):
            queue.put("1234567")
        queue.put("123456")
    assert len(broker.jobs) == 1


@pytest.mark.parametrize("lacking", ["first", "last"])
def test_what_is_absent_on_one_host_is_absent(broker: Broker, other_broker: Broker, lacking: str) -> None:
    """Whichever was met before: the host that has it does not bring it back."""
    without = broker if lacking == "first" else other_broker
    without.proves = replace(SAME_SESSION.capabilities(unimq.URL("simsame")), delay=absent("it has no clock"))
    with unimq.Queue(f"simsame://{broker.name},{other_broker.name}/jobs") as queue:
        assert queue.capabilities.delay
        queue.ping()  # asks all
        assert broker.opened == other_broker.opened == 1
        assert not queue.capabilities.delay
        with pytest.raises(unimq.Unsupported, match="it has no clock"):
            queue.put(1, delay=1)


CALLS: dict[str, Callable[["unimq.Queue[Any]"], object]] = {
    "send": lambda queue: queue.put(1),
    "receive": lambda queue: queue.get(timeout=0),
    "stats": lambda queue: queue.stats(),
}


@pytest.mark.parametrize("operation", CALLS)
def test_a_connection_that_breaks_when_it_is_new_is_a_failure(broker: Broker, operation: str) -> None:
    """What was idle is replaced once, and not for ever: the fault is the server's."""
    with unimq.Queue(f"simsame://{broker.name}/jobs") as queue:
        queue.ping()
        broker.faults.extend([(operation, "before")] * 20)
        with pytest.raises(unimq.ConnectionLost):
            CALLS[operation](queue)
    assert (len(broker.faults), broker.opened) == (18, 2)


def test_a_host_that_failed_is_left_out_for_a_while(
    broker: Broker, other_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes last in every round until its pause is over and a try went well, and then it has its turns again."""
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("unimq.pool.time", clock)
    monkeypatch.setattr("unimq.hosts.time", clock)
    with unimq.connect(f"simsame://{broker.name},{other_broker.name}") as client:
        pool = client.pool
        bad, good = pool.hosts
        keys = [None, None, *(str(number) for number in range(10))]
        assert {pool.order(key)[0] for key in keys} == {bad, good}
        bad.failed()
        assert [pool.order(key) for key in keys] == [[good, bad]] * len(keys)
        now += 0.044  # the first pause is 45 to 55 ms
        assert [pool.order(key) for key in keys] == [[good, bad]] * len(keys)
        assert broker.opened == 0
        now += 0.012
        assert pool.order()[0] is good
        end = time.monotonic() + 10
        while bad.failures:
            assert time.monotonic() < end
            time.sleep(0.001)
        assert [pool.order()[0] for _ in range(2)] in ([bad, good], [good, bad])
        assert {pool.order(key)[0] for key in keys[2:]} == {bad, good}


def test_several_hosts_have_no_order_as_a_whole(broker: Broker, other_broker: Broker) -> None:
    """Whoever needs one is told so before anything is sent; and it is so after the servers were met, too."""
    one, two = f"simsame://{broker.name}/jobs", f"simsame://{broker.name},{other_broker.name}/jobs"
    unimq.Queue(f"{one}?require=fifo").close()
    with pytest.raises(unimq.Unsupported, match="over several hosts"):
        unimq.Queue(f"{two}?require=fifo")
    with unimq.Queue(one) as alone, unimq.Queue(two) as queue:
        alone.put(0)
        queue.put_many([1, 2])
        assert alone.capabilities.order != "none"
        assert queue.capabilities.order == "none"
