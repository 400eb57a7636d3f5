"""For all tests: Hypothesis looks for wrong results, and leaves the time to the limit of the whole test."""

import pytest
from hypothesis import HealthCheck, settings

# Its own deadline, 200 ms for an example, is missed now and then on a busy machine: a test is red that found nothing.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", parent=settings.get_profile("unhurried"), max_examples=25)  # for `make check`
settings.load_profile("unhurried")

_STARTS_PROCESSES = {"terminal", "process", "start"}
"""Fixtures."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts processes is slow, on a machine that is busy."""
    for item in items:
        if _STARTS_PROCESSES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
