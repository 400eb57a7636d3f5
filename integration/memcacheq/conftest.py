"""The servers of these tests."""

import pytest
from harness import Recipe
from memcacheq.recipes import SERVER


@pytest.fixture(scope="session")
def memcacheq() -> Recipe:
    """A server for each process of a run."""
    return SERVER
