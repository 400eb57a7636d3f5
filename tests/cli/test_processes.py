"""`work --processes` and `--health-port`: several processes that are looked after, and what they tell."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import unimq
from unimq.cli.probe import answering
from unimq.testing.lab import PATIENCE

pytestmark = pytest.mark.slow

Run = Callable[..., Result]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a module of handlers, which note who they are."""
    (tmp_path / "shop.py").write_text(
        textwrap.dedent("""
        import os, pathlib, signal, time

        def send(message):
            pathlib.Path(f"{message.body}.{os.getpid()}").touch()
            if message.body == "slow":
                time.sleep(60)
            while message.body.startswith("both") and len(list(pathlib.Path().glob("both*"))) < 2:
                time.sleep(0.01)
        """)
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def working(*options: str, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    """The command runs, and tells its health at the address that it says first."""
    command = [sys.executable, "-m", "unimq.cli", "work", "shop:send", "--health-port", "0", *options]
    with subprocess.Popen(  # noqa: S603 - our own
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
    ) as worker:
        try:
            yield worker
        finally:
            if worker.poll() is None:
                worker.kill()


def address(worker: "subprocess.Popen[str]") -> str:
    assert worker.stderr is not None
    found = re.search(r"health at (http://\S+)", worker.stderr.readline())
    assert found
    return found[1]


def end(worker: "subprocess.Popen[str]") -> int:
    worker.send_signal(signal.SIGTERM)
    return worker.wait(PATIENCE)


def told(where: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(where, timeout=PATIENCE) as answer:  # noqa: S310 - our own
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def until(reached: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE
    while not reached() and time.monotonic() < ends:
        time.sleep(0.02)
    assert reached()


def pids(shop: Path, body: str) -> set[int]:
    return {int(path.suffix[1:]) for path in shop.glob(f"{body}.*") if path.suffix[1:].isdecimal()}


def test_all_of_them_work_until_a_signal(shop: Path, url: str) -> None:
    """Each message is handled once, by one of them, and the health is that of all."""
    with unimq.Queue(url) as queue, working("--processes", "2", "--url", url) as worker:
        where = address(worker)
        queue.put_many(["both1", "both2", "more"])  # the first two end when both have begun
        until(lambda: told(where)[1]["done"] == 3)
        status, health = told(where)
        assert end(worker) == 0
        assert queue.size() == 0
    assert (status, health["connected"], health["processes"], health["deaths"]) == (200, True, 2, 0)
    assert pids(shop, "both1").isdisjoint(pids(shop, "both2"))
    assert len(pids(shop, "more")) == 1


def test_one_that_dies_is_started_again(shop: Path, url: str) -> None:
    """As after the out-of-memory killer: it is told, counted, and its message comes again."""
    lease = f"{url}&lease=2s"
    with unimq.Queue(url) as queue, working("--processes", "1", "--grace", "0s", "--url", lease) as worker:
        where = address(worker)
        queue.put("slow")
        until(lambda: pids(shop, "slow"))
        until(lambda: told(where)[1]["running"] == 1)
        os.kill(next(iter(pids(shop, "slow"))), signal.SIGKILL)
        until(lambda: len(pids(shop, "slow")) == 2)
        until(lambda: told(where)[0] == 200)
        assert told(where)[1]["deaths"] == 1
        assert end(worker) == 0
        assert worker.stderr is not None
        assert re.search(r"worker process 1 \(pid \d+\) ended by SIGKILL and is started again", worker.stderr.read())
        assert queue.get(timeout=PATIENCE).body == "slow"


def test_they_end_with_their_parent(shop: Path, url: str) -> None:
    """Though nobody can tell them."""
    with unimq.Queue(url) as queue, working("--processes", "1", "--grace", "0s", "--url", url) as worker:
        queue.put("slow")
        until(lambda: pids(shop, "slow"))
        worker.kill()
        (child,) = pids(shop, "slow")
        until(lambda: not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes())
        assert queue.get(timeout=PATIENCE).body == "slow"  # given back, long before its lease ends


def test_what_can_never_start_is_not_started_for_ever(shop: Path, url: str) -> None:
    """The status is that of the process that failed."""
    (shop / "once.py").write_text(
        "import pathlib, sys\nif '--report-to' in sys.argv:\n    import a_module_that_nobody_has\nsend = print\n"
    )
    command = [sys.executable, "-m", "unimq.cli", "work", "once:send", "--url", url, "--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603 - our own
    assert done.returncode == 1
    assert "a_module_that_nobody_has" in done.stderr


def test_a_password_is_no_argument_of_a_process(shop: Path, url: str) -> None:
    """Everybody on the machine can read these."""
    with unimq.Queue(url) as queue, working("--processes", "1", "--grace", "0s", UNIMQ_URL=url) as worker:
        queue.put("slow")
        until(lambda: pids(shop, "slow"))
        (child,) = pids(shop, "slow")
        line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        assert "shop:send" in line
        assert "sqlite" not in line
        assert end(worker) == 0


def test_one_process_tells_its_health_too(shop: Path, url: str) -> None:
    """Without a parent that looks after it."""
    with unimq.Queue(url) as queue, working("--url", url) as worker:
        where = address(worker)
        queue.put("x")
        until(lambda: told(where)[1]["done"] == 1)
        assert told(where)[0] == 200
        assert end(worker) == 0


def test_a_server_that_is_away_is_told_by_the_status() -> None:
    """503, and why."""
    health: Mapping[str, Any] = {"connected": False, "error": "nobody answers"}
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("click.echo", lambda text, **_: said.append(text))
        with answering(("127.0.0.1", 0), lambda: health):
            assert told(said[0].removeprefix("health at ")) == (503, health)


def test_a_port_that_is_taken_is_told(shop: Path, run: Run, here: str) -> None:
    """With the option's name."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = run("work", "shop:send", "--url", here, "--health-port", str(port), code=2).output
    assert f"--health-port: 127.0.0.1:{port} cannot be used: Address already in use" in " ".join(output.split())


@pytest.mark.parametrize("port", ["http", "70000", ":80", "localhost", "-1"])
def test_a_port_is_a_number(shop: Path, run: Run, here: str, port: str) -> None:
    """With a host before it, or none."""
    output = run("work", "shop:send", "--url", here, "--health-port", port, code=2).output
    assert "must be PORT or HOST:PORT" in " ".join(output.split())
