"""`--health-port`: what a worker does, over HTTP, for whoever watches over it."""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Final

import click
import msgspec

__all__ = ["address", "answering"]

_LOCAL: Final = "127.0.0.1"
_LAST_PORT: Final = 65_535


def address(text: str) -> tuple[str, int]:
    """Host and port, from PORT (this machine only) or HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > _LAST_PORT or (colon and not host):
        msg = f"{text!r} must be PORT or HOST:PORT, such as 8080 or 0.0.0.0:8080"
        raise click.BadParameter(msg)
    return host or _LOCAL, int(port)


class _Server(ThreadingTCPServer):
    """As `ThreadingHTTPServer`, which looks up the name of the host, and may wait long for that."""

    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def answering(where: tuple[str, int] | None, health: Callable[[], Mapping[str, Any]]) -> Generator[None]:
    """Answer any GET with the health as JSON, 200 while the server is reached and 503 while it is not."""
    if where is None:
        yield
        return

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = health()
            body = msgspec.json.encode(told) + b"\n"
            self.send_response(200 if told["connected"] else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            """A probe each second is no news."""

    try:
        bound = _Server(where, Answer)
    except OSError as error:
        msg = f"--health-port: {where[0]}:{where[1]} cannot be used: {error.strerror or error}"
        raise click.UsageError(msg) from None
    with bound as server:
        click.echo(f"health at http://{where[0]}:{server.server_address[1]}/", err=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="unimq health", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
