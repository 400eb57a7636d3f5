"""Connection URLs: `scheme[+transport]://[user[:password]@]host[:port][,host[:port]...]/path?option=value`.

A URL is split first and decoded afterwards, so that what a variable, a file or a percent escape holds is never taken
for syntax. The parsed value is immutable, and shows no password: not in its texts, not in an error, not in an
attribute dump. Pickled, copied and compared it is whole, because child processes need it.
"""

import os
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn, Self
from urllib.parse import quote, unquote

from unimq.errors import InvalidURL

__all__ = ["URL", "Host"]

MASK: Final = "***"
SECRET_OPTIONS: Final = frozenset({"password", "passcode", "secret", "token", "key_password"})
"""Options whose values are masked wherever a URL is shown."""
FILE_TRANSPORTS: Final = frozenset({"unix", "ipc", "inproc"})
"""Transports whose path is a socket, and no queue."""
_HOW: Final = 'special characters are written percent-encoded, see urllib.parse.quote(value, safe="")'
_SCHEME: Final = re.compile(r"([a-z][a-z0-9.-]*)(?:\+([a-z0-9.-]+))?\Z")
_VARIABLE: Final = re.compile(r"\$\{([^{}]*)\}")
_LAST_PORT: Final = 65535


class Host(NamedTuple):
    """One server of a URL."""

    name: str
    """A host name, an IPv4 address, or an IPv6 address without its brackets."""
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else quote(self.name, safe="")
        return name if self.port is None else f"{name}:{self.port}"


class _Secret:
    """Holds a value that no text of it shows."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Secret) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


class URL:
    """A parsed connection URL: immutable, comparable, hashable; its texts mask the secrets."""

    __slots__ = ("_options", "_password", "hosts", "path", "scheme", "transport", "user")

    _password: _Secret | None
    _options: _Secret
    scheme: str
    """In lower case, without the transport."""
    transport: str | None
    """What follows the `+` of the scheme, e.g. `ssl` or `unix`."""
    user: str | None
    hosts: tuple[Host, ...]
    """The servers, in the order given; empty where the URL names a file."""
    path: str
    """Decoded, with its leading slash; empty when there is none."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        scheme: str,
        *,
        transport: str | None = None,
        user: str | None = None,
        password: str | None = None,
        hosts: tuple[Host, ...] = (),
        path: str = "",
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Put a URL together from decoded parts; nothing is checked but what `parse` would not accept."""
        options = dict(options or {})
        values = {
            "scheme": scheme,
            "transport": transport,
            "user": user,
            "_password": None if password is None else _Secret(password),
            "hosts": hosts,
            "path": path,
            "_options": _Secret(options),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, text: "str | URL | None" = None, *, environ: Mapping[str, str] | None = None) -> "URL":
        """The URL that `text` writes; `None` takes the environment variable `UNIMQ_URL`, a URL is returned as it is.

        `${NAME}` is filled from `environ` (default: `os.environ`) after splitting. `password_file=` is read.

        Raises:
            InvalidURL: it is none; the error says what is wrong and how to write it, and shows no secret.
        """
        if isinstance(text, URL):
            return text
        environ = os.environ if environ is None else environ
        if text is None:
            text = environ.get("UNIMQ_URL")
            if not text:
                msg = "no URL was given and UNIMQ_URL is not set: pass a URL such as 'sqlite:///jobs.db?queue=jobs'"
                raise InvalidURL(msg)
        if not isinstance(text, str):
            msg = f"url: must be a str or a unimq.URL, is {type(text).__name__}"
            raise InvalidURL(msg)
        return _Parser(text, environ).parse()

    @property
    def password(self) -> str | None:
        """The password, in clear."""
        return None if self._password is None else str(self._password.value)

    @property
    def options(self) -> Mapping[str, str]:
        """The query's options, decoded, in clear. Read-only."""
        return MappingProxyType(self._options.value)

    @property
    def file_path(self) -> str:
        """The path of a URL that names a file: `///jobs.db` is relative, `////var/jobs.db` absolute."""
        return self.path.removeprefix("/")

    def queue_name(self, *, path_is_queue: bool) -> str | None:
        """The queue that the URL names by `?queue=`, or by its path where `path_is_queue` and no transport uses it."""
        name = self._options.value.get("queue")
        if name is None and path_is_queue and self.transport not in FILE_TRANSPORTS:
            name = self.path.removeprefix("/") or None
        return None if name is None else str(name)

    def with_host(self, host: Host) -> "URL":
        """This URL with that one host."""
        return self._but(hosts=(host,))

    def with_credentials(self, user: str | None, password: str | None) -> "URL":
        """This URL with those credentials."""
        return self._but(user=user, password=password)

    def with_options(self, **changes: str | None) -> "URL":
        """This URL with options set, or removed by `None`."""
        options = {**self._options.value, **changes}
        return self._but(options={name: value for name, value in options.items() if value is not None})

    def with_queue(self, name: str) -> "URL":
        """This URL with `?queue=` naming that queue."""
        return self.with_options(queue=name)

    def reveal(self) -> str:
        """The URL with its secrets, percent-encoded where that is needed; `parse` gives an equal value."""
        return self._text(lambda _name, value: value)

    def _but(self, **changes: Any) -> "URL":
        parts: dict[str, Any] = {
            "transport": self.transport,
            "user": self.user,
            "password": self.password,
            "hosts": self.hosts,
            "path": self.path,
            "options": self._options.value,
        }
        return type(self)(self.scheme, **{**parts, **changes})

    def _text(self, shown: Callable[[str, str], str]) -> str:
        login = ""
        if self.user is not None or self.password is not None:
            login = _quote(self.user or "")
            if self.password is not None:
                login += ":" + shown("password", _quote(self.password))
            login += "@"
        pairs = [f"{_quote(name)}={shown(name, _quote(value))}" for name, value in self._options.value.items()]
        return (
            f"{self.scheme}{'+' + self.transport if self.transport else ''}://{login}"
            f"{','.join(map(str, self.hosts))}{_quote(self.path, '/')}{'?' if pairs else ''}{'&'.join(pairs)}"
        )

    def __str__(self) -> str:
        return self._text(lambda name, value: MASK if name in SECRET_OPTIONS else value)

    def __repr__(self) -> str:
        return f"URL({str(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URL) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        options = tuple(sorted(self._options.value.items()))
        return (self.scheme, self.transport, self.user, self.password, self.hosts, self.path, options)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"a URL is immutable: make another one by with_...() instead of setting {name!r}"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.reveal(),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _rebuild(text: str) -> URL:
    return _Parser(text, {}).parse()


class _Parser:
    """Splits one text and decodes its parts. No error it raises has a cause or a context that shows the text."""

    def __init__(self, text: str, environ: Mapping[str, str]) -> None:
        self.text = text
        self.environ = environ

    def parse(self) -> URL:
        scheme, transport, rest = self._scheme()
        rest, _, query = rest.partition("?")
        if "#" in rest or "#" in query:
            self._refuse(f"'#' begins a fragment, which a connection URL has not; {_HOW}")
        authority, slash, path = rest.partition("/")
        login, at, servers = authority.rpartition("@")
        if "@" in login or "@" in path.partition("?")[0]:
            self._refuse(f"there is more than one '@', or a '/' before it; in a user or password {_HOW}")
        user, colon, password = login.partition(":")
        if ":" in password:
            self._refuse(f"the password has a ':' in it; {_HOW}")
        options = self._options(query)
        secret = self._decode(password, "the password") if colon else None
        return URL(
            scheme,
            transport=transport,
            user=self._decode(user, "the user") if at else None,
            password=self._password(secret, options),
            hosts=tuple(self._host(server) for server in servers.split(",")) if servers else (),
            path=self._decode(slash + path, "the path"),
            options=options,
        )

    def _scheme(self) -> tuple[str, str | None, str]:
        if any(ord(character) < 0x20 or ord(character) == 0x7F for character in self.text):  # noqa: PLR2004 - ASCII
            self._refuse(f"it has a control character; {_HOW}")
        before, separator, rest = self.text.partition("://")
        found = _SCHEME.match(before.lower())
        if not separator or found is None:
            self._refuse("it must begin with a scheme, as in sqlite:///jobs.db?queue=jobs or beanstalkd://host/jobs")
        return found[1], found[2], rest

    def _options(self, query: str) -> dict[str, str]:
        options: dict[str, str] = {}
        for pair in filter(None, query.split("&")):
            name, equals, value = pair.partition("=")
            name = self._decode(name, "an option's name")
            if not name or not equals:
                self._refuse("an option is written name=value, options are separated by '&'")
            if name in options:
                self._refuse(f"the option {name!r} is given twice")
            options[name] = self._decode(value, f"the option {name}")
        return options

    def _password(self, password: str | None, options: dict[str, str]) -> str | None:
        path = options.pop("password_file", None)
        if path is None:
            return password
        if password is not None:
            self._refuse("it has a password and a password_file=: give one of them")
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs 5 ms of import
                return file.read().removesuffix("\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
        return self._refuse(f"password_file={path!r} cannot be read: {reason}")

    def _host(self, server: str) -> Host:
        name, port = server, ""
        if server.startswith("["):
            name, bracket, port = server[1:].partition("]")
            if not bracket or (port and not port.startswith(":")):
                self._refuse("an IPv6 address is written in brackets, as in [::1]:11300")
            port = port.removeprefix(":")
        elif server.count(":") == 1:
            name, _, port = server.partition(":")
        elif ":" in server:
            self._refuse("a host has more than one ':'; an IPv6 address is written in brackets, as in [::1]:11300")
        name, port = self._decode(name, "a host"), self._decode(port, "a port")
        if not name:
            self._refuse("a host is empty")
        if not port:
            return Host(name)
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= _LAST_PORT):  # noqa: PLR2004
            self._refuse(f"a port must be a number from 1 to {_LAST_PORT}; in a password {_HOW}")
        return Host(name, int(port))

    def _decode(self, text: str, what: str) -> str:
        if re.search("%(?![0-9A-Fa-f]{2})", text):
            self._refuse(f"{what} has a '%' that is no escape: write %25; {_HOW}")
        # A variable's value is no syntax: its '%' is a '%'. Every second piece is the name of one.
        pieces: list[str] = []
        for position, piece in enumerate(_VARIABLE.split(text)):
            decoded = self.environ.get(piece) if position % 2 else _unquote(piece)
            if decoded is None:
                unset = f"needs the environment variable {piece!r}, which is not set"
                self._refuse(f"{what} {unset if position % 2 else 'has escapes that are no UTF-8'}")
            pieces.append(decoded)
        return "".join(pieces)

    def _refuse(self, why: str) -> NoReturn:
        # Nothing of an unparsable text is shown but its scheme: no part of it is certainly no password.
        scheme = self.text.partition("://")[0].lower()
        where = f"{scheme}://{MASK}" if _SCHEME.match(scheme) and "://" in self.text else "the connection URL"
        msg = f"{where}: {why}"
        raise InvalidURL(msg)


def _unquote(text: str) -> str | None:
    """Decoded, or `None`: the error of the failed attempt would show what it failed on."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return None


def _quote(text: str, safe: str = "") -> str:
    return quote(text, safe=safe)
