"""`?profile=`: each declared rule of another backend is kept, by the session itself and through the face."""

import dataclasses
from collections.abc import Callable
from typing import Any, get_args

import pytest

import unimq
from unimq import registry
from unimq.capabilities import Capabilities, Limits, absent, layered, native
from unimq.driver import Outgoing, Settling
from unimq.errors import LeaseLost, Unsupported
from unimq.testing.lab import fresh_name
from unimq.url import URL
from unimq_memory.behaviour import Behaviour

Opener = Callable[..., Any]
GUARANTEE = "at-most-once"


@pytest.mark.parametrize("scheme", [one for one in registry.schemes() if one != "memory"])
def test_it_has_exactly_the_declared_capabilities(scheme: str) -> None:
    """Of every registered backend, limits included; but no reply is brought by a server, as there is none."""
    with unimq.connect(f"memory://?profile={scheme}") as client:
        can, declared = client.capabilities, registry.driver(scheme).capabilities(URL(scheme))
        assert can.call.level != "native"
        assert not can.progress
        assert dataclasses.replace(can, call=declared.call, progress=declared.progress) == declared


def test_a_backend_need_not_be_installed(imitating: Opener) -> None:
    """Its client library is neither imported nor looked for."""
    session = imitating()
    assert registry.driver("imitated").library == "no_such_library"
    session.put(b"x")
    assert session.bodies() == [b"x"]


def test_its_own_name_and_unknown_ones_are_refused() -> None:
    """With the list of those that are known."""
    with pytest.raises(unimq.InvalidURL, match="known: .*sqlite"):
        unimq.connect("memory://?profile=memory")
    with pytest.raises(unimq.InvalidURL, match="did you mean 'sqlite'"):
        unimq.connect("memory://?profile=sqlit")


def test_no_more_is_peeked_at_than_can_be_shown(imitating: Opener, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is not asked for more than its backend can show."""
    asked: list[int] = []
    session = type(imitating(peek=native(), limits=Limits(peek=2)).session)
    real = session.peek

    def peek(self: Any, queue: str, limit: int, deadline: float) -> Any:
        asked.append(limit)
        return real(self, queue, limit, deadline)

    monkeypatch.setattr(session, "peek", peek)
    with unimq.Queue(f"memory://{name}/jobs?profile=imitated") as queue:
        queue.put_many([1, 2, 3])
        assert [message.body for message in queue.peek(10)] == [1, 2]
        assert [message.body for message in queue.peek(1)] == [1]
    assert asked == [2, 1]


def test_the_face_refuses_what_is_absent(imitating: Opener, name: str) -> None:
    """Before anything is sent, and by the backend's limits."""
    imitating(nack=absent(), nack_delay=absent(), limits=Limits(body=5, name=20))
    with unimq.Queue(f"memory://{name}/jobs?profile=imitated") as queue:
        queue.put("x")
        message = queue.get(timeout=0)
        for call in (message.nack, message.extend, queue.peek, queue.purge, queue.delete, queue.client.queues):
            with pytest.raises(Unsupported):
                call()
        for fields in ({"delay": 1}, {"priority": 5}):
            with pytest.raises(Unsupported):
                queue.put("x", **fields)  # type: ignore[arg-type]
        with pytest.raises(unimq.TooLarge):
            queue.put("four")


@pytest.mark.parametrize(("length", "kept"), [(1000, True), (5000, False)])
def test_details_of_a_dead_letter_are_left_out_where_they_do_not_fit(
    imitating: Opener, name: str, length: int, *, kept: bool
) -> None:
    """Before its reason is shortened."""
    imitating(limits=Limits(body=6000))
    reason = "r" * 500
    with unimq.Queue(f"memory://{name}/jobs?profile=imitated") as queue:
        queue.put("x" * (length - 2))
        queue.get(timeout=0).reject(reason, "d" * 2000)
        dead = queue.dead.get(timeout=0)
        assert dead.headers["unimq-dead-reason"] == reason
        assert ("unimq-dead-details" in dead.headers) is kept


def test_the_session_refuses_what_is_absent(imitating: Opener) -> None:
    """As a guard behind the face: nothing is done."""
    session = imitating(nack=absent(), stats=absent())
    session.put(b"x")
    (held,) = session.take()
    calls: list[Callable[[], object]] = [
        lambda: session.release([held], 0.0, 0),
        lambda: session.extend([held], 1.0, 0),
        lambda: session.peek("jobs", 1, 0),
        lambda: session.cancel("jobs", "1", 0),
        lambda: session.stats("jobs", 0),
        lambda: session.purge("jobs", 0),
        lambda: session.delete("jobs", 0),
        lambda: session.queues(0),
    ]
    for call in calls:
        with pytest.raises(Unsupported, match="is absent on memory://"):
            call()
    assert session.ack([held], 0) == [None]


def test_what_is_not_native_is_never_done_natively(imitating: Opener) -> None:
    """A delay or an expiry that only unimq could keep is refused, each member for itself; a nack's delay as well."""
    session = imitating(nack_delay=absent())
    messages = [Outgoing(b"1", delay=5.0), Outgoing(b"2", expires_at=1e12), Outgoing(b"3", priority=9), Outgoing(b"4")]
    outcomes = session.send("jobs", messages, 0)
    assert [isinstance(one, Unsupported) for one in outcomes] == [True, True, False, False]
    with pytest.raises(Unsupported):
        session.release(session.take(), 1.0, 0)
    session.put(b"high", priority=9)
    assert session.bodies() == [b"4", b"high"]


@pytest.mark.parametrize(("place", "expected"), [("tail", [b"2", b"1"]), ("front", [b"1", b"2"])])
def test_a_nacked_message_goes_where_it_is_declared_to(imitating: Opener, place: str, expected: list[bytes]) -> None:
    """Behind its equals, or before them."""
    session = imitating(nack_place=place)
    session.put(b"1", b"2")
    session.release(session.take(), 0.0, 0)
    assert session.bodies() == expected


class TestAtMostOnce:
    """A delivery removes the message."""

    def test_an_ack_changes_nothing(self, imitating: Opener) -> None:
        """It always succeeds, and nothing was held before it."""
        session = imitating(guarantee=GUARANTEE, nack=absent())
        session.put(b"x")
        found = session.take(lease=0.0)
        assert found[0].lease_until is None
        assert session.stats("jobs", 0).leased == 0
        assert [*session.ack(found, 0), *session.ack(found, 0)] == [None, None]
        assert session.bodies() == []

    @pytest.mark.parametrize("level", [native(), absent()])
    def test_what_is_in_hand_is_lost_with_the_session(self, imitating: Opener, level: Any) -> None:
        """Also where it could have been given back."""
        session = imitating(guarantee=GUARANTEE, nack=level)
        session.put(b"x", b"y")
        session.take()
        session.close()
        assert imitating(guarantee=GUARANTEE, nack=level).bodies() == [b"y"]

    def test_a_native_nack_gives_back_once(self, imitating: Opener) -> None:
        """And an acked message cannot be given back: that is no silent success."""
        session = imitating(guarantee=GUARANTEE)
        session.put(b"x")
        found = session.take()
        assert session.release(found, 0.0, 0) == [None]
        assert isinstance(session.release(found, 0.0, 0)[0], LeaseLost)
        again = session.take()
        session.ack(again, 0)
        assert isinstance(session.release(again, 0.0, 0)[0], LeaseLost)
        assert session.bodies() == []

    def test_no_lease_ends(self, imitating: Opener, clock: Any) -> None:
        """Whatever a native extend is asked for, nothing is delivered twice."""
        session = imitating(guarantee=GUARANTEE, extend=native())
        session.put(b"x")
        assert session.extend([session.take(lease=1.0)[0]], 5.0, 0)[0] == 5.0
        clock.now += 100
        assert session.bodies() == []

    def test_a_requeue_is_a_put(self, imitating: Opener) -> None:
        """A move stores the message whether or not the session remembers the delivery."""
        session = imitating(guarantee=GUARANTEE, nack=layered())
        session.put(b"x")
        session.move("jobs", [(session.take()[0], Outgoing(b"again"))], 0)
        assert session.bodies() == [b"again"]


class TestLeases:
    """Who fixes the lease, and where it may be settled."""

    def test_by_the_connection(self, imitating: Opener, clock: Any) -> None:
        """No clock ends it; closing gives everything back in its order, and only its own session settles it."""
        first, second = (imitating(lease_by="connection", extend=native()) for _ in range(2))
        first.put(b"1", b"2", b"3")
        held = first.take(2, lease=1.0)
        assert first.settling == "duplex"
        assert held[0].lease_until is None
        assert first.extend([held[0]], 1.0, 0)[0] == 1.0
        clock.now += 1000
        assert isinstance(second.ack(held[:1], 0)[0], LeaseLost)
        assert second.bodies() == [b"3"]
        first.close()
        assert second.bodies() == [b"1", b"2"]

    def test_by_the_put(self, imitating: Opener, clock: Any) -> None:
        """Whatever the get says; extending starts it again, and closing ends it."""
        session, other = (imitating(lease_by="put", extend=native()) for _ in range(2))
        session.put(b"x", lease=5.0)
        (held,) = session.take(lease=999.0)
        assert (session.settling, held.lease_until) == ("same-session", clock.now + 5)
        clock.now += 4
        assert session.extend([held], 999.0, 0)[0] == 5.0
        clock.now += 4.9
        assert other.take() == []
        clock.now += 0.2
        assert len(other.take()) == 1
        other.close()
        assert session.bodies() == [b"x"]

    def test_by_the_put_of_somebody_else(self, imitating: Opener, clock: Any) -> None:
        """A message that came without a lease has that of the get."""
        session = imitating(lease_by="put", extend=native())
        session.put(b"x")
        (held,) = session.take(lease=3.0)
        assert held.lease_until == clock.now + 3
        assert session.extend([held], 7.0, 0)[0] == 7.0

    def test_by_the_get_it_outlives_the_session(self, imitating: Opener, clock: Any) -> None:
        """Closing gives nothing back; every session settles."""
        first, second = imitating(), imitating()
        first.put(b"x")
        held = first.take(lease=5.0)
        first.close()
        assert (second.settling, second.take()) == ("any-session", [])
        assert second.ack(held, 0) == [None]

    @pytest.mark.parametrize("settling", get_args(Settling))
    def test_a_driver_may_say_where_it_is_settled(self, imitating: Opener, settling: Settling) -> None:
        """Its word goes before what the lease suggests."""
        first, second = (imitating(settling, lease_by="connection") for _ in range(2))
        first.put(b"x")
        outcome = second.ack(first.take(), 0)[0]
        assert first.settling == settling
        assert (outcome is None) == (settling == "any-session")


class TestCounting:
    """What `delivery_count` tells."""

    @pytest.mark.parametrize(
        ("counts", "level", "expected"),
        [
            ("fetches", native(), [1, 2]),
            ("nacks", native(), [1, 2]),
            ("nacks", layered(), [None, None]),
            (None, absent(), [None, None]),
        ],
    )
    def test_nacks(self, imitating: Opener, counts: Any, level: Any, expected: list[Any]) -> None:
        """Counted by both ways of counting; what only unimq counts, the session does not know."""
        session = imitating(counts=counts, delivery_count=level)
        session.put(b"x")
        (first,) = session.take()
        session.release([first], 0.0, 0)
        assert [first.delivery_count, session.take()[0].delivery_count] == expected

    @pytest.mark.parametrize(
        ("counts", "crash_counted", "expected"),
        [("fetches", True, 2), ("fetches", False, 2), ("nacks", False, 1), ("nacks", True, 2)],
    )
    def test_lost_holders(self, counts: Any, crash_counted: Any, expected: int, request: pytest.FixtureRequest) -> None:
        """Whether the lease or the session ended: a fetch counts; where nacks are counted, `crash_counted` tells."""
        imitating, clock = request.getfixturevalue("imitating"), request.getfixturevalue("clock")
        rules = {"counts": counts, "crash_counted": crash_counted, "delivery_count": native()}
        leased = imitating(**rules)
        leased.put(b"x")
        leased.take(lease=1.0)
        clock.now += 2
        assert leased.take()[0].delivery_count == expected
        connected = imitating(**rules, lease_by="connection")
        connected.put(b"x", queue="other")
        connected.take(queue="other")
        connected.close()
        assert imitating(**rules).take(queue="other")[0].delivery_count == expected


def test_priorities_and_delays_have_their_grain(imitating: Opener, clock: Any) -> None:
    """Three levels, and whole seconds rounded up, for puts and nacks."""
    session = imitating(priority=native(), priority_levels=3, delay=native(), delay_step=1.0)
    for priority in range(10):
        session.put(b"%d" % priority, priority=priority)
    taken = session.bodies()
    assert taken == [b"6", b"7", b"8", b"9", b"3", b"4", b"5", b"0", b"1", b"2"]
    session.put(b"x", delay=0.2)
    clock.now += 0.9
    assert session.take() == []
    clock.now += 0.1
    session.release(session.take(), 1.5, 0)
    clock.now += 1.9
    assert session.take() == []
    clock.now += 0.1
    assert session.bodies() == [b"x"]


def test_what_the_protocol_does_not_keep_is_not_given_back(imitating: Opener, name: str) -> None:
    """No id, no time, no priority, no headers: the face carries them itself."""
    session = imitating()
    assert session.send("jobs", [Outgoing(b"x", id="own", headers={"a": "b"})], 0) == [None]
    (delivery,) = session.take()
    assert (delivery.id, delivery.headers, delivery.priority, delivery.enqueued_at) == (None,) * 4
    with unimq.Queue(f"memory://{name}/other?profile=imitated") as queue:
        receipt = queue.put("x", headers={"a": "b"})
        message = queue.get(timeout=0)
        assert (message.id, message.headers["a"]) == (receipt.id, "b")


@pytest.mark.parametrize("kept", ["id", "enqueued_at", "priority"])
def test_what_the_protocol_keeps_is_given_back(imitating: Opener, kept: str) -> None:
    """Each for itself."""
    session = imitating(keeps=frozenset({kept}))
    session.put(b"x", id="own", enqueued_at=5.0, priority=7)
    (found,) = session.take()
    sent = {"id": "own", "enqueued_at": 5.0, "priority": 7}
    assert {key: getattr(found, key) for key in sent} == {key: sent[key] if key == kept else None for key in sent}


def test_an_unconfirmed_backend_is_only_reported(imitating: Opener, name: str) -> None:
    """The put works, and its receipt says what it is worth."""
    imitating(confirmed=False)
    with unimq.Queue(f"memory://{name}/jobs?profile=imitated") as queue:
        assert not queue.put("x").confirmed


@pytest.mark.parametrize("step", [0.1, 0.2, 0.5, 1.0, 3.0])
def test_a_delay_is_never_rounded_down(step: float) -> None:
    """Nor up by more than one step and what a float cannot tell."""
    base = Capabilities(guarantee="at-least-once", delay=native())
    rules = Behaviour.of(dataclasses.replace(base, delay_step=step))
    for tenths in range(1, 100):
        asked = tenths / 10
        assert asked <= rules.wait(asked) + 1e-12 <= asked + step + 1e-9


@pytest.mark.parametrize("profile", ["memcacheq", "gearman"])
def test_what_was_put_plain_is_never_said_to_be_younger(profile: str) -> None:
    """Its first put is told by nobody: not after a nack, which is a copy, nor as a dead letter."""
    with unimq.Queue(f"memory://{fresh_name()}/jobs?profile={profile}") as queue:
        queue.put("plain")
        queue.get(timeout=0).nack()
        again = queue.get(timeout=0)
        assert (again.enqueued_at, again.delivery_count) == (None, 2)
        again.reject()
        dead = queue.dead.get(timeout=0)
        assert dead.enqueued_at is None
        assert "unimq-dead-put" not in dead.headers
