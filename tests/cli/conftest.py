"""The command line, run in this process, in one of its own, or on a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import unimq_memory
from unimq import registry
from unimq.capabilities import Capabilities
from unimq.cli.app import cli
from unimq.driver import CONTRACT_VERSION, Session
from unimq.url import URL

COMMAND = [sys.executable, "-m", "unimq.cli"]

Run = Callable[..., Result]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A queue in a file, which processes share."""
    return f"sqlite:///{tmp_path}/jobs.db?queue=mail"


@pytest.fixture
def here() -> str:
    """A queue in this process."""
    return f"memory://{uuid.uuid4().hex}/mail"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, and expect an exit code."""
    monkeypatch.delenv("UNIMQ_URL", raising=False)
    monkeypatch.delenv("UNIMQ_DEBUG", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str, stdin: str | bytes = "", code: int = 0, **environ: str) -> Result:
        result = CliRunner().invoke(cli, arguments, input=stdin, env=environ)
        assert result.exit_code == code, result.output
        assert isinstance(result.exception, SystemExit | None), result.exc_info
        return result

    return run


@pytest.fixture
def process() -> "Callable[..., subprocess.CompletedProcess[str]]":
    """Run a command in a process of its own, and expect an exit code."""

    def run(*arguments: str, code: int = 0, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(  # noqa: S603 - our own command
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={**os.environ, **environ},
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    return run


def _heed_interrupts() -> None:
    """Ctrl-C ends what runs on a terminal; a background job, and what it starts, ignores it unless told otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command on a terminal: what it shows, what is typed, how it ends."""

    def __init__(self, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", **environ},
            start_new_session=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - it only resets a signal, and takes no lock
        )
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Read until `text` is on the terminal."""
        until = time.monotonic() + 20
        while text not in self.shown and time.monotonic() < until and self._read():
            pass
        assert text in self.shown, self.shown

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, not before a person who sees what is shown could press it."""
        time.sleep(0.3)
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """The exit code; `shown` is complete."""
        while self._read():
            pass
        return self.process.wait(20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        os.close(self._ours)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 20)
        data = b""
        with suppress(OSError):  # EIO: the other side is closed
            data = os.read(self._ours, 65536) if ready else b""
        self.shown += data.decode()
        return data != b""


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Start a command on a terminal."""
    started: list[Terminal] = []

    def start(*arguments: str, **environ: str) -> Terminal:
        started.append(Terminal(arguments, environ))
        return started[-1]

    yield start
    for one in started:
        one.close()


class Altered:
    """A session of memory:// with some methods replaced by functions that get the session first."""

    def __init__(self, session: Session, methods: dict[str, Callable[..., Any]]) -> None:
        self._session = session
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        method = self._methods.get(name)
        if method is None:
            return getattr(self._session, name)
        return lambda *arguments, **named: method(self._session, *arguments, **named)


class OddDriver:
    """The driver of odd://, which is memory:// with what a test changes."""

    name = "odd"
    contract = CONTRACT_VERSION
    options = ()
    library: str | None = None
    install = "pip install odd"
    port: int | None = 9999
    path_is_queue = True

    def __init__(self) -> None:
        self.changed: dict[str, Any] = {}
        """Capabilities that are not those of memory://."""
        self.methods: dict[str, Callable[..., Any]] = {}
        self.refuses: Exception | None = None
        """Raised instead of opening a session."""
        self._host = uuid.uuid4().hex

    def capabilities(self, url: URL) -> Capabilities:
        return replace(unimq_memory.driver.capabilities(URL("memory")), **self.changed)

    def open(self, url: URL, deadline: float, *, options: dict[str, Any], known: Any = None) -> Any:
        if self.refuses is not None:
            raise self.refuses
        session = unimq_memory.driver.open(
            URL.parse(f"memory://{self._host}"), deadline, options={"profile": None, **options}
        )
        session.capabilities = self.capabilities(url)
        return Altered(session, self.methods)


@pytest.fixture
def odd() -> Iterator[OddDriver]:
    """A driver to do anything with, under odd://."""
    driver = OddDriver()
    registry.register("odd", driver)  # type: ignore[arg-type] # its sessions are what __getattr__ makes of them
    yield driver
    registry.unregister("odd")
