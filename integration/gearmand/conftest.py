"""The servers of these tests."""

import pytest
from gearmand.recipes import PLAIN, STORED
from harness import Recipe


@pytest.fixture(scope="session")
def plain() -> Recipe:
    """A server that keeps its jobs in memory."""
    return PLAIN


@pytest.fixture(scope="session")
def stored() -> Recipe:
    """A server that keeps each job in a file."""
    return STORED
