"""A store served by frames, without any transport: what is asked, what is refused, and that garbage harms nobody."""

import math
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unimq_memory
from unimq.driver import Delivery, Outgoing
from unimq.errors import ConnectionLost, InvalidArgument, InvalidURL, LeaseLost, ProtocolError, Timeout, Unsupported
from unimq.registry import driver
from unimq.remote import RemoteSession, Served, frames
from unimq.url import URL

CAPABILITIES = driver("memory").capabilities(URL("memory"))
SOON = 5.0


def unheard() -> None:
    """Nobody sleeps who would have to be woken."""


class Direct:
    """A wire to a `Served` of this process: it is run by whoever waits."""

    def __init__(self, served: Served, peer: bytes = b"peer") -> None:
        self.served = served
        self.peer = peer
        self.replies: list[bytes] = []
        self.woken = self.broken = False

    def send(self, frame: bytes) -> None:
        if self.broken:
            msg = "gone"
            raise ConnectionLost(msg)
        reply = self.served.answer(self.peer, frame)
        if reply is not None:
            self.replies.append(reply)

    def receive(self, until: float) -> bytes | None:
        while not self.replies:
            self.replies += [reply for peer, reply in self.served.due() if peer == self.peer]
            if self.woken or time.monotonic() >= until:
                self.woken = False
                return self.replies.pop(0) if self.replies else None
        return self.replies.pop(0)

    def interrupt(self) -> None:
        self.woken = True

    def close(self) -> None:
        self.broken = True


@pytest.fixture
def served() -> Iterator[Served]:
    unimq_memory.reset("served")
    served = Served("memory://served", unheard)
    yield served
    served.close()
    unimq_memory.reset("served")


def session_on(served: Served, peer: bytes = b"peer") -> RemoteSession:
    session = RemoteSession(Direct(served, peer), CAPABILITIES, "memory", "direct://", None)
    session.meet(in_time())
    return session


def in_time() -> float:
    return time.monotonic() + SOON


def asked(served: Served, operation: Any, number: int = 1, budget: float | None = 1.0) -> Any:
    """The value of the reply, or the error that it tells of."""
    reply = served.answer(b"peer", frames.encode((frames.VERSION, number, budget, operation)))
    assert reply is not None
    answered, ok, value = frames.value_of(reply)
    assert answered == number
    return msgspec.msgpack.decode(value) if ok else frames.problem_of(value)


def test_a_message_goes_there_and_back(served: Served) -> None:
    """With everything that was said of it."""
    session = session_on(served)
    sent = Outgoing(b"body", {"a": "b"}, "own", 7, expires_at=time.time() + 60)
    assert session.send("q", [sent], in_time()) == ["own"]
    [found] = session.receive(["q"], 1, 30.0, in_time())
    assert (found.body, found.headers, found.id, found.priority) == (b"body", {"a": "b"}, "own", 7)
    assert found.lease_until is not None
    assert 25 < found.lease_until - time.monotonic() <= 30
    assert session.extend([found], 60.0, in_time()) == [60.0]
    assert session.ack([found], in_time()) == [None]
    assert isinstance(session.ack([found], in_time())[0], LeaseLost)


def test_a_batch_of_large_bodies_goes_in_several_frames(served: Served) -> None:
    """And comes back in several, whole and in order."""
    session = session_on(served)
    bodies = [bytes([number]) * 1_500_000 for number in range(6)]
    assert None not in session.send("q", [Outgoing(body) for body in bodies], in_time())
    found: list[Delivery] = []
    rounds = 0
    while len(found) < len(bodies):
        part = session.receive(["q"], 100, 30.0, in_time())
        assert part
        found += part
        rounds += 1
    assert [one.body for one in found] == bodies


def test_many_large_messages_are_not_one_reply(served: Served) -> None:
    """A fetch of a hundred ends near the bound in bytes."""
    session = session_on(served)
    for _ in range(4):
        session.send("q", [Outgoing(b"x" * 300_000)] * 10, in_time())
    assert len(session.receive(["q"], 100, 30.0, in_time())) < 30


def test_a_lost_reply_gives_its_messages_back(served: Served) -> None:
    """What could not be sent to a client is delivered to the next."""
    session_on(served).send("q", [Outgoing(b"x")], in_time())
    assert len(asked(served, frames.Fetch(["q"], 1, 30.0, 0.0))) == 1
    assert asked(served, frames.Fetch(["q"], 1, 30.0, 0.0)) == []
    session_on(served, b"other").send("r", [Outgoing(b"x")], in_time())
    assert len(asked(served, frames.Fetch(["r"], 1, 30.0, 0.0))) == 1
    served.undelivered(b"peer")
    assert len(session_on(served, b"other").receive(["r"], 1, 30.0, 0.0)) == 1


def test_what_was_stopped_too_late_is_given_back(served: Served) -> None:
    """A fetch that was left by an exception holds nothing."""
    session_on(served, b"other").send("q", [Outgoing(b"x")], in_time())
    assert len(asked(served, frames.Fetch(["q"], 1, 30.0, 0.0), number=7)) == 1
    stop = frames.encode((frames.VERSION, 8, 0.0, frames.Stop(7, undo=True)))
    assert served.answer(b"peer", stop) is None
    assert len(session_on(served, b"other").receive(["q"], 1, 30.0, 0.0)) == 1


def test_a_waiting_fetch_is_answered_by_a_put(served: Served) -> None:
    """At the next look, to the peer that asked."""
    waiting = frames.encode((frames.VERSION, 3, None, frames.Fetch(["q"], 1, 30.0, 5.0)))
    assert served.answer(b"peer", waiting) is None
    assert [peer for peer, _ in served.due()] == []
    session_on(served, b"other").send("q", [Outgoing(b"x")], in_time())
    [(peer, reply)] = list(served.due())
    assert (peer, frames.value_of(reply)[:2]) == (b"peer", (3, True))


def test_another_epoch_settles_nothing(served: Served) -> None:
    """A token of a holder that was started again on a store that did not survive is refused."""
    session = session_on(served)
    session.send("q", [Outgoing(b"x")], in_time())
    [found] = session.receive(["q"], 1, 30.0, in_time())
    again = Served("memory://served", unheard)
    [outcome] = session_on(again).ack([found], in_time())
    assert isinstance(outcome, LeaseLost)
    assert session.ack([found], in_time()) == [None]


@pytest.mark.parametrize(
    "operation",
    [
        frames.Send("..", [Outgoing(b"")]),
        frames.Send("q", [Outgoing(b"", priority=10)]),
        frames.Send("q", [Outgoing(b"", delay=math.nan)]),
        frames.Send("q", [Outgoing(b"", delay=-1.0)]),
        frames.Send("q", [Outgoing(b"", expires_at=math.inf)]),
        frames.Send("q", [Outgoing(b"", delivery_count=-1)]),
        frames.Send("q", [Outgoing(b"", {"": "x"})]),
        frames.Send("q", [Outgoing(b"", {"x": "\0"})]),
        frames.Send("q", [Outgoing(b"", id="a\nb")]),
        frames.Fetch([], 1, 1.0, 0.0),
        frames.Fetch(["q"], 0, 1.0, 0.0),
        frames.Fetch(["q"], 1, math.inf, 0.0),
        frames.Fetch(["q"], 1, 1.0, math.nan),
        frames.Peek("q", 1_000_000),
    ],
)
def test_what_a_put_would_refuse_is_refused(served: Served, operation: Any) -> None:
    """A peer cannot reach the store with values that no application could give it."""
    assert isinstance(asked(served, operation), InvalidArgument)
    assert asked(served, frames.Queues()) == []


def test_another_version_is_told(served: Served) -> None:
    """By the number of the request, whatever its form."""
    reply = served.answer(b"peer", msgspec.msgpack.encode([2, 9, "something", "new"]))
    assert reply is not None
    number, ok, value = frames.value_of(reply)
    assert (number, ok) == (9, False)
    problem = frames.problem_of(value)
    assert isinstance(problem, ProtocolError)
    assert "version 2" in str(problem)


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(data: bytes) -> None:
    """And the next request is served."""
    served = Served("memory://fuzz", unheard)
    served.answer(b"peer", data)
    assert asked(served, frames.Ping()) == "memory"


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(),
    lambda some: st.lists(some, max_size=5) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=12,
)
TAGS = [
    "hello",
    "send",
    "fetch",
    "stop",
    "ack",
    "release",
    "move",
    "extend",
    "peek",
    "cancel",
    "stats",
    "purge",
    "ping",
]


@given(st.lists(st.tuples(st.sampled_from(TAGS), st.lists(ANYTHING, max_size=4)), max_size=5))
def test_any_request_is_answered_or_refused(requests: list[tuple[str, list[Any]]]) -> None:
    """Well-formed frames with any operation and any arguments."""
    served = Served("memory://fuzz", unheard)
    for number, (tag, arguments) in enumerate(requests, 1):
        reply = served.answer(b"peer", msgspec.msgpack.encode([1, number, 0.0, [tag, *arguments]]))
        if reply is not None:
            assert frames.value_of(reply)[0] == number
    assert asked(served, frames.Ping()) == "memory"


@given(st.binary(max_size=100))
def test_any_bytes_of_a_holder_are_a_protocol_error(data: bytes) -> None:
    """At the client: they are read or refused."""
    try:
        _, ok, value = frames.value_of(data)
    except ProtocolError:
        return
    if not ok:
        assert frames.problem_of(value)


def test_silence_is_a_timeout(served: Served) -> None:
    """A holder that does not answer is told after the deadline, in doubt for a put."""
    session = session_on(served)
    wire = session._wire
    wire.send = lambda frame: None  # type: ignore[method-assign]
    with pytest.raises(Timeout) as caught:
        session.send("q", [Outgoing(b"x")], time.monotonic() + 0.05)
    assert caught.value.in_doubt


def test_another_store_is_refused(served: Served) -> None:
    """With what to write instead."""
    session = RemoteSession(Direct(served), CAPABILITIES, "sqlite", "direct://", None)
    with pytest.raises(InvalidURL, match=r"\?store=memory"):
        session.meet(in_time())


@pytest.mark.parametrize(
    ("store", "why"),
    [
        ("memory://?profile=activemq", "leases end with the connection"),
        ("memory://?profile=memcacheq", "at-most-once"),
        ("memcacheq://nowhere.invalid", "at-most-once"),
        ("zeromq://nowhere.invalid/q?pattern=push-pull", "at-most-once"),
    ],
)
def test_what_cannot_be_served_is_refused(store: str, why: str) -> None:
    """With the reason, before it is connected to."""
    with pytest.raises(Unsupported, match=f"cannot be served: .*{why}"):
        Served(store, unheard)


def test_a_store_that_wants_signs_of_life_gets_them(served: Served) -> None:
    """As often as its session says, though no client asks for anything."""
    beats: list[float] = []
    [session] = served._store._sessions.values()
    session.beat_every = 10.0
    session.beat = beats.append  # type: ignore[method-assign]
    for now in (100.0, 101.0, 109.0, 110.0, 111.0, 120.0):
        served._store.beat(now)
    assert [until - 1.0 for until in beats] == [100.0, 110.0, 120.0]
