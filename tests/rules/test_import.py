"""`import unimq` is cheap, and drags nothing along."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_MEASURED = """
import sys, time
start = time.process_time()
{}
print(time.process_time() - start)
print(*sorted(set(name.partition(".")[0] for name in sys.modules)))
"""
_UNIMQ = "import unimq; unimq.Queue"
_ALLOWED = 2
"""Times what `import asyncio` costs beside it. The bench states the figure in seconds."""
_NEVER = {
    "asyncio",
    "click",
    "gearman",
    "greenstalk",
    "opentelemetry",
    "pydantic",
    "pymemcache",
    "pytest",
    "rich",
    "sqlite3",
    "ssl",
    "stomp",
    "unimq_activemq",
    "unimq_gearman",
    "unimq_memcacheq",
    "unimq_memory",
    "unimq_sqlite",
    "zmq",
}


def imported(statement: str, compiled: Path) -> tuple[float, set[str]]:
    """The CPU seconds that a fresh interpreter took for `statement`, and the packages it had then."""
    # Without the variables by which a coverage run measures child processes: it would load its own packages there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or each interpreter would compile the sources
    environment["PYTHONPYCACHEPREFIX"] = str(compiled)
    command = [sys.executable, "-c", _MEASURED.format(statement)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30, env=environment)
    seconds, packages = done.stdout.splitlines()
    return float(seconds), set(packages.split())


def test_it_loads_no_client_library_and_no_asyncio(tmp_path: Path) -> None:
    """Neither a backend nor its library, nor asyncio, is loaded before it is used."""
    packages = imported(_UNIMQ, tmp_path)[1]
    assert "unimq" in packages
    assert packages & _NEVER == set()


@pytest.mark.slow
def test_it_is_quick(tmp_path: Path) -> None:
    """The quickest of seven imports costs no more than twice the quickest of seven of asyncio, in turn with them."""
    pairs = [(imported(_UNIMQ, tmp_path)[0], imported("import asyncio", tmp_path)[0]) for _ in range(7)]
    unimq, asyncio = (min(seconds) for seconds in zip(*pairs, strict=True))
    assert unimq < _ALLOWED * asyncio, (unimq, asyncio)


_IN_A_LOOP = """
import asyncio, sys
import unimq
face = set(sys.modules)
unimq.AsyncQueue, unimq.AsyncClient, unimq.AsyncMessage
print("face", *set(sys.modules) - face)
queue = unimq.AsyncQueue("memory://imports/jobs", max_deliveries=2)
before = set(sys.modules)
async def main():
    async with queue:
        await asyncio.gather(queue.put(1, ttl=60), queue.put(2), queue.put_many([3]))
        await (await queue.get(timeout=1)).ack()
        await (await queue.get()).reject("bad")
        await queue.dead.redrive()
        async for message in queue.consume(timeout=0):
            await message.ack()
asyncio.run(main())
print("use", *(name for name in set(sys.modules) - before if name.startswith("unimq")))
"""


def test_the_event_loop_does_not_wait_for_imports() -> None:
    """Where asyncio was imported first the face comes with `import unimq`, and its use brings nothing more of it."""
    done = subprocess.run([sys.executable, "-c", _IN_A_LOOP], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["face", "use"]
