"""Workers that run while a test looks on; tests that are coroutine functions run in an event loop of their own."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from unimq import AsyncWorker
from unimq.testing.lab import PATIENCE, fresh_name


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Await what has to be awaited."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def url() -> str:
    return f"memory://{fresh_name()}/jobs"


@asynccontextmanager
async def at_work_in_a_task(worker: AsyncWorker) -> AsyncIterator[AsyncWorker]:
    """The worker runs in a task, which has ended afterwards."""
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        worker.stop()
        await asyncio.wait_for(running, PATIENCE)


async def reached(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
