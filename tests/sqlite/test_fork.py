"""Queues of asyncio over a fork: parent and child go on, each with threads of its own."""

import asyncio
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import unimq

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")]


async def use(client: "unimq.AsyncClient", queues: "list[unimq.AsyncQueue[Any]]", body: str) -> None:
    """Put and get, from each of the queues, which have one name, and from several; close one, and go on."""
    other = client.queue("other")
    for queue in queues:
        await queue.put(body)
        async with await queue.get(timeout=20) as message:
            assert message.body == body
    waits = asyncio.create_task(client.get([queues[0], other], timeout=20))
    await asyncio.sleep(0)
    await other.put(body)
    async with await waits as message:
        assert message.queue == "other"
    await queues[0].close()
    await queues[1].put(body)
    async with await queues[1].get(timeout=20) as message:
        assert message.body == body


def test_both_sides_of_a_fork_go_on_with_queues_that_share_their_threads(tmp_path: Path) -> None:
    """Though tasks of the parent wait on them in that moment, on one and on several."""

    async def main() -> None:
        async with unimq.AsyncClient(f"sqlite:///{tmp_path}/f.db") as client:
            queues = [client.queue("jobs"), client.queue("jobs"), client.queue("jobs")]
            childs = [client.queue("childs") for _ in range(3)]
            await childs[0].put("starts a thread")
            await (await childs[1].get(timeout=20)).ack()
            gets = (childs[0].get(), client.get([childs[0], childs[2]]), queues[2].get())
            waits = [asyncio.create_task(get) for get in gets]
            await asyncio.sleep(0.05)
            reads, writes = os.pipe()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # that threads are running is the point
                child = os.fork()
            if child == 0:
                os.close(writes)
                os.read(reads, 1)
                os._exit(in_child(client, childs))
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            await use(client, queues, "parent")
            os.write(writes, b"!")  # nothing here takes what is the child's any more
            assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1]) == 0
            os.close(reads)
            os.close(writes)

    asyncio.run(main())


def in_child(client: "unimq.AsyncClient", queues: "list[unimq.AsyncQueue[Any]]") -> int:
    async def main() -> None:
        async with asyncio.timeout(30):
            await use(client, queues, "child")
            await client.close()

    try:
        asyncio.run(main())
    except BaseException as error:  # noqa: BLE001 - nothing may leave the child
        sys.stderr.write(f"{error!r}\n")
        return 1
    return 0
