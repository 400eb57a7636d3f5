"""What a broker proves at a connect: a plain one ignores delays, and has no answers to questions about queues.

Everything goes to a temporary queue of the connection's own, so that nothing of it is left.
"""

import time
from dataclasses import replace
from typing import Final

from unimq.capabilities import Capabilities, absent
from unimq.errors import Timeout
from unimq_activemq.admin import SCHEDULER, question
from unimq_activemq.frames import encode
from unimq_activemq.taking import Taker
from unimq_activemq.wire import Wire

__all__ = ["narrowed", "proved"]

_WHICH: Final = "unimq-probe"
_KEPT_MS: Final = 60_000
_YEAR_MS: Final = 365 * 86_400_000
_NO_SCHEDULER: Final = "the broker has no scheduler: set schedulerSupport in its configuration"
_NO_STATISTICS: Final = "the broker has no statistics plugin: add statisticsBrokerPlugin to its configuration"


def proved(declared: Capabilities, wire: Wire, taker: Taker, deadline: float) -> Capabilities:
    """`declared` without what this broker would ignore.

    A message is delayed by a hundred years, and the scheduler asked for what is due then: one that there is shows it
    as a job, which is removed, and without one the message comes at once. All of that, and the answer of the statistics
    plugin, happens while the broker handles the frames, so before the last message, which is not delayed.
    """
    where = f"/temp-queue/unimq-{wire.name()}"
    answers = taker.open(where, {"ack": "auto"}, deadline)
    now_ms = int(time.time() * 1000)
    # In a broker without the plugin the question is a message like any other, and must not stay for ever.
    asked = {**question(_WHICH, where), "expires": str(now_ms + _KEPT_MS)}
    late = {"destination": where, _WHICH: "late", "AMQ_SCHEDULED_DELAY": str(100 * _YEAR_MS)}
    jobs = {
        "destination": SCHEDULER,
        "reply-to": where,
        "AMQ_SCHEDULER_ACTION": "BROWSE",
        "AMQ_SCHEDULER_ACTION_START_TIME": str(now_ms + 99 * _YEAR_MS),
        "AMQ_SCHEDULER_ACTION_END_TIME": str(now_ms + 101 * _YEAR_MS),
    }
    last = {"destination": where, _WHICH: "last", "receipt": wire.receipt()}
    wire.complaint = None
    wire.write(b"".join([encode("SEND", headers, b"") for headers in (asked, late, jobs, last)]), deadline)

    def done() -> object:
        return wire.complaint or any(frame.headers.get(_WHICH) == "last" for frame in answers.frames)

    if not wire.wait(done, deadline):
        msg = "the broker did not say in time what it can do"
        raise Timeout(msg)
    wire.answers([last["receipt"]], deadline)
    came = [frame.headers for frame in answers.frames]
    jobs_found = [one["scheduledJobId"] for one in came if _WHICH in one and "scheduledJobId" in one]
    for job in jobs_found:
        remove = {"destination": SCHEDULER, "AMQ_SCHEDULER_ACTION": "REMOVE", "scheduledJobId": job}
        wire.write(encode("SEND", remove, b""), deadline)
    taker.close(answers, deadline)
    return narrowed(declared, scheduler=bool(jobs_found), statistics=any(_WHICH not in one for one in came))


def narrowed(declared: Capabilities, *, scheduler: bool, statistics: bool) -> Capabilities:
    """`declared` without what a broker lacks that has no scheduler, or no statistics plugin."""
    if not scheduler:
        none = absent(_NO_SCHEDULER)
        declared = replace(declared, delay=none, nack_delay=none)
    if not statistics:
        none = absent(_NO_STATISTICS)
        declared = replace(declared, stats=none, purge=none, queues=none)
    return declared
