"""export and import: a queue in a file and back, for people and scripts."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unimq

COMMAND = [sys.executable, "-m", "unimq.cli", "export"]


def test_there_and_back(run, here: str, url: str, tmp_path: Path) -> None:
    """By a pipe and by a file; looking takes nothing, --take does."""
    run("put", here, "1", "--id", "one", "--header", "k=v", "--priority", "7")
    run("put", here, "2", "--id", "two")
    copied = run("export", here)
    assert "2 messages copied from mail" in copied.stderr
    assert run("export", here, "--take", "--limit", "1").stdout == copied.stdout.splitlines(keepends=True)[0]
    assert json.loads(run("stats", here, "--json").stdout)["ready"] == 1
    put = run("import", url, stdin=copied.stdout)
    assert "2 messages put on mail" in put.stderr
    assert "was not there, and was made" in put.stderr
    file = tmp_path / "mail.jsonl"
    file.write_text(copied.stdout)
    assert json.loads(run("import", url, "--queue", "post", "--file", str(file), "--json").stdout) == {
        "put": 2,
        "queue": "post",
    }
    first, second = (json.loads(one) for one in run("get", url, "-q", "post", "-n", "2", "--json").stdout.splitlines())
    assert (first["id"], first["headers"], first["priority"], second["id"]) == ("one", {"k": "v"}, 7, "two")


def test_what_is_wrong_is_told(run, here: str, odd) -> None:
    """And what stays makes it fail."""
    assert "line 1: this is no exported message" in run("import", here, stdin="1\n", code=2).stderr
    assert "no queue is named" in run("import", "memory://", stdin="1\n", code=2).stderr
    run("put", here, "2", "--delay", "5m")
    assert "1 not due yet" in run("export", here, code=2).stderr
    assert run("export", here, "--leave-delayed").stdout == ""
    odd.methods["send"] = lambda *_: [unimq.ConnectionLost("gone", in_doubt=True)]
    line = '{"body": "1", "encoding": "utf-8"}\n'
    assert "not (1 in doubt) lines 1 and none after" in run("import", "odd://x/mail", stdin=line, code=1).stderr


def test_a_typo_makes_no_file(run, tmp_path: Path) -> None:
    """An export says that there is none."""
    assert "there is no sqlite store" in run("export", f"sqlite:///{tmp_path}/typo.db?queue=a", code=1).stderr
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal(terminal, url: str) -> None:
    """Lines are not mixed with a bar, control characters arrive escaped, and an import does not wait for typing."""
    with unimq.Queue(f"{url}&codec=text") as queue:
        queue.put("\x1b[2J\x9b2J")
    shown = terminal("export", f"{url}&codec=text")
    assert shown.end() == 0
    assert "\\u001b[2J\\u009b2J" in shown.shown
    assert "\x1b" not in shown.shown
    asked = terminal("import", url)
    assert asked.end() == 2
    assert "pipe them in, or use --file" in asked.shown


@pytest.mark.slow
def test_a_kill_of_one_that_takes_loses_nothing(url: str, tmp_path: Path) -> None:
    """kill -9 in the middle, and the rest appended: each message is in the file, whole, at least once."""
    file = tmp_path / "mail.jsonl"
    with unimq.Queue(f"{url}&durability=normal", lease=1) as queue:
        ids = {receipt.id for receipt in queue.put_many(range(2000))}
        for kill in (1, 2, 3):
            with file.open("ab") as lines:
                taking = subprocess.Popen([*COMMAND, f"{url}&lease=1s", "--take"], stdout=lines)  # noqa: S603
            while queue.size() > 2000 - 500 * kill and taking.poll() is None:
                time.sleep(0.001)
            taking.kill()
            assert taking.wait(20) == -9
            assert queue.size() > 0
        while (left := queue.stats()).ready or left.leased:
            with file.open("ab") as lines:
                command = [*COMMAND, f"{url}&lease=1s", "--take"]
                assert subprocess.run(command, stdout=lines, check=False).returncode == 0  # noqa: S603
    whole = [line for line in file.read_bytes().splitlines() if line.endswith(b"}")]
    found = [json.loads(line)["id"] for line in whole]
    assert set(found) == ids
    assert len(found) <= len(ids) + 100 * 3
