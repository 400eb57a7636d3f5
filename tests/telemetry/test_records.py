"""The records of `logging`: each has the same names beside its text."""

import asyncio
import logging
import re
import typing
from pathlib import Path
from typing import Any

import pytest

import unimq
from unimq import Message, Queue, RetryPolicy, Worker
from unimq.records import Event
from unimq.worker.handling import settlement, tell_given_back, unsendable, unsettled
from unimq.worker.ledger import Ledger

ROOT = Path(__file__).parent.parent.parent
Records = pytest.LogCaptureFixture


def told(caplog: Records) -> list[dict[str, Any]]:
    return [
        {name.removeprefix("unimq_"): value for name, value in vars(record).items() if name.startswith("unimq_")}
        for record in caplog.records
    ]


def fail(_: Message[Any]) -> None:
    raise LookupError


def test_tries_and_their_end(url: str, caplog: Records) -> None:
    """With the queue, the id and the delivery; of a try that is followed by another, the pause."""
    with unimq.connect(url) as client:
        receipt = client.queue().put(1)
        Worker(client, fail, retry=RetryPolicy(attempts=2, pause=0)).drain()
    about = {"queue": "jobs", "id": receipt.id}
    assert told(caplog) == [
        {"event": "retried", **about, "delivery_count": 1, "pause": 0.0},
        {"event": "rejected", **about, "delivery_count": 2},
    ]
    assert {record.name for record in caplog.records} == {"unimq.worker"}
    assert [record.exc_info is not None for record in caplog.records] == [True, True]


def test_a_lease_that_is_lost(url: str, caplog: Records) -> None:
    """In a worker, and in a block, whose logger is `unimq`."""
    with Queue(url) as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        unsettled(message, unimq.LeaseLost("gone"))
        message._done_too_late(unimq.LeaseLost("gone"))
        unsettled(message, unimq.ConnectionLost("cut"))
    assert [record["event"] for record in told(caplog)] == ["lost", "lost", "unsettled"]
    assert {record["id"] for record in told(caplog)} == {message.id}
    assert [record.name for record in caplog.records] == ["unimq.worker", "unimq", "unimq.worker"]


def test_what_else_may_become_of_a_message(url: str, caplog: Records) -> None:
    """Each has its own event."""
    with Queue(url) as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        unsendable(message, unimq.TooLarge("too large"))
        tell_given_back(message)
        message.ack()
        settlement(message, LookupError(), RetryPolicy(), can_wait=True)
    assert [record["event"] for record in told(caplog)] == ["unanswered", "given back", "failed when settled"]


def test_an_outage(caplog: Records) -> None:
    """Its beginning and its end name the backend, and no message."""
    ledger: Ledger[Any] = Ledger("beanstalkd://:***@example.org")
    ledger.missed(unimq.ConnectError("refused"))
    ledger.reached()
    backend = "beanstalkd://:***@example.org"
    assert told(caplog) == [{"event": "away", "backend": backend}, {"event": "back", "backend": backend}]


def test_what_was_done_before(url: str, tmp_path: Path, caplog: Records) -> None:
    """Is told at the level of information, on the asyncio face too."""

    async def handle(_: object) -> None:
        """Nothing to do."""

    async def main() -> None:
        async with unimq.AsyncClient(url) as client:
            for _ in range(2):
                await client.queue().put(1, id="a")
            worker = unimq.AsyncWorker(client, handle, middleware=[unimq.Deduplicate(tmp_path / "done.db")])
            await worker.drain()

    with caplog.at_level(logging.INFO, "unimq"):
        asyncio.run(main())
    assert told(caplog) == [{"event": "done before", "queue": "jobs", "id": "a", "delivery_count": 1}]


def test_every_event_is_explained() -> None:
    """The page about observability has a row for each, and no other."""
    page = (ROOT / "docs" / "observability.md").read_text("utf-8")
    section = page.partition("## Logs")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z ]+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(typing.get_args(Event))


def test_every_record_has_one() -> None:
    """Nothing is logged without it."""
    calls = [
        (file.name, call)
        for file in (ROOT / "unimq").rglob("*.py")
        for call in re.findall(r"(?:log|getLogger\([^)]*\))\.(?:debug|info|warning|error)\(.*", file.read_text("utf-8"))
    ]
    assert len(calls) > 10
    assert [(name, call) for name, call in calls if "extra=" not in call] == []
