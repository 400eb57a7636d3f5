"""What travels along in headers, and where it stays at home; and that nothing is there unless it is asked for."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import unimq
import unimq_memory
import unimq_sqlite
from unimq import Queue, registry
from unimq.capabilities import Capabilities
from unimq.driver import Session
from unimq.testing.lab import fresh_name
from unimq.url import URL

from .conftest import Told
from .test_spans import ids, linked

CONTEXT = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}


@contextlib.contextmanager
def around(operation: unimq.Operation) -> Iterator[None]:
    """A hook that sends something along."""
    operation.headers.update(CONTEXT)
    yield


HOOKS = unimq.Hooks(around=around)


def sent(url: str, body: Any = "tea", **about: Any) -> "unimq.Message[Any]":
    """What arrives of a put."""
    with Queue(url, hooks=HOOKS) as queue:
        queue.put(body, **about)
        message = queue.get(timeout=0)
        message.ack()
        return message


def test_it_travels_in_headers(url: str) -> None:
    """Beside those of the application, which stay as they are where they have the same name."""
    assert dict(sent(url).headers) == CONTEXT
    assert dict(sent(url, headers={"a": "b"}).headers) == {"a": "b", **CONTEXT}
    assert dict(sent(url, headers={"traceparent": "mine"}).headers) == {"traceparent": "mine"}


@pytest.mark.parametrize("profile", ["beanstalkd", "memcacheq", "gearman", "activemq", "sqlite"])
def test_it_travels_on_every_backend(told: Told, profile: str) -> None:
    """Also where headers need an envelope."""
    with Queue(f"memory://{fresh_name()}/jobs?profile={profile}", hooks=told.hooks) as queue:
        queue.put("tea")
        message = queue.get(timeout=0)
        assert message.body == "tea"
    put, received = told.spans()
    assert linked(received) == [ids(put.context)]


def test_it_stays_at_home_where_headers_cannot_travel() -> None:
    """Without an envelope, and on sockets that know only bodies; the message goes all the same."""
    url = f"memory://{fresh_name()}/jobs?profile=beanstalkd&envelope=never"
    assert dict(sent(url).headers) == {}


def test_it_stays_at_home_where_headers_have_no_room(url: str) -> None:
    """The application's own go first: 64 KiB, or a thousand entries."""
    full = {"a": "x" * (65536 - 1)}
    assert dict(sent(url, headers=full).headers) == full
    many = {f"{number}": "" for number in range(1000)}
    assert dict(sent(url, headers=many).headers) == many


def test_it_stays_at_home_where_the_body_has_no_room() -> None:
    """A message that fits without it is sent without it; one that never fits is refused in its own terms."""
    url = f"memory://{fresh_name()}/jobs?profile=memcacheq&codec=raw"
    with Queue(url) as queue:
        limit = queue.capabilities.limits.body
    assert limit is not None
    room = limit - (len(b"jobs") if unimq.connect(url).capabilities.limits.name_in_body else 0)
    assert dict(sent(url, b"x" * room).headers) == {}
    with pytest.raises(unimq.TooLarge, match=f"body of {room + 1} bytes"):
        sent(url, b"x" * (room + 1))


class Smaller(unimq_memory.MemoryDriver):
    """Learns at the first connection that bodies are smaller than was known."""

    name = "smaller"

    def capabilities(self, url: URL) -> Capabilities:
        """Some large limit."""
        return limited(super().capabilities(url), 10_000)

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> Session:
        """A session that knows better."""
        session = super().open(url, deadline, options={**options, "profile": None}, known=known)
        session.capabilities = limited(session.capabilities, 1_000)
        return session


def limited(capabilities: Capabilities, body: int) -> Capabilities:
    declared = registry.driver("beanstalkd").capabilities(URL("beanstalkd"))
    return replace(capabilities, limits=replace(capabilities.limits, body=body), headers=declared.headers)


def test_it_stays_at_home_where_the_server_takes_less_than_was_known() -> None:
    """The first put of a process meets the server's own limit, and is not refused for what travels along."""
    registry.register("smaller", Smaller())
    try:
        with Queue(f"smaller://{fresh_name()}/jobs?codec=raw", hooks=HOOKS) as queue:
            queue.put(b"x" * 990)
            assert dict(queue.get(timeout=0).headers) == {}
            queue.put(b"x" * 100)
            assert dict(queue.get(timeout=0).headers) == CONTEXT
            with pytest.raises(unimq.TooLarge, match="body of 1001 bytes"):
                queue.put(b"x" * 1001)
    finally:
        registry.unregister("smaller")


def test_the_first_batch_goes_without_it_too() -> None:
    """As none of it was stored; one that never fits is refused, and none of its batch is stored."""
    registry.register("smaller", Smaller())
    try:
        for bodies, there in (([b"x" * 990, b"tea"], 2), ([b"x" * 1001, b"tea"], 0)):
            with Queue(f"smaller://{fresh_name()}/jobs?codec=raw", hooks=HOOKS) as queue:
                with contextlib.nullcontext() if there else pytest.raises(unimq.TooLarge, match="body of 1001 bytes"):
                    queue.put_many(bodies)
                assert queue.size() == there
    finally:
        registry.unregister("smaller")


def test_a_put_of_the_outbox_is_a_send(told: Told, tmp_path: Path) -> None:
    """With its id; what it is put for goes on with the trace."""
    path = tmp_path / "app.db"
    with Queue(f"sqlite:///{path}?queue=jobs", hooks=told.hooks) as queue:
        queue.ping()
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            receipt = unimq_sqlite.outbox.put(connection, queue, "tea", headers={"a": "b"})
        message = queue.get(timeout=0)
        assert (message.body, message.headers["a"]) == ("tea", "b")
    put, received = told.spans()
    assert (put.name, put.attributes["messaging.message.id"]) == ("send jobs", receipt.id)
    assert linked(received) == [ids(put.context)]


def test_wrong_headers_are_refused_as_ever(url: str) -> None:
    """What the application gave is told of, and nothing else."""
    with Queue(url, hooks=HOOKS) as queue:
        with pytest.raises(unimq.InvalidArgument, match="must be a mapping"):
            queue.put("tea", headers=7)  # type: ignore[arg-type]
        with pytest.raises(unimq.InvalidArgument, match="must be a str"):
            queue.put("tea", headers={"a": 1})  # type: ignore[dict-item]
        with pytest.raises(unimq.InvalidArgument, match="must be a list"):
            queue.put_many("tea")


def test_without_the_hook_nothing_is_on_the_way(url: str) -> None:
    """The classes are those that everybody knows; with it they have the same names."""
    with Queue(url) as plain, Queue(url, hooks=HOOKS) as observed:
        assert type(plain) is Queue
        assert "put" not in vars(plain)
        plain.put(1)
        assert type(plain.get(timeout=0)) is unimq.Message
        plain.put(2)
        message = observed.get(timeout=0)
        assert isinstance(message, unimq.Message)
        assert repr(message).startswith("<Message ")
        assert repr(observed) == repr(plain)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is asked for, and not before."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install unimq\[otel\]"):
        unimq.OpenTelemetry()


@pytest.mark.slow
def test_nothing_of_it_is_imported_before_it_is_asked_for() -> None:
    """Not by a queue that is used, nor by looking at the class."""
    program = (
        "import sys, unimq\n"
        "with unimq.Queue('memory://a/jobs') as queue:\n"
        "    queue.put(1)\n"
        "    queue.get().ack()\n"
        "unimq.OpenTelemetry\n"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30)  # noqa: S603
    assert done.stdout == "False\n"
