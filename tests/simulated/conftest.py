"""A broker of its own for each test, and the simulated drivers registered meanwhile."""

import itertools
from collections.abc import Iterator

import pytest
from servers import BROKERS, DRIVERS, Broker

from unimq import registry

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _drivers() -> Iterator[None]:
    for scheme, driver in DRIVERS.items():
        registry.register(scheme, driver)
    yield
    for scheme in DRIVERS:
        registry.unregister(scheme)
    BROKERS.clear()


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A fresh broker; at the end nobody may have broken the driver contract."""
    one = BROKERS.setdefault(f"b{next(_numbers)}", Broker(f"b{next(_numbers)}"))
    BROKERS[one.name] = one
    yield one
    assert one.violations == []


@pytest.fixture
def other_broker() -> Broker:
    """A second one."""
    one = Broker(f"b{next(_numbers)}")
    BROKERS[one.name] = one
    return one
