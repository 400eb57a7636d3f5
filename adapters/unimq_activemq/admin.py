"""Looking after queues: browsing, the statistics plugin, the scheduler, and emptying."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from unimq.driver import Stats
from unimq.errors import ProtocolError, Timeout
from unimq_activemq.frames import Frame, encode
from unimq_activemq.holding import Holding
from unimq_activemq.mapping import destination, is_expired
from unimq_activemq.taking import Taker
from unimq_activemq.wire import Wire

__all__ = ["SCHEDULER", "Admin", "question"]

_STATISTICS: Final = "ActiveMQ.Statistics.Destination."
SCHEDULER: Final = "/topic/ActiveMQ.Scheduler.Management"
_END: Final = "unimq-end"
"""Marks our own message behind the answers of the scheduler, which has no mark of its own."""
_AT_A_TIME: Final = 1000


class Admin:
    """What one session asks about queues as a whole."""

    def __init__(self, wire: Wire, holding: Holding, taker: Taker) -> None:
        self._wire = wire
        self._holding = holding
        self._taker = taker

    def browse(self, queue: str, limit: int, deadline: float, *, selector: str | None = None) -> list[Frame]:
        """Copies of what is in the queue, up to `limit`: neither what has expired nor what this session holds."""
        headers = {"browser": "true", "ack": "auto", **({} if selector is None else {"selector": selector})}
        seen: list[Frame] = []
        browser = self._taker.open(destination(queue), headers, deadline)

        def done() -> bool:
            while browser.frames:
                frame = browser.frames.popleft()
                if not (is_expired(frame) or self._holding.has(frame.headers.get("message-id", ""))):
                    seen.append(frame)
            return browser.ended or len(seen) >= limit

        self._wait(done, deadline)
        self._taker.close(browser, deadline)
        return seen[:limit]

    def stats(self, queue: str, deadline: float) -> Stats:
        """How many messages there are, by state."""
        self.browse(queue, 1, deadline, selector="1=0")  # the broker removes what has expired, for a browser
        told = self._statistics(queue, deadline).get(queue, {})
        size, held = int(told.get("size", 0)), int(told.get("inflightCount", 0))
        delayed = len(self._jobs(queue, deadline))
        return Stats(ready=max(0, size - held), delayed=delayed, leased=held)

    def queues(self, deadline: float) -> list[str]:
        """The names of those that hold messages."""
        told = self._statistics(">", deadline)
        return sorted(
            name for name, one in told.items() if int(one.get("size", 0)) and not name.startswith("ActiveMQ.")
        )

    def purge(self, queue: str, deadline: float) -> int:
        """Remove what nobody holds, at most what is there now."""
        stats = self.stats(queue, deadline)
        removed, left = 0, stats.ready or 0
        while left and (found := self._remove_some(queue, min(left, _AT_A_TIME), deadline)):
            removed += found
            left -= found
        return removed + self._remove_delayed(queue, deadline)

    def _remove_some(self, queue: str, wanted: int, deadline: float) -> int:
        wire = self._wire
        tokens = [token for token, _, _ in self._taker.take_at_once(queue, wanted, deadline)]
        if tokens:
            receipt = wire.receipt()
            wire.write(self._holding.acks(tokens, receipt), deadline)
            wire.answers([receipt], deadline)
        return len(tokens)

    # The scheduler

    def _jobs(self, queue: str, deadline: float) -> list[Frame]:
        """The delayed messages of a queue. The broker tells those of all queues, bodies included."""
        frames = self._ask(
            lambda reply_to: {"destination": SCHEDULER, "reply-to": reply_to, "AMQ_SCHEDULER_ACTION": "BROWSE"},
            deadline,
        )
        wanted = {f"queue://{queue}", destination(queue)}
        return [frame for frame in frames if frame.headers.get("original-destination") in wanted]

    def _remove_delayed(self, queue: str, deadline: float) -> int:
        jobs = self._jobs(queue, deadline)
        if not jobs:
            return 0
        wire = self._wire
        receipt = wire.receipt()
        frames: list[bytes] = []
        for job in jobs:
            headers = {
                "destination": SCHEDULER,
                "AMQ_SCHEDULER_ACTION": "REMOVE",
                "scheduledJobId": job.headers["scheduledJobId"],
            }
            frames.append(encode("SEND", headers | ({"receipt": receipt} if job is jobs[-1] else {}), b""))
        wire.write(b"".join(frames), deadline)
        wire.answers([receipt], deadline)
        return len(jobs)

    # The statistics plugin

    def _statistics(self, queue: str, deadline: float) -> dict[str, Mapping[str, Any]]:
        """What the plugin tells, by the names of queues; `>` means all."""
        frames = self._ask(lambda reply_to: question(queue, reply_to), deadline)
        told = [one for one in map(_map, frames) if one]
        return {str(one["destinationName"]).removeprefix("queue://"): one for one in told}

    def _ask(self, asked: Callable[[str], dict[str, str]], deadline: float) -> list[Frame]:
        """Send a question, and collect the answers that come to a queue of its own.

        The broker answers while it handles the question, so a message of ours that follows it comes last.
        """
        wire = self._wire
        reply_to = f"/temp-queue/unimq-{wire.name()}"
        answers = self._taker.open(reply_to, {"ack": "auto", "transformation": "jms-map-json"}, deadline)
        mark = encode("SEND", {"destination": reply_to, _END: "yes"}, b"")
        wire.write(encode("SEND", asked(reply_to), b"") + mark, deadline)
        self._wait(lambda: answers.frames and _END in answers.frames[-1].headers, deadline)
        self._taker.close(answers, deadline)
        return list(answers.frames)[:-1]

    def _wait(self, done: Callable[[], object], deadline: float) -> None:
        if not self._wire.wait(done, max(deadline, time.monotonic())):
            msg = "no answer from the broker in time"
            raise Timeout(msg)


def question(queue: str, reply_to: str) -> dict[str, str]:
    """The headers that ask the statistics plugin for a queue, or by `>` for all."""
    return {
        "destination": destination(_STATISTICS + queue),
        "reply-to": reply_to,
        # Without it there is no answer at all for a queue that does not exist.
        "ActiveMQ.Statistics.Destination.List.End.With.Null": "true",
    }


def _map(frame: Frame) -> dict[str, Any]:
    """A JMS map as the broker writes it in JSON: `{"map": {"entry": [{"string": "size", "long": 5}, ...]}}`."""
    try:
        told = _decode(frame.body).map
    except msgspec.DecodeError as error:
        msg = f"the statistics plugin sent {frame.body[:60]!r}"
        raise ProtocolError(msg) from error
    return dict(map(_entry, told.entry)) if isinstance(told, _Entries) else {}


def _entry(entry: Mapping[str, Any]) -> tuple[str, Any]:
    words: list[str] | str = entry["string"]
    if isinstance(words, str):
        return words, next((value for kind, value in entry.items() if kind != "string"), None)
    return words[0], words[-1]  # a text: the name and the value are both under "string"


class _Entries(msgspec.Struct):
    entry: list[dict[str, Any]]


class _Answer(msgspec.Struct):
    map: _Entries | str
    """A text, an empty one, at the end."""


_decode: Final = msgspec.json.Decoder(_Answer).decode
