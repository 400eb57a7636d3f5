"""Group 4: acknowledging, giving back, giving up; also late, twice, elsewhere, and after a crash."""

import asyncio
import contextlib
import math
import os
import time

import pytest

from unimq.errors import AlreadySettled, InvalidArgument, Unsupported
from unimq.testing import processes
from unimq.testing.cases import Cases
from unimq.testing.gates import needs, only, unless
from unimq.testing.lab import PATIENCE, Lab

__all__ = ["Settling"]

_WAYS = ("ack", "nack", "reject")


class Settling(Cases):
    """A message is settled once, by whoever has it, wherever that is."""

    async def test_an_ack_removes(self, lab: Lab) -> None:
        """The message does not come again, not after its lease either."""
        queue = lab.queue(lease=lab.lease) if lab.capabilities.lease else lab.queue()
        await queue.put("x")
        await lab.settled_in_time(queue, "ack")
        await lab.nothing(queue, 1.5 * lab.lease if lab.capabilities.lease else 0.1)
        await queue.close()
        await lab.nothing(lab.queue())

    @needs("nack")
    async def test_a_nack_brings_the_message_back(self, lab: Lab) -> None:
        """The same message, at once, with all it had."""
        queue = lab.queue()
        await queue.put("x", headers={"own": "kept"} if lab.capabilities.headers else None)
        message = await lab.receive(queue)
        await message.nack()
        assert message.settled
        again = await lab.receive(queue)
        assert (again.body, again.id) == ("x", message.id)
        assert again.headers == message.headers
        assert again.redelivered is not False
        await again.ack()
        await lab.nothing(queue)

    @needs("nack", "fifo")
    async def test_a_nacked_message_waits_where_it_is_declared(self, lab: Lab) -> None:
        """Before its equals, or behind them, as `nack_place` says."""
        queue = lab.queue()
        await queue.put_many(["a", "b", "c"])
        message = await lab.receive(queue)
        assert message.body == "a"
        await message.nack()
        place = lab.capabilities.nack_place
        assert await lab.bodies(queue, 3) == (["a", "b", "c"] if place == "front" else ["b", "c", "a"])

    @needs("nack", "nack_delay")
    async def test_a_delayed_nack(self, lab: Lab) -> None:
        """The message does not come before the delay, and comes after it."""
        queue = lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)
        start = time.monotonic()
        await message.nack(delay=0.3)
        await lab.nothing(queue, 0.1)
        again = await lab.receive(queue)
        took = time.monotonic() - start
        assert 0.295 <= took < 0.3 + lab.capabilities.delay_step + PATIENCE / 4
        assert again.body == "x"
        await again.ack()

    @needs("dead_letters")
    async def test_a_rejected_message_is_a_dead_letter(self, lab: Lab) -> None:
        """It moves to `<name>.dead` with its body, and with the reason, time, origin and count in its headers."""
        queue = lab.queue()
        await queue.put({"n": 1}, headers={"own": "kept"} if lab.capabilities.headers else None)
        message = await lab.receive(queue)
        before = time.time()
        await message.reject("not for\nus: ü")
        assert message.settled
        await lab.nothing(queue)
        assert queue.dead.name == f"{lab.name}.dead"
        dead = await lab.receive(queue.dead)
        assert (dead.body, dead.headers["unimq-dead-origin"]) == ({"n": 1}, lab.name)
        assert dead.headers["unimq-dead-reason"] == "not for us: ü"
        assert before - 1 < float(dead.headers["unimq-dead-at"]) < time.time() + 1
        put = message.enqueued_at
        assert dead.headers.get("unimq-dead-put") == (None if put is None else f"{put:.6f}")
        assert dead.headers.get("unimq-dead-deliveries") == (None if message.delivery_count is None else "1")
        assert dead.headers.get("own") == ("kept" if lab.capabilities.headers else None)
        await dead.ack()
        await lab.nothing(queue.dead)

    @needs("dead_letters")
    async def test_rejecting_a_dead_letter_discards_it(self, lab: Lab) -> None:
        """There is no dead-letter queue of a dead-letter queue."""
        queue = lab.queue()
        await queue.put("x")
        await (await lab.receive(queue)).reject()
        await (await lab.receive(queue.dead)).reject("again")
        await lab.nothing(queue.dead)
        await lab.nothing(queue)

    @pytest.mark.parametrize("first", _WAYS)
    async def test_settling_twice_raises(self, lab: Lab, first: str) -> None:
        """`AlreadySettled`, whatever the first and the second are, and nothing happens twice."""
        if first == "nack" and not lab.capabilities.nack:
            pytest.skip("nack is absent here; its refusal has a case of its own")
        if first == "reject" and not lab.capabilities.dead_letters:
            pytest.skip("dead_letters is absent here; its refusal has a case of its own")
        queue = lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)
        await getattr(message, first)()
        seconds = ["ack", *(["nack"] if lab.capabilities.nack else [])]
        seconds += [*(["reject"] if lab.capabilities.dead_letters else [])]
        seconds += [*(["extend"] if lab.capabilities.extend else [])]
        for second in seconds:
            with pytest.raises(AlreadySettled, match="settled before"):
                await getattr(message, second)()
        if first == "nack":
            assert await lab.bodies(queue, 1) == ["x"]
        await lab.nothing(queue)

    async def test_settling_elsewhere(self, lab: Lab) -> None:
        """A message may be settled by another thread or task than the one that got it."""
        queue = lab.queue()
        await queue.put("x")
        message = await lab.start(lab.receive(queue)).result()
        await lab.start(message.ack()).result()
        with pytest.raises(AlreadySettled):
            await message.ack()
        await lab.nothing(queue)

    @needs("kept-once-received")
    async def test_only_one_of_many_settles(self, lab: Lab) -> None:
        """Of eight threads or tasks that ack the same message one succeeds, the others hear `AlreadySettled`."""
        queue = lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)

        async def ack() -> bool:
            try:
                await message.ack()
            except AlreadySettled:
                return False
            return True

        running = [lab.start(ack()) for _ in range(8)]
        assert sorted([await one.result() for one in running]) == [False] * 7 + [True]
        await lab.nothing(queue)

    async def test_settling_never_waits_behind_a_get(self, lab: Lab) -> None:
        """An ack is done while another thread or task waits for a message on the same queue."""
        queue = lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)
        waiting = lab.start(queue.get(timeout=PATIENCE))
        await lab.sleep(0.1)
        start = time.monotonic()
        await message.ack()
        assert time.monotonic() - start < PATIENCE / 4
        assert not waiting.done
        await queue.put("y")
        await (await waiting.result()).ack()

    async def test_a_with_block_acks(self, lab: Lab) -> None:
        """At its end, when it did not raise."""
        queue = lab.queue()
        await queue.put("x")
        async with await lab.receive(queue) as message:
            assert message.body == "x"
            assert not message.settled
        assert message.settled
        await lab.nothing(queue)

    @needs("nack")
    async def test_a_with_block_that_raises_nacks(self, lab: Lab) -> None:
        """The message comes back, and the error passes."""
        queue = lab.queue()
        await queue.put("x")
        with pytest.raises(ZeroDivisionError):
            async with await lab.receive(queue):
                raise ZeroDivisionError
        assert await lab.bodies(queue, 1) == ["x"]

    @needs("nack", "nack_delay", "delivery_count")
    async def test_what_always_fails_starves_nobody(self, lab: Lab) -> None:
        """It comes again after a pause that grows, and its neighbours are worked on meanwhile."""
        queue = lab.queue()
        await queue.put_many(["fails", "a", "b", "c"])
        done: list[str] = []
        tries = 0
        start = time.monotonic()
        while len(done) < 3 or tries < 3:
            with contextlib.suppress(ZeroDivisionError):
                async with await lab.receive(queue) as message:
                    if message.body == "fails":
                        tries += 1
                        raise ZeroDivisionError
                    done.append(message.body)
        assert time.monotonic() - start >= 0.1 + 0.2 - 0.01
        assert sorted(done) == ["a", "b", "c"]
        await queue.purge() if lab.capabilities.purge else None

    @unless("nack")
    async def test_a_with_block_that_raises_without_nack(self, lab: Lab) -> None:
        """The error passes, with a note that the message could not be given back."""
        queue = lab.queue()
        await queue.put("x")
        with pytest.raises(ZeroDivisionError) as caught:
            async with await lab.receive(queue):
                raise ZeroDivisionError
        assert "could not be given back" in caught.value.__notes__[0]

    @needs("kept-once-received", "nack")
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
    async def test_an_interruption_is_no_failure(self, lab: Lab, kind: type[BaseException]) -> None:
        """The message goes back at once and never becomes a dead letter by it, however few deliveries are allowed."""
        queue = lab.queue(max_deliveries=1) if lab.capabilities.delivery_count else lab.queue()
        await queue.put("x")
        with pytest.raises(kind):
            async with await lab.receive(queue):
                raise kind
        again = await lab.receive_alive(queue)
        assert again.body == "x"
        assert again.delivery_count in (1, None)
        await again.ack()

    @only("async")
    @needs("kept-once-received", "nack")
    async def test_a_cancelled_worker_gives_its_message_back(self, lab: Lab) -> None:
        """As a service does that is shut down, even when it is cancelled twice."""
        queue = lab.queue(max_deliveries=1) if lab.capabilities.delivery_count else lab.queue()
        await queue.put("x")
        has_it = asyncio.Event()

        async def work() -> None:
            async with await lab.receive(queue):
                has_it.set()
                await lab.sleep(PATIENCE)

        working = lab.start(work())
        await asyncio.wait_for(has_it.wait(), PATIENCE)
        for _ in range(2):
            working.cancel()
            await lab.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await working.result()
        assert await lab.bodies(lab.queue(), 1) == ["x"]
        if lab.capabilities.dead_letters:
            await lab.nothing(queue.dead)

    @needs("nack")
    async def test_a_released_message_is_there_again(self, lab: Lab) -> None:
        """At once, and it can be released only once; it is no dead letter by that."""
        queue = lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)
        await message.release()
        with pytest.raises(AlreadySettled):
            await message.release()
        assert await lab.bodies(queue, 1) == ["x"]
        if lab.capabilities.dead_letters:
            await lab.nothing(queue.dead)

    @unless("nack")
    async def test_no_way_back_for_a_release(self, lab: Lab) -> None:
        """It is refused, and the message stays in hand."""
        queue = lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)
        with pytest.raises(Unsupported, match="nack"):
            await message.release()
        await message.ack()

    async def test_a_discarded_message_is_gone(self, lab: Lab) -> None:
        """For good, and without a dead letter."""
        queue = lab.queue(lease=lab.lease) if lab.capabilities.lease else lab.queue()
        await queue.put("x")
        message = await lab.settled_in_time(queue, "discard")
        assert message.settled
        if lab.capabilities.dead_letters:
            await lab.nothing(queue.dead)
        await lab.nothing(queue, 1.5 * lab.lease)

    @needs("dead_letters")
    async def test_any_reason_can_be_told(self, lab: Lab) -> None:
        """An error's text may have any length and any characters: the failure path does not fail by it."""
        queue = lab.queue()
        for reason in ("x" * 5000, "a\0b\x1b[31m\r\n", "caf\udce9.txt", ""):
            await queue.put("x")
            await (await lab.receive(queue)).reject(reason, details=f"first\n{reason}\nlast: ü\0")
            dead = await lab.receive(queue.dead)
            told = dead.headers["unimq-dead-reason"]
            assert len(told) <= 1000
            assert told.isprintable()
            details = dead.headers.get("unimq-dead-details", "")
            assert details.endswith("\nlast: ü\ufffd") or (lab.capabilities.limits.body or math.inf) < 10_000, "it fits"
            await dead.ack()

    async def test_a_with_block_leaves_alone_what_is_settled(self, lab: Lab) -> None:
        """No second settlement, and no error, at its end."""
        queue = lab.queue()
        await queue.put("x")
        async with await lab.receive(queue) as message:
            await message.ack()
        await lab.nothing(queue)

    @needs("peek")
    async def test_what_was_peeked_at_cannot_be_settled(self, lab: Lab) -> None:
        """The error says to get it."""
        queue = lab.queue()
        await queue.put("x")
        (seen,) = await queue.peek()
        for way in ("ack", *(["nack"] if lab.capabilities.nack else [])):
            with pytest.raises(InvalidArgument, match="peek"):
                await getattr(seen, way)()
        assert await lab.bodies(queue, 1) == ["x"]

    @needs("kept-once-received")
    async def test_an_unsettled_message_survives_the_close(self, lab: Lab) -> None:
        """It comes back, with its lease or with its connection."""
        queue = lab.queue(lease=lab.lease) if lab.capabilities.lease else lab.queue()
        await queue.put("x")
        await lab.receive(queue)
        await queue.close()
        assert await lab.bodies(lab.queue(), 1) == ["x"]

    @only("sync")
    @needs(survives_process_death="yes")
    async def test_a_forked_child_leaves_its_parents_messages_alone(self, lab: Lab) -> None:
        """It neither hands over, settles nor gives back what its parent has, in hand or fetched ahead."""
        if not hasattr(os, "fork"):
            pytest.skip("nothing forks here")
        queue = lab.queue()
        await queue.put_many([0, 1, 2])
        with processes.Child("forks", lab) as child:
            assert child.line() == "0"
            assert child.line() == "[0, 1, 2]"
            assert child.wait() == 0
        await lab.nothing(queue)

    @unless("kept-once-received")
    async def test_what_was_handed_out_is_gone(self, lab: Lab) -> None:
        """At most once means that an unsettled message does not come again."""
        queue = lab.queue()
        await queue.put("x")
        await lab.receive(queue)
        await queue.close()
        await lab.nothing(lab.queue())

    @needs("kept-once-received", survives_process_death="yes")
    async def test_an_unsettled_message_survives_kill_9(self, lab: Lab) -> None:
        """The consumer dies with the message in hand, and another one gets it."""
        queue = lab.queue(lease=1.0) if lab.capabilities.lease else lab.queue()
        await queue.put("precious")
        with processes.Child("hold", lab, **({"lease": 1.0} if lab.capabilities.lease else {})) as child:
            assert child.line() == "precious"
            child.kill()
        again = await lab.receive(queue)
        assert again.body == "precious"
        assert again.redelivered is not False
        if lab.capabilities.crash_counted:
            assert again.delivery_count == 2
        await again.ack()
        await lab.nothing(queue)

    @needs(survives_process_death="yes")
    async def test_what_was_acked_before_kill_9_never_comes_again(self, lab: Lab) -> None:
        """An ack that returned is final."""
        queue = lab.queue(lease=lab.lease) if lab.capabilities.lease else lab.queue()
        await queue.put("done")
        with processes.Child("ack", lab, **({"lease": lab.lease} if lab.capabilities.lease else {})) as child:
            assert child.line() == "done"
            child.kill()
        await lab.nothing(queue, 1.5 * lab.lease)

    @needs("confirmed", survives_process_death="yes")
    async def test_what_was_put_before_kill_9_is_there(self, lab: Lab) -> None:
        """A put that returned is stored."""
        with processes.Child("put", lab) as child:
            assert child.line() == "put"
            child.kill()
        assert await lab.bodies(lab.queue(), 1) == ["from a child"]
