"""The command line as a person and a program meet it: real processes, files, pipes and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unimq

SECRET = "hunter2-correct-horse"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db?queue=mail"


def run(*arguments: str, stdin: str = "", code: int = 0, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run `unimq` and expect that exit code."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "unimq.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "COLUMNS": "120", **environ},
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def test_put_and_get_pass_a_message(url: str) -> None:
    """The id is printed by the one, the body by the other, and the queue is empty afterwards."""
    assert run("put", url, '{"to": "ada"}').stdout.strip()
    assert run("get", url).stdout == '{"to": "ada"}\n'
    empty = run("get", url, code=3)
    assert empty.stdout == ""
    assert "no message on mail" in empty.stderr


def test_put_takes_its_options_to_the_message(url: str) -> None:
    """Headers, priority, ttl and an own id."""
    options = ["--header", "a=b", "--header", "c=d=e", "--priority", "9", "--ttl", "1h", "--id", "own", "--json"]
    receipt = json.loads(run("put", url, "1", *options).stdout)
    assert receipt == {"id": "own", "queue": "mail", "confirmed": True}
    message = json.loads(run("get", url, "--json").stdout)
    assert (message["id"], message["priority"], message["body"]) == ("own", 9, 1)
    assert message["headers"] == {"a": "b", "c": "d=e"}
    assert message["expires_at"] > time.time() + 3000


def test_put_delays(url: str) -> None:
    """`--delay` takes a duration."""
    run("put", url, "1", "--delay", "5m")
    run("get", url, code=3)
    assert json.loads(run("stats", url, "--json").stdout)["delayed"] == 1


def test_put_reads_standard_input(url: str) -> None:
    """Without BODY, and with `-`."""
    run("put", url, stdin="[1, 2]")
    run("put", url, "-", stdin="3")
    assert run("get", url, "--count", "5").stdout == "[1, 2]\n3\n"


def test_put_reads_json_lines(url: str, tmp_path: Path) -> None:
    """One message for each line, blank ones left out."""
    lines = tmp_path / "jobs.jsonl"
    lines.write_text("\n".join(json.dumps({"n": n}) for n in range(250)) + "\n\n")
    assert "250 messages put on mail" in run("put", url, "--file", str(lines)).stderr
    assert json.loads(run("stats", url, "--json").stdout)["ready"] == 250


def test_a_bad_line_is_named_and_nothing_is_put(url: str, tmp_path: Path) -> None:
    """All lines are read before the first is sent."""
    lines = tmp_path / "jobs.jsonl"
    lines.write_text('{"n": 1}\nnot json\n')
    assert "line 2 is no JSON" in run("put", url, "--file", str(lines), code=2).stderr
    assert json.loads(run("stats", url, "--json").stdout)["ready"] == 0


def test_texts_and_bytes_travel_as_they_are(url: str) -> None:
    """With `--text`, and with the raw codec."""
    run("put", url, "hello", "--text")
    assert run("get", url).stdout == "hello\n"
    run("put", f"{url}&codec=raw", "bytes")
    assert json.loads(run("get", f"{url}&codec=raw", "--json").stdout)["body_base64"] == "Ynl0ZXM="


def test_what_cannot_be_decoded_is_shown_as_bytes(url: str) -> None:
    """And said."""
    run("put", f"{url}&codec=raw", "no json")
    peeked = run("peek", url)
    assert peeked.stdout == "no json\n"
    assert "cannot be decoded" in peeked.stderr


def test_keep_gives_the_messages_back(url: str) -> None:
    """They are printed and still there."""
    run("put", url, "1")
    run("put", url, "2")
    assert run("get", url, "--keep", "--count", "5").stdout == "1\n2\n"
    assert run("peek", url, "--count", "5").stdout == "1\n2\n"


def test_stats_and_queues_are_tables_for_people(url: str, tmp_path: Path) -> None:
    """With a head; an empty queue has no age."""
    run("put", url, "1")
    head, row = run("stats", url).stdout.splitlines()
    assert head.split() == ["queue", "ready", "delayed", "leased", "oldest"]
    assert row.split()[:4] == ["mail", "1", "0", "0"]
    assert run("queues", f"sqlite:///{tmp_path}/jobs.db").stdout == "mail\n"
    assert json.loads(run("queues", f"sqlite:///{tmp_path}/jobs.db", "--json").stdout) == ["mail"]


def test_purge_asks_first(url: str) -> None:
    """No removes nothing, --yes does not ask."""
    run("put", url, "1")
    run("purge", url, stdin="n\n", code=130)
    assert "1 messages removed" in run("purge", url, stdin="y\n").stdout
    assert json.loads(run("purge", url, "--yes", "--json").stdout) == {"purged": 0}


def test_dead_letters_are_shown_put_back_and_removed(url: str) -> None:
    """With their reasons."""
    with unimq.Queue(url) as queue:
        queue.put_many([1, 2])
        for message in queue.get_many(2, timeout=0):
            message.reject("no good")
    shown = run("dead", "list", url).stdout
    assert shown.count("no good") == 2
    listed = [json.loads(line) for line in run("dead", "list", url, "--json").stdout.splitlines()]
    assert [one["body"] for one in listed] == [1, 2]
    assert "1 messages put back" in run("dead", "redrive", url, "--limit", "1").stdout
    assert json.loads(run("dead", "purge", url, "--yes", "--json").stdout) == {"purged": 1}
    assert "no dead letters" in run("dead", "list", url).stderr


def test_capabilities_are_shown_without_connecting(tmp_path: Path) -> None:
    """Levels with their notes, promises and limits."""
    text = run("capabilities", f"sqlite:///{tmp_path}/none.db").stdout
    assert "delay" in text
    assert "at-least-once" in text
    assert "limits.body" in text
    data = json.loads(run("capabilities", "memory://", "--json").stdout)
    assert data["outbox"]["level"] == "absent"
    assert data["guarantee"] == "at-least-once"
    assert list(tmp_path.iterdir()) == []


def test_diff_names_what_is_lost() -> None:
    """Moving from a file to memory."""
    text = run("diff", "sqlite:///x.db", "memory://").stdout
    (line,) = [line for line in text.splitlines() if line.startswith("survives_process_death")]
    assert line.split() == ["survives_process_death", "yes", "no", "lost"]
    changes = json.loads(run("diff", "sqlite:///x.db", "memory://", "--json").stdout)
    assert {"what": "outbox", "from": "native", "to": "absent", "lost": True} in changes
    assert "alike" in run("diff", "memory://a", "memory://b").stdout


def test_check_goes_all_the_way_and_leaves_nothing(tmp_path: Path) -> None:
    """Every step is shown."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    lines = run("check", url).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 6
    assert "SQLite 3." in lines[2]
    assert run("queues", url).stdout == ""


def test_check_stops_at_the_first_failure() -> None:
    """What was not run is shown as not run."""
    done = run("check", "sqlite:////no/such/folder/jobs.db", code=1)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok", "failed", "-", "-", "-", "-"]
    assert "does not exist" in done.stdout
    report = json.loads(run("check", "sqlite:////no/such/folder/jobs.db", "--json", code=1).stdout)
    assert [step["ok"] for step in report["steps"]] == [True, False, None, None, None, None]


def test_bench_measures_and_leaves_nothing(tmp_path: Path) -> None:
    """Four operations, each with a speed and latencies."""
    url = f"sqlite:///{tmp_path}/jobs.db?durability=normal"
    data = json.loads(run("bench", url, "--messages", "200", "--json").stdout)
    assert len(data["results"]) == 4
    assert all(0 < one["p50_us"] <= one["p99_us"] and one["per_second"] > 0 for one in data["results"].values())
    assert "messages/s" in run("bench", url, "--messages", "100").stdout
    assert run("queues", url).stdout == ""


def test_the_url_may_come_from_the_environment(url: str) -> None:
    """Where a command needs nothing else."""
    run("put", url, "1")
    assert run("get", UNIMQ_URL=url).stdout == "1\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "sqlit:///x.db?queue=a"], "did you mean 'sqlite'"),
        (["get", "sqlite:///x.db?queue=a&lese=3s"], "did you mean 'lease'"),
        (["get", "sqlite:///x.db?queue=a&lease=soon"], "must be a duration"),
        (["get", "sqlite:///x.db"], "no queue is named"),
        (["get", "memory:///a", "--timeout", "soon"], "must be a duration"),
        (["put", "memory:///a", "no json"], "use --text"),
        (["put", "memory:///a", "1", "--header", "x"], "key=value"),
        (["put", "memory:///a", "1", "--file", os.devnull], "leave BODY"),
        (["put", "memory:///a", "1", "--priority", "10"], "0<=x<=9"),
        (["get"], "Missing argument"),
        (["git"], "No such command"),
    ],
)
def test_a_mistake_is_explained_in_a_line(arguments: list[str], said: str) -> None:
    """Exit code 2, no traceback, and what to do."""
    assert said in run(*arguments, code=2, UNIMQ_URL="").stderr


@pytest.mark.parametrize(
    "url",
    [
        f"sqlit://ada:{SECRET}@host/jobs",
        f"memory://ada:{SECRET}@host/jobs?nonsense=1",
        f"memory://ada:{SECRET}@host:port/jobs",
        f"memory://ada:{SECRET}#x@host/jobs",
        f"memory://ada:{SECRET}@host/jobs?profile=none",
    ],
)
def test_no_password_is_ever_shown(url: str) -> None:
    """Neither on success nor in any error, nor with the traceback that was asked for."""
    for arguments in (["get", url], ["check", url], ["capabilities", url]):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "unimq.cli", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "UNIMQ_DEBUG": "1"},
        )
        assert SECRET not in done.stdout + done.stderr


def test_an_interrupt_is_quiet(url: str) -> None:
    """Ctrl-C while waiting: 130, no traceback, and the queue stays usable."""
    command = [sys.executable, "-m", "unimq.cli", "get", url, "--timeout", "1h"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in errors
    run("put", url, "1")
    assert run("get", url).stdout == "1\n"


def test_a_reader_that_has_seen_enough_is_no_error(url: str) -> None:
    """`unimq get ... | head -1`: what was printed is acked, the rest stays."""
    with unimq.Queue(url) as queue:
        queue.put_many(["x" * 1000] * 200)
    command = f"{sys.executable} -m unimq.cli get '{url}' --count 200 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_missing_packages_are_named() -> None:
    """Without click the command line says what to install."""
    code = "import sys; sys.modules['click'] = None; from unimq.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 1
    assert "pip install 'unimq[cli]'" in done.stderr


def test_every_command_has_a_help_with_an_example() -> None:
    """And the group explains the exit codes."""
    top = run("--help").stdout
    assert "Exit codes: 0 done" in top
    for command in ("bench", "capabilities", "check", "diff", "get", "peek", "purge", "put", "queues", "stats"):
        assert "Example: unimq " in run(command, "--help").stdout
    for command in ("list", "redrive", "purge"):
        assert "Example: unimq dead" in run("dead", command, "--help").stdout
    assert run("--version").stdout == f"unimq {unimq.__version__}\n"
