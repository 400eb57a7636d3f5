"""How one server is started, and how it is known to be ready."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["IMAGES", "Recipe", "ask"]

IMAGES = Path(__file__).parent.parent / "images"


@dataclass(frozen=True)
class Recipe:
    """A server and its configuration."""

    backend: str
    """Its folder under `images/`, and its part in `UNIMQ_TEST_<BACKEND>_URL` and `UNIMQ_IMAGE_<BACKEND>`."""
    port: int
    """Where it listens in its container."""
    url: str
    """The connection URL; `{address}` becomes host and port."""
    ready: Callable[[str, int], object]
    """Speaks the protocol with the server at a host and port; raises `OSError` until that is answered."""
    command: tuple[str, ...] = ()
    """What to run, with `{host}`, `{port}` and `{data}`; empty: what the image says. Without a container it must be
    given, and its first word be a program on the path."""
    variant: str = "plain"
    """Tells the configurations of a backend apart."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """What of this machine the container sees, by the path it has there; into a folder it may write."""
    patience: float = 60.0
    """Seconds that it may take to be ready."""

    @property
    def name(self) -> str:
        """Unique among recipes."""
        return f"{self.backend}-{self.variant}"

    def words(self, host: str, port: int, data: str) -> list[str]:
        """The command for where it is to listen and keep its data."""
        return [word.format(host=host, port=port, data=data) for word in self.command]


def ask(request: bytes, answer: bytes) -> Callable[[str, int], None]:
    """A readiness that sends `request` and expects a reply that begins with `answer`."""

    def ready(host: str, port: int) -> None:
        with socket.create_connection((host, port), 2) as connection:
            connection.settimeout(2)
            connection.sendall(request)
            got = b""
            while len(got) < len(answer):
                more = connection.recv(4096)
                if not more:
                    break
                got += more
        if not got.startswith(answer):
            msg = f"the server answers {got[:100]!r}, not {answer!r}"
            raise OSError(msg)

    return ready
