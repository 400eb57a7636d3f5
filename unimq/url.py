"""Connection URLs: `scheme[+transport]://[user[:password]@]host[:port][,host[:port]...]/path?option=value`.

A URL is split first and decoded afterwards, so that what a variable, a file or a percent escape holds is never taken
for syntax. The parsed value is immutable, and shows no password: not in its texts, not in an error, not in an
attribute dump. Pickled, copied and compared it is whole, because child processes need it.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import quote, unquote

from unimq.errors import InvalidURL
from unimq.masking import MASK, Secret, is_secret, without_frames

__all__ = ["URL", "Host", "Options", "is_secret"]

FILE_TRANSPORTS: Final = frozenset({"unix", "ipc", "inproc"})
"""Transports whose path is a socket, and no queue."""
_HOW: Final = 'special characters are written percent-encoded, see urllib.parse.quote(value, safe="")'
_SCHEME: Final = re.compile(r"([a-z][a-z0-9.-]*)(?:\+([a-z0-9.-]+))?\Z")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Control characters would be lines of their own on a wire of text; surrogates are not writable at all.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_quote: Final = partial(quote, safe="")
_LONGEST_PASSWORD: Final = 65536
_LAST_PORT: Final = 65535
_PORT_RULE: Final = f"a port must be a number from 1 to {_LAST_PORT}"
_OPTION_RULE: Final = "an option is written name=value, options are separated by '&'"
_SCHEME_RULE: Final = "a scheme, and what follows its '+', are of a-z, 0-9, '.' and '-', as in beanstalkd+unix"
_FORBIDDEN_RULE: Final = "a control character, or one that is no Unicode text"


class Host(NamedTuple):
    """One server of a URL."""

    name: str
    """A host name, an IPv4 address, or an IPv6 address without its brackets."""
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{quote(self.name, safe=':')}]" if ":" in self.name else _quote(self.name)
        return name if self.port is None else f"{name}:{self.port}"


class Options(Mapping[str, str]):
    """The options of a URL's query, decoded, in the order given, in clear. Read-only; its `repr` masks secrets."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        """Keep a copy of `values`."""
        self._values = Secret(dict(values))

    def __getitem__(self, name: str) -> str:
        return str(self._values.value[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values.value)

    def __len__(self) -> int:
        return len(self._values.value)

    def __repr__(self) -> str:
        return repr({name: _masked(name, value) for name, value in self.items()})


class URL:
    """A parsed connection URL: immutable, comparable, hashable; its texts mask the secrets."""

    __slots__ = ("_password", "hosts", "options", "path", "scheme", "transport", "user")

    _password: Secret | None
    scheme: str
    """In lower case, without the transport."""
    transport: str | None
    """What follows the `+` of the scheme, e.g. `ssl` or `unix`."""
    user: str | None
    hosts: tuple[Host, ...]
    """The servers, in the order given; empty where the URL names a file."""
    path: str
    """Decoded, with its leading slash; empty when there is none."""
    options: Options
    """The query's options, decoded, in clear. Read-only."""

    @without_frames
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
        """Put a URL together from decoded parts. An empty user is none; `password_file` is read and used up.

        Raises:
            InvalidURL: a part is not what `parse` would accept, or the file cannot be read.
        """
        given = dict(options or {})
        file = given.pop("password_file", None)
        if file is not None:
            password = _read_password(scheme, file, password)
        values = {
            "scheme": scheme,
            "transport": transport,
            "user": user or None,
            "_password": None if password is None else Secret(password),
            "hosts": hosts,
            "path": path,
            "options": Options(given),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    @classmethod
    @without_frames
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
                _refuse("", "none was given and UNIMQ_URL is not set: pass a URL such as sqlite:///jobs.db?queue=jobs")
        if not isinstance(text, str):
            _refuse("", f"it must be a str or a unimq.URL, is {type(text).__name__}")
        return _Parser(text, environ).parse()

    @property
    def password(self) -> str | None:
        """The password, in clear."""
        return None if self._password is None else str(self._password.value)

    @property
    def file_path(self) -> str:
        """The path of a URL that names a file: `///jobs.db` is relative, `////var/jobs.db` absolute."""
        return self.path.removeprefix("/")

    def queue_name(self, *, path_is_queue: bool) -> str | None:
        """The queue that the URL names by `?queue=`, or by its path where `path_is_queue` and no transport uses it."""
        name = self.options.get("queue")
        if name is None and path_is_queue and self.transport not in FILE_TRANSPORTS:
            name = self.path.removeprefix("/") or None
        return name

    def with_host(self, host: Host) -> "URL":
        """This URL with that one host."""
        return self._but(hosts=(host,))

    def anchored(self) -> "URL":
        """This URL with its file's path absolute, so that a later change of the working directory means nothing."""
        return self._but(path=f"/{os.path.abspath(self.file_path)}") if self.file_path else self  # noqa: PTH100

    @without_frames
    def with_credentials(self, user: str | None, password: str | None) -> "URL":
        """This URL with those credentials. Raises `InvalidURL` for control characters in them."""
        return self._but(user=user, password=password)

    @without_frames
    def with_options(self, **changes: str | None) -> "URL":
        """This URL with options set, or removed by `None`. Raises `InvalidURL` as the constructor does."""
        options = {**self.options, **changes}
        return self._but(options={name: value for name, value in options.items() if value is not None})

    def with_queue(self, name: str) -> "URL":
        """This URL with `?queue=` naming that queue."""
        return self.with_options(queue=name)

    def reveal(self) -> str:
        """The URL with its secrets, percent-encoded where that is needed; `parse` gives an equal value."""
        return self._text(lambda _name, value: _quote(value))

    def _check(self) -> None:
        ports = [host.port for host in self.hosts if host.port is not None]
        transport = "" if self.transport is None else f"+{self.transport}"
        wrong = {
            _SCHEME_RULE: not _SCHEME.match(self.scheme + transport),
            _PORT_RULE: not all(1 <= port <= _LAST_PORT for port in ports),
            _OPTION_RULE: "" in self.options,
            "a host is empty": not all(host.name for host in self.hosts),
            "a path must be empty or begin with '/'": not self.path.startswith("/") and self.path != "",
        }
        texts = {
            "the user": self.user or "",
            "the password": self.password or "",
            "a host": "".join(host.name for host in self.hosts),
            "the path": self.path,
            "an option's name": "".join(self.options),
        }
        texts |= {f"the option {name}": value for name, value in self.options.items()}
        wrong |= {f"{what} has {_FORBIDDEN_RULE}": bool(_FORBIDDEN.search(text)) for what, text in texts.items()}
        for why, is_so in wrong.items():
            if is_so:
                _refuse(self.scheme, why)

    def _but(self, **changes: Any) -> "URL":
        names = ("scheme", "transport", "user", "password", "hosts", "path", "options")
        return type(self)(**{**{name: getattr(self, name) for name in names}, **changes})

    def _text(self, shown: Callable[[str, str], str]) -> str:
        login = ""
        if self.user is not None or self.password is not None:
            login = _quote(self.user or "")
            if self.password is not None:
                login += ":" + shown("password", self.password)
            login += "@"
        pairs = [f"{_quote(name)}={shown(name, value)}" for name, value in self.options.items()]
        return (
            f"{self.scheme}{'+' + self.transport if self.transport else ''}://{login}"
            f"{','.join(map(str, self.hosts))}{quote(self.path)}{'?' if pairs else ''}{'&'.join(pairs)}"
        )

    def __str__(self) -> str:
        return self._text(_masked)

    def __repr__(self) -> str:
        # One that is half made has no parts yet; a traceback may show it all the same.
        return f"URL({str(self)!r})" if hasattr(self, "options") else "<URL, not made>"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URL) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        options = frozenset(self.options.items())
        return (self.scheme, self.transport, self.user, self.password, self.hosts, self.path, options)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"a URL is immutable: make another one by with_...() instead of setting {name!r}"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return URL.parse, (self.reveal(),)


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
        login, _, servers = authority.rpartition("@")
        # An '@' further on may be the real end of a password that has one of these: what is before it is not shown.
        if "@" in login + path + query:
            self._refuse(f"there is more than one '@', or a '/' or '?' before it; {_HOW}; any other '@' is written %40")
        user, colon, password = login.partition(":")
        if ":" in password:
            self._refuse(f"the password has a ':' in it; {_HOW}")
        return URL(
            scheme,
            transport=transport,
            user=self._decode(user, "the user"),
            password=self._decode(password, "the password") if colon else None,
            hosts=tuple(self._host(server) for server in servers.split(",")) if servers else (),
            path=self._decode(slash + path, "the path"),
            options=self._options(query),
        )

    def _scheme(self) -> tuple[str, str | None, str]:
        if _FORBIDDEN.search(self.text):
            self._refuse(f"it has {_FORBIDDEN_RULE}")
        before, separator, rest = self.text.partition("://")
        found = _SCHEME.match(before.lower())
        if not separator or found is None:
            self._refuse(
                "it must begin with a scheme and '://', as in sqlite:///jobs.db?queue=jobs, beanstalkd://host/jobs"
            )
        return found[1], found[2], rest

    def _options(self, query: str) -> dict[str, str]:
        options: dict[str, str] = {}
        for pair in filter(None, query.split("&")):
            name, equals, value = pair.partition("=")
            name = self._decode(name, "an option's name")
            if not name or not equals:
                self._refuse(_OPTION_RULE)
            if name in options:
                self._refuse(f"the option {name!r} is given twice")
            options[name] = self._decode(value, f"the option {name}")
        return options

    def _host(self, server: str) -> Host:
        name, port = server, ""
        if server.startswith("["):
            name, bracket, port = server[1:].partition("]")
            if not bracket or port[:1] not in ("", ":") or ":" not in self._decode(name, "a host"):
                self._refuse("brackets are for an IPv6 address, as in [::1]:11300")
            port = port.removeprefix(":")
        elif server.count(":") == 1:
            name, _, port = server.partition(":")
        elif ":" in server:
            self._refuse("a host has more than one ':'; an IPv6 address is written in brackets, as in [::1]:11300")
        name, port = self._decode(name, "a host"), self._decode(port, "a port")
        if not port:
            return Host(name)
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= _LAST_PORT):  # noqa: PLR2004
            self._refuse(f"{_PORT_RULE}; in a password {_HOW}")
        return Host(name, int(port))

    def _decode(self, text: str, what: str) -> str:
        if re.search("%(?![0-9A-Fa-f]{2})", text):
            self._refuse(f"{what} has a '%' that is no escape: write %25; {_HOW}")
        # A variable's value is no syntax: its '%' is a '%'. Every second piece is the name of one.
        pieces: list[str] = []
        for position, piece in enumerate(_VARIABLE.split(text)):
            if "${" in piece:
                self._refuse(f"{what} has a '${{' that is no variable, which is written ${{NAME}}: write %24%7B")
            decoded = self.environ.get(piece) if position % 2 else _unquote(piece)
            if decoded is None:
                unset = f"needs the environment variable {piece!r}, which is not set"
                self._refuse(f"{what} {unset if position % 2 else 'has escapes that are no UTF-8'}")
            if position % 2 and _FORBIDDEN.search(decoded):
                self._refuse(f"{what}: the environment variable {piece!r} has {_FORBIDDEN_RULE}")
            pieces.append(decoded)
        return "".join(pieces)

    def _refuse(self, why: str) -> NoReturn:
        _refuse(self.text.partition("://")[0] if "://" in self.text else "", why)


def _refuse(scheme: str, why: str) -> NoReturn:
    # Nothing of what cannot be used is shown but its scheme: no part of it is certainly no password.
    where = f"{scheme.lower()}://{MASK}" if _SCHEME.match(scheme.lower()) else "the connection URL"
    msg = f"{where}: {why}"
    raise InvalidURL(msg)


def _read_password(scheme: str, path: str, given: str | None) -> str:
    if given is not None:
        _refuse(scheme, "it has a password and a password_file=: give one of them")
    try:
        # No device or pipe, which could have no end; its kind is looked at first, because opening a pipe may block.
        if stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - pathlib costs 5 ms of import
            with open(path, encoding="utf-8") as file:  # noqa: PTH123
                password = file.read(_LONGEST_PASSWORD + 1).removesuffix("\n")
            if len(password) <= _LONGEST_PASSWORD:
                return password
            reason = f"it has more than {_LONGEST_PASSWORD} characters"
        else:
            reason = "it is no regular file"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    # Raised here, without a context: a UnicodeDecodeError carries all of the file. What is in no directory that exists
    # may be the password itself, given in the wrong place.
    folder = os.path.dirname(path)  # noqa: PTH120
    shown = repr(path) if folder and os.path.isdir(folder) and "\0" not in path else MASK  # noqa: PTH112
    return _refuse(scheme, f"password_file={shown} cannot be read: {reason}")


def _masked(name: str, value: str) -> str:
    """A value as a text of the URL shows it. A URL within a URL may have a password: only its scheme is shown."""
    if is_secret(name):
        return MASK
    scheme, separator, _ = value.partition("://")
    return _quote(value) if not separator else f"{scheme.lower()}://{MASK}" if _SCHEME.match(scheme.lower()) else MASK


def _unquote(text: str) -> str | None:
    """Decoded, or `None`: the error of the failed attempt would show what it failed on."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return None
