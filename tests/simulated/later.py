"""A clock and a scheduler that go on when a test says so."""

import contextlib
import heapq
import importlib
import itertools
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from unimq.errors import UnimqError


class Later:
    """Stands for the time and for the scheduler of each host that is made while it does."""

    def __init__(self, patch: pytest.MonkeyPatch, *servers: str) -> None:
        self.start = self.now = time.monotonic()
        self.due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        clock = SimpleNamespace(**{**vars(time), "monotonic": lambda: self.now})
        importlib.import_module("unimq.aio")  # and with it everything that tells the time
        for name, module in list(sys.modules.items()):
            if name.startswith("unimq.") or name in servers:
                for reads in [one for one, value in vars(module).items() if value is time]:
                    patch.setattr(module, reads, clock)
        patch.setattr("unimq.hosts.Scheduler", self.scheduler)

    def scheduler(self, _name: str) -> Any:
        """What a host takes for its scheduler."""
        return self

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Keep the call for then."""
        heapq.heappush(self.due, (when, next(self._numbers), call))

    def close(self, until: float) -> None:
        """Forget what is due."""
        self.due.clear()

    def pass_by(self, seconds: float) -> None:
        """Let time go by, and make the calls that are due meanwhile, each at its time."""
        end = self.now + seconds
        while self.due and self.due[0][0] <= end:
            when, _, call = heapq.heappop(self.due)
            self.now = max(self.now, when)
            with contextlib.suppress(UnimqError):
                call()
        self.now = end
