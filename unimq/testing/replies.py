"""Group 14: what a reply needs, `reply_to` and `message.reply`; and who waits for one, `call`."""

import time
from typing import Any, Final

import pytest

from unimq.errors import BatchError, InvalidArgument, RemoteError, Timeout, Unsupported
from unimq.hooks import ConnectionEvent, Hooks
from unimq.message import Message
from unimq.replies import private_name
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import PATIENCE, Lab
from unimq.testing.workers import at_work, until
from unimq.worker import Reject, RetryPolicy

__all__ = ["Replies"]

_IMPATIENCE: Final = 2.0
"""Seconds after which a caller goes away: enough to put its request, and for somebody to receive it."""
_CALLERS: Final = 50


class Replies(Cases):
    """A consumer can answer without knowing who asked."""

    @needs("headers")
    async def test_a_reply_goes_where_it_is_wanted(self, lab: Lab) -> None:
        """With the correlation id of the request."""
        queue, replies = lab.queue(), lab.queue(lab.other_name())
        await queue.put("question", reply_to=replies.name, correlation_id="q-1")
        async with await lab.receive(queue) as message:
            assert (message.reply_to, message.correlation_id) == (replies.name, "q-1")
            await message.reply("answer", headers={"h": "1"})
        async with await lab.receive(replies) as reply:
            assert (reply.body, reply.correlation_id) == ("answer", "q-1")
            assert reply.headers["h"] == "1"
            assert reply.reply_to is None

    @needs("headers")
    async def test_a_reply_without_a_correlation_id_has_the_message_id(self, lab: Lab) -> None:
        """So that who asked can tell which question was answered."""
        queue, replies = lab.queue(), lab.queue(lab.other_name())
        receipt = await queue.put("question", reply_to=replies.name)
        assert receipt.id is not None
        async with await lab.receive(queue) as message:
            await message.reply("answer")
        async with await lab.receive(replies) as reply:
            assert reply.correlation_id == receipt.id

    async def test_a_message_that_asks_for_no_reply(self, lab: Lab) -> None:
        """Replying to it is a mistake, or no harm where nobody can know; and it can still be settled."""
        queue = lab.queue()
        await queue.put("statement")
        message = await lab.receive(queue)
        assert (message.reply_to, message.correlation_id) == (None, None)
        if lab.capabilities.call.level == "native":
            await message.reply("answer")  # whether anybody waits is not known here
        else:
            with pytest.raises(InvalidArgument, match="asks for no reply"):
                await message.reply("answer")
        await message.ack()
        await lab.nothing(queue)

    @needs("call")
    async def test_a_call_brings_the_reply(self, lab: Lab) -> None:
        """What the handler returned, settled already; the request had the caller's headers, and is gone."""
        queue = lab.queue()

        def work(message: Message[Any]) -> object:
            return [message.body, message.headers["h"]]

        with at_work(lab, work):
            for body in ("one", "two"):
                reply = await queue.call(body, timeout=PATIENCE, headers={"h": "1"})
                assert reply.body == [body, "1"]
                assert reply.settled
        await lab.nothing(queue)

    @needs("call")
    async def test_a_call_that_nobody_answers(self, lab: Lab) -> None:
        """It times out, nobody works on it later where messages can expire, and the next call is answered."""
        queue = lab.queue()
        await queue.ping()
        with pytest.raises(Timeout, match="no reply in time") as caught:
            await queue.call("lost", timeout=_IMPATIENCE)
        assert caught.value.in_doubt
        worked: list[Any] = []

        def work(message: Message[Any]) -> str:
            worked.append(message.body)
            return "done"

        with at_work(lab, work):
            assert (await queue.call("found", timeout=PATIENCE)).body == "done"
        assert worked == (["found"] if lab.capabilities.ttl else ["lost", "found"])

    @needs("call", "dead_letters")
    async def test_a_rejected_call_is_told(self, lab: Lab) -> None:
        """With the reason, and at once; the message is a dead letter."""
        queue = lab.queue()

        def refuse(message: Message[Any]) -> None:
            raise Reject(message.body)

        with at_work(lab, refuse), pytest.raises(RemoteError, match="failed: no tea"):
            await queue.call("no tea", timeout=PATIENCE)
        async with await lab.receive(queue.dead) as dead:
            assert dead.body == "no tea"

    @needs("call", "nack", "delivery_count", "dead_letters")
    async def test_a_failed_call_is_told(self, lab: Lab) -> None:
        """After the last attempt, as another may go well; the caller gets the reply of that."""
        queue = lab.queue()
        tried: list[Any] = []

        def fail(message: Message[Any]) -> str:
            tried.append((message.body, message.delivery_count))
            if message.body == "hard" or len(tried) == 1:
                raise LookupError(message.body)
            return "done"

        with at_work(lab, fail, retry=RetryPolicy(attempts=2, pause=0)) as worker:
            assert (await queue.call("easy", timeout=PATIENCE)).body == "done"
            with pytest.raises(RemoteError, match="LookupError: hard"):
                await queue.call("hard", timeout=PATIENCE)
            until(lambda: (worker.health().done, worker.health().retried, worker.health().rejected) == (1, 2, 1))
        assert tried == [("easy", 1), ("easy", 2), ("hard", 1), ("hard", 2)]

    @needs("call", "dead_letters")
    async def test_calls_of_many_are_answered_in_order(self, lab: Lab) -> None:
        """One that fails keeps none of the others from its reply."""
        queue = lab.queue()

        def double(message: Message[Any]) -> object:
            if message.body == 3:
                raise Reject
            return 2 * message.body

        with at_work(lab, double, concurrency=2):
            replies = await queue.call_many([1, 2], timeout=PATIENCE)
            assert [reply.body for reply in replies] == [2, 4]
            with pytest.raises(BatchError, match="1 of 2 have no reply") as caught:
                await queue.call_many([3, 4], timeout=PATIENCE)
        refused, reply = caught.value.outcomes
        assert isinstance(refused, RemoteError)
        assert getattr(reply, "body", None) == 8

    @needs("call", "progress")
    async def test_a_caller_hears_of_progress(self, lab: Lab) -> None:
        """In order, before its reply; who does not listen has a reply all the same."""
        queue, worker = lab.queue(), lab.queue()
        told: list[tuple[int, int]] = []
        for listener in (lambda *how_far: told.append(how_far), None):
            calling = lab.start(queue.call("x", timeout=PATIENCE, on_progress=listener))
            async with await lab.receive(worker) as message:
                with pytest.raises(InvalidArgument, match="total="):
                    await message.progress(1, 2.5)  # type: ignore[arg-type]
                await message.progress(1, 3)
                await message.progress(3, 3)
                await message.reply("done")
            assert (await calling.result()).body == "done"
        assert told == [(1, 3), (3, 3)]

    @needs("call", "progress")
    async def test_what_a_listener_raises_ends_the_call(self, lab: Lab) -> None:
        """It is raised to the caller; the worker hears nothing of it."""
        queue, worker = lab.queue(), lab.queue()

        def listen(_done: int, total: int) -> None:
            raise LookupError(total)

        calling = lab.start(queue.call("x", timeout=PATIENCE, on_progress=listen))
        async with await lab.receive(worker) as message:
            await message.progress(0, 7)
            with pytest.raises(LookupError, match="7"):
                await calling.result()
            await message.reply("done")
        await lab.nothing(worker)

    @needs("call")
    async def test_a_listener_is_refused_where_nobody_tells_of_progress(self, lab: Lab) -> None:
        """Before anything is sent."""
        if lab.capabilities.progress:
            pytest.skip("progress holds here")
        events: list[ConnectionEvent] = []
        queue = lab.queue(hooks=Hooks(connection=events.append))
        with pytest.raises(Unsupported, match="progress is absent"):
            await queue.call("x", on_progress=print)
        assert events == []

    @needs("call")
    async def test_many_callers_at_once(self, lab: Lab) -> None:
        """Each has its own reply, although all wait on one reply queue."""
        queue = lab.queue()
        with at_work(lab, lambda message: 2 * message.body, concurrency=4):
            calls = [lab.start(queue.call(number, timeout=2 * PATIENCE)) for number in range(_CALLERS)]
            replies = [(await call.result(3 * PATIENCE)).body for call in calls]
        assert replies == [2 * number for number in range(_CALLERS)]

    @needs("call")
    async def test_a_late_reply_is_dropped(self, lab: Lab) -> None:
        """It is no answer to the next call, and is not left on the reply queue."""
        queue, worker = lab.queue(), lab.queue()
        await queue.ping()
        await worker.ping()
        calling = lab.start(queue.call("slow", timeout=_IMPATIENCE))
        message = await lab.receive(worker)
        with pytest.raises(Timeout):
            await calling.result()
        await message.reply("late")
        await message.ack()
        calling = lab.start(queue.call("next", timeout=PATIENCE))
        async with await lab.receive(worker) as message:
            await message.reply("right")
        assert (await calling.result()).body == "right"
        assert (message.reply_to is None) == (lab.capabilities.call.level == "native")
        if message.reply_to is not None:
            await lab.nothing(lab.queue(message.reply_to))

    @needs("call", "nack:native", "queues", "ttl")
    async def test_what_a_client_that_crashed_left_is_removed(self, lab: Lab) -> None:
        """By another one that is answered, when the caller would wait no more; and not before.

        An empty queue may go on to be there.
        """
        queue, client = lab.queue(), lab.client()
        late, waited_for = private_name(), private_name()
        await queue.put("late", reply_to=late, correlation_id="1", ttl=_IMPATIENCE)
        await queue.put("waited for", reply_to=waited_for, correlation_id="1", ttl=60)
        with at_work(lab, lambda message: message.body) as worker:
            until(lambda: worker.health().done == 2)
            await lab.sleep(_IMPATIENCE)
            ends = time.monotonic() + PATIENCE
            while late in await client.queues() and await client.queue(late).size():
                assert time.monotonic() < ends
                caller = lab.queue()
                assert (await caller.call("next", timeout=PATIENCE)).body == "next"
                await caller.close()
        async with await lab.receive(client.queue(waited_for)) as reply:
            assert reply.body == "waited for"
