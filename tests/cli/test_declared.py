"""capabilities and diff: what is declared, without a connection."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from unimq.capabilities import CAPABILITY_NAMES, Limits, absent, layered, native, opt_in


def test_capabilities_are_shown_without_connecting(run, tmp_path: Path) -> None:
    """Levels with their notes, promises and limits; no file is made."""
    text = run("capabilities", f"sqlite:///{tmp_path}/none.db").stdout
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert set(CAPABILITY_NAMES) <= set(lines)
    assert lines["outbox"].split(None, 2)[1:] == [
        "native",
        "`unimq_sqlite.put` in the transaction of your own connection",
    ]
    assert lines["guarantee"].split() == ["guarantee", "at-least-once"]
    assert lines["confirmed"].split() == ["confirmed", "yes"]
    assert lines["limits.body"].split(None, 1)[1] == "500,000,000 bytes"
    assert lines["limits.delay"].split(None, 1)[1] == "none known"
    assert list(tmp_path.iterdir()) == []


def test_capabilities_for_a_program(run) -> None:
    """The whole data."""
    data = json.loads(run("capabilities", "memory://", "--json").stdout)
    assert data["url"] == "memory://"
    assert data["outbox"]["level"] == "absent"
    assert data["guarantee"] == "at-least-once"
    assert data["limits"]["name"] == 200


def test_what_is_emulated_is_shown_as_on(run, odd) -> None:
    """What the URL asks for is part of the answer."""
    odd.changed = {"delay": opt_in("in this process")}
    assert "delay           opt-in  " in run("capabilities", "odd://x").stdout
    assert "delay           opt-in, on  in this process" in run("capabilities", "odd://x?emulate=delay").stdout


def test_the_library_need_not_be_there(run, odd) -> None:
    """What is declared is data."""
    odd.library = "no_such_library"
    assert "guarantee" in run("capabilities", "odd://x").stdout
    assert "pip install odd" in run("get", "odd://x/a", code=2).stderr


def test_a_wrong_option_is_refused(run) -> None:
    """As by a queue."""
    assert "did you mean 'lease'" in run("capabilities", "memory://?lese=3", code=2).stderr


def test_diff_names_what_is_lost(run) -> None:
    """Moving from a file to memory."""
    done = run("diff", "sqlite:///x.db", "memory://")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["survives_process_death", "yes", "no", "lost"] in rows
    assert done.stderr.strip() == "4 lost, 1 weaker, 2 gained"
    changes = json.loads(run("diff", "sqlite:///x.db", "memory://", "--json").stdout)
    (outbox,) = [change for change in changes if change["what"] == "outbox"]
    assert outbox.pop("note")
    assert outbox == {"what": "outbox", "before": "native", "after": "absent", "change": "lost"}


def test_diff_of_what_is_alike(run) -> None:
    """Nothing changes."""
    done = run("diff", "memory://a", "memory://b")
    assert (done.stdout, done.stderr) == ("memory://a -> memory://b\n\n", "declared alike\n")


def test_diff_takes_its_first_url_from_the_environment(run) -> None:
    """The one that is given is where to."""
    assert run("diff", "memory://b", UNIMQ_URL="memory://a").stdout == "memory://a -> memory://b\n\n"
    assert "diff takes two URLs, and one was given" in run("diff", "memory://b", code=2).stderr
    assert "the URL to move to is missing" in run("diff", code=2).stderr


@pytest.mark.parametrize(
    ("changed", "row"),
    [
        ({"peek": absent("no")}, ["peek", "native", "absent", "lost", "no"]),
        ({"peek": layered()}, ["peek", "native", "layered", "", ""]),
        ({"peek": opt_in("less")}, ["peek", "native", "opt-in", "lost", "less"]),
        ({"peek": replace(opt_in("less"), enabled=True)}, ["peek", "native", "opt-in, on", "weaker", "less"]),
        ({"outbox": native()}, ["outbox", "absent", "native", "gained", ""]),
        ({"guarantee": "at-most-once"}, ["guarantee", "at-least-once", "at-most-once", "lost", ""]),
        ({"order": "none"}, ["order", "fifo-until-redelivery", "none", "weaker", ""]),
        ({"order": "fifo"}, ["order", "fifo-until-redelivery", "fifo", "gained", ""]),
        ({"survives_process_death": "unknown"}, ["survives_process_death", "no", "unknown", "gained", ""]),
        ({"confirmed": False}, ["confirmed", "yes", "no", "lost", ""]),
        ({"counts": None}, ["counts", "fetches", "unknown", "lost", ""]),
        ({"counts": "nacks"}, ["counts", "fetches", "nacks", "", ""]),
        ({"priority_levels": 3}, ["priority_levels", "10", "3", "weaker", ""]),
        ({"delay_step": 1.0}, ["delay_step", "0 s", "1 s", "weaker", ""]),
        ({"lease_by": "put"}, ["lease_by", "get", "put", "", ""]),
    ],
)
def test_every_kind_of_change_is_weighed(run, odd, changed: dict[str, object], row: list[str]) -> None:
    """Lost, weaker, gained, or only different."""
    odd.changed = changed
    (change,) = json.loads(run("diff", "memory://", "odd://x", "--json").stdout)
    assert list(change.values()) == row


def test_the_way_back_is_weighed_the_other_way(run, odd) -> None:
    """What was lost is gained."""
    odd.changed = {"counts": None, "confirmed": False, "peek": replace(opt_in("less"), enabled=True)}
    changes = json.loads(run("diff", "odd://x", "memory://", "--json").stdout)
    assert {change["what"]: change["change"] for change in changes} == dict.fromkeys(
        ("counts", "confirmed", "peek"), "gained"
    )


def test_limits_are_weighed(run, odd) -> None:
    """None known is the most; a set of characters is only different."""
    odd.changed = {"limits": Limits(body=1000, name=300, name_characters="[a]", delay=10.5)}
    changes = {c["what"]: c for c in json.loads(run("diff", "memory://", "odd://x", "--json").stdout)}
    assert changes["limits.body"]["change"] == "weaker"
    assert changes["limits.name"]["change"] == "gained"
    assert changes["limits.name_characters"]["change"] == ""
    assert (changes["limits.delay"]["before"], changes["limits.delay"]["after"]) == ("none known", "10.5 s")


def test_what_only_differs_is_said(run, odd) -> None:
    """Neither better nor worse."""
    odd.changed = {"lease_by": "put"}
    assert run("diff", "memory://", "odd://x").stderr == "nothing better or worse\n"
