"""The same on the asyncio face: spans belong to the task that asked, although threads do the work."""

import asyncio
from typing import Any

import pytest
from opentelemetry import trace

import unimq
from unimq import AsyncMessage, AsyncQueue

from .conftest import Told
from .test_spans import ids, linked


def test_a_message_leaves_a_span_for_each_step(told: Told, url: str) -> None:
    """The same ones as on the other face."""

    async def main() -> None:
        async with AsyncQueue(url, hooks=told.hooks) as queue:
            await queue.put("tea")
            async with await queue.get(timeout=5):
                pass
            await queue.put_many(["a", "b"])
            await queue.ack(await queue.get_many(timeout=0))

    asyncio.run(main())
    assert [span.name for span in told.spans()] == ["send jobs", "receive jobs", "ack jobs"] * 2
    sent, received, acked, *_ = told.spans()
    assert linked(received) == linked(acked) == [ids(sent.context)]
    assert acked.attributes["messaging.message.id"] == sent.attributes["messaging.message.id"]


def test_tasks_keep_apart(told: Told, url: str) -> None:
    """Puts and acks of many tasks travel together, and each is in the trace of its own."""
    tracer = told.tracers.get_tracer("app")

    async def one(queue: AsyncQueue[int], number: int) -> None:
        with tracer.start_as_current_span(f"task {number}"):
            await queue.put(number)
            message = await queue.get(timeout=5)
            await message.ack()

    async def main() -> None:
        async with AsyncQueue[int](url, hooks=told.hooks) as queue, asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(one(queue, number))

    asyncio.run(main())
    own = {ids(span.context) for span in told.spans() if span.name.startswith("task ")}
    for name in ("send jobs", "receive jobs", "ack jobs"):
        assert {ids(span.parent) for span in told.spans() if span.name == name} == own
    assert len(own) == 20


def test_an_iteration_receives_one_by_one(told: Told, url: str) -> None:
    """What was fetched ahead is received when it is handed over, and given back when the iteration is left."""

    async def main() -> int:
        async with AsyncQueue(url, hooks=told.hooks) as queue:
            await queue.put_many([1, 2, 3])
            iteration = queue.consume(prefetch=3, timeout=0)
            async for message in iteration:
                await message.ack()
                break
            await iteration.aclose()
            return await queue.size()

    assert asyncio.run(main()) == 2
    assert [span.name for span in told.spans()] == ["send jobs", "receive jobs", "ack jobs"]


def test_a_worker_goes_on_with_the_trace_of_the_producer(told: Told, url: str) -> None:
    """The handler's task is in the span of the process, and its error ends that."""

    async def handle(message: AsyncMessage[Any]) -> None:
        current.append(trace.get_current_span().get_span_context().span_id)
        if message.body == "bad":
            await asyncio.sleep(0)
            raise LookupError

    current: list[int] = []

    async def main() -> None:
        async with unimq.AsyncClient(url, hooks=told.hooks) as client:
            await client.queue().put("good")
            await client.queue().put("bad")
            await unimq.AsyncWorker(client, handle, retry=unimq.RetryPolicy(attempts=1)).drain()

    asyncio.run(main())
    sent = [span for span in told.spans() if span.name == "send jobs"]
    good, bad = [span for span in told.spans() if span.name == "process jobs"]
    assert current == [good.context.span_id, bad.context.span_id]
    assert [ids(span.parent) for span in (good, bad)] == [ids(span.context) for span in sent]
    assert ("error.type" in good.attributes, bad.attributes["error.type"]) == (False, "LookupError")
    assert told.span("ack jobs").context.trace_id == good.context.trace_id
    assert told.span("reject jobs").context.trace_id == bad.context.trace_id


def test_a_handler_that_is_cancelled_is_an_error(told: Told, url: str) -> None:
    """One that runs longer than `max_runtime`."""

    async def hang(_: AsyncMessage[Any]) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with unimq.AsyncClient(url, hooks=told.hooks) as client:
            await client.queue().put(1)
            worker = unimq.AsyncWorker(client, hang, retry=unimq.RetryPolicy(attempts=1), max_runtime=0.05)
            await worker.drain()

    asyncio.run(main())
    assert told.span("process jobs").attributes["error.type"] == "asyncio.exceptions.CancelledError"


def test_several_queues_and_calls(told: Told, url: str) -> None:
    """Of a client."""

    async def main() -> None:
        async with unimq.AsyncClient(url, hooks=told.hooks) as client:
            queues = [client.queue("one"), client.queue("two")]
            await queues[0].put(1)
            await (await client.get(queues, timeout=5)).ack()

            async def shout(message: AsyncMessage[Any]) -> str:
                return str(message.body).upper()

            worker = unimq.AsyncWorker(client, {"two": shout})
            running = asyncio.create_task(worker.run())
            assert (await queues[1].call("tea", timeout=10)).body == "TEA"
            worker.stop()
            await running

    asyncio.run(main())
    assert told.span("receive one").attributes["messaging.destination.name"] == "one"
    assert ids(told.span("process two").parent) == ids(told.span("call two").context)
    assert ids(told.span("reply").parent) == ids(told.span("call two").context)


@pytest.mark.parametrize("name", ["nack", "reject", "discard", "release"])
def test_each_settlement_has_its_name(told: Told, url: str, name: str) -> None:
    """As the application called it; it belongs to the span that is current in its task."""

    async def main() -> None:
        async with AsyncQueue(url, hooks=told.hooks) as queue:
            await queue.put(1)
            message = await queue.get(timeout=5)
            with told.tracers.get_tracer("app").start_as_current_span("own"):
                await getattr(message, name)()

    asyncio.run(main())
    assert ids(told.span(f"{name} jobs").parent) == ids(told.span("own").context)
