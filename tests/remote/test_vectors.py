"""The frames that the page about the remote protocol promises are read, and mean what it says."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from unimq.driver import Delivery, Outgoing, Stats
from unimq.remote import frames

ROOT = Path(__file__).parent.parent.parent
VECTORS: dict[str, list[dict[str, Any]]] = json.loads((ROOT / "tests/vectors/remote.json").read_text("utf-8"))
HELD = frames.Held("jobs", b"\x01\x02", "m-1")
FULL = Outgoing(b"b", {"k": "v"}, "m-2", 7, 1.5, 1800000000.0, 60.0, 1700000000.0, 2)
OPERATIONS = [
    frames.Hello("unimq 0.1.0"),
    frames.Send("jobs", [Outgoing(b"a"), FULL], 100),
    frames.Fetch(["jobs", "mail"], 10, 60.0, 5.0),
    frames.Stop(3, undo=True),
    frames.Ack([HELD]),
    frames.Release([HELD], 2.0),
    frames.Move("jobs.dead", [(HELD, Outgoing(b"a"))]),
    frames.Extend([HELD], 60.0),
    frames.Peek("jobs", 3),
    frames.Cancel("jobs", "m-1"),
    frames.StatsOf("jobs"),
    frames.Purge("jobs"),
    frames.Delete("jobs"),
    frames.Queues(),
    frames.Ping(),
]
VALUES: list[tuple[Any, Any]] = [
    (frames.Welcome, frames.Welcome("unimq 0.1.0, memory", "memory", ["delay", "peek"], 33554432)),
    (list[str | frames.Problem | None], ["m-1", frames.Problem("Full", "full")]),
    (list[Delivery], [Delivery("jobs", b"a", b"\x01\x02", None, "m-1", 4, 1, None, 1700000000.0, None, 59.5)]),
    (list[Delivery], []),
    (list[frames.Problem | None], [None, frames.Problem("LeaseLost", "gone")]),
    (frames.Problem, frames.Problem("Unsupported", "peek is absent")),
    (Stats, Stats(1, 0, 2, 0.5)),
]


def in_json(value: Any) -> Any:
    """As the vectors write it: bytes as `{"hex": ...}`."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [in_json(one) for one in value]
    return {key: in_json(one) for key, one in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("vector", [*VECTORS["requests"], *VECTORS["replies"]], ids=lambda vector: vector["what"])
def test_a_frame_is_what_is_written_beside_it(vector: dict[str, Any]) -> None:
    """For a reader of plain MessagePack."""
    assert in_json(msgspec.msgpack.decode(bytes.fromhex(vector["frame"]))) == vector["means"]


@pytest.mark.parametrize(("vector", "operation"), list(zip(VECTORS["requests"], OPERATIONS, strict=True)))
def test_a_request_is_read_as_what_was_asked(vector: dict[str, Any], operation: frames.Operation) -> None:
    """And what is sent today is read as the same."""
    request = frames.request_of(bytes.fromhex(vector["frame"]))
    assert request.operation == operation
    again = frames.encode((frames.VERSION, request.number, request.budget, operation))
    assert frames.request_of(again) == request


@pytest.mark.parametrize(("vector", "value"), list(zip(VECTORS["replies"], VALUES, strict=True)))
def test_a_reply_is_read_as_what_was_answered(vector: dict[str, Any], value: tuple[Any, Any]) -> None:
    """And what is answered today is read as the same."""
    kind, expected = value
    number, ok, raw = frames.value_of(bytes.fromhex(vector["frame"]))
    assert msgspec.msgpack.decode(raw, type=kind) == expected
    again = frames.value_of(frames.encode((frames.VERSION, number, ok, expected)))
    assert msgspec.msgpack.decode(again[2], type=kind) == expected


def test_the_page_names_every_operation() -> None:
    """Its table has a row for each, and no other."""
    page = (ROOT / "docs/remote-protocol.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page.partition("## Replies")[0], re.MULTILINE)
    assert sorted(rows) == sorted({str(type(one).__struct_config__.tag) for one in OPERATIONS})
