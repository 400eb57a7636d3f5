"""The worker on queues in memory: what becomes of each message, and how it stops."""

import threading
import time
from typing import Any

import pytest

import unimq
from unimq import Message, Queue, Reject, Retry, RetryPolicy, Worker
from unimq.testing.lab import PATIENCE
from unimq.testing.workers import running, until
from unimq.worker.ledger import Ledger

AT_ONCE = RetryPolicy(attempts=3, pause=0)


def fail(message: Message[Any]) -> None:
    raise LookupError(message.body)


class TestOutcomes:
    def test_what_returns_is_acked(self, url: str) -> None:
        """And is gone."""
        found: list[Any] = []
        with Queue[Any](url) as queue, running(Worker(url, lambda message: found.append(message.body))) as worker:
            queue.put_many([1, 2, 3])
            until(lambda: worker.health().done == 3)
            assert (found, queue.size()) == ([1, 2, 3], 0)

    def test_what_raises_comes_again_until_it_is_given_up(self, url: str) -> None:
        """After `attempts` tries the dead letter has the error, where it was raised, and the whole traceback."""
        with Queue[Any](url) as queue, running(Worker(url, fail, retry=AT_ONCE)) as worker:
            queue.put("answer")
            until(lambda: worker.health().rejected == 1)
            assert worker.health().retried == 2
            (dead,) = queue.dead.peek()
            assert dead.headers["unimq-dead-reason"].startswith("LookupError: answer (at ")
            assert "in fail)" in dead.headers["unimq-dead-reason"]
            lines = dead.headers["unimq-dead-details"].splitlines()
            assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "LookupError: answer")
            assert any(line.endswith("in fail") for line in lines)
            assert dead.headers["unimq-dead-deliveries"] == "3"

    def test_a_final_exception_is_not_tried_again(self, url: str) -> None:
        """Nor one that is derived from it."""
        policy = RetryPolicy(final=(LookupError,))
        with Queue[Any](url) as queue, running(Worker(url, fail, retry=policy)) as worker:
            queue.put("key")
            until(lambda: worker.health().rejected == 1)
            assert worker.health().retried == 0

    def test_reject_gives_the_reason(self, url: str) -> None:
        """Of the dead letter, word by word."""

        def refuse(message: Message[Any]) -> None:
            raise Reject("no such customer")  # noqa: EM101, TRY003 - the reason is the point

        with Queue[Any](url) as queue, running(Worker(url, refuse)):
            queue.put(1)
            until(lambda: queue.dead.size() == 1)
            assert queue.dead.peek()[0].headers["unimq-dead-reason"] == "no such customer"
            assert "unimq-dead-details" not in queue.dead.peek()[0].headers

    def test_retry_says_when(self, url: str) -> None:
        """Not before its delay is over."""
        times: list[float] = []

        def later(message: Message[Any]) -> None:
            times.append(time.monotonic())
            if len(times) == 1:
                raise Retry(delay=0.3)

        with Queue[Any](url) as queue, running(Worker(url, later)) as worker:
            queue.put(1)
            until(lambda: worker.health().done == 1)
        assert times[1] - times[0] >= 0.3

    def test_a_handler_may_settle_the_message(self, url: str) -> None:
        """Then it is left alone, also where the handler fails afterwards."""

        def settle(message: Message[Any]) -> None:
            message.discard()
            if message.body == "bad":
                raise ValueError

        with Queue[Any](url) as queue, running(Worker(url, settle)) as worker:
            queue.put_many(["good", "bad"])
            until(lambda: worker.health().done == 2)
            assert (queue.size(), queue.dead.size()) == (0, 0)

    def test_what_cannot_be_decoded_is_given_up_at_once(self, url: str) -> None:
        """No handler sees it."""
        with Queue[Any](url, codec="raw") as raw, running(Worker(url, pytest.fail)) as worker:
            raw.put(b"{ no JSON")
            until(lambda: worker.health().rejected == 1)
            assert raw.dead.size() == 1

    def test_what_is_returned_is_the_reply(self, url: str) -> None:
        """Where one is wanted; it carries the request's correlation id."""
        with Queue[Any](url) as queue, running(Worker(url, lambda message: message.body * 2)) as worker:
            replies = queue.client.queue("replies")
            queue.put(4)
            queue.put(21, reply_to="replies", correlation_id="q-1")
            with replies.get(timeout=PATIENCE) as reply:
                assert (reply.body, reply.correlation_id) == (42, "q-1")
            until(lambda: worker.health().done == 2)
            assert replies.size() == 0

    def test_middleware_is_called_around_the_handler(self, url: str) -> None:
        """The first outermost; what it raises counts as the handler's."""
        calls: list[str] = []

        def layer(name: str) -> "unimq.worker.Middleware":
            def middleware(message: Message[Any], handler: "unimq.worker.Handler") -> object:
                calls.append(name)
                return handler(message)

            return middleware

        worker = Worker(url, lambda message: calls.append("handler"), middleware=[layer("outer"), layer("inner")])
        with Queue[Any](url) as queue, running(worker):
            queue.put(1)
            until(lambda: worker.health().done == 1)
        assert calls == ["outer", "inner", "handler"]

    def test_several_queues_have_their_own_handlers(self, url: str) -> None:
        """One worker waits for all of them."""
        found: list[tuple[str, Any]] = []
        handlers = {
            "mail": lambda message: found.append(("mail", message.body)),
            "jobs": lambda message: found.append(("jobs", message.body)),
        }
        with Queue[Any](url) as queue, running(Worker(url, handlers)) as worker:
            queue.put(1)
            queue.client.queue("mail").put(2)
            until(lambda: worker.health().done == 2)
        assert sorted(found) == [("jobs", 1), ("mail", 2)]


class TestStop:
    def test_what_runs_is_finished_and_no_more_is_taken(self, url: str) -> None:
        """`run` returns when the handler has."""
        begun, may_end = threading.Event(), threading.Event()

        def work(message: Message[Any]) -> None:
            begun.set()
            assert may_end.wait(PATIENCE)

        with Queue[Any](url) as queue:
            worker = Worker(url, work)
            thread = threading.Thread(target=worker.run)
            thread.start()
            queue.put_many([1, 2])
            assert begun.wait(PATIENCE)
            worker.stop()
            thread.join(0.1)
            assert thread.is_alive()
            may_end.set()
            thread.join(PATIENCE)
            assert not thread.is_alive()
            assert worker.health().done == 1
            assert [message.body for message in queue.peek(10)] == [2]

    @pytest.mark.parametrize("how", ["grace", "again"])
    def test_a_handler_that_does_not_end_loses_its_message(self, url: str, how: str) -> None:
        """It is given back when the grace is over, or at the second stop, and acked by nobody afterwards."""
        begun, may_end = threading.Event(), threading.Event()

        def hang(message: Message[Any]) -> None:
            begun.set()
            may_end.wait(PATIENCE)

        with Queue[Any](url) as queue:
            worker = Worker(url, hang, grace=0.05 if how == "grace" else 60)
            thread = threading.Thread(target=worker.run)
            thread.start()
            queue.put("kept")
            assert begun.wait(PATIENCE)
            worker.stop()
            if how == "again":
                worker.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()
            may_end.set()
            until(lambda: worker.health().lost == 1)
            with queue.get(timeout=PATIENCE) as message:
                assert message.body == "kept"

    def test_a_worker_that_waits_ends_at_once(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its gets are interrupted, and need not end by themselves."""
        monkeypatch.setattr("unimq.worker.taking.LOOK", 100 * PATIENCE)
        worker = Worker(url, fail, concurrency=3)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()

    def test_a_worker_runs_once(self, url: str) -> None:
        """A second run is refused: its connections are closed."""
        worker = Worker(url, fail)
        with running(worker):
            pass
        with pytest.raises(unimq.Closed):
            worker.run()

    def test_a_client_stays_its_owners(self, url: str) -> None:
        """It is not closed with the worker; closing it ends the worker."""
        with unimq.connect(url) as client:
            with running(Worker(client, fail)):
                pass
            client.queue().put(1)
            worker = Worker(client, fail, retry=RetryPolicy(attempts=1))
            thread = threading.Thread(target=worker.run)
            thread.start()
            until(lambda: worker.health().rejected == 1)
        thread.join(PATIENCE)
        assert not thread.is_alive()


class TestTime:
    @pytest.mark.slow
    def test_the_lease_is_kept_while_the_handler_runs(self, url: str) -> None:
        """Three times as long as it is: nobody else gets the message."""
        calls: list[int] = []

        def work(message: Message[Any]) -> None:
            calls.append(message.body)
            time.sleep(1.5)

        with Queue[Any](url) as queue, running(Worker(f"{url}?lease=500ms", work, concurrency=2)) as worker:
            queue.put(1)
            until(lambda: worker.health().done == 1)
            assert calls == [1]

    def test_max_runtime_ends_the_keeping(self, url: str) -> None:
        """Then the message of a handler that hangs comes to another one."""
        hanging = threading.Event()
        calls: list[int | None] = []

        def work(message: Message[Any]) -> None:
            calls.append(message.delivery_count)
            if len(calls) == 1:
                hanging.wait(PATIENCE)

        worker = Worker(f"{url}?lease=100ms", work, concurrency=2, max_runtime=0.1)
        with Queue[Any](url) as queue, running(worker):
            queue.put(1)
            until(lambda: worker.health().done == 1)
            assert calls == [1, 2]
            hanging.set()
            until(lambda: worker.health().lost == 1)

    def test_health_tells_how_long_a_handler_has_been_running(self, url: str) -> None:
        """And how many are."""
        may_end = threading.Event()
        with Queue[Any](url) as queue, running(Worker(url, lambda message: may_end.wait(PATIENCE))) as worker:
            assert worker.health().longest == 0.0
            queue.put(1)
            until(lambda: worker.health().longest > 0.05)
            assert worker.health().running == 1
            may_end.set()
            until(lambda: worker.health().running == 0)


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ({"concurrency": 0}, "concurrency=0: must be 1 or more"),
            ({"handlers": {}}, "handlers={}: must have one or more"),
            ({"grace": -1}, "grace=-1: "),
            ({"max_runtime": "x"}, "max_runtime='x'"),
        ],
    )
    def test_a_mistake_is_named(self, url: str, arguments: dict[str, Any], told: str) -> None:
        """With its value and what is allowed, before anything is connected."""
        with pytest.raises(unimq.InvalidArgument) as caught:
            Worker(url, **{"handlers": fail, **arguments})
        assert told in str(caught.value)

    @pytest.mark.parametrize(
        ("policy", "told"),
        [
            ({"attempts": 0}, "attempts=0: must be 1 or more, or None"),
            ({"pause": -1}, "pause=-1: must be 0 or more"),
            ({"factor": 0.5}, "factor=0.5: must be 1 or more"),
            ({"cap": -1}, "cap=-1: must be 0 or more"),
            ({"jitter": 2}, "jitter=2: must be 0 to 1"),
        ],
    )
    def test_a_policy_that_makes_no_sense(self, policy: dict[str, Any], told: str) -> None:
        """Is refused when it is made."""
        with pytest.raises(unimq.InvalidArgument, match=told):
            RetryPolicy(**policy)


class TestPolicy:
    def test_pauses_grow_to_the_cap(self) -> None:
        """By the factor; without jitter they are exact."""
        policy = RetryPolicy(pause=2, factor=3, cap=50, jitter=0)
        assert [policy.after(ValueError(), count) for count in (None, 1, 2, 3, 4, 10_000)] == [2, 2, 6, 18, 50, 50]

    def test_jitter_spreads_them(self) -> None:
        """On both sides, and never by more than its part."""
        pauses = [RetryPolicy(pause=10, jitter=0.2).after(ValueError(), 1) for _ in range(500)]
        assert all(8 <= pause <= 12 for pause in pauses)
        assert min(pauses) < 9
        assert max(pauses) > 11

    def test_no_end_of_attempts(self) -> None:
        """`None`, or a count that is unknown."""
        assert not RetryPolicy(attempts=None).is_last(ValueError(), 10**6)
        assert not RetryPolicy(attempts=3).is_last(ValueError(), None)


class TestDrain:
    def test_it_handles_what_is_ready(self, url: str) -> None:
        """In this thread, also what fails and comes again at once, and not what waits for its time."""
        tries: list[Any] = []

        def work(message: Message[Any]) -> None:
            tries.append((message.body, threading.current_thread()))
            if message.body == "bad":
                raise LookupError(message.body)

        with Queue[Any](url) as queue:
            worker = Worker(queue.client, {queue.name: work}, retry=AT_ONCE)
            queue.put_many(["good", "bad"])
            queue.put("later", delay=3600)
            health = worker.drain()
            assert (health.connected, health.done, health.retried, health.rejected) == (True, 1, 2, 1)
            assert {thread for _, thread in tries} == {threading.current_thread()}
            assert sorted(body for body, _ in tries) == ["bad", "bad", "bad", "good"]
            queue.put("good")
            assert worker.drain().done == 2
            assert queue.stats().delayed == 1

    def test_its_own_client_is_closed(self, url: str) -> None:
        """As at the end of `run`."""
        worker = Worker(url, print)
        assert worker.drain().done == 0
        with pytest.raises(unimq.Closed):
            worker.drain()

    def test_an_interruption_gives_the_message_back(self, url: str) -> None:
        """It is no failure, and raised."""

        def press(message: Message[Any]) -> None:
            raise KeyboardInterrupt

        with Queue[Any](url) as queue:
            queue.put("kept")
            with pytest.raises(KeyboardInterrupt):
                Worker(queue.client, {queue.name: press}).drain()
            with queue.get(timeout=0) as message:
                assert (message.body, message.delivery_count) == ("kept", 1)


def test_many_that_miss_a_server_wait_for_the_same_moment() -> None:
    """Not twice as long each: the pause grows with the tries, not with the threads."""
    ledger: Ledger[Any] = Ledger("somewhere")
    pauses = [ledger.missed(unimq.ConnectError("refused")) for _ in range(64)]
    assert 0 < min(pauses) <= max(pauses) < 1
    time.sleep(max(pauses))
    assert ledger.missed(unimq.ConnectError("refused")) > 0.15
    ledger.reached()
    assert ledger.missed(unimq.ConnectError("refused")) < 0.15
