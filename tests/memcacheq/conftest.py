"""The stand-in for MemcacheQ, as a plain process."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

STANDIN: Final = Path(__file__).parents[2] / "integration" / "images" / "memcacheq" / "standin.py"


class StandIn:
    """A server in a folder, which can be killed and started again on the same port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._arguments = arguments
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(STANDIN), "-l", "127.0.0.1", "-p", str(self.port), "-H", str(self.folder)]
        self._process = subprocess.Popen([*command, *self._arguments])  # noqa: S603 - our own stand-in
        until = time.monotonic() + 20
        while True:
            try:
                return self.connect().close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, "the stand-in ended at its start"
                assert time.monotonic() < until, "the stand-in did not start"
                time.sleep(0.005)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[type[StandIn]]:
    """Starts stand-ins, and ends them after the test."""
    with contextlib.ExitStack() as started:

        class Started(StandIn):
            def start(self) -> None:
                super().start()
                started.callback(self.kill)

        yield Started
