"""Consumers that die: with `?count_crashes=true` what they had in hand is counted, and ends as a dead letter."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from activemq.foreign import Foreign
from harness import Recipe

import unimq
from unimq.testing import QueueConformance
from unimq.testing.counting import Counting
from unimq.testing.getting import Getting
from unimq.testing.lab import PATIENCE, fresh_name
from unimq.testing.leases import Leases
from unimq.testing.settling import Settling

_CONSUMER = """
import sys, time, unimq
with unimq.Queue() as queue:
    found = queue.get_many(int(sys.argv[1]), timeout=20)
    print(*[f"{message.body}:{message.delivery_count}" for message in found], flush=True)
    time.sleep(60)
"""


class TestCounted(Getting, Settling, Leases, Counting):
    """The cases that a count is about hold with the option too."""

    @pytest.fixture
    def url(self, shared: Callable[[Recipe], str], broker: Recipe) -> str:
        return f"{shared(broker)}/?prioritized=true&count_crashes=true"


assert issubclass(QueueConformance, TestCounted.__bases__)


@pytest.fixture(scope="module")
def server(shared: Callable[[Recipe], str], broker: Recipe) -> str:
    return shared(broker)


@pytest.fixture
def url(server: str) -> str:
    return f"{server}/{fresh_name()}?count_crashes=true&max_deliveries=3"


def killed(url: str, count: int = 1) -> str:
    """What a process had in hand when it was killed."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CONSUMER, str(count)],
        stdout=subprocess.PIPE,
        env={**os.environ, "UNIMQ_URL": url},
        text=True,
    )
    assert child.stdout is not None
    with child, child.stdout:
        told = child.stdout.readline().strip()
        child.kill()
    return told


def test_a_message_that_kills_its_consumers_becomes_a_dead_letter(url: str) -> None:
    """After as many deliveries as are allowed, each counted; others are not counted, and come before its copies."""
    with unimq.Queue(url) as queue:
        queue.put("kills", headers={"colour": "red"}, id="k1")
        assert [killed(url) for _ in range(2)] == ["kills:1", "kills:2"]
        queue.put("innocent")
        with queue.get(timeout=PATIENCE) as message:
            assert (message.body, message.delivery_count) == ("innocent", 1)
        assert killed(url) == "kills:3"
        with pytest.raises(unimq.Empty):
            queue.get(timeout=1)
        with queue.dead.get(timeout=PATIENCE) as letter:
            assert (letter.body, letter.id, letter.headers["colour"]) == ("kills", "k1", "red")
            assert letter.headers["unimq-dead-deliveries"] == "3"


def test_what_a_dead_consumer_had_not_looked_at_is_counted_too(url: str) -> None:
    """The broker does not tell them apart: the price of taking many at a time."""
    with unimq.Queue(url) as queue:
        queue.put_many(["a", "b", "c"])
        assert killed(url, 3) == "a:1 b:1 c:1"
        found = set()
        for _ in range(3):
            with queue.get(timeout=PATIENCE) as message:
                found.add((message.body, message.delivery_count))
        assert found == {("a", 2), ("b", 2), ("c", 2)}


def test_nothing_else_counts(url: str) -> None:
    """Many consumers at once, batches settled in parts, and iterations that end early count for nothing."""
    with unimq.Queue(url) as first, unimq.Queue(url) as second:
        first.put_many(range(100))
        seen: list[int] = []
        for turn in range(100):
            for queue in (first, second):
                batch = queue.get_many(1 + turn % 4, timeout=0) if queue.stats().ready else []
                assert {message.delivery_count for message in batch} <= {1}
                seen += [message.body for message in batch]
                for message in batch:
                    message.ack()
            if len(seen) == 100:
                break
            for message in first.consume(prefetch=5, timeout=0):
                assert message.delivery_count == 1
                message.release()
                break
        assert sorted(seen) == [*range(100)]


def test_a_wait_for_several_queues_counts_for_nothing(server: str) -> None:
    """What comes for one of them stays with the others uncounted and in its order, for other consumers too."""
    with (
        unimq.connect(f"{server}/?count_crashes=true&max_deliveries=2") as first,
        unimq.connect(f"{server}/?count_crashes=true&max_deliveries=2") as second,
    ):
        names = [fresh_name() for _ in range(3)]
        for name in names:
            first.queue(name).put_many(range(10))
        seen: dict[str, list[int]] = {name: [] for name in names}
        for turn in range(30):
            client = (first, second)[turn % 2]
            with client.get([client.queue(name) for name in names], timeout=PATIENCE * (turn % 3 > 0)) as message:
                assert message.delivery_count == 1
                seen[message.queue].append(message.body)
        assert list(seen.values()) == [[*range(10)]] * 3


def test_a_foreign_message_is_counted(url: str, server: str) -> None:
    """One without any header of unimq, which keeps its own."""
    program = Foreign(unimq.URL.parse(server))
    with unimq.Queue(url, codec="raw") as queue:
        program.connection.send(f"/queue/{queue.name}", b"1", headers={"correlation-id": "c", "priority": "7"})
        program.connection.disconnect()
        assert killed(url) == "1:1"
        with queue.get(timeout=PATIENCE) as message:
            assert (message.body, message.delivery_count, message.priority) == (b"1", 2, 7)
            assert message.headers["correlation-id"] == "c"


def test_it_can_be_demanded(server: str) -> None:
    """`require=crash-counted` holds with the option, and is refused without."""
    with unimq.Queue(f"{server}/x?count_crashes=true&require=crash-counted") as queue:
        queue.ping()
    with pytest.raises(unimq.errors.Unsupported, match="crash"):
        unimq.Queue(f"{server}/x?require=crash-counted")
