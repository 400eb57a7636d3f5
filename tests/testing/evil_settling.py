"""More wrong drivers: those that settle, lease, count, answer and tidy up wrongly. See `evil`."""

import math
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import msgspec
from evil import Caught, Evil, changed, seen

from unimq.driver import Delivery, Outgoing, Stats
from unimq.errors import LeaseLost, ServerError, UnimqError, Unsupported

# Putting


class StoresWhatIsThere(Evil):
    caught = Caught("test_what_is_unique_is_stored_once", "(other.body, other.id) ==")

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Any:
        sent = [message for one in messages for message in changed([one], id=one.id or one.unique, unique=None)]
        return super().send(queue, sent, deadline)


# Settling


class BlocksAndDeniesIt(Evil):
    caught = Caught("test_a_call_that_says_so_does_not_block", "< 2 * _AT_ONCE")

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Any:
        time.sleep(0.15)
        return super().ack(deliveries, deadline)


class AcksNothing(Evil):
    caught = Caught("test_an_ack_removes", "lab.nothing(queue")

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        return [None] * len(deliveries)


class AcksOnlyTheFirst(Evil):
    caught = Caught("test_a_batch_is_acked_whole", "(stats.leased, stats.ready) == (0, 0)")

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        return [*super().ack(deliveries[:1], deadline), *[None] * (len(deliveries) - 1)]


class SwallowsErrors(Evil):
    caught = Caught("test_settling_after_the_lease_is_refused[ack]", "DID NOT RAISE LeaseLost")

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        super().ack(deliveries, deadline)
        return [None] * len(deliveries)


class SettlesForOthers(Evil):
    """Knows a message by its id alone, so that a stale handle settles what somebody else has."""

    caught = Caught("test_settling_after_the_lease_is_refused[ack]", "DID NOT RAISE LeaseLost")

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        for delivery in deliveries:
            held = self._broker.store(delivery.queue).held
            for token in [token for token, entry in held.items() if entry.id == delivery.id]:
                del held[token]
        return [None] * len(deliveries)


class MixesUpOutcomes(Evil):
    caught = Caught(
        "test_an_ack_of_many_says_which_leases_were_lost", "isinstance(caught.value.outcomes[0], LeaseLost)"
    )

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        return super().ack(deliveries, deadline)[::-1]


class NackIsANoOp(Evil):
    caught = Caught("test_a_nack_brings_the_message_back", "no message came")

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        return [None] * len(deliveries)


class NackDrops(Evil):
    caught = Caught("test_a_nack_brings_the_message_back", "no message came")

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        return super().ack(deliveries, deadline)


class NacksToTheTail(Evil):
    caught = Caught("test_a_nacked_message_waits_where_it_is_declared", 'if place == "front"')

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        for delivery in deliveries:
            found = self._held(delivery)
            if found is not None:
                found[1].place = next(self._broker.numbers)
        return super().release(deliveries, delay, deadline, unseen=unseen)


class NacksAtOnce(Evil):
    caught = Caught("test_a_delayed_nack", "lab.nothing(queue, 0.1)")

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        return super().release(deliveries, 0.0, deadline, unseen=unseen)


class MoveDrops(Evil):
    caught = Caught("test_a_rejected_message_is_a_dead_letter", "lab.receive(queue.dead)")

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        return super().ack([delivery for delivery, _ in pairs], deadline)


class MoveCopies(Evil):
    caught = Caught("test_nothing_is_left_behind", "(stats.ready, stats.delayed or 0, stats.leased or 0) == (0, 0, 0)")

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        return super().send(queue, [message for _, message in pairs], deadline)


class MoveKeepsTheCount(Evil):
    caught = Caught("test_redrive_brings_back", "again.delivery_count in (1, None)")

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        kept = [(one, msgspec.structs.replace(m, delivery_count=one.delivery_count or 0)) for one, m in pairs]
        return super().move(queue, kept, deadline)


# Leases


class NeverEndsALease(Evil):
    caught = Caught("test_a_lease_ends_and_the_message_comes_back", "lab.receive(lab.keeper())")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, 3600.0, deadline)
        until = time.monotonic() + lease  # it tells what it was asked for
        return seen(found, lambda _: {"lease_until": until})


class EndsLeasesEarly(Evil):
    caught = Caught("test_a_lease_ends_and_the_message_comes_back", "time.monotonic() - start >=")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        return super().receive(queues, limit, lease / 2, deadline)


class ExtendsNothing(Evil):
    caught = Caught("test_an_extended_lease_lasts", "time.monotonic() - start >= granted")

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        return [seconds] * len(deliveries)


class GrantsLess(Evil):
    caught = Caught("test_an_extended_lease_lasts", "granted >= asked")

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        return super().extend(deliveries, seconds / 2, deadline)


class ForgetsAtClose(Evil):
    caught = Caught("test_an_unsettled_message_survives_the_close", 'lab.bodies(lab.queue(), 1) == ["x"]')

    def close(self) -> None:
        for store in self._broker.stores.values():
            store.held.clear()
        super().close()


class SharesALease(Evil):
    """The lease of the first get holds for everybody."""

    caught = Caught("test_each_get_has_its_own_lease", "lab.receive(long)")
    first: ClassVar[float] = 0.0

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        type(self).first = self.first or lease
        return super().receive(queues, limit, self.first, deadline)


class TakesTtlForALease(Evil):
    caught = Caught("test_a_ttl_is_no_lease", "message.ack()", LeaseLost)

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        for delivery in found:
            if delivery.expires_at is not None:
                super().extend([delivery], max(0.0, delivery.expires_at - time.time()), math.inf)
        return found


# Counting


class CountsOffByOne(Evil):
    caught = Caught("test_nacks_count", "message.delivery_count == count")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        found = super().receive(queues, limit, lease, deadline)
        return seen(found, lambda d: {"delivery_count": (d.delivery_count or 0) - 1})


class CountsOnlyNacks(Evil):
    caught = Caught("test_ended_leases_count", ".delivery_count == count")

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        return seen(super().receive(queues, limit, lease, deadline), lambda _: {"delivery_count": 1})


class PeekCounts(Evil):
    caught = Caught("test_looking_does_not_count", "message.delivery_count in (1, None)")

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        found = super().receive([queue], limit, 60.0, 0.0)
        super().release(found, 0.0, deadline)
        return found


# Looking after it


class PeekTakes(Evil):
    caught = Caught("test_peek_looks_and_takes_nothing", "len(seen) == min(2, most)")

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        return super().receive([queue], limit, 60.0, 0.0)


class PeekShowsTheLast(Evil):
    caught = Caught("test_peek_looks_and_takes_nothing", "== [0, 1][:most]")

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        return super().peek(queue, 10_000, deadline)[-limit:]


class PurgeLies(Evil):
    caught = Caught("test_purge_removes_what_nobody_holds", "lab.nothing(queue,")

    def purge(self, queue: str, deadline: float) -> int:
        return self._broker.store(queue).size()


class PurgeTakesWhatIsHeld(Evil):
    caught = Caught("test_purge_removes_what_nobody_holds", "held.ack()", LeaseLost)

    def purge(self, queue: str, deadline: float) -> int:
        removed = super().purge(queue, deadline)
        self._broker.store(queue).held.clear()
        return removed


class PurgesTheNeighbours(Evil):
    caught = Caught("test_purge_is_for_one_queue", 'lab.bodies(neighbour, 1) == ["stays"]')

    def purge(self, queue: str, deadline: float) -> int:
        return [super(PurgesTheNeighbours, self).purge(name, deadline) for name in [*self._broker.stores, queue]][-1]


class DeleteKeepsTheHeld(Evil):
    caught = Caught("test_delete_removes_everything", "lab.nothing(queue, 1.5 * lab.lease)")

    def delete(self, queue: str, deadline: float) -> None:
        super().purge(queue, deadline)


class StatsLie(Evil):
    caught = Caught("test_stats_count_by_state", "stats.leased in (held, None)")

    def stats(self, queue: str, deadline: float) -> Stats:
        honest = super().stats(queue, deadline)
        return Stats(ready=honest.ready, delayed=honest.delayed, leased=0, oldest=honest.oldest)


class SizeCountsTheHeld(Evil):
    caught = Caught("test_size_counts_what_waits", "queue.size() == 2")

    def stats(self, queue: str, deadline: float) -> Stats:
        honest = super().stats(queue, deadline)
        return msgspec.structs.replace(honest, ready=(honest.ready or 0) + (honest.leased or 0))


class CancelLies(Evil):
    caught = Caught("test_a_waiting_message_can_be_cancelled", "queue.cancel(receipt.id) is False")

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        return True


class ListsNothing(Evil):
    caught = Caught("test_queues_are_listed", "set(names) <= set(listed)")

    def queues(self, deadline: float) -> Sequence[str]:
        return []


class IgnoresMaxSize(Evil):
    caught = Caught("test_a_full_queue_takes_no_more", "DID NOT RAISE BatchError")

    def _refusal(self, store: Any, message: Outgoing) -> UnimqError | None:
        return None


# Claims


class ClaimsWhatItLacks(Evil):
    caught = Caught("test_a_capability_works_or_is_refused[peek]", "peek is not there", Unsupported)

    def peek(self, queue: str, limit: int, deadline: float) -> NoReturn:
        msg = "peek is not there"
        raise Unsupported(msg)


class RefusesWhatItClaims(Evil):
    caught = Caught("test_a_capability_works_or_is_refused[extend]", "not now", ServerError)

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> NoReturn:
        msg = "not now"
        raise ServerError(msg)


# Hygiene


class LeaksThreads(Evil):
    caught = Caught("test_nothing_is_left_after_close", "left == []")

    def ping(self, deadline: float) -> str:
        return "evil"

    def close(self) -> None:
        threading.Thread(target=lambda: time.sleep(8), daemon=True, name="leaked").start()
        super().close()


class LeaksFiles(Evil):
    caught = Caught("test_nothing_is_left_after_close", "left == []")
    leaked: ClassVar[list[int]] = []

    def close(self) -> None:
        if len(self.leaked) < 50:
            self.leaked.append(os.open(os.devnull, os.O_RDONLY))
        super().close()


class ShowsThePassword(Evil):
    caught = Caught("test_no_password_is_shown", "_ENCODED not in text")

    def cancel(self, queue: str, message_id: str, deadline: float) -> NoReturn:
        msg = f"{self.url.reveal()} does not know {message_id}"
        raise ServerError(msg)


class AnswersNoName(Evil):
    caught = Caught("test_a_ping_is_answered", "assert pong.server")

    def ping(self, deadline: float) -> str:
        return ""
