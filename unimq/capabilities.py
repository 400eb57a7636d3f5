"""What a backend can do, as data. This is the one place where the vocabulary of capabilities is written.

A driver declares `Capabilities`; the face decides from them what is native, layered or refused, `require` is checked
against them, the tables in the documentation are generated from them and the conformance suite holds every claim and
every absence to the real server. No other module knows what a particular backend can do.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, get_args

from unimq.errors import InvalidArgument, Unsupported
from unimq.masking import without_url

__all__ = [
    "CAPABILITY_NAMES",
    "REQUIREMENTS",
    "Capabilities",
    "Capability",
    "CapabilityName",
    "Guarantee",
    "Kept",
    "Level",
    "Limits",
    "Requirement",
    "Trilean",
    "absent",
    "layered",
    "native",
    "opt_in",
]

Level = Literal["native", "layered", "opt-in", "absent"]
"""Who does it: the backend, unimq with the full meaning, unimq with a weaker promise when asked to, or nobody."""

Trilean = Literal["yes", "no", "unknown"]
_WEAKEST_FIRST: Final = ("no", "unknown", "yes")

Guarantee = Literal["at-least-once", "kept-once-received", "at-most-once"]
"""What holds between put and ack: a message is delivered until it is acked; or that only from the moment a consumer
received it (a journal); or it is gone when it was delivered."""

Kept = Literal["id", "enqueued_at", "priority"]
"""What a delivery may bring back as it was sent; what it does not bring back travels in headers or the envelope."""

CapabilityName = Literal[
    "priority",
    "delay",
    "ttl",
    "headers",
    "batch",
    "nack",
    "nack_delay",
    "lease",
    "extend",
    "delivery_count",
    "dead_letters",
    "max_size",
    "deduplication",
    "cancel",
    "peek",
    "stats",
    "purge",
    "delete",
    "queues",
    "call",
    "progress",
    "outbox",
]
CAPABILITY_NAMES: Final[tuple[CapabilityName, ...]] = get_args(CapabilityName)

Requirement = Literal[
    CapabilityName,
    "at-least-once",
    "kept-once-received",
    "fifo",
    "confirmed",
    "durable",
    "crash-counted",
]
"""What `require=` may ask for. `delay:native` (a capability, a colon, a level) asks for a level as well."""
REQUIREMENTS: Final[tuple[str, ...]] = get_args(Requirement)


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing a backend can or cannot do. It is true when the application may use it."""

    level: Level
    note: str = ""
    """The fine print in one sentence; for opt-in the weaker promise, for absent the remedy if there is one."""
    enabled: bool = False
    """Only for opt-in: whether `?emulate=` asked for it."""

    def __bool__(self) -> bool:
        """Whether it may be used: native, layered, or opted in."""
        return self.level in ("native", "layered") or self.enabled


def native(note: str = "") -> Capability:
    """The backend does it itself."""
    return Capability("native", note)


def layered(note: str = "") -> Capability:
    """Unimq does it, with the full meaning, on what the backend has."""
    return Capability("layered", note)


def opt_in(note: str) -> Capability:
    """Unimq does it with the weaker promise that `note` states, where `?emulate=` names it."""
    return Capability("opt-in", note)


def absent(note: str = "") -> Capability:
    """Nobody does it: calling it raises `Unsupported`."""
    return Capability("absent", note)


_CLASS: Final = re.compile(r"(\(\?!\\A(?P<first>.)\))?\[(?P<all_but>\^?)(?P<members>[^\]]+)\]")
_SPANS: Final = {
    "A-Za-z": "letters",
    "a-z": "letters a to z",
    "0-9": "digits",
    r"\x00-\x1f\x7f": "control characters",
    r"\x00-\x20\x7f": "spaces, control characters",
}
"""The words of what a character class may contain."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is checked before sending. `None` means: no limit is known."""

    body: int | None = None
    """Largest encoded body in bytes, headers and frame included where they travel inside it."""
    name: int = 200
    """Longest queue name in bytes, the dead-letter suffix included."""
    name_characters: str = r"[A-Za-z0-9_.:/-]"
    """A regular expression for one allowed character of a queue name."""
    delay: float | None = None
    """Longest delay in seconds."""
    headers: int | None = None
    """Largest sum of header keys and values in bytes."""
    header_count: int | None = None
    """Most headers of one message."""
    peek: int | None = None
    """Most messages that one peek can show."""
    reserved: str | None = None
    """A regular expression for whole queue names that the server keeps for itself, or cannot take."""
    name_in_body: bool = False
    """Whether the bytes of the queue's name count against `body`."""

    @property
    def name_words(self) -> str:
        """`name_characters` in words, such as "letters, digits, _ . -"; the expression where it is no plain class."""
        found = _CLASS.fullmatch(self.name_characters)
        if found is None:
            return self.name_characters
        rest = found["members"]
        words: list[str] = []
        for span, word in _SPANS.items():
            if span in rest:
                rest = rest.replace(span, "")
                words.append(word)
        words += [" ".join(rest)] if rest else []
        first = f", the first no {found['first']}" if found["first"] else ""
        return ("anything but " if found["all_but"] else "") + ", ".join(words) + first

    def within(self, other: "Limits") -> "Limits":
        """The smaller of each number of the two; the rest is the same on all servers of one kind."""
        numbers: dict[str, Any] = {}
        for name in ("body", "name", "delay", "headers", "header_count", "peek"):
            known = [value for value in (getattr(self, name), getattr(other, name)) if value is not None]
            numbers[name] = min(known, default=None)
        return replace(self, **numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """All that is portable to say about a backend, for one URL: a level per capability, the promises, the limits."""

    # One level per capability; the names are the vocabulary of `require`.
    priority: Capability = field(default_factory=absent)
    delay: Capability = field(default_factory=absent)
    ttl: Capability = field(default_factory=layered)
    headers: Capability = field(default_factory=layered)
    batch: Capability = field(default_factory=layered)
    nack: Capability = field(default_factory=absent)
    nack_delay: Capability = field(default_factory=absent)
    lease: Capability = field(default_factory=absent)
    extend: Capability = field(default_factory=absent)
    delivery_count: Capability = field(default_factory=layered)
    dead_letters: Capability = field(default_factory=layered)
    max_size: Capability = field(default_factory=absent)
    deduplication: Capability = field(default_factory=absent)
    cancel: Capability = field(default_factory=absent)
    peek: Capability = field(default_factory=absent)
    stats: Capability = field(default_factory=absent)
    purge: Capability = field(default_factory=absent)
    delete: Capability = field(default_factory=absent)
    queues: Capability = field(default_factory=absent)
    call: Capability = field(default_factory=layered)
    progress: Capability = field(default_factory=absent)
    outbox: Capability = field(default_factory=absent)

    # The promises.
    guarantee: Guarantee
    """`kept-once-received`: what a consumer received is not lost before it is settled, what is on its way may be."""
    survives_process_death: Trilean = "unknown"
    """Whether an unsettled message outlives the process that holds it."""
    survives_host_loss: Trilean = "unknown"
    """Whether an unsettled message outlives the consumer's host, vanished without a word."""
    survives_server_restart: Trilean = "unknown"
    """Whether a confirmed message outlives kill -9 and a restart of what stores it."""
    confirmed: bool = True
    """Whether a put returns after the message is stored (true), or only accepted (false)."""
    order: Literal["fifo", "fifo-until-redelivery", "none"] = "none"
    nack_place: Literal["front", "tail"] = "tail"
    """Where a nacked message waits: before or behind its equals."""
    lease_by: Literal["get", "put", "connection"] = "connection"
    """Who fixes the lease: the get that takes the message, the put that made it, or the life of the connection."""
    counts: Literal["fetches", "nacks"] | None = None
    """What `delivery_count` counts; `None`: it is unknown."""
    crash_counted: bool = False
    """Whether a delivery that ended with the consumer's death is counted."""
    atomic_move: bool = False
    """Whether dead-lettering and requeueing are one transaction (true), or send-then-settle (false)."""
    priority_levels: int = 1
    """How many of the ten priorities are really told apart."""
    delay_step: float = 0.0
    """Granularity of delays in seconds, 0 for none that matters; a delay is rounded up, never down."""
    lease_step: float = 0.0
    """Granularity of leases in seconds, 0 for none that matters; a lease is rounded up, never down."""
    keeps: frozenset[Kept] = frozenset()
    """What of a message the protocol gives back on delivery."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """A layered call needs headers: without them it is absent, whatever was declared."""
        if self.call.level == "layered" and not self.headers:
            object.__setattr__(self, "call", absent("a request says in its headers where its reply is wanted"))

    def __getitem__(self, name: str) -> Capability:
        """The capability of that name.

        Raises:
            InvalidArgument: `name` is not in `CAPABILITY_NAMES`.
        """
        if name not in CAPABILITY_NAMES:
            msg = f"unknown capability {name!r}{nearest(name, CAPABILITY_NAMES)}; known: {', '.join(CAPABILITY_NAMES)}"
            raise InvalidArgument(msg)
        value: Capability = getattr(self, name)
        return value

    def emulating(self, names: Iterable[str]) -> "Capabilities":
        """These capabilities with the opt-in ones among `names` enabled.

        Raises:
            InvalidArgument: a name is unknown, or is not opt-in on this backend.
        """
        enabled: dict[str, Capability] = {}
        for name in names:
            capability = self[name]
            if capability.level != "opt-in":
                msg = f"emulate={name}: {name} is {capability.level} here, not opt-in{self._opt_in_hint()}"
                raise InvalidArgument(msg)
            enabled[name] = replace(capability, enabled=True)
        return replace(self, **enabled) if enabled else self  # type: ignore[arg-type]

    def over(self, hosts: int) -> "Capabilities":
        """What of these holds for messages that are spread over so many hosts: each of them has an order of its own."""
        return replace(self, order="none") if hosts > 1 else self

    def missing(self, requirement: str) -> str | None:
        """Why `requirement` does not hold, or `None` when it does.

        Raises:
            InvalidArgument: nobody knows that requirement; the text names the nearest.
        """
        name, colon, level = requirement.partition(":")
        if name not in REQUIREMENTS or (colon and (name not in CAPABILITY_NAMES or level not in get_args(Level))):
            msg = (
                f"require={without_url(requirement)!r}: unknown requirement{nearest(name, REQUIREMENTS)}; "
                f"known: {', '.join(REQUIREMENTS)}; a capability may name a level, as in delay:native"
            )
            raise InvalidArgument(msg)
        if name in CAPABILITY_NAMES:
            return self._missing_capability(name, level)
        holds = {
            "at-least-once": self.guarantee == "at-least-once",
            "kept-once-received": self.guarantee != "at-most-once",
            "fifo": self.order != "none",
            "confirmed": self.confirmed,
            "durable": self.survives_server_restart == "yes",
            "crash-counted": self.crash_counted,
        }
        seen = {
            "at-least-once": f"the guarantee is {self.guarantee}",
            "kept-once-received": f"the guarantee is {self.guarantee}",
            "fifo": f"the order is {self.order}, as it always is over several hosts",
            "confirmed": "puts are accepted, not confirmed",
            "durable": f"surviving a server restart: {self.survives_server_restart}",
            "crash-counted": "deliveries that end in a crash are not counted",
        }
        return None if holds[name] else seen[name]

    def _missing_capability(self, name: str, level: str) -> str | None:
        capability = self[name]
        if not capability:
            reason: str = capability.level
        elif level and capability.level != level:
            reason = f"{capability.level}, not {level}"
        else:
            return None
        return f"{name} is {reason}" + (f" ({capability.note})" if capability.note else "")

    def require(self, requirements: Iterable[str], where: str) -> None:
        """Check that all `requirements` hold; `where` names the backend in the error.

        Raises:
            InvalidArgument: a requirement nobody knows.
            Unsupported: some do not hold; the text names each with its reason.
        """
        reasons = [reason for r in sorted(requirements) if (reason := self.missing(r)) is not None]
        if reasons:
            msg = f"{where} cannot give what is required: {'; '.join(reasons)}"
            raise Unsupported(msg)

    def proved_by(self, met: Iterable["Capabilities"]) -> "Capabilities":
        """These, as far as all servers that were met can do them; what was unknown is what they say of it."""
        result: Capabilities | None = None
        for other in met:
            result = other if result is None else result._and(other)
        if result is None:
            return self
        absent_here: dict[str, Any] = {name: self[name] for name in result.exceeding(self)}
        return replace(result, **absent_here)

    def exceeding(self, declared: "Capabilities") -> list[str]:
        """The names of capabilities that are usable here although `declared` says they are not."""
        return [name for name in CAPABILITY_NAMES if self[name] and not declared[name]]

    def _and(self, other: "Capabilities") -> "Capabilities":
        """What holds on two servers."""
        changes: dict[str, Any] = {name: other[name] for name in CAPABILITY_NAMES if self[name] and not other[name]}
        for name in ("survives_process_death", "survives_host_loss", "survives_server_restart"):
            changes[name] = min(getattr(self, name), getattr(other, name), key=_WEAKEST_FIRST.index)
        changes["limits"] = self.limits.within(other.limits)
        return replace(self, **changes)

    def _opt_in_hint(self) -> str:
        names = [name for name in CAPABILITY_NAMES if self[name].level == "opt-in"]
        return f"; opt-in here: {', '.join(names)}" if names else "; nothing is opt-in here"


def nearest(word: str, known: Iterable[str]) -> str:
    """A `, did you mean ...?` for error texts, or nothing when no known word is close."""
    from difflib import get_close_matches  # noqa: PLC0415 - 4 ms of import that only an error needs

    close = get_close_matches(word, list(known), 1)
    return f", did you mean {close[0]!r}?" if close else ""


_FIELD_NAMES = {f.name for f in fields(Capabilities)}
if missing_fields := set(CAPABILITY_NAMES) - _FIELD_NAMES:  # pragma: no cover - a slip of whoever edits this file
    raise AssertionError(missing_fields)
