"""A server that runs, with the ways to break it: `unimq.testing.Server`, by a container and by a plain process."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

# The reaper's image may not be to be had; what a run leaves behind is swept by the next one. Before the import.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

import docker.errors
from testcontainers.core.container import DockerContainer

from harness.recipe import Recipe

__all__ = ["InContainer", "InProcess", "Running"]

HOST = "127.0.0.1"
_PORTS = range(20_000, 32_000)


class Running(ABC):
    """A server on a port that stays the same when it is killed and started again."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.port = _free_port()
        self.url = recipe.url.format(address=f"{HOST}:{self.port}")

    @property
    @abstractmethod
    def handle(self) -> str:
        """By which another process of the run can remove it."""

    @abstractmethod
    def kill(self) -> None:
        """End it as kill -9 does, and leave it down."""

    @abstractmethod
    def pause(self) -> None:
        """Let it answer nothing while its connections stay open."""

    @abstractmethod
    def resume(self) -> None:
        """Let it go on; harmless when it was not paused or is down."""

    @abstractmethod
    def logs(self) -> str:
        """What it has written."""

    @abstractmethod
    def remove(self) -> None:
        """End it, and leave nothing of it."""

    @abstractmethod
    def _launch(self) -> None:
        """Start it where it does not run."""

    def start(self) -> None:
        """Start it with the store that it had, and wait until it answers; harmless when it runs."""
        self._launch()
        until = time.monotonic() + self.recipe.patience
        while True:
            try:
                self.recipe.ready(HOST, self.port)
            except OSError as error:
                if time.monotonic() > until:
                    msg = f"{self.recipe.name} was not ready within {self.recipe.patience:g} s: {error}\n{self.logs()}"
                    raise TimeoutError(msg) from error
                time.sleep(0.05)
            else:
                return

    def cut(self) -> None:
        """Break its open connections without a farewell. Needs root, and Linux."""
        here = ["state", "established", "sport", "=", f":{self.port}"]
        subprocess.run(["ss", "-K", "-H", "-n", "-t", *here], check=True, capture_output=True)


class InContainer(Running):
    """In a container, from an image that is there already."""

    def __init__(self, recipe: Recipe, image: str, labels: dict[str, str]) -> None:
        super().__init__(recipe)
        self._container = DockerContainer(image).with_kwargs(labels=labels)
        # A port that the engine chooses changes when the container is started again.
        self._container.ports[f"{recipe.port}/tcp"] = (HOST, self.port)  # type: ignore[assignment] # docker allows it
        for name, value in recipe.environment.items():
            self._container.with_env(name, value)
        for there, here in recipe.files.items():
            self._container.with_volume_mapping(str(here), there, "rw" if here.is_dir() else "ro")
        if recipe.command:
            self._container.with_command(recipe.words("0.0.0.0", recipe.port, "/data"))  # noqa: S104 - published on HOST
        self._started = False

    @property
    def handle(self) -> str:
        return f"container {self._docker.id}"

    @property
    def _docker(self) -> Any:
        return self._container.get_wrapped_container()

    def _launch(self) -> None:
        if not self._started:
            self._container.start()
            self._started = True
        else:
            self._docker.start()  # nothing happens where it runs

    def kill(self) -> None:
        with contextlib.suppress(docker.errors.APIError):  # it is down
            self._docker.kill()
        self._docker.wait()

    def pause(self) -> None:
        for tries_left in reversed(range(5)):
            try:
                self._docker.pause()
            except docker.errors.APIError:  # on a busy machine the kernel may not freeze it in time
                if not tries_left:
                    raise
            else:
                return

    def resume(self) -> None:
        with contextlib.suppress(docker.errors.APIError):  # it is down, or was not paused
            self._docker.unpause()

    def logs(self) -> str:
        return str(self._docker.logs(tail=60).decode(errors="replace")) if self._started else ""

    def remove(self) -> None:
        if self._started:
            self._docker.remove(force=True, v=True)


class InProcess(Running):
    """As a child process, with a folder of its own."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self._folder = Path(tempfile.mkdtemp(prefix=f"unimq-{recipe.name}-"))
        self._log = self._folder / "log"
        (self._folder / "data").mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def handle(self) -> str:
        return f"process {self._process.pid if self._process else 0}"

    def _launch(self) -> None:
        if self._process is None or self._process.poll() is not None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.recipe.words(HOST, self.port, str(self._folder / "data")),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self.recipe.environment},
                    start_new_session=True,
                )

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        if self._process is not None:  # its threads stop one after the other
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def logs(self) -> str:
        return self._log.read_text(errors="replace")[-6000:] if self._log.exists() else ""

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _free_port() -> int:
    """A port that no client is given by the system: one of those could be taken while the server is down."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
