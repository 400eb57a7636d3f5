"""A pipeline of three steps with retries and dead letters: parse, look up, add up.

    python docs/examples/pipeline.py
    python docs/examples/pipeline.py --url beanstalkd://localhost

Each step has a queue. What cannot be right is rejected at once; what fails for the moment is tried again; what fails
three times becomes a dead letter. Then the mistake is mended, and the dead letters go back to the step they come from.
The next step is put before the message is acked: a crash in between repeats a step, and loses nothing.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Callable
from typing import Any

import unimq

LINES = ["tea 2", "salt 1", "no number", "coffee 3", "sugar 4"]
PRICES = {"tea": 12, "salt": 2, "sugar": 5}
"""In cents; the price of coffee is missing at first."""
ATTEMPTS = 3

Step = Callable[[Any], Any]


class NotToday(Exception):
    """Something else was not there; it may be the next time."""


class Pipeline:
    """The steps, each from its queue to the next."""

    def __init__(self, client: unimq.Client) -> None:
        names = ("lines", "orders", "prices")
        self.lines, self.orders, self.prices = (client.queue(name, max_deliveries=ATTEMPTS) for name in names)
        self.asked: dict[str, int] = {}

    def parse(self, line: str) -> dict[str, Any]:
        """A line of text; what is none will not be one the next time either."""
        what, _, number = line.partition(" ")
        if not number.isdigit():
            msg = f"{line!r} has no number"
            raise ValueError(msg)
        return {"what": what, "number": int(number)}

    def look_up(self, order: dict[str, Any]) -> int:
        """Its price. The list is away at the first try for each."""
        what = order["what"]
        self.asked[what] = self.asked.get(what, 0) + 1
        if self.asked[what] == 1:
            msg = "the list of prices is away"
            raise NotToday(msg)
        return int(PRICES[what] * order["number"])

    def run(self) -> None:
        """Work off what there is."""
        self.step(self.lines, self.parse, self.orders)
        self.step(self.orders, self.look_up, self.prices)

    def step(self, source: unimq.Queue[Any], work: Step, target: unimq.Queue[Any]) -> None:
        """Take each message once, and again those that failed; a pause between two tries is the queue's own."""
        for message in source.consume(prefetch=1, timeout=1.0):
            with contextlib.suppress(NotToday, KeyError), message:  # it comes again, or was given up
                try:
                    target.put(work(message.body))
                except ValueError as error:
                    message.reject(str(error))


def mended(pipeline: Pipeline) -> int:
    """Put the missing price in, and let the dead letters of that step go back; how many those are."""
    PRICES["coffee"] = 20
    return pipeline.orders.dead.redrive()


def main() -> None:
    """Put the lines in, run, mend, run again, and add up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", help="a backend without a queue's name; a file in a folder of its own by default")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        unimq.connect(arguments.url or f"sqlite:///{folder}/shop.db", require={"dead_letters"}) as client,
    ):
        pipeline = Pipeline(client)
        pipeline.lines.put_many(LINES)
        pipeline.run()
        for queue in (pipeline.lines, pipeline.orders):
            for letter in queue.dead.get_many(10, timeout=1.0):  # not every backend can peek
                print(f"{queue.dead.name}: {letter.body!r}: {letter.headers['unimq-dead-reason']}")
                letter.release()
        print(f"put back: {mended(pipeline)}")
        pipeline.run()
        total = 0
        for message in pipeline.prices.consume(timeout=0.5):
            with message:
                total += message.body
        print(f"total: {total}")


if __name__ == "__main__":
    main()
