"""Messages as JSON lines: what comes back from a file is what was written into it."""

import io
import json
import math
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unimq
import unimq_memory
from unimq import operations
from unimq.operations import Moved

Two = unimq.Queue[Any]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    unimq_memory.reset()


@pytest.fixture
def source() -> Iterator[Two]:
    with unimq.Queue(f"memory://{uuid.uuid4().hex}/from") as queue:
        yield queue


@pytest.fixture
def target() -> Iterator[Two]:
    with unimq.Queue(f"memory://{uuid.uuid4().hex}/to") as queue:
        yield queue


def exported(queue: Two, **options: Any) -> bytes:
    """What an export writes."""
    file = io.BytesIO()
    operations.export_lines(queue, file, **options)
    return file.getvalue()


TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)
KEYS = TEXTS.filter(lambda key: bool(key) and not key.lower().startswith("unimq-"))
IDS = TEXTS.filter(lambda text: bool(text) and text.isprintable())


@pytest.mark.parametrize(("profile", "take"), [("memory", False), ("memory", True), ("beanstalkd", True)])
@settings(deadline=None, max_examples=60)
@given(
    bodies=st.lists(st.binary(max_size=100) | TEXTS.map(str.encode), min_size=1, max_size=4),
    headers=st.dictionaries(KEYS, TEXTS, max_size=3),
    own_id=IDS,
    priority=st.integers(0, 9),
    lifetime=st.none() | st.floats(10, 1e8),
)
def test_any_message_comes_back_as_it_was(  # noqa: PLR0913, PLR0917
    profile: str,
    take: bool,  # noqa: FBT001
    bodies: list[bytes],
    headers: dict[str, str],
    own_id: str,
    priority: int,
    lifetime: float | None,
) -> None:
    """Body byte for byte, id, headers, priority, age and order, and the time that is left of its life."""
    where = f"memory://{uuid.uuid4().hex}/{{}}?codec=raw{'' if profile == 'memory' else f'&profile={profile}'}"
    with unimq.Queue(where.format("from")) as source, unimq.Queue(where.format("to")) as target:
        for body in bodies:
            source.put(body, headers=headers, id=own_id, priority=priority, ttl=lifetime)
        before = source.get_many(9, timeout=0)
        source.nack(reversed(before))
        lines = exported(source, take=take)
        assert lines.isascii()
        assert not any(byte < 32 or byte == 127 for byte in lines.replace(b"\n", b""))
        assert operations.import_lines(target, lines.splitlines()) == Moved(len(bodies))
        after = target.get_many(9, timeout=0)
        assert source.size() == (0 if take else len(bodies))
    for name in ("body", "id", "headers", "priority", "enqueued_at"):
        assert [getattr(one, name) for one in after] == [getattr(one, name) for one in before], name
    for old, new in zip(before, after, strict=True):
        assert new.expires_at == old.expires_at is None or abs((new.expires_at or 0) - (old.expires_at or 0)) < 5


def test_a_line_says_what_a_message_has(source: Two) -> None:
    """And how its body is written; what it has not is left out."""
    source.put({"a": "\u00e4"}, id="one", headers={"h": "v"}, priority=7, ttl=60, reply_to="answers")
    line = json.loads(exported(source))
    assert 55 < line.pop("ttl") <= 60
    assert abs(line.pop("enqueued_at") - time.time()) < 60
    assert line == {
        "body": '{"a":"\u00e4"}',
        "encoding": "utf-8",
        "codec": "json",
        "id": "one",
        "headers": {"h": "v", "unimq-reply-to": "answers"},
        "priority": 7,
    }
    with unimq.Queue(f"memory://{uuid.uuid4().hex}/from?codec=raw") as raw:
        raw.put(b"\xff")
        line = json.loads(exported(raw))
        assert (line["body"], line["encoding"]) == ("/w==", "base64")


def test_a_delay_is_counted_from_the_import(target: Two) -> None:
    """And the rest of a life too."""
    lines = [b'{"body": "1", "encoding": "utf-8", "delay": 60, "ttl": 90.5}', b"", b'{"body":"2","encoding":"utf-8"}']
    assert operations.import_lines(target, lines).moved == 2
    assert (target.stats().ready, target.stats().delayed) == (1, 1)
    assert target.get(timeout=0).body == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 2: this is no exported message"),
        (b"\xff", "line 2: this is no exported message"),
        (b'{"body": "1"}', "missing required field `encoding`"),
        (b'{"body": "1", "encoding": "utf-8", "prio": 1}', "unknown field `prio`"),
        (b'{"body": "?", "encoding": "base64"}', "no exported message"),
        (b'{"body": "\\ud800", "encoding": "utf-8"}', "no exported message"),
        (b'{"body": "1", "encoding": "utf-8", "priority": 10}', "<= 9"),
        (b'{"body": "1", "encoding": "utf-8", "codec": "msgpack"}', "not translated"),
        (b'{"body": "1", "encoding": "utf-8", "id": "a\\n"}', "printable"),
        (b'{"body": "1", "encoding": "utf-8", "delay": -1}', "delay=-1"),
        (b'{"body": "1", "encoding": "utf-8", "delay": 5, "ttl": 5}', "expires undelivered"),
        (b'{"body": "1", "encoding": "utf-8", "headers": {"": "x"}}', "header key"),
        (b'{"body": "1", "encoding": "utf-8", "headers": {"unimq-id": "x"}}', "reserved"),
        (b'{"body": "1", "encoding": "utf-8", "headers": {"a": 1}}', "headers"),
    ],
)
def test_a_bad_line_is_named_before_the_first_is_put(target: Two, line: bytes, said: str) -> None:
    """With its number."""
    with pytest.raises(unimq.InvalidArgument, match=said):
        operations.import_lines(target, [b'{"body": "1", "encoding": "utf-8"}', line])
    assert target.size() == 0


def test_what_the_target_cannot_keep_is_refused_or_dropped() -> None:
    """By what the lines have, not by what they might have."""
    plain, prior = (b'{"body": "1", "encoding": "utf-8"%s}' % more for more in (b"", b', "priority": 7, "delay": 1'))
    with unimq.Queue("memory:///to?profile=memcacheq") as target:
        assert operations.import_lines(target, [plain]).moved == 1
        with pytest.raises(unimq.Unsupported, match="line 1: .*delay, priority"):
            operations.import_lines(target, [prior])
        with pytest.raises(unimq.TooLarge, match="line 2"):
            operations.import_lines(target, [plain, plain.replace(b"1", b"1" * 2000)])
        assert operations.import_lines(target, [prior], drop=["priority", "delay"]).moved == 1
        with pytest.raises(unimq.InvalidArgument, match="drop='body'"):
            operations.import_lines(target, [plain], drop=["body"])  # type: ignore[list-item]
        assert target.size() == 2


def test_lines_that_were_not_put_are_named(target: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank ones are counted, and none behind a failed exchange is tried."""
    send, calls = target._endpoint.sender.send, []

    def broken(messages: list[Any], key: str | None, deadline: float) -> Any:
        calls.append(messages)
        if len(calls) == 1:
            return send(messages, key, deadline)
        lost = unimq.ConnectionLost("gone", in_doubt=True)
        return [*send(messages[:98], key, deadline), lost, unimq.Full("full")]

    monkeypatch.setattr(target._endpoint.sender, "send", broken)
    lines = [b"\n", *[b'{"body": "1", "encoding": "utf-8"}\n'] * 250]
    said = r"198 were stored; not \(1 in doubt\) lines 200, 201 and none after 201: gone"
    with pytest.raises(unimq.BatchError, match=said):
        operations.import_lines(target, lines)
    assert (target.size(), len(calls)) == (198, 2)


def test_what_is_taken_is_settled_when_it_is_written(source: Two, tmp_path: Path) -> None:
    """A disk that is full keeps all that is not surely on it on the queue."""
    source.put_many(range(250))
    sums: list[Moved] = []

    class Full(io.BytesIO):
        def flush(self) -> None:
            if self.getvalue().count(b"\n") > 100:
                raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        operations.export_lines(source, Full(), take=True, told=sums.append)
    assert sums[-1] == Moved(100, doubtful=100)
    assert (source.stats().ready, source.stats().leased) == (150, 0)
    with (tmp_path / "half").open("w+b") as file:
        file.write(b'{"body": "ha')
        file.flush()
        assert operations.export_lines(source, file, take=True).moved == 150
        file.seek(0)
        assert len([json.loads(line) for line in file.readlines()[1:]]) == 150
    assert source.size() == 0


def test_what_cannot_be_shown_whole_is_refused() -> None:
    """An archive of which a part is missing is worse than none; to take them is another way."""
    with unimq.Queue("memory://beanstalkd/from?profile=beanstalkd") as one:
        one.put_many([1, 2])
        one.put(3, delay=60)
        with pytest.raises(unimq.Unsupported, match="1 not due yet"):
            exported(one)
        with pytest.raises(unimq.Unsupported, match="shows 1 of its messages, and there are 2"):
            exported(one, leave_delayed=True)
        assert exported(one, leave_delayed=True, limit=1).count(b"\n") == 1
        assert exported(one, leave_delayed=True, take=True).count(b"\n") == 2
    with unimq.Queue("memory://gearman/from?profile=gearman") as none:
        none.put(1)
        with pytest.raises(unimq.Unsupported, match="peek is absent.*to take them"):
            exported(none)
        assert exported(none, take=True).count(b"\n") == 1
    with unimq.Queue("memory://memcacheq/from?profile=memcacheq") as once:
        once.put(1)
        with pytest.raises(unimq.Unsupported, match="at most once"):
            exported(once, take=True)
        assert once.size() == 1


def test_an_empty_queue_makes_no_line(source: Two) -> None:
    """And is no mistake."""
    assert exported(source) == exported(source, take=True) == b""
    assert operations.import_lines(source, []) == Moved()


def test_numbers_that_json_does_not_know_are_refused(target: Two) -> None:
    """As times they mean nothing."""
    for value in (math.nan, math.inf):
        line = json.dumps({"body": "1", "encoding": "utf-8", "ttl": value}).encode()
        with pytest.raises(unimq.InvalidArgument):
            operations.import_lines(target, [line])
