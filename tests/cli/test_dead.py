"""dead: what was given up, looked at, put back or removed."""

import json
import time
from pathlib import Path

import pytest

import unimq
from unimq.capabilities import Limits, absent


def bury(url: str, *ids: str) -> None:
    """Make dead letters with these ids, whose bodies say which they are."""
    with unimq.Queue(url) as queue:
        for one in ids:
            queue.put({"i": one}, id=one, headers={"trace": f"t-{one}"}, priority=7)
            queue.get(timeout=0).reject(f"no {one}")


def test_dead_letters_are_shown_put_back_and_removed(run, here: str) -> None:
    """With their reasons, long bodies cut, and without what would play with the terminal."""
    with unimq.Queue(here) as queue:
        queue.put_many([1, "\x1b[31m" + "x" * 100, 3])
        for message in queue.get_many(3, timeout=0):
            message.reject("no good")
    shown = run("dead", "list", here).stdout.replace(" 1 s ", " 0 s ")  # on a busy machine
    head, *rows = shown.splitlines()
    assert head.split() == ["id", "put", "dead", "for", "deliveries", "origin", "reason", "body"]
    assert [row.split()[1:7] for row in rows] == [["0", "s", "0", "s", "1", "mail"]] * 3
    assert [row.count("no good") for row in rows] == [1, 1, 1]
    assert rows[1].endswith("xxx...")
    assert "\x1b" not in shown
    listed = [json.loads(line) for line in run("dead", "list", here, "--json", "--count", "2").stdout.splitlines()]
    assert [one["headers"]["unimq-dead-reason"] for one in listed] == ["no good", "no good"]
    assert run("dead", "redrive", here, "--limit", "1").stdout == "1 message put back\n"
    assert run("get", here).stdout == "1\n"
    assert json.loads(run("dead", "purge", here, "--yes", "--json").stdout) == {"purged": 2, "queue": "mail.dead"}
    assert json.loads(run("dead", "redrive", here, "--json").stdout) == {"redriven": 0}
    assert "no dead letters in mail.dead" in run("dead", "list", here).stderr


@pytest.mark.parametrize("backend", ["here", "url"])
def test_one_is_shown_whole(run, backend: str, request: pytest.FixtureRequest) -> None:
    """Its story, its headers and its body; looking takes nothing."""
    url = request.getfixturevalue(backend)
    bury(url, "a", "b")
    told, _, body = run("dead", "show", url, "b").stdout.partition("\n\n")
    fields = dict(line.split(maxsplit=1) for line in told.splitlines()[1:] if not line.startswith("header"))
    assert fields.items() >= {"id": "b", "queue": "mail.dead", "origin": "mail", "reason": "no b"}.items()
    assert fields.items() >= {"deliveries": "1", "priority": "7", "bytes": "9"}.items()
    assert "UTC, " in fields["put"]
    assert "UTC, " in fields["died"]
    assert told.splitlines()[-1].split() == ["header", "trace", "t-b"]
    assert json.loads(body) == {"i": "b"}
    record = json.loads(run("dead", "show", "b", "--json", UNIMQ_URL=url).stdout)
    assert record["body"] == {"i": "b"}
    assert (record["dead_origin"], record["dead_reason"], record["dead_deliveries"]) == ("mail", "no b", 1)
    assert time.time() - 60 < record["dead_put"] <= record["dead_at"] + 0.001
    assert record["dead_at"] <= time.time()
    assert json.loads(run("dead", "purge", url, "-y", "--json").stdout)["purged"] == 2


def test_details_are_shown_in_their_lines(run, here: str) -> None:
    """Such as a traceback, below the story."""
    with unimq.Queue(here) as queue:
        queue.put(1, id="a")
        queue.get(timeout=0).reject("short", details="line 1\n  line 2\x1b")
    assert run("dead", "show", here, "a").stdout.endswith("\n  line 1\n    line 2\ufffd\n\n1\n")


@pytest.mark.parametrize("backend", ["here", "url"])
def test_one_is_put_back(run, backend: str, request: pytest.FixtureRequest) -> None:
    """The others stay; an id that nobody has is told."""
    url = request.getfixturevalue(backend)
    bury(url, "a", "b", "c")
    assert json.loads(run("dead", "redrive", url, "--id", "b", "--json").stdout) == {"redriven": 1}
    assert json.loads(run("get", url).stdout) == {"i": "b"}
    assert "no dead letter with the id 'b'" in run("dead", "redrive", url, "--id", "b", code=3).stderr
    assert "no dead letter with the id 'b'" in run("dead", "show", url, "b", code=3).stderr
    listed = [json.loads(line)["id"] for line in run("dead", "list", url, "--json").stdout.splitlines()]
    assert listed == ["a", "c"]


def test_a_redrive_may_take_its_time(run, here: str) -> None:
    """So many a second, and a rate that makes no sense is refused."""
    bury(here, "a", "b", "c")
    start = time.monotonic()
    assert run("dead", "redrive", here, "--rate", "5").stdout == "3 messages put back\n"
    assert time.monotonic() - start >= 0.4
    assert "rate=0.0" in run("dead", "redrive", here, "--rate", "0", code=2).stderr


def test_what_is_not_shown_is_told(run, odd, here: str) -> None:
    """By the count that was asked for, or because the backend shows no more."""
    bury(here, "a", "b", "c")
    assert "2 of 3 messages in mail.dead" in run("dead", "list", here, "--count", "2").stderr
    odd.changed = {"limits": Limits(peek=1)}
    odd.methods["peek"] = lambda session, queue, limit, deadline: session.peek(queue, min(limit, 1), deadline)
    bury("odd://x/mail", "a", "b")
    assert "1 of 2 messages in mail.dead" in run("dead", "list", "odd://x/mail").stderr
    told = run("dead", "show", "odd://x/mail", "b", code=3).stderr
    assert "is among the 1 that mail.dead shows" in told


def test_what_the_backend_cannot_is_refused(run, odd) -> None:
    """Looking needs a peek, the search for one a message that is not lost with the process that has it."""
    odd.changed = {"peek": absent("it shows none"), "guarantee": "at-most-once"}
    for command in (["list"], ["show"]):
        told = run("dead", *command, "odd://x/mail", *(["a"] if command == ["show"] else []), code=2).stderr
        assert "peek is absent" in told
    assert "at most once" in run("dead", "redrive", "odd://x/mail", "--id", "a", code=2).stderr


def test_show_wants_an_id(run, here: str) -> None:
    """And says where to find one."""
    assert "unimq dead list" in run("dead", "show", here, code=2).stderr


def test_a_terminal_is_not_played_with(terminal, tmp_path: Path) -> None:
    """What a stranger wrote into headers, reasons and bodies is escaped."""
    url = f"sqlite:///{tmp_path}/jobs.db?queue=mail&codec=text"
    with unimq.Queue(url) as queue:
        queue.put("\x1b[2Jbody", id="a", headers={"h": "\x1b[2Jheader"})
        queue.get(timeout=0).reject("\x1b[2Jreason")
    shown = terminal("dead", "show", url, "a", NO_COLOR="1")
    assert shown.end() == 0
    assert "\\x1b[2Jbody" in shown.shown
    assert "\\x1b[2Jheader" in shown.shown
    assert "\x1b[2J" not in shown.shown
