"""Count the words of a file with two consumer processes, and kill one of them in the middle of its work.

    python docs/examples/wordcount.py README.md
    python docs/examples/wordcount.py README.md --url beanstalkd://localhost

A producer process puts each line of the file as a job. Two consumers take jobs and put their counts on a second queue.
While consumer 1 holds a job it is killed with SIGKILL. Where delivery is at-least-once that job is delivered again, and
the total is exact; where it is at-most-once the summary says which lines were lost. Nothing here asks for the name of a
backend: what is possible is in `capabilities`.
"""

import argparse
import multiprocessing
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import uuid4

import unimq

LEASE = 2.0
"""Seconds that a consumer owns a job: a dead consumer's job is delivered again after that, or earlier."""
PATIENCE = {"at-least-once": 15.0, "kept-once-received": 15.0, "at-most-once": 2.0}
"""Seconds without a new result after which the missing ones are given up."""


@dataclass(frozen=True)
class Line:
    """A job."""

    number: int
    text: str


@dataclass(frozen=True)
class Result:
    """What a consumer found in one line; in line 0, which no file has, it says that it is ready."""

    number: int
    words: dict[str, int]
    consumer: int
    redelivered: bool | None = None


@dataclass(frozen=True)
class Consumer:
    """What a consumer process is told."""

    number: int
    pause: float
    """Seconds that it rests at each job."""
    stumble_at: int | None
    """Which of its jobs it holds and never finishes."""
    parent: Connection
    """Where it tells that it is ready (0), and which line it holds."""


@dataclass
class Totals:
    """The results put together. A line's number makes a result that comes twice harmless: it counts once."""

    words: Counter[str] = field(default_factory=Counter[str])
    done: dict[int, Result] = field(default_factory=dict[int, Result])
    twice: int = 0

    def add(self, result: Result) -> None:
        """Take one result in."""
        if result.number in self.done:
            self.twice += 1
        else:
            self.done[result.number] = result
            self.words.update(result.words)


@contextmanager
def queues(url: str, name: str) -> Generator[tuple[unimq.Queue[Line], unimq.Queue[Result]]]:
    """The queue of jobs and the queue of results, on the same connections."""
    with unimq.connect(url) as client:
        lease = LEASE if client.capabilities.lease else None
        yield client.queue(name, type=Line, lease=lease), client.queue(f"{name}.results", type=Result)


def produce(url: str, name: str, path: Path) -> None:
    """Put each line of the file: the producer process."""
    with queues(url, name) as (jobs, _results):
        jobs.put_many(Line(number, text) for number, text in enumerate(read_lines(path), start=1))


def consume(url: str, name: str, me: Consumer) -> None:
    """Count the words of one line after the other: a consumer process. It never ends by itself."""
    with queues(url, name) as (jobs, results):
        results.put(Result(0, {}, me.number))
        me.parent.send(0)
        for taken in count(1):
            with jobs.get() as job:  # acked at the end of the block, when the result is stored
                if taken == me.stumble_at:
                    me.parent.send(job.body.number)
                    time.sleep(3600)
                time.sleep(me.pause)
                results.put(Result(job.body.number, count_words(job.body.text), me.number, job.redelivered))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def count_words(text: str) -> Counter[str]:
    """How often each word occurs."""
    return Counter(re.findall(r"\w+", text.lower()))


class Run:
    """The parent's view: it starts the processes, kills one, and puts the results together."""

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self.path = path
        self.lines = read_lines(path)
        if not self.lines:
            sys.exit(f"{path}: it has no lines to count")
        self.totals = Totals()
        self.held_at_death: int | None = None
        self.name = f"wordcount-{uuid4().hex[:8]}"  # its own queues: two runs do not meet
        self.context = multiprocessing.get_context("spawn")
        # A small file is made to last about two seconds, so that both consumers get jobs and there is time to watch.
        self.pause = min(0.2, 2.0 / len(self.lines))
        self.victim, self.victim_says = self.start_consumer(1, stumble_at=1 + len(self.lines) // 5)
        self.survivor, self.survivor_says = self.start_consumer(2, stumble_at=None)

    def start_consumer(self, number: int, stumble_at: int | None) -> tuple[BaseProcess, Connection]:
        """Start a consumer process, and a pipe on which it speaks."""
        listen, speak = self.context.Pipe(duplex=False)
        me = Consumer(number, self.pause, stumble_at, speak)
        process = self.context.Process(target=consume, args=(self.url, self.name, me), daemon=True)
        process.start()
        speak.close()  # the child's end is the only one now, so that its death ends the pipe
        return process, listen

    def count(self) -> None:
        """Let the work be done; returns when every line is counted, or no more is to be expected."""
        with queues(self.url, self.name) as (_jobs, results):
            self.wait_for_consumers(results)
            producer = self.context.Process(target=produce, args=(self.url, self.name, self.path), daemon=True)
            producer.start()
            patience = PATIENCE[results.capabilities.guarantee]
            quiet_since = time.monotonic()
            while len(self.totals.done) < len(self.lines) and time.monotonic() - quiet_since < patience:
                self.kill_who_stumbled()
                try:
                    with results.get(timeout=0.5) as result:
                        self.totals.add(result.body)
                    show_progress(len(self.totals.done), len(self.lines))
                except unimq.Empty:
                    if not producer.is_alive():
                        continue
                quiet_since = time.monotonic()
            self.victim.kill()
            self.survivor.terminate()

    def wait_for_consumers(self, results: unimq.Queue[Result]) -> None:
        """Both have put their first result, which must arrive here: not every queue leaves its process."""
        self.victim_says.recv()
        self.survivor_says.recv()
        try:
            for _ in range(2):
                results.get(timeout=3).ack()
        except unimq.Empty:
            why = "what another process puts does not arrive here"
            sys.exit(f"{results.client.url}: {why}; choose a URL that processes share, such as sqlite:///jobs.db")

    def kill_who_stumbled(self) -> None:
        """Kill consumer 1 as soon as it says which line it holds. A pipe whose process is gone raises `EOFError`."""
        if self.survivor_says.poll():
            self.survivor_says.recv()
        if self.held_at_death is None and self.victim_says.poll():
            self.held_at_death = self.victim_says.recv()
            self.victim.kill()
            say(f"consumer 1 holds line {self.held_at_death}: killed with SIGKILL")

    def clean_up(self) -> None:
        """Remove the two queues where that is possible; elsewhere they are empty, or end with their server."""
        with queues(self.url, self.name) as both:
            for queue in both:
                if queue.capabilities.delete:
                    queue.delete()

    def summary(self) -> tuple[list[tuple[str, str]], bool]:
        """What is to be told, and whether everything is as expected."""
        done = self.totals.done
        by = Counter(result.consumer for result in done.values())
        # Not every backend tells it of a message; what one consumer held and the other one did was delivered again.
        redelivered = sorted(
            number for number, result in done.items() if result.redelivered or number == self.held_at_death
        )
        lost = sorted(set(range(1, len(self.lines) + 1)) - set(done))
        expected = count_words("\n".join(line for number, line in enumerate(self.lines, start=1) if number in done))
        equal = self.totals.words == expected
        compared = "equal" if equal else "NOT EQUAL"
        with queues(self.url, self.name) as (jobs, _results):
            guarantee = jobs.capabilities.guarantee
        rows = [
            ("jobs", f"{len(self.lines)}, done {len(done)}: {by[1]} by consumer 1, {by[2]} by consumer 2"),
            ("killed", f"consumer 1, {'idle' if self.held_at_death is None else f'holding line {self.held_at_death}'}"),
            ("delivered again", some_lines(redelivered)),
            ("results twice", f"{self.totals.twice}"),
            ("lost", some_lines(lost) + (f" (delivery is {guarantee})" if lost else "")),
            ("words", f"{self.totals.words.total()}, counted directly {expected.total()}: {compared}, word by word"),
            ("most frequent", ", ".join(f"{word} {times}" for word, times in self.totals.words.most_common(5))),
        ]
        return rows, equal and (not lost or guarantee != "at-least-once")


def some_lines(numbers: list[int], shown: int = 5) -> str:
    """How many, and which the first are."""
    first = ", ".join(str(number) for number in numbers[:shown]) + (", ..." if len(numbers) > shown else "")
    return f"{len(numbers)}" + (f" (line {first})" if numbers else "")


def say(text: str) -> None:
    """Print a line, over the progress where that is shown."""
    print(f"\r\x1b[K{text}" if sys.stdout.isatty() else text, flush=True)


def show_progress(done: int, of: int) -> None:
    """A bar in a terminal, and a line for each quarter elsewhere."""
    if sys.stdout.isatty():
        filled = 40 * done // of
        print(f"\r[{'#' * filled}{'.' * (40 - filled)}] {done}/{of}", end="", flush=True)
    elif 4 * done // of != 4 * (done - 1) // of:
        print(f"{done}/{of}", flush=True)


def main() -> int:
    """Read the arguments, run, and tell what became of it; 0 when everything is as expected."""
    parser = argparse.ArgumentParser(description="Count the words of a file with two consumers, and kill one of them.")
    parser.add_argument("file", type=Path, help="a text file; each line is a job")
    parser.add_argument("--url", help="the backend; by default a SQLite file in a temporary directory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        url = arguments.url or f"sqlite:///{directory}/wordcount.db"
        try:
            with unimq.connect(url) as client:
                say(f"{arguments.file} on {client.url} ({client.ping().server}), {client.capabilities.guarantee}")
            run = Run(url, arguments.file)
            run.count()
            rows, as_expected = run.summary()
            run.clean_up()
        except (OSError, unimq.UnimqError) as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
        except EOFError:
            parser.exit(2, f"{parser.prog}: a consumer ended by itself, for the reason above\n")
    say("")
    for title, text in rows:
        print(f"{title:16} {text}")
    return 0 if as_expected else 1


if __name__ == "__main__":
    sys.exit(main())
