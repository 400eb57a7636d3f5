"""What is taken together: nothing comes with it that nobody asked for, and the order of the rest stays as it was."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from activemq.foreign import Foreign
from harness import Recipe

import unimq
from unimq.testing.lab import PATIENCE, fresh_name


@pytest.fixture(scope="module")
def url(shared: Callable[[Recipe], str], broker: Recipe) -> str:
    return shared(broker)


@pytest.fixture
def name() -> str:
    return fresh_name()


@pytest.fixture
def queue(url: str, name: str) -> Iterator[unimq.Queue[int]]:
    with unimq.Queue(f"{url}/{name}", type=int) as queue:
        yield queue


@pytest.fixture
def other(url: str, name: str) -> Iterator[unimq.Queue[int]]:
    """Another client: a connection of its own."""
    with unimq.Queue(f"{url}/{name}", type=int) as queue:
        yield queue


def taken(queue: unimq.Queue[int], count: int) -> list[int]:
    """The next ones, one by one."""
    bodies = []
    for _ in range(count):
        with queue.get(timeout=PATIENCE) as message:
            bodies.append(message.body)
    return bodies


def nothing(queue: unimq.Queue[Any]) -> bool:
    try:
        queue.get(timeout=0)
    except unimq.Empty:
        return True
    return False


def test_part_of_a_batch_makes_no_room(queue: unimq.Queue[int], other: unimq.Queue[int]) -> None:
    """What is settled of it brings no other messages here: a second consumer has them at once, in order."""
    queue.put_many(range(40))
    batch = queue.get_many(20, timeout=PATIENCE)
    assert [message.body for message in batch] == [*range(20)]
    queue.ack(batch[3:10])
    batch[15].ack()
    batch[0].nack()
    assert taken(other, 21) == [*range(20, 40), 0]
    assert nothing(other)
    queue.ack([*batch[1:3], *batch[10:15], *batch[16:]])
    assert nothing(other)


def test_fewer_than_wanted_leave_no_room(queue: unimq.Queue[int], other: unimq.Queue[int]) -> None:
    """A batch that found less than it wanted gets nothing later."""
    queue.put_many(range(3))
    batch = queue.get_many(50, timeout=PATIENCE)
    queue.put_many(range(3, 6))
    assert taken(other, 3) == [3, 4, 5]
    queue.ack(batch)
    assert nothing(other)


@pytest.mark.parametrize("sizes", [(10, 1, 1, 1), (1, 7, 1, 30), (100, 1, 2, 3)])
def test_batches_and_single_gets_keep_the_order(queue: unimq.Queue[int], sizes: tuple[int, ...]) -> None:
    """Whatever is taken at a time, and settled at once or one by one."""
    queue.put_many(range(300))
    seen: list[int] = []
    for turn in range(300):
        if len(seen) >= 300:
            break
        batch = queue.get_many(sizes[turn % len(sizes)], timeout=PATIENCE)
        seen += [message.body for message in batch]
        if turn % 3:
            queue.ack(batch)
        else:
            for message in batch:
                message.ack()
    assert seen == [*range(300)]


def test_consumers_strictly_in_turn_see_the_order(queue: unimq.Queue[int], other: unimq.Queue[int]) -> None:
    """One takes and acks, then the other: single ones, and batches."""
    queue.put_many(range(400))
    seen: list[int] = []
    for turn in range(400):
        if len(seen) >= 400:
            break
        consumer = (queue, other)[turn % 2]
        batch = consumer.get_many((1, 1, 1, 5)[turn % 4], timeout=PATIENCE)
        seen += [message.body for message in batch]
        consumer.ack(batch)
    assert seen == [*range(400)]


def test_what_an_iteration_has_not_seen_goes_back_in_front(queue: unimq.Queue[int], other: unimq.Queue[int]) -> None:
    """At its end, in order and uncounted, though one of it is still in hand: that one is delivered to nobody else."""
    queue.put_many(range(60))
    with closing(queue.consume(prefetch=20, timeout=PATIENCE)) as messages:
        for _ in range(5):
            next(messages).ack()
        kept = next(messages)
    assert kept.body == 5
    found = other.get(timeout=PATIENCE)
    assert (found.body, found.delivery_count) == (6, 1)
    found.ack()
    assert taken(other, 53) == [*range(7, 60)]
    kept.ack()
    assert nothing(other)


def test_an_iteration_keeps_the_order(queue: unimq.Queue[int]) -> None:
    """Also where more is in hand than it fetches at a time, and with gets in between."""
    queue.put_many(range(200))
    seen, held = [], []
    for message in queue.consume(prefetch=7, timeout=1):
        seen.append(message.body)
        held.append(message)
        if len(held) == 25:
            queue.ack(held)
            held.clear()
    queue.ack(held)
    assert seen == [*range(200)]


def test_a_poll_of_an_iteration_misses_nothing(queue: unimq.Queue[int]) -> None:
    """With a timeout of 0 it ends when there is nothing, and not before."""
    queue.put_many(range(300))
    for start in range(0, 300, 3):
        with closing(queue.consume(prefetch=3, timeout=0)) as messages:
            for number, message in zip(range(3), messages, strict=False):
                assert message.body == start + number
                message.ack()
    assert [message.body for message in queue.consume(prefetch=5, timeout=0)] == []


def test_a_greedy_consumer_gets_nothing_that_is_in_hand(url: str, queue: unimq.Queue[int], name: str) -> None:
    """One of another program that waits with room for all: what a batch gives up goes there, what it holds does not."""
    program = Foreign(unimq.URL.parse(url))
    try:
        queue.put_many(range(50))
        batch = queue.get_many(30, timeout=PATIENCE)
        program.connection.subscribe(f"/queue/{name}", "1", "client-individual", {"activemq.prefetchSize": "1000"})
        there = {program.frames.get(timeout=PATIENCE).body for _ in range(20)}
        for message in batch[::3]:
            message.ack()
        batch[1].nack()
        again = program.frames.get(timeout=PATIENCE)
        queue.ack([message for number, message in enumerate(batch) if number % 3 and number != 1])
        assert program.frames.empty()
        assert there == {b"%d" % number for number in range(30, 50)}
        assert again.body == b"1"
    finally:
        program.connection.disconnect()


def test_many_settle_parts_at_once(queue: unimq.Queue[int], url: str, name: str) -> None:
    """Each session guards the queue for a moment while it does, and none loses what it has in hand by that."""
    queue.put_many(range(600))

    def work(_: int) -> list[int]:
        done: list[int] = []
        with unimq.Queue(f"{url}/{name}", type=int) as mine:
            while len(done) < 600:
                try:
                    batch = mine.get_many(6, timeout=2)
                except unimq.Empty:
                    break
                for message in batch:
                    message.ack()
                    done.append(message.body)
        return done

    with ThreadPoolExecutor(8) as threads:
        done = [body for bodies in threads.map(work, range(8)) for body in bodies]
    assert sorted(done) == [*range(600)]
