"""What a type checker knows of unimq; checked by mypy and pyright, never run.

Each `ignore` names an error that must be there: both checkers report an ignore that is not needed any more.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

import unimq
from unimq.driver import Driver, Session


@dataclass
class Order:
    """A body."""

    customer: str
    total: int


class Address(TypedDict):
    """Another."""

    street: str


ORDER = Order("Ada", 12)


def a_typed_queue_takes_and_gives_its_type() -> None:
    queue = unimq.Queue("memory://", type=Order, name="orders", lease=30)
    assert_type(queue, unimq.Queue[Order])
    assert_type(queue.put(ORDER), unimq.Receipt)
    assert_type(queue.put_many([ORDER]), list[unimq.Receipt])
    assert_type(queue.get(), unimq.Message[Order])
    assert_type(queue.get(timeout=1).body, Order)
    assert_type(queue.get().body.total, int)
    assert_type(queue.get_many(10), list[unimq.Message[Order]])
    assert_type(queue.peek(3), list[unimq.Message[Order]])
    assert_type(queue.get().delivery_count, int | None)
    assert_type(queue.capabilities, unimq.Capabilities)

    queue.put({"customer": "Ada"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    queue.put_many([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    queue.put(ORDER, {})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    queue.put(ORDER, delay="1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    queue.put(ORDER, prio=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    del queue.get().body.missing  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def an_untyped_queue_is_a_queue_of_anything() -> None:
    queue = unimq.Queue("memory://")
    assert_type(queue, unimq.Queue[Any])
    assert_type(queue.get().body, Any)
    queue.put({"any": "thing"})


def other_types() -> None:
    assert_type(unimq.Queue(type=Address), unimq.Queue[Address])
    assert_type(unimq.Queue(type=Address).get().body["street"], str)
    assert_type(unimq.Queue(type=list[int]).get().body, list[int])
    assert_type(unimq.Queue(type=str).get().raw, bytes)


def iterating() -> None:
    queue = unimq.Queue("memory://", type=Order)
    assert_type(queue.consume(prefetch=5, timeout=1.0), Iterator[unimq.Message[Order]])
    for message in queue:
        assert_type(message, unimq.Message[Order])
        with message:
            assert_type(message.body, Order)
        with message as same:
            assert_type(same, unimq.Message[Order])


def settling() -> None:
    queue = unimq.Queue("memory://", type=Order)
    message = queue.get()
    assert_type(message.extend(), float)
    assert_type(message.reply("done"), unimq.Receipt)
    queue.ack([message])
    queue.nack([message], delay=5)
    queue.ack([unimq.Queue(type=str).get()])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    message.body = ORDER  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def dead_letters() -> None:
    queue = unimq.Queue("memory://", type=Order)
    assert_type(queue.dead, unimq.DeadLetterQueue[Order])
    assert_type(queue.dead.get().body, Order)
    assert_type(queue.dead.redrive(limit=10), int)
    queue.redrive()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def clients() -> None:
    client = unimq.connect("memory://", require={"delay"})
    assert_type(client, unimq.Client)
    assert_type(client.queue("orders", type=Order), unimq.Queue[Order])
    assert_type(client.queue("anything"), unimq.Queue[Any])
    assert_type(client.ping(), unimq.Pong)
    assert_type(client.queues(), list[str])
    orders, names = client.queue("orders", type=Order), client.queue("names", type=str)
    assert_type(client.get([orders, names], timeout=1), unimq.Message[Any])
    with unimq.Queue("memory://", type=Order) as queue:
        assert_type(queue, unimq.Queue[Order])


async def asyncio() -> None:
    queue = unimq.AsyncQueue("memory://", type=Order)
    assert_type(queue, unimq.AsyncQueue[Order])
    assert_type(await queue.put(ORDER), unimq.Receipt)
    assert_type(await queue.get(timeout=1), unimq.AsyncMessage[Order])
    assert_type((await queue.get()).body, Order)
    assert_type(await queue.get_many(), list[unimq.AsyncMessage[Order]])
    assert_type(queue.consume(), AsyncIterator[unimq.AsyncMessage[Order]])
    assert_type(queue.dead, unimq.AsyncDeadLetterQueue[Order])
    assert_type(await queue.dead.redrive(), int)
    async for message in queue:
        async with message as same:
            assert_type(same, unimq.AsyncMessage[Order])
        assert_type(await message.extend(5), float)
    async with unimq.AsyncClient("memory://") as client:
        assert_type(client.queue("orders", type=Order), unimq.AsyncQueue[Order])
        assert_type(client.queue("anything"), unimq.AsyncQueue[Any])

    await queue.put("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    del queue.get().body  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def errors() -> None:
    error: unimq.UnimqError = unimq.Timeout("late", in_doubt=True)
    assert_type(error.in_doubt, bool)
    both: tuple[TimeoutError, ValueError] = (unimq.Timeout("late"), unimq.InvalidURL("wrong"))
    both = both[::-1]  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(both)


def drivers(driver: Driver, url: unimq.URL) -> None:
    session = driver.open(url, 0.0, options={})
    assert_type(driver.capabilities(url), unimq.Capabilities)
    checked: Session = session
    checked.send("queue", [b"body"], 0.0)  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
