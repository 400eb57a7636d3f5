"""Which cases apply to a backend: decided from its capabilities, never from its name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import pytest

from unimq.capabilities import Capabilities

__all__ = ["FACES", "Face", "Gate", "gate_of", "needs", "only", "unless"]

F = TypeVar("F", bound=Callable[..., Any])

Face = Literal["sync", "async"]
FACES: Final[tuple[Face, ...]] = ("sync", "async")

_GATE: Final = "unimq_gate"


@dataclass(frozen=True, slots=True)
class Gate:
    """What a case asks of a backend."""

    needs: tuple[str, ...] = ()
    """Requirements, in the vocabulary of `require=`, that must hold."""
    unless: tuple[str, ...] = ()
    """Requirements that must not hold."""
    promises: dict[str, Any] = field(default_factory=dict[str, Any])
    """Fields of `Capabilities` with the value that is wanted, or a tuple of those that will do."""

    def reason_against(self, capabilities: Capabilities) -> str | None:
        """Why the case does not apply, or `None` when it does."""
        for requirement in self.needs:
            reason = capabilities.missing(requirement)
            if reason is not None:
                return f"{requirement} does not hold: {reason}; its refusal has a case of its own"
        for requirement in self.unless:
            if capabilities.missing(requirement) is None:
                return f"{requirement} holds here"
        for name, wanted in self.promises.items():
            value = getattr(capabilities, name)
            if value not in (wanted if isinstance(wanted, tuple) else (wanted,)):
                return f"{name} is {value!r} here"
        return None


def needs(*requirements: str, **promises: Any) -> Callable[[F], F]:
    """The case is for backends that meet `requirements`, and whose `Capabilities` fields have one of the values."""

    def mark(case: F) -> F:
        setattr(case, _GATE, Gate(needs=requirements, promises=promises, unless=gate_of(case).unless))
        return case

    return mark


def unless(*requirements: str) -> Callable[[F], F]:
    """The case is for backends that do not meet any of `requirements`."""

    def mark(case: F) -> F:
        gate = gate_of(case)
        setattr(case, _GATE, Gate(needs=gate.needs, promises=gate.promises, unless=requirements))
        return case

    return mark


def only(face: Face) -> Callable[[F], F]:
    """The case makes sense on one face."""

    def mark(case: F) -> F:
        marked: F = pytest.mark.parametrize("lab", [face], indirect=True)(case)
        return marked

    return mark


def gate_of(case: Callable[..., Any]) -> Gate:
    """What `case` asks for."""
    gate: Gate = getattr(case, _GATE, Gate())
    return gate
