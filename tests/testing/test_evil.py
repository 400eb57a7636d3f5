"""The suite bites: every wrong driver is caught by the case that names its fault, and the honest one passes it."""

import sys
import traceback
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import evil
import evil_settling
import pytest
from hypothesis import Phase

from unimq import registry
from unimq.errors import ServerError
from unimq.testing import QueueConformance, model
from unimq.testing.gates import FACES, Face, gate_of
from unimq.testing.lab import Lab

assert evil_settling.__name__ in {kind.__module__ for kind in evil.EVIL.values()}
_TRIES = 4
"""A busy machine may starve a driver that spins of the very time that gives it away."""
WRONG = dict(evil.EVIL)


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


def evidence(caught: evil.Caught, face: Face, driver: type[evil.Evil]) -> str | None:
    """Run the case that must catch a driver; the failed statement of the case and its error, `None` if it passed."""
    try:
        run(caught.case, face, driver)
    except (caught.error, pytest.fail.Exception) as error:
        name = caught.case.partition("[")[0]
        lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.name == name]
        return f"{lines[-1]}: {error}"
    return None


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", WRONG)
@pytest.mark.usefixtures("hurried")
def test_a_wrong_driver_is_caught(name: str, face: Face) -> None:
    """The named case fails at the statement, and with the error, that show this fault; any other is an accident."""
    caught = evil.EVIL[name].caught
    seen = [evidence(caught, face, evil.EVIL[name])]
    while caught.shown_by not in str(seen[-1]) and len(seen) < _TRIES:
        seen.append(evidence(caught, face, evil.EVIL[name]))
    assert caught.shown_by in str(seen[-1]), seen


class RefusesPuts(evil.Evil):
    """Fails in every case, and shows nothing by that."""

    def send(self, queue: str, messages: Sequence[Any], deadline: float) -> Any:
        return [ServerError("no") for _ in messages]


def test_an_accident_is_no_catch() -> None:
    """A driver that fails in a case by another error, or at another statement, is not taken for caught."""
    wrong = evil.EVIL["TruncatesAtNul"]
    with pytest.raises(ServerError):
        evidence(wrong.caught, "sync", RefusesPuts)
    seen = evidence(evil.Caught("test_every_codec[text]", "found == body"), "sync", evil.EVIL["LosesAPut"])
    assert seen is None
    seen = evidence(evil.Caught(wrong.caught.case, "found == body"), "sync", wrong)
    assert seen is not None
    assert "found == body" not in seen


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("case", sorted({WRONG[name].caught.case for name in WRONG}))
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
    with pytest.raises((AssertionError, ExceptionGroup)) as caught:
        run("test_the_model_finds_no_difference", "sync", evil.EVIL[name])
    found = caught.value.exceptions if isinstance(caught.value, ExceptionGroup) else [caught.value]
    for error in found:  # the model's own words, and not what the fault led to elsewhere
        assert isinstance(error, AssertionError)
        assert traceback.extract_tb(error.__traceback__)[-1].filename == model.__file__


def test_the_model_lets_the_honest_driver_pass() -> None:
    """It finds no difference where there is none."""
    run("test_the_model_finds_no_difference", "sync", evil.Evil)
