"""The suite bites: every wrong driver is caught by the case that names its fault, and the honest one passes it."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import evil
import evil_settling
import pytest
from hypothesis import Phase

from unimq import registry
from unimq.errors import UnimqError
from unimq.testing import QueueConformance
from unimq.testing.gates import FACES, Face, gate_of
from unimq.testing.lab import Lab

assert evil_settling.__name__ in {kind.__module__ for kind in evil.EVIL.values()}
_TRIES = 4
"""A busy machine may starve a driver that spins of the very time that gives it away."""
FAULTS = {name: kind.caught_by for name, kind in evil.EVIL.items()}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong driver need not be waited for."""
    for name, module in list(sys.modules.items()):
        if name.startswith("unimq.testing.") and hasattr(module, "PATIENCE"):
            monkeypatch.setattr(module, "PATIENCE", 1.0)


@pytest.fixture(autouse=True)
def _unregistered() -> Iterator[None]:
    yield
    registry.unregister("evil")


def run(case: str, face: Face, driver: type[evil.Evil]) -> None:
    """Run one case of the suite, as pytest would; `name[parameter]` gives its parameter."""
    name, _, parameter = case.rstrip("]").partition("[")
    test: Any = getattr(QueueConformance, name)
    others: dict[str, Any] = {}
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize" and mark.args[0] != "lab":
            value = next(value for value in mark.args[1] if str(value) == parameter)
            others[mark.args[0]] = value
    if name == "test_no_password_is_shown":
        others["caplog"] = SimpleNamespace(set_level=lambda _: None, records=[])
    registry.register("evil", evil.EvilDriver(driver))
    with Lab(face, "evil://") as lab:
        assert gate_of(test).reason_against(lab.capabilities) is None
        test(QueueConformance(), lab=lab, **others)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.usefixtures("hurried")
def test_a_wrong_driver_is_caught(name: str, face: Face) -> None:
    """The named case fails, with an assertion or with an error that should not have been."""
    for _ in range(_TRIES):
        try:
            run(FAULTS[name], face, evil.EVIL[name])
        except (AssertionError, UnimqError, TimeoutError, pytest.fail.Exception):
            return
    pytest.fail(f"{FAULTS[name]} did not catch {name}")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("case", sorted(set(FAULTS.values())))
def test_the_honest_driver_is_not(case: str, face: Face) -> None:
    """The same cases pass where nothing is wrong."""
    run(case, face, evil.Evil)


MODEL_CATCHES = [
    "LosesTheOrder",
    "InvertsPriority",
    "LowersHeaders",
    "NackDrops",
    "NackIsANoOp",
    "NacksToTheTail",
    "MoveDrops",
    "MoveCopies",
    "CountsOnlyNacks",
    "PeekTakes",
    "PeekCounts",
    "PeekShowsTheLast",
    "PurgeLies",
    "SizeCountsTheHeld",
    "CancelLies",
    "StatsLie",
    "MoveKeepsTheCount",
    "AcksNothing",
]


@pytest.mark.parametrize("name", MODEL_CATCHES)
def test_the_model_catches_it_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random sequences of calls find what a case was written for."""
    monkeypatch.setattr("unimq.testing.model.PATIENCE", 0.02)
    monkeypatch.setattr("unimq.testing.model._PHASES", (Phase.generate,))
    monkeypatch.setattr("unimq.testing.model._ALWAYS_THE_SAME", True)
    with pytest.raises((AssertionError, UnimqError, ExceptionGroup)):
        run("test_the_model_finds_no_difference", "sync", evil.EVIL[name])


def test_the_model_lets_the_honest_driver_pass() -> None:
    """It finds no difference where there is none."""
    run("test_the_model_finds_no_difference", "sync", evil.Evil)
