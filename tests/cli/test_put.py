"""put: from an argument, a pipe and a file, and what becomes of it half-way."""

import json
import os
import time
from pathlib import Path

import pytest

import unimq
from unimq.capabilities import absent


def test_put_and_get_pass_a_message(run, here: str) -> None:
    """The id is printed by the one, the body by the other, and the queue is empty afterwards."""
    assert run("put", here, '{"to": "ada"}').stdout.strip()
    assert run("get", here).stdout == '{"to": "ada"}\n'
    assert "no message on mail" in run("get", here, code=3).stderr


def test_put_takes_its_options_to_the_message(run, here: str) -> None:
    """Headers, priority, ttl and an own id."""
    options = ["--header", "a=b", "--header", "c=d=e", "--priority", "9", "--ttl", "1h", "--id", "own", "--json"]
    receipt = json.loads(run("put", here, "1", *options).stdout)
    assert receipt == {"id": "own", "queue": "mail", "confirmed": True}
    message = json.loads(run("get", here, "--json").stdout)
    assert (message["id"], message["priority"], message["body"]) == ("own", 9, 1)
    assert message["headers"] == {"a": "b", "c": "d=e"}
    assert message["expires_at"] > time.time() + 3000


def test_put_delays(run, here: str) -> None:
    """`--delay` takes a duration."""
    run("put", here, "1", "--delay", "5m")
    run("get", here, code=3)
    assert json.loads(run("stats", here, "--json").stdout)["delayed"] == 1


def test_queue_and_codec_may_be_given_beside_the_url(run, here: str) -> None:
    """`--queue` and `--codec` stand before the URL's."""
    run("put", here, "hello", "--queue", "other", "--codec", "text")
    run("get", here, code=3)
    assert run("get", f"{here}?codec=text", "-q", "other").stdout == "hello\n"


def test_put_reads_standard_input(run, here: str) -> None:
    """Without BODY, and with `-`."""
    run("put", here, stdin="[1, 2]")
    run("put", here, "-", stdin="3")
    assert run("get", here, "--count", "5").stdout == "[1, 2]\n3\n"


@pytest.mark.parametrize("arguments", [["1"], ["-"], []])
def test_put_takes_its_url_from_the_environment(run, here: str, arguments: list[str]) -> None:
    """One argument that does not begin like a URL is the body."""
    run("put", *arguments, stdin="1", UNIMQ_URL=here)
    assert run("get", UNIMQ_URL=here).stdout == "1\n"


def test_one_argument_that_begins_like_a_url_is_the_url(run, here: str) -> None:
    """Also where UNIMQ_URL names another."""
    run("put", here, stdin="1", UNIMQ_URL="memory://other/mail")
    assert run("get", here).stdout == "1\n"


def test_texts_and_bytes_travel_as_they_are(run, here: str) -> None:
    """With `--text`, and with the raw codec, whatever the bytes."""
    run("put", here, "hello", "--text")
    assert run("get", here).stdout == "hello\n"
    run("put", here, "--codec", "raw", stdin=b"\xff\x00\n")
    assert run("get", here, "--codec", "raw").stdout_bytes == b"\xff\x00\n\n"


def test_put_says_stored_where_there_is_no_id(run, odd) -> None:
    """Where the protocol has none."""
    odd.methods["send"] = lambda session, queue, messages, deadline: [None for _ in messages]
    odd.changed = {"keeps": frozenset(), "headers": absent()}
    assert run("put", "odd://x/mail?envelope=never", "1").stdout == "stored\n"


def test_put_reads_json_lines(run, here: str, tmp_path: Path) -> None:
    """One message for each line, in order, blank ones left out."""
    lines = tmp_path / "jobs.jsonl"
    lines.write_text("\n\n".join(json.dumps({"n": n}) for n in range(250)) + "\n")
    assert "250 messages put on mail" in run("put", here, "--file", str(lines)).stderr
    assert json.loads(run("put", here, "--file", "-", "--json", stdin="1\n2\n").stdout) == {"put": 2, "queue": "mail"}
    got = [json.loads(line) for line in run("get", here, "--count", "300").stdout.splitlines()]
    assert got == [*({"n": n} for n in range(250)), 1, 2]


def test_a_bad_line_is_named_and_nothing_is_put(run, here: str) -> None:
    """All lines are read before the first is sent; blank lines count."""
    done = run("put", here, "--file", "-", stdin='{"n": 1}\n\nnot json\n', code=2)
    assert "line 3 is no JSON" in done.stderr
    assert json.loads(run("stats", here, "--json").stdout)["ready"] == 0


def test_what_was_not_put_of_a_file_is_named(run, here: str) -> None:
    """So that the rest can be put again."""
    done = run("put", f"{here}?max_size=150", "--file", "-", stdin="1\n" * 250, code=1)
    assert "put: 150 messages; not put: lines 151, 152" in done.stderr
    assert json.loads(run("stats", here, "--json").stdout)["ready"] == 150


def test_what_is_in_doubt_of_a_file_is_told(run, odd) -> None:
    """A connection that broke may have stored what it did not confirm."""

    def send(_session, _queue, messages, _deadline):
        return [None, *(unimq.ConnectionLost("gone", in_doubt=True) for _ in messages[1:])]

    odd.methods["send"] = send
    done = run("put", "odd://x/mail", "--file", "-", stdin="1\n2\n3\n", code=1)
    assert "put: 1 message; not put (2 in doubt): lines 2, 3 and after" in done.stderr


def test_a_batch_that_cannot_be_sent_tells_what_was_before(run, odd) -> None:
    """A body over the limit is found when its batch is made."""
    odd.changed = {"limits": unimq.Capabilities(guarantee="at-least-once").limits.__class__(body=300)}
    lines = "\n".join(["1"] * 101 + [json.dumps("x" * 1000)])
    done = run("put", "odd://x/mail", "--file", "-", stdin=lines, code=2)
    assert "put before this: 100 messages, up to the line before line 101" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["memory:///a", "no json"], b"", "BODY is no JSON"),
        (["memory:///a", "NaN"], b"", "use --text"),
        (["memory:///a"], b"", "standard input is no JSON"),
        (["memory:///a", "--text"], b"\xff", "standard input is no UTF-8 text"),
        (["memory:///a", "1", "--header", "x"], b"", "key=value"),
        (["memory:///a", "1", "--file", os.devnull], b"", "leave BODY"),
        (["memory:///a", "--id", "x", "--file", os.devnull], b"", "leave BODY and --id out"),
        (["memory:///a", "1", "--priority", "10"], b"", "0<=x<=9"),
        (["memory:///a", "1", "--ttl", "1s", "--delay", "2s"], b"", "ttl"),
        (["memory:///a?codec=pickle", "1"], b"", "does not unpickle"),
        (["1"], b"", "a URL is missing"),
        (["1", "2"], b"", "must begin with a scheme"),
        ([], b"1", "a URL is missing"),
    ],
)
def test_a_mistake_puts_nothing(run, arguments: list[str], stdin: bytes, said: str) -> None:
    """It is explained, with exit code 2."""
    assert said in run("put", *arguments, stdin=stdin, code=2).stderr


def test_on_a_terminal_a_missing_body_is_asked_for_by_name(terminal, url: str) -> None:
    """Nothing waits silently for what is typed."""
    shown = terminal("put", url)
    assert shown.end() == 2
    assert "BODY is missing" in shown.shown


def test_a_file_has_a_bar_on_a_terminal(terminal, url: str, tmp_path: Path) -> None:
    """With what was put and how much there is."""
    lines = tmp_path / "jobs.jsonl"
    lines.write_text("1\n" * 5000)
    shown = terminal("put", f"{url}&durability=normal", "--file", str(lines))
    assert shown.end() == 0
    assert "5000/5000" in shown.shown
    assert "5,000 messages put on mail" in shown.shown
