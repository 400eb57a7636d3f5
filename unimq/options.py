"""URL options: typed tables, one for the core and one per driver, and how their texts are read.

The same thing has the same name on every backend. The tables in the documentation are made from this data.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, Final, Literal, Self, cast

from unimq.capabilities import nearest
from unimq.errors import InvalidArgument, InvalidURL
from unimq.masking import MASK, is_secret, without_url
from unimq.url import URL

__all__ = [
    "CORE",
    "LONGEST",
    "Option",
    "Settings",
    "count",
    "markdown_table",
    "parse_duration",
    "parse_size",
    "read",
    "seconds",
    "short",
    "timeout_seconds",
    "values",
]

LONGEST: Final = 100 * 365 * 86400.0
"""Seconds; a longer duration is a mistake of unit."""

Kind = Literal["text", "int", "bool", "duration", "size", "names"]
"""`duration`: seconds, or a number with ms, s, m, h or d. `size`: bytes, or with KiB, MiB, GiB, kB, MB, GB.
`names`: words with commas between them. `bool`: true or false."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a URL's query."""

    name: str
    kind: Kind
    default: Any
    """What holds when it is not given, in Python's terms (durations in seconds); `None` for none."""
    doc: str
    """What it does, in one line."""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    secret: bool = False
    """Whether its value is masked wherever a URL is shown: then its name must say so, see `unimq.url.is_secret`."""

    def __post_init__(self) -> None:
        """Refuse a secret whose name does not say so: a URL is shown before its driver is known, and must mask it."""
        if self.secret and not is_secret(self.name):
            msg = (
                f"secret option {self.name!r}: a word of its name must be password, secret, token, api_key or the like"
            )
            raise InvalidArgument(msg)

    def parse(self, text: str) -> Any:
        """The value of `text`.

        Raises:
            ValueError: it is not of this kind or out of its range; the text says what would be.
        """
        value = _PARSERS[self.kind](text)
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raise `ValueError` unless `value` is one of the choices, or in the range."""
        if self.choices and value not in self.choices:
            msg = f"must be one of {', '.join(self.choices)}{nearest(str(value), self.choices)}"
            raise ValueError(msg)
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        if isinstance(value, (int, float)) and not low <= value <= high:
            msg = f"must be {_range(self)}"
            raise ValueError(msg)


def parse_duration(text: str) -> float:
    """Seconds, from `1.5` (seconds), `250ms`, `30s`, `5m`, `2h` or `1d`. Raises `ValueError`."""
    number, unit = _with_unit(text, _DURATIONS, "a duration such as 250ms, 30s, 5m, 2h or 1d")
    return float(number) * unit


def parse_size(text: str) -> int:
    """Bytes, from `100`, `64KiB`, `1MB`, ... Raises `ValueError`."""
    number, unit = _with_unit(text, _SIZES, "a size such as 100, 64KiB or 1MB")
    size = float(number) * unit if "." in number else int(number) * int(unit)
    if size != int(size):
        msg = "must be a whole number of bytes"
        raise ValueError(msg)
    return int(size)


def seconds(value: float | timedelta, name: str, *, minimum: float = 0.0, maximum: float = LONGEST) -> float:
    """A duration that a caller gave as the argument `name`, in seconds.

    Raises:
        InvalidArgument: it is no number or timedelta, NaN, or not between `minimum` and `maximum` (100 years).
    """
    plain = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(plain, bool) or not isinstance(plain, (int, float)) or not minimum <= plain <= maximum:
        msg = f"{name}={short(value)}: must be seconds (a number or timedelta) from {minimum:g} to {maximum:g}"
        raise InvalidArgument(msg)
    return float(plain)


def timeout_seconds(timeout: float | timedelta | None) -> float | None:
    """A get's timeout, checked; `None` is for ever."""
    return None if timeout is None else seconds(timeout, "timeout")


def count(value: int, name: str, *, most: int = 10_000) -> int:
    """A number of messages, checked."""
    if type(value) is not int or not 1 <= value <= most:
        msg = f"{name}={short(value)}: must be an int from 1 to {most}"
        raise InvalidArgument(msg)
    return value


CORE: Final = (
    Option("queue", "text", None, "The queue's name; the path is its short form where it is free."),
    Option("password_file", "text", None, "Read the password from this file."),
    Option("lease", "duration", 60.0, "How long a consumer owns a message.", minimum=0.05, maximum=LONGEST),
    Option("max_deliveries", "int", None, "Dead-letter a message that was delivered so often.", minimum=1),
    Option("dead", "text", None, "The dead-letter queue, a name or a URL; by default `<queue>.dead`."),
    Option("require", "names", frozenset(), "What must hold, for example `delay,at-least-once`."),
    Option("emulate", "names", frozenset(), "Opt-in capabilities to switch on."),
    Option("journal", "text", None, "Keep what an at-most-once backend delivered in this file, or store by its URL."),
    Option("codec", "text", "json", "How bodies become bytes.", choices=("json", "msgpack", "text", "raw", "pickle")),
    Option(
        "envelope",
        "text",
        "auto",
        "When headers travel in front of the body, where the protocol has none.",
        choices=("auto", "always", "never"),
    ),
    Option("invalid", "text", "raise", "What becomes of what cannot be decoded.", choices=("raise", "reject")),
    Option("max_size", "int", None, "Refuse puts (`Full`) while so many messages wait.", minimum=1),
    Option("prefetch", "int", 10, "How many messages an iteration fetches at a time.", minimum=1, maximum=10_000),
    Option(
        "timeout", "duration", 30.0, "Deadline of every operation but a waiting get.", minimum=0.001, maximum=LONGEST
    ),
    Option("connect_timeout", "duration", 10.0, "Deadline of a connect.", minimum=0.001, maximum=LONGEST),
    Option("max_sessions", "int", 32, "Most connections of one client to each host.", minimum=1, maximum=10_000),
    Option("max_idle", "duration", 600.0, "Close connections unused so long, but one per host.", minimum=0.001),
)
"""The options that every backend has."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of the core's options, in Python's terms."""

    queue: str | None
    password_file: str | None
    lease: float
    max_deliveries: int | None
    dead: str | None = field(repr=False)  # a URL may have a password
    require: frozenset[str]
    emulate: frozenset[str]
    journal: str | None = field(repr=False)  # as `dead`
    codec: str
    envelope: Literal["auto", "always", "never"]
    invalid: Literal["raise", "reject"]
    max_size: int | None
    prefetch: int
    timeout: float
    connect_timeout: float
    max_sessions: int
    max_idle: float

    @classmethod
    def read(cls, url: URL, driver_options: Sequence[Option]) -> Self:
        """The settings of `url`; every option is checked, the driver's too.

        Raises:
            InvalidURL: an option is unknown, ill-typed or out of its range.
        """
        known = {option.name: option for option in (*CORE, *driver_options)}
        for name in url.options:
            if name not in known:
                # Shown without its options: the misspelt one may be a password.
                msg = (
                    f"{url._but(options={})}: unknown option {name!r}{nearest(name, known)}; "
                    f"known for {url.scheme}: {', '.join(sorted(known))}"
                )
                raise InvalidURL(msg)
        read(url, driver_options)
        settings = cls(**read(url, CORE))
        _check_dead(url, settings)
        return settings

    def but(self, **changes: Any) -> Self:
        """These settings with the arguments of a call in place of the URL's options.

        Raises:
            InvalidArgument: no option has that name, or a value is of the wrong type or out of its range.
        """
        for name in changes:
            if name not in _CORE_BY_NAME:
                msg = (
                    f"unknown option {name!r}{nearest(name, _CORE_BY_NAME)}; known: {', '.join(sorted(_CORE_BY_NAME))}"
                )
                raise InvalidArgument(msg)
        checked = {name: _argument(_CORE_BY_NAME[name], value) for name, value in changes.items()}
        return replace(self, **checked) if checked else self

    def dead_url(self) -> URL | None:
        """Where dead letters go, if that is another client's URL."""
        return URL.parse(self.dead) if self.dead is not None and "://" in self.dead else None

    def given(self) -> frozenset[str]:
        """The names of the options that differ from their defaults."""
        return frozenset(f.name for f in fields(self) if getattr(self, f.name) != _CORE_BY_NAME[f.name].default)


def values(url: URL, driver_options: Sequence[Option]) -> dict[str, Any]:
    """The values of all options of `url`, the core's and the driver's: what `Driver.open` is given.

    Raises:
        InvalidURL: a value is ill-typed or out of its range.
    """
    return read(url, (*CORE, *driver_options))


def read(url: URL, options: Iterable[Option]) -> dict[str, Any]:
    """The values of `options` in `url`, by name, defaults included.

    Raises:
        InvalidURL: a value is ill-typed or out of its range.
    """
    return {option.name: _value(url, option) for option in options}


def _value(url: URL, option: Option) -> Any:
    text = url.options.get(option.name)
    if text is None:
        return option.default
    try:
        return option.parse(text)
    except ValueError as error:
        reason = str(error)
    shown = MASK if is_secret(option.name) or "://" in text else repr(text)
    # From here, where no frame's local variables have the text.
    del text
    msg = f"{url}: option {option.name}={shown}: {reason}"
    raise InvalidURL(msg)


def markdown_table(options: Iterable[Option]) -> str:
    """The options as a Markdown table, for the documentation."""
    rows = ["| option | values | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{o.name}` | {_range(o)} | {_default(o)} | {o.doc} |" for o in options]
    return "\n".join(rows)


_CORE_BY_NAME: Final[Mapping[str, Option]] = {option.name: option for option in CORE}
_DURATIONS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES: Final = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BOOLS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_DIGITS: Final = 18


def _with_unit(text: str, units: Mapping[str, float], wanted: str) -> tuple[str, float]:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", text)
    if match is None or match[2] not in units or len(match[1]) > _DIGITS:
        msg = f"must be {wanted}"
        raise ValueError(msg)
    return match[1], units[match[2]]


def _parse_int(text: str) -> int:
    if not re.fullmatch(rf"-?[0-9]{{1,{_DIGITS}}}", text):
        msg = "must be a whole number"
        raise ValueError(msg)
    return int(text)


def _parse_bool(text: str) -> bool:
    if text.lower() not in _BOOLS:
        msg = "must be true or false"
        raise ValueError(msg)
    return _BOOLS[text.lower()]


def _parse_names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


_PARSERS: Final[Mapping[str, Any]] = {
    "text": str,
    "int": _parse_int,
    "bool": _parse_bool,
    "duration": parse_duration,
    "size": parse_size,
    "names": _parse_names,
}
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {"text": (str,), "int": (int,), "bool": (bool,), "size": (int,)}


def _argument(option: Option, value: Any) -> Any:
    """The value of an option that was given as an argument of a call."""
    if option.kind == "duration":
        value = seconds(value, option.name)
    elif option.kind == "names":
        return _names(option, value)
    elif type(value) not in _TYPES[option.kind]:
        msg = f"{option.name}={short(value)}: must be {_range(option)}"
        raise InvalidArgument(msg)
    try:
        option.check(value)
    except ValueError as error:
        msg = f"{option.name}={short(value)}: {error}"
        raise InvalidArgument(msg) from None
    return value


def _names(option: Option, value: Any) -> frozenset[str]:
    if isinstance(value, str):
        return _parse_names(value)
    names = list(cast("Iterable[object]", value)) if isinstance(value, (list, tuple, set, frozenset)) else [None]
    if not all(isinstance(name, str) for name in names):
        msg = f"{option.name}={short(names)}: must be names, in a set, list or tuple, or in one text with commas"
        raise InvalidArgument(msg)
    return frozenset(map(str, names))


def _check_dead(url: URL, settings: Settings) -> None:
    """Refuse a dead-letter URL that cannot be read when the queue is made, and not at the first reject."""
    try:
        settings.dead_url()
    except InvalidURL as error:
        why = str(error)
    else:
        return
    msg = f"{url}: option dead: {why}"
    raise InvalidURL(msg)


def _range(option: Option) -> str:
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    what = {"names": "names, with commas", "int": "whole number"}.get(option.kind, option.kind)
    low, high = _shown(option, option.minimum), _shown(option, option.maximum)
    if option.minimum is None and option.maximum is None:
        return what
    if option.maximum is None:
        return f"{what}, at least {low}"
    if option.minimum is None:
        return f"{what}, at most {high}"
    return f"{what}, {low} to {high}"


def _shown(option: Option, value: Any) -> str:
    if option.kind != "duration" or value is None:
        return f"{value}"
    whole = (u for u in ("d", "h", "m", "s") if value and value % _DURATIONS[u] == 0)
    unit = next(whole, "ms" if 0 < value < 1 else "s")
    return f"{value / _DURATIONS[unit]:g}{unit}"


def _default(option: Option) -> str:
    if option.default is None or option.default == frozenset():
        return ""
    return f"`{str(option.default).lower() if option.kind == 'bool' else _shown(option, option.default)}`"


def short(value: object) -> str:
    """A value for an error text, in half a line."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - an int of 5000 digits, or somebody's own __repr__
        text = f"<{type(value).__name__}>"
    text = without_url(text)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - half a line
