"""The command `work`: a handler from a module, its settings, its mistakes, and signals."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

import unimq
from unimq.testing.lab import PATIENCE

_COMMAND = [sys.executable, "-m", "unimq.cli", "work"]

Run = Callable[..., Result]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with a module of handlers."""
    (tmp_path / "shop.py").write_text(
        textwrap.dedent("""
        import os, signal, threading, time, unimq

        minded = threading.Event()
        end = unimq.Worker._end

        def _end(worker, threads):
            minded.set()
            end(worker, threads)

        unimq.Worker._end = _end

        def tell(message):
            print("sent", message.body, flush=True)
            if message.body == "last":
                os.kill(os.getpid(), signal.SIGTERM)

        def send(message):
            tell(message)
            if message.body == "last":
                minded.wait(60)  # or the thread might take one more before the main thread hears of the signal

        def slow(message):
            print("begun", flush=True)
            time.sleep(60)

        async def awaited(message):
            tell(message)

        aside = unimq.AsyncWorker(os.environ.get("SHOP", "memory://x/y"), awaited)
        beside = unimq.Worker(os.environ.get("SHOP", "memory://x/y"), send)

        class Mail:
            @staticmethod
            def send(message):
                send(message)

        number = 4
        """)
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("shop", None)
    sys.path[:] = [entry for entry in sys.path if entry]


@pytest.mark.slow
@pytest.mark.parametrize("handler", ["Mail.send", "awaited", "aside", "beside"])
def test_it_calls_the_handler_until_a_signal(
    shop: Path, url: str, process: Callable[..., "subprocess.CompletedProcess[str]"], handler: str
) -> None:
    """What was put is handled, and SIGTERM is a good end."""
    with unimq.Queue(url) as queue:
        queue.put_many(["first", "last", "left"])
        how = {"SHOP": url} if handler.endswith("side") else {"UNIMQ_URL": url}
        done = process("work", f"shop:{handler}", **how)
        assert done.stdout == "sent first\nsent last\n"
        assert [message.body for message in queue.peek(10)] == ["left"]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_gives_back_at_once(shop: Path, url: str, stop: signal.Signals) -> None:
    """Although the handler would go on for a minute."""
    with unimq.Queue(url) as queue:
        queue.put("kept")
        command = [*_COMMAND, "shop:slow", "--url", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:  # noqa: S603 - our own
            assert worker.stdout is not None
            assert worker.stdout.readline() == "begun\n"
            worker.send_signal(stop)
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(0.3)
            worker.send_signal(stop)
            assert worker.wait(PATIENCE) == 0
        with queue.get(timeout=PATIENCE) as message:
            assert message.body == "kept"


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ("shop", "'shop' must be MODULE:HANDLER"),
        ("shop:nothing", "has no attribute 'nothing'"),
        ("nowhere:send", "No module named 'nowhere'"),
        ("shop:number", "'shop:number' is int: it must be a function that takes a message, or a worker"),
    ],
)
def test_a_wrong_handler_is_told(shop: Path, run: Run, here: str, handler: str, told: str) -> None:
    """With what was looked for."""
    output = run("work", handler, "--url", here, code=2).output
    assert told in " ".join(output.split())


def test_a_url_is_needed(shop: Path, run: Run) -> None:
    """By an option or the environment."""
    assert "a URL is missing" in run("work", "shop:send", code=2).output


def test_a_module_that_fails_says_so_itself(shop: Path) -> None:
    """With its own traceback: it is a fault of the application."""
    (shop / "broken.py").write_text("import a_module_that_nobody_has\n")
    command = [*_COMMAND, "broken:send", "--url", "memory://x/y"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603 - our own
    assert done.returncode == 1
    assert "a_module_that_nobody_has" in done.stderr
