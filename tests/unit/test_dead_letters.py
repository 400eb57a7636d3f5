"""Dead letters: what goes there, what stays there, and how it comes back."""

import asyncio
import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import unimq
import unimq_memory
from unimq.capabilities import absent
from unimq.driver import Outgoing
from unimq.testing.sessions import open_session


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    unimq_memory.reset()


def test_a_rejected_message_tells_its_story() -> None:
    """Reason, times, origin and count are headers; its own headers and priority are kept, its expiry is not."""
    with unimq.Queue("memory:///jobs") as queue:
        receipt = queue.put("x", headers={"own": "kept"}, priority=7, ttl=60)
        queue.get(timeout=0).reject("not\nfor us")
        dead = queue.dead.get(timeout=0)
        assert (dead.body, dead.id, dead.priority, dead.queue) == ("x", receipt.id, 7, "jobs.dead")
        assert dead.headers["own"] == "kept"
        assert dead.headers["unimq-dead-reason"] == "not for us"
        assert dead.headers["unimq-dead-origin"] == "jobs"
        assert dead.headers["unimq-dead-deliveries"] == "1"
        assert 1.7e9 < float(dead.headers["unimq-dead-put"]) <= float(dead.headers["unimq-dead-at"])
        assert dead.expires_at is None


def test_redrive_brings_back_as_if_never_delivered() -> None:
    """The story is taken off and the count starts again."""
    with unimq.Queue("memory:///jobs") as queue:
        queue.put_many([1, 2, 3])
        for message in queue.get_many(3, timeout=0):
            message.reject()
        assert queue.dead.redrive(limit=2) == 2
        assert queue.dead.redrive() == 1
        assert queue.dead.redrive() == 0
        again = queue.get_many(3, timeout=0)
        assert [(m.body, m.delivery_count, dict(m.headers)) for m in again] == [(n, 1, {}) for n in (1, 2, 3)]


def test_a_shared_dead_letter_queue_gives_back_to_each_origin() -> None:
    """`?dead=` names it."""
    with unimq.connect("memory://?dead=graveyard") as client:
        for name in ("red", "blue"):
            queue = client.queue(name)
            queue.put(name)
            queue.get(timeout=0).reject()
        assert client.queue("graveyard").size() == 2
        assert client.queue("red").dead.redrive() == 2
        assert client.queue("blue").get(timeout=0).body == "blue"
        assert client.queue("red").get(timeout=0).body == "red"


def test_dead_letters_may_live_on_another_backend(tmp_path: Path) -> None:
    """`?dead=` may be a URL, and redrive comes back from there."""
    dead = f"sqlite:///{tmp_path}/dead.db%3Fqueue%3Dgraves"
    with unimq.Queue(f"memory:///jobs?dead={dead}") as queue:
        queue.put({"a": 1}, headers={"own": "kept"})
        queue.get(timeout=0).reject("bad")
        assert queue.size() == 0
        with unimq.Queue(f"sqlite:///{tmp_path}/dead.db?queue=graves") as graves:
            assert graves.peek()[0].headers["unimq-dead-reason"] == "bad"
        assert queue.dead.redrive() == 1
        assert queue.get(timeout=0).headers == {"own": "kept"}


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
def test_a_dead_letter_on_another_url_can_be_replied_to(tmp_path: Path, scheme: str) -> None:
    """By a task too: its queue there has no tasks of its own."""
    dead = "memory://elsewhere/given-up" if scheme == "memory" else f"sqlite:///{tmp_path}/dead.db?queue=given-up"

    async def use() -> None:
        async with unimq.AsyncQueue("memory:///jobs", name="jobs", codec="json") as plain:
            await plain.put("x", reply_to="answers")
        async with unimq.AsyncQueue(unimq.URL.parse("memory:///jobs").with_options(dead=dead)) as queue:
            await (await queue.get(timeout=0)).reject("bad")
            receipt = await (await queue.dead.get(timeout=0)).reply("sorry")
            assert receipt.queue == "answers"

    asyncio.run(use())
    where = dead.replace("given-up", "answers")
    with unimq.Queue(where) as answers:
        assert answers.get(timeout=0).body == "sorry"


def test_a_reject_inside_a_dead_letter_queue_discards() -> None:
    """Opened as the dead-letter queue of another, or as what `?dead=` names."""
    with unimq.connect("memory://?dead=graves") as client:
        jobs = client.queue("jobs")
        jobs.put_many([1, 2])
        for message in jobs.get_many(2, timeout=0):
            message.reject()
        jobs.dead.get(timeout=0).reject()
        client.queue("graves").get(timeout=0).reject()
        assert client.queue("graves").size() == 0
        assert client.queues() == ["graves", "jobs"]


def test_a_name_that_ends_in_dead_means_nothing() -> None:
    """Such a queue has its limit of deliveries and dead letters like any other."""
    with unimq.Queue("memory:///walking.dead", max_deliveries=2) as queue:
        queue.put_many(["fails", "rejected"])
        for _ in range(2):
            queue.get(timeout=0).nack()
        queue.get(timeout=0).reject()
        assert [one.body for one in queue.dead.peek(10)] == ["fails", "rejected"]
        assert queue.dead.name == "walking.dead.dead"


def test_a_queue_is_not_its_own_dead_letter_queue() -> None:
    """A reject would discard in it, however the URL spells it."""
    urls = ("memory://?queue=a&dead=a", "memory:///a?dead=a", "memory://x/a?dead=memory://x/%3Fqueue%3Da")
    for url in urls:
        with pytest.raises(unimq.InvalidURL, match="option dead: 'a' is the queue itself"):
            unimq.Queue(url)


def test_only_an_explicit_dead_option_is_a_url(tmp_path: Path) -> None:
    """A queue whose name has :// in it keeps its dead letters on its own backend."""
    with unimq.Queue(f"sqlite:///{tmp_path}/jobs.db", name="memory://app/feed") as queue:
        queue.put("x")
        queue.get(timeout=0).reject()
        assert queue.client.queues() == ["memory://app/feed.dead"]


@pytest.mark.parametrize(
    ("dead", "kind"),
    [
        ("nosuch://h/graves", unimq.InvalidURL),
        ("memory:///graves?leese=1s", unimq.InvalidURL),
        ("memory:///unimq-own", unimq.InvalidName),
        ("graves\ttwo", unimq.InvalidURL),
        ("unimq-own", unimq.InvalidName),
    ],
)
def test_where_dead_letters_go_is_checked_when_the_queue_is_made(dead: str, kind: type[Exception]) -> None:
    """Not when the first message dies."""
    with pytest.raises(kind):
        unimq.Queue(unimq.URL("memory", path="/jobs").with_options(dead=dead))


def test_nothing_in_a_dead_letter_queue_is_given_up_by_itself() -> None:
    """Neither by `max_deliveries` nor by `invalid=reject`."""
    with unimq.connect("memory://?max_deliveries=1&invalid=reject") as client:
        queue = client.queue("jobs")
        client.queue("jobs", codec="raw").put(b"no json")
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0)
        assert queue.dead.size() == 1
        for _ in range(3):
            queue.dead.get(timeout=0).nack()
        assert queue.dead.get(timeout=0).raw == b"no json"


def test_a_dead_letter_queue_has_none_of_its_own() -> None:
    """Asking for it is a mistake."""
    with unimq.Queue("memory:///jobs") as queue, pytest.raises(unimq.InvalidArgument, match="none of its own"):
        queue.dead.dead.peek()


def test_what_cannot_be_decoded_is_rejected_where_that_is_asked_for() -> None:
    """With the reason; its neighbours are delivered."""
    with unimq.connect("memory://?invalid=reject") as client:
        raw, queue = client.queue("jobs", codec="raw"), client.queue("jobs")
        raw.put_many([b"1", b"no json", b"2"])
        assert [message.body for message in queue.get_many(10, timeout=0)] == [1, 2]
        assert "cannot be decoded" in queue.dead.peek()[0].headers["unimq-dead-reason"]


def test_the_room_for_the_suffix_is_part_of_the_name() -> None:
    """A name that leaves none is refused at once, not when the first message dies."""
    with unimq.connect("memory://") as client:
        client.queue("x" * 195)
        with pytest.raises(unimq.InvalidName, match=r"195 are possible.*\.dead"):
            client.queue("x" * 196)
        assert client.queue("x" * 195).dead.name == "x" * 195 + ".dead"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("x" * 5000, "x" * 997 + "..."),
        ("a\0b \x1b[31mred\n  two", "a\ufffdb \ufffd[31mred two"),
        ("No such file: caf\udce9.txt", "No such file: caf\ufffd.txt"),
        ("", ""),
    ],
)
def test_any_reason_can_be_told(reason: str, told: str) -> None:
    """It is an error's text, as a rule: what cannot be written is replaced, and what is long is shortened."""
    with unimq.Queue("memory:///jobs") as queue:
        queue.put(1)
        queue.get(timeout=0).reject(reason)
        assert queue.dead.peek()[0].headers["unimq-dead-reason"] == told


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ("x" * 5000 + "\nlast", "..." + "x" * 1992 + "\nlast"),
        ("first\r\n\x1b[31mcaf\udce9", "first\n\ufffd[31mcaf\ufffd"),
        ("x" * 2000, "x" * 2000),
    ],
)
def test_details_keep_their_lines_and_their_end(details: str, told: str) -> None:
    """A traceback has the cause at its end."""
    with unimq.Queue("memory:///jobs") as queue:
        queue.put(1)
        queue.get(timeout=0).reject("broken", details)
        assert queue.dead.peek()[0].headers["unimq-dead-details"] == told
        assert queue.dead.redrive() == 1
        assert not any(name.startswith("unimq-dead") for name in queue.get(timeout=0).headers)


def test_a_reason_is_a_text() -> None:
    """Anything else is refused, and the message stays in hand."""
    with unimq.Queue("memory:///jobs") as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        with pytest.raises(unimq.InvalidArgument, match="reason=None: must be a str"):
            message.reject(None)  # type: ignore[arg-type]
        message.ack()


def test_one_damaged_dead_letter_keeps_none_from_going_back() -> None:
    """An origin that no queue can have means the queue that is asked; what cannot go back at all is told at the end."""
    with unimq.connect("memory://") as client:
        session = open_session(client.driver, client.url)
        odd = [Outgoing(b"1", headers={"unimq-dead-origin": name}) for name in ("bad\nname", "full")]
        session.send("jobs.dead", [*odd, Outgoing(b"2")], math.inf)
        queue = client.queue("jobs")
        put_back = queue.dead._endpoint.settler.put_back

        def refuse(letter: unimq.Message[object], target: Any, headers: Any) -> None:
            if target.state.name == "full":
                msg = "too large for it"
                raise unimq.TooLarge(msg)
            put_back(letter, target, headers)

        queue.dead._endpoint.settler.put_back = refuse  # type: ignore[method-assign,assignment]
        with pytest.raises(unimq.BatchError, match="redrive: 1 of 3 failed") as caught:
            queue.dead.redrive()
        assert caught.value.failed == [1]
        assert [one.body for one in queue.get_many(10, timeout=0)] == [1, 2]
        assert queue.dead.size() == 1


@pytest.mark.parametrize("limit", [None, 100])
@pytest.mark.parametrize("counted", [True, False])
def test_a_redrive_ends_though_its_work_feeds_it(*, counted: bool, limit: int | None) -> None:
    """A consumer that rejects again whatever comes back does not keep it going, whether the backend counts or not."""
    with unimq.connect("memory://") as client:
        queue = client.queue("jobs")
        queue.put_many([1, 2, 3])
        for message in queue.get_many(3, timeout=0):
            message.reject()
        if not counted:
            client._capabilities = replace(client.capabilities, stats=absent())
        put_back = queue.dead._endpoint.settler.put_back

        def put_back_and_work(letter: unimq.Message[object], target: Any, headers: Any) -> None:
            put_back(letter, target, headers)
            queue.get(timeout=1).reject("again")

        queue.dead._endpoint.settler.put_back = put_back_and_work  # type: ignore[method-assign,assignment]
        assert queue.dead.redrive(limit) == 3
        assert len(queue.dead.peek(10)) == 3


@pytest.mark.parametrize("counted", [True, False])
def test_a_dead_letter_whose_origin_is_the_dead_letter_queue_leaves_it(*, counted: bool) -> None:
    """A foreign program, or one that was careless, wrote it: it would be put back and taken for ever."""
    with unimq.connect("memory://") as client:
        queue = client.queue("jobs")
        client.queue("jobs.dead").put(1, headers={"own": "kept"})
        session = open_session(client.driver, client.url)
        session.send("jobs.dead", [Outgoing(b"2", headers={"unimq-dead-origin": "jobs.dead"})], math.inf)
        if not counted:
            client._capabilities = replace(client.capabilities, stats=absent())
        assert queue.dead.redrive() == 2
        assert [one.body for one in queue.get_many(10, timeout=0)] == [1, 2]


def test_a_discarded_message_leaves_no_dead_letter() -> None:
    """It is gone for good, and the hook is told so."""
    told: list[str] = []
    with unimq.connect("memory://", hooks=unimq.Hooks(settle=lambda _, outcome: told.append(outcome))) as client:
        queue = client.queue("jobs")
        queue.put(1)
        message = queue.get(timeout=0)
        message.discard()
        assert (queue.stats().leased, queue.size(), queue.dead.size()) == (0, 0, 0)
        assert told == ["discard"]
        with pytest.raises(unimq.AlreadySettled):
            message.ack()


def test_the_reason_and_the_header_agree_on_the_deliveries() -> None:
    """Whether it was nacked once too often, or its consumers died and nobody sees it once more."""
    with unimq.Queue("memory:///jobs", max_deliveries=2, lease=0.05) as queue:
        queue.put("nacked")
        queue.get(timeout=0).nack()
        queue.get(timeout=0).nack()
        queue.put("kills")
        queue.get(timeout=0)
        queue.get(timeout=5)
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0.2)
        told = [(one.headers["unimq-dead-reason"], one.headers["unimq-dead-deliveries"]) for one in queue.dead.peek(2)]
        assert told == [
            ("nacked after 2 deliveries, the most that is allowed", "2"),
            ("delivered 2 times, 2 are allowed", "2"),
        ]


def test_a_search_leaves_the_others_in_their_order() -> None:
    """Uncounted too, however far behind the one that is looked for stood."""
    with unimq.Queue("memory:///jobs") as queue:
        for number in range(250):
            queue.put(number, id=f"no{number}")
        for message in queue.get_many(250, timeout=0):
            message.reject()
        assert queue.dead.redrive(id="no220") == 1
        assert [one.body for one in queue.get_many(10, timeout=0)] == [220]
        rest = queue.dead.get_many(300, timeout=0)
        assert [one.body for one in rest] == [*range(220), *range(221, 250)]
        assert {one.delivery_count for one in rest} == {1}


def test_a_close_ends_a_redrive_that_takes_its_time() -> None:
    """What was not put back is still there."""
    queue = unimq.Queue("memory:///jobs")
    queue.put_many([1, 2])
    for message in queue.get_many(2, timeout=0):
        message.reject()
    closing = threading.Timer(0.2, queue.close)
    closing.start()
    with pytest.raises(unimq.Closed):
        queue.dead.redrive(rate=0.001)
    closing.join()
    with unimq.Queue("memory:///jobs") as again:
        assert (again.size(), again.dead.size()) == (1, 1)
