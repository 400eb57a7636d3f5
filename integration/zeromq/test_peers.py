"""Peers in containers: a holder, a streamer, and programs that know ZeroMQ and nothing of unimq."""

import sys
import sysconfig
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import Recipe, Run, Running, ask
from harness.servers import InContainer
from zeromq.recipes import recipe

import unimq
from unimq.errors import UnimqError
from unimq.testing.lab import PATIENCE, fresh_name

COUNT = 200
ROOT = Path(__file__).parents[2]
PYTHON = (3, 11)
"""Of the image: what is compiled for this one must run there."""
_GREETS = ask(b"", b"\xff")
"""What every ZeroMQ socket says first."""
STREAMER = Recipe("zeromq", 5557, "zeromq+tcp://{address}/jobs?pattern=push-pull&bind=none&codec=raw", _GREETS)
FOREIGN = {"/unimq": ROOT / "unimq", "/adapters": ROOT / "adapters", "/site": Path(sysconfig.get_path("purelib"))}
_PATH = {"PYTHONPATH": "/:/adapters:/site", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def peer(run: Run, private: Callable[[Recipe], Running]) -> Callable[[Recipe], InContainer]:
    """A container of that recipe."""

    def peer(of: Recipe) -> InContainer:
        server = private(of)
        if not isinstance(server, InContainer):
            reason = "NOT TESTED: the peer is in an image, and this one is a process"
            (pytest.fail if run.mode == "require" else pytest.skip)(reason)
        return server

    return peer


def told(container: InContainer, *words: str) -> list[str]:
    """The lines that a program prints in there."""
    code, (output, errors) = container._docker.exec_run(["timeout", "60", "python3", "/peer.py", *words], demux=True)
    assert code == 0, errors
    return str((output or b"").decode()).splitlines()


class TestStreamer:
    """A device stands between, both sides connect to it, and one of them is a foreign program."""

    def test_a_foreign_program_takes_what_unimq_puts(self, peer: Callable[[Recipe], InContainer]) -> None:
        """Each body is one frame, byte for byte."""
        streamer = peer(STREAMER)
        bodies = [bytes([number, 0, 255 - number]) * number for number in range(COUNT)]
        lines: list[str] = []
        words = ("take", "tcp://127.0.0.1:5558", str(COUNT))
        thread = threading.Thread(target=lambda: lines.extend(told(streamer, *words)))
        thread.start()
        with unimq.Queue(streamer.url) as queue:
            queue.put_many(bodies)
            thread.join(6 * PATIENCE)
        assert lines == [body.hex() for body in bodies]

    def test_unimq_takes_what_a_foreign_program_puts(self, peer: Callable[[Recipe], InContainer]) -> None:
        """In order; what has two frames is one body, and both are its `native`."""
        back = Recipe("zeromq", 5558, STREAMER.url, _GREETS, variant="back")
        streamer = peer(back)
        thread = threading.Thread(target=told, args=(streamer, "put", "tcp://127.0.0.1:5557", str(COUNT)))
        thread.start()
        found: list[unimq.Message[Any]] = []
        with unimq.Queue(streamer.url) as queue:
            while len(found) < COUNT:
                found += queue.get_many(COUNT, timeout=6 * PATIENCE)
            thread.join(PATIENCE)
        frames = [[b"%d" % number] + [b"\0more"] * (number % 10 == 0) for number in range(COUNT)]
        assert [message.body for message in found] == [b"".join(parts) for parts in frames]
        assert [message.native for message in found] == [parts if len(parts) > 1 else None for parts in frames]


@pytest.mark.skipif(sys.version_info[:2] != PYTHON, reason="NOT TESTED: the image has another Python than this one")
class TestHolder:
    """unimq in a container serves a file to this machine."""

    def test_what_was_confirmed_survives_its_holder(self, peer: Callable[[Recipe], InContainer]) -> None:
        """Also what a consumer held, when its lease has ended."""
        served = recipe("sqlite:///{data}/jobs.db?durability=normal", "?store=sqlite", "contained")
        command = ("python3", *served.command[1:])
        holder = peer(replace(served, command=command, environment=_PATH, files=FOREIGN))
        with unimq.Queue(f"{holder.url}&queue={fresh_name()}&lease=2s&timeout=2s") as queue:
            queue.put(COUNT)
            assert queue.get(timeout=PATIENCE).body == COUNT
            queue.put_many(range(COUNT // 2))
            holder.kill()
            with pytest.raises(UnimqError):
                queue.put("lost")
            holder.start()
            queue.put_many(range(COUNT // 2, COUNT))
            found: set[int] = set()
            while len(found) <= COUNT:
                with queue.get(timeout=6 * PATIENCE) as message:
                    found.add(message.body)
        assert found == set(range(COUNT + 1))
