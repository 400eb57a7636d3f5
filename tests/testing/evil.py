"""Wrong drivers: each is the memory backend with one fault, and names the case of the suite that must catch it."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import msgspec

from unimq.capabilities import Capabilities, Limits
from unimq.driver import Delivery, Outgoing
from unimq.errors import TooLarge
from unimq.options import Option
from unimq.url import URL
from unimq_memory import MemoryDriver, broker
from unimq_memory.behaviour import Behaviour
from unimq_memory.session import MemorySession

EVIL: dict[str, "type[Evil]"] = {}


class Evil(MemorySession):
    """An honest session; the subclasses are not."""

    caught_by: ClassVar[str] = ""
    """The case, with its parameter in brackets."""
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
    caught_by = "test_many_are_put_received_and_acked"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        outcomes = list(super().send(queue, messages[:-1], deadline))
        return [*outcomes, None] if len(messages) > 100 else super().send(queue, messages[-1:], deadline)


class StoresTwice(Evil):
    caught_by = "test_many_are_put_received_and_acked"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        super().send(queue, messages, deadline)
        return super().send(queue, messages, deadline)


class DeliversTwice(Evil):
    caught_by = "test_producers_and_consumers_share_one_queue"
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
    caught_by = "test_many_are_put_received_and_acked"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = list(super().receive(queues, limit, lease, deadline))
        return [*found[:-1], found[0]] if len(found) > 1 else found


class TruncatesAtNul(Evil):
    caught_by = "test_every_byte_value"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        cut = [msgspec.structs.replace(message, body=message.body.split(b"\0")[0]) for message in messages]
        return super().send(queue, cut, deadline)


class StripsWhitespace(Evil):
    caught_by = "test_every_codec[raw]"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        return seen(super().receive(queues, limit, lease, deadline), lambda d: {"body": d.body.strip()})


class LowersHeaders(Evil):
    caught_by = "test_headers_arrive_unchanged"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        return seen(found, lambda d: {"headers": {k.lower(): v for k, v in (d.headers or {}).items()}})


class UnescapesHeaders(Evil):
    caught_by = "test_headers_arrive_unchanged"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        return seen(found, lambda d: {"headers": {k: v.replace("\\n", "\n") for k, v in (d.headers or {}).items()}})


class KeepsHeadersOfTheLast(Evil):
    caught_by = "test_headers_belong_to_their_message"
    last: Any = None

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        for delivery in found:
            self.last = delivery.headers or self.last
        return seen(found, lambda _: {"headers": self.last})


class LosesIds(Evil):
    caught_by = "test_an_own_id_arrives"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, changed(messages, id=None), deadline)


class MixesUpReceipts(Evil):
    caught_by = "test_ids_are_different"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, messages, deadline)[::-1]


class HasASmallerLimit(Evil):
    caught_by = "test_a_large_body"

    @classmethod
    def declares(cls, honest: Capabilities) -> Capabilities:
        return replace(honest, limits=Limits(body=1 << 16))

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        if any(len(message.body) >= 1 << 16 for message in messages):
            msg = "too large"
            raise TooLarge(msg)
        return super().send(queue, messages, deadline)


class MixesQueues(Evil):
    caught_by = "test_queues_do_not_mix"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        stores = self._broker.stores
        every = [name for name, store in stores.items() if store.size() and not name.endswith(".dead")]
        found = super().receive(every or queues, limit, lease, deadline)
        return seen(found, lambda _: {"queue": queues[0]})


class StarvesQueues(Evil):
    caught_by = "test_a_client_waits_for_several_queues"

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
    caught_by = "test_a_timeout_is_kept[0]"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        if not found:
            time.sleep(0.4)
        return found


class SpinsWhileIdle(Evil):
    caught_by = "test_waiting_costs_nothing"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        while True:
            found = super().receive(queues, limit, lease, 0.0)
            if found or time.monotonic() >= deadline or self._closed:
                return found


class WakesLate(Evil):
    caught_by = "test_a_waiting_get_wakes_up"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        while True:
            found = super().receive(queues, limit, lease, 0.0)
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(min(0.6, max(0.0, deadline - time.monotonic())))


class WaitsForMore(Evil):
    caught_by = "test_get_many_waits_for_the_first"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = list(super().receive(queues, limit, lease, deadline))
        while found and len(found) < limit and time.monotonic() < deadline:
            found += super().receive(queues, limit - len(found), lease, deadline)
        return found


class FindsNothingWhenLate(Evil):
    caught_by = "test_a_get_takes_what_is_there"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        return super().receive(queues, limit, lease, deadline) if deadline > time.monotonic() else []


class CannotBeInterrupted(Evil):
    caught_by = "test_a_close_ends_a_get_that_waits"

    def interrupt(self) -> None:
        pass


class HoldsUpPuts(Evil):
    caught_by = "test_a_put_proceeds_while_a_get_waits"
    door = threading.Lock()

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        with self.door:
            return super().receive(queues, limit, lease, min(deadline, time.monotonic() + 0.6))

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        with self.door:
            return super().send(queue, messages, deadline)


# Order and time


class LosesTheOrder(Evil):
    caught_by = "test_messages_come_in_the_order_of_their_puts"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, messages[::-1], deadline)[::-1]


class InvertsPriority(Evil):
    caught_by = "test_higher_priorities_come_first"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        inverted = [msgspec.structs.replace(message, priority=9 - message.priority) for message in messages]
        return super().send(queue, inverted, deadline)


class IgnoresPriority(Evil):
    caught_by = "test_higher_priorities_come_first"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, changed(messages, priority=4), deadline)


class IgnoresDelay(Evil):
    caught_by = "test_a_delay_is_kept"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, changed(messages, delay=0.0), deadline)


class HalvesDelay(Evil):
    caught_by = "test_a_point_in_time_is_kept"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        halves = [msgspec.structs.replace(message, delay=message.delay / 2) for message in messages]
        return super().send(queue, halves, deadline)


class SleepsInsteadOfDelaying(Evil):
    caught_by = "test_a_delayed_message_holds_up_nobody"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        time.sleep(max((message.delay for message in messages), default=0.0))
        return super().send(queue, changed(messages, delay=0.0), deadline)


class DoesNotWakeForWhatIsDue(Evil):
    caught_by = "test_a_get_that_waits_has_what_becomes_due"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        changed = self._broker.changed
        found = super().receive(queues, limit, lease, 0.0)
        while not found and time.monotonic() < deadline and not self._closed:
            with changed:
                self._broker.waiters += 1
                changed.wait(max(0.0, min(deadline - time.monotonic(), 60.0)))
                self._broker.waiters -= 1
            found = super().receive(queues, limit, lease, 0.0)
        return found


class DeliversExpired(Evil):
    caught_by = "test_what_has_expired_is_never_delivered"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        return super().send(queue, changed(messages, expires_at=None), deadline)


class ForgetsToTellExpiry(Evil):
    caught_by = "test_expiry_is_told"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        return seen(super().receive(queues, limit, lease, deadline), lambda _: {"expires_at": None})


class TakesTtlForALease(Evil):
    caught_by = "test_a_ttl_is_no_lease"

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        for delivery in found:
            if delivery.expires_at is not None:
                super().extend([delivery], max(0.0, delivery.expires_at - time.time()), math.inf)
        return found
