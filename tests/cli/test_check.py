"""check and bench: the whole way, each step that can fail, and nothing left behind."""

import json
import socket
from pathlib import Path

import pytest

import unimq
from unimq.capabilities import absent

STEPS = [
    "read the URL",
    "find the host",
    "connect",
    "authenticate",
    "ask for the version",
    "measure the latency",
    "put",
    "get",
    "ack",
    "remove the queue",
]


def failing(run, url: str) -> tuple[str, str]:
    """The one step that fails, and what it says; those before it went well, those after it were not run."""
    report = json.loads(run("check", url, "--json", code=1).stdout)
    assert [step["step"] for step in report["steps"]] == STEPS
    states = [step["state"] for step in report["steps"]]
    number = states.index("failed")
    assert states == ["ok"] * number + ["failed"] + ["not run"] * (len(STEPS) - number - 1)
    assert report["ok"] is False
    return report["steps"][number]["step"], report["steps"][number]["said"]


def raising(error: Exception):
    """A method that raises `error`."""

    def method(*_arguments, **_options):
        raise error

    return method


def test_check_goes_all_the_way_and_leaves_nothing(run, tmp_path: Path) -> None:
    """Every step is shown, with its time."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    done = run("check", url)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(STEPS)
    assert all(f" {step} " in line and "s  " in line for step, line in zip(STEPS, lines, strict=True))
    assert "SQLite 3." in lines[4]
    assert run("queues", url).stdout == ""
    assert json.loads(run("check", url, "--json").stdout)["ok"] is True


def test_check_stops_at_the_first_failure(run) -> None:
    """What was not run is shown as not run."""
    done = run("check", "sqlite:////no/such/folder/jobs.db", code=1)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok", "ok", "failed"] + ["not"] * 7
    assert "does not exist" in done.stdout


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlit:///x.db", "did you mean 'sqlite'"),
        ("memory://?lese=3", "did you mean 'lease'"),
        ("memory://?require=outbox", "outbox is absent"),
        ("odd://x", "pip install odd"),
    ],
)
def test_a_url_that_cannot_be_used_fails_the_first_step(run, odd, url: str, said: str) -> None:
    """Its options, requirements and library are looked at before anything is connected."""
    odd.library = "no_such_library"
    step, text = failing(run, url)
    assert (step, said in text) == ("read the URL", True)


def test_a_missing_url_is_a_usage_error(run) -> None:
    """As everywhere."""
    assert "a URL is missing" in run("check", code=2).stderr


def test_a_host_that_is_not_found_is_told_from_one_that_does_not_answer(run, odd, monkeypatch) -> None:
    """Names are looked up where the backend is on the network."""
    odd.library = "json"
    monkeypatch.setattr(socket, "getaddrinfo", raising(socket.gaierror(-2, "Name or service not known")))
    assert failing(run, "odd://nowhere:1/x") == (
        "find the host",
        "the host 'nowhere' was not found: [Errno -2] Name or service not known",
    )
    assert run("check", "odd+unix:///tmp/sock").stdout.splitlines()[1].endswith("there is none to look up")


def test_found_addresses_are_shown(run, odd) -> None:
    """An address is its own name."""
    odd.library = "json"
    assert "127.0.0.1 is 127.0.0.1" in run("check", "odd://127.0.0.1:1/x").stdout


def test_a_server_that_does_not_answer_fails_the_connect(run, odd) -> None:
    """With the driver's words."""
    odd.refuses = unimq.ConnectError("odd://x: nobody listens: start the server")
    assert failing(run, "odd://x") == ("connect", "odd://x: nobody listens: start the server")


def test_refused_credentials_are_a_step_of_their_own(run, odd) -> None:
    """The server was reached."""
    odd.refuses = unimq.AuthenticationFailed("odd://ada:***@x: the server refused the user 'ada'")
    step, said = failing(run, "odd://ada:secret@x")
    assert (step, "refused the user" in said, "secret" in said) == ("authenticate", True, False)


def test_the_user_and_the_hosts_are_named(run, odd) -> None:
    """Who was let in, and how many servers were met."""
    shown = run("check", "odd://ada:secret@x,y/q").stdout
    assert "as ada\n" in shown
    assert "2 hosts connected" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("method", "step"), [("send", "put"), ("ack", "ack"), ("receive", "get"), ("delete", "remove the queue")]
)
def test_each_refusal_is_shown_at_its_step(run, odd, method: str, step: str) -> None:
    """And the scratch queue is removed all the same, where that is possible."""
    odd.methods[method] = raising(unimq.ServerError("the server said no"))
    assert failing(run, "odd://x") == (step, "the server said no")
    odd.methods.clear()
    assert run("queues", "odd://x").stdout == "" or method == "delete"


def test_a_scratch_queue_that_is_left_is_named(run, odd) -> None:
    """When it cannot be removed after a failure."""
    odd.methods = {name: raising(unimq.ServerError("the server said no")) for name in ("ack", "delete")}
    left = run("check", "odd://x", code=1).stderr
    assert "the scratch queue scratch-" in left
    assert "is left: the server said no" in left


def test_a_message_that_does_not_come_back_is_no_empty_queue(run, odd, monkeypatch) -> None:
    """It is a failure of the backend."""
    monkeypatch.setattr("unimq.cli.check._PATIENCE", 0.05)
    monkeypatch.setattr("unimq.cli.bench._PATIENCE", 0.05)
    odd.methods["receive"] = lambda session, queues, limit, lease, deadline, *, ahead=False: []
    assert failing(run, "odd://x") == ("get", "the message that was put did not come back in 0.05 s")
    assert "did not come back in 0.05 s" in run("bench", "odd://x", "--messages", "1", code=1).stderr
    odd.methods.clear()
    assert run("queues", "odd://x").stdout == ""


def test_another_body_is_noticed(run, odd) -> None:
    """A backend that changes what it holds."""

    def send(session, queue, messages, deadline):
        return session.send(queue, [type(m)(body=b'"other"') for m in messages], deadline)

    odd.methods["send"] = send
    assert failing(run, "odd://x") == ("get", "another body came back: 'other'")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"delete": absent()}, "emptied; the backend removes no queues: scratch-"),
        ({"delete": absent(), "purge": absent()}, "the backend cannot remove it: scratch-"),
    ],
)
def test_what_stays_is_named(run, odd, changed: dict[str, object], said: str) -> None:
    """Where a backend cannot remove a queue."""
    odd.changed = changed
    assert said in run("check", "odd://x").stdout


def test_puts_that_are_only_accepted_are_told(run, odd) -> None:
    """A put without a confirmation."""
    odd.changed = {"confirmed": False}
    assert "accepted, not confirmed" in run("check", "odd://x").stdout


def test_bench_measures_and_leaves_nothing(run, tmp_path: Path) -> None:
    """Four operations for each size, each with a speed and latencies."""
    url = f"sqlite:///{tmp_path}/jobs.db?durability=normal"
    data = json.loads(run("bench", url, "--messages", "150", "--size", "0", "--size", "1000", "--json").stdout)
    assert [(one["operation"], one["size"]) for one in data["results"]] == [
        (operation, size)
        for size in (0, 1000)
        for operation in ("put", "get and ack", "put_many of 100", "get_many of 100 and ack")
    ]
    assert all(0 < one["p50"] <= one["p99"] and one["per_second"] > 0 for one in data["results"])
    assert run("bench", url, "--messages", "1").stdout.splitlines()[2].split()[:2] == ["operation", "bytes"]
    assert run("queues", url).stdout == ""


def test_bench_is_bounded(run) -> None:
    """A typing error does not fill a disk."""
    assert "more than 1 GiB" in run("bench", "memory://", "--messages", "1000000", "--size", "2000", code=2).stderr


def test_bench_removes_its_queue_after_a_failure(run, odd) -> None:
    """And after an interrupt."""
    odd.methods["ack"] = raising(unimq.ServerError("the server said no"))
    assert "the server said no" in run("bench", "odd://x", code=1).stderr
    odd.methods["ack"] = raising(KeyboardInterrupt())
    run("bench", "odd://x", code=130)
    odd.methods.clear()
    assert run("queues", "odd://x").stdout == ""
