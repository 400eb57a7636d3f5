"""Workers whose server is away for a while: what their health says, and the log, once for each change."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from servers import Broker, SimSession

import unimq
from unimq.testing.lab import PATIENCE
from unimq.testing.workers import running, until


async def handler(message: unimq.AsyncMessage[Any]) -> None:
    """There is nothing to do."""


@pytest.mark.slow
@pytest.mark.parametrize("face", ["sync", "async"])
def test_the_health_tells_an_outage_and_its_end(broker: Broker, face: str, caplog: pytest.LogCaptureFixture) -> None:
    """Also where no message comes afterwards."""
    caplog.set_level(logging.WARNING, "unimq.worker")
    url = f"simsame://{broker.name}/jobs"
    worker: Any = None
    made = threading.Event()

    async def work() -> None:
        nonlocal worker
        worker = unimq.AsyncWorker(url, handler)
        loop = asyncio.get_running_loop()
        stopping.append(lambda: loop.call_soon_threadsafe(worker.stop))
        made.set()
        await worker.run()

    stopping: list[Callable[[], object]] = []
    if face == "sync":
        worker = unimq.Worker(url, lambda message: None)
        assert not worker.health().connected
        stopping.append(worker.stop)
        thread = threading.Thread(target=worker.run)
        made.set()
    else:
        thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert made.wait(PATIENCE)
        until(lambda: worker.health().connected)
        broker.down = True
        broker.cut()
        until(lambda: not worker.health().connected)
        assert "connection" in worker.health().error
        broker.down = False
        until(lambda: worker.health().connected)
        assert worker.health().error is None
    finally:
        broker.down = False
        stopping[0]()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    told = [record.getMessage() for record in caplog.records]
    assert [("is away," in one, one.endswith("is back")) for one in told] == [(True, False), (False, True)], told


@pytest.mark.parametrize("scheme", ["simsame", "simduplex"])
def test_where_a_session_settles_while_it_waits_each_thread_asks_for_one(
    broker: Broker, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes in a batch may cost more to settle by itself there; elsewhere what is idle is asked for together."""
    limits: list[int] = []
    receive = SimSession.receive

    def asked(session: SimSession, queues: Any, limit: int, *rest: Any, **more: Any) -> Any:
        limits.append(limit)
        return receive(session, queues, limit, *rest, **more)

    monkeypatch.setattr(SimSession, "receive", asked)
    monkeypatch.setattr("unimq.worker.taking._FAR", 60.0)  # however slow the machine is
    all_at_work = threading.Barrier(8)
    url = f"{scheme}://{broker.name}/jobs"
    with (
        unimq.Queue(url) as queue,
        running(unimq.Worker(url, lambda message: all_at_work.wait(PATIENCE), concurrency=8)) as worker,
    ):
        until(lambda: worker._taker.idle == 7)
        queue.put_many(range(8))
        until(lambda: worker.health().done == 8)
    assert (max(limits) == 1) is (scheme == "simduplex")
