"""What the tests of the SQLite backend share: sessions on a file of their own, and other processes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import unimq_sqlite
from unimq.testing.sessions import open_session
from unimq_sqlite.session import SQLiteSession

Open = Callable[..., SQLiteSession]
Start = Callable[..., "subprocess.Popen[str]"]

PRELUDE = """
import math, os, sys, time
from unimq.driver import Outgoing
from unimq.testing.sessions import open_session
from unimq_sqlite import driver
path, INF = sys.argv[1], math.inf
def connect(options=""):
    return open_session(driver, f"sqlite:///{path}{options}", INF)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def connect(path: str) -> Iterator[Open]:
    """Opens sessions on one file; `options` is the query of the URL."""
    opened: list[SQLiteSession] = []

    def connect(options: str = "", where: str = path) -> SQLiteSession:
        opened.append(open_session(unimq_sqlite.driver, f"sqlite:///{where}{options}"))
        return opened[-1]

    yield connect
    for session in opened:
        session.close()


@pytest.fixture
def session(connect: Open) -> SQLiteSession:
    return connect()


@pytest.fixture
def start(path: str) -> Iterator[Start]:
    """Starts another Python with a script that has `connect()` for the same file; all are ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(  # noqa: S603 - a script of these tests
                [sys.executable, "-c", PRELUDE + script, path, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
