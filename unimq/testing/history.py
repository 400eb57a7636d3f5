"""Proof by history, in the manner of Jepsen's total-queue test: what producers and consumers saw while things broke.

Producers and consumers are processes that note what they try and what is confirmed (`unimq.testing.workload`). They
are killed and replaced, and whatever else `faults` names is done meanwhile. Then all is mended, the queue is emptied,
and the notes are compared: `run` does that, and `Verdict` says what came out.

Where a backend delivers at least once, nothing may be in `Verdict.lost`. Nowhere may anything be in
`Verdict.unexpected`.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from unimq.testing.faults import Server
from unimq.testing.lab import PATIENCE
from unimq.url import URL

__all__ = ["Verdict", "breakages", "judge", "run"]

_PARTS: Final = ("producer", "producer", "consumer", "consumer", "consumer")
_PAUSES: Final = (0.2, 1.2)
"""Seconds between two faults: at random, from the first to the second."""
_DOWN: Final = 0.5
_STALLED: Final = 2.0
"""Seconds that a server is away; those of a stall are to outlast the URL's `timeout=`."""


@dataclass(frozen=True)
class Verdict:
    """What a history shows, counted in messages."""

    tried: int
    """Puts that were begun."""
    stored: int
    """Puts that were confirmed."""
    refused: int
    """Puts that failed for certain. The rest of `tried` is in doubt: either may be true of them."""
    acked: int
    """Acks that were confirmed."""
    lost: frozenset[str]
    """Confirmed, and never acked by anybody, not even tried to."""
    unexpected: frozenset[str]
    """Got, though nobody put them, or their put had failed for certain."""
    duplicated: int
    """Got more than once."""
    repeated: int
    """Got again after an ack of theirs was confirmed. A part of `duplicated`."""
    faults: Mapping[str, int]
    """How often each thing was broken."""

    def __str__(self) -> str:
        """One line for a report."""
        doubt = self.tried - self.stored - self.refused
        broken = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items())) or "none"
        return (
            f"{self.tried} puts tried, {self.stored} confirmed, {doubt} in doubt; {len(self.lost)} lost, "
            f"{len(self.unexpected)} unexpected, {self.duplicated} got more than once, {self.repeated} of them after "
            f"their ack; {sum(self.faults.values())} faults ({broken})"
        )


def judge(folder: Path, faults: Mapping[str, int]) -> Verdict:
    """Compare the notes in `folder`, one file for each process."""
    events = sorted(event for file in folder.iterdir() for event in _events(file))
    seen: dict[str, set[str]] = {word: set() for word in ("put", "stored", "refused", "ack", "acked")}
    got: Counter[str] = Counter()
    repeated: set[str] = set()
    tries: Counter[str] = Counter()
    for _, word, name in events:
        if word in seen:
            seen[word].add(name)
        if word == "got":
            got[name] += 1
            if name in seen["acked"]:
                repeated.add(name)
        tries[name] += {"ack": 1, "missed": -1}.get(word, 0)
    handled = {name for name, left in tries.items() if left > 0}
    return Verdict(
        tried=len(seen["put"]),
        stored=len(seen["stored"]),
        refused=len(seen["refused"]),
        acked=len(seen["acked"]),
        lost=frozenset(seen["stored"] - handled),
        unexpected=frozenset(set(got) - (seen["put"] - seen["refused"])),
        duplicated=sum(1 for count in got.values() if count > 1),
        repeated=len(repeated),
        faults=dict(faults),
    )


def _events(file: Path) -> list[tuple[float, str, str]]:
    whole = file.read_text().rpartition("\n")[0]  # a kill may cut the last line
    lines = (line.split(" ", 2) for line in whole.splitlines())
    return [(float(when), word, name) for when, word, name in lines]


class _Cast:
    """The processes at work; each has a file of its own in `folder`."""

    def __init__(self, url: URL, name: str, folder: Path, dice: random.Random) -> None:
        path = os.pathsep.join(part for part in sys.path if part)
        self._environment = {**os.environ, "UNIMQ_URL": url.reveal(), "PYTHONPATH": path}
        self._name = name
        self._folder = folder
        self._dice = dice
        self._count = 0
        self._parts = {part: [self._started(part) for _ in range(_PARTS.count(part))] for part in set(_PARTS)}

    def _started(self, part: str) -> "subprocess.Popen[bytes]":
        self._count += 1
        words = (part, self._name, str(self._folder / f"{part}-{self._count}"), str(self._dice.getrandbits(32)))
        command = [sys.executable, "-m", "unimq.testing.workload", *words]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=self._environment)  # noqa: S603 - our own module

    def replace(self, part: str) -> None:
        """Kill -9 one of those who play a part, and start another."""
        players = self._parts[part]
        which = self._dice.randrange(len(players))
        players[which].kill()
        players[which].wait()
        players[which] = self._started(part)

    def stop(self, part: str) -> None:
        """Let those who play a part finish what they do."""
        for player in self._parts[part]:
            player.terminate()
        for player in self._parts[part]:
            try:
                player.wait(6 * PATIENCE)
            except subprocess.TimeoutExpired:
                player.kill()
                player.wait()

    def close(self) -> None:
        """Leave nobody behind."""
        for players in self._parts.values():
            for player in players:
                player.kill()
                player.wait()


def breakages(server: Server) -> dict[str, Callable[[], None]]:
    """What can be done to a server, for `run`: it is killed and started again, stalled for a while, and cut off."""

    def restart() -> None:
        server.kill()
        time.sleep(_DOWN)
        server.start()

    def stall() -> None:
        server.pause()
        time.sleep(_STALLED)
        server.resume()

    return {"server killed": restart, "server stalled": stall, "connections cut": server.cut}


def run(
    url: str | URL,
    name: str,
    *,
    seconds: float,
    faults: Mapping[str, Callable[[], Any]] | None = None,
    settle: float = 6 * PATIENCE,
) -> Verdict:
    """Let two producers and three consumers work on the queue `name` of `url` while things break; then judge.

    - `seconds`: for how long they are disturbed, at least: each thing is broken once
    - `faults`: what can be broken besides the processes themselves, by its name; each call breaks and mends it.
      `breakages` makes them of a server. Each is done in turn, in an order that changes
    - `settle`: seconds that the consumers have at the end, for whatever is left
    """
    dice = random.Random()  # noqa: S311 - no secret
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="unimq-history-") as made:
        folder = Path(made)
        cast = _Cast(URL.parse(url), name, folder, dice)
        try:
            ways: dict[str, Callable[[], Any]] = {
                "producer killed": lambda: cast.replace("producer"),
                "consumer killed": lambda: cast.replace("consumer"),
                **(faults or {}),
            }
            _until(lambda: judge(folder, done).stored, 6 * PATIENCE)  # nothing is disturbed before it has begun
            ends = time.monotonic() + seconds
            turns: list[str] = []
            while time.monotonic() < ends or len(done) < len(ways):
                time.sleep(dice.uniform(*_PAUSES))
                turns = turns or dice.sample(sorted(ways), len(ways))
                way = turns.pop()
                ways[way]()
                done[way] += 1
            cast.stop("producer")
            _until(lambda: not judge(folder, done).lost, settle)
            cast.stop("consumer")
        finally:
            cast.close()
        return judge(folder, done)


def _until(reached: Callable[[], object], seconds: float) -> None:
    """Wait, no longer than so many seconds."""
    until = time.monotonic() + seconds
    while not reached() and time.monotonic() < until:
        time.sleep(0.2)
