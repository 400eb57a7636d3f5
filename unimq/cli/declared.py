"""capabilities and diff: what a backend can do, as its driver declares it. Nothing is connected."""

import dataclasses
from typing import Any, Final, NamedTuple

import click
import msgspec

from unimq.capabilities import CAPABILITY_NAMES, Capabilities, Capability
from unimq.cli.arguments import json_option, two_urls, url_argument
from unimq.cli.show import known, note, print_json, print_table
from unimq.drivers import driver_of
from unimq.options import Settings
from unimq.url import URL

__all__ = ["COMMANDS"]

_PROMISES: Final = (
    "guarantee",
    "survives_process_death",
    "survives_host_loss",
    "survives_server_restart",
    "confirmed",
    "order",
    "nack_place",
    "lease_by",
    "counts",
    "crash_counted",
    "atomic_move",
    "priority_levels",
    "delay_step",
)
_UNITS: Final = {"delay_step": "s", "limits.delay": "s"} | dict.fromkeys(
    ("limits.body", "limits.name", "limits.headers"), "bytes"
)
_COLOURS: Final = {"native": "green", "layered": "green", "opt-in": "yellow", "opt-in, on": "green", "absent": "red"}
_MARKS: Final = {"lost": "bold red", "weaker": "yellow", "gained": "green"}
_RANKS: Final[dict[str, tuple[Any, ...]]] = {
    "guarantee": ("at-most-once", "kept-once-received", "at-least-once"),
    "order": ("none", "fifo-until-redelivery", "fifo"),
    **dict.fromkeys(("confirmed", "crash_counted", "atomic_move"), (False, True)),
    **dict.fromkeys(
        ("survives_process_death", "survives_host_loss", "survives_server_restart"), ("no", "unknown", "yes")
    ),
}
"""The values of a promise, the worst first. What is not here has an order of numbers, or none."""


class Change(NamedTuple):
    """What differs between two backends."""

    what: str
    before: str
    after: str
    change: str
    """`lost`, `weaker`, `gained`, or nothing where it is neither better nor worse."""
    note: str
    """What the second backend says of it."""


def _declared(url: str | None) -> tuple[URL, Capabilities]:
    """What is declared for a URL, whose options are checked; its client library need not be installed."""
    parsed = URL.parse(url)
    driver = driver_of(parsed)
    settings = Settings.read(parsed, driver.options)
    return parsed, driver.capabilities(parsed).over(len(parsed.hosts)).emulating(settings.emulate)


def _level(capability: Capability) -> str:
    return f"{capability.level}, on" if capability.enabled else capability.level


def _promises(found: Capabilities) -> dict[str, Any]:
    limits = {f"limits.{field.name}": getattr(found.limits, field.name) for field in dataclasses.fields(found.limits)}
    return {name: getattr(found, name) for name in _PROMISES} | limits


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none known" if name.startswith("limits.") else known(value)
    if isinstance(value, (int, float)):
        return f"{value:,.15g} {_UNITS.get(name, '')}".rstrip()
    return str(value)


@click.command(short_help="What a backend can do and promises.", epilog="Example: unimq capabilities sqlite:///jobs.db")
@url_argument
@json_option
def capabilities(url: str | None, *, as_json: bool) -> None:
    """Show what a backend can do, what it promises and its limits, as declared for URL; nothing is connected.

    Levels: native, the backend does it; layered, unimq does it with the full meaning; opt-in, unimq does it with a
    weaker promise where ?emulate= asks for it; absent, calling it is refused.
    """
    parsed, found = _declared(url)
    if as_json:
        print_json({"url": str(parsed), **msgspec.to_builtins(found, str_keys=True, order="deterministic")})
        return
    click.echo(f"{parsed}\n")
    rows = [(name, _level(found[name]), found[name].note) for name in CAPABILITY_NAMES]
    print_table(("capability", "level", "note"), rows, folds={"note"}, colours=_COLOURS)
    click.echo()
    print_table(("promise", "value"), [(name, _text(name, value)) for name, value in _promises(found).items()])


@click.command(
    short_help="What a move to another backend changes.",
    epilog="Example: unimq diff sqlite:///jobs.db 'memory://?profile=sqlite'",
)
@click.argument("url", required=False)
@click.argument("other", required=False)
@json_option
def diff(url: str | None, other: str | None, *, as_json: bool) -> None:
    """Show what changes for an application that moves from URL to OTHER; a single argument is OTHER.

    lost: what could be relied on can not. weaker: it holds less. gained: it is new, or holds more. Without a word it
    is different, and neither better nor worse.
    """
    (first, before), (second, after) = (_declared(one) for one in two_urls(url, other))
    changes = _changes(before, after)
    if as_json:
        print_json([change._asdict() for change in changes])
        return
    click.echo(f"{first} -> {second}\n")
    if changes:
        print_table(("what", "from", "to", "change", "note"), changes, folds={"note"}, colours=_MARKS)
        click.echo()
    marks = [change.change for change in changes]
    told = ", ".join(f"{marks.count(mark)} {mark}" for mark in _MARKS if mark in marks)
    note(told or ("nothing better or worse" if changes else "declared alike"))


def _changes(before: Capabilities, after: Capabilities) -> list[Change]:
    levels = [
        Change(name, _level(before[name]), _level(after[name]), _of_levels(before[name], after[name]), after[name].note)
        for name in CAPABILITY_NAMES
        if _level(before[name]) != _level(after[name])
    ]
    old, new = _promises(before), _promises(after)
    return levels + [
        Change(name, _text(name, old[name]), _text(name, new[name]), _of_promises(name, old[name], new[name]), "")
        for name in old
        if old[name] != new[name]
    ]


def _of_levels(before: Capability, after: Capability) -> str:
    if bool(before) != bool(after):
        return "gained" if after else "lost"
    if before.enabled != after.enabled:  # both can be used, and what is emulated promises less
        return "weaker" if after.enabled else "gained"
    return ""


def _of_promises(name: str, before: Any, after: Any) -> str:
    """How a value that differs compares with the one before."""
    if name == "counts":
        return "lost" if after is None else "gained" if before is None else ""
    if name in _RANKS:
        rank = _RANKS[name]
        if rank.index(after) > rank.index(before):
            return "gained"
        return "lost" if before == rank[-1] and (after == rank[0] or name.startswith("survives")) else "weaker"
    if name == "limits.name_characters" or isinstance(before or after, str):
        return ""
    low, high = _as_limit(before), _as_limit(after)
    return "gained" if (high > low) != (name == "delay_step") else "weaker"


def _as_limit(value: float | None) -> float:
    return float("inf") if value is None else value


COMMANDS = (capabilities, diff)
