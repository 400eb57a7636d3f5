"""Brokers that lack something, or are full: what they would ignore is refused, what they refuse is told."""

import time
from collections.abc import Callable, Iterator

import pytest
from harness import Recipe, Running

import unimq
import unimq_activemq
from unimq.errors import StorageError, TooLarge, Unsupported
from unimq.testing.lab import PATIENCE, fresh_name
from unimq.testing.sessions import open_session


@pytest.fixture(scope="class")
def bare(private: Callable[[Recipe], Running], variant: Callable[..., Recipe]) -> Running:
    changes = {'schedulerSupport="true"': "", "<statisticsBrokerPlugin/>": "", 'prioritizedMessages="true"': ""}
    return private(variant("bare", changes))


@pytest.fixture(scope="class")
def small(private: Callable[[Recipe], Running], variant: Callable[..., Recipe]) -> Running:
    limits = "transport.tcpNoDelay=true&amp;wireFormat.maxDataLength=300000"
    changes = {'"stomp://0.0.0.0:61613?transport.tcpNoDelay=true"': f'"stomp://0.0.0.0:61613?{limits}"'}
    return private(variant("small", changes))


@pytest.fixture(scope="class")
def full(private: Callable[[Recipe], Running], variant: Callable[..., Recipe]) -> Running:
    return private(variant("full", {"4 gb": "9 mb"}))


def fill(queue: unimq.Queue) -> None:
    for _ in range(200):
        queue.put(bytes(200_000))


class TestBare:
    """A broker without scheduler, statistics plugin and priorities."""

    @pytest.fixture
    def queue(self, bare: Running) -> Iterator[unimq.Queue]:
        with unimq.Queue(f"{bare.url}/{fresh_name()}") as queue:
            yield queue

    def test_messages_come_and_go(self, queue: unimq.Queue) -> None:
        """What such a broker can do, it does."""
        queue.put("x", ttl=60, headers={"a": "b"})
        message = queue.get(timeout=PATIENCE)
        message.nack()
        with queue.get(timeout=PATIENCE) as again:
            assert (again.body, again.headers, again.delivery_count) == ("x", {"a": "b"}, 2)

    def test_what_it_would_ignore_is_refused(self, queue: unimq.Queue) -> None:
        """The text says what is missing in its configuration; nothing is sent."""
        queue.ping()
        with pytest.raises(Unsupported, match="schedulerSupport"):
            queue.put("x", delay=1)
        with pytest.raises(Unsupported, match="prioritizedMessages"):
            queue.put("x", priority=9)
        for call in (queue.stats, queue.purge, queue.size):
            with pytest.raises(Unsupported, match="statisticsBrokerPlugin"):
                call()
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0)

    def test_a_demand_fails_at_the_first_connect(self, bare: Running) -> None:
        """What `require=` names and this broker lacks."""
        with (
            unimq.Queue(f"{bare.url}/x?require=delay") as queue,
            pytest.raises(Unsupported, match="schedulerSupport"),
        ):
            queue.put("x")

    def test_nothing_of_the_question_is_left(self, bare: Running) -> None:
        """What a connect asks is not in any queue of an application, and has a time limit."""
        session = open_session(unimq_activemq.driver, bare.url, time.monotonic() + PATIENCE)
        try:  # the name is reserved, so a queue of an application cannot be it
            left = session.peek("ActiveMQ.Statistics.Destination.unimq-probe", 10, time.monotonic() + PATIENCE)
            assert all(message.expires_at for message in left)
        finally:
            session.close()


class TestFull:
    """A broker whose store has room for little."""

    def test_a_full_store_is_told(self, full: Running) -> None:
        """In time, by `StorageError`, of a batch too; what was stored before is there."""
        with unimq.Queue(f"{full.url}/{fresh_name()}?codec=raw&timeout=10s") as queue:
            with pytest.raises(StorageError, match="make room"):
                fill(queue)
            stored = queue.stats().ready
            assert stored
            with pytest.raises(unimq.BatchError) as caught:
                queue.put_many([bytes(200_000)] * 2)
            assert not caught.value.in_doubt
            for _ in range(stored):
                queue.get(timeout=PATIENCE).ack()
            with pytest.raises(unimq.Empty):
                queue.get(timeout=0)


class TestSmall:
    """A broker that takes small frames only."""

    def test_a_large_frame_is_told(self, small: Running) -> None:
        """The broker ends the connection for it; the error says why, and the next put works."""
        with unimq.Queue(f"{small.url}/{fresh_name()}?codec=raw&timeout=10s") as queue:
            queue.put(b"before")
            with pytest.raises(TooLarge, match=r"maximum (data|command) length"):
                queue.put(bytes(400_000))
            queue.put(b"after")
            bodies = []
            for _ in range(2):
                with queue.get(timeout=PATIENCE) as message:
                    bodies.append(message.body)
            assert bodies == [b"before", b"after"]

    @pytest.mark.parametrize(
        "headers", [{f"k{number}": "" for number in range(1000)}, {"k": "x" * 11_000}], ids=["many", "long"]
    )
    def test_headers_beyond_the_broker_s_limits_are_told(self, small: Running, headers: dict[str, str]) -> None:
        """More than it takes, or longer ones: refused, and not in doubt."""
        url = f"{small.url}/{fresh_name()}?timeout=10s"
        with unimq.Queue(url) as queue, pytest.raises((TooLarge, unimq.InvalidArgument)):
            queue.put("x", headers=headers)
        with unimq.Queue(url) as queue, pytest.raises(unimq.Empty):
            queue.get(timeout=0)
