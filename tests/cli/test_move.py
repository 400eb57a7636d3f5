"""move: messages between two backends, for people and programs, and when it is broken off."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unimq

COMMAND = [sys.executable, "-m", "unimq.cli", "move"]


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A file to move to, whose queue nobody names."""
    return f"sqlite:///{tmp_path}/other.db"


def test_a_move_goes_to_a_queue_of_the_same_name(run, url: str, other: str) -> None:
    """Where the other URL names none; and it says that it made the file."""
    run("put", url, "1", "--id", "one", "--header", "k=v", "--priority", "7")
    done = run("move", url, other)
    assert done.stdout == "1 message moved from mail to mail\n"
    assert "other.db was not there, and was made" in done.stderr
    message = json.loads(run("get", other, "--queue", "mail", "--json").stdout)
    assert (message["id"], message["headers"], message["priority"]) == ("one", {"k": "v"}, 7)
    again = json.loads(run("move", f"{other}?queue=post", UNIMQ_URL=url, code=0).stdout.partition(" ")[0])
    assert again == 0


def test_a_move_for_a_program(run, here: str, other: str) -> None:
    """Its sum is one object; what stayed makes it fail, and is explained."""
    run("put", here, json.dumps("x" * 2000))
    run("put", here, "1")
    small = "memory:///to?profile=memcacheq"
    done = run("move", here, small, "--drop", "priority", "--json", code=1)
    record = json.loads(done.stdout)
    assert (record["moved"], record["failed"], record["doubtful"]) == (1, 1, 0)
    assert "takes at most" in record["reason"]
    assert "1 message stayed, the first because: body of" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{url}"], "move takes two URLs, and one was given"),
        ([], "the URL to move to is missing"),
        (["{url}", "{url}"], "to itself"),
        (["{url}", "memory:///to?profile=activemq"], "priority; allow to drop it"),
        (["{url}", "memory:///to", "--drop", "body"], "'body' is not one of"),
    ],
)
def test_a_mistake_moves_nothing(run, url: str, arguments: list[str], said: str) -> None:
    """It is explained, with exit code 2."""
    run("put", url, "1")
    assert said in run("move", *(one.format(url=url) for one in arguments), code=2).stderr
    assert json.loads(run("stats", url, "--json").stdout)["ready"] == 1


def test_a_typo_makes_no_source(run, tmp_path: Path, other: str) -> None:
    """Neither a file to move from, nor one to move to."""
    assert "there is no sqlite store" in run("move", f"sqlite:///{tmp_path}/typo.db?queue=a", other, code=1).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bar_on_a_terminal(terminal, url: str, other: str) -> None:
    """With what went and how much there is; Ctrl-C of one that follows tells the sum."""
    with unimq.Queue(url) as queue:
        queue.put_many(range(3000))
    shown = terminal("move", f"{url}&durability=normal", f"{other}?durability=normal", "--follow")
    shown.wait_for("3000/3000")
    shown.interrupt()
    assert shown.end() == 130
    assert "3,000 messages moved from mail to mail" in shown.shown
    assert "both sides" not in shown.shown


def test_what_may_be_on_both_sides_is_told(run, odd, here: str) -> None:
    """A connection that broke may have stored what it did not confirm."""
    run("put", here, "1")
    odd.methods["send"] = lambda *_: [unimq.ConnectionLost("gone", in_doubt=True)]
    done = run("move", here, "odd://x/to", code=1)
    assert "1 message may be on both sides, with the same id" in done.stderr
    assert json.loads(run("stats", here, "--json").stdout)["ready"] == 1


@pytest.mark.slow
def test_a_kill_loses_nothing(url: str, other: str) -> None:
    """kill -9 in the middle, three times, then one that ends; what is there twice has the same id."""
    with unimq.Queue(f"{url}&durability=normal", lease=1) as queue, unimq.Queue(other, name="mail") as there:
        ids = {receipt.id for receipt in queue.put_many(range(2000))}
        for moved in (50, 500, 1200):
            moving = subprocess.Popen([*COMMAND, f"{url}&lease=1s", other])  # noqa: S603
            while there.size() < moved and moving.poll() is None:
                time.sleep(0.001)
            moving.kill()
            assert moving.wait(20) == -9
            assert queue.size() > 0
        while (left := queue.stats()).ready or left.leased:
            assert subprocess.run([*COMMAND, f"{url}&lease=1s", other], check=False).returncode == 0  # noqa: S603
        messages = there.get_many(10_000, timeout=0)
    assert {message.id for message in messages} == ids
    assert len(messages) <= len(ids) + 3 * 100
