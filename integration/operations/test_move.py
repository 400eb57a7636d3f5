"""`unimq move` to real servers and back, killed in the middle."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from activemq.recipes import BROKER
from beanstalkd.recipes import PLAIN as BEANSTALKD
from gearmand.recipes import PLAIN as GEARMAN
from harness import Recipe

import unimq
from unimq.testing.lab import fresh_name

MESSAGES = 3000
IN_HAND = 100
"""How many a kill may leave on both sides."""
CHECKS = (300, 1000)
"""How many have arrived when it is killed."""


@pytest.mark.parametrize(
    ("recipe", "drop"),
    [(BEANSTALKD, ()), (GEARMAN, ()), (BROKER, ("--drop", "priority"))],
    ids=["beanstalkd", "gearman", "activemq"],
)
def test_there_and_back(tmp_path: Path, shared: Callable[[Recipe], str], recipe: Recipe, drop: tuple[str, ...]) -> None:
    """Killed twice on each way, or nearly: all messages are back, each as it was, and duplicates have the same id."""
    server, name = shared(recipe), fresh_name()
    first, last = (f"sqlite:///{tmp_path}/{which}.db?lease=1s" for which in ("first", "last"))
    with unimq.Queue(f"{first}&durability=normal", name=name) as queue:
        for number in range(MESSAGES):
            queue.put(number, id=f"no{number}", headers={"n": str(number)}, ttl=3600)
        expiry = {one.id: one.expires_at for one in queue.peek(MESSAGES)}
    kills = moving(first, server, name, *drop) + moving(server, last, name)
    assert kills
    with unimq.Queue(last, name=name) as queue:
        back = queue.get_many(10_000, timeout=0)
    assert {(one.id, one.body, one.headers["n"]) for one in back} == {(f"no{n}", n, str(n)) for n in range(MESSAGES)}
    assert all(abs((one.expires_at or 0) - (expiry[one.id] or 0)) < 0.002 for one in back)
    assert len(back) <= MESSAGES + kills * IN_HAND
    print(f"{recipe.backend}: {len(back) - MESSAGES} of {MESSAGES} came twice")


def moving(source: str, target: str, name: str, *options: str) -> int:
    """Until nothing is left of the source; killed when so many have arrived, unless it was faster. How often it was."""
    command = [sys.executable, "-m", "unimq.cli", "move", source, target, "--queue", name, *options]
    with unimq.Queue(source, name=name) as here, unimq.Queue(target, name=name) as there:
        kills = 0
        for arrived in CHECKS:
            mover = subprocess.Popen(command)
            while there.size() < arrived and mover.poll() is None:
                time.sleep(0.001)
            mover.kill()
            kills += mover.wait(20) == -signal.SIGKILL
        until = time.monotonic() + 60
        while (left := here.stats()).ready or left.leased:
            assert time.monotonic() < until, left
            assert subprocess.run(command, check=False).returncode == 0
    return kills
