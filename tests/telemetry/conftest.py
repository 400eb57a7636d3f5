"""What the SDK of OpenTelemetry was told, kept in memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import unimq
from unimq.testing.lab import fresh_name


class Told:
    """Spans and metrics of one test, and the hooks that make them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader])
        self.hooks = unimq.Hooks(around=unimq.OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters))

    def spans(self) -> Sequence[ReadableSpan]:
        """In the order in which they ended."""
        return self._exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """The one of that name."""
        (found,) = [span for span in self.spans() if span.name == name]
        return found

    def points(self, name: str) -> dict[tuple[Any, ...], Any]:
        """The data points of a metric, by operation, queue and error."""
        data = self._reader.get_metrics_data()
        found = [
            point
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
        keys = ("messaging.operation.name", "messaging.destination.name", "error.type")
        return {tuple((point.attributes or {}).get(key) for key in keys): point for point in found}

    def counts(self, name: str) -> dict[tuple[Any, ...], Any]:
        """The values of a counter, or the counts of a histogram."""
        return {key: getattr(point, "value", None) or point.count for key, point in self.points(name).items()}


@pytest.fixture
def told() -> Iterator[Told]:
    """Of this test."""
    one = Told()
    yield one
    one.tracers.shutdown()
    one.meters.shutdown()


@pytest.fixture
def url() -> str:
    return f"memory://{fresh_name()}/jobs"
