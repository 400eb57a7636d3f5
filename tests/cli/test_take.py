"""get and peek: for people, for programs, and when nobody reads any more."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

import unimq
from unimq.capabilities import absent


def ready(run, url: str) -> int:
    """How many messages could be taken now."""
    return json.loads(run("stats", url, "--json").stdout)["ready"]


def test_a_message_for_a_program_is_whole(run, here: str) -> None:
    """Every field has its name, one object is on one line."""
    run("put", here, '{"a": "\u00e4\\n"}', "--header", "k=v", "--priority", "7")
    (line,) = run("get", here, "--json").stdout.splitlines()
    message = json.loads(line)
    assert message.pop("id")
    assert abs(message.pop("enqueued_at") - time.time()) < 60
    assert message == {
        "queue": "mail",
        "headers": {"k": "v"},
        "priority": 7,
        "delivery_count": 1,
        "expires_at": None,
        "body": {"a": "\u00e4\n"},
    }


def test_bytes_are_base64_for_a_program(run, here: str) -> None:
    """Under a name of their own, so that nobody takes them for a text."""
    run("put", here, "bytes", "--codec", "raw")
    message = json.loads(run("get", here, "--codec", "raw", "--json").stdout)
    assert message["body_base64"] == "Ynl0ZXM="
    assert "body" not in message


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"at": datetime(2026, 1, 2, tzinfo=UTC)}, '{"at": "2026-01-02T00:00:00Z"}'),
        ({"b": b"bytes"}, '{"b": "Ynl0ZXM="}'),
        ({1: 2}, '{"1": 2}'),
        ({b"k": 1}, "\"{b'k': 1}\""),
        ([math.nan], '"[nan]"'),
    ],
)
def test_what_json_has_no_words_for_is_shown(run, here: str, body: object, shown: str) -> None:
    """MessagePack has times, bytes, keys of any kind and NaN."""
    url = f"{here}?codec=msgpack"
    with unimq.Queue(url) as queue:
        queue.put(body)
    assert run("peek", url).stdout == f"{shown}\n"
    assert json.loads(run("get", url, "--json").stdout)["body"] == json.loads(shown)


def test_what_cannot_be_decoded_is_shown_as_bytes(run, here: str) -> None:
    """And said, without what would play with the terminal."""
    run("put", here, "no \x1b json", "--codec", "raw")
    peeked = run("peek", here)
    assert peeked.stdout == "no \x1b json\n"
    assert "cannot be decoded" in peeked.stderr
    assert "\x1b" not in peeked.stderr


@pytest.mark.parametrize("options", ["", "?invalid=reject", "?max_deliveries=1"])
def test_the_wrong_codec_takes_nothing(run, here: str, options: str) -> None:
    """What it cannot decode goes back, and never to the dead letters; --codec raw takes any bytes."""
    run("put", here, "no json", "--codec", "raw")
    for _ in range(2):
        assert "is no json" in run("get", here + options, code=1).stderr
    assert run("dead", "list", here).stdout == ""
    assert run("get", here, "--codec", "raw").stdout == "no json\n"


def test_a_body_does_not_play_with_the_terminal(terminal, process, url: str) -> None:
    """It could clear the screen or set the window's title: control characters are escaped, unless --raw is given."""
    wild = "\x1b]0;title\x07\x9b2J"
    with unimq.Queue(url) as queue:
        queue.put_many([wild] * 3)
    for command, shown in (
        (["peek"], r"\x1b]0;title\x07\x9b2J"),
        (["peek", "--json"], r"\u001b]0;title\u0007\u009b2J"),
        (["get"], r"\x1b]0;title\x07\x9b2J"),
        (["get", "--raw"], wild),
    ):
        looking = terminal(*command, url)
        looking.wait_for(shown)
        assert looking.end() == 0
    assert process("get", url).stdout == f"{wild}\n"


def test_the_package_is_the_command() -> None:
    """`python -m unimq` is `unimq`."""
    done = subprocess.run([sys.executable, "-m", "unimq", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"unimq {unimq.__version__}\n"


def test_keep_gives_the_messages_back(run, here: str) -> None:
    """They are printed and still there, in their order."""
    for body in "123":
        run("put", here, body)
    assert run("get", here, "--keep", "--count", "2").stdout == "1\n2\n"
    assert run("peek", here, "--count", "5").stdout == "1\n2\n3\n"


def test_keep_gives_back_in_order_where_a_nack_goes_to_the_tail(run, odd) -> None:
    """Behind those that wait."""
    odd.changed = {"nack_place": "tail"}
    back = []

    def release(session, deliveries, *rest, unseen):
        back.extend(deliveries)
        return session.release(deliveries, *rest, unseen=unseen)

    odd.methods["release"] = release
    for body in "12":
        run("put", "odd://x/mail", body)
    run("get", "odd://x/mail", "--keep", "--count", "2")
    assert [delivery.body for delivery in back] == [b"1", b"2"]


def test_keep_is_refused_before_a_message_is_taken(run, odd) -> None:
    """Where nothing can be given back."""
    odd.changed = {"nack": absent()}
    run("put", "odd://x/mail", "1")
    assert "cannot take a message back" in run("get", "odd://x/mail", "--keep", code=2).stderr
    assert run("get", "odd://x/mail").stdout == "1\n"


def test_get_waits_for_a_message(process, url: str) -> None:
    """Up to the timeout."""
    process("put", url, "0")  # a get makes no file: a typo would
    process("get", url)
    command = [sys.executable, "-m", "unimq.cli", "get", url, "--timeout", "20s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:  # noqa: S603
        process("put", url, "1")
        output, _ = waiting.communicate(timeout=20)
    assert (output, waiting.returncode) == ("1\n", 0)


def test_peek_takes_nothing(run, here: str) -> None:
    """And says when there is nothing."""
    assert "no message" in run("peek", here, code=3).stderr
    run("put", here, "1")
    assert run("peek", here, "--count", "5").stdout == run("peek", here).stdout == "1\n"
    assert ready(run, here) == 1


def test_a_pickled_body_is_never_loaded(run, here: str) -> None:
    """To look at a message must not run what is in it."""
    for command in (["get"], ["peek"], ["dead", "list"]):
        assert "does not unpickle" in run(*command, f"{here}?codec=pickle", code=2).stderr
    run("put", here, "1")
    assert run("get", f"{here}?codec=pickle", "--codec", "raw").stdout == "1\n"


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def _inherited(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the run itself does about Ctrl-C; a job that a shell started in the background ignores it."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_inherited")
def test_an_interrupt_is_quiet(terminal, process, url: str) -> None:
    """Ctrl-C while waiting: 130, no traceback, and the queue stays usable; whatever the tests were started from."""
    process("put", url, "1")
    waiting = terminal("get", url, "--count", "2", "--timeout", "1h")
    waiting.wait_for("1\r\n")
    waiting.interrupt()
    assert waiting.end() == 130
    assert "Traceback" not in waiting.shown
    process("put", url, "2")
    assert process("get", url).stdout == "2\n"


def test_a_reader_that_has_seen_enough_is_no_error(url: str, run) -> None:
    """`unimq get ... | head -1`: nothing is complained about, and what nobody could read is back on the queue."""
    with unimq.Queue(url) as queue:
        queue.put_many(["x" * 10_000] * 100)
    command = f"set -o pipefail; {sys.executable} -m unimq.cli get '{url}' --count 100 | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)  # noqa: S603, S607
    assert (done.stdout.count("\n"), done.stderr, done.returncode) == (1, "", 0)
    assert json.loads(run("stats", url, "--json").stdout)["leased"] == 0
    assert ready(run, url) > 50


def test_any_text_can_be_printed(url: str) -> None:
    """Also where the output's encoding does not have it: it is escaped, the rest is as it was."""
    with unimq.Queue(url) as queue:
        queue.put("\u00e4\u2713")
    command = [sys.executable, "-m", "unimq.cli", "get", url]
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, check=True, env=environ)  # noqa: S603
    assert done.stdout == b"\xe4\\u2713\n"
