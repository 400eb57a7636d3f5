"""A web application that answers at once, and a worker process that does the work.

    python docs/examples/webapp.py                      until Ctrl-C
    python docs/examples/webapp.py --requests 20        asks itself so often, and ends

`POST /mails` puts a job and answers 202 with its id; it answers 503 when the queue takes nothing, so that nobody
believes in a mail that was not stored. The worker sends one mail after the other. At the end it is told to stop: it
finishes what it has begun, and what waits is still there at the next start. Any backend that processes share will do.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import unimq

PATIENCE = 30.0
"""Seconds for the worker to do what was asked for."""


def send(message: unimq.Message[Any]) -> None:
    """Send a mail; here it is a line in a file, with the number of the delivery."""
    with Path(message.body["outbox"]).open("a", encoding="utf-8") as outbox:
        outbox.write(f"{message.body['to']} {message.delivery_count}\n")


def work(url: str) -> None:
    """Be the worker process. SIGTERM and Ctrl-C end it after the mail at hand; one that always fails is put aside."""
    unimq.Worker(url, send, retry=unimq.RetryPolicy(attempts=3)).run()


def application(queue: unimq.Queue[Any], outbox: Path) -> type[BaseHTTPRequestHandler]:
    """The web application, whose threads share one queue."""

    class Application(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                receipt = queue.put({"to": asked["to"], "outbox": str(outbox)}, timeout=5)
                status, answer = 202, {"id": receipt.id}
            except unimq.UnimqError as error:
                status, answer = 503, {"error": str(error)}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            """Say nothing for each request."""

    return Application


def ask(port: int, requests: int) -> None:
    """Be the users."""
    for number in range(requests):
        body = json.dumps({"to": f"user{number}@example.org"}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/mails", body, timeout=PATIENCE).close()


def mails(outbox: Path) -> list[str]:
    """What was sent."""
    return outbox.read_text("utf-8").splitlines() if outbox.exists() else []


def main() -> None:
    """Run both parts, and say what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", help="a queue that processes share; a file in a folder of its own by default")
    parser.add_argument("--requests", type=int, help="ask the application so often, and end")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.url)
        return
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{folder}/jobs.db?queue=mails"
        outbox = Path(folder, "outbox.txt")
        with unimq.Queue(url) as queue, ThreadingHTTPServer(("127.0.0.1", 0), application(queue, outbox)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            worker = subprocess.Popen([sys.executable, __file__, "--work", "--url", url])  # noqa: S603 - this program
            try:
                print(f"http://127.0.0.1:{server.server_port}/mails", flush=True)
                if arguments.requests is None:
                    signal.pause()
                else:
                    ask(server.server_port, arguments.requests)
                    until = time.monotonic() + PATIENCE
                    while len(mails(outbox)) < arguments.requests and time.monotonic() < until:
                        time.sleep(0.02)
            except KeyboardInterrupt:
                pass
            finally:
                worker.send_signal(signal.SIGTERM)
                status = worker.wait(PATIENCE)
                server.shutdown()
            sent = mails(outbox)
            print(f"mails {len(sent)}, of {len(set(sent))} users; the worker ended with {status}")


if __name__ == "__main__":
    main()
