"""What the groups of cases are made of: coroutines that become pytest tests, run on both faces, where they apply."""

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from unimq.testing.gates import FACES, gate_of
from unimq.testing.lab import Lab
from unimq.url import URL

__all__ = ["Cases"]

Case = Callable[..., Coroutine[Any, Any, None]]


class Cases:
    """A group of cases. Each `async def test_...(self, lab)` becomes two tests, `sync` and `async`."""

    def __init_subclass__(cls) -> None:
        """Turn the coroutines into tests."""
        for name, member in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(member):
                setattr(cls, name, _as_test(member))

    @pytest.fixture(params=FACES)
    def lab(self, request: pytest.FixtureRequest, url: str | URL) -> Iterator[Lab]:
        """The bench of a case, on the face that the test's id names."""
        with Lab(request.param, url) as lab:
            yield lab


def _as_test(case: Case) -> Callable[..., None]:
    gate = gate_of(case)

    @functools.wraps(case)
    def test(self: Cases, lab: Lab, **others: Any) -> None:
        reason = gate.reason_against(lab.capabilities)
        if reason is not None:
            pytest.skip(reason)
        lab.run(case(self, lab, **others))

    return test
