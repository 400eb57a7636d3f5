"""The suite itself: what is collected, for whom, and that the fault group works and bites."""

import inspect
from collections.abc import Iterator
from typing import Any

import breakable
import pytest

from unimq import registry
from unimq.errors import UnimqError
from unimq.testing import QueueConformance
from unimq.testing.faults import Faults
from unimq.testing.gates import FACES, Face
from unimq.testing.lab import Lab

FAULTS = [name for name in vars(Faults) if name.startswith("test_")]


@pytest.fixture
def server() -> Iterator[breakable.Breakable]:
    yield breakable.Breakable()
    registry.unregister("breakable")


def test_without_a_server_there_are_no_fault_cases() -> None:
    """They are not collected, so no report counts them as passed or skipped."""

    class Plain(QueueConformance):
        pass

    assert [name for name in dir(Plain) if name in FAULTS] == []


def test_with_a_server_there_are() -> None:
    """A fixture `server` in the class is all that it takes."""

    class Breaking(QueueConformance):
        @pytest.fixture
        def server(self) -> None: ...

    assert len(FAULTS) > 10
    assert sorted(name for name in dir(Breaking) if name in FAULTS) == sorted(FAULTS)


def test_every_case_is_documented() -> None:
    """With one sentence, which is what a failure means."""
    cases = [getattr(cls, name) for cls in (QueueConformance, Faults) for name in dir(cls) if name.startswith("test_")]
    assert [case.__name__ for case in cases if not (case.__doc__ or "").strip()] == []


def run(case: str, lab: Lab, server: breakable.Breakable) -> None:
    """Run one case of the group, as pytest would."""
    test: Any = getattr(Faults, case)
    test(Faults(), lab=lab, **({"server": server} if "server" in inspect.signature(test).parameters else {}))


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_case_passes(case: str, face: Face, server: breakable.Breakable) -> None:
    """On a server that can be broken and mended."""
    with Lab(face, breakable.register(server)) as lab:
        run(case, lab, server)


class LosesEverything(breakable.Breakable):
    """A restart forgets what was stored."""

    def kill(self) -> None:
        super().kill()
        self.broker.stores.clear()


class SaysMaybe(breakable.Breakable):
    """A refused connection is not told for what it is."""

    def open(self, url: Any, deadline: float, **more: Any) -> Any:
        try:
            return super().open(url, deadline, **more)
        except UnimqError as error:
            raise ValueError(str(error)) from error


CAUGHT = [
    (LosesEverything, "test_what_is_confirmed_survives_the_server"),
    (SaysMaybe, "test_a_put_to_a_dead_server_fails_in_time"),
    (SaysMaybe, "test_nobody_there_is_told_in_time"),
]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("kind", "case"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_server_is_caught(kind: Any, case: str, face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """The named case fails."""
    for module in ("faults", "lab"):
        monkeypatch.setattr(f"unimq.testing.{module}.PATIENCE", 1.0)
    server = kind()
    try:
        with (
            Lab(face, breakable.register(server)) as lab,
            pytest.raises((AssertionError, UnimqError, ValueError)),
        ):
            run(case, lab, server)
    finally:
        registry.unregister("breakable")
