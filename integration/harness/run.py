"""One run of the integration tests: which servers it has, who shares them, and that nothing of it is left.

The run has a folder with a lock that its first process holds for life. Containers carry the folder's path as a label:
whose lock can be taken has died, and its containers are removed by the next run.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal, get_args

import docker
import docker.constants
import docker.errors

from harness.recipe import IMAGES, Recipe
from harness.servers import InContainer, InProcess, Running

__all__ = ["MissingServer", "Mode", "Run"]

Mode = Literal["require", "try", "skip"]
"""What a missing server means: a failure, a skip that is told, or that no server is looked for at all."""

_LABEL: Final = "unimq.run"
_FOLDER: Final = "UNIMQ_RUN_FOLDER"


class MissingServer(Exception):
    """There is no server to test with, for the reason given."""


def mode() -> Mode:
    """What `UNIMQ_INTEGRATION` says; "try" where it says nothing."""
    wanted = os.environ.get("UNIMQ_INTEGRATION", "try")
    for known in get_args(Mode):
        if wanted == known:
            return known  # type: ignore[no-any-return] # one of Mode's
    msg = f"UNIMQ_INTEGRATION is {wanted!r}: it must be one of {', '.join(get_args(Mode))}"
    raise ValueError(msg)


class Run:
    """What the processes of one run of pytest have in common. The first one makes it, and the others find it."""

    def __init__(self) -> None:
        self.mode: Mode = mode()
        self.own: list[Running] = []
        """Servers that tests of this process have for themselves."""
        self._started_here: list[Running] = []  # a child process that is forgotten warns
        inherited = os.environ.get(_FOLDER)
        self.folder = Path(inherited or tempfile.mkdtemp(prefix="unimq-run-"))
        self._lock = None if inherited else _locked(self.folder / "lock", wait=False)
        os.environ[_FOLDER] = str(self.folder)
        self._engine: Any = None
        if self._lock is not None:
            self._sweep()

    @property
    def first(self) -> bool:
        """Whether this process made the run, and ends it."""
        return self._lock is not None

    def shared(self, recipe: Recipe) -> str:
        """The URL of a server that all processes of the run use and nobody breaks; the first to ask starts it."""
        outside = os.environ.get(f"UNIMQ_TEST_{recipe.backend.upper()}_URL")
        if outside:
            return outside
        record = self.folder / f"{recipe.name}.json"
        with _locked(self.folder / f"{recipe.name}.lock"):
            if not record.exists():
                record.write_text(json.dumps(self._started(recipe)))
        told: dict[str, str] = json.loads(record.read_text())
        if "missing" in told:
            raise MissingServer(told["missing"])
        return told["url"]

    def _started(self, recipe: Recipe) -> dict[str, str]:
        try:
            server = self._make(recipe)
            self._started_here.append(server)
            server.start()
        except MissingServer as missing:
            return {"missing": str(missing)}
        return {"url": server.url, "handle": server.handle}

    @contextlib.contextmanager
    def private(self, recipe: Recipe) -> Generator[Running]:
        """A server that the caller may break. A server that was named by a URL is nobody's to break."""
        if os.environ.get(f"UNIMQ_TEST_{recipe.backend.upper()}_URL"):
            msg = f"UNIMQ_TEST_{recipe.backend.upper()}_URL names a server that these tests may not break"
            raise MissingServer(msg)
        server = self._make(recipe)
        self.own.append(server)
        try:
            server.start()
            yield server
        finally:
            self.own.remove(server)
            server.remove()

    def _make(self, recipe: Recipe) -> Running:
        if self.mode == "skip":
            msg = "UNIMQ_INTEGRATION=skip"
            raise MissingServer(msg)
        try:
            engine = self.engine()
        except MissingServer:
            if recipe.command and shutil.which(recipe.command[0]):
                return InProcess(recipe)
            raise
        return InContainer(recipe, self._image(engine, recipe.backend), {_LABEL: str(self.folder)})

    def engine(self) -> Any:
        """The client of the container engine."""
        if self._engine is None:
            try:
                _knock()
                engine = docker.from_env(timeout=120)
                engine.ping()
            except (docker.errors.DockerException, OSError) as error:
                msg = f"no container engine answers ({error}): start one, or run the tests by .ci/engine"
                raise MissingServer(msg) from error
            self._engine = engine
        return self._engine

    def _image(self, engine: Any, backend: str) -> str:
        """The image that was named, or the one that its folder describes: built once, by who comes first."""
        named = os.environ.get(f"UNIMQ_IMAGE_{backend.upper()}")
        if named:
            return named
        tag = f"unimq-test-{backend}"
        built = self.folder / f"{tag}.built"
        with _locked(self.folder / "images.lock"):
            if not built.exists():
                try:
                    engine.images.build(path=str(IMAGES / backend), tag=tag, rm=True, forcerm=True)
                except docker.errors.BuildError as error:
                    log = "".join(str(line.get("stream", "")) for line in error.build_log)
                    msg = f"the image of {backend} could not be built: {error}\n{log}"
                    raise MissingServer(msg) from error
                except docker.errors.APIError as error:
                    msg = f"the image of {backend} could not be built: {error}; has .ci/base-image run?"
                    raise MissingServer(msg) from error
                built.touch()
        return tag

    def logs(self) -> Iterator[tuple[str, str]]:
        """The last words of the servers in use, by their names."""
        for server in self.own:
            yield server.recipe.name, server.logs()
        for record in self.folder.glob("*.json"):
            kind, _, which = json.loads(record.read_text()).get("handle", "").partition(" ")
            if kind == "container":
                yield record.stem, self.engine().containers.get(which).logs(tail=60).decode(errors="replace")

    def close(self) -> None:
        """End what the run has started. Called by the first process, when the others are gone."""
        for record in self.folder.glob("*.json"):
            kind, _, which = json.loads(record.read_text()).get("handle", "").partition(" ")
            if kind == "process":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(which), signal.SIGKILL)
        with contextlib.suppress(MissingServer):
            _remove(self.engine().containers.list(all=True, filters={"label": f"{_LABEL}={self.folder}"}))
        shutil.rmtree(self.folder, ignore_errors=True)
        os.environ.pop(_FOLDER, None)

    def _sweep(self) -> None:
        """Remove the containers of runs whose first process has died."""
        if self.mode == "skip":
            return
        with contextlib.suppress(MissingServer):
            for container in self.engine().containers.list(all=True, filters={"label": _LABEL}):
                folder = Path(container.labels[_LABEL])
                if folder != self.folder and _is_dead(folder):
                    _remove([container])

    def describe(self) -> str:
        """What the tests run against, in a line."""
        if self.mode == "skip":
            return "integration: UNIMQ_INTEGRATION=skip, NO SERVER IS TESTED"
        try:
            what = f"containers, engine {self.engine().version()['Version']}"
        except MissingServer as missing:
            what = f"plain processes ({missing})"
        return f"integration: {what}; a missing server is {'a failure' if self.mode == 'require' else 'a skip'}"


def _knock() -> None:
    """`OSError` where nobody listens: the client library would leave a socket open then."""
    kind, _, path = os.environ.get("DOCKER_HOST", docker.constants.DEFAULT_UNIX_SOCKET).partition("://")
    if "unix" in kind:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)


def _is_dead(folder: Path) -> bool:
    try:
        with _locked(folder / "lock", wait=False, create=False):
            return True
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False


def _locked(file: Path, *, wait: bool = True, create: bool = True) -> IO[bytes]:
    """A lock that is held until the file returned is closed, or its process ends."""
    opened = file.open("ab" if create else "rb")
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        opened.close()
        raise
    return opened


def _remove(containers: list[Any]) -> None:
    for container in containers:
        with contextlib.suppress(docker.errors.NotFound):
            container.remove(force=True, v=True)
