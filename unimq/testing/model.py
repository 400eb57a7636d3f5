"""Group 16: a state machine drives the backend beside a plain model in memory, and finds no difference."""

from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from unimq.capabilities import Capabilities
from unimq.errors import Empty
from unimq.testing.cases import Cases
from unimq.testing.lab import PATIENCE, Lab

__all__ = ["Model"]

_EXAMPLES: Final = {"sync": 100, "async": 25}
"""By the face: the second one meets the same driver."""
_STEPS: Final = 40
_ALWAYS_THE_SAME: Final = False
"""Whether each run tries the same examples; new ones find more."""
_PHASES: Final = (Phase.generate, Phase.shrink)
_NEVER: Final = 3600.0
"""A delay in seconds that does not end during a run."""


_HEADERS: Final = st.dictionaries(st.sampled_from(["a", "B", "c-d"]), st.text("x Y:\n", max_size=3), max_size=2)


@dataclass
class Entry:
    """One message, as it should be."""

    body: int
    place: int
    priority: int = 4
    headers: dict[str, str] = field(default_factory=dict[str, str])
    deliveries: int = 0
    returned: bool = False
    """Whether it was given back to the front: those stand before the others, in no order that is promised."""


class PlainQueue:
    """What a queue should hold."""

    def __init__(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self.ready: list[Entry] = []
        self.delayed: dict[str, Entry] = {}
        self.places = 0

    def add(self, entry: Entry) -> None:
        """Behind its equals."""
        self.places += 1
        entry.place = self.places
        entry.returned = False
        self.ready.append(entry)

    def give_back(self, entry: Entry) -> None:
        """Where `nack_place` says."""
        if self.capabilities.nack_place == "tail":
            self.add(entry)
        else:
            entry.returned = True
            self.ready.append(entry)

    def rank(self, entry: Entry) -> int:
        """The level of its priority, 0 first."""
        return (9 - entry.priority) * self.capabilities.priority_levels // 10 if self.capabilities.priority else 0

    def candidates(self) -> list[Entry]:
        """Those that may come next."""
        if not self.ready:
            return []
        first = min(map(self.rank, self.ready))
        equals = [entry for entry in self.ready if self.rank(entry) == first]
        if self.capabilities.order == "none":
            return equals
        returned = [entry for entry in equals if entry.returned]
        return returned or [min(equals, key=lambda entry: entry.place)]

    def hold_order(self, bodies: list[int]) -> None:
        """Hold that these may come next, one after the other."""
        before = list(self.ready)
        for body in bodies:
            self.take(body)
        self.ready = before

    def take(self, body: int) -> Entry:
        """The entry of that body, which must be one that may come next."""
        allowed = {entry.body: entry for entry in self.candidates()}
        assert body in allowed, f"{body} came where one of {sorted(allowed)} was next"
        self.ready.remove(allowed[body])
        return allowed[body]


class Machine(RuleBasedStateMachine):
    """Random uses of one queue."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.lab = lab
        self.capabilities = lab.capabilities
        self.keeps = lab.capabilities.guarantee != "at-most-once"
        self.bodies = 0

    @initialize()
    def open(self) -> None:
        self.queue = self.lab.queue(self.lab.other_name())
        self.model = PlainQueue(self.capabilities)
        self.dead = PlainQueue(self.capabilities)
        self.held: list[tuple[Any, Entry]] = []

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            for message, _ in self.held:
                self.lab.run(message.ack())
            self.lab.run(self.queue.close())

    def entry(self, **how: Any) -> Entry:
        self.bodies += 1
        return Entry(self.bodies, 0, **how)

    # Putting

    @rule(priority=st.integers(0, 9), headers=_HEADERS)
    def put(self, priority: int, headers: dict[str, str]) -> None:
        how: dict[str, Any] = {}
        if self.capabilities.priority:
            how["priority"] = priority
        if self.capabilities.headers:
            how["headers"] = headers
        entry = self.entry(**how)
        self.lab.run(self.queue.put(entry.body, **how))
        self.model.add(entry)

    @rule(count=st.integers(0, 4))
    def put_many(self, count: int) -> None:
        entries = [self.entry() for _ in range(count)]
        assert len(self.lab.run(self.queue.put_many([entry.body for entry in entries]))) == count
        for entry in entries:
            self.model.add(entry)

    @precondition(lambda self: self.capabilities.delay and self.capabilities.cancel)
    @rule()
    def put_delayed(self) -> None:
        entry = self.entry()
        receipt = self.lab.run(self.queue.put(entry.body, delay=_NEVER))
        assert receipt.id is not None
        self.model.delayed[receipt.id] = entry

    @precondition(lambda self: self.model.delayed)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.model.delayed)))
        assert self.lab.run(self.queue.cancel(id_)) is True
        del self.model.delayed[id_]
        assert self.lab.run(self.queue.cancel(id_)) is False

    # Getting

    @rule()
    def get(self) -> None:
        try:
            timeout = PATIENCE if self.model.ready else 0
            message = self.lab.run(self.queue.get(timeout=timeout))
        except Empty:
            assert not self.model.ready
            return
        self.received(message)

    @rule(limit=st.integers(1, 5))
    def get_many(self, limit: int) -> None:
        wanted = min(limit, len(self.model.ready))
        try:
            messages = self.lab.run(self.queue.get_many(limit, timeout=PATIENCE if wanted else 0))
            assert 1 <= len(messages) <= limit
            # Some may come a moment later; what is held must not depend on that, or Hypothesis could not repeat it.
            while len(messages) < wanted:
                messages += self.lab.run(self.queue.get_many(wanted - len(messages), timeout=PATIENCE))
        except Empty:
            assert not self.model.ready
            return
        for message in messages:
            self.received(message)

    def received(self, message: Any) -> None:
        entry = self.model.take(message.body)
        assert dict(message.headers) == entry.headers
        assert message.delivery_count == self.count(entry)
        if self.capabilities.priority:
            assert message.priority == entry.priority
        if self.keeps:
            self.held.append((message, entry))

    def count(self, entry: Entry) -> int | None:
        """What this delivery should be counted as."""
        entry.deliveries += 1
        return None if self.capabilities.counts is None else entry.deliveries

    # Settling

    def pick(self, data: Any) -> tuple[Any, Entry]:
        return self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def ack(self, data: Any) -> None:
        message, _ = self.pick(data)
        self.lab.run(message.ack())

    @precondition(lambda self: self.held and self.capabilities.nack)
    @rule(data=st.data())
    def nack(self, data: Any) -> None:
        message, entry = self.pick(data)
        self.lab.run(message.nack())
        self.model.give_back(entry)

    @precondition(lambda self: self.held and self.capabilities.dead_letters)
    @rule(data=st.data())
    def reject(self, data: Any) -> None:
        message, entry = self.pick(data)
        self.lab.run(message.reject("a reason"))
        entry.deliveries = 0
        self.dead.add(entry)

    @precondition(lambda self: self.held and self.capabilities.extend)
    @rule(data=st.data())
    def extend(self, data: Any) -> None:
        message, entry = self.pick(data)
        assert self.lab.run(message.extend()) > 0
        self.held.append((message, entry))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), all_=st.booleans())
    def ack_many(self, data: Any, all_: bool) -> None:  # noqa: FBT001 - Hypothesis calls it by name
        count = len(self.held) if all_ else data.draw(st.integers(1, len(self.held)))
        self.lab.run(self.queue.ack([message for message, _ in self.held[:count]]))
        del self.held[:count]

    @precondition(lambda self: self.held and self.capabilities.nack)
    @rule()
    def nack_many(self) -> None:
        self.lab.run(self.queue.nack([message for message, _ in self.held]))
        for _, entry in self.held:
            self.model.give_back(entry)
        self.held.clear()

    # Looking

    @precondition(lambda self: self.capabilities.peek)
    @rule(limit=st.integers(1, 6))
    def peek(self, limit: int) -> None:
        seen = [message.body for message in self.lab.run(self.queue.peek(limit))]
        assert len(seen) == min(limit, len(self.model.ready), self.capabilities.limits.peek or limit)
        assert set(seen) <= {entry.body for entry in self.model.ready}
        self.model.hold_order(seen)

    @precondition(lambda self: self.capabilities.stats)
    @rule()
    def stats(self) -> None:
        stats = self.lab.run(self.queue.stats())
        if stats.approximate:
            return
        assert stats.ready in (len(self.model.ready), None)
        assert stats.delayed in (len(self.model.delayed), None)
        assert stats.leased in (len(self.held), None)
        if stats.ready is not None:
            assert self.lab.run(self.queue.size()) == len(self.model.ready) + len(self.model.delayed)

    # Removing, and bringing back

    @precondition(lambda self: self.capabilities.purge)
    @rule()
    def purge(self) -> None:
        assert self.lab.run(self.queue.purge()) == len(self.model.ready) + len(self.model.delayed)
        self.model.ready.clear()
        self.model.delayed.clear()

    @precondition(lambda self: self.dead.ready)
    @rule(limit=st.none() | st.integers(1, 3))
    def redrive(self, limit: int | None) -> None:
        count = min(len(self.dead.ready), limit or len(self.dead.ready))
        assert self.lab.run(self.queue.dead.redrive(limit)) == count
        for _ in range(count):
            entry = self.dead.take(self.dead.candidates()[0].body)
            self.model.add(entry)

    @precondition(lambda self: self.dead.ready)
    @rule()
    def discard(self) -> None:
        try:
            message = self.lab.run(self.queue.dead.get(timeout=PATIENCE))
        except Empty:
            msg = "no dead letter came"
            raise AssertionError(msg) from None
        entry = self.dead.take(message.body)
        assert {k: v for k, v in message.headers.items() if not k.startswith("unimq-")} == entry.headers
        self.lab.run(message.reject())


class Model(Cases):
    """Any sequence of uses means what the contract says."""

    def test_the_model_finds_no_difference(self, lab: Lab) -> None:
        """Puts, gets, settlements, batches, looks, purges and redrives in any order, against a plain list."""
        how = settings(
            max_examples=_EXAMPLES[lab.face],
            stateful_step_count=_STEPS,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            phases=_PHASES,
            derandomize=_ALWAYS_THE_SAME,
        )
        make: Any = lambda: Machine(lab)  # noqa: E731 - Hypothesis calls it for each example, like a class
        run_state_machine_as_test(make, settings=how)
