"""Wrong drivers: each is the memory backend with one fault, and names the case of the suite that must catch it."""

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn

import msgspec

from unimq.capabilities import Capabilities, Limits
from unimq.driver import Delivery, Outgoing, Stats
from unimq.errors import Full, ServerError, TooLarge, UnimqError, Unsupported
from unimq.options import Option
from unimq.url import URL
from unimq_memory import MemoryDriver, broker
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
    path_is_queue: bool = True
    options: tuple[Option, ...] = ()

    def capabilities(self, url: URL) -> Capabilities:
        return self.session.declares(MemoryDriver().capabilities(URL("memory")))

    def open(self, url: URL, deadline: float) -> Evil:
        most = url.options.get("max_size")
        opened = self.session(broker("evil"), self.capabilities(url), None if most is None else int(most))
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

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        type(self).turn += len(found)
        if found and self.turn % 7 == 0:
            super().send(found[0].queue, [Outgoing(found[0].body)], deadline)
        return found


class RepeatsInABatch(Evil):
    caught_by = "test_many_are_put_received_and_acked"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        found = list(super().receive(queues, limit, lease, deadline))
        return [*found[:-1], found[0]] if len(found) > 1 else found


class TruncatesAtNul(Evil):
    caught_by = "test_every_byte_value"

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        cut = [msgspec.structs.replace(message, body=message.body.split(b"\0")[0]) for message in messages]
        return super().send(queue, cut, deadline)


class StripsWhitespace(Evil):
    caught_by = "test_every_codec[raw]"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        return seen(super().receive(queues, limit, lease, deadline), lambda d: {"body": d.body.strip()})


class LowersHeaders(Evil):
    caught_by = "test_headers_arrive_unchanged"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        return seen(found, lambda d: {"headers": {k.lower(): v for k, v in (d.headers or {}).items()}})


class UnescapesHeaders(Evil):
    caught_by = "test_headers_arrive_unchanged"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        return seen(found, lambda d: {"headers": {k: v.replace("\\n", "\n") for k, v in (d.headers or {}).items()}})


class KeepsHeadersOfTheLast(Evil):
    caught_by = "test_headers_belong_to_their_message"
    last: Any = None

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
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

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        stores = self._broker.stores
        every = [name for name, store in stores.items() if store.waiting and not name.endswith(".dead")]
        found = super().receive(every or queues, limit, lease, deadline)
        return seen(found, lambda _: {"queue": queues[0]})


class StarvesQueues(Evil):
    caught_by = "test_a_client_waits_for_several_queues"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        for name in queues:
            found = super().receive([name], limit, lease, 0.0)
            if found:
                return found
        return super().receive(queues, limit, lease, deadline)


# Waiting


class BlocksPastDeadlines(Evil):
    caught_by = "test_a_timeout_is_kept[0]"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        if not found:
            time.sleep(0.4)
        return found


class SpinsWhileIdle(Evil):
    caught_by = "test_waiting_costs_nothing"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        while True:
            found = super().receive(queues, limit, lease, 0.0)
            if found or time.monotonic() >= deadline or self._closed:
                return found


class WakesLate(Evil):
    caught_by = "test_a_waiting_get_wakes_up"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        while True:
            found = super().receive(queues, limit, lease, 0.0)
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(min(0.6, max(0.0, deadline - time.monotonic())))


class WaitsForMore(Evil):
    caught_by = "test_get_many_waits_for_the_first"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        found = list(super().receive(queues, limit, lease, deadline))
        while found and len(found) < limit and time.monotonic() < deadline:
            found += super().receive(queues, limit - len(found), lease, deadline)
        return found


class FindsNothingWhenLate(Evil):
    caught_by = "test_a_get_takes_what_is_there"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        return super().receive(queues, limit, lease, deadline) if deadline > time.monotonic() else []


class CannotBeInterrupted(Evil):
    caught_by = "test_a_close_ends_a_get_that_waits"

    def interrupt(self) -> None:
        pass


class HoldsUpPuts(Evil):
    caught_by = "test_a_put_proceeds_while_a_get_waits"
    door = threading.Lock()

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
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

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
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

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        return seen(super().receive(queues, limit, lease, deadline), lambda _: {"expires_at": None})


class TakesTtlForALease(Evil):
    caught_by = "test_a_ttl_is_no_lease"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        for delivery in found:
            if delivery.expires_at is not None:
                super().extend(delivery, max(0.0, delivery.expires_at - time.time()), math.inf)
        return found


# Settling


class AcksNothing(Evil):
    caught_by = "test_an_ack_removes"

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        return [None] * len(deliveries)


class AcksOnlyTheFirst(Evil):
    caught_by = "test_a_batch_is_acked_whole"

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        return [*super().ack(deliveries[:1], deadline), *[None] * (len(deliveries) - 1)]


class SwallowsErrors(Evil):
    caught_by = "test_settling_after_the_lease_is_refused[ack]"

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        super().ack(deliveries, deadline)
        return [None] * len(deliveries)


class SettlesForOthers(Evil):
    """Knows a message by its id alone, so that a stale handle settles what somebody else has."""

    caught_by = "test_settling_after_the_lease_is_refused[ack]"

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        for delivery in deliveries:
            held = self._broker.store(delivery.queue).held
            for token in [token for token, entry in held.items() if entry.id == delivery.id]:
                del held[token]
        return [None] * len(deliveries)


class MixesUpOutcomes(Evil):
    caught_by = "test_an_ack_of_many_says_which_leases_were_lost"

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        return super().ack(deliveries, deadline)[::-1]


class NackIsANoOp(Evil):
    caught_by = "test_a_nack_brings_the_message_back"

    def release(self, deliveries: Sequence[Delivery], delay: float, deadline: float) -> Sequence[UnimqError | None]:
        return [None] * len(deliveries)


class NackDrops(Evil):
    caught_by = "test_a_nack_brings_the_message_back"

    def release(self, deliveries: Sequence[Delivery], delay: float, deadline: float) -> Sequence[UnimqError | None]:
        return super().ack(deliveries, deadline)


class NacksToTheTail(Evil):
    caught_by = "test_a_nacked_message_waits_where_it_is_declared"

    def release(self, deliveries: Sequence[Delivery], delay: float, deadline: float) -> Sequence[UnimqError | None]:
        for delivery in deliveries:
            entry = self._held(delivery)
            if entry is not None:
                entry.place = next(self._broker.numbers)
        return super().release(deliveries, delay, deadline)


class NacksAtOnce(Evil):
    caught_by = "test_a_delayed_nack"

    def release(self, deliveries: Sequence[Delivery], delay: float, deadline: float) -> Sequence[UnimqError | None]:
        return super().release(deliveries, 0.0, deadline)


class MoveDrops(Evil):
    caught_by = "test_a_rejected_message_is_a_dead_letter"

    def move(self, delivery: Delivery, queue: str, message: Outgoing, deadline: float) -> str | None:
        super().ack([delivery], deadline)
        return None


class MoveCopies(Evil):
    caught_by = "test_nothing_is_left_behind"

    def move(self, delivery: Delivery, queue: str, message: Outgoing, deadline: float) -> Any:
        return super().send(queue, [message], deadline)[0]


class MoveKeepsTheCount(Evil):
    caught_by = "test_redrive_brings_back"

    def move(self, delivery: Delivery, queue: str, message: Outgoing, deadline: float) -> str | None:
        kept = msgspec.structs.replace(message, delivery_count=delivery.delivery_count or 0)
        return super().move(delivery, queue, kept, deadline)


# Leases


class NeverEndsALease(Evil):
    caught_by = "test_a_lease_ends_and_the_message_comes_back"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        return super().receive(queues, limit, 3600.0, deadline)


class EndsLeasesEarly(Evil):
    caught_by = "test_a_lease_ends_and_the_message_comes_back"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        return super().receive(queues, limit, lease / 2, deadline)


class ExtendsNothing(Evil):
    caught_by = "test_an_extended_lease_lasts"

    def extend(self, delivery: Delivery, seconds: float, deadline: float) -> float:
        return seconds


class GrantsLess(Evil):
    caught_by = "test_an_extended_lease_lasts"

    def extend(self, delivery: Delivery, seconds: float, deadline: float) -> float:
        return super().extend(delivery, seconds / 2, deadline)


class ForgetsAtClose(Evil):
    caught_by = "test_an_unsettled_message_survives_the_close"

    def close(self) -> None:
        for store in self._broker.stores.values():
            store.held.clear()
        super().close()


class SharesALease(Evil):
    """The lease of the first get holds for everybody."""

    caught_by = "test_each_get_has_its_own_lease"
    first: ClassVar[float] = 0.0

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        type(self).first = self.first or lease
        return super().receive(queues, limit, self.first, deadline)


# Counting


class CountsOffByOne(Evil):
    caught_by = "test_nacks_count"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        return seen(found, lambda d: {"delivery_count": (d.delivery_count or 0) - 1})


class CountsOnlyNacks(Evil):
    caught_by = "test_ended_leases_count"

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        return seen(super().receive(queues, limit, lease, deadline), lambda _: {"delivery_count": 1})


class PeekCounts(Evil):
    caught_by = "test_looking_does_not_count"

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        found = super().receive([queue], limit, 60.0, 0.0)
        super().release(found, 0.0, deadline)
        return found


# Looking after it


class PeekTakes(Evil):
    caught_by = "test_peek_looks_and_takes_nothing"

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        return super().receive([queue], limit, 60.0, 0.0)


class PeekShowsTheLast(Evil):
    caught_by = "test_peek_looks_and_takes_nothing"

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        return super().peek(queue, 10_000, deadline)[-limit:]


class PurgeLies(Evil):
    caught_by = "test_purge_removes_what_nobody_holds"

    def purge(self, queue: str, deadline: float) -> int:
        return self._broker.store(queue).waiting


class PurgeTakesWhatIsHeld(Evil):
    caught_by = "test_purge_removes_what_nobody_holds"

    def purge(self, queue: str, deadline: float) -> int:
        removed = super().purge(queue, deadline)
        self._broker.store(queue).held.clear()
        return removed


class PurgesTheNeighbours(Evil):
    caught_by = "test_purge_is_for_one_queue"

    def purge(self, queue: str, deadline: float) -> int:
        return [super(PurgesTheNeighbours, self).purge(name, deadline) for name in [*self._broker.stores, queue]][-1]


class DeleteKeepsTheHeld(Evil):
    caught_by = "test_delete_removes_everything"

    def delete(self, queue: str, deadline: float) -> None:
        super().purge(queue, deadline)


class StatsLie(Evil):
    caught_by = "test_stats_count_by_state"

    def stats(self, queue: str, deadline: float) -> Stats:
        honest = super().stats(queue, deadline)
        return Stats(ready=honest.ready, delayed=honest.delayed, leased=0, oldest=honest.oldest)


class SizeCountsTheHeld(Evil):
    caught_by = "test_size_counts_what_waits"

    def stats(self, queue: str, deadline: float) -> Stats:
        honest = super().stats(queue, deadline)
        return msgspec.structs.replace(honest, ready=(honest.ready or 0) + (honest.leased or 0))


class CancelLies(Evil):
    caught_by = "test_a_waiting_message_can_be_cancelled"

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        return True


class ListsNothing(Evil):
    caught_by = "test_queues_are_listed"

    def queues(self, deadline: float) -> Sequence[str]:
        return []


class IgnoresMaxSize(Evil):
    caught_by = "test_a_full_queue_takes_no_more"

    def _full(self, store: Any) -> Full | None:
        return None


# Claims


class ClaimsWhatItLacks(Evil):
    caught_by = "test_a_capability_works_or_is_refused[peek]"

    def peek(self, queue: str, limit: int, deadline: float) -> NoReturn:
        msg = "peek is not there"
        raise Unsupported(msg)


class RefusesWhatItClaims(Evil):
    caught_by = "test_a_capability_works_or_is_refused[extend]"

    def extend(self, delivery: Delivery, seconds: float, deadline: float) -> NoReturn:
        msg = "not now"
        raise ServerError(msg)


# Hygiene


class LeaksThreads(Evil):
    caught_by = "test_nothing_is_left_after_close"

    def ping(self, deadline: float) -> str:
        return "evil"

    def close(self) -> None:
        threading.Thread(target=lambda: time.sleep(8), daemon=True, name="leaked").start()
        super().close()


class LeaksFiles(Evil):
    caught_by = "test_nothing_is_left_after_close"
    leaked: ClassVar[list[int]] = []

    def close(self) -> None:
        if len(self.leaked) < 50:
            self.leaked.append(os.open(os.devnull, os.O_RDONLY))
        super().close()


class ShowsThePassword(Evil):
    caught_by = "test_no_password_is_shown"

    def cancel(self, queue: str, message_id: str, deadline: float) -> NoReturn:
        msg = f"{self.url.reveal()} does not know {message_id}"
        raise ServerError(msg)


class AnswersNoName(Evil):
    caught_by = "test_a_ping_is_answered"

    def ping(self, deadline: float) -> str:
        return ""
