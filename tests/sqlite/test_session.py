"""Each method of a session on a file, at the level of the driver contract."""

import math
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

from unimq.driver import Delivery, Outgoing, Stats
from unimq.errors import ConnectError, Full, LeaseLost, Timeout, TooLarge
from unimq_sqlite import schema, statements
from unimq_sqlite.rows import parse_id
from unimq_sqlite.session import SQLiteSession

INF = math.inf
Open = Callable[..., SQLiteSession]


def put(session: SQLiteSession, *bodies: bytes, queue: str = "q", **fields: Any) -> list[str]:
    return [str(one) for one in session.send(queue, [Outgoing(body, **fields) for body in bodies], INF)]


def get(session: SQLiteSession, limit: int = 1, *, lease: float = 60.0, queue: str = "q") -> list[Delivery]:
    return list(session.receive([queue], limit, lease, 0.0))


def bodies(deliveries: "list[Delivery] | Any") -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def test_everything_of_a_message_comes_back(session: SQLiteSession) -> None:
    """Id, headers, priority, times and count."""
    expires = time.time() + 100
    before = time.time()
    put(session, b"\x00\xff", id="own", headers={"a": "ü\n:", "": ""}, priority=7, expires_at=expires)
    (one,) = get(session)
    assert (one.body, one.id, one.headers, one.priority) == (b"\x00\xff", "own", {"a": "ü\n:", "": ""}, 7)
    assert (one.expires_at, one.delivery_count, one.queue) == (expires, 1, "q")
    assert before <= (one.enqueued_at or 0.0) <= time.time()


@pytest.mark.parametrize("number", [1, 3])
def test_a_message_without_an_id_gets_the_same_one_on_both_sides(session: SQLiteSession, number: int) -> None:
    """One by one and in a batch."""
    ids = put(session, *[b"x"] * number)
    assert [one.id for one in get(session, 10)] == ids
    assert len(set(ids)) == number


def test_higher_priorities_first_then_the_order_of_the_puts(session: SQLiteSession) -> None:
    """Ten levels, one by one and in a batch."""
    for priority in (0, 9, 4, 9, 0):
        put(session, b"%d" % priority, b"%d again" % priority, priority=priority)
    first = [*get(session), *get(session)]
    assert bodies(first) == [b"9", b"9 again"]
    assert bodies(get(session, 100)) == [b"9", b"9 again", b"4", b"4 again", b"0", b"0 again", b"0", b"0 again"]


def test_a_delayed_message_comes_when_it_is_due_and_not_before(session: SQLiteSession) -> None:
    """A blocking receive wakes for it."""
    start = time.monotonic()
    put(session, b"x", delay=0.15)
    assert get(session) == []
    assert bodies(session.receive(["q"], 1, 60.0, start + 5)) == [b"x"]
    assert 0.15 <= time.monotonic() - start < 0.5


def test_what_became_due_keeps_its_priority(session: SQLiteSession) -> None:
    """It is not behind what was ready before."""
    put(session, b"low", priority=0)
    put(session, b"high", priority=9, delay=0.02)
    time.sleep(0.03)
    assert bodies(get(session)) == [b"high"]


@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_an_expired_message_is_never_delivered_and_is_removed(session: SQLiteSession, path: str, delay: float) -> None:
    """Nor seen, counted, listed for ever or cancelled."""
    identity = put(session, b"x", expires_at=time.time() + 0.03, delay=delay)[0]
    time.sleep(0.05)
    assert session.peek("q", 10, INF) == []
    assert session.stats("q", INF) == Stats(0, 0, 0, None)
    assert not session.cancel("q", identity, INF)
    assert get(session) == []
    assert count_rows(path) == 0
    assert session.queues(INF) == []


def test_what_expires_while_it_is_held_can_be_settled_and_does_not_come_back(session: SQLiteSession, path: str) -> None:
    """It belongs to its consumer until the lease ends."""
    expires_at = time.time() + 0.5
    put(session, b"x", b"y", expires_at=expires_at)
    held, given_back = get(session, 2)
    time.sleep(max(0.0, expires_at - time.time()) + 0.01)
    assert session.ack([held], INF) == [None]
    assert session.release([given_back], 0.0, INF) == [None]
    assert get(session) == []
    assert count_rows(path) == 0


def test_a_lease_that_ended_is_lost_and_the_message_comes_again(session: SQLiteSession, connect: Open) -> None:
    """Also on another session; a receive that waits wakes for it; the old handle settles nothing."""
    put(session, b"x")
    (old,) = get(session, lease=0.1)
    other = connect()
    (new,) = other.receive(["q"], 1, 60.0, time.monotonic() + 5)
    assert new.delivery_count == 2
    assert isinstance(session.ack([old], INF)[0], LeaseLost)
    assert isinstance(session.release([old], 0.0, INF)[0], LeaseLost)
    assert isinstance(session.extend([old], 5.0, INF)[0], LeaseLost)
    assert isinstance(session.move("other", [(old, Outgoing(b"x"))], INF)[0], LeaseLost)
    assert session.queues(INF) == ["q"]
    assert other.ack([new], INF) == [None]


def test_settling_after_the_lease_ended_fails_even_when_nobody_took_it(session: SQLiteSession) -> None:
    """The clock decides, not who is faster."""
    put(session, b"x")
    (old,) = get(session, lease=0.02)
    assert old.lease_until is not None
    time.sleep(0.03)
    assert old.lease_until < time.monotonic()
    assert isinstance(session.ack([old], INF)[0], LeaseLost)


def test_any_session_may_settle(session: SQLiteSession, connect: Open) -> None:
    """The token is all that is needed."""
    put(session, b"x", b"y", b"z")
    acked, released, moved = get(session, 3)
    other = connect()
    assert other.ack([acked], INF) == [None]
    assert other.release([released], 0.0, INF) == [None]
    other.move("elsewhere", [(moved, Outgoing(b"z"))], INF)
    assert session.stats("q", INF).ready == 1
    assert session.queues(INF) == ["elsewhere", "q"]


def test_a_batch_of_settlements_says_which_were_lost(session: SQLiteSession) -> None:
    """Its neighbours are settled all the same; the same one twice is lost the second time."""
    put(session, b"a", b"b", b"c")
    first, second, third = get(session, 3)
    session.ack([second], INF)
    outcomes = session.ack([first, second, third, third], INF)
    assert [type(outcome) for outcome in outcomes] == [type(None), LeaseLost, type(None), LeaseLost]
    assert session.stats("q", INF) == Stats(0, 0, 0, None)


def test_a_released_message_goes_to_its_place_with_its_count(session: SQLiteSession) -> None:
    """Before what was put after it."""
    put(session, b"first", b"second")
    session.release(get(session), 0.0, INF)
    (again,) = get(session)
    assert (again.body, again.delivery_count) == (b"first", 2)


@pytest.mark.parametrize("number", [1, 2])
def test_a_delayed_release_waits(session: SQLiteSession, number: int) -> None:
    """One by one and in a batch."""
    put(session, *[b"x"] * number)
    session.release(get(session, number), 0.1, INF)
    assert session.stats("q", INF).delayed == number
    assert get(session) == []
    assert bodies(session.receive(["q"], number, 60.0, time.monotonic() + 5)) == [b"x"] * number


def test_extend_moves_the_end_of_the_lease(session: SQLiteSession) -> None:
    """The message is not delivered meanwhile, and can be settled."""
    put(session, b"x")
    (held,) = get(session, lease=0.05)
    assert session.extend([held], 30.0, INF)[0] == 30.0
    time.sleep(0.06)
    assert get(session) == []
    assert session.ack([held], INF) == [None]


def test_move_keeps_what_it_is_given(session: SQLiteSession) -> None:
    """Id, age and count; the original is gone."""
    put(session, b"x")
    (held,) = get(session)
    moved = Outgoing(held.body, id=held.id, enqueued_at=12.5, delivery_count=3, headers={"why": "not"})
    assert session.move("dead", [(held, moved)], INF)[0] == held.id
    (there,) = get(session, queue="dead")
    assert (there.id, there.enqueued_at, there.delivery_count, there.headers) == (held.id, 12.5, 4, {"why": "not"})
    assert session.queues(INF) == ["dead"]


def test_what_is_too_large_for_sqlite_is_refused_and_nothing_is_lost(session: SQLiteSession) -> None:
    """By a put, and by a move, which keeps the original."""
    put(session, b"x")
    (held,) = get(session)
    session._store.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    for number in (1, 2):
        with pytest.raises(TooLarge):
            put(session, *[b"x" * 20_000] * number)
    with pytest.raises(TooLarge):
        session.move("dead", [(held, Outgoing(b"x" * 20_000))], INF)
    assert session.ack([held], INF) == [None]
    assert session.queues(INF) == []


def test_an_id_of_ours_still_cancels_after_a_move(session: SQLiteSession) -> None:
    """It became the message's own."""
    identity = put(session, b"x")[0]
    session.move("dead", [(get(session)[0], Outgoing(b"x", id=identity))], INF)[0]
    assert not session.cancel("q", identity, INF)
    assert session.cancel("dead", identity, INF)


def test_cancel_removes_every_copy_of_a_repeated_put(session: SQLiteSession) -> None:
    """An id that was put twice, as after a put in doubt; not what a consumer holds, not another queue's."""
    put(session, b"x", b"x", b"x", id="again")
    put(session, b"x", id="again", queue="other")
    get(session)
    assert session.cancel("q", "again", INF)
    assert session.stats("q", INF) == Stats(0, 0, 1, None)
    assert session.stats("other", INF).ready == 1


@pytest.mark.parametrize("text", ["", "x", "1-", "1-" + "f" * 16, "f" * 15 + "-" + "0" * 16, "é", "0-0"])
def test_cancel_of_any_text_is_just_false(session: SQLiteSession, text: str) -> None:
    """Whatever it looks like."""
    put(session, b"x")
    assert not session.cancel("q", text, INF)
    assert session.stats("q", INF).ready == 1


def test_an_id_is_parsed_back() -> None:
    """Place and nonce; more bits than SQLite's integers have make it somebody else's."""
    assert parse_id("1f-00000000000000ff") == (31, 255)
    assert parse_id("1-" + "f" * 16) is None


def test_peek_takes_nothing_and_writes_nothing(session: SQLiteSession, connect: Open) -> None:
    """In the order of delivery, with what is due; even while the file is locked."""
    put(session, b"low", priority=0)
    put(session, b"late", delay=60.0, priority=9)
    put(session, b"ended", priority=9)
    held = get(session, lease=0.01)
    assert bodies(held) == [b"ended"]
    put(session, b"due", delay=0.01, priority=9)
    time.sleep(0.02)
    locked = connect()
    with locked._store.transaction(INF):
        seen = session.peek("q", 10, 0.0)
        assert session.stats("q", 0.0).ready == 3
    assert bodies(seen) == [b"ended", b"due", b"low"]
    assert [one.token for one in seen] == [None] * 3
    assert [one.delivery_count for one in seen] == [1, 0, 0]
    assert bodies(session.peek("q", 1, INF)) == [b"ended"]


def test_stats_count_by_state(session: SQLiteSession) -> None:
    """And tell the age of the oldest that is ready."""
    put(session, b"x", b"x", b"x", enqueued_at=time.time() - 100)
    put(session, b"x", delay=60.0)
    get(session)
    counted = session.stats("q", INF)
    assert (counted.ready, counted.delayed, counted.leased, counted.approximate) == (2, 1, 1, False)
    assert 100 <= (counted.oldest or 0.0) < 110
    assert session.stats("unknown", INF) == Stats(0, 0, 0, None)


def test_purge_removes_what_nobody_holds(session: SQLiteSession) -> None:
    """What is delayed and whose lease ended too; another queue is left alone."""
    put(session, b"x", b"y", b"z")
    (held,) = get(session)
    get(session, lease=0.01)
    put(session, b"x", delay=60.0)
    put(session, b"x", queue="other")
    time.sleep(0.02)
    assert session.purge("q", INF) == 3
    assert session.stats("q", INF) == Stats(0, 0, 1, None)
    assert session.ack([held], INF) == [None]
    assert session.queues(INF) == ["other"]


def test_purge_and_delete_go_on_until_all_is_removed(session: SQLiteSession) -> None:
    """More than one small transaction."""
    number = statements.CHUNK + 5
    put(session, *[b"x"] * number)
    assert session.purge("q", INF) == number
    put(session, *[b"x"] * number)
    session.delete("q", INF)
    assert session.queues(INF) == []


def test_purge_and_delete_end_at_the_deadline(session: SQLiteSession) -> None:
    """A purge says how many it removed; a delete that is not complete says that."""
    put(session, *[b"x"] * (2 * statements.CHUNK + 5))
    assert session.purge("q", 0.0) == statements.CHUNK
    with pytest.raises(Timeout, match="delete it again"):
        session.delete("q", 0.0)


def test_delete_removes_what_is_held(session: SQLiteSession) -> None:
    """And what is delayed."""
    put(session, b"x", b"y")
    put(session, b"z", delay=60.0)
    (held,) = get(session)
    session.delete("q", INF)
    assert session.queues(INF) == []
    assert isinstance(session.ack([held], INF)[0], LeaseLost)


def test_queues_are_sorted_and_hold_something(session: SQLiteSession) -> None:
    """Ready, delayed or leased."""
    put(session, b"x", queue="ready")
    put(session, b"x", queue="delayed", delay=60.0)
    put(session, b"x", queue="leased")
    get(session, queue="leased")
    assert session.queues(INF) == ["delayed", "leased", "ready"]


def test_no_queue_starves_in_a_receive_over_several(session: SQLiteSession) -> None:
    """The one that is asked first changes."""
    for queue in ("a", "b", "c"):
        put(session, *[queue.encode()] * 5, queue=queue)
    first = [session.receive(["a", "b", "c"], 1, 60.0, 0.0)[0].body for _ in range(6)]
    assert sorted(first) == [b"a", b"a", b"b", b"b", b"c", b"c"]
    assert len(session.receive(["a", "b", "c"], 100, 60.0, 0.0)) == 9


def test_a_batch_is_never_waited_for(session: SQLiteSession) -> None:
    """What is there comes at once."""
    put(session, b"x")
    start = time.monotonic()
    assert len(session.receive(["q"], 10, 60.0, start + 5)) == 1
    assert time.monotonic() - start < 1


def test_max_size_counts_what_waits(connect: Open) -> None:
    """What is delayed counts, what is held or expired does not; a batch is stored as far as it fits."""
    session = connect("?max_size=3")
    outcomes = session.send("q", [Outgoing(b"1"), Outgoing(b"2", expires_at=time.time() + 0.05)], INF)
    outcomes = [*outcomes, *session.send("q", [Outgoing(b"3", delay=60.0), Outgoing(b"4"), Outgoing(b"5")], INF)]
    assert [isinstance(outcome, Full) for outcome in outcomes] == [False, False, False, True, True]
    assert session.stats("q", INF).ready == 2
    time.sleep(0.06)
    assert not isinstance(session.send("q", [Outgoing(b"6")], INF)[0], Full)
    assert isinstance(session.send("q", [Outgoing(b"7")], INF)[0], Full)
    get(session)
    assert not isinstance(session.send("q", [Outgoing(b"8")], INF)[0], Full)
    assert isinstance(session.send("q", [Outgoing(b"9")], INF)[0], Full)


def test_more_than_a_chunk_may_be_due_or_expired_at_once(session: SQLiteSession) -> None:
    """A poll still finds what is ready, and all of it is found in the end."""
    soon = time.time() + 0.3
    put(session, *[b"gone"] * (2 * statements.CHUNK), expires_at=soon)
    put(session, *[b"due"] * (statements.CHUNK + 7), delay=0.3)
    time.sleep(max(0.3, soon - time.time()) + 0.05)  # from the last put on: a busy machine takes its time for them
    found: list[bytes] = []
    while more := get(session, 1000):
        found += bodies(more)
    assert found == [b"due"] * (statements.CHUNK + 7)


def test_ping_tells_the_version(session: SQLiteSession) -> None:
    """Of the SQLite library."""
    assert session.ping(INF).startswith(f"SQLite {sqlite3.sqlite_version}")


def test_close_is_idempotent_and_ends_the_session(session: SQLiteSession) -> None:
    """Later use is an error that ends the session for its pool."""
    session.close()
    session.close()
    with pytest.raises(ConnectionError):
        session.send("q", [Outgoing(b"x")], INF)


def test_the_file_says_what_it_is(session: SQLiteSession, path: str) -> None:
    """In SQLite's application id; the application's own version number is left alone."""
    put(session, b"x")
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchall() == [(schema.APPLICATION_ID,)]
    assert connection.execute("PRAGMA user_version").fetchall() == [(0,)]
    connection.close()


def count_rows(path: str) -> int:
    connection = sqlite3.connect(path)
    number = int(connection.execute("SELECT count(*) FROM unimq_messages").fetchall()[0][0])
    connection.close()
    return number


def test_an_error_of_sqlite_in_a_receive_is_ours(session: SQLiteSession) -> None:
    """Not one of another library."""
    session._store.execute("DROP TABLE unimq_messages")
    with pytest.raises(ConnectError, match="tables are gone"):
        get(session)
