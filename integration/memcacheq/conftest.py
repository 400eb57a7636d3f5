"""How the servers of these tests are started."""

import pytest
from harness import Recipe, ask


@pytest.fixture(scope="session")
def memcacheq() -> Recipe:
    """One thread, as the page recommends: its known hangs need a second one. Queues are deleted after each case.

    Without `-N` each put and each get would wait for a disk, which no case could notice.
    """
    return Recipe(
        "memcacheq",
        22201,
        "memcacheq://{address}/?emulate=delete",
        ask(b"version\r\n", b"VERSION"),
        command=("-p", "{port}", "-t", "1", "-N", "-R"),
    )
