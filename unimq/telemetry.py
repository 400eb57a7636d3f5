"""OpenTelemetry: spans and metrics of what an application does with queues, by the semantic conventions for messaging.

It needs the API of OpenTelemetry only, the extra `otel`. What becomes of spans and metrics is the business of the SDK
that the application sets up; without one they are dropped.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from unimq.errors import BatchError, Closed, Empty, InvalidArgument, TooLarge, Unsupported
from unimq.hooks import Operation
from unimq.version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Link, Span, TracerProvider

    from unimq.message import BaseMessage

__all__ = ["OpenTelemetry"]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
_BOUNDARIES: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: the limits of the histograms' buckets, which the conventions advise."""
_NOT_SENT: Final = (InvalidArgument, TooLarge, Unsupported, Closed)
"""What refuses a message before anything is sent."""


class OpenTelemetry:
    """The hook `around` that makes spans and metrics of what happens, and takes the context along in the messages.

    ```python
    hooks = unimq.Hooks(around=unimq.OpenTelemetry())
    with unimq.connect("beanstalkd://localhost", hooks=hooks) as client: ...
    ```

    Each put, call, get and settlement that goes through a queue or client with these hooks, and each run of a worker's
    handler, becomes a span; `docs/observability.md` tells their names, attributes and parents, and the four metrics.
    """

    def __init__(
        self, *, tracer_provider: "TracerProvider | None" = None, meter_provider: "MeterProvider | None" = None
    ) -> None:
        """Get a tracer and a meter. How the context travels is the propagators' that are set up for the process.

        Args:
            tracer_provider: Where spans go; the global one by default.
            meter_provider: Where metrics go; the global one by default.

        Raises:
            ModuleNotFoundError: the API of OpenTelemetry is not installed.
        """
        try:
            from opentelemetry import context, metrics, propagate, trace  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            msg = "OpenTelemetry needs the package 'opentelemetry-api', which is not installed: pip install unimq[otel]"
            raise ModuleNotFoundError(msg, name=error.name) from error

        self._context, self._propagate, self._trace = context, propagate, trace
        self._kinds = {
            "send": trace.SpanKind.PRODUCER,
            "receive": trace.SpanKind.CLIENT,
            "process": trace.SpanKind.CONSUMER,
            "settle": trace.SpanKind.CLIENT,
        }
        self._tracer = trace.get_tracer("unimq", __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter("unimq", __version__, meter_provider, _SCHEMA)

        def histogram(name: str, description: str) -> metrics.Histogram:
            return meter.create_histogram(
                name, unit="s", description=description, explicit_bucket_boundaries_advisory=_BOUNDARIES
            )

        def counter(name: str, description: str) -> metrics.Counter:
            return meter.create_counter(name, unit="{message}", description=description)

        self._duration = histogram("messaging.client.operation.duration", "Duration of a send, receive or settlement.")
        self._processing = histogram("messaging.process.duration", "Duration of a handler's run.")
        self._sent = counter("messaging.client.sent.messages", "Messages that were to be sent to the server.")
        self._consumed = counter("messaging.client.consumed.messages", "Messages that the application received.")

    def __call__(self, operation: Operation) -> AbstractContextManager[None]:
        """What an operation runs in; called by unimq."""
        return self._receiving(operation) if operation.kind == "receive" else self._within(operation)

    @contextmanager
    def _within(self, operation: Operation) -> Generator[None]:
        """A span that is the current one meanwhile."""
        parent = self._parent(operation)
        start = time.time_ns()
        span = self._begin(operation, parent, start)
        token = self._context.attach(self._trace.set_span_in_context(span, parent))
        error: BaseException | None = None
        try:
            if operation.kind == "send":
                self._propagate.inject(operation.headers)
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._end(operation, span, start, error)
            self._context.detach(token)

    @contextmanager
    def _receiving(self, operation: Operation) -> Generator[None]:
        """A span that is made when something has come, with a link to where it comes from; for nothing there is none.

        A worker that waits would make one each second.
        """
        start = time.time_ns()
        error: BaseException | None = None
        try:
            yield
        except Empty:
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            if error is not None or operation.count:
                self._end(operation, self._begin(operation, self._context.get_current(), start), start, error)

    def _begin(self, operation: Operation, parent: "Context", start: int) -> "Span":
        name: str = operation.name
        if operation.queue is not None and not operation.temporary:
            name = f"{name} {operation.queue}"
        attributes = {**_where(operation), "messaging.operation.type": operation.kind}
        if operation.queue is not None:
            attributes["messaging.destination.name"] = operation.queue
        if operation.temporary:
            attributes["messaging.destination.temporary"] = True
        if operation.batch:
            attributes["messaging.batch.message_count"] = operation.count
        elif operation.messages and operation.kind != "send":
            attributes.update(_identity(operation.messages[0]))
            attributes["messaging.message.body.size"] = len(operation.messages[0].raw)
        links = [link for message in operation.messages if (link := self._link(message)) is not None]
        return self._tracer.start_span(
            name, parent, self._kinds[operation.kind], attributes, links, start, record_exception=False
        )

    def _end(self, operation: Operation, span: "Span", start: int, error: BaseException | None) -> None:
        if operation.id is not None:
            span.set_attribute("messaging.message.id", operation.id)
        where = _where(operation)
        if operation.queue is not None and not operation.temporary:  # or there would be more and more time series
            where["messaging.destination.name"] = operation.queue
        self._count(operation, where, error)
        if error is not None:
            where = {**where, "error.type": _kind(error)}  # what was given to a counter stays as it was
            span.set_attribute("error.type", _kind(error))
            span.record_exception(error)
            span.set_status(self._trace.StatusCode.ERROR, str(error))
        end = time.time_ns()
        if operation.kind == "process":
            self._processing.record((end - start) / 1e9, where)
        else:
            self._duration.record((end - start) / 1e9, {**where, "messaging.operation.type": operation.kind})
        span.end(end)

    def _count(self, operation: Operation, where: Mapping[str, Any], error: BaseException | None) -> None:
        if operation.kind == "receive" and operation.count:
            self._consumed.add(operation.count, where)
        if operation.kind != "send":
            return
        each = error.outcomes if isinstance(error, BatchError) else [error] * operation.count
        for one in each:
            if not isinstance(one, BaseException):
                self._sent.add(1, where)
            elif not isinstance(one, _NOT_SENT):
                self._sent.add(1, {**where, "error.type": _kind(one)})

    def _parent(self, operation: Operation) -> "Context":
        """What goes on here; or else, for what concerns one message, what its producer did."""
        current = self._context.get_current()
        if operation.batch or not operation.messages:
            return current
        if self._trace.get_current_span(current).get_span_context().is_valid:
            return current
        return self._propagate.extract(operation.messages[0].headers, current)

    def _link(self, message: "BaseMessage[Any]") -> "Link | None":
        """To the span in which the message was put, as far as it tells."""
        context = self._propagate.extract(message.headers, self._context.Context())
        found = self._trace.get_current_span(context).get_span_context()
        return self._trace.Link(found, _identity(message)) if found.is_valid else None


def _where(operation: Operation) -> dict[str, Any]:
    """What both a span and a metric tell of an operation."""
    attributes: dict[str, Any] = {
        "messaging.system": operation.system,
        "messaging.operation.name": operation.name,
    }
    if operation.server is not None:
        attributes["server.address"], port = operation.server
        if port is not None:
            attributes["server.port"] = port
    return attributes


def _identity(message: "BaseMessage[Any]") -> dict[str, Any]:
    return {} if message.id is None else {"messaging.message.id": message.id}


def _kind(error: BaseException) -> str:
    """The name of its class."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
