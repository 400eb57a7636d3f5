"""The runner of the benchmarks: the same work by unimq and by others, beside each other on one server.

A module of a backend says who is compared with what (`Comparison`), and calls `main`. Each round lets all sides do each
step one after the other, beginning with another one each time, so that a slow moment of the machine meets them all. A
time is the median over the rounds, a ratio the median of each round's own. `python -m bench.NAME --help`, with
`integration` on the path, or `make bench BACKEND=NAME`.
"""

import argparse
import contextlib
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from bench.chart import Bar, chart
from bench.latency import latencies
from bench.ours import HUNDRED, Ours
from harness import Recipe, Run

import unimq

__all__ = ["Comparison", "Cost", "Goal", "Side", "cost", "machine", "main", "served_by", "server"]

UNIMQ: Final = "unimq"
STEPS: Final = {
    "put": "put",
    "get_ack": "get and ack",
    "put_batches": "put, batches of 100",
    "get_ack_batches": "get and ack, batches of 100",
    "consume": "consume with prefetch=10, ack each",
    "consume_batches": "consume with prefetch=100, ack a hundred",
}
"""The methods of a side, in the order of a round, and what the tables call them: what one puts, the next one gets."""
ALONE: Final = ("consume", "consume_batches")
"""Steps of unimq alone, left out where no goal asks for them; what they take is put before, and not measured."""
_LARGE: Final = 10_000
"""Bytes of a body from which a round has a quarter of the messages."""


class Side(Protocol):
    """One way of doing the work, on a queue of its own, which each pair of steps leaves empty."""

    def put(self, n: int, body: bytes) -> None:
        """One by one."""

    def get_ack(self, n: int) -> None:
        """One by one, waiting for each."""

    def put_batches(self, n: int, body: bytes) -> None:
        """A hundred at a time; one by one where it has no batches."""

    def get_ack_batches(self, n: int) -> None:
        """A hundred at a time; one by one where it has no batches."""

    def close(self) -> None:
        """Leave."""


@dataclass(frozen=True)
class Goal:
    """A ratio that is shown: how fast unimq is beside another side, and what it should reach."""

    step: str
    side: str
    least: float | None = None
    """unimq's speed in the other's; `None`: shown without a goal."""
    theirs: str | None = None
    """The step of the other side, where it is not the same."""


@dataclass(frozen=True)
class Comparison:
    """What one backend is compared with."""

    name: str
    recipe: Recipe
    """Starts the server, where no URL is given."""
    sides: Mapping[str, Callable[[unimq.URL, str], Side]]
    """Makes each of the others, for a server and a queue's name."""
    goals: Sequence[Goal]
    waits: str | None
    """The side whose latency is shown beside unimq's: one whose `get_ack` waits. `None`: none does."""


@dataclass(frozen=True)
class Cost:
    """Microseconds of a message."""

    time: float
    processor: float
    """Of this process."""


Costs = dict[tuple[str, str], Cost]
"""What each step cost each side, in one round."""


def one_round(comparison: Comparison, sides: Mapping[str, Side], turn: int, n: int, body: bytes) -> Costs:
    """All steps of all sides."""
    found: Costs = {}
    asked = {goal.step for goal in comparison.goals}
    order = [*sides.items()]
    order = order[turn % len(order) :] + order[: turn % len(order)]
    for step in STEPS:
        for name, side in order:
            if step in ALONE:
                if not isinstance(side, Ours) or step not in asked:
                    continue
                side.put_batches(n, body)
            given = (n, body) if step.startswith("put") else (n,)
            found[step, name] = cost(partial(getattr(side, step), *given), n)
    return found


def cost(work: Callable[[], object], n: int) -> Cost:
    """What `work` on `n` messages costs, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        start, processor = time.perf_counter(), time.process_time()
        work()
        return Cost((time.perf_counter() - start) / n * 1e6, (time.process_time() - processor) / n * 1e6)
    finally:
        gc.enable()


@contextlib.contextmanager
def opened(comparison: Comparison, url: unimq.URL, name: str) -> Generator[dict[str, Side]]:
    """Every side, connected, each with a queue whose name begins with `name`."""
    with contextlib.ExitStack() as stack:
        sides: dict[str, Side] = {UNIMQ: Ours(url, f"{name}0")}
        stack.callback(sides[UNIMQ].close)
        for number, (other, make) in enumerate(comparison.sides.items(), 1):
            sides[other] = make(url, f"{name}{number}")
            stack.callback(sides[other].close)
        yield sides


def _name() -> str:
    return f"bench{os.urandom(6).hex()}"


def measured(comparison: Comparison, url: unimq.URL, size: int, rounds: int, n: int) -> list[Costs]:
    """All rounds with bodies of one size, after one that warms up."""
    body = os.urandom(size)
    with opened(comparison, url, _name()) as sides:
        one_round(comparison, sides, 0, HUNDRED, body)
        return [one_round(comparison, sides, turn, n, body) for turn in range(rounds)]


def rows(comparison: Comparison, size: int, rounds: Sequence[Costs]) -> tuple[list[str], list[Bar]]:
    """The lines of the table, and the bars of the plot."""
    lines: list[str] = []
    bars: list[Bar] = []
    for goal in comparison.goals:
        ours = [one[goal.step, UNIMQ] for one in rounds]
        theirs = [one[goal.theirs or goal.step, goal.side] for one in rounds]
        ratio = statistics.median(b.time / a.time for a, b in zip(ours, theirs, strict=True))
        figures = [statistics.median(one.time for one in side) for side in (ours, theirs)]
        figures += [statistics.median(one.processor for one in side) for side in (ours, theirs)]
        cells = " | ".join(f"{figure:.1f}" for figure in figures)
        least = "" if goal.least is None else f"{goal.least:.2f}"
        what = f"{STEPS[goal.step]}, {goal.side}"
        lines.append(f"| {size:,} | {STEPS[goal.step]} | {goal.side} | {cells} | {ratio:.2f} | {least} |")
        bars.append(Bar(f"{size:,} B", what, ratio, goal.least))
    return lines, bars


@contextlib.contextmanager
def server(recipe: Recipe, given: str | None) -> Generator[unimq.URL]:
    """The server at the URL given, or one that is started for this and ended with it."""
    if given is not None:
        yield unimq.URL.parse(given)
        return
    run = Run()
    try:
        with run.private(recipe) as running:
            yield unimq.URL.parse(running.url)
    finally:
        run.close()


def served_by(url: unimq.URL) -> str:
    """The name and version that the server tells."""
    with unimq.Client(url) as client:
        return client.ping().server


def machine() -> str:
    """What it runs on."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main(comparison: Comparison) -> None:
    """Print the tables; with `--plot`, draw the ratios."""
    parser = argparse.ArgumentParser(description=f"unimq on {comparison.name} beside others")
    parser.add_argument("url", nargs="?", help="a server that runs; without, one is started")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--messages", type=int, default=1000, help="in a round; a quarter of them where they are large")
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1024, 65_000], help="bytes of a body")
    parser.add_argument("--plot", type=Path, help="an SVG file of the ratios to write")
    asked = parser.parse_args()
    bars: list[Bar] = []
    with server(comparison.recipe, asked.url) as url:
        print(f"{machine()}; {served_by(url)}; medians of {asked.rounds} rounds\n")
        print("| body, B | operation | beside | unimq, us | other, us | unimq, CPU us | other, CPU us | ratio | goal |")
        print("|--:|---|---|--:|--:|--:|--:|--:|--:|")
        for size in asked.sizes:
            n = max(HUNDRED, (asked.messages // 4 if size > _LARGE else asked.messages) // HUNDRED * HUNDRED)
            lines, more = rows(comparison, size, measured(comparison, url, size, asked.rounds, n))
            print("\n".join(lines), flush=True)
            bars += more
        print("\n| body, B | latency of | side | p50, ms | p99, ms |\n|--:|---|---|--:|--:|")
        for size in asked.sizes:
            name = _name()
            with opened(comparison, url, name) as givers, opened(comparison, url, name) as takers:
                chosen = {side: (givers[side], takers[side]) for side in (UNIMQ, comparison.waits) if side}
                print("\n".join(latencies(chosen, size)), flush=True)
    if asked.plot is not None:
        asked.plot.write_text(chart(f"{comparison.name}: unimq's speed in the other's", bars))
