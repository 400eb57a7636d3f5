"""Wrong drivers: each is the memory backend with one fault, and names the case of the suite that must catch it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import msgspec

from unimq.capabilities import Capabilities, Limits
from unimq.driver import Delivery, Outgoing
from unimq.errors import Empty, TooLarge
from unimq.options import Option
from unimq.url import URL
from unimq_memory import MemoryDriver, broker
from unimq_memory.behaviour import Behaviour
from unimq_memory.session import MemorySession

_IN_TIME = 0.3
"""Seconds before a deadline at which what comes late is not too late for the one who waits."""
EVIL: dict[str, "type[Evil]"] = {}


@dataclass(frozen=True)
class Caught:
    """By what a fault is noticed; anything else that fails is an accident."""

    case: str
    """The name of the case, with its parameter in brackets."""
    shown_by: str
    """A part of the statement of the case that fails, or of the text of its error."""
    error: type[Exception] = AssertionError


class Evil(MemorySession):
    """An honest session; the subclasses are not."""

    caught: ClassVar[Caught]
    url: URL

    def __init_subclass__(cls) -> None:
        EVIL[cls.__name__] = cls

    @classmethod
    def declares(cls, honest: Capabilities) -> Capabilities:
        """What the driver says; mostly the truth about the memory backend."""
        return honest


@dataclass(frozen=True)
class EvilDriver:
    """Opens sessions of one kind on a broker of their own."""

    session: type[Evil]
    name: str = "evil"
    contract: int = 1
    library: None = None
    install: str = ""
    port: None = None
    path_is_queue: bool = True
    options: tuple[Option, ...] = ()

    def capabilities(self, url: URL) -> Capabilities:
        return self.session.declares(MemoryDriver().capabilities(URL("memory")))

    def open(self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None) -> Evil:
        declared = self.capabilities(url)
        behaviour = Behaviour.of(declared, None)
        opened = self.session(broker("evil"), declared, behaviour, options["max_size"])
        opened.url = url
        return opened


def changed(messages: Sequence[Outgoing], **changes: Any) -> list[Outgoing]:
    return [msgspec.structs.replace(message, **changes) for message in messages]


def seen(deliveries: Sequence[Delivery], change: Callable[[Delivery], dict[str, Any]]) -> list[Delivery]:
    return [msgspec.structs.replace(delivery, **change(delivery)) for delivery in deliveries]


# Messages


class LosesAPut(Evil):
    caught = Caught("test_many_are_put_received_and_acked", "no message came")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        outcomes = list(super().send(queue, messages[:-1], deadline))
        return [*outcomes, None] if len(messages) > 100 else super().send(queue, messages[-1:], deadline)


class StoresTwice(Evil):
    caught = Caught("test_many_are_put_received_and_acked", "lab.nothing(queue)")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        super().send(queue, messages, deadline)
        return super().send(queue, messages, deadline)


class DeliversTwice(Evil):
    caught = Caught("test_producers_and_consumers_share_one_queue", "sorted(found) == list(range(200))")
    turn = 0

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        type(self).turn += len(found)
        if found and self.turn % 7 == 0:
            super().send(found[0].queue, [Outgoing(found[0].body)], deadline)
        return found


class RepeatsInABatch(Evil):
    caught = Caught("test_many_are_put_received_and_acked", "len(set(found)) == len(found)")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = list(super().receive(queues, limit, lease, deadline))
        return [*found[:-1], found[0]] if len(found) > 1 else found


class TruncatesAtNul(Evil):
    caught = Caught("test_every_byte_value", "message.raw == body")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        cut = [msgspec.structs.replace(message, body=message.body.split(b"\0")[0]) for message in messages]
        return super().send(queue, cut, deadline)


class StripsWhitespace(Evil):
    caught = Caught("test_every_codec[raw]", "found == body")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        return seen(super().receive(queues, limit, lease, deadline), lambda d: {"body": d.body.strip()})


class LowersHeaders(Evil):
    caught = Caught("test_headers_arrive_unchanged", "dict(message.headers) == headers")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        return seen(found, lambda d: {"headers": {k.lower(): v for k, v in (d.headers or {}).items()}})


class UnescapesHeaders(Evil):
    caught = Caught("test_headers_arrive_unchanged", "dict(message.headers) == headers")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        return seen(found, lambda d: {"headers": {k: v.replace("\\n", "\n") for k, v in (d.headers or {}).items()}})


class KeepsHeadersOfTheLast(Evil):
    caught = Caught("test_headers_belong_to_their_message", "seen == {1:")
    last: Any = None

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        for delivery in found:
            self.last = delivery.headers or self.last
        return seen(found, lambda _: {"headers": self.last})


class LosesIds(Evil):
    caught = Caught("test_an_own_id_arrives", 'message.id == "order 4711/ü"')

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, changed(messages, id=None), deadline)


class MixesUpReceipts(Evil):
    caught = Caught("test_ids_are_different", "== [seen[0], seen[1], seen[2]]")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, messages, deadline)[::-1]


class HasASmallerLimit(Evil):
    caught = Caught("test_a_large_body", "queue.put(body)", TooLarge)

    @classmethod
    def declares(cls, honest: Capabilities) -> Capabilities:
        return replace(honest, limits=Limits(body=1 << 16))

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        if any(len(message.body) >= 1 << 16 for message in messages):
            msg = "too large"
            raise TooLarge(msg)
        return super().send(queue, messages, deadline)


class MixesQueues(Evil):
    caught = Caught("test_queues_do_not_mix", "sorted(found) == [[queue.name")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        stores = self._broker.stores
        every = [name for name, store in stores.items() if store.size() and not name.endswith(".dead")]
        found = super().receive(every or queues, limit, lease, deadline)
        return seen(found, lambda _: {"queue": queues[0]})


class StarvesQueues(Evil):
    caught = Caught("test_a_client_waits_for_several_queues", "all(origins[queue.name]")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        for name in queues:
            found = super().receive([name], limit, lease, 0.0)
            if found:
                return found
        return super().receive(queues, limit, lease, deadline)


# Waiting


class BlocksPastDeadlines(Evil):
    caught = Caught("test_a_timeout_is_kept[0]", "best_of(late)")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        if not found:
            time.sleep(0.4)
        return found


class SpinsWhileIdle(Evil):
    caught = Caught("test_waiting_costs_nothing", "median(shares)")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        while True:
            found = super().receive(queues, limit, lease, 0.0)
            if found or time.monotonic() >= deadline or self._closed:
                return found


class WakesLate(Evil):
    caught = Caught("test_a_waiting_get_wakes_up", "best_of(latencies)")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        while True:
            found = super().receive(queues, limit, lease, 0.0)
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(min(0.6, max(0.0, deadline - time.monotonic())))


class WaitsForMore(Evil):
    caught = Caught("test_get_many_waits_for_the_first", "time.monotonic() - start <")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = list(super().receive(queues, limit, lease, deadline))
        most = deadline - _IN_TIME
        while found and len(found) < limit and time.monotonic() < most:
            found += super().receive(queues, limit - len(found), lease, most)
        return found


class FindsNothingWhenLate(Evil):
    caught = Caught("test_a_get_takes_what_is_there", "get(timeout=0)", Empty)

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        return super().receive(queues, limit, lease, deadline) if deadline > time.monotonic() else []


class CannotBeInterrupted(Evil):
    caught = Caught("test_a_close_ends_a_get_that_waits", "best_of(latencies)")

    def interrupt(self) -> None:
        pass


class HoldsUpPuts(Evil):
    caught = Caught("test_a_put_proceeds_while_a_get_waits", "best_of(took)")
    waiting: ClassVar[int] = 0

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        HoldsUpPuts.waiting += 1
        try:
            return super().receive(queues, limit, lease, deadline)
        finally:
            HoldsUpPuts.waiting -= 1

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        time.sleep(0.3 if self.waiting else 0.0)
        return super().send(queue, messages, deadline)


# Order and time


class LosesTheOrder(Evil):
    caught = Caught("test_messages_come_in_the_order_of_their_puts", "lab.bodies(queue, 10) == list(range(10))")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, messages[::-1], deadline)[::-1]


class InvertsPriority(Evil):
    caught = Caught("test_higher_priorities_come_first", "ranks == sorted(ranks)")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        inverted = [msgspec.structs.replace(message, priority=9 - message.priority) for message in messages]
        return super().send(queue, inverted, deadline)


class IgnoresPriority(Evil):
    caught = Caught("test_higher_priorities_come_first", "ranks == sorted(ranks)")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, changed(messages, priority=4), deadline)


class IgnoresDelay(Evil):
    caught = Caught("test_a_delay_is_kept", "lab.nothing(queue, 0)")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, changed(messages, delay=0.0), deadline)


class HalvesDelay(Evil):
    caught = Caught("test_a_point_in_time_is_kept", "datetime.now(UTC) >= at")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        halves = [msgspec.structs.replace(message, delay=message.delay / 2) for message in messages]
        return super().send(queue, halves, deadline)


class SleepsInsteadOfDelaying(Evil):
    caught = Caught("test_a_delayed_message_holds_up_nobody", '== ["now", "later", "last"]')

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        time.sleep(max((message.delay for message in messages), default=0.0))
        return super().send(queue, changed(messages, delay=0.0), deadline)


class DoesNotWakeForWhatIsDue(Evil):
    caught = Caught("test_a_get_that_waits_has_what_becomes_due", "time.monotonic() - start <")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        changed = self._broker.changed
        most = deadline - _IN_TIME
        found = super().receive(queues, limit, lease, 0.0)
        while not found and time.monotonic() < most and not self._closed:
            with changed:
                self._broker.waiters += 1
                changed.wait(max(0.0, min(most - time.monotonic(), 60.0)))
                self._broker.waiters -= 1
            found = super().receive(queues, limit, lease, 0.0)
        return found


class DeliversExpired(Evil):
    caught = Caught("test_what_has_expired_is_never_delivered", '== ["lives", "stays"]')

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, changed(messages, expires_at=None), deadline)


class ForgetsToTellExpiry(Evil):
    caught = Caught("test_expiry_is_told", "message.expires_at is not None")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        return seen(super().receive(queues, limit, lease, deadline), lambda _: {"expires_at": None})
