"""A trace goes from one process to another, through a server whose protocol has no headers."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from beanstalkd.recipes import PLAIN
from harness import Recipe
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import unimq
from unimq.testing.lab import PATIENCE, fresh_name

PRODUCER = """
import json, sys
from opentelemetry.sdk.trace import TracerProvider
import unimq

provider = TracerProvider()
hooks = unimq.Hooks(around=unimq.OpenTelemetry(tracer_provider=provider))
with unimq.Queue(sys.argv[1], hooks=hooks) as queue:
    with provider.get_tracer("shop").start_as_current_span("order") as order:
        queue.put("tea")
        queue.put_many(["milk", "sugar"])
print(json.dumps(order.get_span_context().trace_id))
"""


@pytest.fixture
def url(shared: Callable[[Recipe], str]) -> str:
    """A queue of its own on the server."""
    return shared(PLAIN) + fresh_name()


def test_a_worker_goes_on_with_the_trace_of_another_process(url: str) -> None:
    """Handlers, settlements and what handlers put are all in the trace in which the order was made."""
    command = [sys.executable, "-c", PRODUCER, url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    trace = json.loads(done.stdout)
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handled: list[Any] = []
    with unimq.connect(url, hooks=unimq.Hooks(around=unimq.OpenTelemetry(tracer_provider=provider))) as client:
        queue = client.queue()
        unimq.Worker(client, lambda message: handled.append(message.body)).drain()
        assert queue.size() == 0
    assert handled == ["tea", "milk", "sugar"]
    spans = exporter.get_finished_spans()
    host = unimq.URL.parse(url).hosts[0]
    for name in ("process", "ack", "receive"):
        found = [span for span in spans if span.name == f"{name} {queue.name}"]
        assert len(found) == 3
        for span in found:
            assert span.attributes is not None
            assert span.attributes["messaging.system"] == "beanstalkd"
            assert (span.attributes["server.address"], span.attributes["server.port"]) == (host.name, host.port)
            assert [link.context.trace_id for link in span.links] == [trace]
            assert (span.parent is not None and span.parent.trace_id == trace) == (name != "receive")


def test_a_large_message_is_not_refused_because_it_is_traced(url: str) -> None:
    """Not the first one of a process either, which does not know the server's limit of 64 KiB yet."""
    hooks = unimq.Hooks(around=unimq.OpenTelemetry(tracer_provider=TracerProvider()))
    for again in (False, True):
        with unimq.Queue[bytes](f"{url}?codec=raw", hooks=hooks) as queue:
            if again:
                queue.ping()
            queue.put(b"x" * 65535)
            with queue.get(timeout=PATIENCE) as message:
                assert len(message.raw) == 65535
                assert dict(message.headers) == {}
            with pytest.raises(unimq.TooLarge):
                queue.put(b"x" * 65536)
