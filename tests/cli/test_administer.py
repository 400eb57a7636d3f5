"""stats, queues and purge."""

import json

import pytest

from unimq.capabilities import absent
from unimq.driver import Stats


def test_stats_are_a_table_for_people(run, here: str) -> None:
    """With a head; numbers stand right."""
    run("put", here, "1")
    head, row = run("stats", here).stdout.splitlines()
    assert head.split() == ["queue", "ready", "delayed", "leased", "oldest"]
    assert row.split()[:4] == ["mail", "1", "0", "0"]
    assert row.index("1") == head.index("ready") + 4
    assert json.loads(run("stats", here, "--json").stdout)["queue"] == "mail"


def test_unknown_figures_are_not_zero(run, odd) -> None:
    """What the backend does not know, and how well it knows the rest, is said."""
    odd.methods["stats"] = lambda *_: Stats(ready=3, approximate=True)
    done = run("stats", "odd://x/mail")
    assert done.stdout.splitlines()[1].split() == ["mail", "3", "unknown", "unknown", "-"]
    assert "approximate" in done.stderr


def test_queues_are_listed(run, here: str) -> None:
    """One on each line."""
    host = here.removesuffix("/mail")
    for name in ("b", "a"):
        run("put", host, "1", "--queue", name)
    assert run("queues", host).stdout == "a\nb\n"
    assert json.loads(run("queues", host, "--json").stdout) == ["a", "b"]


def test_purge_removes_what_waits(run, here: str) -> None:
    """And says how much."""
    run("put", here, "1")
    assert run("purge", here, "--yes").stdout == "1 message removed from mail\n"
    assert json.loads(run("purge", here, "-y", "--json").stdout) == {"purged": 0, "queue": "mail"}


def test_purge_without_a_terminal_wants_yes(run, here: str) -> None:
    """What a script does must be said by the script."""
    run("put", here, "1")
    for command in (["purge"], ["dead", "purge"]):
        assert "add --yes" in run(*command, here, stdin="y\n", code=2).stderr
    assert json.loads(run("stats", here, "--json").stdout)["ready"] == 1


def test_purge_asks_on_a_terminal(terminal, run, url: str) -> None:
    """It says what and where; no, and Ctrl-C, remove nothing."""
    run("put", url, "1")
    asked = terminal("purge", url)
    asked.wait_for("Remove 1 message waiting on mail of sqlite://")
    asked.type("n\n")
    assert asked.end() == 1
    assert "nothing was removed" in asked.shown
    asked = terminal("purge", url)
    asked.wait_for("[y/N]")
    asked.interrupt()
    assert asked.end() == 130
    assert json.loads(run("stats", url, "--json").stdout)["ready"] == 1
    asked = terminal("purge", url)
    asked.wait_for("[y/N]")
    asked.type("y\n")
    assert asked.end() == 0
    assert "1 message removed from mail" in asked.shown


def test_what_cannot_be_purged_is_not_asked_for(run, odd) -> None:
    """It is refused, with exit code 2."""
    odd.changed = {"purge": absent("delete it instead")}
    assert "purge" in run("purge", "odd://x/mail", "--yes", code=2).stderr


@pytest.mark.parametrize(
    "command", [["get"], ["peek"], ["stats"], ["queues"], ["purge", "--yes"], ["dead", "list"], ["dead", "redrive"]]
)
def test_a_typo_makes_no_file(run, tmp_path, command: list[str]) -> None:
    """Looking and removing say that there is none; a put makes it."""
    url = f"sqlite:///{tmp_path}/typo.db?queue=mail"
    assert "there is no sqlite store" in run(*command, url, code=1).stderr
    assert list(tmp_path.iterdir()) == []
    run("put", url, "1")
    assert run("get", url).stdout == "1\n"
