"""The spans of the synchronous face, and how they belong together."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

import unimq
from unimq import Message, Queue
from unimq.testing.workers import running

from .conftest import Told


def ids(context: Any) -> tuple[int, int]:
    return context.trace_id, context.span_id


def linked(span: Any) -> list[tuple[int, int]]:
    return [ids(link.context) for link in span.links]


def test_a_message_leaves_a_span_for_each_step(told: Told, url: str) -> None:
    """Sent, received, settled; with kinds and attributes, and links to where it was sent."""
    with Queue(url, hooks=told.hooks) as queue:
        receipt = queue.put("tea")
        with queue.get(timeout=0):
            pass
    sent, received, acked = told.spans()
    assert [(span.name, span.kind) for span in (sent, received, acked)] == [
        ("send jobs", SpanKind.PRODUCER),
        ("receive jobs", SpanKind.CLIENT),
        ("ack jobs", SpanKind.CLIENT),
    ]
    common = {"messaging.system": "memory", "messaging.destination.name": "jobs", "messaging.message.id": receipt.id}
    assert sent.attributes == {**common, "messaging.operation.name": "send", "messaging.operation.type": "send"}
    size = {"messaging.message.body.size": len(b'"tea"')}
    about = {**common, **size}
    assert received.attributes == {
        **about,
        "messaging.operation.name": "receive",
        "messaging.operation.type": "receive",
    }
    assert acked.attributes == {**about, "messaging.operation.name": "ack", "messaging.operation.type": "settle"}
    assert linked(received) == linked(acked) == [ids(sent.context)]
    assert sent.links == ()
    assert received.parent is None
    assert acked.parent.span_id == sent.context.span_id
    assert {span.status.status_code for span in told.spans()} == {StatusCode.UNSET}


def test_the_span_at_work_is_the_parent_of_all(told: Told, url: str) -> None:
    """What an application does is part of its own trace."""
    with Queue(url, hooks=told.hooks) as queue, told.tracers.get_tracer("app").start_as_current_span("request") as own:
        queue.put(1)
        queue.get(timeout=0).ack()
    assert {ids(span.parent) for span in told.spans() if span.name != "request"} == {ids(own.get_span_context())}


def test_a_worker_goes_on_with_the_trace_of_the_producer(told: Told, url: str) -> None:
    """The handler runs in a span that is a child of the send, and what it puts belongs to the same trace."""
    current: list[int] = []
    with unimq.connect(url, hooks=told.hooks) as client:

        def handle(message: Message[Any]) -> None:
            current.append(trace.get_current_span().get_span_context().span_id)
            client.queue("next").put(message.body)

        client.queue().put("tea")
        unimq.Worker(client, handle).drain()
    sent, process, following = told.span("send jobs"), told.span("process jobs"), told.span("send next")
    assert process.kind is SpanKind.CONSUMER
    assert process.attributes["messaging.operation.type"] == "process"
    assert ids(process.parent) == ids(sent.context)
    assert linked(process) == [ids(sent.context)]
    assert current == [process.context.span_id]
    assert ids(following.parent) == ids(process.context)
    assert {span.context.trace_id for span in (sent, process, following, told.span("ack jobs"))} == {
        sent.context.trace_id
    }


def test_a_handler_that_fails_is_an_error_of_its_span(told: Told, url: str) -> None:
    """With the exception; each try has a span of its own."""

    def fail(_: Message[Any]) -> None:
        msg = "no such tea"
        raise LookupError(msg)

    with unimq.connect(url, hooks=told.hooks) as client:
        client.queue().put("tea")
        unimq.Worker(client, fail, retry=unimq.RetryPolicy(attempts=2, pause=0)).drain()
    first, second = [span for span in told.spans() if span.name == "process jobs"]
    for span in (first, second):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no such tea")
        assert span.attributes["error.type"] == "LookupError"
        assert [event.attributes["exception.type"] for event in span.events] == ["LookupError"]
    assert told.span("nack jobs").status.status_code is StatusCode.UNSET
    assert told.span("reject jobs").parent.trace_id == first.context.trace_id


def test_an_operation_that_fails_is_an_error_of_its_span(told: Told, url: str) -> None:
    """Its type is the class of the error."""
    with Queue(url, hooks=told.hooks) as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        message.ack()
        with pytest.raises(unimq.AlreadySettled):
            message.ack()
        with pytest.raises(unimq.InvalidArgument):
            queue.put(1, priority=99)
    *_, twice, refused = told.spans()
    assert twice.attributes["error.type"] == "unimq.errors.AlreadySettled"
    assert refused.attributes["error.type"] == "unimq.errors.InvalidArgument"
    assert {span.status.status_code for span in (twice, refused)} == {StatusCode.ERROR}


def test_a_get_that_finds_nothing_leaves_none(told: Told, url: str) -> None:
    """A worker that waits would leave one each second."""
    with Queue(url, hooks=told.hooks) as queue, pytest.raises(unimq.Empty):
        queue.get(timeout=0)
    assert told.spans() == ()


def test_batches_are_one_span(told: Told, url: str) -> None:
    """Their context is that of each message, and links lead back to all that they are about."""
    with Queue(url, hooks=told.hooks) as queue:
        queue.put("a")
        queue.put_many(body for body in "bc")
        messages = queue.get_many(timeout=0)
        queue.ack(message for message in messages)
    single, sent, received, acked = told.spans()
    assert [span.name for span in (sent, received, acked)] == ["send jobs", "receive jobs", "ack jobs"]
    assert [span.attributes["messaging.batch.message_count"] for span in (sent, received, acked)] == [2, 3, 3]
    assert linked(received) == linked(acked) == [ids(single.context), ids(sent.context), ids(sent.context)]
    assert [link.attributes["messaging.message.id"] for link in received.links] == [m.id for m in messages]
    assert "messaging.message.id" not in received.attributes


def test_an_iteration_receives_one_by_one(told: Told, url: str) -> None:
    """What was fetched ahead is received when it is handed over."""
    with Queue(url, hooks=told.hooks) as queue:
        queue.put_many([1, 2])
        seen: list[int] = []
        for message in queue.consume(timeout=0):
            message.ack()
            seen.append(sum(span.name == "receive jobs" for span in told.spans()))
    assert seen == [1, 2]
    assert [span.name for span in told.spans()][1:] == ["receive jobs", "ack jobs"] * 2


def test_an_iteration_that_is_left_gives_back_the_rest(told: Told, url: str) -> None:
    """As without spans."""
    with Queue(url, hooks=told.hooks) as queue:
        queue.put_many([1, 2, 3])
        iteration = queue.consume(prefetch=3, timeout=0)
        next(iter(iteration)).ack()
        iteration.close()
        assert queue.size() == 2


def test_several_queues_are_received_from_at_once(told: Told, url: str) -> None:
    """The span has the queue that the message came from."""
    with unimq.connect(url, hooks=told.hooks) as client:
        queues = [client.queue("one"), client.queue("two")]
        queues[1].put(1)
        client.get(queues, timeout=0).ack()
        queues[0].put(1)
        client.queue("two").put(2)
        assert len(client.get_many(queues, timeout=0)) == 2
    received = [span for span in told.spans() if span.attributes["messaging.operation.name"] == "receive"]
    assert [span.name for span in received] == ["receive two", "receive"]
    assert "messaging.batch.message_count" not in received[0].attributes


def test_a_call_lasts_until_its_reply(told: Told, url: str) -> None:
    """The reply belongs to the same trace; a reply queue has a random name, which no span is named after."""
    with unimq.connect(url, hooks=told.hooks) as client:
        worker = unimq.Worker(client, lambda message: message.body.upper())
        with running(worker):
            assert client.queue().call("tea", timeout=10).body == "TEA"
    call, reply = told.span("call jobs"), told.span("reply")
    assert (call.kind, call.attributes["messaging.operation.type"]) == (SpanKind.PRODUCER, "send")
    assert reply.attributes["messaging.destination.temporary"] is True
    assert reply.attributes["messaging.destination.name"].startswith("replies.")
    assert call.end_time > reply.end_time
    assert ids(reply.parent) == ids(call.context)
    assert "messaging.message.id" in reply.attributes
    assert ids(told.span("process jobs").parent) == ids(call.context)


def test_a_reply_that_is_asked_for_by_name_has_it(told: Told, url: str) -> None:
    """It is sent to that queue; its id is its own, and it leads back to the request."""
    with Queue(url, hooks=told.hooks) as queue:
        queue.put("ping", reply_to="answers")
        queue.get(timeout=0).reply("pong")
        with queue.client.queue("answers").get(timeout=0) as answer:
            assert answer.body == "pong"
    reply = told.span("reply answers")
    assert reply.attributes["messaging.message.id"] == answer.id
    assert linked(reply) == [ids(told.span("send jobs").context)]
    assert linked(told.span("receive answers")) == [ids(reply.context)]


@pytest.mark.parametrize("name", ["nack", "reject", "discard", "release"])
def test_each_settlement_has_its_name(told: Told, url: str, name: str) -> None:
    """As the application called it."""
    with Queue(url, hooks=told.hooks) as queue:
        queue.put(1)
        getattr(queue.get(timeout=0), name)()
    assert told.spans()[-1].name == f"{name} jobs"


def test_a_dead_letter_keeps_its_context(told: Told, url: str) -> None:
    """Who reads it finds the trace in which it was put."""
    with Queue(url, hooks=told.hooks) as queue:
        queue.put(1)
        queue.get(timeout=0).reject("no")
        queue.dead.get(timeout=0).ack()
    assert linked(told.span("receive jobs.dead")) == [ids(told.span("send jobs").context)]


def test_the_server_is_named() -> None:
    """By its host and port, the default one too; not where there are several, or none."""
    addresses = {
        "beanstalkd://example.org/jobs": ("example.org", 11300),
        "beanstalkd://example.org:1/jobs": ("example.org", 1),
        "beanstalkd://a,b/jobs": None,
        "beanstalkd+unix:///run/b.sock?queue=jobs": ("/run/b.sock", None),
        "sqlite:///jobs.db?queue=jobs": None,
        "memory://name/jobs": None,
    }
    found: list[Any] = []

    class Refuses(Exception):
        """Nothing is to be connected."""

    def around(operation: unimq.Operation) -> Any:
        found.append(operation.server)
        raise Refuses

    for url in addresses:
        with Queue(url, hooks=unimq.Hooks(around=around)) as queue, pytest.raises(Refuses):
            queue.put(1)
    assert found == list(addresses.values())
