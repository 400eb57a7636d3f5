"""capabilities, diff and check: what a backend can do, and whether it is there."""

import dataclasses
import time
import uuid
from collections.abc import Callable
from typing import Any

import click
import msgspec
from rich.markup import escape

import unimq
from unimq import registry
from unimq.capabilities import CAPABILITY_NAMES, Capabilities
from unimq.cli.show import FAILED, explain, json_option, out, print_json, table, url_argument_or_variable
from unimq.url import URL

__all__ = ["COMMANDS"]

_PROMISES = (
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
_COLOURS = {"native": "green", "layered": "green", "opt-in": "yellow", "absent": "red"}


def _declared(url: str) -> tuple[URL, Capabilities]:
    """What is declared for a URL; its client library need not be installed."""
    parsed = URL.parse(url)
    return parsed, registry.driver(parsed.scheme).capabilities(parsed)


@click.command(epilog="Example: unimq capabilities sqlite:///jobs.db")
@url_argument_or_variable
@json_option
def capabilities(url: str, as_json: bool) -> None:  # noqa: FBT001
    """Show what a backend can do, what it promises and its limits, as declared for URL; nothing is connected."""
    parsed, found = _declared(url)
    if as_json:
        print_json({"url": str(parsed), **msgspec.to_builtins(found, str_keys=True)})
        return
    console = out()
    shown = table("capability", "level", "note", title=escape(str(parsed)))
    for name in CAPABILITY_NAMES:
        one = found[name]
        shown.add_row(name, f"[{_COLOURS[one.level]}]{one.level}[/]", escape(one.note))
    console.print(shown)
    promises = table("promise", "value")
    for promise, value in _promises(found).items():
        promises.add_row(promise, escape(_text(value)))
    console.print()
    console.print(promises)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)


@click.command(epilog="Example: unimq diff sqlite:///jobs.db beanstalkd://localhost")
@click.argument("url")
@click.argument("other")
@json_option
def diff(url: str, other: str, as_json: bool) -> None:  # noqa: FBT001
    """Show what changes for an application that moves from URL to OTHER."""
    (first, before), (second, after) = _declared(url), _declared(other)
    changes = _changes(before, after)
    if as_json:
        print_json([{"what": w, "from": a, "to": b, "lost": lost} for w, a, b, lost in changes])
        return
    if not changes:
        click.echo(f"{first} and {second} are declared alike")
        return
    shown = table("what", "from", "to", "", title=f"{escape(str(first))} -> {escape(str(second))}")
    for what, old, new, lost in changes:
        shown.add_row(what, escape(old), escape(new), "[red]lost[/]" if lost else "")
    out().print(shown)


def _changes(before: Capabilities, after: Capabilities) -> list[tuple[str, str, str, bool]]:
    changes = [
        (name, before[name].level, after[name].level, bool(before[name]) and not after[name])
        for name in CAPABILITY_NAMES
        if before[name].level != after[name].level
    ]
    old, new = _promises(before), _promises(after)
    return changes + [(n, _text(old[n]), _text(new[n]), _is_loss(n, old[n], new[n])) for n in old if old[n] != new[n]]


def _promises(found: Capabilities) -> dict[str, Any]:
    limits = {f"limits.{field.name}": getattr(found.limits, field.name) for field in dataclasses.fields(found.limits)}
    return {name: getattr(found, name) for name in _PROMISES} | limits


def _is_loss(name: str, before: Any, after: Any) -> bool:
    """Whether the new value is certainly worse."""
    if name == "guarantee":
        return bool(after == "at-most-once")
    if name.startswith("survives"):
        return bool(before == "yes")
    if name == "order":
        return bool(after == "none")
    if name in {"confirmed", "crash_counted", "atomic_move"}:
        return bool(before)
    if name.startswith("limits.") and isinstance(after, (int, float)):
        return before is None or after < before
    return name == "priority_levels" and after < before


@click.command(epilog="Example: unimq check beanstalkd://localhost")
@url_argument_or_variable
@json_option
def check(url: str, as_json: bool) -> None:  # noqa: FBT001
    """Go the whole way to a backend, step by step: read the URL, connect, put, get and ack on a scratch queue.

    The scratch queue has a name of its own and is removed afterwards where the backend can.
    """
    report: list[dict[str, Any]] = []
    steps: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("read the URL", lambda state: _read(state, url)),
        ("connect and authenticate", _connect),
        ("ask the server", _ping),
        ("put", _put),
        ("get", _get),
        ("ack", _ack),
    ]
    state: dict[str, Any] = {}
    failed: unimq.UnimqError | None = None
    for name, step in steps:
        entry: dict[str, Any] = {"step": name, "ok": None, "ms": None, "said": "not run"}
        if failed is None:
            start = time.perf_counter()
            try:
                entry.update(said=step(state), ok=True)
            except unimq.UnimqError as error:
                entry.update(said=str(error), ok=False)
                failed = error
            entry["ms"] = round((time.perf_counter() - start) * 1e3, 2)
        report.append(entry)
        if not as_json:
            _print_step(entry)
    _clean(state)
    if as_json:
        print_json({"ok": failed is None, "steps": report})
    if failed is not None:
        raise click.exceptions.Exit(FAILED)


def _print_step(entry: dict[str, Any]) -> None:
    mark = {True: "[green]ok    [/]", False: "[red]failed[/]", None: "[dim]-     [/]"}[entry["ok"]]
    took = "" if entry["ms"] is None else f"{entry['ms']:.2f} ms"
    out().print(f"{mark}  {entry['step']:<25} {took:>12}  {escape(entry['said'])}")


def _read(state: dict[str, Any], url: str) -> str:
    state["client"] = client = unimq.connect(url)
    state["queue"] = client.queue(f"scratch-{uuid.uuid4().hex[:12]}", codec="json")
    return str(client.url)


def _connect(state: dict[str, Any]) -> str:
    state["client"].ping()
    return f"{len(state['client'].pool.hosts)} host(s)"


def _ping(state: dict[str, Any]) -> str:
    pong = state["client"].ping()
    return f"{pong.server}, round trip {pong.latency * 1e3:.2f} ms"


def _put(state: dict[str, Any]) -> str:
    receipt = state["queue"].put("unimq check")
    return "stored" if receipt.confirmed else "accepted"


def _get(state: dict[str, Any]) -> str:
    state["message"] = message = state["queue"].get(timeout=5)
    if message.body != "unimq check":
        msg = f"another body came back: {message.body!r}"
        raise unimq.ProtocolError(msg)
    return "the same body came back"


def _ack(state: dict[str, Any]) -> str:
    state["message"].ack()
    return "removed"


def _clean(state: dict[str, Any]) -> None:
    client = state.get("client")
    if client is None:
        return
    try:
        if client.pool.met and client.capabilities.delete:
            state["queue"].delete()
    except unimq.UnimqError as error:
        explain(error)
    client.close()


COMMANDS = (capabilities, diff, check)
