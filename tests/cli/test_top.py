"""top: counts of queues, for a terminal and for programs."""

import json
from typing import Any

import pytest

import unimq
from unimq.capabilities import absent
from unimq.driver import Stats

UNKNOWN = dict.fromkeys(("ready", "leased", "delayed", "dead", "change", "oldest"))


def fill(url: str) -> None:
    """Two ready, one delayed, one dead, one in the hands of a consumer who goes away."""
    with unimq.Queue(url) as queue:
        queue.put_many(range(4))
        queue.put("later", delay=600)
        queue.get(timeout=0).reject()
        queue.get(timeout=0)


def looked(run: Any, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """The objects that it prints, without their times."""
    lines = run("top", *arguments, "--json", code=code).stdout.splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "at"} for line in lines]


def test_one_look_without_a_terminal(run, url: str) -> None:
    """A table; how fast it changes is not known after one."""
    fill(url)
    head, row = run("top", url).stdout.splitlines()
    assert head.split() == ["queue", "ready", "leased", "delayed", "dead", "change/s", "oldest"]
    assert row.split()[:6] == ["mail", "2", "1", "1", "1", "unknown"]


def test_all_queues_where_none_is_named(run, here: str) -> None:
    """Those of their dead letters stand beside their queues."""
    host = here.removesuffix("/mail")
    fill(here)
    run("put", host, "1", "--queue", "other")
    run("put", host, "1", "--queue", "walking.dead")
    assert [(one["queue"], one["dead"]) for one in looked(run, host)] == [
        ("mail", 1),
        ("other", 0),
        ("walking.dead", 0),
    ]
    assert [one["queue"] for one in looked(run, host, "--queue", "other")] == ["other"]


def test_the_change_is_what_came_less_what_went(run, odd) -> None:
    """Since the look before; messages that were only taken have not gone."""
    figures = iter([Stats(10, 0, 0), Stats(), Stats(4, 0, 16), Stats(), Stats(0, 0, 0), Stats()])
    odd.methods["stats"] = lambda *_: next(figures)
    first, second, third = looked(run, "odd://x/mail", "-n", "3", "--interval", "50ms")
    assert first["change"] is None
    assert 0 < second["change"] <= 200
    assert -400 <= third["change"] < 0
    assert first["dead"] is None


@pytest.mark.parametrize("pair", [(Stats(ready=3), Stats(3, 1, 1)), (Stats(3, 1, 1), Stats(3)), (Stats(3), Stats())])
def test_what_is_unknown_is_no_zero(run, odd, pair: tuple[Stats, Stats]) -> None:
    """Nor is there a change, where what is counted was not counted before."""
    figures = iter([pair[0], Stats(), pair[1], Stats()])
    odd.methods["stats"] = lambda *_: next(figures)
    _, second = looked(run, "odd://x/mail", "-n", "2", "--interval", "10ms")
    assert second["change"] is None
    assert second["leased"] == pair[1].leased
    odd.methods["stats"] = lambda *_: Stats(ready=3)
    odd.changed = {"dead_letters": absent()}
    assert run("top", "odd://x/mail").stdout.splitlines()[1].split() == ["mail", "3", *["unknown"] * 5]


def test_an_outage_is_told_and_does_not_end_it(run, odd) -> None:
    """Nothing is known meanwhile; at the first look it is an error."""
    calls = []

    def stats(*_: Any) -> Stats:
        calls.append(1)
        if len(calls) == 3:
            msg = "gone"
            raise unimq.ServerError(msg)
        return Stats(5, 0, 0)

    odd.methods["stats"] = stats
    done = run("top", "odd://x/mail", "-n", "3", "--interval", "10ms", "--json")
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert {**second, **UNKNOWN} == second
    assert (first["ready"], third["ready"], third["change"]) == (5, 5, None)
    assert done.stderr == "gone\n"
    calls[:] = [1, 1]
    assert "gone" in run("top", "odd://x/mail", code=1).stderr


def test_what_cannot_be_counted_is_refused(run, odd, tmp_path) -> None:
    """Before anything is shown; and a typo makes no file."""
    odd.changed = {"stats": absent("it does not count")}
    assert "stats is absent" in run("top", "odd://x/mail", code=2).stderr
    assert "there is no sqlite store" in run("top", f"sqlite:///{tmp_path}/typo.db", code=1).stderr
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_it_goes_on_until_it_is_interrupted(terminal, run, url: str) -> None:
    """In place, with what changed meanwhile; the last table is left, and the cursor is back."""
    fill(url)
    shown = terminal("top", url, "--interval", "100ms", NO_COLOR="1")
    shown.wait_for("mail       2       1        1     1")
    run("put", url, "1")
    shown.wait_for("mail       3       1        1     1")
    shown.interrupt()
    assert shown.end() == 130
    assert "Traceback" not in shown.shown
    assert shown.shown.rindex("\x1b[?25h") > shown.shown.rindex("\x1b[?25l")


def test_a_name_cannot_play_with_the_terminal(terminal, tmp_path) -> None:
    """As in every table."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    with unimq.Queue(url, name="a\u009b2Jb") as queue:
        queue.put(1)
    shown = terminal("top", url, "-n", "1", NO_COLOR="1")
    assert shown.end() == 0
    assert "a\\x9b2Jb" in shown.shown
    assert "\u009b" not in shown.shown
